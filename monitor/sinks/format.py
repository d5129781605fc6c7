"""What happened, in one line for people."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

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
}


def title(event: Mapping[str, Any]) -> str:
    """Return one line such as ``importexport.job EX1ID: AtAWS/Pending → AtAWS/InProgress``."""
    data = event["data"]
    if "job" not in data:
        source = data["source"]
        return f"{source['service']} in {source['account']}/{source['region']} {_seen(data)}"
    name = f"{data['job']['type']} {data['job']['id']}"
    state = data["current"]["state"]
    verb = _VERBS.get(data["kind"])
    if data["kind"] == Kind.DISCOVERED and data["current"]["phase"] in TERMINAL:
        verb = "had ended when it was first seen"
    if verb:
        return f"{name} {verb} ({state})"
    return f"{name}: {data['previous']['state']} → {state}"


def _seen(data: Mapping[str, Any]) -> str:
    lost = data["kind"] == Kind.SOURCE_UNAVAILABLE
    return "cannot be seen any more" if lost else "can be seen again"
