"""Judges a sink as a whole by what became of the events sent to it; no I/O.

One event that fails says nothing of the others. But where the events of several
different jobs fail in a row, with nothing taken between them, it is the sink: one that is
down is given a rest, and one that refuses for good is to be parked.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from monitor import pacing

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from monitor.errors import SendError
    from monitor.interfaces import Random
    from monitor.model import Delivery

WIDESPREAD = 5
"""Different jobs in a row whose events were not taken: then it is the sink."""

_REMEMBERED = 500
"""Refused deliveries that can be taken back; one job alone may be refused without end."""


class SinkHealth:
    """Counts what was not taken since the last event that was."""

    def __init__(self, random: Random) -> None:
        """Begin healthy."""
        self._random = random
        self._failed: set[str] = set()
        self._refusing: set[str] = set()
        self._refused: dict[int, Delivery] = {}
        self._probes = 0
        self._rest_until = 0.0

    @property
    def down(self) -> bool:
        """Whether the sink takes nothing, so that one attempt at a time is enough."""
        return len(self._failed) >= WIDESPREAD

    def take_back(self, under_way: Collection[str]) -> Sequence[Delivery]:
        """Hand out, once, what was refused since something was last taken.

        Not that of the jobs (by key) of which a later event is ``under_way``: if that one
        is taken, an earlier one must not come after it.
        """
        back = [delivery for delivery in self._refused.values() if delivery.key not in under_way]
        for delivery in back:
            del self._refused[delivery.id]
        return back

    def rest(self, now: float) -> float:
        """Return the seconds for which nothing should be tried; ``now`` is monotonic."""
        return max(0.0, self._rest_until - now) if self.down else 0.0

    def taken(self) -> bool:
        """Note that an event was taken; return whether the sink was down before."""
        was_down = self.down
        self._failed.clear()
        self._refusing.clear()
        self._refused.clear()
        self._probes, self._rest_until = 0, 0.0
        return was_down

    def overtaken(self, key: str) -> None:
        """Note that an event of a job may have arrived: what it was refused before stays so."""
        gone = [number for number, one in self._refused.items() if one.key == key]
        for number in gone:
            del self._refused[number]

    def failed(self, delivery: Delivery, error: SendError, now: float) -> bool:
        """Note that an event was not taken; return whether the sink refuses whatever it is sent.

        ``now`` is monotonic.
        """
        if error.reason.uncertain:
            self.overtaken(delivery.key)
        if error.reason.retryable:
            if len(self._failed) < WIDESPREAD:
                self._failed.add(delivery.key)
            # What was under way already when a rest began says nothing new.
            if self.down and now >= self._rest_until:
                delay = pacing.slow_probe(self._probes, 1, 60, self._random)
                # A receiver's own Retry-After is honoured up to an hour.
                delay = max(delay, min(error.retry_after or 0, pacing.LAST_RETRY))
                self._rest_until = now + delay
                self._probes += 1
        else:
            self._failed.clear()  # who refuses is there
            if len(self._refusing) < WIDESPREAD:
                self._refusing.add(delivery.key)
            if len(self._refused) == _REMEMBERED:
                del self._refused[next(iter(self._refused))]
            self._refused[delivery.id] = delivery
        return len(self._refusing) >= WIDESPREAD
