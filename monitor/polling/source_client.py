"""One question to AWS at a time, and what its answer says of the source as a whole."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import anyio

from monitor import logs
from monitor.errors import PollError, PollReason
from monitor.polling.quota import Quota, Tally
from monitor.polling.source_health import ANSWERS, AvailabilityChange, SourceHealth

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from datetime import datetime

    from monitor import model
    from monitor.interfaces import Clock
    from monitor.metrics import Metrics
    from monitor.recording.recorder import Recorder

T = TypeVar("T")

CALM = 60.0
"""Seconds without trouble after which the log calls a source recovered."""

LONGEST_RETRY_AFTER = 900.0
"""Seconds: a source that asks for more is asked again after that."""


@dataclass(frozen=True, slots=True)
class SourceStatus:
    """How a source stands: the last answers that told something, and the last failure.

    ``lost`` is whether it counts as unavailable; ``up`` whether the last question was answered,
    ``None`` before the first. Rates are in requests per second: what the quota permits now, what
    it permits at most, and what was asked within the last minute.
    """

    key: model.SourceKey
    lost: bool
    up: bool | None
    good_at: datetime | None
    bad_at: datetime | None
    trouble: PollError | None
    rate: float
    full_rate: float
    request_rate: float


class SourceClient:
    """Asks under a deadline, and keeps the health, quota, metrics and log of one source."""

    def __init__(
        self,
        key: model.SourceKey,
        quota: Quota,
        recorder: Recorder,
        metrics: Metrics,
        clock: Clock,
        timeout: float,
        still_failing: Callable[[], bool] = lambda: False,
    ) -> None:
        """``timeout`` is the deadline of one answer in seconds.

        ``still_failing`` says that something of the source fails, though other polls of it are
        answered: then the log does not call it recovered.
        """
        self.key = key
        self.quota = quota
        self.health = SourceHealth(lost=recorder.is_lost(key))
        self._recorder = recorder
        self._metrics = metrics
        self._clock = clock
        self._timeout = timeout
        self._still_failing = still_failing
        self._log = logs.get(service=key.service, account=key.account, region=key.region)
        self._last_good: datetime | None = None
        self._last_bad: datetime | None = None
        self._troubled_at: float | None = None
        self._labels = (key.service, key.account, key.region)
        self._up: bool | None = None
        self._asked = Tally(clock.monotonic())
        self._failure: tuple[datetime, PollError] | None = None
        self._turning = anyio.Lock()
        metrics.quota_rate.labels(*self._labels).set(quota.rate)

    async def ask(self, operation: str, question: Awaitable[T]) -> T:
        """Await one answer, and judge the source by it.

        Raises:
            PollError: in every case in which there is no proper answer.
        """
        started = self._clock.monotonic()
        self._asked.add(started)
        try:
            answer = await self._answer(operation, question)
        except PollError as error:
            self._count(operation, started, error.reason)
            await self._failed(error)
            raise
        self._count(operation, started, "ok")
        await self._succeeded()
        return answer

    def seen(self) -> SourceStatus:
        """Return how the source stands."""
        bad_at, trouble = self._failure or (None, None)
        return SourceStatus(
            key=self.key,
            lost=self.health.lost,
            up=self._up,
            good_at=self._last_good,
            bad_at=bad_at,
            trouble=trouble,
            rate=self.quota.rate_at(self._clock.monotonic()),
            full_rate=self.quota.full_rate,
            request_rate=self._asked.rate(self._clock.monotonic()),
        )

    async def _answer(self, operation: str, question: Awaitable[T]) -> T:
        try:
            with anyio.fail_after(self._timeout):
                return await question
        except PollError:
            raise
        except TimeoutError:
            raise PollError(PollReason.TRANSIENT, "Timeout") from None
        except anyio.get_cancelled_exc_class():
            # Nobody cancelled this look: something inside the plug-in was, and leaked.
            if anyio.get_current_task().has_pending_cancellation():
                raise
            raise PollError(PollReason.INTERNAL, "Cancelled") from None
        except Exception as error:  # noqa: BLE001 -- the loop's one net around a plug-in
            self._log.exception(logs.POLL_BROKEN, operation=operation)
            raise PollError(PollReason.INTERNAL, type(error).__name__) from None

    def _count(self, operation: str, started: float, outcome: str) -> None:
        service, account, region = self._labels
        seconds = self._clock.monotonic() - started
        self._metrics.aws_requests.labels(service, operation, account, region, outcome).inc()
        self._metrics.aws_request_duration.labels(service, operation).observe(seconds)

    async def _succeeded(self) -> None:
        now = self._clock.now()
        self._up = True
        self._metrics.source_up.labels(*self._labels).set(1)
        self._metrics.source_last_success.labels(*self._labels).set(now.timestamp())
        self._log_calm()
        await self._judge(None)
        self._last_good = now

    async def _failed(self, error: PollError) -> None:
        answered = error.reason in ANSWERS
        self._up, self._failure = answered, (self._clock.now(), error)
        self._metrics.source_up.labels(*self._labels).set(answered)
        if error.reason is PollReason.THROTTLE:
            self._throttled(error)
        if not answered:
            self._log_trouble(error)
        await self._judge(error)
        if answered:
            self._last_good = self._clock.now()
        else:
            self._last_bad = self._clock.now()

    def _throttled(self, error: PollError) -> None:
        retry_after = min(error.retry_after or 0, LONGEST_RETRY_AFTER)
        if self.quota.throttled(self._clock.monotonic(), retry_after):
            self._log.info(logs.QUOTA_LOWERED, rate=round(self.quota.rate, 3))

    async def _judge(self, error: PollError | None) -> None:
        """Tell once that the source is lost, and once that it is found."""
        self._metrics.quota_rate.labels(*self._labels).set(self.quota.rate)
        turn = self.health.polled(error.reason if error else None, self._clock.monotonic())
        if turn is None:
            return
        found = turn is AvailabilityChange.FOUND
        # A turn that comes while the last one is committed must not overtake it.
        async with self._turning:
            await self._recorder.record_availability(
                self.key,
                available=found,
                after=self._last_bad if found else self._last_good,
                at=self._clock.now(),
                reason=_reason(error) if error and not found else None,
            )

    def _log_trouble(self, error: PollError) -> None:
        if self._troubled_at is None:
            self._log.warning(logs.POLL_FAILING, **facts(error))
        self._troubled_at = self._clock.monotonic()

    def _log_calm(self) -> None:
        calm_since = self._clock.monotonic() - CALM
        if self._troubled_at is not None and self._troubled_at <= calm_since:
            if self._still_failing():
                self._troubled_at = self._clock.monotonic()  # go through all turns seldom
                return
            self._troubled_at = None
            self._log.info(logs.POLL_RECOVERED)


def _reason(error: PollError) -> str:
    """Name the credentials where they are at fault, as nothing is known of the service then."""
    return str(error) if error.of_credentials else f"{error.reason}: {error.code}"


def facts(error: PollError) -> dict[str, Any]:
    """Return what a log line may say of a failed look."""
    found = {
        "reason": error.reason.value,
        "code": error.code,
        "status": error.status,
        "request_id": error.request_id,
        "hint": error.hint,
        "where": error.where,
    }
    return {name: value for name, value in found.items() if value}
