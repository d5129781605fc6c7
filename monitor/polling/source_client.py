"""Requests to one source, and its health, quota, metrics and log as a whole."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar

import anyio

from monitor import logs
from monitor.clock import Lease
from monitor.errors import PollError, PollReason
from monitor.metrics import observe_all
from monitor.polling.quota import Quota, Tally
from monitor.polling.source_health import ANSWERS, AvailabilityChange, SourceHealth

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from monitor import model
    from monitor.interfaces import Clock
    from monitor.metrics import Metrics
    from monitor.recording.recorder import Recorder

T = TypeVar("T")

CALM = 60.0
"""Seconds without trouble after which the log calls a source recovered."""

LONGEST_RETRY_AFTER = 900.0
"""Seconds: a longer Retry-After is cut to this."""


@dataclass(frozen=True, slots=True)
class SourceStatus:
    """The status of a source: its last answers and its last failure.

    ``lost`` is set while it counts as unavailable; ``up`` while the last request was answered,
    ``None`` before the first. Rates are in requests per second: what the quota permits now, what
    it permits at most, and what was sent within the last minute.
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


class LapsedError(Exception):
    """Nothing was sent, as another replica may poll the source by now."""


class SourceClient:
    """Sends requests under a deadline, and keeps the health, quota and metrics of one source."""

    def __init__(
        self,
        key: model.SourceKey,
        quota: Quota,
        recorder: Recorder,
        metrics: Metrics,
        clock: Clock,
        timeout: float,
        still_failing: Callable[[], bool] = lambda: False,
        lease: Lease | None = None,
    ) -> None:
        """Give each request ``timeout`` seconds.

        ``still_failing`` returns ``True`` while other polls of the source fail, though this one
        was answered: then the log does not call it recovered.
        """
        self.key = key
        self.quota = quota
        self._lease = lease or Lease()
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
        self._requests = Tally(clock.monotonic())
        self._failure: tuple[datetime, PollError] | None = None
        self._changing = anyio.Lock()
        self.asked_at = datetime.min.replace(tzinfo=UTC)
        """The latest time at which a prepared poll was sent, by the wall clock."""
        self.late: list[float] = []
        """The lateness of prepared polls that were sent since the last ``publish``."""
        self._uncounted: defaultdict[tuple[str, str, str, int], list[float]] = defaultdict(list)

    def check_lease(self) -> None:
        """Raise ``LapsedError`` if nothing may be sent now."""
        if self._clock.monotonic() >= self._lease.until:
            raise LapsedError

    async def ask(self, operation: str, request: Awaitable[T], sent_at: float | None = None) -> T:
        """Await one answer, and update the health of the source by it.

        ``sent_at`` (monotonic) is given where the request was sent before.

        Raises:
            PollError: whenever there is no valid answer.
        """
        started = self._clock.monotonic() if sent_at is None else sent_at
        self._requests.add(started)
        try:
            answer = await self._answer(operation, request)
        except PollError as error:
            await self._note(operation, started, error)
            raise
        await self._note(operation, started, None)
        return answer

    def note_unchanged(
        self,
        poll: tuple[str, str, str, int],
        durations: Sequence[float],
        now: float,
        seen_at: datetime,
    ) -> None:
        """Update the health of a source that is not lost by answers that change nothing.

        ``poll`` is the type of the jobs, the operation, the mode, and the number of jobs of each;
        ``durations`` are in seconds. They are counted by the next ``publish``.
        """
        self._up, self._last_good = True, seen_at
        if self.health.failures:
            self.health.polled(None, now)
        if self._troubled_at is not None:
            self._calm_down(now)
        self._uncounted[poll] += durations

    def count_path(self, path: str) -> None:
        """Count a poll by its path to AWS."""
        self._metrics.poll_path.labels(*self._labels, path).inc()

    def publish(self) -> None:
        """Count the polls that changed nothing since the last time, and show what they say."""
        late, self.late = self.late, []
        uncounted, self._uncounted = self._uncounted, defaultdict(list)
        metrics, (service, account, region) = self._metrics, self._labels
        if late:
            observe_all(metrics.poll_lateness, late)
        if not uncounted:
            return
        for (type_, operation, mode, jobs), durations in uncounted.items():
            polls = len(durations)
            self._requests.add(self._clock.monotonic(), polls)
            observe_all(metrics.aws_request_duration.labels(service, operation), durations)
            metrics.aws_requests.labels(service, operation, account, region, "ok").inc(polls)
            metrics.poll_path.labels(*self._labels, "fast").inc(polls)
            metrics.count_polls((type_, account, region), mode, "unchanged", polls * jobs)
        metrics.source_up.labels(*self._labels).set(bool(self._up))
        if self._last_good is not None:
            metrics.source_last_success.labels(*self._labels).set(self._last_good.timestamp())
        metrics.quota_rate.labels(*self._labels).set(self.quota.rate)

    async def prepared(self, request: Awaitable[T | None]) -> T | None:
        """Await a request that is prepared; ``None`` if there is none, or it cannot be prepared."""
        try:
            with anyio.fail_after(self._timeout):
                return await request
        except PollError:
            return None  # the poll itself fails for the same reason, and tells of it
        except Exception:  # noqa: BLE001 -- a net around a plug-in
            self._log.exception(logs.POLL_BROKEN, operation="prepare")
            return None

    def status(self) -> SourceStatus:
        """Return the status of the source."""
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
            request_rate=self._requests.rate(self._clock.monotonic()),
        )

    async def _answer(self, operation: str, request: Awaitable[T]) -> T:
        try:
            with anyio.fail_after(self._timeout):
                return await request
        except PollError:
            raise
        except TimeoutError:
            raise PollError(PollReason.TRANSIENT, "Timeout") from None
        except anyio.get_cancelled_exc_class():
            # Nobody cancelled this poll: a task inside the plug-in was, and the exception leaked.
            if anyio.get_current_task().has_pending_cancellation():
                raise
            raise PollError(PollReason.INTERNAL, "Cancelled") from None
        except Exception as error:  # noqa: BLE001 -- the only net around a plug-in
            self._log.exception(logs.POLL_BROKEN, operation=operation)
            raise PollError(PollReason.INTERNAL, type(error).__name__) from None

    async def _note(self, operation: str, started: float, error: PollError | None) -> None:
        """Count a request, and update the health of the source by it."""
        service, account, region = self._labels
        now, monotonic, outcome = self._clock.now(), self._clock.monotonic(), "ok"
        self._up = answered = error is None or error.reason in ANSWERS
        self._metrics.source_up.labels(*self._labels).set(answered)
        if error is None:
            self._metrics.source_last_success.labels(*self._labels).set(now.timestamp())
            self._calm_down(monotonic)
        else:
            outcome, self._failure = error.reason, (now, error)
            if error.reason is PollReason.THROTTLE:
                retry_after = min(error.retry_after or 0, LONGEST_RETRY_AFTER)
                if self.quota.throttled(monotonic, retry_after, started, operation):
                    self._log.info(logs.QUOTA_LOWERED, rate=round(self.quota.rate, 3))
            if not answered:
                # Once for each run of failures: a dead source fails for every job.
                if self._troubled_at is None:
                    self._log.warning(logs.POLL_FAILING, **facts(error))
                self._troubled_at = monotonic
        self._metrics.aws_requests.labels(service, operation, account, region, outcome).inc()
        self._metrics.aws_request_duration.labels(service, operation).observe(monotonic - started)
        await self._judge(error)
        # Only now: a change that was just recorded has the poll before this one as its start.
        if answered:
            self._last_good = now
        else:
            self._last_bad = now

    def _calm_down(self, now: float) -> None:
        """Log that the source has recovered, once nothing has failed for long."""
        if self._troubled_at is None or self._troubled_at > now - CALM:
            return
        if self._still_failing():
            # It goes through all jobs, so it is not called again for each answer.
            self._troubled_at = now
        else:
            self._troubled_at = None
            self._log.info(logs.POLL_RECOVERED)

    async def _judge(self, error: PollError | None) -> None:
        """Record once that the source is unavailable, and once that it is available again."""
        self._metrics.quota_rate.labels(*self._labels).set(self.quota.rate)
        change = self.health.polled(error.reason if error else None, self._clock.monotonic())
        if change is None:
            return
        found, reason = change is AvailabilityChange.FOUND, None
        if error and not found:
            # Name the credentials where they are at fault: the service itself was not reached.
            reason = str(error) if error.of_credentials else f"{error.reason}: {error.code}"
        # A change that comes while the last one is committed must not overtake it.
        async with self._changing:
            await self._recorder.record_availability(
                self.key,
                available=found,
                after=self._last_bad if found else self._last_good,
                at=self._clock.now(),
                reason=reason,
            )


def facts(error: PollError) -> dict[str, Any]:
    """Return the fields of a failed poll for the log, without those that are empty."""
    found = {
        "reason": error.reason.value,
        "code": error.code,
        "status": error.status,
        "request_id": error.request_id,
        "hint": error.hint,
        "where": error.where,
    }
    return {name: value for name, value in found.items() if value}
