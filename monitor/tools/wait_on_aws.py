"""Get a job that is waited for by polling AWS, with the pace and backoff of the daemon."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

from monitor import pacing
from monitor.errors import PollError, PollReason, UnreachableJobError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from monitor.interfaces import Clock, JobType, Random
    from monitor.model import Observation
    from monitor.polling.quota import Quota
    from monitor.tools.wait import Progress

LAST_POLL = 2.0
"""Seconds before the timeout at which there is a last poll, so that it misses little."""
DENIAL_GAP = 15.0
"""Seconds, at most, between two of the polls that must all say that there is no such job.

A job that was created a moment ago may not be known everywhere at AWS yet.
"""
_FATAL_AT_FIRST = frozenset({PollReason.AUTH, PollReason.CONFIG})
_FATAL_IF_REPEATED = _FATAL_AT_FIRST | {PollReason.MISSING, PollReason.UNAVAILABLE}


class AwsGetter:
    """A ``wait.JobGetter`` that polls AWS."""

    def __init__(
        self,
        describe: Callable[[], Awaitable[Observation]],
        job_type: JobType,
        interval: float,
        quota: Quota,
        clock: Clock,
        random: Random,
        pending: Callable[[], str] = lambda: "",
    ) -> None:
        """``describe`` polls once, and raises PollError alone; ``interval`` is in seconds.

        ``pending`` returns what it waits for meanwhile, such as credentials.
        """
        self.pending = pending
        self._describe = describe
        self._type = job_type
        self._interval = interval
        self._quota = quota
        self._clock = clock
        self._random = random
        self._parts: dict[str, str | None] = {}
        self._failures: Counter[PollReason] = Counter()

    async def get(self, before: Progress, left: float) -> tuple[Progress, float]:
        """Poll AWS once.

        Raises:
            UnreachableJobError: credentials, request or endpoint are wrong, or no such job.
        """
        began = self._clock.monotonic()
        self._quota.take(began)
        try:
            observation = await self._describe()
        except PollError as error:
            progress, delay = self._failed(before, error)
        else:
            self._failures.clear()
            progress = self._observed(before, observation)
            left -= self._clock.monotonic() - began
            # Where the next poll would come after the timeout, there is a last one before it.
            delay = left - LAST_POLL if LAST_POLL < left < self._interval else self._interval
        now = self._clock.monotonic()
        pause = max(delay, self._quota.ready_at(now) - now)
        due = self._clock.now() + timedelta(seconds=pause)
        return replace(progress, next_poll_at=due, interval=self._interval), pause

    def _observed(self, before: Progress, observation: Observation) -> Progress:
        # A state may come in parts, and an answer may leave some out: the last known ones hold.
        known = {name: value for name, value in observation.parts.items() if value is not None}
        self._parts = {**dict.fromkeys(observation.parts), **self._parts, **known}
        verdict = self._type.judge(self._parts, None)
        assert verdict is not None  # noqa: S101 -- a job that has ended is not polled again
        return replace(
            before,
            state=verdict.state,
            phase=verdict.phase,
            severity=verdict.severity,
            reason=observation.reason,
            fields={**before.fields, **observation.fields},
            since=before.since if verdict.state == before.state else observation.seen_at,
            seen_at=observation.seen_at,
            updated_at=observation.updated_at or before.updated_at,
            trouble=None,
        )

    def _failed(self, before: Progress, error: PollError) -> tuple[Progress, float]:
        """Return the trouble and the seconds until the next poll.

        Raises:
            UnreachableJobError: the next poll would fail as well. Denials after a first state may
                pass, so they must repeat; other failures between neither confirm nor refute them.
        """
        reason = error.reason
        self._failures[reason] += 1
        fatal = before.state is None and reason in _FATAL_AT_FIRST
        repeated = reason in _FATAL_IF_REPEATED and self._failures[reason] >= pacing.CONFIRMATIONS
        if fatal or repeated:
            raise UnreachableJobError(str(error)) from None
        if reason is PollReason.THROTTLE:
            self._quota.throttled(self._clock.monotonic(), error.retry_after)
        if reason is PollReason.MISSING:
            delay = min(self._interval, DENIAL_GAP)
        else:
            attempt = self._failures.total() - 1
            delay = pacing.retry_delay(reason, attempt, self._random, retry_after=error.retry_after)
        return replace(before, trouble=str(error)), delay
