"""Events as bytes for programs, and in one line for people."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

from monitor.model import TERMINAL, Kind

if TYPE_CHECKING:
    from collections.abc import Mapping

_VERBS = {
    Kind.DISCOVERED: "was found",
    Kind.UPDATED: "was updated",
    Kind.MISSING: "is missing",
    Kind.REAPPEARED: "is back",
    Kind.STUCK: "is stuck",
    Kind.UNSTUCK: "moves again",
    Kind.REMINDER: "is still stuck",
}


def encode(event: Mapping[str, Any]) -> bytes:
    """Write an event as one line of JSON, the same bytes for the same event every time."""
    return orjson.dumps(event, default=dict, option=orjson.OPT_SORT_KEYS)


def title(event: Mapping[str, Any]) -> str:
    """Return one line such as ``importexport.job EX1ID: AtAWS/Pending → AtAWS/InProgress``."""
    data = event["data"]
    if "job" not in data:
        source = data["source"]
        lost = data["kind"] == Kind.SOURCE_UNAVAILABLE
        now = "is unreachable" if lost else "is reachable again"
        return f"{source['service']} in {source['account']}/{source['region']} {now}"
    name = f"{data['job']['type']} {data['job']['id']}"
    state = data["current"]["state"]
    verb = _VERBS.get(data["kind"])
    if data["kind"] == Kind.DISCOVERED and data["current"]["phase"] in TERMINAL:
        verb = "had ended when it was first seen"
    if verb:
        return f"{name} {verb} ({state})"
    return f"{name}: {data['previous']['state']} → {state}"
