"""What a draft reads of a service's model: members at any depth, and the names of operations."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from botocore.model import ListShape, Shape, StructureShape

from monitor.sources.drafts.words import Words, likeness, singular, words

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping
    from collections.abc import Set as AbstractSet

Place = tuple[tuple[str, Shape], ...]
"""The members on the way to one, each with its shape."""

_VERBS = re.compile(r"(?:Batch)?(?:Describe|Get|List|Lookup|Retrieve|Query|Search)(?=[A-Z])")
_PLAIN = re.compile(r"[A-Za-z_]\w*")
_TIMES = ("timestamp", "long", "string")

SAME_WORDS = 7
"""The likeness from which a member has the words of a parameter, and not only its kind."""
_CREATED = re.compile(
    r"(?:\w+_)?(?:(?:creation|created?|submi(?:t|tted|ssion)|request(?:ed)?)"
    r"(?:_(?:date|time|at|on|timestamp)){1,2}|when_created|date_created)"
)
"""The names of a time of creation, in words joined by underscores."""


_PAGING = re.compile(r"(?:next|page|starting|pagination)_?token|marker|max_\w+|limit|page_size")
_NAMED = 8
"""The most parameters that a note names."""


@dataclass(frozen=True, slots=True)
class Subject:
    """One kind of job, as a draft knows it so far: what a listing must show of it."""

    operation: str
    nouns: Words
    """The words of its name: job run."""
    parts: Mapping[str, str | None]
    """Part of the id → its path in an item."""
    params: Mapping[str, str]
    """Part of the id → the parameter that it fills."""
    own: str | None
    """The part that is the job's own, and not that of a parent."""
    state: tuple[str, Shape] | None
    created_at: str | None


def inner(shape: Shape) -> Shape:
    """Return the elements' shape of a list, and any other shape as it is."""
    return shape.member if isinstance(shape, ListShape) else shape


def is_sensitive(shape: Shape) -> bool:
    """Return whether the model marks a shape, or the elements of a list, as sensitive."""
    return bool(shape.metadata.get("sensitive") or inner(shape).metadata.get("sensitive"))


def walk(shape: Shape | None, depth: int, above: Place = ()) -> Iterator[Place]:
    """Yield the place of every member down to ``depth`` that is not sensitive."""
    whole = isinstance(shape, StructureShape) and not is_sensitive(shape)
    for name, member in (
        shape.members.items() if isinstance(shape, StructureShape) and whole else ()
    ):
        if is_sensitive(member):
            continue
        here = (*above, (name, member))
        yield here
        below = inner(member)
        # Models are recursive: a shape is not entered again below itself.
        if depth > 1 and below.name not in {inner(one).name for _, one in above}:
            yield from walk(below, depth - 1, here)


def path_of(place: Place) -> str:
    """Return the JMESPath of a place; every list but the last member is read through."""
    steps = [name if _PLAIN.fullmatch(name) else f'"{name}"' for name, _ in place]
    lists = [isinstance(shape, ListShape) for _, shape in place[:-1]] + [False]
    return ".".join(f"{step}[]" if many else step for step, many in zip(steps, lists, strict=True))


def operation_words(operation: str) -> Words:
    """Return the words of what an operation reads, in the singular: ``job run``."""
    return singular(words(_VERBS.sub("", operation)))


def takes_text(shape: Shape) -> bool:
    """Return whether a parameter takes a text, or a list of texts."""
    return inner(shape).type_name in ("string", "integer", "long")


def lists_in(place: Place) -> int:
    """Return the number of lists on the way to a place, itself included."""
    return sum(isinstance(shape, ListShape) for _, shape in place)


def is_paging(param: str) -> bool:
    """Return whether a parameter has to do with pages alone."""
    return _PAGING.fullmatch("_".join(words(param))) is not None


def optional(shape: Shape | None, given: Collection[str]) -> str:
    """Name the parameters that may be left out, but that a job type may need."""
    members = shape.members if isinstance(shape, StructureShape) else {}
    free = [name for name in members if name not in given and not is_paging(name)]
    more = f" and {len(free) - _NAMED} more" if len(free) > _NAMED else ""
    return f"optional parameters: {', '.join(free[:_NAMED])}{more}" if free else ""


def best_id(param: str, shape: Shape | None, nouns: AbstractSet[str]) -> tuple[int, str | None]:
    """Return the path to the member that repeats a parameter, and how surely it does."""
    found: tuple[int, str | None] = (0, None)
    for place in walk(shape, 1):
        name, member = place[-1]
        score = likeness(param, name, nouns) if member.type_name == "string" else 0
        if score > found[0]:
            found = score, path_of(place)
    return found


def creation_time(shape: Shape | None) -> str | None:
    """Return the path to the time of creation in an item or a row, if it has one."""
    for place in sorted(walk(shape, 3), key=len):
        if any(isinstance(one, ListShape) for _, one in place):
            continue
        name, member = place[-1]
        if member.type_name in _TIMES and _CREATED.fullmatch("_".join(words(name))):
            return path_of(place)
    return None
