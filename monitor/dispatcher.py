"""Loop 2: one dispatcher per sink sends what is due and writes down what became of it."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import anyio

from monitor import logs, pacing
from monitor.errors import PartialSendError, SendError, SendReason
from monitor.model import Delivery, DeliveryStatus, Settlement

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from anyio.abc import TaskGroup

    from monitor.interfaces import Clock, Random, Sink, Store
    from monitor.metrics import Metrics

LONGEST_PAUSE = 30.0
"""Seconds: the outbox is read at least so often, whatever the wall clock does meanwhile."""


class Dispatcher:
    """Sends the transitions routed to one sink: at least once, in order per job.

    Only the first pending delivery of each job is ever under way, so that one that
    fails holds back the later ones of its job, and nothing else.
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
        self._under_way: dict[int, Delivery] = {}
        self._free = concurrency
        self._wake = anyio.Event()
        self._stopping = False
        self._failing = False
        self.parked = False
        """Whether the receiver asked for nothing more; a restart tries it again."""

    async def run(self) -> None:
        """Send until stopped; then finish the attempts under way."""
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
        if self.parked or not self._free:
            return LONGEST_PAUSE
        now = self._clock.now()
        for batch in self._batches(await self._due(now)):
            if self._stopping:
                break
            self._free -= 1
            self._under_way.update((delivery.id, delivery) for delivery in batch)
            tasks.start_soon(self._attempt, batch, name=f"deliver to {self.name}")
        return await self._until_next(now) if self._free else LONGEST_PAUSE

    async def _due(self, now: datetime) -> list[Delivery]:
        room = self._free * self._sink.batch_size
        # An attempt that ends while the store answers may still look pending in the answer.
        under_way = set(self._under_way)
        found = await self._store.due(self.name, now, room + len(under_way))
        return [delivery for delivery in found if delivery.id not in under_way][:room]

    def _batches(self, due: Sequence[Delivery]) -> Iterable[Sequence[Delivery]]:
        size = self._sink.batch_size
        return (due[start : start + size] for start in range(0, len(due), size))

    async def _until_next(self, now: datetime) -> float:
        """Look beyond ``now``: all that was due by then is under way."""
        next_at = await self._store.next_due(self.name, now)
        return (next_at - now).total_seconds() if next_at else LONGEST_PAUSE

    async def _attempt(self, batch: Sequence[Delivery]) -> None:
        """Send once, settle each delivery by its own outcome, and make room."""
        started = self._clock.monotonic()
        failures = await self._send(batch)
        self._metrics.delivery_duration.labels(self.name).observe(self._clock.monotonic() - started)
        async with anyio.create_task_group() as tasks:
            for delivery in batch:
                tasks.start_soon(self._settle, delivery, failures.get(delivery.id))
        for delivery in batch:
            del self._under_way[delivery.id]
        self._free += 1
        self._wake.set()

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

        A receiver that is gone keeps what it did not take: it may come back.
        """
        now = self._clock.now()
        if error is None:
            return Settlement(delivery, DeliveryStatus.DELIVERED, now)
        self.parked = self.parked or error.reason.parks
        dies_at = delivery.created_at + self._max_age
        if not error.reason.retryable or now >= dies_at:
            return Settlement(delivery, DeliveryStatus.DEAD, now, error=error.message)
        delay = pacing.redelivery_delay(delivery.attempts, error.retry_after, self._random)
        due_at = min(now + timedelta(seconds=delay), dies_at)
        return Settlement(delivery, DeliveryStatus.PENDING, now, due_at, error.message)

    def _count(self, settlement: Settlement, error: SendError | None) -> None:
        outcome = settlement.status.value
        if settlement.status is DeliveryStatus.PENDING and error is not None:
            outcome = "parked" if error.reason.parks else "retried"
        self._metrics.deliveries.labels(self.name, outcome).inc()
        if settlement.status is DeliveryStatus.DELIVERED:
            latency = (settlement.at - settlement.delivery.created_at).total_seconds()
            self._metrics.delivery_latency.labels(self.name).observe(max(0.0, latency))

    def _log_failure(self, delivery: Delivery, error: SendError) -> None:
        if error.reason.parks:
            self._log.error(logs.SINK_PARKED, **self._facts(delivery, error))
        elif not self._failing:
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
