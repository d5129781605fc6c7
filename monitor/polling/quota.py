"""The requests that may be sent to a source, and the count of those that were sent.

Nothing here reads a clock: times come in as seconds of a monotonic clock.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING

from monitor.pacing import LAST_RETRY

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from monitor import config


@dataclass(frozen=True, slots=True)
class Budget:
    """The limit on requests: per second, and at once after a pause.

    ``operations`` have limits of their own within it.
    """

    rate: float
    burst: int
    operations: Mapping[str, Budget] = field(default_factory=dict)

    @classmethod
    def of(cls, quota: config.QuotaSettings) -> Budget:
        """Return the budget that is configured, without the part that is left to others."""
        own = 1 - quota.headroom
        limits = {name: cls(each.rate, each.burst) for name, each in quota.operations.items()}
        whole = cls(quota.rate, quota.burst, limits)
        return whole.part(own) if quota.headroom else whole

    def limit(self, operation: str) -> float:
        """Return the limit of an operation of its own, if it has one, or else infinity."""
        own = self.operations.get(operation)
        return own.rate if own else math.inf

    def part(self, part: float) -> Budget:
        """Return so much of the budget; one request at once is always left."""
        # Without the error of a float: 10 * (1 - 0.9) is less than 1.
        burst = max(1, int(self.burst * part + 1e-9))
        return Budget(
            self.rate * part,
            burst,
            {name: each.part(part) for name, each in self.operations.items()},
        )


@dataclass(frozen=True, slots=True)
class QuotaLevel:
    """What is left of a quota: requests at once, and per second if that was lowered.

    ``operations`` have levels of their own.
    """

    tokens: float
    rate: float | None = None
    operations: Mapping[str, QuotaLevel] = field(default_factory=dict)


class Quota:
    """A token bucket that finds out what a service permits, where that is less than configured.

    Additive increase, multiplicative decrease: throttling halves the rate. The rate then stays
    for a while, so that few requests are throttled, and rises by a fifteenth of the configured
    rate a second until the next one is. Between two throttled requests the service has permitted
    what it answered: from then on the rate stays just below that. Where nothing is throttled any
    more, the configured rate is back within a minute.
    """

    _FLOOR = 1 / 64
    """Part of the configured rate that is left however much is throttled."""
    _INCREASE = 1 / 15
    """Part of the configured rate that a second gives back."""
    _SHARE = 0.95
    """Part that is used of the rate at which requests were answered."""
    _HELD = 24
    """Requests for which a lowered rate stays: then one of these at most is throttled."""
    _SHORTEST_HOLD, _LONGEST_HOLD = 15.0, 45.0
    _ENOUGH = 10
    """Answers that tell a rate; with fewer, the rate is halved."""

    def __init__(
        self,
        rate: float,
        burst: int,
        now: float,
        operations: Mapping[str, Budget] = MappingProxyType({}),
    ) -> None:
        """Start full: ``burst`` requests at once, then ``rate`` per second."""
        self.full_rate = rate
        """Requests per second as configured."""
        self._burst = burst
        self.rate = rate
        """Requests per second at present."""
        self.operations = {
            name: Quota(each.rate, each.burst, now) for name, each in operations.items()
        }
        """The limits of single operations."""
        self._tokens = float(burst)
        self._refilled_at = now
        self._lowered_at = float("-inf")
        self._blocked_until = float("-inf")
        self._base: float | None = None  # the rate from which it rises, if it was lowered
        self._held_until = float("-inf")
        self._answered = 0  # requests since it was lowered, without those that were throttled

    def rate_at(self, now: float) -> float:
        """Return the requests per second, with what has been regained until ``now``.

        Changes nothing, so any thread may call it.
        """
        base = self._base
        if base is None:
            return self.full_rate
        regained = max(0.0, now - self._held_until) * self.full_rate * self._INCREASE
        return min(self.full_rate, base + regained)

    def change(
        self,
        rate: float,
        burst: int,
        now: float,
        operations: Mapping[str, Budget] = MappingProxyType({}),
    ) -> None:
        """Set another budget; requests saved up under the old one stay, up to the new burst.

        A rate that was lowered by throttling stays where it is, and recovers to the new one.
        """
        self._refill(now)
        if self._base is not None:
            self._base = min(self.rate, rate)
            self._held_until = max(self._held_until, now)
        self.full_rate, self._burst = rate, burst
        self._tokens = min(self._tokens, float(burst))
        self.rate = self.rate_at(now)
        kept, self.operations = self.operations, {}
        for name, each in operations.items():
            own = kept.get(name) or Quota(each.rate, each.burst, now)
            own.change(each.rate, each.burst, now)
            self.operations[name] = own

    def level(self, now: float) -> QuotaLevel:
        """Return what is left."""
        self._refill(now)
        own = {name: each.level(now) for name, each in self.operations.items()}
        return QuotaLevel(self._tokens, None if self._base is None else self.rate, own)

    def go_on(self, level: QuotaLevel | None, passed: float, now: float) -> None:
        """Go on ``passed`` seconds after a level, or with nothing saved up if it is not known."""
        self._refill(now)
        if level is not None and level.rate is not None:
            self._base = max(self.full_rate * self._FLOOR, min(level.rate, self.full_rate))
            self.rate, self._held_until = self._base, now
        saved = level.tokens + passed * self.rate if level else 0.0
        self._tokens = min(saved, float(self._burst))
        for name, each in self.operations.items():
            each.go_on(level.operations.get(name) if level else None, passed, now)

    def ready_at(self, now: float, operation: str | None = None) -> float:
        """Return when the next request may be made; ``now`` or earlier means at once."""
        if now != self._refilled_at:
            self._refill(now)
        ready = now if self._tokens >= 1 else now + (1 - self._tokens) / self.rate
        ready = max(ready, self._blocked_until)
        own = self.operations.get(operation) if operation and self.operations else None
        return max(ready, own.ready_at(now)) if own else ready

    def at_once(self, now: float, operation: str) -> int:
        """Return how many requests may be made now, without a pause between them."""
        own = self.operations.get(operation)
        if self.ready_at(now, operation) > now:
            return 0
        whole = int(self._tokens)
        return min(whole, own.at_once(now, operation)) if own else whole

    def limit(self, operation: str) -> float:
        """Return the present limit of an operation of its own, if it has one, or else infinity."""
        own = self.operations.get(operation)
        return own.rate if own else math.inf

    def blocked(self, now: float) -> Collection[str]:
        """Return the operations whose own limit permits no request now."""
        if not self.operations:
            return ()
        return [name for name, own in self.operations.items() if own.ready_at(now) > now]

    def take(self, now: float, operation: str | None = None, requests: int = 1) -> None:
        """Count requests; call only when they are ready."""
        if now != self._refilled_at:
            self._refill(now)
        self._tokens -= requests
        self._answered += requests
        if operation in self.operations:
            self.operations[operation].take(now, requests=requests)

    def throttled(
        self,
        now: float,
        retry_after: float | None,
        sent_at: float | None = None,
        operation: str | None = None,
    ) -> bool:
        """Slow down; return whether the rate was lowered by this answer.

        An operation with a limit of its own is slowed down alone.
        """
        if operation in self.operations:
            return self.operations[operation].throttled(now, retry_after, sent_at)
        if retry_after:
            # Limited: it may have come as a date while the wall clock is wrong.
            until = now + min(retry_after, LAST_RETRY)
            self._blocked_until = max(self._blocked_until, until)
        self._answered = max(0, self._answered - 1)
        # Answers to requests that were under way together lower the rate only once.
        together = sent_at is not None and sent_at <= self._lowered_at
        if together or now - self._lowered_at < max(1.0, 1 / self.rate):
            return False
        self._refill(now)
        self._base = max(self.full_rate * self._FLOOR, self._lowered(now))
        self.rate = self._base
        held = self._SHORTEST_HOLD
        if self._answered or self._lowered_at == float("-inf"):
            held = min(self._LONGEST_HOLD, max(held, self._HELD / self._base))
        # What was saved up is lost: a burst would be throttled again at once.
        self._tokens = min(self._tokens, 0.0)
        self._lowered_at, self._held_until, self._answered = now, now + held, 0
        return True

    def _lowered(self, now: float) -> float:
        """Return the rate to use from now on, as a request was throttled.

        The service had nothing left at the last two times that one was: what it has answered
        between them is what it permits.
        """
        if self._base is None:
            return self.rate / 2
        permitted = self._SHARE * self._answered / (now - self._lowered_at)
        if now >= self._held_until:
            # It had permitted the rate for all the time, until that began to rise.
            return min(self.rate, max(self._base, permitted))
        if self._answered < self._ENOUGH:
            return self._base / 2
        return self._SHARE * min(self._base, permitted)

    def _refill(self, now: float) -> None:
        elapsed = now - self._refilled_at
        self._refilled_at = now
        # At the old rate: the time that has passed must not count at the rate it regained.
        if elapsed > 0:
            self._tokens += elapsed * self.rate
        if self._tokens > self._burst:
            self._tokens = float(self._burst)
        if self._base is not None:
            self.rate = self.rate_at(now)
            if self.rate >= self.full_rate:
                self._base = None


class Tally:
    """Counts events, and returns their rate over the last minute."""

    _SLOT, _SLOTS = 5.0, 12

    def __init__(self, now: float) -> None:
        """Start counting."""
        self._begun = now
        self._slots: deque[tuple[int, int]] = deque(maxlen=self._SLOTS)

    def add(self, now: float, more: int = 1) -> None:
        """Count one or more; they may be a little earlier than the last one."""
        slot = int(now // self._SLOT)
        before = 0
        if self._slots and self._slots[-1][0] >= slot:
            slot, before = self._slots.pop()
        self._slots.append((slot, before + more))

    def rate(self, now: float) -> float:
        """Return the events per second of the last minute, or since a later start.

        May be called from another thread: the slots are copied in one piece.
        """
        oldest = int(now // self._SLOT) - self._SLOTS + 1
        counted = sum(count for slot, count in list(self._slots) if slot >= oldest)
        return counted / max(self._SLOT, now - max(self._begun, oldest * self._SLOT))
