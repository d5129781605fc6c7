"""JMESPath expressions, checked against the shape of the response that they read."""

from __future__ import annotations

import difflib
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

import jmespath
from jmespath.exceptions import JMESPathError

from monitor.sources import jmespath_interpreter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from botocore.model import Shape

    Node = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Expression:
    """A compiled JMESPath expression; one of the same text is the same.

    It raises nothing but RecursionError. Reading null gives null, or false; reading a value of
    another kind gives ``UNREADABLE``, which is false as well.
    """

    text: str
    read: Callable[[Any], Any] = field(compare=False)

    def __call__(self, data: Any) -> Any:
        """Return the value that the expression reads from ``data``."""
        return self.read(data)


@dataclass(frozen=True, slots=True)
class Many:
    """A projection's result: a list of ``of``, or of something unknown."""

    of: Shape | None


Kind: TypeAlias = Any
"""The result of an expression: Shape, Many, or ``None`` where the model does not say."""


@dataclass(slots=True)
class ExpressionCheck:
    """The result of checking one expression."""

    gives: Kind = None
    problems: list[str] = field(default_factory=list)
    touched: list[tuple[str, str]] = field(default_factory=list)
    """(structure, member) of every member read, in reading order."""
    exposed: list[Shape] = field(default_factory=list)
    """Shapes whose whole value the expression gives or hands to a function."""

    def reads_any(self, secrets: frozenset[tuple[str, str]]) -> bool:
        """Return whether a secret member is read, or lies within a value that is given."""
        # One set for each walk: a shape that an earlier walk met may be exposed as well.
        edges = (edge for shape in self.exposed for edge in _edges(shape, set()))
        within = ((owner.name, name) for owner, name, _ in edges)
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


def check(text: str, shape: Shape | None) -> ExpressionCheck:
    """Walk an expression that parses, and report what it reads of ``shape``."""
    walker = _Walker()
    walker.result.gives = walker.walk(jmespath.compile(text).parsed, shape)
    walker.expose(walker.result.gives)
    return walker.result


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
    """Return the fix for a misspelled name."""
    known = sorted(known)
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    if close:
        return f'did you mean "{close[0]}"?'
    return f"known: {', '.join(known[:12])}{', …' if len(known) > 12 else ''}"  # noqa: PLR2004  # a line's worth


def _is(kind: Kind, what: str) -> bool:
    """Return whether a shape is a structure, a list or a map, as the SDK calls them.

    Its classes say the same, but the module that has them takes long to import.
    """
    return getattr(kind, "type_name", "") == what


def _is_sensitive(shape: Shape) -> bool:
    inner = getattr(shape, "member", None) or getattr(shape, "value", None)
    return bool(shape.metadata.get("sensitive")) or (inner is not None and _is_sensitive(inner))


def _children(shape: Shape) -> Iterator[tuple[str, Shape]]:
    if _is(shape, "structure"):
        yield from shape.members.items()
    elif _is(shape, "list"):
        yield "", shape.member
    elif _is(shape, "map"):
        yield "", shape.value


def _edges(shape: Shape, seen: set[str]) -> Iterator[tuple[Shape, str, Shape]]:
    # Models are recursive; a second visit would add nothing.
    if shape.name in seen:
        return
    seen.add(shape.name)
    for name, child in _children(shape):
        if _is(shape, "structure"):
            yield shape, name, child
        yield from _edges(child, seen)


def _paths(
    shape: Shape, secrets: frozenset[tuple[str, str]], prefix: str, above: tuple[str, ...]
) -> Iterator[str]:
    # Cut at recursion only: the same shape in two places has its secrets in both.
    if shape.name in above:
        return
    for name, child in _children(shape):
        step = f'"{name}"' if name else "*" if _is(shape, "map") else ""
        path = f"{prefix}[]" if not step else f"{prefix}.{step}" if prefix else step
        if name and (shape.name, name) in secrets:
            yield path
        else:
            yield from _paths(child, secrets, path, (*above, shape.name))


class _Walker:
    """Follows an expression's syntax tree through a shape."""

    def __init__(self) -> None:
        self.result = ExpressionCheck()

    def walk(self, node: Node, here: Kind) -> Kind:  # noqa: C901, PLR0911, PLR0912 -- one case per kind of node
        """Return what ``node`` gives when applied to ``here``.

        The kinds of nodes are those of ``jmespath.ast``.
        """
        children = node["children"]
        match node["type"]:
            case "subexpression" | "index_expression" | "pipe":
                for child in children:
                    here = self.walk(child, here)
                return here
            case "current" | "identity":
                return here
            case "field":
                return self._field(node["value"], here)
            case "index":
                return self._element(here)
            case "slice":
                return Many(self._element(here))
            case "flatten":
                inner = self._element(self.walk(children[0], here))
                return Many(self._element(inner) if _is(inner, "list") else inner)
            case "projection" | "filter_projection" | "value_projection":
                return self._projection(node, here)
            case "or_expression":
                first, second = (self.walk(child, here) for child in children)
                self.expose(first)
                self.expose(second)
                return first or second
            case "and_expression":
                # It gives the second value, or the first where that is empty or false.
                _, second = [self.walk(child, here) for child in children]
                return second
            case "comparator":
                # A text must be one that the model knows for the other side.
                kinds = [self.walk(side, here) for side in children]
                for kind, other in zip(kinds, reversed(children), strict=True):
                    self.expose(kind)
                    values = getattr(kind, "enum", ())
                    text = other["value"] if other["type"] == "literal" else None
                    if values and isinstance(text, str) and text not in values:
                        hint = suggestion(text, values)
                        self.result.problems.append(f'the model has no value "{text}" here; {hint}')
                return None
        # The rest computes: functions, literals, and new lists or maps.
        is_length = node["type"] == "function_expression" and node["value"] == "length"
        inside = None if node["type"] == "expref" else here
        for kind in [self.walk(child, inside) for child in children]:
            if not is_length:  # a length gives nothing away of what it counts
                self.expose(kind)
        return None

    def expose(self, kind: Kind) -> None:
        shape = kind.of if isinstance(kind, Many) else kind
        if shape is not None:
            self.result.exposed.append(shape)

    def _field(self, name: str, here: Kind) -> Kind:
        if here is None:
            return None
        if _is(here, "map"):
            return here.value
        if not _is(here, "structure"):
            is_list = isinstance(here, Many) or _is(here, "list")
            what = "a list; write [] after it" if is_list else "a single value"
            self.result.problems.append(f'"{name}" is read from {what}')
            return None
        self.result.touched.append((here.name, name))
        if name not in here.members:
            hint = suggestion(name, here.members)
            self.result.problems.append(f'the response has no member "{name}" here; {hint}')
        return here.members.get(name)

    def _element(self, here: Kind) -> Shape | None:
        if isinstance(here, Many):
            return here.of
        if _is(here, "list"):
            member: Shape = here.member
            return member
        if here is not None:
            self.result.problems.append("a list is read where the response has none")
        return None

    def _projection(self, node: Node, here: Kind) -> Many:
        left, right, *condition = node["children"]
        inside = self.walk(left, here)
        if node["type"] == "value_projection":
            self.expose(inside)
            element = inside.value if _is(inside, "map") else None
        else:
            element = self._element(inside)
        for part in condition:
            self.walk(part, element)
        found = self.walk(right, element)
        return found if isinstance(found, Many) else Many(found)
