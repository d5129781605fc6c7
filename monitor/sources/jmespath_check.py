"""JMESPath expressions, checked against the shape of the answer that they will read."""

from __future__ import annotations

import difflib
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

import jmespath
from botocore.model import ListShape, MapShape, Shape, StructureShape
from jmespath.exceptions import JMESPathError

from monitor.sources import jmespath_interpreter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    Node = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Expression:
    """A compiled JMESPath expression; one of the same text is the same.

    It raises nothing but RecursionError. What meets null is null, or false; what meets a value
    of another kind is ``UNREADABLE``, which is false as well.
    """

    text: str
    read: Callable[[Any], Any] = field(compare=False)

    def __call__(self, data: Any) -> Any:
        """Return what the expression reads of ``data``."""
        return self.read(data)


@dataclass(frozen=True, slots=True)
class Many:
    """What a projection gives: a list of ``of``, or of something unknown."""

    of: Shape | None


Kind: TypeAlias = Any
"""What an expression gives: Shape, Many, or ``None`` where the model cannot tell."""


@dataclass(slots=True)
class Reading:
    """What the check of one expression found."""

    gives: Kind = None
    problems: list[str] = field(default_factory=list)
    touched: list[tuple[str, str]] = field(default_factory=list)
    """(structure, member) of every member read, in reading order."""
    exposed: list[Shape] = field(default_factory=list)
    """Shapes whose whole value the expression gives or hands to a function."""

    def touches(self, secrets: frozenset[tuple[str, str]]) -> bool:
        """Whether a secret member is read, or lies within a value that is given."""
        within = (edge for shape in self.exposed for edge in members(shape))
        return not secrets.isdisjoint(self.touched) or not secrets.isdisjoint(within)


def parse(text: str) -> Expression:
    """Compile an expression.

    Raises:
        ValueError: it is not JMESPath.
    """
    try:
        tree = jmespath.compile(text).parsed
    except JMESPathError as error:
        first = str(error).partition("\n")[0].rstrip(":")
        message = f"not a JMESPath expression: {first}"
    else:
        message = "; ".join(jmespath_interpreter.misuse(tree))
        if not message:
            return Expression(text, partial(jmespath_interpreter.value_of, tree))
    raise ValueError(message)


def check(text: str, shape: Shape | None) -> Reading:
    """Walk an expression that parses, and tell what it reads of ``shape``."""
    walker = _Walker()
    walker.reading.gives = walker.walk(jmespath.compile(text).parsed, shape)
    walker.expose(walker.reading.gives)
    return walker.reading


def members(shape: Shape) -> frozenset[tuple[str, str]]:
    """Return (structure, member) of all members at any depth."""
    return frozenset((owner.name, name) for owner, name, _ in _edges(shape, set()))


def sensitive(shape: Shape) -> frozenset[tuple[str, str]]:
    """Return the members at any depth that the model marks as sensitive."""
    return frozenset(
        (owner.name, name)
        for owner, name, member in _edges(shape, set())
        if _is_sensitive(owner) or _is_sensitive(member)
    )


def paths(shape: Shape | None, secrets: frozenset[tuple[str, str]]) -> Iterator[str]:
    """List the expressions that together read every secret member's value."""
    if shape is not None:
        yield from _paths(shape, secrets, "", ())


def suggestion(word: str, known: Iterable[str]) -> str:
    """Return the remedy for a misspelled name."""
    known = sorted(known)
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    if close:
        return f'did you mean "{close[0]}"?'
    return f"known: {', '.join(known[:12])}{', …' if len(known) > 12 else ''}"  # noqa: PLR2004  # a line's worth


def _is_sensitive(shape: Shape) -> bool:
    inner = getattr(shape, "member", None) or getattr(shape, "value", None)
    return bool(shape.metadata.get("sensitive")) or (inner is not None and _is_sensitive(inner))


def _children(shape: Shape) -> Iterator[tuple[str, Shape]]:
    if isinstance(shape, StructureShape):
        yield from shape.members.items()
    elif isinstance(shape, ListShape):
        yield "", shape.member
    elif isinstance(shape, MapShape):
        yield "", shape.value


def _edges(shape: Shape, seen: set[str]) -> Iterator[tuple[Shape, str, Shape]]:
    if shape.name in seen:
        return
    seen.add(shape.name)
    for name, child in _children(shape):
        if isinstance(shape, StructureShape):
            yield shape, name, child
        yield from _edges(child, seen)


def _paths(
    shape: Shape, secrets: frozenset[tuple[str, str]], prefix: str, above: tuple[str, ...]
) -> Iterator[str]:
    if shape.name in above:
        return
    for name, child in _children(shape):
        step = f'"{name}"' if name else "*" if isinstance(shape, MapShape) else ""
        path = f"{prefix}[]" if not step else f"{prefix}.{step}" if prefix else step
        if name and (shape.name, name) in secrets:
            yield path
        else:
            yield from _paths(child, secrets, path, (*above, shape.name))


class _Walker:
    """Follows an expression's syntax tree through a shape."""

    def __init__(self) -> None:
        self.reading = Reading()

    def walk(self, node: Node, here: Kind) -> Kind:
        """Return what ``node`` gives when applied to ``here``."""
        method: Callable[[Node, Kind], Kind] = getattr(self, f"_{node['type']}", self._computed)
        return method(node, here)

    def expose(self, kind: Kind) -> None:
        shape = kind.of if isinstance(kind, Many) else kind
        if shape is not None:
            self.reading.exposed.append(shape)

    def _chain(self, node: Node, here: Kind) -> Kind:
        for child in node["children"]:
            here = self.walk(child, here)
        return here

    _subexpression = _chain
    _index_expression = _chain
    _pipe = _chain

    def _current(self, _node: Node, here: Kind) -> Kind:
        return here

    _identity = _current

    def _field(self, node: Node, here: Kind) -> Kind:
        name = node["value"]
        if here is None:
            return None
        if isinstance(here, MapShape):
            return here.value
        if isinstance(here, StructureShape):
            return self._member(name, here)
        what = "a list; write [] after it" if _is_many(here) else "no structure"
        self.reading.problems.append(f'"{name}" is read from {what}')
        return None

    def _member(self, name: str, here: StructureShape) -> Kind:
        self.reading.touched.append((here.name, name))
        if name in here.members:
            found: Shape = here.members[name]
            return found
        hint = suggestion(name, here.members)
        self.reading.problems.append(f'the answer has no member "{name}" here; {hint}')
        return None

    def _index(self, _node: Node, here: Kind) -> Kind:
        return self._element(here)

    def _slice(self, _node: Node, here: Kind) -> Kind:
        return Many(self._element(here))

    def _element(self, here: Kind) -> Shape | None:
        if isinstance(here, Many):
            return here.of
        if isinstance(here, ListShape):
            member: Shape = here.member
            return member
        if here is not None:
            self.reading.problems.append("a list is read where the answer has none")
        return None

    def _projection(self, node: Node, here: Kind) -> Kind:
        left, right = node["children"]
        return _many(self.walk(right, self._element(self.walk(left, here))))

    def _flatten(self, node: Node, here: Kind) -> Kind:
        inner = self._element(self.walk(node["children"][0], here))
        return Many(self._element(inner) if isinstance(inner, ListShape) else inner)

    def _filter_projection(self, node: Node, here: Kind) -> Kind:
        left, right, condition = node["children"]
        element = self._element(self.walk(left, here))
        self.walk(condition, element)
        return _many(self.walk(right, element))

    def _value_projection(self, node: Node, here: Kind) -> Kind:
        left, right = node["children"]
        inside = self.walk(left, here)
        self.expose(inside)
        value = inside.value if isinstance(inside, MapShape) else None
        return _many(self.walk(right, value))

    def _or_expression(self, node: Node, here: Kind) -> Kind:
        first, second = (self.walk(child, here) for child in node["children"])
        self.expose(first)
        self.expose(second)
        return first or second

    def _and_expression(self, node: Node, here: Kind) -> Kind:
        """Give the second value, or the first where that is empty or false."""
        _, second = (self.walk(child, here) for child in node["children"])
        return second

    def _function_expression(self, node: Node, here: Kind) -> Kind:
        given = [self.walk(child, here) for child in node["children"]]
        if node["value"] != "length":
            for kind in given:
                self.expose(kind)
        return None

    def _expref(self, node: Node, _here: Kind) -> Kind:
        return self._computed(node, None)

    def _computed(self, node: Node, here: Kind) -> Kind:
        """Literals, comparisons, and new lists or maps of what was read."""
        for child in node["children"]:
            self.expose(self.walk(child, here))
        return None


def _is_many(kind: Kind) -> bool:
    return isinstance(kind, Many | ListShape)


def _many(kind: Kind) -> Many:
    return kind if isinstance(kind, Many) else Many(kind)
