"""The rows of the page: a job with its timeline, a transition with its deliveries."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

import orjson

from monitor.model import DeliveryStatus, Kind, Phase
from monitor.web.api.job_schemas import JobView, Window
from monitor.web.page import filters, timeline

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from monitor.interfaces import JobStatus
    from monitor.model import StoredDelivery
    from monitor.web.page.timeline import Segment

_KINDS = {
    Kind.DISCOVERED: "first seen",
    Kind.STATE_CHANGED: "changed",
    Kind.UPDATED: "updated",
    Kind.MISSING: "gone missing",
    Kind.REAPPEARED: "back again",
    Kind.STUCK: "stuck",
    Kind.UNSTUCK: "moving again",
    Kind.REMINDER: "still stuck",
}
_NO_STATES = frozenset({Kind.UPDATED, Kind.REMINDER})
"""Kinds that no bar stands for."""
_CHANGES = frozenset({Kind.DISCOVERED, Kind.STATE_CHANGED})


@dataclass(frozen=True, slots=True)
class JobRow:
    """One job as the page shows it."""

    view: JobView
    flags: tuple[str, ...]
    timeline: tuple[Segment, ...]
    window: Window | None


@dataclass(frozen=True, slots=True)
class TransitionRow:
    """One transition and its deliveries."""

    position: int
    sequence: int
    kind: str
    title: str
    previous: str | None
    state: str
    phase: str
    severity: str
    reason: str | None
    window: Window
    occurred_at: datetime | None
    changes: tuple[tuple[str, str, str], ...]
    deliveries: tuple[StoredDelivery, ...]


def job_row(status: JobStatus, events: Sequence[Mapping[str, Any]], now: datetime) -> JobRow:
    """Make the row of a job from its last CloudEvents, in order."""
    changes = [event for event in events if event["data"]["kind"] not in _NO_STATES]
    window = None
    if events:
        # The event that brought the present state; an older one may be deleted already.
        states = (event for event in reversed(events) if event["data"]["kind"] in _CHANGES)
        window = Window.model_validate(next(states, events[-1])["data"]["window"])
    return JobRow(
        view=JobView.of(status),
        flags=tuple(flag for flag, name in filters.FLAGS.items() if getattr(status, name)),
        timeline=timeline.draw(changes, now),
        window=window,
    )


def transition_row(
    position: int, data: Mapping[str, Any], deliveries: Iterable[StoredDelivery]
) -> TransitionRow:
    """Make the row of a transition from the ``data`` of its CloudEvent."""
    previous, current, occurred = data["previous"], data["current"], data["occurred_at"]
    return TransitionRow(
        position=position,
        sequence=data["sequence"],
        kind=data["kind"],
        title=_KINDS.get(data["kind"], data["kind"]),
        previous=previous["state"] if previous else None,
        state=current["state"],
        phase=current.get("phase", Phase.UNKNOWN.value),
        severity=data["severity"],
        reason=data["reason"],
        window=Window.model_validate(data["window"]),
        occurred_at=datetime.fromisoformat(occurred) if occurred else None,
        changes=tuple(
            (change["field"], value_text(change["from"]), value_text(change["to"]))
            for change in data["changes"]
        ),
        deliveries=tuple(deliveries),
    )


def value_text(value: Any) -> str:
    """Write a JSON value for people; text has no quotes."""
    if value is None:
        return "\N{EN DASH}"
    return value if isinstance(value, str) else orjson.dumps(value, default=dict).decode()


def failed_attempts(delivery: StoredDelivery) -> int:
    """Return how many attempts failed: all, but for the last one if it delivered."""
    taken = delivery.status is DeliveryStatus.DELIVERED
    return max(0, delivery.attempts - int(taken))
