"""The request for a job: the parameters that make its id, and the item that the answer holds."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from botocore.model import ListShape, Shape, StructureShape

from monitor.sources.declaration import NO_PARTS
from monitor.sources.drafts.shapes import (
    SAME_WORDS,
    best_id,
    inner,
    is_paging,
    lists_in,
    path_of,
    takes_text,
    walk,
)
from monitor.sources.drafts.state import STATE_WORDS
from monitor.sources.drafts.words import most_named, singular, split_id, words

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from collections.abc import Set as AbstractSet

    from botocore.model import OperationModel

    from monitor.sources.drafts.shapes import Place
    from monitor.sources.drafts.words import Words

_MODEST = 4
"""The likeness from which an optional parameter is taken for the one of the id."""
_DEEPEST = 3
"""Structures around a parameter: models are recursive."""
_MOST_AT_ONCE = 1000
_ALIGNED = 20
"""Any likeness counts less than the noun of the operation in a parameter's name."""


@dataclass(frozen=True, slots=True)
class Request:
    """One way to read a job: where the item is, and how its id fills the request."""

    items: Place
    item: Shape | None
    score: int
    parts: Mapping[str, str | None]
    """Part of the id → its path in an item."""
    filling: Mapping[str, str]
    """Part of the id → the parameter that it fills."""
    params: Mapping[str, Any]
    own: str | None
    """The part that is the job's own, and not that of a parent."""
    several: Shape | None
    """The list that takes several ids, if there is one."""

    @property
    def items_path(self) -> str | None:
        """The path to the items; the first one alone if no item shows whose it is."""
        if not self.items:
            return None
        path, lists = path_of(self.items), lists_in(self.items)
        if lists and not self.shows_own:
            return f"{path}[0]"
        return f"{path}[]" if lists > 1 else path

    @property
    def shows_own(self) -> bool:
        """Whether an item repeats the job's own part of the id."""
        return bool(self.own and self.parts.get(self.own))

    def at_once(self) -> tuple[int | None, str]:
        """Return the most ids of one request, if they share it, and what to say of that."""
        if self.several is None or not lists_in(self.items) or not self.shows_own:
            return None, ""
        most, named = self.several.metadata.get("max"), most_named(self.several)
        if isinstance(most, int):
            return (min(most, _MOST_AT_ONCE) if most > 1 else None), ""
        if named and 1 < named <= _MOST_AT_ONCE:
            return named, "confirm: at_once is what the text of the model says"
        return None, "write at_once: N, if the documentation allows N ids in a request"


def find(operation: OperationModel, nouns: Words, state: Place | None) -> Request:
    """Return the request whose item shows most of the id."""
    output = operation.output_shape
    options: list[Place] = [()]
    if state:
        lists = [n for n, one in enumerate(state[:-1]) if isinstance(one[1], ListShape)]
        # A structure that is called a status holds a part of the job, not the job.
        holds = [words(name)[-1] not in STATE_WORDS for name, _ in state[:-1]]
        wraps = [state[: n + 1] for n in range(len(holds)) if all(holds[: n + 1])]
        options = [state[: lists[-1] + 1]] if lists else [*wraps, ()]
    else:
        members = list(walk(output, 1))
        whole = [one for one in members if isinstance(inner(one[-1][1]), StructureShape)]
        options = [*(whole if len(whole) == 1 else []), ()]
    made = [
        _identified(operation, nouns, items, inner(items[-1][1]) if items else output)
        for items in options
    ]
    return max(made, key=lambda one: one.score)


def _identified(
    operation: OperationModel, nouns: Words, items: Place, item: Shape | None
) -> Request:
    """Find the parameters that make the id, and what an item repeats of each."""
    holder = singular(words(items[-1][0])) if items else ()
    near = frozenset((*nouns[-1:], *holder[-1:]))
    takers = list(_takers(operation.input_shape, ()))
    plural = bool(items) and isinstance(items[-1][1], ListShape)
    if not takers or (plural and not any(best_id(one[-1][0], item, near)[0] for one in takers)):
        takers += _optional_taker(operation, item, near)
    if not takers and (found := _filter(operation, nouns, item)):
        only, member, filters = found
        known = {only: member}
        return Request(items, item, _MODEST, known, known, filters, only, None)
    ranked: list[tuple[int, int, int]] = []
    for number, place in enumerate(takers):
        core, _ = split_id(place[-1][0])
        aligned = 2 if core and core[-1] in near else 0 if core else 1
        ranked.append((aligned, best_id(place[-1][0], item, near)[0], number))
    aligned, _, own = max(ranked, default=(0, 0, 0))
    # The job's own part comes last: what is before it says where the job is.
    order = sorted(range(len(takers)), key=lambda number: number == own and aligned > 0)
    parts: dict[str, str | None] = {}
    filling: dict[str, str] = {}
    params: dict[str, Any] = {}
    own_part, several, total = None, None, 0
    for number in order:
        name, shape = takers[number][-1]
        score, path = best_id(name, item, near if number == own else frozenset())
        if path in parts.values() or (number != own and score < SAME_WORDS):
            score, path = 0, None
        part = _part_name(name, nouns if number == own else (), parts)
        parts[part], filling[part] = path, name
        total += score * (2 if number == own else 1)
        if number == own:
            own_part, several = part, shape if isinstance(shape, ListShape) else None
        level = params
        for above, _ in takers[number][:-1]:
            level = level.setdefault(above, {})
        level[name] = [f"{{{part}}}"] if isinstance(shape, ListShape) else f"{{{part}}}"
    return Request(items, item, total, parts, filling, params, own_part, several)


def _takers(shape: Shape | None, above: Place) -> Iterator[Place]:
    """Yield the places of the required parameters that take texts, at any depth."""
    members = shape.members if isinstance(shape, StructureShape) else {}
    for name in shape.required_members if isinstance(shape, StructureShape) else ():
        member = members[name]
        if takes_text(member):
            yield (*above, (name, member))
        elif isinstance(member, StructureShape) and len(above) < _DEEPEST:
            yield from _takers(member, (*above, (name, member)))


def _optional_taker(
    operation: OperationModel, item: Shape | None, near: AbstractSet[str]
) -> list[Place]:
    """Return the parameter that selects jobs by id though it may be left out."""
    best: tuple[int, list[Place]] = (2 * _MODEST - 1, [])
    for place in walk(operation.input_shape, 1):
        name, shape = place[-1]
        fixed = getattr(inner(shape), "enum", ())
        if inner(shape).type_name != "string" or is_paging(name) or fixed:
            continue
        like = best_id(name, item, near)[0]
        aligned = like and not near.isdisjoint(split_id(name)[0][-1:])
        score = 2 * like + isinstance(shape, ListShape) + (_ALIGNED if aligned else 0)
        if score > best[0]:
            best = score, [place]
    return best[1]


def _filter(
    operation: OperationModel, nouns: Words, item: Shape | None
) -> tuple[str, str, dict[str, Any]] | None:
    """Return part, path and parameters of an operation that selects by filters with names."""
    for place in walk(operation.input_shape, 1):
        name, shape = place[-1]
        keys = {key.lower(): key for key in getattr(inner(shape), "members", ())}
        if not isinstance(shape, ListShape) or not {"name", "values"} <= keys.keys():
            continue
        prose = re.sub("<[^>]+>", " ", shape.documentation)
        # An ARN is the only one of its kind, an id may be used again.
        for found in sorted(walk(item, 1), key=lambda one: words(one[-1][0])[-1] != "arn"):
            core, kind = split_id(found[-1][0])
            called = "-".join((*core, kind or ""))
            own = core[-1:] == nouns[-1:] and kind in ("id", "arn")
            if own and re.search(rf"(?<![\w-]){called}(?![\w-])", prose):
                part = _part_name(found[-1][0], nouns, {})
                values = {keys["name"]: called, keys["values"]: [f"{{{part}}}"]}
                return part, path_of(found), {name: [values]}
    return None


def _part_name(param: str, nouns: Words, taken: Mapping[str, Any]) -> str:
    """Return the name of the part that fills a parameter: ``job`` for JobId."""
    core, _ = split_id(param)
    whole = "_".join(words(param))
    names = ["_".join(core), *nouns[-1:], whole]
    banned = {*NO_PARTS, *taken, "pattern", "max_length", "path", ""}
    plain = (name for name in names if name.isidentifier() and name not in banned)
    return next(plain, f"part_{whole}")
