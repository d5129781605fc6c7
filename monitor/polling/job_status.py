"""How the followed jobs stand at one moment: what metrics, page and HTTP API read."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from monitor import pacing
from monitor.polling.schedule import State

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from monitor.errors import PollError, PollReason
    from monitor.model import Job, Snapshot
    from monitor.polling.schedule import ListingSweep, ScheduledJob


@dataclass(slots=True)  # not frozen, as one page makes a hundred thousand; nobody changes one
class JobStatus:
    """One job of a watch, as it stood at ``at``.

    ``snapshot`` is ``None`` until AWS has first shown the job. ``interval`` is in seconds,
    and what passes between two looks as things stand. ``looked_at`` is when a look at it was
    last answered, be it that there is no such job; ``None`` if never. ``next_in`` is an estimate
    of the seconds until the next (0, if it is overdue); ``None`` if there is none, as the job
    is ``finished``. ``failing`` is why the last look brought nothing. A finished job is neither
    stuck nor blind.
    """

    job: Job
    watch: str
    labels: Mapping[str, str]
    snapshot: Snapshot | None
    interval: float
    looked_at: datetime | None
    at: datetime
    next_in: float | None
    failing: PollReason | None
    finished: bool
    blind: bool

    @property
    def next_look_at(self) -> datetime | None:
        """When it is to be looked at next."""
        return None if self.next_in is None else self.at + timedelta(seconds=self.next_in)

    @property
    def stuck(self) -> bool:
        """Whether its state has not changed for too long."""
        return self.snapshot is not None and self.snapshot.stuck and not self.finished

    @property
    def missing(self) -> bool:
        """Whether AWS has said often enough that it does not exist any more."""
        return self.snapshot is not None and self.snapshot.missing


@dataclass(frozen=True, slots=True)
class ListingStatus:
    """How the sweeps of one listing end.

    ``complete`` says whether the last one came to its end, ``None`` before the first;
    ``trouble`` is why a page of it failed since.
    """

    type: str
    complete: bool | None
    completed_at: datetime | None
    trouble: PollError | None


def listing_status(sweep: ListingSweep) -> ListingStatus:
    """Return how the sweeps of a listing end."""
    return ListingStatus(
        type=sweep.source.job_type.name,
        complete=sweep.complete,
        completed_at=sweep.completed_at,
        trouble=sweep.trouble,
    )


def standing(
    tracked: ScheduledJob,
    snapshot: Snapshot | None,
    interval: float,
    now: datetime,
    monotonic: float,
) -> JobStatus:
    """Return how a job stands; ``interval`` is its own, in seconds."""
    pace = max(interval, tracked.pace)
    # Read once: a scrape, in its own thread, reads while the loop may finish the job.
    finished = tracked.state is State.FINISHED
    blind = pacing.is_stale(tracked.heard_at, pace, tracked.blind_after, monotonic)
    following = tracked.following
    return JobStatus(
        job=tracked.job,
        watch=following.watch,
        labels=following.labels,
        snapshot=snapshot,
        interval=pace,
        looked_at=tracked.looked_at or (snapshot.looked_at if snapshot else None),
        at=now,
        next_in=None if finished else max(0.0, tracked.due - monotonic),
        failing=tracked.failing,
        finished=finished,
        blind=blind and not finished,
    )
