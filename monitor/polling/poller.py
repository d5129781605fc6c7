"""Loop 1: one poller per quota starts the polls that are due."""

from __future__ import annotations

import asyncio
import math
from collections import defaultdict
from contextlib import ExitStack
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, NoReturn

import anyio

from monitor import pacing
from monitor.clock import Lease
from monitor.errors import PollReason
from monitor.polling.describe import JobPoller
from monitor.polling.job_status import job_status
from monitor.polling.outage import Outages
from monitor.polling.schedule import NO_OUTAGE, ListingSweep, Schedule, may_share
from monitor.polling.scheduled_job import HintOutcome, HintTicket, ScheduledJob
from monitor.polling.source_client import LapsedError, SourceClient
from monitor.polling.sweep import Sweeper
from monitor.polling.turn_queue import State
from monitor.polling.unchanged import SentPage, SentPoll, takes_plain_path
from monitor.recording import diff

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence
    from datetime import datetime

    from anyio.abc import TaskGroup

    from monitor import model
    from monitor.interfaces import Clock, JobStatus, PollResponse, Random
    from monitor.metrics import Metrics
    from monitor.model import Job, Snapshot
    from monitor.polling.learned import LearnedSchedules
    from monitor.polling.outage import Return
    from monitor.polling.planner import Plan
    from monitor.polling.quota import Budget, Quota, QuotaLevel
    from monitor.polling.unchanged import RepeatedPoll
    from monitor.recording.recorder import Recorder

OVERDUE = 1.0
"""Seconds that a turn may wait for a place, before those that are due go by rank."""

LONGEST_PAUSE = 5.0
"""Seconds, at most, between two passes of the loop: that shows that it is alive."""

PROBE_INTERVAL = 20.0
"""Seconds between two polls of a source, or an operation, that fails completely.

A source that is back is found this soon, however long the backoff of its jobs has grown. It is
three requests a minute at most: the price of a single healthy job.
"""


HINT_GAP = 1.0
"""Seconds between two polls of a job that hints ask for, however many there are."""

PUBLISH_EVERY = 1.0
"""Seconds between two times that polls that change nothing are counted: it costs as much as one."""

SENT_PER_TASK = 4
"""Prepared polls that may be under way for each that needs a task: they cost far less."""

LOST_BY_A_KILL = 120.0
"""Seconds within which the times of polls are stored."""

LONGEST_HOLD = 60.0
"""Seconds after which a complete failure is probed again, whatever its Retry-After says."""


class Poller:
    """Spends one quota on the polls that are due, in the order of ``TurnQueue``."""

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
        lease: Lease | None = None,
    ) -> None:
        """Run at most ``concurrency`` polls in tasks at once; each has ``timeout`` seconds.

        Polls whose requests are prepared need no task until their answer must be read: some more
        of them may be under way.
        """
        self.key = key
        self._labels = (key.service, key.account, key.region)
        self._lease = lease or Lease()
        self._quota = quota
        self._recorder = recorder
        self._metrics = metrics
        self._clock = clock
        self._concurrency = concurrency
        self._most_sent = SENT_PER_TASK * concurrency
        self.schedule = Schedule()
        """Its jobs and listings; for others to read."""
        self.client = SourceClient(
            *(key, quota, recorder, metrics, clock, timeout, self._still_failing, self._lease)
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
        self._running_pages = 0
        """Those of listings."""
        self._sent = 0
        """Polls under way without."""
        self._sent_pages = 0
        """Those of listings."""
        self._came: list[tuple[tuple[ScheduledJob, ...], RepeatedPoll, float, PollResponse]] = []
        """What has come of prepared polls, and is about to be taken."""
        self._publish_at = math.inf
        """When polls that are not counted yet will be, on the monotonic clock."""
        self._published_at = -math.inf
        self._full = False
        """Whether something was due at the last pass, and too much was under way."""
        self._probed_page = False
        """Whether the last poll that took a task was one of a listing."""
        self._wakes_at = -math.inf
        self._was_lost = self.client.health.lost
        self._stopping = False
        self._wake = anyio.Event()
        self._probed_at = -math.inf
        self._held_since: float | None = None
        self.last_pass = clock.monotonic()
        """The time of the loop's last pass, on the monotonic clock."""
        self.ended = anyio.Event()
        """Set once it has stopped, and its last poll has ended."""
        self.polled_until: datetime | None = recorder.store.last_commit
        """When another process last polled this source, as far as is known."""

    def follow(self, job: ScheduledJob) -> None:
        """Poll a job with the options of ``job`` from now on, unless it is known to be final.

        One that is polled already keeps its turn, unless another interval brings an earlier one.
        """
        scheduled = self.schedule.known(job.job) or job
        scheduled.forget_repeat()
        if scheduled.page is not None:
            self.schedule.put(scheduled, scheduled.due)
        self.schedule.changes += 1
        before = self._job_poller.interval(scheduled)
        scheduled.follow(job.options)
        if self.schedule.holds(scheduled):
            # A busy job gets its next time when its poll ends; a failing one keeps its backoff.
            same = self._job_poller.interval(scheduled) == before
            if same or scheduled.state is State.BUSY or scheduled.attempts:
                return
            due = min(scheduled.due, self._job_poller.next_turn(scheduled))
        else:
            if scheduled is job:
                # The debt of a describe outlives a restart, and a reload.
                snapshot = self._recorder.snapshot(job.job)
                job.changed_at = self._clock.monotonic() if snapshot is None else job.changed_at
                job.partial = job.partial or (snapshot is not None and snapshot.describe_owed)
                job.parent = job.parent or (snapshot.parent if snapshot else None)
            # One that has ended may have to be polled for longer with the new options.
            if self._job_poller.is_finished(scheduled):
                self.schedule.finish(scheduled)
                return
            due = pacing.common_moment(self._clock.monotonic() + self._rest(scheduled))
        self.schedule.put(scheduled, due)
        self._wake.set()

    def _rest(self, scheduled: ScheduledJob) -> float:
        """Return the seconds until the first poll here; more than 0 if another run polled it.

        So a restart causes no burst: each job goes on with its interval. A wall clock that was
        set back must not put a poll off, and nothing that is owed waits. Where the source is
        lost, one poll at a time finds out whether it is back.
        """
        snapshot = self._recorder.latest(scheduled.job)
        if snapshot is None or snapshot.missing or scheduled.partial or self.client.health.lost:
            return 0.0
        now, interval = self._clock.now(), self._job_poller.interval(scheduled)
        last = self.polled_until
        for polled_at in (snapshot.looked_at, last and _assumed(snapshot, interval, last)):
            age = (now - polled_at).total_seconds() if polled_at else math.inf
            if 0 <= age < interval:
                return interval - age
        return 0.0

    def hint(self, scheduled: ScheduledJob) -> HintTicket:
        """Poll a job as soon as may be; the ticket tells when the answer is durable."""
        new = scheduled.hint is None
        scheduled.hint = scheduled.hint or HintTicket()
        if scheduled.page is not None:
            self.schedule.put(scheduled, scheduled.due)
        # A busy one gets its next time when its poll ends.
        if scheduled.state is State.WAITING:
            due = self._hinted_due(scheduled)
            if due is not None:
                self.schedule.put(scheduled, due)
                self._wake.set()
            elif new:
                # At the same time, but with the rank that it has from now on.
                self.schedule.put(scheduled, scheduled.due)
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
        known = self._recorder.snapshot(scheduled.job) is not None
        absent = scheduled.failing is PollReason.MISSING and not known
        if scheduled.attempts and not absent:
            return None
        now = self._clock.monotonic()
        due = max(now, scheduled.hold_until, scheduled.began_at + HINT_GAP)
        return due if due < scheduled.due else None

    def awaited(self, scheduled: ScheduledJob, seconds: float) -> None:
        """Poll a job before others, where many polls are overdue: somebody waits for it."""
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

    def status_of(self, job: Job) -> JobStatus | None:
        """Return the status of one job, if it is watched."""
        scheduled = self.schedule.known(job)
        return self._status(scheduled) if scheduled else None

    def _status(self, job: ScheduledJob) -> JobStatus:
        snapshot, interval = self._recorder.snapshot(job.job), self._job_poller.interval(job)
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

    def hand_over(self) -> QuotaLevel:
        """Return the level of the quota, for the next owner of the source."""
        return self._quota.level(self._clock.monotonic())

    def take_over(self, level: QuotaLevel | None, alive_at: datetime | None) -> None:
        """Go on where the last owner was; it may have used up what it had saved.

        ``alive_at`` is when it was last known to poll.
        """
        passed = (self._clock.now() - alive_at).total_seconds() if alive_at else 0.0
        self._quota.go_on(level, max(0.0, passed), self._clock.monotonic())
        self.polled_until = alive_at

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
        try:
            async with anyio.create_task_group() as tasks:
                self._tasks = tasks
                try:
                    while not self._stopping or self._sent or self.schedule.awaits_pages():
                        self.last_pass = self._clock.monotonic()
                        if self.last_pass >= self._publish_at:
                            self._publish(self.last_pass)
                        await self._pause(math.inf if self._stopping else self.start_due(tasks))
                finally:
                    # An answer that comes later, because the daemon could wait no longer, is lost.
                    self._tasks = None
                    self._publish(self._clock.monotonic())
        finally:
            self.ended.set()

    async def _pause(self, seconds: float) -> None:
        """Wait for so long, at most LONGEST_PAUSE, or until something may be due earlier."""
        now = self._clock.monotonic()
        seconds = min(max(seconds, pacing.TICK), LONGEST_PAUSE, max(0.0, self._publish_at - now))
        self._wakes_at = now + seconds
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
        now = self._clock.monotonic()
        if now >= self._lease.until:
            return pacing.LAPSED
        self._probe(now)
        release_at = self.schedule.release(now)
        if self.client.health.lost:
            # A page and a describe by turns: either may be answered again, and the other not.
            self.schedule.put_listings_last(last=self._probed_page)
        seconds = self._start_ready(tasks)
        if self._full and self.schedule.next_due() < now - OVERDUE:
            self.schedule.rank(now)  # the service is slow: what matters most goes first
        return min(seconds, release_at - now)

    def _start_ready(self, tasks: TaskGroup) -> float:
        """Start what has a turn of its own; return the seconds until the next may start."""
        # A lost source gets one slow probe at a time: more would only wait for their timeouts.
        lost, quota, schedule = self.client.health.lost, self._quota, self.schedule
        monotonic = self._clock.monotonic
        while True:
            now = monotonic()
            blocked = quota.blocked(now)
            turn = schedule.first(now, blocked)
            if turn is None or now >= self._lease.until:
                self._full = False
                return math.inf
            under_way = self._running + self._sent
            if lost:
                self._full = under_way > 0
            elif (turn.prepared if isinstance(turn, ListingSweep) else turn.repeat) is not None:
                self._full = under_way >= self._most_sent
            else:
                self._full = self._running >= self._concurrency
            if self._full:
                return math.inf  # the end of a poll starts the next one
            operation, due = turn.operation, turn.own_due
            quota_at = quota.ready_at(now, operation)
            ready_at = max(due, quota_at, self._probed_at + PROBE_INTERVAL if lost else now)
            if ready_at > now:
                if quota_at > now:
                    ready_at = self._sooner(turn, now, ready_at, blocked)
                return ready_at - now
            self._start_first(turn, now, tasks)

    def _start_first(self, turn: ScheduledJob | ListingSweep, now: float, tasks: TaskGroup) -> None:
        """Start the poll of ``turn``, which comes next, and may take others with it.

        All that is counted is so before a task runs, so that the next call sees the token gone and
        the turn busy.
        """
        lost, quota = self.client.health.lost, self._quota
        operation, due = turn.operation, turn.own_due
        self._probed_at = now
        if self._held_since is not None:
            self._metrics.quota_wait.labels(*self._labels).inc(now - self._held_since)
            self._held_since = None
        if not (lost or turn.lists or quota.operations):
            # Most polls are of one kind: what was asked of the first holds for all that are due.
            places = self._most_sent - self._running - self._sent
            most = min(places, quota.at_once(now, operation))
            if some := self.schedule.begin_repeats(now, most):
                self._send_again(some, now, tasks)
                return
        begun = self.schedule.begin(now)
        quota.take(now, operation)
        self._outages.sent(operation, now)
        # One that cannot be sent after all may be a task more than there are places for.
        if not lost and self._send(begun, now):
            self.client.late.append(now - due)
        else:
            self._start_task(begun, now - due, tasks)

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

    def _send(self, begun: tuple[ScheduledJob, ...] | ListingSweep, now: float) -> bool:
        """Send the prepared request for these jobs, or for a page, if there is one.

        Return whether it was sent.
        """
        if isinstance(begun, ListingSweep):
            return self._send_pages(begun)
        first = begun[0]
        repeat = first.repeat
        if repeat is None or not repeat.is_for(begun):
            return False
        if first.rare is not None and takes_plain_path(first.attempts):
            return False
        jobs = (first.job,) if len(begun) == 1 else [turn.job for turn in begun]
        if repeat.request.send(jobs, partial(self._take, begun, repeat, now)):
            self._sent += 1
            return True
        # The plain path prepares it again: its account may be another one now.
        first.forget_repeat()
        return False

    def _take(
        self,
        begun: tuple[ScheduledJob, ...],
        repeat: RepeatedPoll,
        sent_at: float,
        came: PollResponse,
    ) -> None:
        """Take what came of a prepared poll, together with what else comes at the same time."""
        if not self._came:
            asyncio.get_running_loop().call_soon(self._take_together)
        self._came.append((begun, repeat, sent_at, came))

    def _take_together(self) -> None:
        """Take what has come of prepared polls: note what changes nothing, and read the rest."""
        arrived, self._came = self._came, []
        self._sent -= len(arrived)
        tasks, client, due = self._tasks, self.client, math.inf
        if tasks is None:
            return
        try:
            now, seen_at, lost = self._clock.monotonic(), self._clock.now(), client.health.lost
            unchanged: defaultdict[tuple[str, str, str, int], list[float]] = defaultdict(list)
            for begun, repeat, sent_at, came in arrived:
                asked_at, set_back_to = came.asked_at, None
                if client.asked_at <= asked_at <= seen_at:
                    client.asked_at = asked_at
                else:
                    moment = min(asked_at, seen_at)
                    set_back_to = moment if client.asked_at - moment > diff.LEEWAY else None
                if (
                    now < repeat.plan.expires_at
                    and not lost
                    and repeat.repeats(came.digest, self._recorder, set_back_to)
                ):
                    kind = begun[0].options.kind
                    if len(begun) > 1:
                        kind = (*kind[:2], "batch", len(begun))
                    unchanged[kind].append(now - sent_at)
                    turn_due = self._note_unchanged(begun, repeat, sent_at, asked_at, now, seen_at)
                    due = min(due, turn_due)
                else:
                    self._running += 1
                    name = f"poll {self.key.key}"
                    tasks.start_soon(self._work, begun, SentPoll(came, sent_at), name=name)
            for kind, durations in unchanged.items():
                client.note_unchanged(kind, durations, now, seen_at)
                self._recover(self._outages.succeeded(kind[1], now))
            if self._full and not self._stopping:
                # Many at once, so that one wake-up brings many responses. Where only slow ones are
                # left, the next pass goes on.
                few = self._running + self._sent <= self._most_sent * 3 // 4
                due = min(due, now + (self._start_ready(tasks) if few else pacing.TICK))
            if self._publish_at == math.inf:
                self._count_unchanged(now)
            self._wake_by(due)
        except Exception as error:  # noqa: BLE001 -- the loop would only log it
            tasks.start_soon(self._fail, error)

    def _send_again(self, turns: Sequence[ScheduledJob], now: float, tasks: TaskGroup) -> None:
        """Send the prepared requests of jobs that were begun, each its own."""
        self._quota.take(now, requests=len(turns))
        for operation in {turn.operation for turn in turns}:
            self._outages.sent(operation, now)
        monotonic, late, until = self._clock.monotonic, self.client.late, self._lease.until
        for turn in turns:
            repeat, sent_at = turn.repeat, monotonic()
            if sent_at >= until:
                self.schedule.put_back((turn,), turn.own_due)
            elif repeat is not None and repeat.request.send(
                (turn.job,), partial(self._take, (turn,), repeat, sent_at)
            ):
                self._sent += 1
                late.append(sent_at - turn.own_due)
            else:
                # The plain path prepares it again: its account may be another one now.
                turn.forget_repeat()
                self._start_task((turn,), sent_at - turn.own_due, tasks)

    def _start_task(
        self, begun: tuple[ScheduledJob, ...] | ListingSweep, late: float, tasks: TaskGroup
    ) -> None:
        """Poll in a task what was begun ``late`` by so many seconds."""
        self._metrics.poll_lateness.observe(late)
        self._running += 1
        self._probed_page = isinstance(begun, ListingSweep)
        self._count_pages(running=self._probed_page)
        tasks.start_soon(self._work, begun, name=f"poll {self.key.key}")

    def _send_pages(self, sweep: ListingSweep) -> bool:
        """Send the requests for the next pages that are known; return whether any was sent."""
        most = self._most_sent - self._running - self._sent
        sent = self._sweeper.send(sweep, most, partial(self._take_page, sweep))
        self._sent += sent
        self._count_pages(sent=sent)
        return sent > 0

    def _count_pages(self, running: int = 0, sent: int = 0) -> None:
        """Count so many more pages under way in tasks, or without.

        Pages come first where places are short. Those of many listings, or of many parents, would
        leave none to the jobs: from half of the places on, listings come last. Pages that are sent
        ahead may exceed it.
        """
        self._running_pages += running
        self._sent_pages += sent
        many_run = self._running_pages >= self._concurrency / 2
        many_sent = self._sent_pages >= self._most_sent / 2
        self.schedule.put_listings_last(last=many_run or many_sent)

    def _take_page(self, sweep: ListingSweep, sent: SentPage) -> None:
        """Take what came of a prepared page, as ``_take_together`` does for polls."""
        self._sent -= 1
        self._count_pages(sent=-1)
        if sent.unused:
            if self._tasks is not None:
                self._tasks.start_soon(self._sweeper.count_unused, sweep, sent)
            self._wake_by(-math.inf if self._full else math.inf)
        elif sent is sweep.under_way[0]:
            # Not at once: others that came at the same time are taken with it.
            asyncio.get_running_loop().call_soon(self._take_pages, sweep)
        elif self._full:
            self._wake.set()  # it waits for those in front of it, but its place is free

    def _take_pages(self, sweep: ListingSweep) -> None:
        """Take the pages of a sweep that have come, in their order."""
        tasks, line = self._tasks, sweep.under_way
        if tasks is None:
            return
        try:
            now = self._clock.monotonic()
            if not self.client.health.lost and self._sweeper.note_unchanged(sweep, tasks):
                self._recover(self._outages.succeeded(sweep.operation, now))
                self._count_unchanged(now)
            if not line:
                due = sweep.due
                self.schedule.go_on(sweep, due)
                # The next page of a sweep follows at once, without a pass of the loop.
                if (due <= now or self._full) and not self._stopping:
                    due = now + self.start_due(tasks)
                self._wake_by(due)
            elif line[0].response is not None:
                self._running += 1
                self._count_pages(running=1)
                tasks.start_soon(self._work, sweep, line[0], name=f"poll {self.key.key}")
                self._wake_by(math.inf)
            elif not self._stopping:
                if self._full:
                    self._wake_by(now + self.start_due(tasks))
                if now < self._lease.until:
                    self._send_pages(sweep)
        except Exception as error:  # noqa: BLE001 -- the loop would only log it
            tasks.start_soon(self._fail, error)

    async def _fail(self, error: Exception) -> NoReturn:
        """End the poller, as an error in a task does."""
        raise error

    def _note_unchanged(
        self,
        begun: tuple[ScheduledJob, ...],
        repeat: RepeatedPoll,
        sent_at: float,
        asked_at: datetime,
        now: float,
        seen_at: datetime,
    ) -> float:
        """Do for a poll that changes nothing what ``_work`` does; return when its turns are due."""
        first = begun[0]
        if repeat.known is not None:
            self._recorder.note_again(repeat.known, asked_at)
        else:
            for turn in begun:
                self._recorder.note_poll(turn.job, asked_at)
        for turn in begun:
            turn.note_poll(now, seen_at, began_at=sent_at)
            if turn.rare is not None:
                turn.settle_hint()
        if first.following.learned:
            due = self._job_poller.next_turn(first)
        else:
            pause, phase, _ = repeat.plan
            due = pacing.next_turn(now, pause, phase)
        self.schedule.put_back(begun, due)
        for turn in begun:
            if turn.rare is not None and turn.hint is not None:
                self._answer_late(turn, turn.hint)
                due = min(due, turn.due)
        return due

    def _count_unchanged(self, now: float) -> None:
        """Let a poll that changed nothing be counted with others, within a second."""
        if now - self._published_at >= PUBLISH_EVERY:
            self._publish(now)
        elif self._publish_at == math.inf:
            self._publish_at = self._published_at + PUBLISH_EVERY
            self._wake_by(self._publish_at)

    def _publish(self, now: float) -> None:
        """Count the polls that changed nothing."""
        self._published_at, self._publish_at = now, math.inf
        self.client.publish()

    def _wake_by(self, due: float) -> None:
        """Wake the loop if its next pass would come after ``due``, or if it is to end."""
        if due < self._wakes_at or self._stopping:
            self._wake.set()

    async def _work(
        self,
        begun: tuple[ScheduledJob, ...] | ListingSweep,
        sent: SentPoll | SentPage | None = None,
    ) -> None:
        """Poll and give the turns that it is for their next times, if they have any.

        ``sent`` is given if the request was sent before.
        """
        turns: Sequence[ScheduledJob | ListingSweep]
        turns = [begun] if isinstance(begun, ListingSweep) else begun
        lapsed = False
        with ExitStack() as busy:
            for turn in turns:
                busy.enter_context(self.schedule.busy(turn))
            try:
                times = await self._poll(begun, sent)
            except LapsedError:
                # It says nothing of the source: neither that it is back, nor that it fails.
                lapsed, times = True, [self._clock.monotonic() + pacing.LAPSED] * len(turns)
        # No await from here on: the turns are free, and must have their next times before a sweep
        # or a reload comes upon them. A time that is past keeps its place in line.
        for turn, due in zip(turns, times, strict=True):
            if due is not None and self.schedule.holds(turn):
                self.schedule.put(turn, due)
            if isinstance(turn, ScheduledJob) and turn.hint is not None:
                self._answer_late(turn, turn.hint)
        self._running -= 1
        self._count_pages(running=-isinstance(begun, ListingSweep))
        if isinstance(begun, ListingSweep) and begun.under_way and self._tasks:
            self.schedule.wait_on(begun)
            if begun.under_way[0].response is not None:
                self._take_pages(begun)
        if not lapsed:
            self._judge(turns)
        was_lost, self._was_lost = self._was_lost, self.client.health.lost
        if was_lost and not self._was_lost:
            # The source is back: poll all that failed meanwhile, as the quota permits.
            self._count_pages()
            self._hasten(self.schedule.failing(), over=True)
        self._wake.set()

    async def _poll(
        self,
        begun: tuple[ScheduledJob, ...] | ListingSweep,
        sent: SentPoll | SentPage | None,
    ) -> Sequence[float | None]:
        """Poll; return when each of the turns is next."""
        if isinstance(begun, ListingSweep):
            page = sent if isinstance(sent, SentPage) else None
            delay = await self._sweeper.page_once(begun, page)
            goes_on = page and self._tasks and self._sweeper.has_sent(begun, self._tasks)
            return [None if goes_on else self._clock.monotonic() + delay]
        poll = sent if isinstance(sent, SentPoll) else None
        began_at = poll.sent_at if poll else self._clock.monotonic()
        for turn in begun:
            turn.began_at = began_at
        return await self._job_poller.describe(begun, poll)

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
            self._recover(self._outages.succeeded(turn.operation, now))
            return
        if self._outages.failed(turn.operation, turn.began_at, now, fresh=fresh):
            self._hasten([each for each in turns if self.schedule.holds(each)], over=True)

    def _recover(self, returns: Sequence[Return]) -> None:
        """Poll again what failed before a poll that has just succeeded."""
        for back in returns:
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


def _assumed(snapshot: Snapshot, interval: float, last_commit: datetime) -> datetime | None:
    """Return when a job may have been polled last, if that was after what is stored of it.

    A kill loses the times of the polls of the last minute. Until then they went on, each job at a
    time of its own within the last interval.
    """
    if (last_commit - snapshot.looked_at).total_seconds() > interval + LOST_BY_A_KILL:
        return None  # it was not polled any more
    return last_commit - timedelta(seconds=interval - pacing.phase_of(snapshot.job.key, interval))
