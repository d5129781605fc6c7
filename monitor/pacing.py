"""When to ask, and how often: intervals, backoff, quotas and source health.

Nothing here reads a clock or waits: times come in as seconds of a monotonic clock.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from hashlib import blake2b
from typing import TYPE_CHECKING, ClassVar

from monitor.errors import PollReason
from monitor.model import Ending

if TYPE_CHECKING:
    from datetime import datetime

    from monitor.interfaces import Random
    from monitor.model import Snapshot

TICK = 0.02
"""Seconds: no loop wakes more often, so that many timers share one wake-up."""

EARLIEST = 0.1
"""Part of an interval that must lie between two looks when a job moves to its own phase."""


def phase_of(key: str, interval: float) -> float:
    """Return the seconds into each interval at which ``key`` has its turn.

    Derived from the key, so that jobs spread out evenly and stay where they are.
    """
    digest = blake2b(key.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64 * interval


def next_turn(now: float, interval: float, phase: float) -> float:
    """Return the next moment of the grid ``phase + n * interval``, and never right away.

    A look that was late does not move the grid, and no gap is longer than 1.1 intervals.
    """
    earliest = now + EARLIEST * interval
    turns = -((phase - earliest) // interval)
    return phase + turns * interval


def full_jitter(attempt: int, base: float, cap: float, random: Random) -> float:
    """Return a delay between 0 and ``base * 2**attempt``, at most ``cap`` (``attempt`` from 0)."""
    return random.uniform(0, exponential(attempt, base, cap))


def slow_probe(attempt: int, base: float, cap: float, random: Random) -> float:
    """Return a delay in the upper half of the exponential: for what will not mend quickly."""
    longest = exponential(attempt, base, cap)
    return random.uniform(longest / 2, longest)


def exponential(attempt: int, base: float, cap: float) -> float:
    """Return ``base * 2**attempt``, at most ``cap``."""
    return min(cap, base * 2.0 ** min(attempt, 40))


def is_finished(
    snapshot: Snapshot, grace: float, now: datetime, own: datetime | None = None
) -> bool:
    """Whether a job need not be looked at any more; ``own`` is the store's own time.

    A wall clock that is ahead for a moment must not end the polls of a job for good.
    """
    if snapshot.ending is Ending.FINAL:
        return True
    if snapshot.ending is Ending.OPEN or snapshot.ended_at is None:
        return False
    if own is not None and snapshot.own_ended is not None:
        return own - snapshot.own_ended >= timedelta(seconds=grace)
    return now - snapshot.ended_at >= timedelta(seconds=grace)


def ended_interval(interval: float, ended: float) -> float:
    """Return the seconds between two polls of an ended job: no less than before its end."""
    return max(interval, ended)


def page_gap(rate: float) -> float:
    """Return the seconds between two pages, so that a listing takes at most half of the quota."""
    return 2 / rate


def sweep_period(interval: float, pages: int, rate: float) -> float:
    """Return the seconds between the starts of two sweeps of a listing of so many pages."""
    return max(interval, pages * page_gap(rate))


def sweep_pace(interval: float, period: float, jobs: int, rate: float) -> float:
    """Return the seconds between two looks at a job that sweeps show.

    That is its interval, or where half of the quota cannot look at all jobs that often, the
    period of the sweeps.
    """
    return max(interval, min(period, 2 * jobs / rate))


def patience(pace: float) -> float:
    """Return the seconds for which a job that a sweep has shown waits for the next sweep."""
    return 1.5 * pace


BLIND_AFTER = 5
"""Intervals without an answer about a job after which the monitor is blind to it."""
SOONEST_BLIND = 60.0
"""Seconds: nothing is called blind earlier, however short the interval."""
NEVER = float("inf")
"""When what is never due is due."""


def is_blind(heard_at: float, interval: float, intervals: int, now: float) -> bool:
    """Whether no look at a job has been answered for so many intervals.

    ``heard_at``, when the last one was, and ``now`` are monotonic, ``interval`` is in seconds.
    """
    return now - heard_at > max(SOONEST_BLIND, intervals * interval)


class Quota:
    """A token bucket that slows down when throttled and recovers step by step.

    Additive increase, multiplicative decrease: a throttled request halves the rate,
    each second without one gives back a fiftieth of the configured rate. Answers to
    requests that were on their way together count as one.
    """

    _FLOOR = 1 / 64
    _RECOVERY = 1 / 50

    def __init__(self, rate: float, burst: int, now: float) -> None:
        """Start full: ``burst`` requests at once, then ``rate`` per second."""
        self._full_rate = rate
        self._burst = burst
        self._rate = rate
        self._tokens = float(burst)
        self._refilled_at = now
        self._lowered_at = float("-inf")
        self._blocked_until = float("-inf")

    @property
    def rate(self) -> float:
        """Requests per second at present."""
        return self._rate

    @property
    def full_rate(self) -> float:
        """Requests per second as configured."""
        return self._full_rate

    def rate_at(self, now: float) -> float:
        """Return the requests per second, with what has been regained until ``now``.

        Changes nothing, so that any thread may ask.
        """
        return self._regained(max(0.0, now - self._refilled_at))

    def change(self, rate: float, burst: int, now: float) -> None:
        """Have another budget; requests saved up under the old one stay as they are.

        A rate that was lowered by throttling stays where it is, and recovers to the new one.
        """
        self._refill(now)
        whole = self._rate >= self._full_rate
        self._rate = rate if whole else min(self._rate, rate)
        self._full_rate, self._burst = rate, burst
        self._tokens = min(self._tokens, float(burst))

    def ready_at(self, now: float) -> float:
        """Return when the next request may be made; ``now`` or earlier means at once."""
        self._refill(now)
        missing = max(0.0, 1 - self._tokens)
        return max(now + missing / self._rate, self._blocked_until)

    def take(self, now: float) -> None:
        """Count one request; call only when it is ready."""
        self._refill(now)
        self._tokens -= 1

    def throttled(self, now: float, retry_after: float | None) -> bool:
        """Slow down; return whether the rate was lowered by this answer."""
        if retry_after:
            # It may have come as a date, and the wall clock be wrong.
            until = now + min(retry_after, LAST_RETRY)
            self._blocked_until = max(self._blocked_until, until)
        if now - self._lowered_at < max(1.0, 1 / self._rate):
            return False
        self._refill(now)
        self._rate = max(self._full_rate * self._FLOOR, self._rate / 2)
        self._tokens = min(self._tokens, 0.0)
        self._lowered_at = now
        return True

    def _refill(self, now: float) -> None:
        elapsed = max(0.0, now - self._refilled_at)
        self._refilled_at = now
        self._tokens = min(float(self._burst), self._tokens + elapsed * self._rate)
        self._rate = self._regained(elapsed)

    def _regained(self, elapsed: float) -> float:
        regained = elapsed * self._full_rate * self._RECOVERY
        return min(self._full_rate, self._rate + regained)


class Tally:
    """Counts what happens, and tells how often it happened a second within the last minute."""

    _SLOT, _SLOTS = 5.0, 12

    def __init__(self, now: float) -> None:
        """Begin to count."""
        self._begun = now
        self._slots: deque[tuple[int, int]] = deque(maxlen=self._SLOTS)

    def add(self, now: float) -> None:
        """Count one."""
        slot = int(now // self._SLOT)
        before = self._slots.pop()[1] if self._slots and self._slots[-1][0] == slot else 0
        self._slots.append((slot, before + 1))

    def rate(self, now: float) -> float:
        """Return how many there were a second; over less than a minute, if it has not lasted.

        May be called from another thread: the slots are copied in one piece.
        """
        oldest = int(now // self._SLOT) - self._SLOTS + 1
        counted = sum(count for slot, count in list(self._slots) if slot >= oldest)
        return counted / max(self._SLOT, now - max(self._begun, oldest * self._SLOT))


ANSWERS = frozenset({PollReason.MISSING, PollReason.CONFIG})
"""Failures that only a service that is there can answer: they are about one job alone."""


class AvailabilityChange(StrEnum):
    """What a look changed in whether a source can be seen."""

    LOST = "lost"
    FOUND = "found"


@dataclass(slots=True)
class SourceHealth:
    """Whether a source can be seen at all, judged over all looks at it.

    It is lost after three failed looks without one good one between, if the service
    cannot be reached at all (no such host, no such operation), or if it has lasted
    ``patience`` seconds. Throttling says nothing about it.
    """

    lost: bool = False
    patience: float = 300.0
    failures: int = 0
    unreachable: int = 0
    since: float = 0.0

    NEEDED: ClassVar[int] = 3

    def looked(self, reason: PollReason | None, now: float) -> AvailabilityChange | None:
        """Count one look (``reason`` is ``None`` for a good one) and say what it changed."""
        if reason is PollReason.THROTTLE:
            return None
        if reason is None or reason in ANSWERS:
            return self._succeeded()
        self._failed(reason, now)
        return self._judge(now)

    def _succeeded(self) -> AvailabilityChange | None:
        self.failures = self.unreachable = 0
        found, self.lost = self.lost, False
        return AvailabilityChange.FOUND if found else None

    def _failed(self, reason: PollReason, now: float) -> None:
        self.since = self.since if self.failures else now
        self.failures += 1
        self.unreachable += reason is PollReason.UNAVAILABLE

    def _judge(self, now: float) -> AvailabilityChange | None:
        if self.lost or self.failures < self.NEEDED:
            return None
        self.lost = self.unreachable >= self.NEEDED or now - self.since >= self.patience
        return AvailabilityChange.LOST if self.lost else None


CONFIRMATIONS = 3
"""How often AWS must deny a known job before it counts as missing."""


def retry_delay(
    reason: PollReason, attempt: int, random: Random, *, retry_after: float | None = None
) -> float:
    """Return the seconds until a job whose look failed is asked for again.

    ``attempt`` counts the failures in a row before this one. What may mend any moment
    is retried soon and with full jitter; what needs a person is probed slowly.
    """
    match reason:
        case PollReason.AUTH:
            delay = slow_probe(attempt, 30, 900, random)
        case PollReason.CONFIG | PollReason.MISSING:
            delay = slow_probe(attempt, 60, 3600, random)
        case PollReason.UNAVAILABLE:
            delay = slow_probe(attempt, 5, 300, random)
        case _:
            delay = full_jitter(attempt, 1, 300, random)
    return max(delay, honoured(retry_after))


def honoured(retry_after: float | None) -> float:
    """Return the seconds for which a service that asks for patience is left alone."""
    return min(retry_after or 0, 3600)


def missing_delay(denials: int, missing_after: float, random: Random) -> float:
    """Return the seconds until a job that AWS denied ``denials`` times is asked for again.

    The confirmations are spread evenly over ``missing_after``; a job found missing is
    then probed ever more rarely, down to once a day, in case it comes back.
    """
    if denials < CONFIRMATIONS:
        return missing_after / (CONFIRMATIONS - 1)
    return slow_probe(denials - CONFIRMATIONS, missing_after, max(86400, missing_after), random)


FIRST_RETRY = 5.0
LAST_RETRY = 3600.0
LAST_DENIED_RETRY = 300.0
"""Seconds: who fixes a token or a policy sees within so long that it was the right one."""


def redelivery_delay(
    attempt: int, retry_after: float | None, random: Random, *, denied: bool = False
) -> float:
    """Return the seconds until a sink that failed is tried again (``attempt`` from 0).

    A receiver's own Retry-After is honoured up to an hour.
    """
    longest = LAST_DENIED_RETRY if denied else LAST_RETRY
    jittered = full_jitter(attempt, FIRST_RETRY, longest, random)
    return max(jittered, min(retry_after or 0, LAST_RETRY))


def probe_delay(probe: int, retry_after: float | None, random: Random) -> float:
    """Return the seconds until a sink that takes nothing is tried again (``probe`` from 0).

    A receiver's own Retry-After is honoured up to an hour.
    """
    return max(slow_probe(probe, 1, 60, random), min(retry_after or 0, LAST_RETRY))
