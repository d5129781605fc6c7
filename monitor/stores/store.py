"""The store: interfaces.Store over a ledger in SQL."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import anyio
import anyio.lowlevel
import sqlalchemy as sa

from monitor import model
from monitor.stores import (
    connect,
    database,
    group_commit,
    outbox,
    queries,
    rows,
    schema,
    store_clock,
    writes,
)

if TYPE_CHECKING:
    from collections.abc import (
        AsyncGenerator,
        AsyncIterator,
        Callable,
        Collection,
        Coroutine,
        Mapping,
        Sequence,
    )
    from datetime import datetime

    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncResult

    from monitor.interfaces import Clock

_LOOKS_AT_ONCE = 1000
_ROWS_AT_ONCE = 1000
"""Rows that are decoded before others get their turn: some 10 ms."""


@asynccontextmanager
async def open_store(
    url: str,
    clock: Clock,
    on_commit: Callable[[float], None] | None = None,
    *,
    exclusive: bool = True,
    migrate: bool = True,
) -> AsyncGenerator[SqlStore]:
    """Open the store of ``url`` and bring its schema up to date.

    ``on_commit`` is told the seconds that each commit took. ``exclusive=False`` lets
    other processes use the same store at the same time. ``migrate=False`` makes and
    changes no tables: the store must be there, as this version writes it.

    Raises:
        ConfigurationError: the URL has none of the forms known.
        StoreLockedError: another process uses it.
        StoreError: it cannot be reached, read or written.
    """
    async with connect.opened(url, exclusive=exclusive, migrate=migrate) as opened:
        with database.troubles_of(opened.name):
            async with opened.readers.connect() as connection:
                ledger_id = await connection.scalar(sa.select(schema.ledger.c.ledger_id))
                own = await store_clock.seen(connection, clock)
            if exclusive:
                async with opened.writer.begin():
                    own = await store_clock.moving(opened.writer, clock)
        store = SqlStore(opened, clock, on_commit or _ignore, str(ledger_id), own)
        async with _beside(store.run):
            yield store


@asynccontextmanager
async def _beside(run: Callable[[], Coroutine[Any, Any, None]]) -> AsyncGenerator[None]:
    """Run a task beside the body; what the body raises comes out as it is, in no group."""
    raised: Exception | None = None
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run, name="store.commits")
        try:
            yield
        except Exception as error:  # noqa: BLE001 (raised again below)
            raised = error
        tasks.cancel_scope.cancel()
    if raised is not None:
        raise raised


def _ignore(_seconds: float) -> None:
    """Measure nothing."""


class SqlStore:
    """The durable memory. ``ledger_id`` is its identity, made with it and never changed."""

    def __init__(
        self,
        opened: database.Database,
        clock: Clock,
        on_commit: Callable[[float], None],
        ledger_id: str,
        own: store_clock.StoreClock,
    ) -> None:
        """``on_commit`` is told the seconds that each commit took."""
        self.ledger_id = ledger_id
        self._own = own
        self._database = opened
        self._clock = clock
        self._commits = group_commit.Committer[writes.Unit](self._write, clock, on_commit)

    def own_time(self) -> datetime:
        """The ledger's own time, which moves while a daemon runs, whatever the wall clock does."""
        return self._own.now()

    @property
    def set_back(self) -> float:
        """Seconds by which the wall clock, when this was opened, was behind what it had shown."""
        return self._own.set_back

    async def run(self) -> None:
        """Commit what is asked for, until cancelled."""
        await self._commits.run()

    async def snapshots(self) -> Sequence[model.Snapshot]:
        """Every job known, in no order."""
        found: list[model.Snapshot] = []
        async with self._reading() as connection:
            # In slices: a hundred thousand take seconds, for which no poll or probe should wait.
            result: AsyncResult[Any] = await connection.stream(queries.SNAPSHOTS)
            async for some in result.partitions(_ROWS_AT_ONCE):
                found += [rows.snapshot(row) for row in some]
        return found

    async def snapshot(self, key: str) -> model.Snapshot | None:
        """One job by its key."""
        return next(map(rows.snapshot, await self._read(queries.snapshot(key))), None)

    async def sources(self) -> Sequence[model.SourceState]:
        """Every source known, in no order."""
        return [rows.source(row) for row in await self._read(queries.SOURCES)]

    async def record(self, entry: model.Entry) -> bool:
        """Add ``entry`` durably and whole; ``False`` if another writer was first.

        Raises:
            TypeError: a value has no exact form in JSON.
            ValueError: the sequences of the entry have a gap.
        """
        now, own = self._clock.now(), self.own_time()
        record = writes.record_of(entry, self.ledger_id, now, own)
        return bool(await self._commits.submit(record))

    async def touch(self, polls: Mapping[str, datetime]) -> None:
        """Store when each job or source (by key) was last looked at, if that is later."""
        keys = list(polls)
        for start in range(0, len(keys), _LOOKS_AT_ONCE):
            some = keys[start : start + _LOOKS_AT_ONCE]
            await self._commits.submit(writes.Touch({key: polls[key] for key in some}))

    async def due(self, sink: str, now: datetime, limit: int) -> Sequence[model.Delivery]:
        """The first pending delivery of each job for ``sink`` that is due, oldest first.

        ``now`` is in own time, as all times of a ``Delivery`` are.
        """
        found = await self._read(queries.due(sink, now, limit))
        return [rows.delivery(row, self._own) for row in found]

    async def next_due(self, sink: str, now: datetime) -> datetime | None:
        """The earliest own time later than ``now`` at which a first-in-line delivery falls due."""
        return next((row.due_at for row in await self._read(queries.next_due(sink, now))), None)

    async def settle(self, settlement: model.Settlement) -> None:
        """Write down what became of one attempt."""
        await self._commits.submit(outbox.Settle(settlement, self.own_time()))

    async def hasten(self, sink: str) -> None:
        """Let every first-in-line delivery for ``sink`` that waits for its retry fall due."""
        await self._commits.submit(outbox.Hasten(sink))

    async def park(self, parking: model.Parking, revived: Sequence[model.Delivery] = ()) -> None:
        """Remember that a sink is parked, and make the dead among ``revived`` pending again."""
        await self._commits.submit(outbox.Park(parking, tuple(revived)))

    async def revive(self, revived: Sequence[model.Delivery]) -> None:
        """Make the dead among ``revived`` pending again, in their old places."""
        await self._commits.submit(outbox.Park(None, tuple(revived)))

    async def resume(self, sink: str) -> bool:
        """Park a sink no more, and let what waits fall due; ``False`` if it was not parked."""
        return bool(await self._commits.submit(outbox.Resume(sink)))

    async def parkings(self) -> Sequence[model.Parking]:
        """The sinks that are parked, by name."""
        return [rows.parking(row) for row in await self._read(queries.PARKINGS)]

    async def watches(self) -> Sequence[model.AddedWatch]:
        """The watches that were added at run time, in the order in which they were."""
        return [rows.added_watch(row) for row in await self._read(queries.WATCHES)]

    async def add_watch(self, watch: model.AddedWatch) -> bool:
        """Remember a watch; ``False`` if there is one of its name."""
        return bool(await self._commits.submit(writes.AddWatch(watch)))

    async def remove_watch(self, name: str) -> bool:
        """Forget a watch; ``False`` if there was none of that name."""
        return bool(await self._commits.submit(writes.RemoveWatch(name)))

    async def baselines(self) -> Sequence[model.Baseline]:
        """Every baseline known, in no order."""
        return [rows.baseline(row) for row in await self._read(queries.BASELINES)]

    async def keep_baselines(
        self, kept: Sequence[model.Baseline], gone: Sequence[model.Baseline]
    ) -> None:
        """Write ``kept`` in place of what is there of them, and forget ``gone``, in one step."""
        await self._commits.submit(writes.KeepBaselines(tuple(kept), tuple(gone)))

    async def settled(
        self,
        sink: str,
        statuses: Collection[model.DeliveryStatus],
        since: datetime | None,
        after: int = 0,
    ) -> Sequence[tuple[int, int, dict[str, Any]]]:
        """(id, position, CloudEvent) of some deliveries at their end, by position.

        All of them are later than the position ``after``; ``since`` is when the change was
        observed.
        """
        found = await self._read(
            queries.settled(sink, statuses, since, after, writes.MOST_POSITIONS)
        )
        return [(row.id, row.position, rows.sent_event(row)) for row in found]

    async def replay(self, ids: Sequence[int]) -> int:
        """Send at most 500 deliveries at their end again, behind what waits; return how many.

        Each gets a new id, and says that it is replayed.
        """
        unit = outbox.Replay(tuple(ids), self._clock.now(), self.own_time())
        return await self._commits.submit(unit)

    async def backlog(self) -> Sequence[model.Backlog]:
        """What each sink still has to tell; sinks with nothing at all are absent."""
        waiting = {row.sink: row for row in await self._read(queries.pending())}
        tried = {row.sink: row for row in await self._read(queries.tried())}
        dead = {row.sink: row.many for row in await self._read(queries.dead())}
        return [
            self._backlog(sink, waiting.get(sink), tried.get(sink), dead.get(sink, 0))
            for sink in sorted(waiting.keys() | dead.keys())
        ]

    def _backlog(
        self, sink: str, waiting: sa.Row[Any] | None, tried: sa.Row[Any] | None, dead: int
    ) -> model.Backlog:
        return model.Backlog(
            sink=sink,
            pending=waiting.many if waiting else 0,
            oldest_at=self._own.as_wall(waiting.oldest) if waiting else None,
            dead=dead,
            failing_since=self._own.as_wall(tried.since) if tried else None,
            tried_at=self._own.as_wall(tried.last) if tried else None,
            last_error=tried.error if tried else None,
        )

    async def taken(self) -> Mapping[str, datetime]:
        """When each sink last took something, as times of a ``Backlog``; reads every delivery."""
        return {row.sink: self._own.as_wall(row.at) for row in await self._read(queries.taken())}

    async def prune(self, before: datetime) -> int:
        """Forget transitions settled for every sink before then, in own time; return how many."""
        if before <= self._own.began:
            return 0  # nothing can be so old
        forgotten = 0
        while positions := await self._forgettable(before):
            forgotten += await self._commits.submit(writes.Prune(positions))
        return forgotten

    async def transitions(
        self,
        *,
        after: int = 0,
        limit: int = 100,
        key: str | None = None,
        kinds: Collection[str] | None = None,
        since: datetime | None = None,
        until: int | None = None,
    ) -> Sequence[tuple[int, dict[str, Any]]]:
        """(position, CloudEvent) of transitions later than a position, in order.

        ``since`` is when the change was observed, ``until`` the last position.
        """
        asked = queries.events(after, limit, key, kinds, since, until)
        return [rows.event(row) for row in await self._read(asked)]

    async def position(self) -> int:
        """The position of the newest transition; 0 if there has been none."""
        return max((row.position for row in await self._read(queries.POSITION)), default=0)

    async def last_change(self, key: str) -> dict[str, Any] | None:
        """The CloudEvent with which the present state of a job was told, if it is still there."""
        kinds = (model.Kind.DISCOVERED, model.Kind.STATE_CHANGED)
        return next(
            (rows.event(row)[1] for row in await self._read(queries.last_of(key, kinds))), None
        )

    async def deliveries(
        self,
        sink: str | None = None,
        status: model.DeliveryStatus | None = None,
        limit: int = 100,
        job: str | None = None,
        before: int | None = None,
    ) -> Sequence[model.StoredDelivery]:
        """Deliveries as they stand, newest first; ``job`` is a key or an id.

        All of them have a lower number than ``before``.
        """
        found = await self._read(queries.listing(sink, status, limit, job, before))
        return [rows.stored_delivery(row, self._own) for row in found]

    async def delivery(self, number: int) -> tuple[model.StoredDelivery, dict[str, Any]] | None:
        """One delivery as it stands, and its CloudEvent."""
        found = await self._read(queries.standing(number))
        return next(
            ((rows.stored_delivery(row, self._own), rows.sent_event(row)) for row in found), None
        )

    async def history(
        self,
        job: str | None = None,
        since: datetime | None = None,
        kinds: Collection[str] | None = None,
        limit: int = 100,
    ) -> Sequence[tuple[int, dict[str, Any]]]:
        """(position, CloudEvent) of the newest transitions, in order; ``job`` is a key or an id."""
        found = await self._read(queries.history(job, since, kinds, limit))
        return [rows.event(row) for row in reversed(found)]

    async def later(self, sequences: Mapping[str, int]) -> Sequence[tuple[int, dict[str, Any]]]:
        """(position, CloudEvent) of transitions of at most 100 jobs later than a sequence.

        They stand in order; ``sequences`` maps the key of each job to its sequence.
        """
        return [rows.event(row) for row in await self._read(queries.later(sequences))]

    async def deliveries_of(self, positions: Collection[int]) -> Sequence[model.StoredDelivery]:
        """Return the deliveries of at most 500 transitions as they stand, by sink."""
        found = await self._read(queries.deliveries_of(positions))
        return [rows.stored_delivery(row, self._own) for row in found]

    async def sinks(self) -> Collection[str]:
        """The sinks of which something is stored, configured or not; reads every delivery."""
        return {row.sink for row in await self._read(queries.STORED_SINKS)}

    async def places(self) -> Collection[rows.Place]:
        """Where the jobs and sources are that are stored; reads every job."""
        found = await self._read(queries.places())
        return [rows.Place(row.type, row.account, row.region) for row in found]

    async def ping(self) -> None:
        """Commit something that changes nothing; raise StoreError where that fails."""
        await self._commits.submit(writes.Ping())

    async def _forgettable(self, before: datetime) -> tuple[int, ...]:
        found = await self._read(queries.forgettable(before, writes.MOST_POSITIONS))
        return tuple(row.position for row in found)

    async def _write(self, units: Sequence[writes.Unit]) -> Sequence[int]:
        with database.troubles_of(self._database.name):
            async with self._database.writer.begin():
                written = await writes.apply(self._database.writer, units)
                if self._own.moves:
                    await writes.go_on(self._database.writer, self._own)
        # Only now: a commit into a file that nobody will find again must not be acknowledged.
        self._database.check()
        return written

    async def _read(self, statement: sa.Executable) -> Sequence[sa.Row[Any]]:
        """Put one question; whoever is cancelled meanwhile still gets to the end of it."""
        async with self._reading() as connection:
            found: Sequence[sa.Row[Any]] = (await connection.execute(statement)).all()
        return found

    @asynccontextmanager
    async def _reading(self) -> AsyncIterator[AsyncConnection]:
        """Lend a connection for a read that is not broken off by a cancellation.

        Broken off in the middle, it would cost its connection, and the thread behind that.
        """
        await anyio.lowlevel.checkpoint_if_cancelled()
        self._commits.check()
        with database.troubles_of(self._database.name), anyio.CancelScope(shield=True):
            async with self._database.readers.connect() as connection:
                yield connection
