"""Token buckets, as services throttle with."""

from collections.abc import Hashable


class Buckets:
    """One bucket per key, each refilled at `rate` a second up to `burst`."""

    def __init__(self, rate: float, burst: float) -> None:
        """Start every bucket full."""
        self._rate = rate
        self._burst = burst
        self._level: dict[Hashable, tuple[float, float]] = {}

    def take(self, key: Hashable, now: float) -> bool:
        """Take a token; False where there is none."""
        tokens, since = self._level.get(key, (self._burst, now))
        tokens = min(self._burst, tokens + (now - since) * self._rate)
        allowed = tokens >= 1.0
        self._level[key] = (tokens - allowed, now)
        return allowed
