"""One look at one job: ask, record, and say when to look again."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from monitor import logs, pacing
from monitor.errors import PollError, PollReason
from monitor.polling.skipped import SkippedParts
from monitor.polling.source_client import facts
from monitor.recording import diff
from monitor.recording.recorder import RecordResult

if TYPE_CHECKING:
    from monitor.interfaces import Clock, Random
    from monitor.metrics import Metrics
    from monitor.model import Observation, Snapshot
    from monitor.polling.schedule import Schedule, ScheduledJob
    from monitor.polling.source_client import SourceClient
    from monitor.recording.recorder import Recorder

NEEDS_A_PERSON = frozenset({PollReason.MISSING, PollReason.CONFIG, PollReason.AUTH})
"""Failures that the log names for each job; the others befall all jobs of a source alike."""

INSISTS_AFTER = 600.0
"""Seconds after which an answer that still looks stale is believed."""

OWED_FOR = timedelta(days=1)
"""For so long a job whose end a listing has shown is described for the rest."""


def interval(tracked: ScheduledJob, snapshot: Snapshot | None) -> float:
    """Return the seconds between looks; a job that ended may still change, but slowly.

    One of a kind that becomes busy again does so without a warning, and is looked at as ever.
    """
    job_type = tracked.following.job_type
    if snapshot is None or not snapshot.phase.terminal or job_type.reopens:
        return tracked.interval
    return pacing.ended_interval(tracked.interval, job_type.grace_interval)


def tells_all(tracked: ScheduledJob, row: Observation) -> bool:
    """Whether a row of a listing tells the whole state of a job."""
    whole = bool(row.parts) and all(row.parts.values())
    return whole and tracked.following.job_type.lists_states


class JobPoller:
    """Looks at single jobs."""

    def __init__(
        self,
        client: SourceClient,
        schedule: Schedule,
        recorder: Recorder,
        metrics: Metrics,
        clock: Clock,
        random: Random,
    ) -> None:
        """Take the poller's parts."""
        self._client = client
        self._schedule = schedule
        self._recorder = recorder
        self._metrics = metrics
        self._clock = clock
        self._random = random
        self._skipped = SkippedParts(client.key, metrics)
        self._log = logs.get()

    async def look_once(self, tracked: ScheduledJob) -> float | None:
        """Ask for one job and record the answer; return the seconds until the next look.

        ``None`` says that there is none: the job is final, or was dropped meanwhile.
        """
        try:
            seen = await self._client.ask(tracked.operation, tracked.source.describe(tracked.job))
        except PollError as error:
            self._count(tracked, error.reason)
            return await self._failed(tracked, error)
        self._skipped.note(seen)
        outcome = await self._described(tracked, seen)
        self._count(tracked, outcome)
        # A replica that lags behind does not know what the row has shown.
        tracked.partial = tracked.partial and outcome is RecordResult.STALE
        self._recovered(tracked)
        return self._next_delay(tracked)

    async def record_row(self, tracked: ScheduledJob, row: Observation, asked_at: float) -> bool:
        """Record what a listing shows of a job whose describe fails; say whether it was news.

        The describe is still owed, even if the job has ended: what it alone knows is to follow.
        """
        if not self._is_news(tracked, row, asked_at):
            return False
        outcome = await self._record(tracked, row, owing=True)
        self._metrics.count_poll(row.job, "sweep", outcome)
        tracked.partial = tracked.partial or outcome is RecordResult.CHANGED
        return outcome is RecordResult.CHANGED

    def _is_news(self, tracked: ScheduledJob, row: Observation, asked_at: float) -> bool:
        """Whether a row, by itself, may change what is known of a job.

        It must tell the whole state, and have been asked for after what is known. A listing may
        lag behind: unless the service dates the row later, it neither brings back a job in the
        state in which AWS denied it, nor opens one that has ended.
        """
        known = self._recorder.snapshot(tracked.job.key)
        if not tells_all(tracked, row) or asked_at < tracked.shown_at:
            return False
        if known is None or diff.age_order(known, row) > 0:
            return True
        if diff.age_order(known, row) < 0:
            return False
        moved = any(known.parts.get(name) != value for name, value in row.parts.items())
        job_type = tracked.following.job_type
        verdict = job_type.judge(row.parts, known.phase)
        ended = known.phase.terminal and not job_type.reopens
        opens = ended and not (verdict and verdict.phase.terminal)
        return moved and not opens

    async def _described(self, tracked: ScheduledJob, seen: Observation) -> RecordResult:
        """Record a describe; one that looks stale is believed where it insists for long.

        A replica that lags behind catches up within seconds. An older date that stays is the
        word of the service, and the newer one was wrong: the job would else be deaf to changes.
        """
        self.note_date(tracked, seen)
        outcome = await self._record(tracked, seen)
        now = self._clock.monotonic()
        if outcome is not RecordResult.STALE:
            tracked.stale_since = None
        elif tracked.stale_since is None:
            tracked.stale_since = now
        elif now - tracked.stale_since >= INSISTS_AFTER:
            return await self._recorder.observe(seen, tracked.following, insists=True)
        return outcome

    async def _record(
        self, tracked: ScheduledJob, seen: Observation, *, owing: bool = False
    ) -> RecordResult:
        """Record what a poll saw of a job."""
        outcome = await self._recorder.observe(seen, tracked.following, owing=owing)
        tracked.hear(self._clock)
        return outcome

    def note_date(self, tracked: ScheduledJob, seen: Observation) -> None:
        """Count an update time that is ahead of the clock, and name it once for each job."""
        if not diff.is_misdated(seen):
            return
        self._metrics.misdated.labels(seen.job.type).inc()
        if not tracked.misdated:
            tracked.misdated = True
            self._log.warning(logs.JOB_MISDATED, job=seen.job.key, updated_at=str(seen.updated_at))

    def resume_debt(self, tracked: ScheduledJob) -> None:
        """Owe a describe that was owed before a restart or a reload."""
        snapshot = self._recorder.snapshot(tracked.job.key)
        tracked.partial = tracked.partial or (snapshot is not None and snapshot.describe_owed)

    def is_finished(self, tracked: ScheduledJob) -> bool:
        """Whether a job need not be looked at any more."""
        snapshot = self._recorder.snapshot(tracked.job.key)
        if tracked.partial and not self._is_overdue(snapshot):
            return False
        job_type = tracked.following.job_type
        if job_type.reopens:
            return False  # even one that was final before its type was declared to reopen
        grace = job_type.grace
        now, own = self._clock.now(), self._recorder.own_time()
        return snapshot is not None and pacing.is_finished(snapshot, grace, now, own)

    def _is_overdue(self, snapshot: Snapshot | None) -> bool:
        """Whether the describe of an ended job has failed for so long that it is given up."""
        if snapshot is None or snapshot.ended_at is None:
            return False
        if snapshot.own_ended is not None:  # a wall clock that is ahead must not end it for good
            return self._recorder.own_time() - snapshot.own_ended >= OWED_FOR
        return self._clock.now() - snapshot.ended_at >= OWED_FOR

    def _next_delay(self, tracked: ScheduledJob) -> float | None:
        if not self._schedule.holds(tracked):
            return None  # dropped meanwhile; another may follow the same job by now
        if self.is_finished(tracked):
            self._schedule.finish(tracked)
            return None
        return self.next_turn(tracked) - self._clock.monotonic()

    def next_turn(self, tracked: ScheduledJob) -> float:
        """Return when a job has its next turn, on the monotonic clock."""
        pause = self.interval(tracked)
        phase = pacing.phase_of(tracked.job.key, pause)
        return pacing.next_turn(self._clock.monotonic(), pause, phase)

    def interval(self, tracked: ScheduledJob) -> float:
        """Return the seconds between looks at a job, as it stands."""
        return interval(tracked, self._recorder.snapshot(tracked.job.key))

    async def _failed(self, tracked: ScheduledJob, error: PollError) -> float | None:
        """Fall back on the row of a listing; only "there is no such job" speaks against it."""
        if error.reason is PollReason.MISSING:
            tracked.partial = False  # nothing more is owed than that it is gone
        elif tracked.row is not None:
            await self.record_row(tracked, tracked.row, tracked.row_asked_at)
        tracked.row = None
        if self.is_finished(tracked) and self._schedule.holds(tracked):
            self._schedule.finish(tracked)
            return None
        delay = await self._retry_delay(tracked, error)
        if error.reason is PollReason.MISSING:
            tracked.hear(self._clock, delay)
        return delay

    async def _retry_delay(self, tracked: ScheduledJob, error: PollError) -> float:
        self._log_failure(tracked, error)
        attempt, tracked.attempts = tracked.attempts, tracked.attempts + 1
        known = self._recorder.snapshot(tracked.job.key) is not None
        if error.reason is PollReason.MISSING and known:
            return await self._denied(tracked)
        retry_after = error.retry_after
        tracked.hold_until = self._clock.monotonic() + pacing.honoured(retry_after)
        attempt -= tracked.forgiven
        return pacing.retry_delay(error.reason, attempt, self._random, retry_after=retry_after)

    async def _denied(self, tracked: ScheduledJob) -> float:
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

    def _recovered(self, tracked: ScheduledJob) -> None:
        if tracked.failing in NEEDS_A_PERSON:
            self._log.info(logs.JOB_RECOVERED, job=tracked.job.key)
        tracked.failing = None
        tracked.attempts = tracked.denials = tracked.forgiven = 0

    def _log_failure(self, tracked: ScheduledJob, error: PollError) -> None:
        if tracked.failing is not error.reason and error.reason in NEEDS_A_PERSON:
            self._log.warning(logs.JOB_FAILING, job=tracked.job.key, **facts(error))
        tracked.failing = error.reason

    def _count(self, tracked: ScheduledJob, outcome: str) -> None:
        self._metrics.count_poll(tracked.job, "describe", outcome)
