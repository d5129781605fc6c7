"""The sink ``eventbridge``: events on an event bus."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from monitor.config import EventBridgeSink
from monitor.sinks.aws import target
from monitor.sinks.aws.batch import BatchForm, aws_kind
from monitor.sinks.aws.messages import text
from monitor.sinks.aws.refusals import UNANSWERED, EntryRefusal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from monitor.sinks.aws.target import AwsTarget

SOURCE = "io.job-monitor"
_BLAMES = ("Invalid", "Malformed", "Validation")
"""How the codes begin that blame the entry."""


def form(bus: AwsTarget) -> BatchForm:
    """Return the form of requests to the event bus."""

    def entry(event: Mapping[str, Any]) -> dict[str, Any]:
        data = event["data"]
        return {
            "Time": event["time"],
            "Source": SOURCE,
            "DetailType": data["kind"],
            "Detail": text(event),
            "Resources": [(data.get("job") or data["source"])["key"]],
            "EventBusName": bus.address,
        }

    return BatchForm("PutEvents", entry, lambda entries: {"Entries": list(entries)}, outcomes)


def outcomes(answer: Mapping[str, Any], count: int) -> list[EntryRefusal | None]:
    """Read an answer: in the order of the entries, an id where one was taken, or a code."""
    found: list[EntryRefusal | None] = []
    for entry in answer.get("Entries", [])[:count]:
        if code := entry.get("ErrorCode"):
            found.append(EntryRefusal(code, sender=code.startswith(_BLAMES)))
        else:
            found.append(None if entry.get("EventId") else UNANSWERED)
    return found


KIND = aws_kind(EventBridgeSink, target.event_bus, form, "events:PutEvents")
