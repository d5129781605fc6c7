"""Loop 1: one poller per quota starts the polls that are due."""

from __future__ import annotations

import math
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, NoReturn

import anyio

from monitor import pacing
from monitor.errors import PollReason
from monitor.polling.describe import JobPoller
from monitor.polling.job_status import job_status
from monitor.polling.outage import Outages
from monitor.polling.schedule import (
    NO_OUTAGE,
    HintOutcome,
    HintTicket,
    ListingSweep,
    Schedule,
    ScheduledJob,
    may_share,
)
from monitor.polling.source_client import SourceClient
from monitor.polling.sweep import Sweeper
from monitor.polling.turn_queue import State
from monitor.polling.unchanged import SentPoll

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence
    from datetime import datetime

    from anyio.abc import TaskGroup

    from monitor import model
    from monitor.interfaces import Clock, JobStatus, PollResponse, Random
    from monitor.metrics import Metrics
    from monitor.polling.learned import LearnedSchedules
    from monitor.polling.planner import Plan
    from monitor.polling.quota import Budget, Quota
    from monitor.polling.unchanged import RepeatedPoll
    from monitor.recording.recorder import Recorder

LONGEST_PAUSE = 5.0
"""Seconds, at most, between two passes of the loop: that shows that it is alive."""

PROBE_INTERVAL = 20.0
"""Seconds between two polls of a source, or an operation, that fails completely.

A source that is back is found this soon, however long the backoff of its jobs has grown. It is
three requests a minute at most: the price of a single healthy job.
"""


HINT_GAP = 1.0
"""Seconds between two polls of a job that hints ask for, however many there are."""

PUBLISH_EVERY = 32
"""Polls that change nothing after which they are counted, even while others are under way."""

SENT_PER_TASK = 4
"""Prepared polls that may be under way for each that needs a task: they cost far less."""

LONGEST_HOLD = 60.0
"""Seconds after which a complete failure is probed again, whatever its Retry-After says."""


class Poller:
    """Spends one quota on the polls that are due, the longest overdue first."""

    def __init__(
        self,
        key: model.SourceKey,
        quota: Quota,
        recorder: Recorder,
        metrics: Metrics,
        clock: Clock,
        random: Random,
        *,
        concurrency: int = 16,
        timeout: float = 60.0,
        learned: LearnedSchedules | None = None,
    ) -> None:
        """Run at most ``concurrency`` polls in tasks at once; each has ``timeout`` seconds.

        Polls whose requests are prepared need no task until their answer must be read: some more
        of them may be under way.
        """
        self.key = key
        self._labels = (key.service, key.account, key.region)
        self._quota = quota
        self._recorder = recorder
        self._metrics = metrics
        self._clock = clock
        self._concurrency = concurrency
        self.schedule = Schedule()
        """Its jobs and listings; for others to read."""
        self.client = SourceClient(
            key, quota, recorder, metrics, clock, timeout, still_failing=self._still_failing
        )
        self._outages = Outages(PROBE_INTERVAL)
        self._job_poller = JobPoller(self.client, self.schedule, recorder, metrics, clock, random)
        if learned is not None:
            self._job_poller.learned = learned
        self._sweeper = Sweeper(
            self.client, self.schedule, self._job_poller, recorder, metrics, clock, random
        )
        self._tasks: TaskGroup | None = None
        self._running = 0
        """Polls under way in tasks."""
        self._sent = 0
        """Polls under way without."""
        self._unpublished = 0
        self._full = False
        """Whether something was due at the last pass, and too much was under way."""
        self._wakes_at = -math.inf
        self._was_lost = self.client.health.lost
        self._stopping = False
        self._wake = anyio.Event()
        self._probed_at = -math.inf
        self._held_since: float | None = None
        self.last_pass = clock.monotonic()
        """The time of the loop's last pass, on the monotonic clock."""

    def follow(self, job: ScheduledJob) -> None:
        """Poll a job with the options of ``job`` from now on, unless it is known to be final.

        One that is polled already keeps its turn, unless another interval brings an earlier one.
        """
        scheduled = self.schedule.known(job.key) or job
        scheduled.forget_repeat()
        before = self._job_poller.interval(scheduled)
        # The options, and not the history of the polls.
        scheduled.source, scheduled.following = job.source, job.following
        scheduled.interval, scheduled.missing_after = job.interval, job.missing_after
        scheduled.blind_after = job.blind_after
        scheduled.share, scheduled.request_key = job.share, job.request_key
        if self.schedule.holds(scheduled):
            # A busy job gets its next time when its poll ends; a failing one keeps its backoff.
            same = self._job_poller.interval(scheduled) == before
            if same or scheduled.state is State.BUSY or scheduled.attempts:
                return
            due = min(scheduled.due, self._job_poller.next_turn(scheduled))
        else:
            if scheduled is job:
                # The debt of a describe outlives a restart, and a reload.
                snapshot = self._recorder.snapshot(job.job.key)
                job.changed_at = self._clock.monotonic() if snapshot is None else job.changed_at
                job.partial = job.partial or (snapshot is not None and snapshot.describe_owed)
                job.parent = job.parent or (snapshot.parent if snapshot else None)
            # One that has ended may have to be polled for longer with the new options.
            if self._job_poller.is_finished(scheduled):
                self.schedule.finish(scheduled)
                return
            due = self._clock.monotonic() + self._rest(scheduled)
        self.schedule.put(scheduled, due)
        self._wake.set()

    def _rest(self, scheduled: ScheduledJob) -> float:
        """Return the seconds until the first poll here; more than 0 if another run polled it.

        So a restart causes no burst: each job goes on with its interval. A wall clock that was
        set back must not put a poll off, and nothing that is owed waits. Where the source is
        lost, one poll at a time finds out whether it is back.
        """
        snapshot = self._recorder.latest(scheduled.key)
        if snapshot is None or snapshot.missing or scheduled.partial or self.client.health.lost:
            return 0.0
        age = (self._clock.now() - snapshot.looked_at).total_seconds()
        interval = self._job_poller.interval(scheduled)
        return interval - age if 0 <= age < interval else 0.0

    def hint(self, scheduled: ScheduledJob) -> HintTicket:
        """Poll a job as soon as may be; the ticket tells when the answer is durable."""
        scheduled.hint = scheduled.hint or HintTicket()
        # A busy one gets its next time when its poll ends.
        due = self._hinted_due(scheduled) if scheduled.state is State.WAITING else None
        if due is not None:
            self.schedule.put(scheduled, due)
            self._wake.set()
        return scheduled.hint

    def _answer_late(self, turn: ScheduledJob, hint: HintTicket) -> None:
        """Poll a job once more for a hint that came while its poll was under way."""
        if turn.state is State.FINISHED:
            hint.settle(HintOutcome.USED)
        elif not self.schedule.holds(turn):
            hint.settle(HintOutcome.FAILED)
        elif (due := self._hinted_due(turn)) is not None:
            self.schedule.put(turn, due)

    def _hinted_due(self, scheduled: ScheduledJob) -> float | None:
        """Return when a hinted job is due, if that is earlier than it is due anyway.

        A hint neither shortens the backoff of what fails, nor hastens the verdict that a known
        job is missing: whoever can write to the queue could else do both.
        """
        known = self._recorder.snapshot(scheduled.key) is not None
        absent = scheduled.failing is PollReason.MISSING and not known
        if scheduled.attempts and not absent:
            return None
        now = self._clock.monotonic()
        due = max(now, scheduled.hold_until, scheduled.began_at + HINT_GAP)
        return due if due < scheduled.due else None

    def awaited(self, scheduled: ScheduledJob, seconds: float) -> None:
        """Poll a job before others, where the quota is short: somebody waits for it."""
        now = self._clock.monotonic()
        awaited, scheduled.awaited_until = scheduled.awaited_until > now, now + seconds
        if not awaited and scheduled.state is State.WAITING:
            # At the same time, but with the rank that it has from now on.
            self.schedule.put(scheduled, scheduled.due)

    def interval(self, scheduled: ScheduledJob) -> float:
        """Return the seconds between two polls of a job, as they should be."""
        return self._job_poller.interval(scheduled)

    def plan(self) -> Plan:
        """Return how most polls are made now; from any thread."""
        return self._sweeper.planner.choose(self._clock.monotonic())

    def watched(self) -> Iterator[JobStatus]:
        """Yield the status of every job, final ones included; from any thread."""
        # A copy, made in one step: the loop adds and drops jobs while a scrape reads.
        for job in self.schedule.everyone():
            yield self._status(job)

    def status_of(self, key: str) -> JobStatus | None:
        """Return the status of one job, if it is watched."""
        job = self.schedule.known(key)
        return self._status(job) if job else None

    def _status(self, job: ScheduledJob) -> JobStatus:
        snapshot, interval = self._recorder.snapshot(job.job.key), self._job_poller.interval(job)
        return job_status(job, snapshot, interval, self._clock.now(), self._clock.monotonic())

    def discover(self, sweep: ListingSweep) -> None:
        """Sweep a listing from now on."""
        self.schedule.put(sweep, self._clock.monotonic())
        self._sweeper.show(sweep)
        self._wake.set()

    def bring_forward(self, sweep: ListingSweep) -> None:
        """Begin the next sweep earlier, if its interval has become shorter."""
        due = max(self._clock.monotonic(), sweep.started + sweep.interval)
        rests = sweep.state is State.WAITING and sweep.token is None and not sweep.attempts
        if rests and due < sweep.due and self.schedule.holds(sweep):
            self.schedule.put(sweep, due)
            self._wake.set()

    def drop(self, turn: ScheduledJob | ListingSweep) -> None:
        """Stop polling a job or listing; a poll that is under way is recorded, and is the last."""
        self.schedule.drop(turn)
        if isinstance(turn, ListingSweep):
            for child in turn.children.values():
                self.schedule.drop(child)
            self._sweeper.show(turn)

    def limit(self, budget: Budget) -> None:
        """Change the quota."""
        now = self._clock.monotonic()
        self._quota.change(budget.rate, budget.burst, now, budget.operations)
        self._metrics.quota_rate.labels(*self._labels).set(self._quota.rate)
        self._wake.set()

    def retry(self) -> None:
        """Poll all that failed again, as the quota permits: the cause may be gone."""
        self._probed_at = -math.inf
        self._hasten(self.schedule.failing())
        self._wake.set()

    async def run(self) -> None:
        """Poll until stopped; then finish the polls under way."""
        async with anyio.create_task_group() as tasks:
            self._tasks = tasks
            try:
                while not self._stopping or self._sent:
                    self.last_pass = self._clock.monotonic()
                    self._publish()
                    await self._pause(math.inf if self._stopping else self.start_due(tasks))
            finally:
                # An answer that comes later, because the daemon could wait no longer, is lost.
                self._tasks = None

    async def _pause(self, seconds: float) -> None:
        """Wait for so long, at most LONGEST_PAUSE, or until something may be due earlier."""
        seconds = min(max(seconds, pacing.TICK), LONGEST_PAUSE)
        self._wakes_at = self._clock.monotonic() + seconds
        with anyio.move_on_after(seconds):
            await self._wake.wait()
        if self._wake.is_set():
            self._wake = anyio.Event()

    def stop(self) -> None:
        """Start no further polls."""
        self._stopping = True
        self._wake.set()

    def start_due(self, tasks: TaskGroup) -> float:
        """Start every poll that may start now; return the seconds until the next may."""
        self._probe(self._clock.monotonic())
        # A lost source gets one slow probe at a time: more would only wait for their timeouts.
        lost = self.client.health.lost
        while True:
            now = self._clock.monotonic()
            blocked = self._quota.blocked(now)
            turn = self.schedule.first(now, blocked)
            if turn is None:
                self._full = False
                return math.inf
            self._full = self._is_full(turn, lost=lost)
            if self._full:
                return math.inf  # the end of a poll starts the next one
            quota_at = self._quota.ready_at(now, turn.operation)
            ready_at = max(turn.due, quota_at, self._probed_at + PROBE_INTERVAL if lost else now)
            if ready_at > now:
                if quota_at > now:
                    ready_at = self._sooner(turn, now, ready_at, blocked)
                return ready_at - now
            # All of this is done before the task runs, so that the next round of this loop sees
            # the token gone and the turn busy.
            begun = self.schedule.begin(now)
            self._quota.take(now, turn.operation)
            self._probed_at = now
            turn.began_at = now
            for each in () if isinstance(begun, ListingSweep) else begun:
                each.began_at = now
                # One whose request is split has its answer still to come.
                if each.hint is not None and each.answering is None:
                    each.answering, each.hint = each.hint, None
            self._outages.sent(turn.operation, now)
            self._metrics.poll_lateness.observe(now - turn.due)
            if self._held_since is not None:
                self._metrics.quota_wait.labels(*self._labels).inc(now - self._held_since)
                self._held_since = None
            if lost or isinstance(begun, ListingSweep) or not self._send(begun, now):
                self._running += 1
                tasks.start_soon(self._work, begun, name=f"poll {self.key.key}")

    def _sooner(
        self,
        turn: ScheduledJob | ListingSweep,
        now: float,
        ready_at: float,
        blocked: Collection[str],
    ) -> float:
        """Return when a turn may be ready where the quota holds up ``turn`` until ``ready_at``.

        Its operation may have a slower limit than those of others that are due.
        """
        if turn.due > now:
            return turn.due if turn.operation in blocked else ready_at
        # The quota is short: what matters most goes first.
        next_due = self.schedule.rank(now)
        self._held_since = now if self._held_since is None else self._held_since
        limits = [self._quota.ready_at(now, operation) for operation in blocked]
        return min(ready_at, next_due, *limits) if blocked else ready_at

    def _is_full(self, turn: ScheduledJob | ListingSweep, *, lost: bool) -> bool:
        """Return whether too much is under way to begin ``turn`` as well."""
        if lost:
            return self._running + self._sent >= 1
        if isinstance(turn, ScheduledJob) and turn.repeat is not None:
            return self._running + self._sent >= SENT_PER_TASK * self._concurrency
        return self._running >= self._concurrency

    def _send(self, begun: Sequence[ScheduledJob], now: float) -> bool:
        """Send the prepared request for these jobs, if there is one; return whether it was sent."""
        repeat = begun[0].repeat
        if repeat is None or not repeat.is_for(begun):
            return False
        # Before the request, so that no window is narrower than what is known.
        if repeat.request.send(partial(self._take, begun, repeat, now, self._clock.now())):
            self._sent += 1
            return True
        # The plain path prepares it again: its account may be another one now.
        begun[0].forget_repeat()
        return False

    def _take(
        self,
        begun: Sequence[ScheduledJob],
        repeat: RepeatedPoll,
        sent_at: float,
        asked_at: datetime,
        came: PollResponse,
    ) -> None:
        """Take what came of a prepared poll: note it if it changes nothing, or else read it."""
        self._sent -= 1
        if self._tasks is None:
            return
        try:
            now, seen_at = self._clock.monotonic(), self._clock.now()
            if (
                now < repeat.expires_at
                and not self.client.health.lost
                and repeat.repeats(came.digest, asked_at, seen_at, self._recorder)
            ):
                due = self._note_unchanged(begun, repeat, sent_at, asked_at, now, seen_at)
                if self._full and not self._stopping:
                    due = now + self.start_due(self._tasks)
                self._wake_by(due)
            else:
                self._running += 1
                name = f"poll {self.key.key}"
                self._tasks.start_soon(self._work, begun, SentPoll(came, sent_at), name=name)
                self._wake_by(math.inf)
        except Exception as error:  # noqa: BLE001 -- the loop would only log it
            self._tasks.start_soon(self._fail, error)

    async def _fail(self, error: Exception) -> NoReturn:
        """End the poller, as an error in a task does."""
        raise error

    def _note_unchanged(
        self,
        begun: Sequence[ScheduledJob],
        repeat: RepeatedPoll,
        sent_at: float,
        asked_at: datetime,
        now: float,
        seen_at: datetime,
    ) -> float:
        """Do for a poll that changes nothing what ``_work`` does; return when its turns are due."""
        first = begun[0]
        operation = first.operation
        poll = (first.following.job_type.name, operation, len(begun))
        self.client.note_unchanged(poll, sent_at, now, seen_at)
        self._unpublished += 1
        for turn in begun:
            self._recorder.note_poll(turn.key, asked_at)
            turn.gap = now - turn.answered_at
            turn.answered_at = turn.shown_at = now
            turn.polled_at, turn.pace, turn.row = seen_at, 0.0, None
            if turn.answering is not None:
                turn.settle_hint()
        if first.following.learned:
            due = self._job_poller.next_turn(first)
        else:
            due = pacing.next_turn(now, repeat.pause, repeat.phase)
        self.schedule.put_back(begun, due)
        for turn in begun:
            if turn.hint is not None:
                self._answer_late(turn, turn.hint)
                due = min(due, turn.due)
        self._recover(operation, now)
        if self._unpublished >= PUBLISH_EVERY or not self._sent:
            self._publish()
        return due

    def _publish(self) -> None:
        """Count the polls that changed nothing."""
        self._unpublished = 0
        self.client.publish()

    def _wake_by(self, due: float) -> None:
        """Wake the loop if its next pass would come after ``due``, or if it is to end."""
        if due < self._wakes_at or self._stopping:
            self._wake.set()

    async def _work(
        self, begun: Sequence[ScheduledJob] | ListingSweep, sent: SentPoll | None = None
    ) -> None:
        """Poll and give the turns that it is for their next times, if they have any.

        ``sent`` is given if the request was sent before.
        """
        turns: Sequence[ScheduledJob | ListingSweep]
        turns = [begun] if isinstance(begun, ListingSweep) else begun
        times: Sequence[float | None]
        with ExitStack() as busy:
            for turn in turns:
                busy.enter_context(self.schedule.busy(turn))
            if isinstance(begun, ListingSweep):
                delay = await self._sweeper.page_once(begun)
                times = [self._clock.monotonic() + delay]
            else:
                path = "plain" if sent is None else "fast"
                self._metrics.poll_path.labels(*self._labels, path).inc()
                times = await self._job_poller.describe(begun, sent)
        # No await from here on: the turns are free, and must have their next times before a sweep
        # or a reload comes upon them. A time that is past keeps its place in line.
        for turn, due in zip(turns, times, strict=True):
            if due is not None and self.schedule.holds(turn):
                self.schedule.put(turn, due)
            if isinstance(turn, ScheduledJob) and turn.hint is not None:
                self._answer_late(turn, turn.hint)
        self._running -= 1
        self._judge(turns)
        was_lost, self._was_lost = self._was_lost, self.client.health.lost
        if was_lost and not self._was_lost:
            # The source is back: poll all that failed meanwhile, as the quota permits.
            self._hasten(self.schedule.failing(), over=True)
        self._wake.set()

    def _judge(self, turns: Sequence[ScheduledJob | ListingSweep]) -> None:
        """Find out from one poll what is back, and poll again what failed meanwhile."""
        now, turn = self._clock.monotonic(), turns[0]
        failing = [each for each in turns if each.failing not in NO_OUTAGE]
        # A run of failures that was fresh before this one: see below.
        fresh = any(each.failing_since is None for each in failing)
        for each in turns:
            self.schedule.mark(each)
            since = now if each.failing_since is None else each.failing_since
            each.failing_since = since if each in failing else None
        if len(failing) < len(turns):
            self._recover(turn.operation, now)
            return
        if self._outages.failed(turn.operation, turn.began_at, now, fresh=fresh):
            self._hasten([each for each in turns if self.schedule.holds(each)], over=True)

    def _recover(self, operation: str, now: float) -> None:
        """Poll again what failed before a poll that has just succeeded."""
        for back in self._outages.succeeded(operation, now):
            concerned = [
                one
                for one in self.schedule.failing()
                if back.operation in {None, one.operation}
                and one.failing_since is not None
                and one.failing_since > back.since
            ]
            self._hasten(concerned, over=back.since == -math.inf)

    def _hasten(self, turns: Iterable[ScheduledJob | ListingSweep], *, over: bool = False) -> None:
        """Poll ``turns`` next; their earlier failures no longer count for the backoff.

        Once an outage is ``over``, the Retry-After of its responses counts no longer either.
        """
        now = self._clock.monotonic()
        # A list, as putting a turn changes what is iterated over.
        for turn in list(turns):
            turn.hold_until = 0.0 if over else turn.hold_until
            turn.forgiven = turn.attempts
            due = max(now, turn.hold_until)
            if due < turn.due:
                self.schedule.put(turn, due)

    def _probe(self, now: float) -> None:
        """Make one turn of each operation that fails completely due, unless one was lately."""
        for operation in self._outages.silent(now):
            failing = (one for one in self.schedule.failing() if one.operation == operation)
            # A sweep that starts over does so at its own interval, which may be longer.
            waiting = [
                (min(one.hold_until, one.began_at + LONGEST_HOLD), one)
                for one in failing
                if isinstance(one, ScheduledJob) or not one.rests
            ]
            held_until, first = min(
                waiting, key=lambda held: max(held[0], held[1].due), default=(now, None)
            )
            if first is None or not first.due > now >= held_until:
                continue
            self.schedule.put(first, now)
            if isinstance(first, ScheduledJob):
                # Those that its request can take come along: a batch must not fall to pieces.
                along = [
                    one
                    for held, one in waiting
                    if held <= now < one.due
                    and isinstance(one, ScheduledJob)
                    and may_share(first, one)
                ]
                for one in along[: first.share - 1]:
                    self.schedule.put(one, now)

    def _still_failing(self) -> bool:
        """Return whether a listing is incomplete, or a turn waits because its source failed."""
        broken = any(one.trouble and not one.complete for one in self.schedule.listings())
        return broken or next(self.schedule.failing(), None) is not None
