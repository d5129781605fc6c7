"""Store time: it moves only while a daemon runs, whatever happens to the wall clock.

Somebody may set a wall clock, by an hour or by a year, and nobody can say afterwards which of its
two values was right. So no age and no pause is a difference of wall times. The ledger counts the
time for which daemons have run on it, by the monotonic clock, and stores it with each commit.
Deliveries fall due by it; ``max_age`` and ``retention`` are measured in it.

Time in which no daemon runs does not count. Only the wall clock could tell how long it was, and a
clock that is wrong at one start would then delete history or give up deliveries. The cost is
small: nothing new is recorded meanwhile, so ``retention`` still bounds the store, and a sink gets
the whole of ``max_age`` as attempts. Pauses between attempts are the exception: if the wall clock
says that one ended between two runs, it is over, because an early attempt does no harm.

A crash loses the time since the last commit; the daemon commits every few minutes.

Store time is a datetime only so that it can be stored and compared like others. Where it begins
has no meaning; ``as_wall`` translates it for people. The columns that hold it are ``own_…``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING

import sqlalchemy as sa

from monitor.stores.schema import StoredTime, deliveries, ledger

if TYPE_CHECKING:
    from datetime import datetime

    from monitor.interfaces import Clock

_READ = sa.select(ledger.c.own_began, ledger.c.own_time, ledger.c.wall_time)
_BEGIN = sa.update(ledger).values(
    own_began=sa.bindparam("own"), own_time=sa.bindparam("own"), wall_time=sa.bindparam("own")
)
_FIRST = deliveries.c.due_at.is_not(None)
_ALL_DUE = sa.update(deliveries).where(_FIRST).values(due_at=sa.bindparam("own", type_=StoredTime))
_earlier = deliveries.c.due_at - sa.bindparam("passed", type_=sa.BigInteger)
_now = sa.bindparam("own", type_=StoredTime)
_WAIT_LESS = (
    sa.update(deliveries)
    .where(_FIRST, deliveries.c.due_at > _now)
    .values(due_at=sa.case((_earlier < _now, _now), else_=_earlier))
)


@dataclass(frozen=True, slots=True)
class StoreClock:
    """The store time in one process.

    It ``moves`` in the daemon. In other processes it stays where the daemon last stored it, so
    that nothing they write lies in the daemon's future. ``set_back`` is how many seconds the wall
    clock was behind its last stored value, ``last_commit`` what that was, if there was one.
    """

    clock: Clock
    began: datetime
    at_start: datetime
    wall_at_start: datetime
    started: float
    moves: bool = False
    set_back: float = 0.0
    last_commit: datetime | None = None

    def now(self) -> datetime:
        """Return the present store time."""
        if not self.moves:
            return self.at_start
        return self.at_start + timedelta(seconds=self.clock.monotonic() - self.started)

    def moved(self, store_time: datetime) -> StoreClock:
        """Return a clock that goes on from a time to which another process has brought it."""
        return replace(self, at_start=store_time, started=self.clock.monotonic())

    def as_wall(self, store_time: datetime) -> datetime:
        """Return the wall time of a store time, as the wall clock goes now."""
        wall = self.clock.now() if self.moves else self.wall_at_start
        return wall + (self.since_began(store_time) - self.now())

    def since_began(self, store_time: datetime) -> datetime:
        """Return ``store_time``, or the beginning of store time for rows from before it."""
        return max(store_time, self.began)


def read_clock(connection: sa.Connection, clock: Clock) -> StoreClock:
    """Return a clock that stays at the store time of the daemon's last commit."""
    row = connection.execute(_READ).one()
    wall, monotonic = clock.now(), clock.monotonic()
    if row.own_time is None:
        return StoreClock(clock, wall, wall, wall, monotonic)
    return StoreClock(clock, row.own_began, row.own_time, row.wall_time, monotonic)


def start_clock(connection: sa.Connection, clock: Clock) -> StoreClock:
    """Return a clock that moves on from the stored time, in an open transaction of the daemon."""
    # The row is locked: two daemons that start at once must not both begin store time.
    row = connection.execute(_READ.with_for_update()).one()
    wall, monotonic = clock.now(), clock.monotonic()
    if row.own_time is None:
        # An older version wrote its ``due_at`` by the wall clock: all are due now.
        connection.execute(_BEGIN, {"own": wall})
        connection.execute(_ALL_DUE, {"own": wall})
        return StoreClock(clock, wall, wall, wall, monotonic, moves=True)
    passed = (wall - row.wall_time) // timedelta(microseconds=1)
    # A clock that was set back says nothing about the pauses; they are waited out.
    if passed > 0:
        connection.execute(_WAIT_LESS, {"own": row.own_time, "passed": passed})
    set_back = max(0.0, -passed / 1e6)
    times = (row.own_began, row.own_time, wall, monotonic)
    last = row.wall_time
    return StoreClock(clock, *times, moves=True, set_back=set_back, last_commit=last)
