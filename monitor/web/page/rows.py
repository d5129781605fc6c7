"""The lines of the page: a job with its strip, a transition with its deliveries."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

import orjson

from monitor.model import DeliveryStatus, Kind, Phase
from monitor.web.page import filters, timeline

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from monitor.model import StoredDelivery
    from monitor.web.interfaces import JobStatus
    from monitor.web.page.timeline import Segment

_SHORT = 120
_KINDS = {
    Kind.DISCOVERED: "first seen",
    Kind.STATE_CHANGED: "changed",
    Kind.UPDATED: "updated",
    Kind.MISSING: "gone missing",
    Kind.REAPPEARED: "back again",
    Kind.STUCK: "stuck",
    Kind.UNSTUCK: "moving again",
}
_CHANGES = frozenset({Kind.DISCOVERED, Kind.STATE_CHANGED})


@dataclass(frozen=True, slots=True)
class Window:
    """Between which two looks something happened; ``after`` is ``None`` at first sight."""

    after: datetime | None
    before: datetime

    @property
    def seconds(self) -> float | None:
        """How wide it is."""
        return (self.before - self.after).total_seconds() if self.after else None


@dataclass(frozen=True, slots=True)
class JobLine:
    """One job as it is shown."""

    followed: JobStatus
    phase: Phase
    flags: tuple[str, ...]
    strip: tuple[Segment, ...]
    window: Window | None

    @property
    def key(self) -> str:
        """The key of the job."""
        return self.followed.job.key

    @property
    def state(self) -> str:
        """Its state, in the words of its service."""
        return self.followed.snapshot.state if self.followed.snapshot else "not seen yet"

    @property
    def reason(self) -> str:
        """Why it is in that state, if its service says so."""
        return (self.followed.snapshot.reason or "") if self.followed.snapshot else ""

    @property
    def since(self) -> datetime | None:
        """When its state was first seen."""
        return self.followed.snapshot.changed_at if self.followed.snapshot else None


@dataclass(frozen=True, slots=True)
class TransitionLine:
    """One row of the ledger, and who has been told of it."""

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


def job_line(followed: JobStatus, events: Sequence[Mapping[str, Any]], now: datetime) -> JobLine:
    """Make the line of a job from its last CloudEvents, in order."""
    flags = tuple(flag for flag in filters.FLAGS if getattr(followed, flag))
    changes = [event for event in events if event["data"]["kind"] != Kind.UPDATED]
    return JobLine(
        followed,
        filters.phase_of(followed),
        flags,
        timeline.draw(changes, now),
        _window(_last_change(events)["data"]["window"]) if events else None,
    )


def transition_line(
    position: int, data: Mapping[str, Any], deliveries: Iterable[StoredDelivery]
) -> TransitionLine:
    """Make the line of a transition from the ``data`` of its CloudEvent."""
    previous, current, occurred = data["previous"], data["current"], data["occurred_at"]
    return TransitionLine(
        position=position,
        sequence=data["sequence"],
        kind=data["kind"],
        title=_KINDS.get(data["kind"], data["kind"]),
        previous=previous["state"] if previous else None,
        state=current["state"],
        phase=current.get("phase", Phase.UNKNOWN.value),
        severity=data["severity"],
        reason=data["reason"],
        window=_window(data["window"]),
        occurred_at=datetime.fromisoformat(occurred) if occurred else None,
        changes=tuple(
            (change["field"], value_text(change["from"]), value_text(change["to"]))
            for change in data["changes"]
        ),
        deliveries=tuple(deliveries),
    )


def value_text(value: Any) -> str:
    """Write a JSON value for people; text stands without quotes."""
    if value is None:
        return "\N{EN DASH}"
    return value if isinstance(value, str) else orjson.dumps(value, default=dict).decode()


def failed_tries(delivery: StoredDelivery) -> int:
    """Return how many attempts failed: of those of what was delivered, all but the last."""
    taken = delivery.status is DeliveryStatus.DELIVERED
    return max(0, delivery.attempts - int(taken))


def shortened(text: str) -> str:
    """Cut text that would make a row too high; the whole of it stands with the job."""
    return text if len(text) <= _SHORT else f"{text[:_SHORT].rstrip()} …"


def _last_change(events: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """Return the event that told the present state; failing that, the last one."""
    changes = (event for event in reversed(events) if event["data"]["kind"] in _CHANGES)
    return next(changes, events[-1])


def _window(told: Mapping[str, str | None]) -> Window:
    after = told["after"]
    return Window(
        datetime.fromisoformat(after) if after else None,
        datetime.fromisoformat(told["before"] or ""),
    )
