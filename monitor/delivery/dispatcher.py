"""Loop 2: one dispatcher per sink sends what is due and stores the outcome.

``run`` is about time; the ``*_once`` steps do one unit of work each.
"""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import anyio

from monitor import logs, pacing
from monitor.clock import Lease
from monitor.delivery.parking import SinkParking
from monitor.delivery.sink_health import WIDESPREAD, SinkHealth
from monitor.errors import PartialSendError, SendError, SendReason
from monitor.metrics import exemplar
from monitor.model import Delivery, DeliveryStatus, Settlement

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime

    from anyio.abc import TaskGroup

    from monitor.interfaces import Clock, Random, Sink, Store
    from monitor.metrics import Metrics

LONGEST_PAUSE = 30.0
"""Seconds: the outbox is read at least so often, as others may have put something there."""

AHEAD = 500
"""Deliveries that are read ahead of those under way."""

MOST_UNSETTLED = 1000
"""Deliveries whose outcome may wait to be written; as many are repeated after a crash at worst."""

_TOO_OLD = "older than max_age, while the sink was parked"


@dataclass(frozen=True, slots=True)
class _Outcome:
    """The end of one attempt, which is still to be stored."""

    settlements: Sequence[Settlement]
    failures: Mapping[int, SendError]
    recovered: bool


class Dispatcher:
    """Sends the transitions routed to one sink: at least once, in order per job.

    Only the first pending delivery of each job is ever under way, so that one that
    fails holds back the later ones of its job, and nothing else. A sink that takes
    nothing at all gets one attempt at a time, ever more rarely up to once a minute; one
    that is gone, or refuses everything, is parked until somebody resumes it in the store.
    """

    def __init__(
        self,
        name: str,
        sink: Sink,
        store: Store,
        metrics: Metrics,
        clock: Clock,
        random: Random,
        *,
        timeout: float,
        max_age: float,
        concurrency: int,
        complete: Callable[[Mapping[str, Any]], Mapping[str, Any]] = lambda event: event,
    ) -> None:
        """``timeout`` is the deadline of one attempt, ``max_age`` of all of them, in seconds.

        ``complete`` adds to an event what is not stored with it, at each attempt.
        """
        self.name = name
        self._sink = sink
        self._store = store
        self._metrics = metrics
        self._clock = clock
        self._random = random
        self._timeout = timeout
        self._max_age = timedelta(seconds=max_age)
        self._concurrency = concurrency
        self._complete = complete
        self.lease = Lease()
        """Bounds when it sends; another that is assigned counts from then on."""
        self._log = logs.get(sink=name)
        self._health = SinkHealth(random)
        self._parking = SinkParking(name, store, clock)
        # Claimed: read from the outbox and not settled yet. Ready: those of them to be sent next.
        self._claimed: dict[int, Delivery] = {}
        self._ready: deque[Delivery] = deque()
        self._ahead = max(AHEAD, concurrency * sink.batch_size)
        self._more = True
        self._free = concurrency
        self._outcomes: list[_Outcome] = []
        self._settling = False
        self._wake = anyio.Event()
        self._stopping = False
        self._failing = False
        self.delivered_at: datetime | None = None
        """When the sink last took something, since the start."""
        self.failure: tuple[datetime, str] | None = None
        """When the sink last did not take something, since the start, and why."""
        self._failing_from: float | None = None

    @property
    def parked(self) -> bool:
        """Whether the sink gets nothing until somebody resumes it."""
        return self._parking.present is not None

    @property
    def failing_since(self) -> datetime | None:
        """When the first attempt failed since one last succeeded.

        By the wall clock as it goes now: one that was wrong then moves nothing into the future.
        """
        if self._failing_from is None:
            return None
        seconds = self._clock.monotonic() - self._failing_from
        return (self._clock.now() - timedelta(seconds=seconds)).replace(microsecond=0)

    async def run(self) -> None:
        """Send until stopped; then finish the attempts under way."""
        await self._parking.load()
        async with anyio.create_task_group() as tasks:
            while not self._stopping:
                seconds = await self.dispatch_once(tasks)
                with anyio.move_on_after(min(max(seconds, 0), LONGEST_PAUSE)):
                    await self._wake.wait()
                # Nothing waits between here and the next reading of the outbox, so that a
                # signal that was set before the reading needs no second one.
                self._wake = anyio.Event()

    def wake(self) -> None:
        """Say that there may be something new to send."""
        self._wake.set()

    def stop(self) -> None:
        """Start no further attempts."""
        self._stopping = True
        self._wake.set()

    async def dispatch_once(self, tasks: TaskGroup) -> float:
        """Start what is due as far as there is room; return the seconds until there is more."""
        if self._clock.monotonic() >= self.lease.until:
            return pacing.LAPSED
        if self.parked:
            return await self._check_parked_once()
        if rest := self._health.rest(self._clock.monotonic()):
            return rest
        now, complete = self._store.store_time(), False
        # Also while all workers are busy, if there was more: none is to wait for the store.
        wanted = self._room() or (self._more and self._open())
        if wanted and len(self._ready) <= self._ahead // 2:
            # Taken before: an attempt that ends while the store answers may still look pending in
            # the answer, and would be sent twice.
            claimed = set(self._claimed)
            new = await self._store.due(self.name, now, self._ahead, claimed)
            self._claimed.update((delivery.id, delivery) for delivery in new)
            self._ready.extend(new)
            complete = len(new) < self._ahead
            self._more = not complete
        # The room is computed again for each: an attempt may have parked the sink meanwhile.
        while batch := self._take():
            tasks.start_soon(self._work, tasks, batch, name=f"deliver to {self.name}")
        if self._ready or not self._room():
            return LONGEST_PAUSE
        if not complete:
            return 0
        # All that was due by ``now`` is under way.
        next_at = await self._store.next_due(self.name, now)
        return (next_at - now).total_seconds() if next_at else LONGEST_PAUSE

    def _open(self) -> bool:
        """Check that attempts may begin once a worker is free."""
        unsettled = len(self._claimed) - len(self._ready)
        lapsed = self._clock.monotonic() >= self.lease.until
        return not (self.parked or self._stopping or lapsed) and unsettled < MOST_UNSETTLED

    def _room(self) -> int:
        """Return the number of attempts that may begin."""
        if not self._open():
            return 0
        if self._health.down:
            resting = self._health.rest(self._clock.monotonic()) > 0
            return int(self._free == self._concurrency and not resting)
        return self._free

    def _take(self) -> Sequence[Delivery]:
        """Take what is to be sent next, if there is room for an attempt."""
        if not (self._ready and self._room()):
            return ()
        self._free -= 1
        size = 1 if self._health.down else self._sink.batch_size
        return [self._ready.popleft() for _ in range(min(size, len(self._ready)))]

    async def _work(self, tasks: TaskGroup, batch: Sequence[Delivery]) -> None:
        """Make one attempt after the other, for as long as there is something to send."""
        while batch:
            outcome = await self._attempt_once(batch)
            self._outcomes.append(outcome)
            # Room is made before the outcome is stored: a slow disk must not slow down the sink.
            self._free += 1
            if not self._settling:
                self._settling = True
                tasks.start_soon(self._settle_outcomes, name=f"settle for {self.name}")
            batch = self._take()
            low = self._more and len(self._ready) <= self._ahead // 2
            if low or (self._ready and self._room()):
                self._wake.set()

    async def _attempt_once(self, batch: Sequence[Delivery]) -> _Outcome:
        """Send once; judge the sink, and each delivery by its own outcome."""
        started = self._clock.monotonic()
        failures = await self._send(batch)
        self._metrics.delivery_duration.labels(self.name).observe(self._clock.monotonic() - started)
        recovered = self._update_health(batch, failures)
        judged = [self.judge(delivery, failures.get(delivery.id)) for delivery in batch]
        return _Outcome(judged, failures, recovered)

    async def _settle_outcomes(self) -> None:
        """Store the outcomes of all attempts that end meanwhile, as many in one commit as wait."""
        while self._outcomes:
            outcomes, self._outcomes = self._outcomes, []
            settled = [one for outcome in outcomes for one in outcome.settlements]
            await self._store.settle(*settled)
            counted = Counter(
                self._note(settlement, outcome.failures.get(settlement.delivery.id))
                for outcome in outcomes
                for settlement in outcome.settlements
            )
            for name, many in counted.items():
                self._metrics.deliveries.labels(self.name, name).inc(many)
            if any(outcome.recovered for outcome in outcomes):
                await self._store.hasten(self.name)
            ended = {one.delivery.id for one in settled}
            if self.parked:
                # Last, as the store must have the deaths before it can take them back. One that a
                # later event of its job may overtake, which is still under way, is not taken back:
                # order comes first, and a crash meanwhile leaves it dead.
                self._drop_ready()
                claimed = self._claimed.values()
                under_way = {one.key for one in claimed if one.id not in ended}
                await self._parking.save(self._health.take_back(under_way))
            # Released last: until all of this is stored, the outbox would still give them out.
            for number in ended:
                del self._claimed[number]
            self._wake.set()
        self._settling = False

    def _update_health(self, batch: Sequence[Delivery], failures: Mapping[int, SendError]) -> bool:
        """Draw conclusions on the sink itself; return whether it has recovered."""
        recovered = False
        for delivery in batch:
            error = failures.get(delivery.id)
            if error is None and self.parked:
                self._health.overtaken(delivery.key)
                continue
            if error is None:
                recovered |= self._health.taken()
                continue
            refuses_all = self._health.failed(delivery, error, self._clock.monotonic())
            reason = error.message
            if not error.reason.parks:
                if not refuses_all:
                    continue
                reason = f"refused {WIDESPREAD} jobs in a row, at last: {error.message}"
            if self._parking.begin(reason):
                self._log.error(logs.SINK_PARKED, **_facts(delivery, error))
                self._drop_ready()
        return recovered

    async def _send(self, batch: Sequence[Delivery]) -> dict[int, SendError]:
        """Return the error of each delivery that was not taken, by its id."""
        try:
            with anyio.fail_after(self._timeout):
                await self._sink.send([self._complete(delivery.event) for delivery in batch])
        except PartialSendError as error:
            failed = ((d.id, error.failures.get(d.event["id"])) for d in batch)
            return {number: failure for number, failure in failed if failure}
        except SendError as error:
            common = error
        except TimeoutError:
            common = SendError(SendReason.TIMEOUT, f"no answer within {self._timeout:g} s")
        except anyio.get_cancelled_exc_class():
            # Nobody cancelled this attempt: something inside the plug-in was, and leaked.
            if anyio.get_current_task().has_pending_cancellation():
                raise
            common = SendError(SendReason.INTERNAL, "cancelled in the sink itself")
        except Exception as error:  # noqa: BLE001 -- the loop's one net around a plug-in
            self._log.exception(logs.SINK_BROKEN)
            common = SendError(SendReason.INTERNAL, f"{type(error).__name__} in the sink itself")
        else:
            return {}
        return dict.fromkeys((delivery.id for delivery in batch), common)

    def _note(self, settlement: Settlement, error: SendError | None) -> str:
        """Log an outcome that is stored, and return its name in the metrics."""
        delivery, outcome = settlement.delivery, settlement.status.value
        if error is None:
            self.delivered_at, self._failing_from = settlement.at, None
            waited = self._store.store_time() - delivery.created_at
            self._metrics.delivery_latency.labels(self.name).observe(
                max(0.0, waited.total_seconds()), exemplar(delivery.event["id"])
            )
            if self._failing:
                self._log.info(logs.DELIVERY_RECOVERED, event_id=delivery.event["id"])
            self._failing = False
        else:
            self.failure = settlement.at, error.message
            if self._failing_from is None:
                self._failing_from = self._clock.monotonic()
            if settlement.status is DeliveryStatus.DEAD:
                self._log.error(logs.DELIVERY_DEAD, **_facts(delivery, error))
            else:
                outcome = "parked" if self.parked else "retried"
                # The first failure is logged, and not each repeat.
                if not (self._failing or self.parked):
                    self._log.warning(logs.DELIVERY_FAILING, **_facts(delivery, error))
                self._failing = True
        return outcome

    def judge(self, delivery: Delivery, error: SendError | None) -> Settlement:
        """Decide the next step for a delivery after one attempt.

        What a parked sink did not take waits until it is resumed.
        """
        at, now = self._clock.now(), self._store.store_time()
        if error is None:
            return Settlement(delivery, DeliveryStatus.DELIVERED, at)
        dies_at = delivery.created_at + self._max_age
        if now >= dies_at or not (error.reason.retryable or self.parked):
            return Settlement(delivery, DeliveryStatus.DEAD, at, error=error.message)
        denied = error.reason is SendReason.DENIED
        delay = pacing.redelivery_delay(
            delivery.attempts, error.retry_after, self._random, denied=denied
        )
        due_at = min(now + timedelta(seconds=delay), dies_at)
        return Settlement(delivery, DeliveryStatus.PENDING, at, due_at, error.message)

    # Parked

    def _drop_ready(self) -> None:
        """Give back what was read ahead."""
        while self._ready:
            del self._claimed[self._ready.popleft().id]

    async def _check_parked_once(self) -> float:
        """Give up what is too old; notice when somebody has resumed the sink."""
        # While an attempt from before is under way, nothing may end the parking, and until it is
        # stored nobody can. The end of the attempt wakes the loop.
        if not self._parking.stored or len(self._claimed) > len(self._ready):
            return LONGEST_PAUSE
        # What was read while it was being parked grows old too, and may be second in line later.
        self._drop_ready()
        if await self._parking.load():
            return 0 if await self._expire_once() else LONGEST_PAUSE
        self._health = SinkHealth(self._random)
        self._log.info(logs.SINK_RESUMED)
        return 0

    async def _expire_once(self) -> bool:
        """Give up some of what is too old; return whether there was any."""
        died = self._store.store_time() - self._max_age
        found = await self._store.due(self.name, died, self._ahead, set(self._claimed))
        old = [delivery for delivery in found if delivery.created_at <= died]
        dead, late = DeliveryStatus.DEAD, SendError(SendReason.TIMEOUT, _TOO_OLD)
        if old:
            now = self._clock.now()
            given_up = (Settlement(one, dead, now, error=_TOO_OLD, attempted=False) for one in old)
            await self._store.settle(*given_up)
        for delivery in old:
            self._metrics.deliveries.labels(self.name, dead.value).inc()
            facts = _facts(delivery, late) | {"attempts": delivery.attempts}
            self._log.error(logs.DELIVERY_DEAD, **facts)
        return bool(old)


def _facts(delivery: Delivery, error: SendError) -> dict[str, str | int]:
    return {
        "event_id": delivery.event["id"],
        "job": delivery.key,
        "attempts": delivery.attempts + 1,
        "reason": error.reason.value,
        "error": error.message,
    }
