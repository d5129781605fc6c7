"""Notices when somebody sets the wall clock, or the machine sleeps.

Nothing depends on it: what is waited for goes by the monotonic clock, and ages by the store's own
time. But the times in events, logs and on the page are the wall clock's, and it should be known
which of them are wrong.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

import anyio

from monitor import logs

if TYPE_CHECKING:
    from monitor.interfaces import Clock
    from monitor.metrics import Metrics

LEAST = 5.0
"""Seconds: a smaller step is one of those with which a clock is kept right."""

EVERY = 1.0
"""Seconds between two comparisons of the clocks."""


class ClockJumps:
    """Compares the wall clock with the monotonic one, and tells where they go apart."""

    def __init__(self, clock: Clock, metrics: Metrics) -> None:
        """Begin with what the clocks say now."""
        self._clock = clock
        self._metrics = metrics
        self._log = logs.get()
        self._ahead = self._difference()

    def between_runs(self, set_back: float) -> None:
        """Tell that the wall clock is so many seconds behind what the last run saw, if it is."""
        if set_back >= LEAST:
            self._tell(-set_back)

    def compare(self) -> None:
        """Tell a jump since the last comparison, if there was one."""
        before, self._ahead = self._ahead, self._difference()
        if abs(self._ahead - before) >= LEAST:
            self._tell(self._ahead - before)

    async def watch(self, every: float = EVERY) -> NoReturn:
        """Compare until cancelled."""
        while True:
            await anyio.sleep(every)
            self.compare()

    def _difference(self) -> float:
        return self._clock.now().timestamp() - self._clock.monotonic()

    def _tell(self, seconds: float) -> None:
        self._metrics.clock_jumps.inc()
        self._metrics.clock_last_jump.set(seconds)
        self._log.warning(logs.CLOCK_JUMPED, seconds=round(seconds, 1))
