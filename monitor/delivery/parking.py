"""The parking of one sink: begun by its dispatcher, kept in the store, ended by somebody there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from monitor.model import Parking

if TYPE_CHECKING:
    from collections.abc import Sequence

    from monitor.interfaces import Clock, Store
    from monitor.model import Delivery


class SinkParking:
    """Whether a sink is parked, here and in the store; the store follows after an attempt ended."""

    def __init__(self, sink: str, store: Store, clock: Clock) -> None:
        """Begin with a sink that is not parked; ``load`` reads what the store knows."""
        self._sink = sink
        self._store = store
        self._clock = clock
        self.present: Parking | None = None
        """Set while the sink gets nothing until somebody resumes it."""
        self.stored = False
        """Whether the store knows of it, so that it can be resumed there."""

    async def load(self) -> bool:
        """Take over what the store says; return whether the sink is parked there."""
        found = (one for one in await self._store.parkings() if one.sink == self._sink)
        self.present = next(found, None)
        self.stored = self.present is not None
        return self.stored

    def begin(self, reason: str) -> bool:
        """Park the sink; return ``False`` if it is parked already. ``save`` makes it durable."""
        if self.present is not None:
            return False
        self.present = Parking(self._sink, self._clock.now(), reason)
        return True

    async def save(self, revived: Sequence[Delivery]) -> None:
        """Store the parking, and make the dead among ``revived`` pending again, in one step."""
        if self.present is not None and not self.stored:
            await self._store.park(self.present, revived)
            self.stored = True
        elif revived:
            await self._store.revive(revived)
