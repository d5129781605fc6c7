"""Loop 1: one poller per quota starts the looks that are due."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import anyio

from monitor import pacing
from monitor.polling.describe import JobPoller, interval
from monitor.polling.job_status import JobStatus, ListingStatus, listing_status, standing
from monitor.polling.outage import Outages
from monitor.polling.schedule import NO_OUTAGE, ListingSweep, Schedule, ScheduledJob
from monitor.polling.source_client import SourceClient
from monitor.polling.sweep import Sweeper

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from anyio.abc import TaskGroup

    from monitor import model
    from monitor.interfaces import Clock, Random
    from monitor.metrics import Metrics
    from monitor.polling.outage import Return
    from monitor.polling.quota import Quota
    from monitor.polling.source_client import SourceStatus
    from monitor.recording.recorder import Recorder

LONGEST_PAUSE = 5.0
"""Seconds: the loop shows that it is alive at least so often."""

PROBE_INTERVAL = 20.0
"""Seconds between two polls of a source, or an operation, that fails wholly.

One that is back is found so soon, however long the backoff of its jobs has grown. It is four
requests a minute at most: the price of a single healthy job.
"""


LONGEST_HOLD = 60.0
"""Seconds: what fails wholly is asked again after so long, whatever its Retry-After says."""


class Poller:
    """Spends one quota on the looks that are due, the longest overdue first."""

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
    ) -> None:
        """``concurrency`` looks at most are under way; each has ``timeout`` seconds."""
        self.key = key
        self._labels = (key.service, key.account, key.region)
        self._quota = quota
        self._recorder = recorder
        self._metrics = metrics
        self._clock = clock
        self._concurrency = concurrency
        self._schedule = Schedule()
        self._client = SourceClient(
            key, quota, recorder, metrics, clock, timeout, still_failing=self._still_failing
        )
        self._outages = Outages(PROBE_INTERVAL)
        self._job_poller = JobPoller(self._client, self._schedule, recorder, metrics, clock, random)
        self._sweeper = Sweeper(
            self._client, self._schedule, self._job_poller, recorder, metrics, clock, random
        )
        self._running = 0
        self._was_lost = self._client.health.lost
        self._stopping = False
        self._wake = anyio.Event()
        self._probed_at = -math.inf
        self._held_since: float | None = None
        self.last_pass = clock.monotonic()
        """When the loop last went through what is due, on the monotonic clock."""

    def follow(self, tracked: ScheduledJob) -> None:
        """Look at a job from now on, unless it is looked at already or known to be final."""
        if self._schedule.known(tracked.job.key):
            return
        self._job_poller.resume_debt(tracked)
        if self._job_poller.is_finished(tracked):
            self._schedule.finish(tracked)
        else:
            self._schedule.put(tracked, self._clock.monotonic())
            self._wake.set()

    def followed(self) -> Iterator[JobStatus]:
        """Yield how every job stands, those that are final as well; from any thread."""
        for tracked in self._schedule.everyone():
            yield self._standing(tracked)

    def standing_of(self, key: str) -> JobStatus | None:
        """Return how one job stands, if it is followed."""
        tracked = self._schedule.known(key)
        return self._standing(tracked) if tracked else None

    @property
    def size(self) -> int:
        """How many jobs it follows, those that are final as well."""
        return len(self._schedule.everyone())

    def seen(self) -> SourceStatus:
        """Return how the source itself stands."""
        return self._client.seen()

    def _standing(self, tracked: ScheduledJob) -> JobStatus:
        snapshot = self._recorder.snapshot(tracked.job.key)
        own = interval(tracked, snapshot)
        return standing(tracked, snapshot, own, self._clock.now(), self._clock.monotonic())

    def follow_as(self, tracked: ScheduledJob) -> None:
        """Look at a job as ``tracked`` says, whether it is looked at already or not.

        One that is keeps its turn, unless another interval brings an earlier one.
        """
        known = self._schedule.known(tracked.job.key)
        if known is None:
            self.follow(tracked)
            return
        before = self._job_poller.interval(known)
        known.take_over(tracked)
        if not self._schedule.holds(known):
            self._resume(known)
            return
        other = self._job_poller.interval(known) != before
        if other and not (known.busy or known.attempts):
            self._schedule.put(known, min(known.due, self._job_poller.next_turn(known)))
            self._wake.set()

    def _resume(self, ended: ScheduledJob) -> None:
        """Look again at a job that had ended, if it is to be looked at for longer now."""
        if not self._job_poller.is_finished(ended):
            self._schedule.put(ended, self._clock.monotonic())
            self._wake.set()

    def discover(self, discovery: ListingSweep) -> None:
        """Sweep a listing from now on."""
        self._schedule.put(discovery, self._clock.monotonic())
        self._sweeper.show(discovery)
        self._wake.set()

    def drop(self, turn: ScheduledJob | ListingSweep) -> None:
        """Look no more; a look under way is recorded, and is the last."""
        self._schedule.drop(turn)
        if isinstance(turn, ListingSweep):
            self._sweeper.show(turn)

    def listings(self) -> Sequence[ListingStatus]:
        """Return how the sweeps of each listing end; from any thread."""
        return [listing_status(one) for one in self._schedule.listings()]

    def follows(self, job: model.Job) -> bool:
        """Whether a job is looked at, or was until it was final."""
        return self._schedule.known(job.key) is not None

    def tracked(self) -> Sequence[ScheduledJob]:
        """Return the jobs that are looked at, or were until they were final."""
        return self._schedule.everyone()

    def limit(self, rate: float, burst: int) -> None:
        """Have another budget from now on: requests per second, and at once after a pause."""
        self._quota.change(rate, burst, self._clock.monotonic())
        self._metrics.quota_rate.labels(*self._labels).set(self._quota.rate)
        self._wake.set()

    def retry(self) -> None:
        """Ask again, as the quota permits, for all that failed: the cause may be gone."""
        self._probed_at = -math.inf
        self._hasten(self._schedule.failing())
        self._wake.set()

    async def run(self) -> None:
        """Look until stopped; then finish the looks under way."""
        async with anyio.create_task_group() as tasks:
            while not self._stopping:
                self.last_pass = self._clock.monotonic()
                await self._pause(self.start_due(tasks))

    def stop(self) -> None:
        """Start no more looks."""
        self._stopping = True
        self._wake.set()

    async def _pause(self, seconds: float) -> None:
        with anyio.move_on_after(min(max(seconds, pacing.TICK), LONGEST_PAUSE)):
            await self._wake.wait()
        self._wake = anyio.Event()

    def start_due(self, tasks: TaskGroup) -> float:
        """Start every look that may be started now; return the seconds until the next may."""
        self._probe(self._clock.monotonic())
        while self._running < self._limit:
            turn = self._schedule.first()
            if turn is None:
                return math.inf
            now = self._clock.monotonic()
            ready_at = self._ready_at(now)
            if max(turn.due, ready_at) > now:
                self._note_hold(turn.due <= now < self._quota.ready_at(now), now)
                return max(turn.due, ready_at) - now
            self._begin(turn, tasks, now)
        return math.inf

    @property
    def _limit(self) -> int:
        return 1 if self._client.health.lost else self._concurrency

    def _ready_at(self, now: float) -> float:
        """Return when the quota, and the slow probing of a lost source, permit a request."""
        probe_at = self._probed_at + PROBE_INTERVAL if self._client.health.lost else now
        return max(self._quota.ready_at(now), probe_at)

    def _note_hold(self, held: bool, now: float) -> None:  # noqa: FBT001 -- one private caller
        if held and self._held_since is None:
            self._held_since = now

    def _begin(self, turn: ScheduledJob | ListingSweep, tasks: TaskGroup, now: float) -> None:
        self._schedule.begin()
        self._quota.take(now)
        self._probed_at = turn.began_at = now
        self._outages.asked(turn.operation, now)
        self._running += 1
        self._observe_lateness(now, turn.due)
        tasks.start_soon(self._work, turn, name=f"look at {self.key.key}")

    def _observe_lateness(self, now: float, due: float) -> None:
        self._metrics.poll_lateness.observe(now - due)
        if self._held_since is not None:
            self._metrics.quota_wait.labels(*self._labels).inc(now - self._held_since)
            self._held_since = None

    async def _work(self, turn: ScheduledJob | ListingSweep) -> None:
        """Do one piece of work and give ``turn`` its next time, if it has one."""
        with self._schedule.busy(turn):
            if isinstance(turn, ScheduledJob):
                delay = await self._job_poller.look_once(turn)
            else:
                delay = await self._sweeper.page_once(turn)
        # No await from here on: the turn is free, and must have its next time before a sweep or
        # a reload comes upon it. A delay below 0 keeps its place in line.
        if delay is not None and self._schedule.holds(turn):
            self._schedule.put(turn, self._clock.monotonic() + delay)
        self._running -= 1
        self._judge(turn)
        self._note_health()
        self._wake.set()

    def _judge(self, turn: ScheduledJob | ListingSweep) -> None:
        """Learn from one poll which of its kind is back, and poll again what failed meanwhile."""
        now = self._clock.monotonic()
        self._schedule.mark(turn)
        if turn.failing in NO_OUTAGE:
            turn.failing_since = None
            for back in self._outages.succeeded(turn.operation, now):
                concerned = [one for one in self._schedule.failing() if _concerns(back, one)]
                self._hasten(concerned, over=back.whole)
            return
        fresh = turn.failing_since is None
        turn.failing_since = now if fresh else turn.failing_since
        if self._outages.failed(turn.operation, turn.began_at, now, fresh=fresh):
            self._hasten([turn] if self._schedule.holds(turn) else [], over=True)

    def _note_health(self) -> None:
        """Ask again, as the quota permits, for all that failed while the source was away."""
        was_lost, self._was_lost = self._was_lost, self._client.health.lost
        if was_lost and not self._was_lost:
            self._hasten(self._schedule.failing(), over=True)

    def _hasten(self, turns: Iterable[ScheduledJob | ListingSweep], *, over: bool = False) -> None:
        """Poll ``turns`` next, and count what they failed before to no backoff any more.

        Once an outage is ``over``, so is the patience that its answers asked for.
        """
        now = self._clock.monotonic()
        for turn in list(turns):
            turn.hold_until = 0.0 if over else turn.hold_until
            turn.forgiven = turn.attempts
            due = max(now, turn.hold_until)
            if due < turn.due:
                self._schedule.put(turn, due)

    def _probe(self, now: float) -> None:
        """Let one turn of each operation that fails wholly be due, if none was of late."""
        for operation in self._outages.silent(now):
            failing = (one for one in self._schedule.failing() if one.operation == operation)
            # A sweep that begins anew does so at its own interval, which may be longer.
            waiting = [one for one in failing if isinstance(one, ScheduledJob) or not one.rests]
            first = min(waiting, key=lambda one: max(one.due, _held_until(one)), default=None)
            if first is not None and first.due > now >= _held_until(first):
                self._schedule.put(first, now)

    def _still_failing(self) -> bool:
        """Whether a listing does not come to its end, or a turn waits as its source failed it."""
        broken = any(one.trouble and not one.complete for one in self._schedule.listings())
        return broken or next(self._schedule.failing(), None) is not None


def _held_until(turn: ScheduledJob | ListingSweep) -> float:
    return min(turn.hold_until, turn.began_at + LONGEST_HOLD)


def _concerns(back: Return, turn: ScheduledJob | ListingSweep) -> bool:
    """Whether a turn failed while what is back was away."""
    fits = back.operation in {None, turn.operation}
    return fits and turn.failing_since is not None and turn.failing_since > back.since
