"""The sink ``eventbridge``: events on an event bus."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from monitor.sinks.aws.batch import Form
from monitor.sinks.aws.messages import text
from monitor.sinks.aws.refusals import UNTOLD, Refusal

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from monitor.sinks.aws.target import Target

SOURCE = "io.job-monitor"
_BLAMES = ("Invalid", "Malformed", "Validation")
"""How the codes begin that blame the entry."""


def form(target: Target) -> Form:
    """Say how the event bus takes events."""

    def entry(event: Mapping[str, Any]) -> dict[str, Any]:
        data = event["data"]
        return {
            "Time": event["time"],
            "Source": SOURCE,
            "DetailType": data["kind"],
            "Detail": text(event),
            "Resources": [(data.get("job") or data["source"])["key"]],
            "EventBusName": target.address,
        }

    return Form("PutEvents", entry, _params, _outcomes)


def _params(entries: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    return {"Entries": list(entries)}


def _outcomes(answer: Mapping[str, Any], count: int) -> list[Refusal | None]:
    """Entries are answered in their order: with an id where taken, with a code where not."""
    return [_outcome(each) for each in answer.get("Entries", [])][:count]


def _outcome(entry: Mapping[str, Any]) -> Refusal | None:
    if code := entry.get("ErrorCode"):
        return Refusal(code, sender=code.startswith(_BLAMES))
    return None if entry.get("EventId") else UNTOLD
