"""Going on after the server of the store was lost, without losing or repeating a commit.

A connection may be lost between the server's commit and its answer. Each commit counts up the mark
of its replica: so it shows afterwards whether the last one was made. Other replicas have marks of
their own. A mark that is neither the one before nor the one after tells of a standby that took
over without the last commits: what this process knows is not true there, and it must start again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio

from monitor import errors, model
from monitor.stores import database, replicas

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import sqlalchemy as sa

    from monitor.interfaces import Clock

_SHORTEST, _LONGEST = 0.05, 3.0
"""Seconds from one attempt to connect to the next, at first and at last."""


class Reconnection:
    """What is known of the last commits, and the outage that lasts now, if one does."""

    def __init__(
        self,
        opened: database.Database,
        clock: Clock,
        report: Callable[[model.StoreOutage | None], None],
        replica: replicas.ReplicaStore,
    ) -> None:
        """``report`` is called when an outage begins, and with ``None`` when it ends."""
        self.outage: model.StoreOutage | None = None
        self._opened = opened
        self._clock = clock
        self._report = report
        self._replica = replica
        self._mark: int | None = None
        self._expected: int | None = None
        self._written: Sequence[int] = ()
        self._pause = 0.0

    async def begin(self, name: str, version: str) -> None:
        """Enter this process among the replicas, before its first commit."""

        def join(connection: sa.Connection) -> None:
            self._replica.join(connection, name, version)

        with database.store_errors(self._opened.name):
            await self._opened.transact(join)
        self._mark = 0

    def expect(self, connection: sa.Connection, written: Sequence[int]) -> None:
        """Mark the commit that is about to be made, and note what it writes."""
        mark = (self._mark or 0) + 1
        replicas.move_mark(connection, self._replica.id, mark)
        # From here on, a lost connection leaves it in doubt whether this was committed.
        self._expected, self._written = mark, written

    def committed(self) -> None:
        """Note that it was, which ends an outage."""
        self._mark, self._expected = self._expected, None
        if self.outage is not None:
            self.outage, self._pause = None, 0.0
            self._report(None)

    async def recover(self, lost: errors.StoreLostError) -> Sequence[int] | None:
        """Wait until the server takes connections again.

        Return what the last group wrote if it was committed, or ``None``.

        Raises:
            StoreError: the store is in use by a process that needs it alone, or has gone back.
        """
        self._note(lost)
        found = await self._reopened()
        if self._expected is not None and found == self._expected:
            self.committed()
            return self._written
        if found != self._mark:
            raise errors.StoreError(
                f"store {self._opened.name}: it has changed while the connection was lost: a"
                " standby took over without the last commits, or this replica was forgotten (start"
                " again)"
            )
        self._expected = None
        # The outage lasts until the next commit: that may be what the server does not take.
        return None

    def _note(self, error: errors.StoreError) -> None:
        begins = self.outage is None
        since = self._clock.now() if self.outage is None else self.outage.since
        self.outage = model.StoreOutage(since, str(error))
        if begins:
            self._report(self.outage)

    async def _reopened(self) -> int | None:
        """Connect again, however long it takes; return the mark of the last commit."""
        while True:
            await anyio.sleep(self._pause)
            self._pause = min(max(2 * self._pause, _SHORTEST), _LONGEST)
            try:
                if self._opened.reopen is None:
                    raise AssertionError("a lost database of this kind stays lost")
                await self._opened.reopen()
                with database.store_errors(self._opened.name):
                    return await self._opened.transact(self._read_mark)
            except errors.StoreLockedError:
                raise
            except errors.StoreError as error:
                # Whatever it says: a server that starts, or whose password is being changed, may
                # say many things.
                self._note(error)

    def _read_mark(self, connection: sa.Connection) -> int | None:
        return replicas.read_mark(connection, self._replica.id)
