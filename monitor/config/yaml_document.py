"""The one reader of YAML: a file or a text → a tree of values that know their lines.

It reads the configuration, the web configuration and job type files. It is stricter than YAML,
because a file should mean the same to every reader: no key twice, no tags, one document, and
none of the plain words and numbers that YAML 1.1 and 1.2 read differently. A message never
repeats a value of the input, which may be a secret.
"""

from __future__ import annotations

import re
from array import array
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

import yaml

from monitor.config import named_files
from monitor.errors import Problem, printable
from monitor.redaction import clean_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path as FilePath

Path = tuple[str | int, ...]
Scalar = str | int | float | bool | None

MOST_VALUES = 500_000
"""Values of one document with its aliases written out."""
DEEPEST = 32
"""Maps and lists inside one another."""

# libyaml is many times faster than the parser in Python, which matters with 10,000 watches.
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_TEXT_TAGS = frozenset({"!", "tag:yaml.org,2002:str"})
_WORDS = dict.fromkeys(("true", "True", "TRUE"), True) | dict.fromkeys(
    ("false", "False", "FALSE"), False
)
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
class Places:
    """Where the values of a list were written: there may be a hundred thousand."""

    file: str
    lines: array[int]


@dataclass(frozen=True, slots=True)
class Node:
    """A value and where it was written, such as ``FILE:LINE``."""

    value: Scalar | dict[str, Node] | list[Node] | Places
    place: str = ""

    def get(self, token: str | int) -> Node | None:
        """Return the value under a key, or at an index."""
        if isinstance(self.value, dict) and isinstance(token, str):
            return self.value.get(token)
        if isinstance(self.value, list) and isinstance(token, int):
            return self.value[token] if 0 <= token < len(self.value) else None
        if isinstance(self.value, Places) and isinstance(token, int):
            file, lines = self.value.file, self.value.lines
            return Node(None, f"{file}:{lines[token]}") if 0 <= token < len(lines) else None
        return None

    def place_of(self, path: Path) -> str:
        """Return the place of the value at ``path``, or of what would hold it."""
        node = self
        for token in path:
            child = node.get(token)
            if child is None:
                break
            node = child
        return node.place

    def plain(self) -> Any:
        """Return the bare value."""
        if isinstance(self.value, dict):
            return {key: child.plain() for key, child in self.value.items()}
        if isinstance(self.value, list):
            return [child.plain() for child in self.value]
        return self.value

    def outline(self) -> Node:
        """Return the same tree without its values, which may be secrets."""
        if isinstance(self.value, dict):
            children = {key: child.outline() for key, child in self.value.items()}
            return Node(children, self.place)
        if isinstance(self.value, list):
            places = [child.place.rpartition(":") for child in self.value]
            files = {(file, line.isdecimal()) for file, _, line in places}
            if not any(isinstance(child.value, dict | list) for child in self.value):
                match [*files]:
                    case [(file, True)]:
                        lines = array("L", (int(line) for *_, line in places))
                        return Node(Places(file, lines), self.place)
            return Node([child.outline() for child in self.value], self.place)
        return Node(None, self.place)

    def overlaid(self, above: Node) -> Node:
        """Return this value with ``above`` over it: maps are merged, all else is replaced."""
        if not (isinstance(self.value, dict) and isinstance(above.value, dict)):
            return above
        children = dict(self.value)
        for key, child in above.value.items():
            children[key] = children[key].overlaid(child) if key in children else child
        return Node(children, self.place or above.place)


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


def read_file(
    path: FilePath,
    limit: int,
    *,
    name: str = "",
    too_large: str = "split it into several files",
    read: Callable[[FilePath], bytes] | None = None,
) -> tuple[Node | None, list[Problem]]:
    """Read the document in a file of up to ``limit`` bytes, as ``parse`` does.

    Messages call the file ``name``; by default, its path. ``read`` replaces the plain reading of
    its bytes, and may raise OSError and ValueError.
    """
    name = name or shown(str(path), 300)
    try:
        content = read(path) if read else named_files.read(path, limit + 1)
    except (OSError, ValueError) as error:
        message = f"cannot be read: {named_files.reason(error)}"
        return None, [Problem(name, "", message, "check the path and its permissions")]
    if len(content) > limit:
        return None, [Problem(name, "", f"is larger than {limit // 1024**2} MiB", too_large)]
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        return None, [Problem(f"{name}:{line}", "", "is not text in UTF-8", "save it as UTF-8")]
    return parse(text, lambda line: f"{name}:{line}")


def parse(
    text: str, place: Callable[[int], str], path: Path = ()
) -> tuple[Node | None, list[Problem]]:
    """Read one document; ``place`` names a line, counted from 1, ``path`` what it is for.

    Return the tree, or ``None`` if the text is not a document at all, and every problem. A
    problem of a single value leaves the tree whole.
    """
    builder = _Builder(yaml.parse(text, Loader=_LOADER), place)
    try:
        return builder.document(path), builder.problems
    except yaml.MarkedYAMLError as error:
        problem = _syntax(error, place, path)
    except yaml.YAMLError as error:
        line = text.encode()[: getattr(error, "position", 0)].count(b"\n") + 1
        message = "holds a character that YAML does not allow"
        problem = Problem(place(line), dotted(path), message, "save it as plain text")
    except _BrokenError as error:
        problem = error.problem
    return None, [*builder.problems, problem]


class _BrokenError(Exception):
    """The text is not a document that can be used."""

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
        # Events are read one by one: the text is never held as a second tree of PyYAML's.
        event = next(self._events)
        while isinstance(event, yaml.StreamStartEvent | yaml.DocumentStartEvent):
            event = next(self._events)
        if isinstance(event, yaml.StreamEndEvent):
            return Node(None, self._place(1))
        root = self._node(event, path, self._at(event))
        next(self._events)
        more = next(self._events)
        if isinstance(more, yaml.DocumentStartEvent):
            self._break(more, (), "a second document begins here", "keep one document in a file")
        return root

    def _at(self, event: yaml.Event) -> str:
        return self._place(event.start_mark.line + 1 if event.start_mark else 1)

    def _break(self, event: yaml.Event, path: Path, message: str, remedy: str) -> NoReturn:
        raise _BrokenError(Problem(self._at(event), dotted(path), message, remedy))

    def _report(self, event: yaml.Event, path: Path, message: str, remedy: str) -> None:
        self.problems.append(Problem(self._at(event), dotted(path), message, remedy))

    def _node(self, event: yaml.Event, path: Path, place: str) -> Node:
        if isinstance(event, yaml.AliasEvent):
            known = self._anchors.get(event.anchor or "")
            if known is None:
                self._break(event, path, "an alias names an unknown anchor", "define &name first")
            node, size = known
            # An alias counts as often as it is used, or a few lines would grow without end.
            self._add(size, event, path)
            return node
        before = self._count
        self._add(1, event, path)
        node = Node(self._content(event, path), place)
        if anchor := getattr(event, "anchor", None):
            # Only now: an alias inside of what it names stays unknown, so that no tree is endless.
            self._anchors[anchor] = (node, self._count - before)
        return node

    def _content(self, event: yaml.Event, path: Path) -> Scalar | dict[str, Node] | list[Node]:
        if isinstance(event, yaml.ScalarEvent):
            return self._scalar(event, path)
        if len(path) > DEEPEST:
            self._break(event, path[:3], f"nested more than {DEEPEST} deep", "write it flatter")
        if getattr(event, "tag", None) is not None:
            self._report(event, path, "has a YAML tag (!…), which is not supported", "remove it")
        if not isinstance(event, yaml.SequenceStartEvent):
            return self._map(path)
        items: list[Node] = []
        while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
            items.append(self._node(event, (*path, len(items)), self._at(event)))
        return items

    def _add(self, count: int, event: yaml.Event, path: Path) -> None:
        self._count += count
        if self._count > MOST_VALUES:
            remedy = "use fewer aliases, or several files"
            self._break(event, path, f"more than {MOST_VALUES:,} values", remedy)

    def _map(self, path: Path) -> dict[str, Node]:
        found: dict[str, Node] = {}
        inherited: dict[str, Node] = {}
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            if not isinstance(event, yaml.ScalarEvent):
                self._break(event, path, "has a list or map as a key", "write text as the key")
            key: str = event.value
            if not key.strip():
                self._report(event, path, "has an empty key", "write a name before the colon")
            node = self._node(next(self._events), (*path, key), self._at(event))
            if key == "<<":
                inherited |= self._inherited(event, path, node)
            elif key in found:
                remedy = f"it was first given at {found[key].place}"
                self._report(event, (*path, key), "is given twice", remedy)
                # Both are kept, so that nothing else looks missing because of it.
                found[key] = joined(found[key], node)
            else:
                found[key] = node
        return inherited | found

    def _inherited(self, event: yaml.Event, path: Path, node: Node) -> dict[str, Node]:
        """Resolve a merge key (``<<: *defaults``); the first of several maps wins."""
        parts = node.value if isinstance(node.value, list) else [node]
        merged: dict[str, Node] = {}
        for part in parts:
            if not isinstance(part.value, dict):
                self._report(event, path, "<< needs a map", "write <<: *anchor")
                return {}
            merged = part.value | merged
        return merged

    def _scalar(self, event: yaml.ScalarEvent, path: Path) -> Scalar:
        text: str = event.value
        if event.tag is not None and event.tag not in _TEXT_TAGS:
            message = "has a YAML tag (!…), which is not supported"
            self._report(event, path, message, "write the plain value")
        # A quoted text is text, whatever it looks like.
        if event.tag is not None or not event.implicit[0]:
            return text
        if _YES_OR_NO.fullmatch(text):
            message = "yes, no, on and off are true or false to some YAML readers, text to others"
            self._report(event, path, message, "write true or false, or put the text in quotes")
        elif _ODD_NUMBER.fullmatch(text):
            message = "is a number to some YAML readers, and text or another number to others"
            self._report(event, path, message, "put it in quotes if it is text")
        if text in _NOTHING:
            return None
        if text in _WORDS:
            return _WORDS[text]
        if _INTEGER.fullmatch(text):
            return int(text)
        return float(text) if _DECIMAL.fullmatch(text) else text


def joined(
    one: Node, two: Node, path: Path = (), clash: Callable[[Node, Node, Path], None] | None = None
) -> Node:
    """Add the second tree to the first: maps are merged, lists joined.

    Of two single values the first is kept, and ``clash`` is called with both and their path. A
    key without a value adds nothing.
    """
    if one.value is None or two.value is None:
        return two if one.value is None else one
    if isinstance(one.value, dict) and isinstance(two.value, dict):
        children = dict(one.value)
        for key, child in two.value.items():
            known = children.get(key)
            children[key] = joined(known, child, (*path, key), clash) if known else child
        return Node(children, one.place or two.place)
    if isinstance(one.value, list) and isinstance(two.value, list):
        return Node([*one.value, *two.value], one.place)
    if clash:
        clash(one, two, path)
    return one


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
