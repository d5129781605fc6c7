"""Environment variables → values in the tree of settings.

``JOB_MONITOR_SERVER__LISTEN`` is ``server.listen``; ``JOB_MONITOR_WATCHES__0__INTERVAL``
is the interval of the first watch; lists and maps are written as YAML or JSON. An empty
variable counts as not set.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from monitor import complaints, documents, settings_shape
from monitor.documents import Node, Path, dotted, shown
from monitor.errors import Problem

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from monitor.settings_shape import Shape

PREFIX = "JOB_MONITOR_"
RESERVED = frozenset({"JOB_MONITOR_CONFIG"})
"""Variables of the command line, which are no settings."""

_SERVICE = re.compile(  # what Kubernetes sets for a Service named job-monitor
    r"SERVICE_HOST|SERVICE_PORT(_[A-Z0-9_]+)?|PORT(_[0-9]+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?"
)
_SIBLING = re.compile(rf"[A-Z0-9]+(_[A-Z0-9]+)*?_({_SERVICE.pattern})")
_SIBLING_VALUE = re.compile(r"(tcp|udp|sctp)(://\S+)?|[0-9]{1,5}|[0-9a-fA-F.:]+")


def overlaid(tree: Node, environ: Mapping[str, str]) -> tuple[Node, list[Problem]]:
    """Put the environment's values over those of ``tree``; also return every mistake."""
    problems: list[Problem] = []
    for name in sorted(_names(environ), key=lambda name: (name.count("__"), name)):
        path, shape = _target(name, tree)
        if path is None:
            problems.append(_unknown(name))
        elif environ[name]:
            value, more = _value(name, environ[name], path, shape)
            problems += more
            tree = _put(tree, path, value) if value else tree
    return tree, problems


def _names(environ: Mapping[str, str]) -> Iterator[str]:
    for name, value in environ.items():
        if name.startswith(PREFIX) and name not in RESERVED and not _injected(name, value):
            yield name


def _injected(name: str, value: str) -> bool:
    """Whether Kubernetes set the variable, for this Service or one whose name begins so."""
    rest = name.removeprefix(PREFIX)
    if _SERVICE.fullmatch(rest):
        return True
    return bool(_SIBLING.fullmatch(rest) and _SIBLING_VALUE.fullmatch(value))


def _target(name: str, tree: Node) -> tuple[Path | None, Shape]:
    """Find which setting a variable names."""
    path: Path = ()
    node: Node | None = tree
    shape = settings_shape.ROOT
    for word in name.removeprefix(PREFIX).split("__"):
        token = _token(word, node, shape)
        shape = settings_shape.step(shape, token) if token is not None else ()
        if token is None or not shape:
            return None, ()
        path, node = (*path, token), documents.step(node, token)
    return path, shape


def _token(word: str, node: Node | None, shape: Shape) -> str | int | None:
    value = node.value if node else None
    if not word:
        return None
    if settings_shape.is_list(shape):
        length = len(value) if isinstance(value, list) else 0
        return int(word) if re.fullmatch(r"[0-9]{1,6}", word) and int(word) <= length else None
    if settings_shape.is_free_map(shape):
        known = value if isinstance(value, dict) else {}
        return next((key for key in known if _folded(key) == _folded(word)), _own(word))
    return word.lower()


def _folded(key: str) -> str:
    return re.sub(r"[^a-z0-9]", "_", key.lower())


def _own(word: str) -> str:
    """Return a new name: in small letters, unless it was written with some already."""
    return word.lower() if word.isupper() else word


def _value(name: str, text: str, path: Path, shape: Shape) -> tuple[Node | None, list[Problem]]:
    place = f"environment {name}"
    if not text.isprintable() and any("\ud800" <= letter <= "\udfff" for letter in text):
        return None, [Problem(place, dotted(path), "is not text in UTF-8")]
    if settings_shape.is_plain(shape):
        return Node(text, place), []
    return documents.parse(text, lambda _line: place, path)


def _put(tree: Node, path: Path, value: Node) -> Node:
    """Return ``tree`` with ``value`` at ``path``: maps are merged, all else replaced."""
    if not path:
        return _over(tree, value)
    child = _put(documents.step(tree, path[0]) or Node(None, value.place), path[1:], value)
    if isinstance(path[0], int):
        items = tree.value if isinstance(tree.value, list) else []
        return Node([*items[: path[0]], child, *items[path[0] + 1 :]], tree.place)
    children = tree.value if isinstance(tree.value, dict) else {}
    return Node({**children, path[0]: child}, tree.place)


def _over(below: Node, above: Node) -> Node:
    if not (isinstance(below.value, dict) and isinstance(above.value, dict)):
        return above
    children = dict(below.value)
    for key, child in above.value.items():
        children[key] = _over(children[key], child) if key in children else child
    return Node(children, below.place or above.place)


def _unknown(name: str) -> Problem:
    words = name.removeprefix(PREFIX)
    known = set(_known(words))
    near = complaints.similar(words, sorted(known))
    remedy = near.replace('"', f'"{PREFIX}', 1) if near else "see docs/configuration.md for all"
    if words.upper() in known:
        remedy = "its index is beyond the end of the list"
    return Problem(f"environment {shown(name)}", "", "names no setting", remedy)


def _known(words: str) -> Iterator[str]:
    """Yield what could have been meant, with the user's own names and indexes kept."""
    given = words.split("__")
    for path, section in settings_shape.every_section():
        parts = path.replace("[]", ".0").split(".") if path else []
        filled = [
            given[index] if part in {"NAME", "0"} and index < len(given) else part
            for index, part in enumerate(parts)
        ]
        for key in settings_shape.fields(section):
            yield "__".join([*filled, key]).upper()
