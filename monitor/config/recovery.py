"""Settings with mistakes in their shape → what is left of them without those.

So the rest can be checked as well. A wrong value is left out; where something must stand (a
required key, an item of a list, what belongs to a name) a stand-in is put in, so that indexes
and names stay what they were. Either is a gap, and so is the key that an unknown one is said
to mean.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import SecretStr, ValidationError

from monitor.config import messages, schema
from monitor.config.gaps import NO_GAPS, Gaps
from monitor.config.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from monitor.config.layers import Layers
    from monitor.config.messages import Spot
    from monitor.config.schema import Shape
    from monitor.config.yaml_document import Path

_ROUNDS = 8
"""A wrong value may be left out, then missing, then given a stand-in, in each of two sections."""
_PLAIN: dict[Any, Any] = {str: "?", SecretStr: "?", bool: False, int: 1, float: 1}


def mended(layers: Layers) -> tuple[Settings, Gaps]:
    """Return what can be read and what can not; of what cannot be mended, nothing at all."""
    tree: dict[str, Any] = layers.plain()
    gaps = NO_GAPS
    for _ in range(_ROUNDS):
        try:
            return Settings.model_validate(tree), gaps
        except ValidationError as error:
            spots = messages.spots(error, layers)
            gaps = gaps.also(*(path for spot in spots for path in _mend(tree, spot)))
    return Settings(), Gaps(frozenset({()}))


def _mend(tree: dict[str, Any], spot: Spot) -> list[Path]:
    """Take one mistake out of ``tree``; return what is not known for it."""
    *above, key = spot.path or ("",)
    holder = _at(tree, above)
    if not _holds(holder, key):
        return [()]
    if spot.kind == "extra_forbidden":
        holder.pop(key, None)
        meant = messages.nearest(str(key), schema.keys(spot.shape))
        return [(*above, meant)] if meant and holder.get(meant) is None else []
    if spot.kind == "missing" or not (schema.sections(spot.holder) or _is_limit(spot)):
        holder[key] = _stand_in(spot.shape)
    else:
        holder.pop(key, None)
    return [spot.path]


def _is_limit(spot: Spot) -> bool:
    """Whether it is a duration under a name, which nothing else refers to."""
    return schema.is_free_map(spot.holder) and spot.shape == (float,)


def _at(tree: Any, path: Sequence[str | int]) -> Any:
    for token in path:
        if not _holds(tree, token):
            return None
        tree = tree.get(token) if isinstance(tree, dict) else tree[token]
    return tree


def _holds(tree: Any, token: str | int) -> bool:
    """Whether ``token`` may be a key or an index there; if not, the location was misread."""
    if isinstance(tree, list):
        return isinstance(token, int) and token < len(tree)
    return isinstance(tree, dict) and isinstance(token, str)


def _stand_in(shape: Shape) -> Any:
    """Return a value that may stand there, with what is required in it still missing."""
    if kinds := schema.kinds(shape):
        return {"type": kinds[0]}
    if schema.is_list(shape):
        return [_stand_in(schema.step(shape, 0))]
    return _PLAIN.get(next(iter(shape), None), {})
