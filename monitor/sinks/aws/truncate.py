"""Events that are too large for their receiver, with their free text cut."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

_LONGEST = 65536
_SHORTEST = 32


def versions(event: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield ``event`` as it is, then with its free text cut ever shorter.

    Free text is that of the reason, of fields and of changes: what a service said, and nothing
    by which a receiver finds its way. A cut event says so in the CloudEvents extension
    attribute ``truncated``, and a cut text ends in ``…``.
    """
    yield event
    length = _LONGEST
    while length >= _SHORTEST:
        yield {**event, "truncated": True, "data": _data(event["data"], length)}
        length //= 2


def _data(data: Mapping[str, Any], length: int) -> dict[str, Any]:
    changes = [
        {**change, "from": _cut(change["from"], length), "to": _cut(change["to"], length)}
        for change in data["changes"]
    ]
    reason, fields = _cut(data["reason"], length), _cut(data["fields"], length)
    return {**data, "reason": reason, "changes": changes, "fields": fields}


def _cut(value: Any, length: int) -> Any:
    """Cut every text in a JSON value."""
    match value:
        case str():
            return value if len(value) <= length else f"{value[: length - 1]}…"
        case Mapping():
            return {key: _cut(item, length) for key, item in value.items()}
        case Sequence():
            return [_cut(item, length) for item in value]
    return value
