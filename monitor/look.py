"""One look at one job: ask, record, and say when to look again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from monitor import logs, pacing
from monitor.errors import LookError, LookReason
from monitor.inquiry import facts
from monitor.oddities import Oddities

if TYPE_CHECKING:
    from monitor.agenda import Agenda, Tracked
    from monitor.inquiry import Inquiry
    from monitor.interfaces import Clock, Random
    from monitor.metrics import Metrics
    from monitor.model import Snapshot
    from monitor.recorder import Recorder

NEEDS_A_PERSON = frozenset({LookReason.MISSING, LookReason.CONFIG, LookReason.AUTH})
"""Failures that the log names for each job; the others befall all jobs of a source alike."""


def interval(tracked: Tracked, snapshot: Snapshot | None) -> float:
    """Return the seconds between looks; a job that ended may still change, but slowly.

    One of a kind that becomes busy again does so without a warning, and is looked at as ever.
    """
    job_type = tracked.following.job_type
    if snapshot is None or not snapshot.phase.terminal or job_type.reopens:
        return tracked.interval
    return max(tracked.interval, job_type.grace_interval)


class Looker:
    """Looks at single jobs."""

    def __init__(
        self,
        inquiry: Inquiry,
        agenda: Agenda,
        recorder: Recorder,
        metrics: Metrics,
        clock: Clock,
        random: Random,
    ) -> None:
        """Take the poller's parts."""
        self._inquiry = inquiry
        self._agenda = agenda
        self._recorder = recorder
        self._metrics = metrics
        self._clock = clock
        self._random = random
        self._oddities = Oddities(inquiry.key, metrics)
        self._log = logs.get()

    async def look_once(self, tracked: Tracked) -> float | None:
        """Ask for one job and record the answer; return the seconds until the next look.

        ``None`` says that there is none: the job is final, or was dropped meanwhile.
        """
        operation = tracked.following.job_type.describe_operation
        try:
            seen = await self._inquiry.ask(operation, tracked.source.look(tracked.job))
        except LookError as error:
            self._count(tracked, error.reason)
            return await self._failed(tracked, error)
        self._oddities.note(seen)
        self._count(tracked, await self._recorder.observe(seen, tracked.following))
        tracked.hear(self._clock)
        self._recovered(tracked)
        return self._next_delay(tracked)

    def is_finished(self, tracked: Tracked) -> bool:
        """Whether a job need not be looked at any more."""
        snapshot = self._recorder.snapshot(tracked.job.key)
        job_type = tracked.following.job_type
        if job_type.reopens:
            return False  # even one that was final before its type was declared to reopen
        grace = job_type.grace
        return snapshot is not None and pacing.is_finished(snapshot, grace, self._clock.now())

    def _next_delay(self, tracked: Tracked) -> float | None:
        if not self._agenda.holds(tracked):
            return None  # dropped meanwhile; another may follow the same job by now
        if self.is_finished(tracked):
            self._agenda.finish(tracked)
            return None
        return self.next_turn(tracked) - self._clock.monotonic()

    def next_turn(self, tracked: Tracked) -> float:
        """Return when a job has its next turn, on the monotonic clock."""
        pause = self.interval(tracked)
        phase = pacing.phase_of(tracked.job.key, pause)
        return pacing.next_turn(self._clock.monotonic(), pause, phase)

    def interval(self, tracked: Tracked) -> float:
        """Return the seconds between looks at a job, as it stands."""
        return interval(tracked, self._recorder.snapshot(tracked.job.key))

    async def _failed(self, tracked: Tracked, error: LookError) -> float:
        delay = await self._retry_delay(tracked, error)
        if error.reason is LookReason.MISSING:
            tracked.hear(self._clock, delay)
        return delay

    async def _retry_delay(self, tracked: Tracked, error: LookError) -> float:
        self._log_failure(tracked, error)
        attempt, tracked.attempts = tracked.attempts, tracked.attempts + 1
        known = self._recorder.snapshot(tracked.job.key) is not None
        if error.reason is LookReason.MISSING and known:
            return await self._denied(tracked)
        retry_after = error.retry_after
        return pacing.retry_delay(error.reason, attempt, self._random, retry_after=retry_after)

    async def _denied(self, tracked: Tracked) -> float:
        """AWS says that a job it has shown does not exist: believe it the third time.

        Other failures between two denials neither confirm nor refute them.
        """
        tracked.denials += 1
        snapshot = self._recorder.snapshot(tracked.job.key)
        if snapshot is not None and snapshot.missing:
            tracked.denials = max(tracked.denials, pacing.CONFIRMATIONS)
        elif tracked.denials >= pacing.CONFIRMATIONS:
            await self._recorder.deny(tracked.job, self._clock.now(), tracked.following)
        return pacing.missing_delay(tracked.denials, tracked.missing_after, self._random)

    def _recovered(self, tracked: Tracked) -> None:
        if tracked.failing in NEEDS_A_PERSON:
            self._log.info(logs.JOB_RECOVERED, job=tracked.job.key)
        tracked.failing = None
        tracked.attempts = tracked.denials = 0

    def _log_failure(self, tracked: Tracked, error: LookError) -> None:
        if tracked.failing is not error.reason and error.reason in NEEDS_A_PERSON:
            self._log.warning(logs.JOB_FAILING, job=tracked.job.key, **facts(error))
        tracked.failing = error.reason

    def _count(self, tracked: Tracked, outcome: str) -> None:
        self._metrics.count_poll(tracked.job, "describe", outcome)
