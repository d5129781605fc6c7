"""Environment variables → values over those of the files.

``JOB_MONITOR_SERVER__LISTEN`` is ``server.listen``; ``JOB_MONITOR_WATCHES__0__INTERVAL``
is the interval of the first watch; lists and maps are written as YAML or JSON. An empty
variable counts as not set. What a plug-in's sink can be told is known to the plug-in alone:
there, any key may be set, and a text that begins with a bracket is a list or a map.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from pydantic_settings import EnvSettingsSource

from monitor.config import messages, schema, yaml_document
from monitor.config.layers import Layers
from monitor.config.settings import PluginSink, Settings, plugin_names
from monitor.config.yaml_document import Node, Path, dotted, shown
from monitor.errors import Problem

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from monitor.config.schema import Shape

RESERVED = frozenset({"CONFIG"})
"""Variables of the command line, which are no settings."""

_SERVICE = re.compile(  # what Kubernetes sets for a Service named job-monitor
    r"SERVICE_HOST|SERVICE_PORT(_[A-Z0-9_]+)?|PORT(_[0-9]+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?"
)
_SIBLING = re.compile(rf"[A-Z0-9]+(_[A-Z0-9]+)*?_({_SERVICE.pattern})")
_SIBLING_VALUE = re.compile(r"(tcp|udp|sctp)(://\S+)?|[0-9]{1,5}|[0-9a-fA-F.:]+")


class Environment(EnvSettingsSource):
    """The settings that variables give.

    The library reads its prefix and delimiter from the settings, and puts what is given here
    over the files. Finding the setting of a variable is our own, as the library knows no
    items of lists and no names written with other signs, passes over unknown variables,
    and forgets which variable a value came from.
    """

    def __init__(self, environ: Mapping[str, str], files: Node) -> None:
        """Find what every variable sets; indexes and names may be those of ``files``.

        ``gaps`` are the settings that a variable names but gives no readable value, and
        ``whole`` tells whether every variable names one.
        """
        self._environ = environ
        super().__init__(Settings)
        self.tree = Node({})
        self.problems: list[Problem] = []
        self.gaps: list[Path] = []
        self.whole = True
        for words in sorted(self.env_vars, key=_order):
            self._take(words, self.env_vars[words] or "", files)

    def __call__(self) -> dict[str, Any]:
        """Return what is set; a list of which items are set is whole."""
        plain: dict[str, Any] = yaml_document.plain(self.tree)
        return plain

    def _load_env_vars(self) -> Mapping[str, str | None]:
        """Return our variables without the prefix, and none of the process's own environment."""
        named = {
            name.removeprefix(self.env_prefix): text
            for name, text in self._environ.items()
            if name.startswith(self.env_prefix)
        }
        return {
            words: text
            for words, text in named.items()
            if words not in RESERVED and not _injected(words, text)
        }

    def _take(self, words: str, text: str, files: Node) -> None:
        layers = Layers(self.tree, files)
        path, shape = _target(words.split(self.env_nested_delimiter), layers)
        name = f"{self.env_prefix}{words}"
        if path is None:
            self.problems.append(_unknown(self.env_prefix, words))
            self.whole = False
        elif text:
            value, more = _value(name, text, path, shape)
            self.problems += more
            self.gaps += [] if value else [path]
            self.tree = _put(layers, path, value) if value else self.tree


def _order(words: str) -> tuple[int, bool, str]:
    """Put what holds others before them, and a ``type`` before what it decides on."""
    return words.count("__"), not words.upper().endswith("__TYPE"), words


def _injected(words: str, text: str) -> bool:
    """Whether Kubernetes set the variable, for this Service or one whose name begins so."""
    if _SERVICE.fullmatch(words):
        return True
    return bool(_SIBLING.fullmatch(words) and _SIBLING_VALUE.fullmatch(text))


def _target(words: list[str], layers: Layers) -> tuple[Path | None, Shape]:
    """Find which setting a variable names."""
    path: Path = ()
    node: Layers | None = layers
    shape = schema.ROOT
    for word in words:
        if _is_plugin(node, shape):
            shape = (PluginSink,) if word.lower() in schema.keys((PluginSink,)) else schema.UNKNOWN
        token = _token(word, node, shape)
        shape = schema.step(shape, token) if token is not None else ()
        if token is None or not shape:
            return None, ()
        path, node = (*path, token), node.step(token) if node else None
    return path, shape


def _token(word: str, node: Layers | None, shape: Shape) -> str | int | None:
    value = node.value if node else None
    if not word:
        return None
    if schema.is_list(shape):
        length = len(value) if isinstance(value, list) else 0
        return int(word) if re.fullmatch(r"[0-9]{1,6}", word) and int(word) <= length else None
    if schema.is_free_map(shape) or schema.is_unknown(shape):
        known = value if isinstance(value, dict) else {}
        return next((key for key in known if _folded(key) == _folded(word)), _own(word))
    return word.lower()


def _is_plugin(node: Layers | None, shape: Shape) -> bool:
    """Whether it is a sink whose settings a plug-in knows, and not this program."""
    written = node.step("type") if node and PluginSink in shape else None
    kind = written.value if written else None
    return isinstance(kind, str) and kind not in schema.kinds(shape) and kind in plugin_names()


def _folded(key: str) -> str:
    return re.sub(r"[^a-z0-9]", "_", key.lower())


def _own(word: str) -> str:
    """Return a new name: in small letters, unless it was written with some already."""
    return word.lower() if word.isupper() else word


def _value(name: str, text: str, path: Path, shape: Shape) -> tuple[Node | None, list[Problem]]:
    place = f"environment {name}"
    if not text.isprintable() and any("\ud800" <= letter <= "\udfff" for letter in text):
        return None, [Problem(place, dotted(path), "is not text in UTF-8")]
    # A plug-in makes of a text what it needs, but no list and no map.
    structured = schema.is_unknown(shape) and text.lstrip().startswith(("[", "{"))
    if schema.is_plain(shape) and not structured:
        return Node(text, place), []
    return yaml_document.parse(text, lambda _line: place, path)


def _put(layers: Layers, path: Path, value: Node) -> Node:
    """Return the upper layer with ``value`` at ``path``; a list is taken over whole."""
    above = layers.above or Node(None, value.place)
    if not path:
        return _over(above, value)
    if isinstance(path[0], int):
        items = layers.value if isinstance(layers.value, list) else []
        item = items[path[0]] if path[0] < len(items) else Node(None, value.place)
        child = _put(Layers(item, None), path[1:], value)
        return Node([*items[: path[0]], child, *items[path[0] + 1 :]], layers.place)
    children = above.value if isinstance(above.value, dict) else {}
    child = _put(layers.step(path[0]) or Layers(Node(None, value.place), None), path[1:], value)
    return Node({**children, path[0]: child}, above.place)


def _over(below: Node, above: Node) -> Node:
    if not (isinstance(below.value, dict) and isinstance(above.value, dict)):
        return above
    children = dict(below.value)
    for key, child in above.value.items():
        children[key] = _over(children[key], child) if key in children else child
    return Node(children, below.place or above.place)


def _unknown(prefix: str, words: str) -> Problem:
    known = set(_known(words))
    near = messages.similar(words, sorted(known))
    remedy = near.replace('"', f'"{prefix}', 1) if near else "see docs/configuration.md for all"
    if words.upper() in known:
        remedy = "its index is beyond the end of the list"
    return Problem(f"environment {shown(prefix + words)}", "", "names no setting", remedy)


def _known(words: str) -> Iterator[str]:
    """Yield what could have been meant, with the user's own names and indexes kept."""
    given = words.split("__")
    for path, section in schema.every_section():
        parts = path.replace("[]", ".0").split(".") if path else []
        filled = [
            given[index] if part in {"NAME", "0"} and index < len(given) else part
            for index, part in enumerate(parts)
        ]
        for key in schema.fields(section):
            yield "__".join([*filled, key]).upper()
