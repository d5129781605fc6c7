"""The ledger's own time: moves only while a daemon runs, and by nothing else.

A wall clock may be set, by an hour or by a year, and nobody can say afterwards which of its two
values was right. So no age and no pause is a difference of wall times. The ledger counts the time
for which daemons have run on it, by the monotonic clock, and writes it down with each commit.
Deliveries fall due by it, ``max_age`` and ``retention`` are measured in it.

Time in which no daemon runs does not count. It could only be told from the wall clock, and a clock
that is wrong at one start would then forget history or give up deliveries. What it costs is small:
nothing new is recorded meanwhile, so that ``retention`` still bounds the store, and a sink gets the
whole of ``max_age`` in which somebody really tries. Pauses between attempts are the exception: as
far as the wall clock says that one has passed between two runs, it need not be waited for, since an
attempt that comes early harms nothing.

The time since the last commit is lost in a crash; the daemon commits every few minutes.

Own time is a moment only so that it can be kept and compared like others: where it begins has no
meaning, and for people it must be translated by ``as_wall``.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

import sqlalchemy as sa

from monitor.stores.schema import Moment, deliveries, ledger

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy.ext.asyncio import AsyncConnection

    from monitor.interfaces import Clock

_READ = sa.select(ledger.c.own_began, ledger.c.own_time, ledger.c.wall_time)
_BEGIN = sa.update(ledger).values(
    own_began=sa.bindparam("own"), own_time=sa.bindparam("own"), wall_time=sa.bindparam("own")
)
_FIRST = deliveries.c.due_at.is_not(None)
_ALL_DUE = sa.update(deliveries).where(_FIRST).values(due_at=sa.bindparam("own", type_=Moment))
_earlier = deliveries.c.due_at - sa.bindparam("passed", type_=sa.BigInteger)
_own = sa.bindparam("own", type_=Moment)
_WAIT_LESS = (
    sa.update(deliveries)
    .where(_FIRST, deliveries.c.due_at > _own)
    .values(due_at=sa.case((_earlier < _own, _own), else_=_earlier))
)


@dataclass(frozen=True, slots=True)
class StoreClock:
    """The ledger's own time, as one process knows it.

    ``moves`` where the process is the daemon. For others it stands where the daemon last wrote it
    down, so that nothing of theirs lies in the daemon's future. ``set_back`` are the seconds by
    which the wall clock was behind what the last daemon had seen of it.
    """

    clock: Clock
    began: datetime
    at_start: datetime
    wall_at_start: datetime
    started: float
    moves: bool = False
    set_back: float = 0.0

    def now(self) -> datetime:
        """Return what it is now."""
        if not self.moves:
            return self.at_start
        return self.at_start + timedelta(seconds=self.clock.monotonic() - self.started)

    def as_wall(self, own: datetime) -> datetime:
        """Return what the wall clock would show at a moment of own time, as it goes now."""
        wall = self.clock.now() if self.moves else self.wall_at_start
        return wall + (self.since_began(own) - self.now())

    def since_began(self, own: datetime) -> datetime:
        """Return a moment of own time, or its beginning for what is older than that."""
        return max(own, self.began)


async def seen(connection: AsyncConnection, clock: Clock) -> StoreClock:
    """Return own time as the daemon last wrote it down."""
    row = (await connection.execute(_READ)).one()
    wall, monotonic = clock.now(), clock.monotonic()
    if row.own_time is None:
        return StoreClock(clock, wall, wall, wall, monotonic)
    return StoreClock(clock, row.own_began, row.own_time, row.wall_time, monotonic)


async def moving(connection: AsyncConnection, clock: Clock) -> StoreClock:
    """Let own time go on, or begin, in an open transaction of the daemon's."""
    row = (await connection.execute(_READ.with_for_update())).one()
    wall, monotonic = clock.now(), clock.monotonic()
    if row.own_time is None:
        await connection.execute(_BEGIN, {"own": wall})
        await connection.execute(_ALL_DUE, {"own": wall})
        return StoreClock(clock, wall, wall, wall, monotonic, moves=True)
    passed = (wall - row.wall_time) // timedelta(microseconds=1)
    if passed > 0:
        await connection.execute(_WAIT_LESS, {"own": row.own_time, "passed": passed})
    set_back = max(0.0, -passed / 1e6)
    began, own = row.own_began, row.own_time
    return StoreClock(clock, began, own, wall, monotonic, moves=True, set_back=set_back)
