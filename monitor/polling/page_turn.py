"""The common turn of the jobs that one unchanged page of a listing shows.

A page that shows what it showed before is one poll of each of its jobs. To note that job by job
would cost more than the poll itself, so the jobs wait with their page: its times are theirs, and
none of them stands in the queue. Whatever else concerns a job gives it a turn of its own again: a
hint, a reload, another row, or a page that does not come in time.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection
    from datetime import datetime

    from monitor.polling.scheduled_job import ScheduledJob
    from monitor.recording.poll_times import SharedPollTime
    from monitor.recording.recorder import Recorder


@dataclass(slots=True, eq=False)
class PageTurn:
    """The times that the jobs of one page share; those of ``ScheduledJob`` have the same names.

    All have the same ``interval``, and ``at_once`` of them share a describe. ``asked_at`` is when
    the page was last requested. ``loose`` are jobs that the page shows and that do not wait with
    it.
    ``guarded`` says that the schedule gives them turns of their own if the page does not come.
    """

    recorder: Recorder
    interval: float
    at_once: int
    answered_at: float
    loose: list[ScheduledJob]
    asked_at: SharedPollTime
    polled_at: datetime | None = None
    gap: float = 0.0
    pace: float = 0.0
    due: float = 0.0
    guarded: bool = False
    _jobs: dict[ScheduledJob, None] = field(default_factory=dict)

    def __len__(self) -> int:
        """Return the number of jobs that wait with the page."""
        return len(self._jobs)

    @property
    def jobs(self) -> Collection[ScheduledJob]:
        """The jobs that wait with the page; a copy."""
        return list(self._jobs)

    def note(
        self, asked_at: datetime, now: float, polled_at: datetime, pace: float, due: float
    ) -> None:
        """Note a poll for all jobs that wait with the page."""
        self.asked_at.at = asked_at
        self.gap, self.answered_at = now - self.answered_at, now
        self.polled_at, self.pace, self.due = polled_at, pace, max(self.due, due)

    def take(self, turn: ScheduledJob) -> None:
        """Let a job wait with the page, whose last poll was noted for the job as well."""
        turn.page = self
        self._jobs[turn] = None
        self.recorder.share_poll(turn.job, self.asked_at)

    def give_back(self, turn: ScheduledJob) -> None:
        """Give a job times of its own again: those that it has now."""
        if self.answered_at > turn.own_answered_at:
            turn.take_times(self)
        turn.own_due = max(turn.own_due, self.due)
        turn.page = None
        del self._jobs[turn]
        self.loose.append(turn)
        self.recorder.own_poll(turn.job, self.asked_at)
