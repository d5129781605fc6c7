"""The status of the followed jobs at one moment: what metrics, page and HTTP API read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from monitor import pacing
from monitor.interfaces import JobStatus
from monitor.polling.schedule import State

if TYPE_CHECKING:
    from datetime import datetime

    from monitor.errors import PollError
    from monitor.model import Snapshot
    from monitor.polling.schedule import ListingSweep, ScheduledJob


@dataclass(frozen=True, slots=True)
class ListingStatus:
    """The status of one listing.

    ``complete`` says whether its last sweep was complete, ``None`` before the first; ``trouble``
    is why a page failed since.
    """

    type: str
    complete: bool | None
    completed_at: datetime | None
    trouble: PollError | None


def listing_status(sweep: ListingSweep) -> ListingStatus:
    """Return the status of a listing."""
    return ListingStatus(
        type=sweep.source.job_type.name,
        complete=sweep.complete,
        completed_at=sweep.completed_at,
        trouble=sweep.trouble,
    )


def job_status(
    scheduled: ScheduledJob,
    snapshot: Snapshot | None,
    interval: float,
    now: datetime,
    monotonic: float,
) -> JobStatus:
    """Return the status of a job; ``interval`` is its own, in seconds."""
    pace = max(interval, scheduled.pace)
    # Read once: a scrape, in its own thread, reads while the loop may finish the job.
    finished = scheduled.state is State.FINISHED
    blind = pacing.is_stale(scheduled.heard_at, pace, scheduled.blind_after, monotonic)
    following = scheduled.following
    return JobStatus(
        job=scheduled.job,
        watch=following.watch,
        labels=following.labels,
        snapshot=snapshot,
        interval=pace,
        looked_at=scheduled.looked_at or (snapshot.looked_at if snapshot else None),
        at=now,
        next_in=None if finished else max(0.0, scheduled.due - monotonic),
        failing=scheduled.failing,
        finished=finished,
        blind=blind and not finished,
    )
