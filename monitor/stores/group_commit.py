"""Group commit: what arrives while one transaction commits shares the next one."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Generic, TypeVar

import anyio

from monitor import errors

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from monitor.interfaces import Clock

_LARGEST_GROUP = 500
_LONGEST_COMMIT = 120.0
"""Seconds after which a database that does not answer counts as lost."""

Unit = TypeVar("Unit")


class _Ticket(Generic[Unit]):
    """One caller's unit, and what became of it once ``done``."""

    def __init__(self, unit: Unit) -> None:
        self.unit = unit
        self.done = anyio.Event()
        self.written: int | None = None


class Committer(Generic[Unit]):
    """Puts the units of many callers into few transactions, through one task.

    ``write`` commits a group durably, all or nothing, and tells how much each unit
    wrote. Its first StoreError is the last word: whoever waits gets it, and whoever comes.
    """

    def __init__(
        self,
        write: Callable[[Sequence[Unit]], Awaitable[Sequence[int]]],
        clock: Clock,
        on_commit: Callable[[float], None],
    ) -> None:
        """``on_commit`` is told the seconds that each commit took."""
        self._write = write
        self._clock = clock
        self._on_commit = on_commit
        self._queue: deque[_Ticket[Unit]] = deque()
        self._arrived = anyio.Event()
        self._failure: str | None = None

    def check(self) -> None:
        """Raise the StoreError that ended it, if one did."""
        if self._failure is not None:
            raise errors.StoreError(self._failure)

    def fail(self, message: str) -> None:
        """End it: the first message is kept, and everybody who waits is told."""
        self._failure = self._failure or message
        while self._queue:
            self._queue.popleft().done.set()

    async def submit(self, unit: Unit) -> int:
        """Return how much ``unit`` wrote, after its commit.

        A caller that is cancelled does not take its unit back: it is written, or not, as a
        whole, and the others of its group with it.
        """
        self.check()
        ticket = _Ticket(unit)
        self._queue.append(ticket)
        self._arrived.set()
        await ticket.done.wait()
        if ticket.written is None:
            raise errors.StoreError(self._failure or "the commit was broken off")
        return ticket.written

    async def run(self) -> None:
        """Commit what arrives, until cancelled or failed; a commit under way is finished."""
        try:
            while self._failure is None:
                await self._arrived.wait()
                self._arrived = anyio.Event()
                while self._queue:
                    await self.commit_once()
        finally:
            self.fail("the store is closed")

    async def commit_once(self) -> None:
        """Commit one group."""
        group = [self._queue.popleft() for _ in range(min(len(self._queue), _LARGEST_GROUP))]
        try:
            written = await self._timed([ticket.unit for ticket in group])
            for ticket, count in zip(group, written, strict=True):
                ticket.written = count
        except errors.StoreError as error:
            self.fail(str(error))
        finally:
            for ticket in group:
                ticket.done.set()

    async def _timed(self, units: Sequence[Unit]) -> Sequence[int]:
        started = self._clock.monotonic()
        try:
            # Half a transaction must not stay open because somebody else is in a hurry.
            with anyio.fail_after(_LONGEST_COMMIT, shield=True):
                written = await self._write(units)
        except TimeoutError:
            raise errors.StoreError(
                f"the store did not answer for {_LONGEST_COMMIT:.0f} s; is its disk or server up?"
            ) from None
        self._on_commit(self._clock.monotonic() - started)
        return written
