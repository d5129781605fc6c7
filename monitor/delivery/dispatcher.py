"""Loop 2: one dispatcher per sink sends what is due and writes down what became of it."""

from __future__ import annotations

from collections import deque
from datetime import timedelta
from typing import TYPE_CHECKING

import anyio

from monitor import logs, pacing
from monitor.delivery.sink_health import WIDESPREAD, SinkHealth
from monitor.errors import PartialSendError, SendError, SendReason
from monitor.metrics import exemplar
from monitor.model import Delivery, DeliveryStatus, Parking, Settlement

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from anyio.abc import TaskGroup

    from monitor.interfaces import Clock, Random, Sink, Store
    from monitor.metrics import Metrics

LONGEST_PAUSE = 30.0
"""Seconds: the outbox is read at least so often, as others may have put something there."""

AHEAD = 200
"""Deliveries that are read ahead of those under way."""

MOST_UNSETTLED = 500
"""Deliveries whose outcome may wait to be written; as many are repeated after a crash at worst."""

_TOO_OLD = "older than max_age, while the sink was parked"


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
    ) -> None:
        """``timeout`` is the deadline of one attempt, ``max_age`` of all of them, in seconds."""
        self.name = name
        self._sink = sink
        self._store = store
        self._metrics = metrics
        self._clock = clock
        self._random = random
        self._timeout = timeout
        self._max_age = timedelta(seconds=max_age)
        self._concurrency = concurrency
        self._log = logs.get(sink=name)
        self._condition = SinkHealth(random)
        self._claimed: dict[int, Delivery] = {}
        self._ready: deque[Delivery] = deque()
        self._ahead = max(AHEAD, concurrency * sink.batch_size)
        self._free = concurrency
        self._wake = anyio.Event()
        self._stopping = False
        self._failing = False
        self._parking: Parking | None = None
        self._parking_kept = False
        self.delivered_at: datetime | None = None
        """When something was last taken, since the start."""
        self.failure: tuple[datetime, str] | None = None
        """When something was last not taken, since the start, and why."""
        self._failing_from: float | None = None

    @property
    def parked(self) -> bool:
        """Whether the sink gets nothing until somebody resumes it."""
        return self._parking is not None

    @property
    def failing_since(self) -> datetime | None:
        """When something was not taken for the first time since something was.

        By the wall clock as it goes now: one that was wrong then moves nothing into the future.
        """
        if self._failing_from is None:
            return None
        seconds = self._clock.monotonic() - self._failing_from
        return (self._clock.now() - timedelta(seconds=seconds)).replace(microsecond=0)

    async def run(self) -> None:
        """Send until stopped; then finish the attempts under way."""
        self._parking = await self._stored_parking()
        self._parking_kept = self.parked
        async with anyio.create_task_group() as tasks:
            while not self._stopping:
                await self._pause(await self.start_due(tasks))

    def wake(self) -> None:
        """Say that there may be something new to send."""
        self._wake.set()

    def stop(self) -> None:
        """Start no more attempts."""
        self._stopping = True
        self._wake.set()

    async def _pause(self, seconds: float) -> None:
        with anyio.move_on_after(min(max(seconds, 0), LONGEST_PAUSE)):
            await self._wake.wait()
        self._wake = anyio.Event()

    async def start_due(self, tasks: TaskGroup) -> float:
        """Start what is due as far as there is room; return the seconds until there is more."""
        if self.parked:
            return await self._while_parked()
        if rest := self._condition.rest(self._clock.monotonic()):
            return rest
        now = self._store.own_time()
        complete = await self._read_ahead(now) if self._wants_more() else False
        while self._ready and self._room():
            self._start(tasks)
        if self._ready or not self._room():
            return LONGEST_PAUSE
        return await self._until_next(now) if complete else 0

    def _room(self) -> int:
        """How many attempts may begin."""
        unsettled = len(self._claimed) - len(self._ready)
        if self.parked or self._stopping or unsettled >= MOST_UNSETTLED:
            return 0
        if self._condition.down:
            return int(self._free == self._concurrency)
        return self._free

    def _wants_more(self) -> bool:
        return len(self._ready) < self._room() * self._sink.batch_size

    async def _read_ahead(self, now: datetime) -> bool:
        """Claim more of what is due; return whether that is all."""
        # An attempt that ends while the store answers may still look pending in the answer.
        claimed = set(self._claimed)
        limit = self._ahead + len(claimed)
        found = await self._store.due(self.name, now, limit)
        new = [delivery for delivery in found if delivery.id not in claimed]
        self._claimed.update((delivery.id, delivery) for delivery in new)
        self._ready.extend(new)
        return len(found) < limit

    def _start(self, tasks: TaskGroup) -> None:
        size = 1 if self._condition.down else self._sink.batch_size
        batch = [self._ready.popleft() for _ in range(min(size, len(self._ready)))]
        self._free -= 1
        tasks.start_soon(self._attempt, batch, name=f"deliver to {self.name}")

    async def _until_next(self, now: datetime) -> float:
        """Look beyond ``now``: all that was due by then is under way."""
        next_at = await self._store.next_due(self.name, now)
        return (next_at - now).total_seconds() if next_at else LONGEST_PAUSE

    async def _attempt(self, batch: Sequence[Delivery]) -> None:
        """Send once, make room, and settle each delivery by its own outcome."""
        started = self._clock.monotonic()
        failures = await self._send(batch)
        self._metrics.delivery_duration.labels(self.name).observe(self._clock.monotonic() - started)
        recovered = self._learn(batch, failures)
        self._free += 1
        if self._ready:
            self._wake.set()
        async with anyio.create_task_group() as tasks:
            for delivery in batch:
                tasks.start_soon(self._settle, delivery, failures.get(delivery.id))
        if recovered:
            await self._store.hasten(self.name)
        await self._keep_parking(batch)
        for delivery in batch:
            del self._claimed[delivery.id]
        self._wake.set()

    def _learn(self, batch: Sequence[Delivery], failures: Mapping[int, SendError]) -> bool:
        """Draw conclusions on the sink itself; return whether it is back."""
        recovered = False
        for delivery in batch:
            error = failures.get(delivery.id)
            if error is None and self.parked:
                self._condition.overtaken(delivery.key)
                continue
            if error is None:
                recovered |= self._condition.taken()
                continue
            self._condition.failed(delivery, error, self._clock.monotonic())
            if error.reason.parks:
                self._park(delivery, error, error.message)
            elif self._condition.refusing:
                reason = f"refused {WIDESPREAD} jobs in a row, at last: {error.message}"
                self._park(delivery, error, reason)
        return recovered

    async def _send(self, batch: Sequence[Delivery]) -> dict[int, SendError]:
        """Return the error of each delivery that was not taken, by its id."""
        try:
            with anyio.fail_after(self._timeout):
                await self._sink.send([delivery.event for delivery in batch])
        except PartialSendError as error:
            failed = ((d.id, error.failures.get(d.event["id"])) for d in batch)
            return {number: failure for number, failure in failed if failure}
        except SendError as error:
            return dict.fromkeys((d.id for d in batch), error)
        except TimeoutError:
            late = SendError(SendReason.TIMEOUT, f"no answer within {self._timeout:g} s")
            return dict.fromkeys((d.id for d in batch), late)
        except anyio.get_cancelled_exc_class():
            # Nobody cancelled this attempt: something inside the plug-in was, and leaked.
            if anyio.get_current_task().has_pending_cancellation():
                raise
            leaked = SendError(SendReason.INTERNAL, "cancelled in the sink itself")
            return dict.fromkeys((d.id for d in batch), leaked)
        except Exception as error:  # noqa: BLE001 -- the loop's one net around a plug-in
            self._log.exception(logs.SINK_BROKEN)
            broken = SendError(SendReason.INTERNAL, f"{type(error).__name__} in the sink itself")
            return dict.fromkeys((d.id for d in batch), broken)
        return {}

    async def _settle(self, delivery: Delivery, error: SendError | None) -> None:
        settlement = self.judge(delivery, error)
        await self._store.settle(settlement)
        self._count(settlement, error)
        if error is None:
            self._log_recovery(delivery)
        elif settlement.status is DeliveryStatus.DEAD:
            self._log.error(logs.DELIVERY_DEAD, **self._facts(delivery, error))
        else:
            self._log_failure(delivery, error)

    def judge(self, delivery: Delivery, error: SendError | None) -> Settlement:
        """Decide what becomes of a delivery after one attempt.

        What a parked sink did not take waits for better times.
        """
        at, now = self._clock.now(), self._store.own_time()
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

    def _park(self, delivery: Delivery, error: SendError, reason: str) -> None:
        if self._parking is None:
            self._parking = Parking(self.name, self._clock.now(), reason)
            self._log.error(logs.SINK_PARKED, **self._facts(delivery, error))
            self._drop_ready()

    def _drop_ready(self) -> None:
        """Give back what was read ahead."""
        while self._ready:
            del self._claimed[self._ready.popleft().id]

    async def _keep_parking(self, ended: Sequence[Delivery]) -> None:
        """Write down that the sink is parked, and take back what it refused for no fault of theirs.

        Their deaths were asked for before, and so they are written before this. A death that
        something later of its job may overtake, which is under way, is not taken back before
        that one has ``ended``: order comes first, and a crash meanwhile leaves it dead.
        """
        if self._parking is None:
            return
        self._drop_ready()
        under_way = {one.key for one in self._claimed.values()} - {one.key for one in ended}
        revived = self._condition.take_back(under_way)
        if not self._parking_kept:
            await self._store.park(self._parking, revived)
            self._parking_kept = True
        elif revived:
            await self._store.revive(revived)

    async def _while_parked(self) -> float:
        """Let what is too old die; notice when somebody has resumed the sink."""
        if not self._parking_kept:
            return LONGEST_PAUSE
        if await self._stored_parking():
            return 0 if await self._expire() else LONGEST_PAUSE
        if len(self._claimed) > len(self._ready):
            return LONGEST_PAUSE  # until the last attempt from before has ended
        self._drop_ready()  # what was read while it was being parked may stand second in line now
        self._parking, self._parking_kept = None, False
        self._condition = SinkHealth(self._random)
        self._log.info(logs.SINK_RESUMED)
        return 0

    async def _stored_parking(self) -> Parking | None:
        return next((one for one in await self._store.parkings() if one.sink == self.name), None)

    async def _expire(self) -> bool:
        """Give up some of what is too old; return whether there was any."""
        died = self._store.own_time() - self._max_age
        found = await self._store.due(self.name, died, self._ahead)
        old = [one for one in found if one.id not in self._claimed and one.created_at <= died]
        async with anyio.create_task_group() as tasks:
            for delivery in old:
                tasks.start_soon(self._give_up, delivery, self._clock.now())
        return bool(old)

    async def _give_up(self, delivery: Delivery, now: datetime) -> None:
        dead = DeliveryStatus.DEAD
        settlement = Settlement(delivery, dead, now, error=_TOO_OLD, attempted=False)
        await self._store.settle(settlement)
        self._metrics.deliveries.labels(self.name, settlement.status.value).inc()
        late = SendError(SendReason.TIMEOUT, _TOO_OLD)
        facts = self._facts(delivery, late) | {"attempts": delivery.attempts}
        self._log.error(logs.DELIVERY_DEAD, **facts)

    # Told

    def _count(self, settlement: Settlement, error: SendError | None) -> None:
        outcome = settlement.status.value
        if settlement.status is DeliveryStatus.PENDING and error is not None:
            outcome = "parked" if self.parked else "retried"
        self._metrics.deliveries.labels(self.name, outcome).inc()
        if error is not None:
            self.failure = settlement.at, error.message
            if self._failing_from is None:
                self._failing_from = self._clock.monotonic()
        if settlement.status is DeliveryStatus.DELIVERED:
            self.delivered_at, self._failing_from = settlement.at, None
            waited = self._store.own_time() - settlement.delivery.created_at
            latency = waited.total_seconds()
            told = exemplar(settlement.delivery.event["id"])
            self._metrics.delivery_latency.labels(self.name).observe(max(0.0, latency), told)

    def _log_failure(self, delivery: Delivery, error: SendError) -> None:
        if not (self._failing or self.parked):
            self._log.warning(logs.DELIVERY_FAILING, **self._facts(delivery, error))
        self._failing = True

    def _log_recovery(self, delivery: Delivery) -> None:
        if self._failing:
            self._log.info(logs.DELIVERY_RECOVERED, event_id=delivery.event["id"])
        self._failing = False

    def _facts(self, delivery: Delivery, error: SendError) -> dict[str, str | int]:
        return {
            "event_id": delivery.event["id"],
            "job": delivery.key,
            "attempts": delivery.attempts + 1,
            "reason": error.reason.value,
            "error": error.message,
        }
