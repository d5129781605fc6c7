"""What is wrong with settings, in plain words: one line each, and no secret in any."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from monitor.config import schema
from monitor.config.yaml_document import Path, dotted, shown
from monitor.errors import Problem

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pydantic import ValidationError
    from pydantic_core import ErrorDetails

    from monitor.config.layers import Layers
    from monitor.config.schema import Shape

_TELLING = 3
"""Letters of a name's beginning that tell which is meant."""
_LIMITS = {
    "greater_than": "more than",
    "greater_than_equal": "at least",
    "less_than": "less than",
    "less_than_equal": "at most",
}
_WORDS = (
    ({"string_unicode", "invalid_key"}, ("is not text in UTF-8", "")),
    ({"none_required"}, ("is not available yet", "leave it out")),
    ({"bool_type", "bool_parsing"}, ("must be true or false", "")),
    (
        {"int_type", "int_parsing", "int_from_float", "int_parsing_size"},
        ("must be a whole number", ""),
    ),
    ({"float_type", "float_parsing", "finite_number"}, ("must be a number", "")),
    ({"list_type"}, ("must be a list", "write it as [a, b], or one item a line after a dash")),
    (
        {"dict_type", "model_type", "model_attributes_type"},
        ("must be a map", "write `key: value` pairs"),
    ),
)
_TEMPLATES = frozenset({"slack", "teams", "pagerduty"})
"""The templates that come with the program, which are often written as types of sinks."""
_ALIASES = {"msteams": "teams", "microsoft-teams": "teams", "pager": "pagerduty"}
_OVER_HTTP = frozenset({
    "chime", "discord", "gchat", "google-chat", "googlechat", "http", "https", "mattermost",
    "opsgenie", "rocket.chat", "rocketchat", "telegram", "victorops", "webex", "zulip",
})  # fmt: skip
"""Further receivers that a webhook can serve with a template of the user's own."""
_BY_APPRISE = frozenset({
    "email", "e-mail", "gotify", "mail", "matrix", "ntfy", "pushover", "signal", "sms", "smtp",
})  # fmt: skip
_ABSENT = frozenset({"missing", "union_tag_not_found"})
_OTHERWISE = ("has a value that cannot be used", "")

SCREEN = 20
"""Lines of a report before the rest is only counted."""


def report(problems: Sequence[Problem], limit: int = SCREEN) -> str:
    """Write a line for each problem, and how many more there are beyond ``limit``."""
    lines = [f"{'warning: ' if problem.warning else ''}{problem}" for problem in problems]
    if len(lines) > limit:
        lines = [*lines[: limit - 1], f"… and {len(lines) - limit + 1} more"]
    return "\n".join(lines)


def tidy(problems: Iterable[Problem]) -> list[Problem]:
    """Order problems by file and line, and keep the first mistake and warning of each value."""
    first: dict[tuple[str, str, bool], Problem] = {}
    for problem in problems:
        first.setdefault((problem.place, problem.path, problem.warning), problem)
    return sorted(first.values(), key=_position)


def _position(problem: Problem) -> tuple[bool, str, int]:
    name, _, line = problem.place.rpartition(":")
    if not line.isdigit():
        return True, problem.place, 0
    return False, name, int(line)


def nearest(word: str, known: Iterable[str]) -> str | None:
    """Return the known name that was most likely meant, if any is near."""
    names = {name.lower(): name for name in known}
    given = shown(word).lower()
    begun = [name for name in names if len(given) >= _TELLING and name.startswith(given)]
    near = begun or difflib.get_close_matches(given, names, n=1, cutoff=0.6)
    return names[near[0]] if near else None


def similar(word: str, known: Iterable[str]) -> str:
    """Say ``did you mean "…"?``, or nothing if no known name is near."""
    near = nearest(word, known)
    return f'did you mean "{shown(near)}"?' if near else ""


def one_of(word: str, known: Iterable[str], limit: int = 8) -> str:
    """Suggest the nearest known name, or else list them."""
    names = sorted(known)
    more = ", …" if len(names) > limit else ""
    listed = f"known: {', '.join(shown(name) for name in names[:limit])}{more}" if names else ""
    return similar(word, names) or listed


@dataclass(frozen=True, slots=True)
class Spot:
    """Where pydantic found something wrong.

    ``node`` is what was written there, and ``shape`` what may be: of an unknown key, what may
    stand beside it. ``holder`` is the shape of what holds it.
    """

    path: Path
    node: Layers | None
    shape: Shape
    holder: Shape
    kind: str


def spots(error: ValidationError, layers: Layers) -> list[Spot]:
    """Find what is wrong in what was written."""
    return [_locate(detail, layers) for detail in _details(error)]


def complaints(
    error: ValidationError, layers: Layers, *, whole: bool = True, root: Shape = schema.ROOT
) -> list[Problem]:
    """Say what pydantic found, where it was written, and how to mend it.

    Unless the settings are ``whole``, what is missing may stand in the part that is not there.
    ``root`` is what ``layers`` should be.
    """
    told = [each for each in _details(error) if whole or each["type"] not in _ABSENT]
    return [_problem(detail, layers, root) for detail in told]


def _details(error: ValidationError) -> list[ErrorDetails]:
    return error.errors(include_url=False, include_input=False)


def _problem(detail: ErrorDetails, layers: Layers, root: Shape) -> Problem:
    spot = _locate(detail, layers, root)
    path = spot.path
    if spot.kind == "union_tag_invalid":
        path = (*path, "type")
    message, remedy = _words(detail, spot)
    return Problem(layers.place_of(path), dotted(path), message, remedy)


def _locate(detail: ErrorDetails, layers: Layers, root: Shape = schema.ROOT) -> Spot:
    """Follow pydantic's location, which also names the members of unions it went through."""
    path: Path = ()
    node: Layers | None = layers
    shape = holder = root
    last = len(detail["loc"]) - 1
    for index, token in enumerate(detail["loc"]):
        child = node.step(token) if node else None
        if child is not None or (index == last and detail["type"] == "missing"):
            holder = _narrowed(shape, node)
            path, node, shape = (*path, token), child, _under(shape, token, node)
    return Spot(path, node, shape, holder, detail["type"])


def _under(shape: Shape, token: str | int, node: Layers | None) -> Shape:
    found = schema.step(_narrowed(shape, node), token)
    # Of an unknown key, what may stand beside it is what matters.
    return found or _narrowed(shape, node)


def _narrowed(shape: Shape, node: Layers | None) -> Shape:
    kind = node.step("type") if node else None
    return schema.sections(shape, kind.value if kind else None) or shape


def _words(detail: ErrorDetails, spot: Spot) -> tuple[str, str]:
    """Return message and remedy; of all types of error these depend on what was written."""
    context: dict[str, Any] = detail.get("ctx", {})
    match spot.kind:
        case "missing":
            return "is missing", f"add `{shown(str(spot.path[-1]))}: …`"
        case "extra_forbidden":
            return "unknown key", _unknown_key(str(spot.path[-1]), spot.shape)
        case "string_type":
            return "must be text", _quoted(spot.node)
        case "literal_error" | "union_tag_invalid":
            return _not_among(spot, context)
        case "union_tag_not_found":
            return "has no `type`", f"add `type:` {' or '.join(schema.kinds(spot.shape))}"
        case kind:
            return _fixed_words(kind, context)


def _fixed_words(kind: str, context: dict[str, Any]) -> tuple[str, str]:
    if kind == "value_error":
        return _own_words(str(context["error"]))
    if kind in _LIMITS:
        return f"must be {_LIMITS[kind]} {next(iter(context.values())):g}", ""
    return next((words for kinds, words in _WORDS if kind in kinds), _OTHERWISE)


def _own_words(text: str) -> tuple[str, str]:
    """Take ``message (remedy)``, as the settings say it, apart."""
    message, _, remedy = text.removesuffix(")").partition(" (")
    return message, remedy


@lru_cache(maxsize=256)
def _unknown_key(key: str, shape: Shape) -> str:
    siblings = schema.keys(shape)
    near = similar(key, siblings)
    homes = schema.homes(key)
    elsewhere = [home if "." in home else "the top level" for home in homes]
    if near or not elsewhere:
        return near or one_of(key, siblings, limit=20)
    return f"it belongs to {' or '.join(elsewhere[:3])}"


def _quoted(node: Layers | None) -> str:
    value = node.value if node else None
    return "put it in quotes" if isinstance(value, bool | int | float) else ""


def _not_among(spot: Spot, context: dict[str, Any]) -> tuple[str, str]:
    tag = spot.kind == "union_tag_invalid"
    node = spot.node.step("type") if spot.node and tag else spot.node
    known = re.findall(r"'([^']*)'", str(context.get("expected_tags") or context["expected"]))
    value = node.value if node else None
    if not isinstance(value, str):
        return f"must be one of {', '.join(known)}", ""
    remedy = _as_webhook(value) if tag and spot.path[:1] == ("sinks",) else ""
    return f'unknown value "{shown(value)}"', remedy or one_of(value, known)


def _as_webhook(value: str) -> str:
    """Say how a webhook serves a receiver whose name was written as the type of a sink."""
    given = value.strip().lower().replace("_", "-").replace(" ", "-")
    ready = _ALIASES.get(given, given)
    if ready in _TEMPLATES:
        return f"write `type: webhook` with `template: {ready}`"
    if given in {"http", "https"}:
        return "write `type: webhook`"
    if given in _OVER_HTTP:
        return "write `type: webhook` with `template:` a file of your own, or `type: apprise`"
    return "write `type: apprise`, which knows it" if given in _BY_APPRISE else ""
