"""Going on after the server of the store was lost, without losing or repeating a commit.

A connection may be lost between the server's commit and its answer. Each commit stores the time of
the ledger, which it moves on: so it shows afterwards whether the last one was made. It also shows
whether anybody else has written meanwhile, for the server gave the lock of the lost session away.
Then what this process knows of the ledger is no longer true, and it must start again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio
import sqlalchemy as sa

from monitor import errors, model
from monitor.stores import database
from monitor.stores.schema import ledger

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from monitor.interfaces import Clock

_SHORTEST, _LONGEST = 0.05, 3.0
"""Seconds from one attempt to connect to the next, at first and at last."""
_MARK = sa.select(ledger.c.own_time)


class Reconnection:
    """What is known of the last commits, and the outage that lasts now, if one does."""

    def __init__(
        self,
        opened: database.Database,
        clock: Clock,
        report: Callable[[model.StoreOutage | None], None],
    ) -> None:
        """``report`` is called when an outage begins, and with ``None`` when it ends."""
        self.outage: model.StoreOutage | None = None
        self._opened = opened
        self._clock = clock
        self._report = report
        self._mark: datetime | None = None
        self._expected: datetime | None = None
        self._written: Sequence[int] = ()
        self._pause = 0.0

    async def begin(self) -> None:
        """Read the mark of the last commit, before the first one of this process."""
        with database.store_errors(self._opened.name):
            self._mark = await self._opened.transact(_read_mark)

    def expect(self, mark: datetime, written: Sequence[int]) -> None:
        """Note what is about to be committed with a mark."""
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
            StoreError: another process uses the store, or has used it.
        """
        self._note(lost)
        found = await self._reopened()
        if self._expected is not None and found == self._expected != self._mark:
            self.committed()
            return self._written
        # A commit took some time, so that its mark differs from the one before.
        if found != self._mark or found == self._expected:
            raise errors.StoreError(
                f"store {self._opened.name}: it has changed while the connection was lost: another"
                " daemon has used it, or a standby took over without the last commits (start again)"
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

    async def _reopened(self) -> datetime | None:
        """Connect again, however long it takes; return the mark of the last commit."""
        while True:
            await anyio.sleep(self._pause)
            self._pause = min(max(2 * self._pause, _SHORTEST), _LONGEST)
            try:
                if self._opened.reopen is None:
                    raise AssertionError("a lost database of this kind stays lost")
                await self._opened.reopen()
                with database.store_errors(self._opened.name):
                    return await self._opened.transact(_read_mark)
            except errors.StoreLockedError:
                raise
            except errors.StoreError as error:
                # Whatever it says: a server that starts, or whose password is being changed, may
                # say many things.
                self._note(error)


def _read_mark(connection: sa.Connection) -> datetime | None:
    found: datetime | None = connection.scalar(_MARK)
    return found
