"""Environment variables → values over those of the files.

``JOB_MONITOR_SERVER__LISTEN`` is ``server.listen``; ``JOB_MONITOR_WATCHES__0__INTERVAL``
is the interval of the first watch; lists and maps are written as YAML or JSON. An empty
variable counts as not set. Only the plug-in knows the settings of a plug-in's sink: there, any
key may be set, and a text that begins with a bracket is a list or a map.

The settings library could read variables too, but it knows no items of lists and no names with
other signs, ignores unknown variables, and forgets which variable a value came from.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from monitor.config import messages, schema, yaml_document
from monitor.config.settings import ENVIRONMENT_PREFIX, PluginSink, plugin_names
from monitor.config.yaml_document import Node, Path, dotted, shown
from monitor.errors import Problem

if TYPE_CHECKING:
    from collections.abc import Mapping

    from monitor.config.schema import Shape

RESERVED = frozenset({"CONFIG", "SERVER", "TOKEN_FILE", "CA_FILE"})
"""Variables of the command line, which are not settings.

``JOB_MONITOR_SERVER`` is one while it does not hold the settings of the server as a map.
"""

_SERVICE = re.compile(  # what Kubernetes sets for a Service named job-monitor
    r"SERVICE_HOST|SERVICE_PORT(_[A-Z0-9_]+)?|PORT(_[0-9]+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?"
)
_SIBLING = re.compile(rf"[A-Z0-9]+(_[A-Z0-9]+)*?_({_SERVICE.pattern})")
_SIBLING_VALUE = re.compile(r"(tcp|udp|sctp)(://\S+)?|[0-9]{1,5}|[0-9a-fA-F.:]+")


def overlay(environ: Mapping[str, str], tree: Node) -> tuple[Node, list[Problem]]:
    """Return ``tree`` with what the variables set, and every problem of the variables.

    A variable may name indexes and names of ``tree``, and those that another variable gives.
    """
    problems: list[Problem] = []
    given = {
        name.removeprefix(ENVIRONMENT_PREFIX): text
        for name, text in environ.items()
        if name.startswith(ENVIRONMENT_PREFIX)
    }
    # What holds others comes before them, and a ``type`` before what it decides on.
    for words in sorted(given, key=lambda w: (w.count("__"), not w.upper().endswith("__TYPE"), w)):
        text = given[words]
        # Kubernetes sets some for this Service, and for siblings whose names begin like it. A
        # sibling's could be a misspelled setting: only its typical values count.
        sibling = _SIBLING.fullmatch(words) and _SIBLING_VALUE.fullmatch(text)
        # A map holds settings, and one word does not.
        reserved = words in RESERVED and not text.lstrip().startswith("{")
        if reserved or _SERVICE.fullmatch(words) or sibling:
            continue
        # The tree grows with each variable, so that later ones can name what it added.
        path, shape = _target(words.split("__"), tree)
        if path is None:
            problems.append(_unknown(words))
        elif text:
            value, found = _value(f"environment {ENVIRONMENT_PREFIX}{words}", text, path, shape)
            problems += found
            tree = _put(tree, path, value) if value else tree
    return tree, problems


def _target(words: list[str], tree: Node) -> tuple[Path | None, Shape]:
    """Find which setting a variable names."""
    path: Path = ()
    node: Node | None = tree
    shape = schema.ROOT
    for word in words:
        # Only a plug-in knows its own settings: any key may be set there.
        written = node.get("type") if node and PluginSink in shape else None
        kind = written.value if written else None
        if isinstance(kind, str) and kind not in schema.kinds(shape) and kind in plugin_names():
            own = word.lower() in schema.keys((PluginSink,))
            shape = (PluginSink,) if own else schema.UNKNOWN
        token = _token(word, node, shape)
        shape = schema.step(shape, token) if token is not None else ()
        if token is None or not shape:
            return None, ()
        path, node = (*path, token), node.get(token) if node else None
    return path, shape


def _token(word: str, node: Node | None, shape: Shape) -> str | int | None:
    value = node.value if node else None
    if not word:
        return None
    origins = schema.origins(shape)
    if list in origins:
        # One index beyond the end appends; more would leave a hole.
        length = len(value) if isinstance(value, list) else 0
        return int(word) if re.fullmatch(r"[0-9]{1,6}", word) and int(word) <= length else None
    if dict in origins or shape == schema.UNKNOWN:
        # A user's own name may hold signs that the name of a variable cannot.
        names = (
            {re.sub(r"[^a-z0-9]", "_", key.lower()): key for key in reversed(value)}
            if isinstance(value, dict)
            else {}
        )
        return names.get(
            re.sub(r"[^a-z0-9]", "_", word.lower()), word.lower() if word.isupper() else word
        )
    return word.lower()


def _value(place: str, text: str, path: Path, shape: Shape) -> tuple[Node | None, list[Problem]]:
    if any("\ud800" <= letter <= "\udfff" for letter in text):
        return None, [Problem(place, dotted(path), "is not text in UTF-8")]
    # A plug-in makes of a text what it needs, but no list and no map.
    structured = shape == schema.UNKNOWN and text.lstrip().startswith(("[", "{"))
    holds_others = {dict, list} & schema.origins(shape) or schema.sections(shape)
    if not (holds_others or structured):
        return Node(text, place), []
    return yaml_document.parse(text, lambda _line: place, path)


def _put(node: Node | None, path: Path, value: Node) -> Node:
    """Return ``node`` with ``value`` at ``path``; what stands there already is kept below it."""
    if not path:
        return node.overlaid(value) if node else value
    token, *rest = path
    held: Any = node.value if node else None
    child = _put(node.get(token) if node else None, tuple(rest), value)
    place = node.place if node and isinstance(held, dict | list) else value.place
    if isinstance(token, int):
        items = held if isinstance(held, list) else []
        return Node([*items[:token], child, *items[token + 1 :]], place)
    return Node({**(held if isinstance(held, dict) else {}), token: child}, place)


def _unknown(words: str) -> Problem:
    """Say that a variable names no setting, and which could have been meant."""
    # Free names and indexes are taken from what was given, so that only the rest can differ.
    given, known = words.split("__"), set[str]()
    for path, section in schema.every_section():
        parts = path.replace("[]", ".0").split(".") if path else []
        filled = [
            given[index] if part in {"NAME", "0"} and index < len(given) else part
            for index, part in enumerate(parts)
        ]
        known |= {"__".join([*filled, key]).upper() for key in schema.fields(section)}
    near = messages.similar(words, sorted(known))
    remedy = near.replace('"', f'"{ENVIRONMENT_PREFIX}', 1) or "see docs/configuration.md for all"
    if words.upper() in known:
        remedy = "its index is beyond the end of the list"
    name = shown(ENVIRONMENT_PREFIX + words)
    return Problem(f"environment {name}", "", "names no setting", remedy)
