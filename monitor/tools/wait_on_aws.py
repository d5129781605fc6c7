"""Sees a job that is waited for by looks at AWS, paced and backed off as the daemon's are."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

from monitor import pacing
from monitor.errors import PollError, PollReason, UnreachableJobError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from monitor import config
    from monitor.interfaces import Clock, JobType, Random
    from monitor.model import Observation
    from monitor.sources import job_type
    from monitor.tools.wait import Sight

LAST_LOOK = 2.0
"""Seconds before the end of waiting at which there is a last look, so that it misses little."""
DENIAL_GAP = 15.0
"""Seconds, at most, between two of the looks that must all say that there is no such job.

A job that was made a moment ago may not be known everywhere at AWS yet.
"""
_AT_ONCE = frozenset({PollReason.AUTH, PollReason.CONFIG})
_LASTING = _AT_ONCE | {PollReason.MISSING, PollReason.UNAVAILABLE}


class OwnEye:
    """Fits ``waiting.Eye``."""

    def __init__(
        self,
        ask: Callable[[], Awaitable[Observation]],
        job_type: JobType,
        interval: float,
        quota: pacing.Quota,
        clock: Clock,
        random: Random,
        awaited: Callable[[], str] = lambda: "",
    ) -> None:
        """``ask`` looks once, and raises PollError alone; ``interval`` is in seconds.

        ``awaited`` says what it waits for meanwhile.
        """
        self._ask = ask
        self._type = job_type
        self._interval = interval
        self._quota = quota
        self._clock = clock
        self._random = random
        self._awaited = awaited
        self._parts: dict[str, str | None] = {}
        self._failures: Counter[PollReason] = Counter()

    async def poll(self, before: Sight, left: float) -> tuple[Sight, float]:
        """Ask AWS once.

        Raises:
            UnreachableJobError: credentials, request or endpoint are wrong, or no such job.
        """
        self._quota.take(self._clock.monotonic())
        began = self._clock.monotonic()
        try:
            seen = await self._ask()
        except PollError as error:
            return self._paced(self._failed(before, error), self._delay(error))
        self._failures.clear()
        left -= self._clock.monotonic() - began
        return self._paced(self._seen(before, seen), _pause(self._interval, left))

    def awaited(self) -> str:
        """Say what the look that is under way waits for, such as credentials."""
        return self._awaited()

    def _seen(self, before: Sight, seen: Observation) -> Sight:
        told = {name: value for name, value in seen.parts.items() if value is not None}
        self._parts = {**dict.fromkeys(seen.parts), **self._parts, **told}
        verdict = self._type.judge(self._parts, None)
        assert verdict is not None  # noqa: S101 -- who has ended is not looked at again
        return replace(
            before,
            state=verdict.state,
            phase=verdict.phase,
            severity=verdict.severity,
            reason=seen.reason,
            fields={**before.fields, **seen.fields},
            since=before.since if verdict.state == before.state else seen.seen_at,
            seen_at=seen.seen_at,
            updated_at=seen.updated_at or before.updated_at,
            trouble=None,
        )

    def _failed(self, before: Sight, error: PollError) -> Sight:
        """Say what is wrong; raise UnreachableJobError if it will be so the next time too.

        Credentials and refusals that come in the midst may pass, so they must be repeated;
        other failures between neither confirm nor refute them.
        """
        reason = error.reason
        self._failures[reason] += 1
        first = before.state is None and reason in _AT_ONCE
        if first or (reason in _LASTING and self._failures[reason] >= pacing.CONFIRMATIONS):
            raise UnreachableJobError(str(error)) from None
        if reason is PollReason.THROTTLE:
            self._quota.throttled(self._clock.monotonic(), error.retry_after)
        return replace(before, trouble=str(error))

    def _delay(self, error: PollError) -> float:
        if error.reason is PollReason.MISSING:
            return min(self._interval, DENIAL_GAP)
        attempt = self._failures.total() - 1
        after = error.retry_after
        return pacing.retry_delay(error.reason, attempt, self._random, retry_after=after)

    def _paced(self, sight: Sight, delay: float) -> tuple[Sight, float]:
        now = self._clock.monotonic()
        pause = max(delay, self._quota.ready_at(now) - now)
        due = self._clock.now() + timedelta(seconds=pause)
        return replace(sight, next_look_at=due, interval=self._interval), pause


def quota(
    of: job_type.JobType, configured: Mapping[str, config.QuotaSettings], clock: Clock
) -> pacing.Quota:
    """Return the budget of requests: as configured for the service, or else the type's own."""
    own = configured.get(of.service, of)
    return pacing.Quota(own.rate, own.burst, clock.monotonic())


def _pause(interval: float, left: float) -> float:
    """Return the seconds until the next look; where it would come too late, there is a last one."""
    return left - LAST_LOOK if LAST_LOOK < left < interval else interval
