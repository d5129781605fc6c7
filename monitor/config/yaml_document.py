"""YAML text → a tree of values that know where they were written.

Read more strictly than YAML asks for, as a configuration should mean the same to
every reader: no key twice, no tags, one document, and none of the plain words and
numbers that YAML 1.1 and 1.2 take differently. No value of the input is repeated in
a message, as it may be a secret.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

import yaml

from monitor.errors import Problem, printable
from monitor.redaction import clean_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Path = tuple[str | int, ...]
Scalar = str | int | float | bool | None

MOST_VALUES = 500_000
"""Values of one document with its aliases written out."""
DEEPEST = 32
"""Maps and lists inside one another."""

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_TEXT_TAGS = frozenset({"!", "tag:yaml.org,2002:str"})
_WORDS: dict[str, Scalar] = {
    word: value
    for words, value in (("true True TRUE", True), ("false False FALSE", False))
    for word in words.split()
}
_NOTHING = frozenset({"", "~", "null", "Null", "NULL"})
_INTEGER = re.compile(r"[-+]?(?:0|[1-9][0-9]{0,17})")
_DECIMAL = re.compile(r"[-+]?[0-9]{0,18}\.[0-9]{1,18}(?:[eE][-+]?[0-9]{1,3})?")
_QUOTED = re.compile(r"'[^']*'|\"[^\"]*\"")
_SIGN = 3
_YES_OR_NO = re.compile(r"yes|no|on|off", re.IGNORECASE)
_ODD_NUMBER = re.compile(
    r"[-+]?(?:0[0-9_]+|0x[0-9a-fA-F_]+|0o[0-7_]+|0b[01_]+"
    r"|[0-9]+[eE][-+]?[0-9]+|[1-9][0-9]*_[0-9_]*|[0-9]+(?::[0-5]?[0-9])+(?:\.[0-9_]*)?)"
)


@dataclass(frozen=True, slots=True)
class Node:
    """A value and where it was written, such as ``FILE:LINE``."""

    value: Scalar | dict[str, Node] | list[Node]
    place: str = ""


def plain(node: Node) -> Any:
    """Return the bare value."""
    if isinstance(node.value, dict):
        return {key: plain(child) for key, child in node.value.items()}
    if isinstance(node.value, list):
        return [plain(child) for child in node.value]
    return node.value


def step(node: Node | None, token: str | int) -> Node | None:
    """Return the value under a key, or at an index."""
    value = node.value if node else None
    if isinstance(value, dict) and isinstance(token, str):
        return value.get(token)
    if isinstance(value, list) and isinstance(token, int) and 0 <= token < len(value):
        return value[token]
    return None


def outline(node: Node) -> Node:
    """Return the same tree without its values, which may be secrets."""
    if isinstance(node.value, dict):
        return Node({key: outline(child) for key, child in node.value.items()}, node.place)
    if isinstance(node.value, list):
        return Node([outline(child) for child in node.value], node.place)
    return Node(None, node.place)


def place_of(node: Node, path: Path) -> str:
    """Say where the value at ``path`` was written, or what would hold it."""
    found = node
    for token in path:
        child = step(found, token)
        if child is None:
            break
        found = child
    return found.place


def dotted(path: Path) -> str:
    """Write a path as ``watches[0].interval``."""
    text = ""
    for token in path:
        if isinstance(token, int):
            text += f"[{token}]"
        elif re.fullmatch(r"[\w-]+", token):
            text += f".{shown(token)}"
        else:
            text += f'["{shown(token)}"]'
    return text.removeprefix(".")


def shown(text: str, limit: int = 60) -> str:
    """Return ``text`` fit for one line of a message, without what is plainly a secret."""
    line = clean_text(printable(text))
    return line if len(line) <= limit else f"{line[: limit - 1]}…"


def parse(
    text: str, place: Callable[[int], str], path: Path = ()
) -> tuple[Node | None, list[Problem]]:
    """Read one document; ``place`` names a line, counted from 1, ``path`` what it is for.

    Returns the tree, or ``None`` where the text is no document at all, and every
    mistake found. What is wrong in single values leaves the tree whole.
    """
    builder = _Builder(yaml.parse(text, Loader=_LOADER), place)
    try:
        return builder.document(path), builder.problems
    except yaml.MarkedYAMLError as error:
        return None, [*builder.problems, _syntax(error, place, path)]
    except yaml.YAMLError as error:
        position = getattr(error, "position", 0)
        line = text.encode()[:position].count(b"\n") + 1
        message = "holds a character that YAML does not allow"
        return None, [
            *builder.problems,
            Problem(place(line), dotted(path), message, "save it as plain text"),
        ]
    except _BrokenError as error:
        return None, [*builder.problems, error.problem]


class _BrokenError(Exception):
    """The text is no document that can be used."""

    def __init__(self, problem: Problem) -> None:
        super().__init__()
        self.problem = problem


class _Builder:
    """Turns the events of the YAML parser into a tree."""

    def __init__(self, events: Iterator[yaml.Event], place: Callable[[int], str]) -> None:
        self.problems: list[Problem] = []
        self._events = events
        self._place = place
        self._anchors: dict[str, tuple[Node, int]] = {}
        self._count = 0

    def document(self, path: Path) -> Node:
        event = self._next()
        while isinstance(event, yaml.StreamStartEvent | yaml.DocumentStartEvent):
            event = self._next()
        if isinstance(event, yaml.StreamEndEvent):
            return Node(None, self._place(1))
        root = self._node(event, path, self._at(event))
        self._next()
        more = self._next()
        if isinstance(more, yaml.DocumentStartEvent):
            self._break(more, (), "a second document begins here", "keep one document in a file")
        return root

    def _next(self) -> yaml.Event:
        event: yaml.Event = next(self._events)
        return event

    def _at(self, event: yaml.Event) -> str:
        return self._place(event.start_mark.line + 1 if event.start_mark else 1)

    def _break(self, event: yaml.Event, path: Path, message: str, remedy: str) -> NoReturn:
        raise _BrokenError(Problem(self._at(event), dotted(path), message, remedy))

    def _say(self, event: yaml.Event, path: Path, message: str, remedy: str) -> None:
        self.problems.append(Problem(self._at(event), dotted(path), message, remedy))

    def _node(self, event: yaml.Event, path: Path, place: str) -> Node:
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event, path)
        before = self._count
        self._add(1, event, path)
        node = Node(self._content(event, path), place)
        if anchor := getattr(event, "anchor", None):
            self._anchors[anchor] = (node, self._count - before)
        return node

    def _content(self, event: yaml.Event, path: Path) -> Scalar | dict[str, Node] | list[Node]:
        if isinstance(event, yaml.ScalarEvent):
            return self._scalar(event, path)
        if len(path) > DEEPEST:
            self._break(event, path[:3], f"nested more than {DEEPEST} deep", "write it flatter")
        if getattr(event, "tag", None) is not None:
            self._say(event, path, "a YAML tag (!…) is not understood", "remove the tag")
        return self._list(path) if isinstance(event, yaml.SequenceStartEvent) else self._map(path)

    def _alias(self, event: yaml.AliasEvent, path: Path) -> Node:
        known = self._anchors.get(event.anchor or "")
        if known is None:
            self._break(event, path, "an alias names an unknown anchor", "define &name first")
        node, size = known
        self._add(size, event, path)
        return node

    def _add(self, count: int, event: yaml.Event, path: Path) -> None:
        self._count += count
        if self._count > MOST_VALUES:
            remedy = "use fewer aliases, or several files"
            self._break(event, path, f"more than {MOST_VALUES:,} values", remedy)

    def _list(self, path: Path) -> list[Node]:
        items: list[Node] = []
        while not isinstance(event := self._next(), yaml.SequenceEndEvent):
            items.append(self._node(event, (*path, len(items)), self._at(event)))
        return items

    def _map(self, path: Path) -> dict[str, Node]:
        found: dict[str, Node] = {}
        inherited: dict[str, Node] = {}
        while not isinstance(event := self._next(), yaml.MappingEndEvent):
            key = self._key(event, path)
            node = self._node(self._next(), (*path, key), self._at(event))
            if key == "<<":
                inherited |= self._inherited(event, path, node)
            elif key in found:
                remedy = f"it was first given at {found[key].place}"
                self._say(event, (*path, key), "is given twice", remedy)
                found[key] = _both(found[key], node)
            else:
                found[key] = node
        return inherited | found

    def _key(self, event: yaml.Event, path: Path) -> str:
        if not isinstance(event, yaml.ScalarEvent):
            self._break(event, path, "a list or map stands where a key should", "use text as key")
        key: str = event.value
        if not key.strip():
            self._say(event, path, "a key is empty", "write a name before the colon")
        return key

    def _inherited(self, event: yaml.Event, path: Path, node: Node) -> dict[str, Node]:
        """Resolve a merge key (``<<: *defaults``); the first of several maps wins."""
        parts = node.value if isinstance(node.value, list) else [node]
        merged: dict[str, Node] = {}
        for part in parts:
            if not isinstance(part.value, dict):
                self._say(event, path, "<< must be given a map", "write <<: *anchor")
                return {}
            merged = part.value | merged
        return merged

    def _scalar(self, event: yaml.ScalarEvent, path: Path) -> Scalar:
        text: str = event.value
        if event.tag is not None and event.tag not in _TEXT_TAGS:
            self._say(event, path, "a YAML tag (!…) is not understood", "write the plain value")
        if event.tag is not None or not event.implicit[0]:
            return text
        if _YES_OR_NO.fullmatch(text):
            message = (
                "yes, no, on and off mean true or false to some readers of YAML, text to others"
            )
            self._say(event, path, message, "write true or false, or put the text in quotes")
        elif _ODD_NUMBER.fullmatch(text):
            message = "is a number to some readers of YAML, and text or another number to others"
            self._say(event, path, message, "put it in quotes if it is text")
        return _resolved(text)


def _both(one: Node, two: Node) -> Node:
    """Join what a key given twice has, so that nothing is missed for it; of single values one."""
    if isinstance(one.value, dict) and isinstance(two.value, dict):
        joined = dict(one.value)
        for key, child in two.value.items():
            joined[key] = _both(joined[key], child) if key in joined else child
        return Node(joined, one.place)
    if isinstance(one.value, list) and isinstance(two.value, list):
        return Node([*one.value, *two.value], one.place)
    return one


def _resolved(text: str) -> Scalar:
    if text in _NOTHING:
        return None
    if text in _WORDS:
        return _WORDS[text]
    if _INTEGER.fullmatch(text):
        return int(text)
    return float(text) if _DECIMAL.fullmatch(text) else text


def _syntax(error: yaml.MarkedYAMLError, place: Callable[[int], str], path: Path) -> Problem:
    # Only the pure Python parser repeats more of the text than a single sign.
    reason = _QUOTED.sub(
        lambda found: found[0] if len(found[0]) <= _SIGN else "…",
        error.problem or "it cannot be read",
    )
    mark = error.problem_mark or error.context_mark
    line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
    tab = "cannot start any token" in reason
    remedy = "indent with spaces, and quote texts that begin with @, ` or %" if tab else ""
    message = f"is not YAML: {shown(reason)} (column {column})"
    return Problem(place(line), dotted(path), message, remedy)
