"""The poll of one job: describe it, record the answer, and plan the next poll."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import anyio

from monitor import logs, pacing
from monitor.errors import PollError, PollReason
from monitor.polling.learned import LearnedSchedules
from monitor.polling.skipped import SkippedParts
from monitor.polling.source_client import facts
from monitor.polling.source_health import ANSWERS
from monitor.polling.unchanged import Arrival, RepeatedBatch, RepeatedPoll, SentPoll
from monitor.recording import diff
from monitor.recording.recorder import RecordResult

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from monitor.interfaces import Clock, PollResponse, Random
    from monitor.metrics import Metrics
    from monitor.model import Job, Observation, Snapshot
    from monitor.polling.schedule import Schedule
    from monitor.polling.scheduled_job import ScheduledJob
    from monitor.polling.source_client import SourceClient
    from monitor.recording.recorder import Recorder

NEEDS_A_PERSON = frozenset({PollReason.MISSING, PollReason.CONFIG, PollReason.AUTH})
"""Reasons that are logged for each job; the others concern all jobs of a source."""

INSISTS_AFTER = 600.0
"""Seconds after which an answer counts though its date is still older than what is known."""

OWED_FOR = timedelta(days=1)
"""Time limit for the describe of a job whose end came from a listing alone."""

_NO_ANSWER = PollError(PollReason.INTERNAL, "NoAnswer", hint="the source has left out a job")


def is_whole(row: Observation) -> bool:
    """Check that a row of a listing shows the whole state of a job."""
    return bool(row.parts) and all(row.parts.values())


class JobPoller:
    """Polls single jobs."""

    def __init__(
        self,
        client: SourceClient,
        schedule: Schedule,
        recorder: Recorder,
        metrics: Metrics,
        clock: Clock,
        random: Random,
    ) -> None:
        """Use the parts of the poller."""
        self._client = client
        self._schedule = schedule
        self._recorder = recorder
        self._metrics = metrics
        self._clock = clock
        self._random = random
        self._skipped = SkippedParts(client.key, metrics)
        self.learned = LearnedSchedules()
        """The poll times that were learned; all pollers share one."""
        self._log = logs.get()

    async def describe(
        self, turns: tuple[ScheduledJob, ...], sent: SentPoll | None = None
    ) -> Sequence[float | None]:
        """Describe jobs in one request and record the answers; return when each is next.

        That is on the monotonic clock. ``None`` means never: the job is final, or was dropped
        meanwhile. All of ``turns`` share a request; ``sent`` is given if it was sent before.
        """
        answers: Mapping[Job, Observation | PollError] = {}
        failure = None
        for turn in turns:
            turn.doubt()
        sent = sent or await self._send(turns)
        try:
            answers = await self._ask(turns, sent)
            for turn in turns:
                turn.lowered_share = 0
        except PollError as error:
            failure = error
            if len(turns) > 1 and error.reason in ANSWERS:
                # One id may spoil the request for all: halves of it find out which. A reload
                # may have changed how many may share one.
                for turn in turns:
                    turn.lowered_share = max(1, min(turn.share, len(turns)) // 2)
                return [self._clock.monotonic()] * len(turns)
        shown: list[Snapshot | None] = [None] * len(turns)
        times = await self._record(turns, answers, failure, shown)
        if failure:
            return _as_one(turns, times)
        await self._plan_repeat(turns, times, sent, shown)
        return times

    async def _record(
        self,
        turns: tuple[ScheduledJob, ...],
        answers: Mapping[Job, Observation | PollError],
        failure: PollError | None,
        shown: list[Snapshot | None],
    ) -> Sequence[float | None]:
        """Record the answers, or the failure of all; return when each job is next.

        ``shown`` gets what is known of each after it.
        """
        mode = "batch" if len(turns) > 1 else "describe"
        times: list[float | None] = [None] * len(turns)

        async def record(number: int, turn: ScheduledJob) -> None:
            answer = failure or answers.get(turn.job, _NO_ANSWER)
            times[number] = await self._answered(turn, answer, mode)
            # At once: while others of the batch are recorded, another writer's news may come.
            shown[number] = self._recorder.snapshot(turn.job)
            turn.settle_hint()

        if len(turns) == 1:
            await record(0, turns[0])
        else:
            # Concurrently, so that they share a commit.
            async with anyio.create_task_group() as tasks:
                for number, turn in enumerate(turns):
                    tasks.start_soon(record, number, turn)
        return times

    async def _ask(
        self, turns: Sequence[ScheduledJob], sent: SentPoll | None
    ) -> Mapping[Job, Observation | PollError]:
        """Send one request for these jobs, unless it was sent before; return what was answered."""
        first = turns[0]
        if sent is not None:
            self._client.count_path("fast")
            reading = _read(sent.response, turns)
            return await self._client.ask(first.operation, reading, sent.sent_at)
        self._client.count_path("plain")
        if first.share > 1:
            request = first.source.describe_many([turn.job for turn in turns])
            return await self._client.ask(first.operation, request)
        request_one = first.source.describe(first.job)
        return {first.job: await self._client.ask(first.operation, request_one)}

    async def _send(self, turns: tuple[ScheduledJob, ...]) -> SentPoll | None:
        """Prepare the first request for these jobs, and send it; ``None`` if that is impossible.

        What has failed before goes the plain way, which says why.
        """
        first = turns[0]
        if first.attempts or first.repeat is not None or self._client.health.failures:
            return None
        repeat = await self._prepared(turns)
        # That may have taken long, and another replica may poll by now.
        self._client.check_lease()
        if repeat is None:
            return None
        sent_at = self._clock.monotonic()
        arrived: Arrival[PollResponse] = Arrival()
        if not repeat.request.send([turn.job for turn in turns], arrived.take):
            first.forget_repeat()
            return None
        response = await arrived.response()
        self._client.asked_at = max(self._client.asked_at, response.asked_at)
        return SentPoll(response, sent_at)

    async def _prepared(self, turns: tuple[ScheduledJob, ...]) -> RepeatedPoll | None:
        """Prepare the request for these jobs; it is theirs from now on."""
        source, jobs = turns[0].source, [turn.job for turn in turns]
        request = await self._client.prepared(source.prepare(jobs))
        # A reload may have come meanwhile, with other sources.
        if request is None or not all(turn.source is source for turn in turns):
            return None
        repeat = RepeatedPoll(request) if len(turns) == 1 else RepeatedBatch(request, turns=turns)
        for turn in turns:
            turn.repeat = repeat
        return repeat

    async def _plan_repeat(
        self,
        turns: tuple[ScheduledJob, ...],
        times: Sequence[float | None],
        sent: SentPoll | None,
        shown: Sequence[Snapshot | None],
    ) -> None:
        """Prepare the next poll of the same jobs, or note what this one has shown of them."""
        if None in times:
            return  # the next request is for fewer
        repeat = turns[0].repeat
        if repeat is None or not repeat.is_for(turns):
            await self._prepared(turns)
        elif sent is not None:
            pauses = [self.interval(turn) for turn in turns]
            now = self._clock.monotonic()
            repeat.note(turns, shown, sent.response.digest, pauses, now, self._recorder)

    async def _answered(
        self, scheduled: ScheduledJob, answer: Observation | PollError, mode: str
    ) -> float | None:
        """Record the answer about one job; return when its next poll is due."""
        job = scheduled.job
        if not self._admits(scheduled, answer):
            outcome = answer.reason if isinstance(answer, PollError) else "unchanged"
            self._metrics.count_poll(job, mode, outcome)
            self._schedule.drop(scheduled)
            return None
        if isinstance(answer, PollError):
            self._metrics.count_poll(job, mode, answer.reason)
            delay = await self._failed(scheduled, answer)
            return None if delay is None else self._clock.monotonic() + delay
        observed = replace(answer, parent=scheduled.parent) if scheduled.parent else answer
        self._skipped.note(observed)
        result = await self._described(scheduled, observed)
        self._metrics.count_poll(job, mode, result)
        if result is RecordResult.CHANGED:
            scheduled.changed_at = self._clock.monotonic()
            self._metrics.count_change(job, hinted=scheduled.answering is not None)
        scheduled.steady = (
            not observed.unreadable
            and not diff.is_misdated(observed)
            and self._recorder.has_shown(observed, scheduled.following, result)
        )
        # A replica that lags behind does not know what the row has shown.
        scheduled.partial = scheduled.partial and result is RecordResult.STALE
        if scheduled.failing in NEEDS_A_PERSON:
            self._log.info(logs.JOB_RECOVERED, job=job.key)
        scheduled.failing = None
        scheduled.attempts = scheduled.denials = scheduled.forgiven = 0
        if not self._schedule.holds(scheduled):
            return None  # dropped meanwhile; another may follow the same job by now
        if self.is_finished(scheduled):
            self._schedule.finish(scheduled)
            return None
        due = self.next_turn(scheduled)
        if result is RecordResult.UNCONFIRMED:
            due = min(due, self._clock.monotonic() + pacing.CONFIRM_WITHIN)
        return due

    def _admits(self, scheduled: ScheduledJob, answer: Observation | PollError) -> bool:
        """Return whether the first answer about a job that a hint alone has named counts.

        Others are forgotten, so that forged hints leave nothing behind; sweeps find what is real.
        """
        admit, scheduled.admit = scheduled.admit, None
        known = self._recorder.snapshot(scheduled.job) is not None
        if admit is None or known or scheduled.row is not None:
            return True
        if isinstance(answer, PollError):
            scheduled.failing = answer.reason
            return False
        scheduled.failing = None if (admitted := admit(answer)) else PollReason.MISSING
        return admitted

    async def record_row(self, scheduled: ScheduledJob, row: Observation, sent_at: float) -> bool:
        """Record what a listing shows of a job whose describe fails; return whether it was news.

        The row must show the whole state, and be requested after the last answer about the job.
        The describe is still owed, even if the job has ended: only it shows the rest.
        """
        known = self._recorder.snapshot(scheduled.job)
        order, job_type = diff.age_order(known, row), scheduled.following.job_type
        if not is_whole(row) or sent_at < scheduled.shown_at or order < 0:
            return False
        if known is not None and order == 0:
            # A listing may lag behind: unless the service dates the row later, it neither brings
            # back a missing job in its old state, nor reopens one that has ended.
            moved = any(known.parts.get(name) != value for name, value in row.parts.items())
            verdict = job_type.judge(row.parts, known.phase)
            ended = known.phase.terminal and not job_type.reopens
            if not moved or (ended and not (verdict and verdict.phase.terminal)):
                return False
        outcome = await self._recorder.observe(row, scheduled.following, owing=True)
        scheduled.answered(self._clock)
        self._metrics.count_poll(row.job, "sweep", outcome)
        if outcome is RecordResult.CHANGED:
            scheduled.changed_at = scheduled.answered_at
            self._metrics.count_change(row.job)
        scheduled.partial = scheduled.partial or outcome is RecordResult.CHANGED
        return outcome is RecordResult.CHANGED

    async def _described(self, scheduled: ScheduledJob, observed: Observation) -> RecordResult:
        """Record a describe, in the end even one whose date stays older than what is known.

        A replica that lags behind catches up within seconds. If an older date stays, the newer
        one was wrong, and without this no change of the job would be recorded any more.
        """
        self.note_date(scheduled, observed)
        outcome = await self._recorder.observe(observed, scheduled.following)
        scheduled.answered(self._clock)
        now = self._clock.monotonic()
        if outcome is not RecordResult.STALE:
            scheduled.stale_since = None
        elif scheduled.stale_since is None:
            scheduled.stale_since = now
        elif now - scheduled.stale_since >= INSISTS_AFTER:
            return await self._recorder.observe(observed, scheduled.following, insists=True)
        return outcome

    def note_date(self, scheduled: ScheduledJob, observed: Observation) -> None:
        """Count an update time that is ahead of the clock, and log it once for each job."""
        if not diff.is_misdated(observed):
            return
        self._metrics.misdated.labels(observed.job.type).inc()
        if not scheduled.misdated:
            scheduled.misdated = True
            self._log.warning(
                logs.JOB_MISDATED, job=observed.job.key, updated_at=str(observed.updated_at)
            )

    def is_finished(self, scheduled: ScheduledJob) -> bool:
        """Check that a job need not be polled any more."""
        snapshot = self._recorder.snapshot(scheduled.job)
        now, store_time = self._clock.now(), self._recorder.store.store_time()
        if scheduled.partial:
            # The describe of an ended job is still owed, unless it has failed for too long.
            if snapshot is None or snapshot.ended_at is None:
                return False
            # A wall clock that is ahead must not end the debt for good: store time comes first.
            began, at = snapshot.ended_at, now
            if snapshot.own_ended is not None:
                began, at = snapshot.own_ended, store_time
            if at - began < OWED_FOR:
                return False
        job_type = scheduled.following.job_type
        if job_type.reopens:
            return False  # even one that was final before its type was declared to reopen
        if snapshot is None:
            return False
        return pacing.is_finished(snapshot, job_type.grace, now, store_time)

    def next_turn(self, scheduled: ScheduledJob) -> float:
        """Return when a job has its next turn, on the monotonic clock."""
        pause = self.interval(scheduled)
        if scheduled.following.learned and (delay := self._learned(scheduled)) is not None:
            # As long as is planned, the job is not stale.
            scheduled.own_pace = delay
            return self._clock.monotonic() + delay
        # Jobs that share a describe have their turns together.
        key = scheduled.key if scheduled.share == 1 else scheduled.request_key
        phase = pacing.phase_of(key, pause)
        return pacing.next_turn(self._clock.monotonic(), pause, phase)

    def _learned(self, scheduled: ScheduledJob) -> float | None:
        """Return the seconds until the next poll by what was learned of the job's state, if any."""
        snapshot, job = self._recorder.snapshot(scheduled.job), scheduled.job
        if snapshot is None or snapshot.phase.terminal or scheduled.following.job_type.at_once > 1:
            return None
        curve = self.learned.get((job.type, job.account, snapshot.state, scheduled.interval))
        if curve is None:
            return None
        age = max(0.0, (self._clock.now() - snapshot.changed_at).total_seconds())
        phase = pacing.phase_of(job.key, scheduled.interval) / scheduled.interval
        return curve.next_poll(age, scheduled.interval, phase)

    def interval(self, scheduled: ScheduledJob) -> float:
        """Return the seconds between polls; a job that ended may still change, but slowly.

        A type that reopens does so without a warning, so its jobs keep the usual interval.
        """
        snapshot = self._recorder.snapshot(scheduled.job)
        job_type = scheduled.following.job_type
        if snapshot is None or not snapshot.phase.terminal or job_type.reopens:
            return scheduled.interval
        return pacing.ended_interval(scheduled.interval, job_type.grace_interval)

    async def _failed(self, scheduled: ScheduledJob, error: PollError) -> float | None:
        """Fall back on the row of a listing; return the seconds until the next poll, if any."""
        missing = error.reason is PollReason.MISSING
        if missing:
            scheduled.partial = False  # nothing more is owed of a job that is missing
        elif scheduled.row is not None:
            # Only "there is no such job" speaks against the row; other failures do not.
            await self.record_row(scheduled, scheduled.row, scheduled.row_sent_at)
        scheduled.row = None
        if self.is_finished(scheduled) and self._schedule.holds(scheduled):
            self._schedule.finish(scheduled)
            return None
        if scheduled.failing is not error.reason and error.reason in NEEDS_A_PERSON:
            self._log.warning(logs.JOB_FAILING, job=scheduled.key, **facts(error))
        scheduled.failing = error.reason
        attempt, scheduled.attempts = scheduled.attempts, scheduled.attempts + 1
        if missing and self._recorder.snapshot(scheduled.job) is not None:
            delay = await self._denied(scheduled)
        else:
            retry_after = error.retry_after
            scheduled.hold_until = self._clock.monotonic() + pacing.honoured(retry_after)
            # Attempts that failed in an outage of the source do not lengthen the backoff.
            attempt -= scheduled.forgiven
            delay = pacing.retry_delay(error.reason, attempt, self._random, retry_after=retry_after)
        if missing:
            # Also an answer about the job: it is not stale.
            scheduled.answered(self._clock, delay)
        return delay

    async def _denied(self, scheduled: ScheduledJob) -> float:
        """Count an answer that a known job does not exist; record the third as missing.

        Other failures between two such answers neither confirm nor refute them.
        """
        scheduled.denials += 1
        snapshot = self._recorder.snapshot(scheduled.job)
        if snapshot is not None and snapshot.missing:
            # Recorded before a restart, which has reset the count.
            scheduled.denials = max(scheduled.denials, pacing.CONFIRMATIONS)
        elif scheduled.denials >= pacing.CONFIRMATIONS:
            await self._recorder.deny(scheduled.job, self._clock.now(), scheduled.following)
        return pacing.missing_delay(
            scheduled.denials, scheduled.options.missing_after, self._random
        )


def _as_one(turns: Sequence[ScheduledJob], times: Sequence[float | None]) -> Sequence[float | None]:
    """Return the times of jobs that failed as one poll, so that they stay one.

    Some may have failed alone before: the wait of those that have not is the one that the failure
    of all asks for.
    """
    waiting = [
        (turn.attempts - turn.forgiven, number)
        for number, turn in enumerate(turns)
        if times[number] is not None
    ]
    again = times[min(waiting)[1]] if waiting else None
    return [None if time is None else again for time in times]


async def _read(
    response: PollResponse, turns: Sequence[ScheduledJob]
) -> Mapping[Job, Observation | PollError]:
    """Read a response as ``Source.describe`` and ``Source.describe_many`` do."""
    answers = await response.read()
    if turns[0].share == 1:
        answer = answers.get(turns[0].job)
        if isinstance(answer, PollError):
            raise answer
    return answers
