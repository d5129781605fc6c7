"""The status of the watched jobs at one moment: what metrics, page and HTTP API read."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, NamedTuple

from monitor import pacing
from monitor.polling.schedule import State

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from monitor.errors import PollReason
    from monitor.model import Job, Snapshot
    from monitor.polling.schedule import ScheduledJob


# A tuple: a page makes a hundred thousand, and a frozen dataclass takes thrice as long to make.
class JobStatus(NamedTuple):
    """The status of one job at ``at``: a frozen view, safe to read from any thread.

    ``snapshot`` is ``None`` until AWS has first shown the job. ``interval`` is the present time
    between two polls, in seconds. ``polled_at`` is the time of the last poll with a response,
    even if that was that there is no such job; ``None`` if never. ``next_in`` estimates the
    seconds until the next poll (0 if it is overdue); ``None`` if there is none, as the job is
    ``finished``. ``failing`` is why the last poll failed. A finished job is neither stuck nor
    ``blind`` (stale).
    """

    job: Job
    watch: str
    labels: Mapping[str, str]
    snapshot: Snapshot | None
    interval: float
    polled_at: datetime | None
    at: datetime
    next_in: float | None
    failing: PollReason | None
    finished: bool
    blind: bool

    @property
    def next_look_at(self) -> datetime | None:
        """The time of the next poll."""
        return None if self.next_in is None else self.at + timedelta(seconds=self.next_in)

    @property
    def stuck(self) -> bool:
        """True if its state has not changed for too long."""
        return self.snapshot is not None and self.snapshot.stuck and not self.finished

    @property
    def missing(self) -> bool:
        """True if AWS has said often enough that it no longer exists."""
        return self.snapshot is not None and self.snapshot.missing


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
    blind = pacing.is_stale(scheduled.answered_at, pace, scheduled.blind_after, monotonic)
    following = scheduled.following
    return JobStatus(
        job=scheduled.job,
        watch=following.watch,
        labels=following.labels,
        snapshot=snapshot,
        interval=pace,
        polled_at=scheduled.polled_at or (snapshot.looked_at if snapshot else None),
        at=now,
        next_in=None if finished else max(0.0, scheduled.due - monotonic),
        failing=scheduled.failing,
        finished=finished,
        blind=blind and not finished,
    )
