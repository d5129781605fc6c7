"""The status of the watched jobs at one moment: what metrics, page and HTTP API read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from monitor import pacing
from monitor.interfaces import JobStatus
from monitor.polling.turn_queue import State

if TYPE_CHECKING:
    from datetime import datetime

    from monitor.model import Snapshot
    from monitor.polling.scheduled_job import ScheduledJob


def job_status(
    scheduled: ScheduledJob,
    snapshot: Snapshot | None,
    interval: float,
    now: datetime,
    monotonic: float,
) -> JobStatus:
    """Return the status of a job; ``interval`` is its own, in seconds."""
    answered_at, polled_at, pace = scheduled.last_poll()
    pace = max(interval, pace)
    # Read once: a scrape, in its own thread, reads while the loop may finish the job.
    finished = scheduled.state is State.FINISHED
    blind = pacing.is_stale(answered_at, pace, scheduled.options.blind_after, monotonic)
    following = scheduled.following
    return JobStatus(
        job=scheduled.job,
        watch=following.watch,
        labels=following.labels,
        snapshot=snapshot,
        interval=pace,
        polled_at=polled_at or (snapshot.looked_at if snapshot else None),
        at=now,
        next_in=None if finished else max(0.0, scheduled.due - monotonic),
        failing=scheduled.failing,
        finished=finished,
        blind=blind and not finished,
    )
