"""The requests that may be sent to a source, and the count of those that were sent.

Nothing here reads a clock: times come in as seconds of a monotonic clock.
"""

from __future__ import annotations

from collections import deque

from monitor.pacing import LAST_RETRY


class Quota:
    """A token bucket that slows down when throttled and recovers step by step.

    Additive increase, multiplicative decrease: a throttled request halves the rate,
    each second without one gives back a fiftieth of the configured rate. Answers to
    requests that were under way together count as one.
    """

    _FLOOR = 1 / 64
    _RECOVERY = 1 / 50

    def __init__(self, rate: float, burst: int, now: float) -> None:
        """Start full: ``burst`` requests at once, then ``rate`` per second."""
        self.full_rate = rate
        """Requests per second as configured."""
        self._burst = burst
        self.rate = rate
        """Requests per second at present."""
        self._tokens = float(burst)
        self._refilled_at = now
        self._lowered_at = float("-inf")
        self._blocked_until = float("-inf")

    def rate_at(self, now: float) -> float:
        """Return the requests per second, with what has been regained until ``now``.

        Changes nothing, so any thread may call it.
        """
        elapsed = max(0.0, now - self._refilled_at)
        return min(self.full_rate, self.rate + elapsed * self.full_rate * self._RECOVERY)

    def change(self, rate: float, burst: int, now: float) -> None:
        """Set another budget; requests saved up under the old one stay, up to the new burst.

        A rate that was lowered by throttling stays where it is, and recovers to the new one.
        """
        self._refill(now)
        whole = self.rate >= self.full_rate
        self.rate = rate if whole else min(self.rate, rate)
        self.full_rate, self._burst = rate, burst
        self._tokens = min(self._tokens, float(burst))

    def ready_at(self, now: float) -> float:
        """Return when the next request may be made; ``now`` or earlier means at once."""
        self._refill(now)
        missing = max(0.0, 1 - self._tokens)
        return max(now + missing / self.rate, self._blocked_until)

    def take(self, now: float) -> None:
        """Count one request; call only when it is ready."""
        self._refill(now)
        self._tokens -= 1

    def throttled(self, now: float, retry_after: float | None) -> bool:
        """Slow down; return whether the rate was lowered by this answer."""
        if retry_after:
            # Limited: it may have come as a date while the wall clock is wrong.
            until = now + min(retry_after, LAST_RETRY)
            self._blocked_until = max(self._blocked_until, until)
        # Answers to requests that were under way together lower the rate only once.
        if now - self._lowered_at < max(1.0, 1 / self.rate):
            return False
        self._refill(now)
        self.rate = max(self.full_rate * self._FLOOR, self.rate / 2)
        # What was saved up is lost: a burst would be throttled again at once.
        self._tokens = min(self._tokens, 0.0)
        self._lowered_at = now
        return True

    def _refill(self, now: float) -> None:
        elapsed, regained = max(0.0, now - self._refilled_at), self.rate_at(now)
        self._refilled_at = now
        # At the old rate: the time that has passed must not count at the rate it regained.
        self._tokens = min(float(self._burst), self._tokens + elapsed * self.rate)
        self.rate = regained


class Tally:
    """Counts events, and returns their rate over the last minute."""

    _SLOT, _SLOTS = 5.0, 12

    def __init__(self, now: float) -> None:
        """Start counting."""
        self._begun = now
        self._slots: deque[tuple[int, int]] = deque(maxlen=self._SLOTS)

    def add(self, now: float) -> None:
        """Count one."""
        slot = int(now // self._SLOT)
        before = self._slots.pop()[1] if self._slots and self._slots[-1][0] == slot else 0
        self._slots.append((slot, before + 1))

    def rate(self, now: float) -> float:
        """Return the events per second of the last minute, or since a later start.

        May be called from another thread: the slots are copied in one piece.
        """
        oldest = int(now // self._SLOT) - self._SLOTS + 1
        counted = sum(count for slot, count in list(self._slots) if slot >= oldest)
        return counted / max(self._SLOT, now - max(self._begun, oldest * self._SLOT))
