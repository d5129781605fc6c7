"""Problems of settings in plain words: one line each, and no secret in any."""

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

    from monitor.config.schema import Shape
    from monitor.config.yaml_document import Node

_TELLING = 3
"""Letters of a name's beginning that show which one is meant."""
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
# Users try the name of a service as the type of a sink before they find the webhook.
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
_MISSING = frozenset({"missing", "union_tag_not_found"})
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
    """Order problems by file and line, and keep the first error and warning of each value."""
    first: dict[tuple[str, str, bool], Problem] = {}
    for problem in problems:
        first.setdefault((problem.place, problem.path, problem.warning), problem)

    def position(problem: Problem) -> tuple[bool, str, int]:
        # Lines are compared as numbers, and what has none (a variable) comes last.
        name, _, line = problem.place.rpartition(":")
        return (False, name, int(line)) if line.isdigit() else (True, problem.place, 0)

    return sorted(first.values(), key=position)


def similar(word: str, known: Iterable[str]) -> str:
    """Say ``did you mean "…"?``, or nothing if no known name is near."""
    names = {name.lower(): name for name in known}
    given = shown(word).lower()
    # An abbreviation is more likely than a typo: a shared beginning wins.
    begun = [name for name in names if len(given) >= _TELLING and name.startswith(given)]
    near = begun or difflib.get_close_matches(given, names, n=1, cutoff=0.6)
    return f'did you mean "{shown(names[near[0]])}"?' if near else ""


def one_of(word: str, known: Iterable[str], limit: int = 8) -> str:
    """Suggest the nearest known name, or else list them."""
    names = sorted(known)
    more = ", …" if len(names) > limit else ""
    listed = f"known: {', '.join(shown(name) for name in names[:limit])}{more}" if names else ""
    return similar(word, names) or listed


@dataclass(frozen=True, slots=True)
class _Spot:
    """The place where pydantic found something wrong.

    ``node`` is what was written there, and ``shape`` what may be: of an unknown key, what may
    stand beside it.
    """

    path: Path
    node: Node | None
    shape: Shape


def of_shape(
    error: ValidationError, tree: Node, *, missing: bool = True, root: Shape = schema.ROOT
) -> list[Problem]:
    """Say what pydantic found, where it was written, and how to fix it.

    Without ``missing``, say nothing of what is missing. ``root`` is what ``tree`` should be.
    """
    problems = []
    for detail in error.errors(include_url=False, include_input=False):
        kind = detail["type"]
        if kind in _MISSING and not missing:
            continue
        spot = _locate(detail, tree, root)
        path = (*spot.path, "type") if kind == "union_tag_invalid" else spot.path
        message, remedy = _words(detail, spot, root)
        problems.append(Problem(tree.place_of(path), dotted(path), message, remedy))
    return problems


def _locate(detail: ErrorDetails, tree: Node, root: Shape) -> _Spot:
    """Follow pydantic's location, which also names the members of unions it went through."""
    path: Path = ()
    node: Node | None = tree
    shape = root
    last = len(detail["loc"]) - 1
    for index, token in enumerate(detail["loc"]):
        child = node.get(token) if node else None
        if child is not None or (index == last and detail["type"] == "missing"):
            kind = node.get("type") if node else None
            holder = schema.sections(shape, kind.value if kind else None) or shape
            # Of an unknown key, what may stand beside it is what matters.
            path, node, shape = (*path, token), child, schema.step(holder, token) or holder
    return _Spot(path, node, shape)


def _words(  # noqa: PLR0911 -- one a kind
    detail: ErrorDetails, spot: _Spot, root: Shape
) -> tuple[str, str]:
    """Return message and remedy; for these kinds of error they depend on what was written."""
    context: dict[str, Any] = detail.get("ctx", {})
    match detail["type"]:
        case "missing":
            return "is missing", f"add `{shown(str(spot.path[-1]))}: …`"
        case "extra_forbidden":
            return "unknown key", _unknown_key(str(spot.path[-1]), spot.shape, root)
        case "string_type":
            value = spot.node.value if spot.node else None
            quotable = isinstance(value, bool | int | float)
            return "must be text", "put it in quotes" if quotable else ""
        case "literal_error":
            return _not_among(spot.node, str(context["expected"]))
        case "union_tag_invalid":
            kind = spot.node.get("type") if spot.node else None
            is_sink = spot.path[:1] == ("sinks",)
            return _not_among(kind, str(context["expected_tags"]), is_sink=is_sink)
        case "union_tag_not_found":
            return "has no `type`", f"add `type:` {' or '.join(schema.kinds(spot.shape))}"
        case "value_error":
            # The settings write their errors as ``message (remedy)``.
            message, _, remedy = str(context["error"]).removesuffix(")").partition(" (")
            return message, remedy
        case kind if kind in _LIMITS:
            return f"must be {_LIMITS[kind]} {next(iter(context.values())):g}", ""
        case kind:
            return next((words for kinds, words in _WORDS if kind in kinds), _OTHERWISE)


# Thousands of watches made by a script may all have the same unknown key.
@lru_cache(maxsize=256)
def _unknown_key(key: str, shape: Shape, root: Shape) -> str:
    siblings = schema.keys(shape)
    near = similar(key, siblings)
    elsewhere = [
        f"{path}.{key}" if path else "the top level"
        for path, section in schema.every_section(root)
        if key in schema.fields(section)
    ]
    if near or not elsewhere:
        return near or one_of(key, siblings, limit=20)
    return f"it belongs to {' or '.join(elsewhere[:3])}"


def _not_among(node: Node | None, listed: str, *, is_sink: bool = False) -> tuple[str, str]:
    known = re.findall(r"'([^']*)'", listed)
    value = node.value if node else None
    if not isinstance(value, str):
        return f"must be one of {', '.join(known)}", ""
    remedy = _as_webhook(value) if is_sink else ""
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
