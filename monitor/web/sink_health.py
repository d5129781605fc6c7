"""Whether a sink takes what it is sent: from what its dispatcher saw and from the store."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from datetime import datetime

    from monitor import model
    from monitor.web import interfaces

Status = Literal["ok", "failing", "parked"]


@dataclass(frozen=True, slots=True)
class SinkStatus:
    """``status`` is ``ok``, ``failing`` (nothing taken since the last failure) or ``parked``."""

    status: Status
    failing_since: datetime | None
    last_error: str | None


def judge(
    sink: interfaces.Sink, backlog: model.Backlog | None, parking: model.Parking | None
) -> SinkStatus:
    """Judge a sink.

    What failed before the daemon started is known by the deliveries that still wait: it counts
    until something is delivered.
    """
    since, error = sink.failing_since, sink.last_error
    if backlog is not None and sink.last_delivered_at is None:
        stored = backlog.failing_since
        since = min(since, stored) if since and stored else since or stored
        error = error or backlog.last_error
    if parking is not None:
        return SinkStatus("parked", since, error or parking.reason)
    return SinkStatus("failing" if since else "ok", since, error)
