"""What a receiver's yes looks like: an expression over its reply.

Facts on the services, each from its own documentation:

- Slack answers an incoming webhook with the text ``ok``, and a call of its Web API such as
  ``chat.postMessage`` with 200 and ``{"ok": false, "error": "…"}`` where it refuses.
- Teams answers a workflow's request with 202, and a connector's with 200: the text is ``1``
  where it took the message, and a sentence on the failure where it did not.
- PagerDuty's Events API v2 answers 202 and ``{"status": "success", …}``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import jmespath
import orjson
from jmespath.exceptions import JMESPathError
from jmespath.functions import Functions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    Node = Mapping[str, Any]

READY = {
    "slack": "text == 'ok' || json.ok == `true`",
    "teams": "status == `202` || text == '1' || text == ''",
    "pagerduty": "status == `202` && json.status == 'success'",
}
"""The expressions of the templates that come with the program."""

MEMBERS = ("status", "headers", "text", "json")
_LITERALS = ("true", "false", "null")
_SPELLING = "write numbers, true and false in backticks, and texts in single quotes"
_KEEPS_PLACE = frozenset({"current", "identity"})
_STEPS = frozenset({
    "subexpression", "pipe", "index_expression", "projection", "value_projection",
    "filter_projection", "flatten",
})  # fmt: skip
"""Nodes whose first child reads the reply, and whose others read what that gave."""


class SuccessError(ValueError):
    """An expression cannot be used; ``remedy`` says what to write."""

    def __init__(self, message: str, remedy: str) -> None:
        """Keep both for a problem of the configuration."""
        super().__init__(message)
        self.message = message
        self.remedy = remedy


@dataclass(frozen=True, slots=True)
class Success:
    """A compiled expression; one of the same text is the same."""

    text: str
    search: Callable[[Any], Any] = field(compare=False, repr=False)

    def holds(self, status: int, headers: Mapping[str, str], body: bytes) -> bool:
        """Judge a reply; ``headers`` have lower-case names, ``body`` is what was read of it.

        What meets null, or a value of the wrong type, is false.
        """
        seen = {
            "status": status,
            "headers": dict(headers),
            "text": body.decode(errors="replace").strip(),
            "json": _json(body),
        }
        try:
            given = self.search(seen)
        except (JMESPathError, TypeError, ValueError, ArithmeticError):
            return False
        # These are false in JMESPath itself; 0 is true.
        return not (given is None or given is False or given in ("", [], {}))


def compiled(text: str) -> Success:
    """Compile an expression, and check what it reads and which functions it calls.

    Raises:
        SuccessError: it is not JMESPath, or can never be true.
    """
    try:
        parsed = jmespath.compile(text)
        fault = next(_faults(parsed.parsed, at_reply=True), None)
    except RecursionError:
        fault = "is nested too deeply", "write a shorter expression"
    except JMESPathError as error:
        first = str(error).partition("\n")[0].rstrip(":")
        fault = f"is not a JMESPath expression: {first}", _SPELLING
    if fault:
        raise SuccessError(*fault)
    return Success(text, parsed.search)


def _json(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except ValueError:
        return None


def _faults(node: Node, *, at_reply: bool) -> Iterator[tuple[str, str]]:
    """Yield what is wrong in a node of the syntax tree; ``at_reply``: it reads the whole reply."""
    kind, children = node["type"], node["children"]
    if kind == "field" and at_reply and node["value"] not in MEMBERS:
        yield _unknown_member(node["value"])
    if kind == "subexpression" and children[0]["type"] == "not_expression":
        yield (
            "negates less than it seems to",
            "put what ! negates in brackets, as in !(json.failed)",
        )
    if kind == "function_expression":
        yield from _call_faults(node["value"], len(children))
    for number, child in enumerate(children):
        if isinstance(child, dict):
            yield from _faults(child, at_reply=at_reply and _reads_reply(kind, number, children))


def _reads_reply(kind: str, number: int, children: list[Node]) -> bool:
    if kind == "expref":
        return False
    return kind not in _STEPS or number == 0 or children[0]["type"] in _KEEPS_PLACE


def _unknown_member(name: str) -> tuple[str, str]:
    if name in _LITERALS:
        return f"reads a member {name} of the reply", f"write `{name}`, with the backticks"
    return f'reads "{name}", which a reply does not have', f"a reply has {', '.join(MEMBERS)}"


def _call_faults(name: str, given: int) -> Iterator[tuple[str, str]]:
    known = Functions.FUNCTION_TABLE.get(name)
    if known is None:
        yield f"calls the unknown function {name}()", "use a function of JMESPath"
        return
    signature = known["signature"]
    variadic = bool(signature) and signature[-1].get("variadic")
    if given != len(signature) and not (variadic and given > len(signature)):
        yield f"calls {name}() with {given} arguments", f"it takes {len(signature)}"
