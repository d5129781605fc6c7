"""Group commit: the writes that arrive while one transaction commits share the next one."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, TypeVar

import anyio
import anyio.lowlevel

from monitor import errors

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from monitor.interfaces import Clock

_TOGETHER = 100
"""Callers that are woken at once, before other tasks run: some milliseconds of their work."""
_MOST_BATCHES = 20
"""Those of one commit: the more there are, the fewer pages of the disk each unit costs."""
_LONGEST_COMMIT = 120.0
"""Seconds after which a database that does not answer counts as lost."""

Unit = TypeVar("Unit")


@dataclass(eq=False, slots=True)
class _Batch(Generic[Unit]):
    """Units of callers who wait together; once ``done``, ``written`` is None without a commit."""

    units: list[Unit] = field(default_factory=list)
    done: anyio.Event = field(default_factory=anyio.Event)
    written: Sequence[int] | None = None


class Committer(Generic[Unit]):
    """The single writer: one task that puts the units of many callers into few transactions.

    ``write`` commits a group durably, all or nothing, and returns how much each unit
    wrote. Its first StoreError ends the committer: all present and later callers get it. But if it
    raises StoreLostError and ``recover`` is given, all wait for that. It returns what ``write``
    would have returned if the group was committed after all, or ``None`` if it was not.
    """

    def __init__(
        self,
        write: Callable[[Sequence[Unit]], Awaitable[Sequence[int]]],
        clock: Clock,
        on_commit: Callable[[float], None],
        recover: Callable[[errors.StoreLostError], Awaitable[Sequence[int] | None]] | None = None,
    ) -> None:
        """``on_commit`` receives the seconds that each commit took."""
        self._write = write
        self._recover = recover
        self._clock = clock
        self._on_commit = on_commit
        self._queue: deque[_Batch[Unit]] = deque()
        self._arrived = anyio.Event()
        self._failure: str | None = None

    def check(self) -> None:
        """Raise the StoreError that ended it, if one did."""
        if self._failure is not None:
            raise errors.StoreError(self._failure)

    def fail(self, message: str) -> None:
        """End the committer with a message, unless it ended before, and wake all callers."""
        self._failure = self._failure or message
        while self._queue:
            self._queue.popleft().done.set()

    async def submit(self, unit: Unit) -> int:
        """Return how much ``unit`` wrote, after its commit.

        A caller that is cancelled does not withdraw its unit: it may be in a transaction already,
        together with the units of others.
        """
        self.check()
        if not self._queue or len(self._queue[-1].units) == _TOGETHER:
            self._queue.append(_Batch())
            self._arrived.set()
        batch = self._queue[-1]
        place = len(batch.units)
        batch.units.append(unit)
        await batch.done.wait()
        if batch.written is None:
            raise errors.StoreError(self._failure or "the commit was broken off")
        return batch.written[place]

    async def run(self) -> None:
        """Commit units until cancelled or failed; finish a commit that has begun."""
        try:
            while self._failure is None:
                await self._arrived.wait()
                # Before the queue is read: a unit that arrives from here on sets the new event.
                self._arrived = anyio.Event()
                while self._queue:
                    await self._commit_group()
        finally:
            self.fail("the store is closed")

    async def _commit_group(self) -> None:
        group = [self._queue.popleft() for _ in range(min(len(self._queue), _MOST_BATCHES))]
        started = self._clock.monotonic()
        try:
            written = await self._write_surely([unit for batch in group for unit in batch.units])
            self._on_commit(self._clock.monotonic() - started)
            start = 0
            for batch in group:
                batch.written = written[start : start + len(batch.units)]
                start += len(batch.units)
        except TimeoutError:
            self.fail(
                f"the store did not answer for {_LONGEST_COMMIT:.0f} s; is its disk or server up?"
            )
        except errors.StoreError as error:
            self.fail(str(error))
        finally:
            for batch in group:
                batch.done.set()
                # All of the callers at once would hold up the loop. Shielded, as each must wake.
                # After the last ones too: what they write next belongs into the next group.
                await anyio.lowlevel.cancel_shielded_checkpoint()

    async def _write_surely(self, units: Sequence[Unit]) -> Sequence[int]:
        """Commit units, over again whenever the database was lost before it had."""
        while True:
            try:
                # Shielded: a shutdown must not leave half a transaction open.
                with anyio.fail_after(_LONGEST_COMMIT, shield=True):
                    return await self._write(units)
            except errors.StoreLostError as error:
                if self._recover is None:
                    raise
                # Not shielded: it may take as long as an outage does.
                written = await self._recover(error)
            if written is not None:
                return written
