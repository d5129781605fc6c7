"""The one clock of a simulation."""

import asyncio
import time
from collections.abc import Callable


class Clock:
    """Tells the time and calls back, all by the running loop's own time.

    Scenario seconds run `speed` times as fast as real ones and count from the clock's making.
    Where the loop's time is virtual, everything here is virtual with it.
    """

    def __init__(self, speed: float = 1.0, wall: Callable[[], float] = time.time) -> None:
        """Start counting now; must be called inside a running loop."""
        self._loop = asyncio.get_running_loop()
        self._origin = self._loop.time()
        self._wall = wall()
        self.speed = speed

    def now(self) -> float:
        """Return the wall time in seconds since 1970."""
        return self._wall + self._loop.time() - self._origin

    def elapsed(self) -> float:
        """Return the scenario seconds since the start."""
        return (self._loop.time() - self._origin) * self.speed

    def at(self, elapsed: float, callback: Callable[[], None]) -> asyncio.TimerHandle:
        """Call back when so many scenario seconds have passed since the start."""
        return self._loop.call_at(self._origin + elapsed / self.speed, callback)
