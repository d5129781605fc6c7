"""The store: interfaces.Store over a ledger in SQL."""

from __future__ import annotations

from contextlib import asynccontextmanager
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import anyio
import anyio.lowlevel

from monitor import errors, model
from monitor.stores import (
    archive,
    connect,
    database,
    entries,
    group_commit,
    outbox,
    queries,
    reconnect,
    replicas,
    rows,
    silenced,
    store_clock,
    writes,
)
from monitor.stores.reader import LedgerReader

if TYPE_CHECKING:
    from collections.abc import (
        AsyncGenerator,
        Callable,
        Collection,
        Mapping,
        Sequence,
    )
    from datetime import datetime

    import sqlalchemy as sa

    from monitor.config.settings import StoreSettings
    from monitor.interfaces import Clock

_POLLS_AT_ONCE = 1000
_READ_AGAIN_AFTER = (0.02, 0.1, 0.5, 1.0, 2.0, 5.0)
"""Seconds after which a read is repeated that lost its connection; beside these it waits for the
session that writes. If that works, and reads do not, waiting longer would hide a fault."""
_LEAST_PRUNED, _MOST_PRUNED = 100, 2000
"""Transitions that are deleted in one commit."""
_PRUNE_FOR = 0.008
"""Seconds that one commit of these should take: for so long, polls share the processor with it."""
_PRUNE_PAUSES = 9
"""How much longer pruning rests than it works, as it shares the processor with all polls."""


@asynccontextmanager
async def open_store(
    where: str | StoreSettings,
    clock: Clock,
    on_commit: Callable[[float], None] | None = None,
    *,
    exclusive: bool = True,
    migrate: bool = True,
    make_token: database.MakeToken | None = None,
    on_outage: Callable[[model.StoreOutage | None], None] | None = None,
    name: str = "",
    version: str = "",
) -> AsyncGenerator[SqlStore]:
    """Open the store at ``where``, its URL or its settings, and bring its schema up to date.

    ``on_commit`` receives the seconds that each commit took. ``exclusive=False`` lets
    other processes use the same store at the same time. Else this is a daemon, which shares a
    database of PostgreSQL with other replicas under its ``name`` and ``version``, and none other.
    ``migrate=False`` makes and
    changes no tables: the store must be there, as this version writes it. ``make_token`` makes
    the password of each connection where the settings have ``iam_auth``. If the server is lost
    while the store is open, all who read and write wait for it, and ``on_outage`` is called with
    the outage, and at its end with ``None``.

    Raises:
        ConfigurationError: the URL has none of the known forms.
        StoreLockedError: another process uses it.
        StoreError: it cannot be reached, read or written.
    """
    opening = connect.open_database(
        where, exclusive=exclusive, shared=exclusive, migrate=migrate, make_token=make_token
    )
    async with opening as opened:
        with database.store_errors(opened.name):
            ledger_id = await opened.read(lambda reader: reader.scalar(queries.LEDGER_ID))
            if exclusive:
                time = await opened.transact(partial(store_clock.start_clock, clock=clock))
            else:
                time = await opened.read(partial(store_clock.read_clock, clock=clock))
        measure = on_commit or (lambda _seconds: None)
        report = on_outage or (lambda _outage: None)
        store = SqlStore(opened, clock, measure, str(ledger_id), time, report)
        await store.join(name, version)
        raised: Exception | None = None
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(store.run, name="store.commits")
            try:
                yield store
            except Exception as error:  # noqa: BLE001 (raised again below, not in a group)
                raised = error
            tasks.cancel_scope.cancel()
        if raised is not None:
            raise raised


class SqlStore(LedgerReader):
    """The durable memory, to read and to write.

    ``ledger_id`` is its identity: made with it, and never changed. ``set_back`` is by how many
    seconds the wall clock had been set back at the opening, ``last_commit`` the wall time of the
    last commit before that.
    """

    def __init__(
        self,
        opened: database.Database,
        clock: Clock,
        on_commit: Callable[[float], None],
        ledger_id: str,
        time: store_clock.StoreClock,
        on_outage: Callable[[model.StoreOutage | None], None] = lambda _outage: None,
    ) -> None:
        """``on_commit`` receives the seconds that each commit took; see ``open_store``."""
        self.ledger_id = ledger_id
        self.set_back = time.set_back
        self.last_commit = time.last_commit
        super().__init__(self._read_through_outages, time, opened.dialect)
        self._database = opened
        self._clock = clock
        self._groups = 0
        self.replicas: replicas.ReplicaStore | None = None
        """This process among those that share the store, where several may."""
        self._reconnection: reconnect.Reconnection | None = None
        if opened.reopen and opened.listen:
            self.replicas = replicas.ReplicaStore(self._submit, self._read, clock.now)
            self._reconnection = reconnect.Reconnection(opened, clock, on_outage, self.replicas)
        recover = self._reconnection.recover if self._reconnection else None
        self._commits = group_commit.Committer[writes.Unit](self._write, clock, on_commit, recover)
        self.archive = archive.JobArchive(self._read, self._commits.submit, self._search)
        """The jobs that only the store remembers."""
        self.silences = silenced.SilenceStore(
            self._commits.submit, self._read, clock.now, self.store_time
        )
        """The silences and acknowledgements."""

    def written(self) -> object:
        """Return another value once anything may have been written, by whichever process.

        What another process writes in the very moment of a commit of ours may show with the next.
        """
        return self._groups, self._database.written()

    @property
    def outage(self) -> model.StoreOutage | None:
        """The outage of the server that lasts now, if one does."""
        return self._reconnection.outage if self._reconnection else None

    async def join(self, name: str, version: str) -> None:
        """Enter this process among the replicas, if there may be any."""
        if self._reconnection:
            await self._reconnection.begin(name, version)

    async def run(self) -> None:
        """Commit what callers write, until cancelled."""
        await self._commits.run()

    def watch_loss(self, lost: Callable[[], None]) -> None:
        """Call ``lost`` as soon as the server has ended the session that writes."""
        self._database.watch_loss(lost)

    async def listen(self, tell: Callable[[str | None], None]) -> None:
        """Call ``tell`` with each message of a replica, until cancelled; see ``Database``."""
        if self._database.listen:
            await self._database.listen(tell)

    async def _submit(self, unit: replicas.Unit) -> int:
        return await self._commits.submit(unit)

    async def members(self) -> Sequence[tuple[model.Replica, float]] | None:
        """Return the replicas that share the store, and for how many seconds each is silent."""
        if self._database.dialect != "postgresql":
            return None
        with database.store_errors(self._database.name):
            return await self._database.read(replicas.with_silence)

    async def record(self, entry: model.Entry) -> bool:
        """Add ``entry`` durably and whole; return ``False`` if another writer was first.

        Raises:
            TypeError: a value has no exact form in JSON.
            ValueError: the sequences of the entry have a gap.
        """
        wall_time, store_time = self._clock.now(), self.store_time()
        record = entries.record_of(entry, self.ledger_id, wall_time, store_time)
        return bool(await self._commits.submit(record))

    async def touch(
        self, polls: Mapping[str, datetime], known: Mapping[str, int] = MappingProxyType({})
    ) -> None:
        """Store when each job or source (by key) was last polled, if that is later.

        ``known`` are sequences: if another one is stored, the poll has not shown what that says.
        """
        keys = list(polls)
        for start in range(0, len(keys), _POLLS_AT_ONCE):
            some = keys[start : start + _POLLS_AT_ONCE]
            await self._commits.submit(writes.Touch({key: polls[key] for key in some}, known))

    async def settle(self, *settlements: model.Settlement) -> None:
        """Store the results of attempts, together."""
        await self._commits.submit(outbox.Settle(settlements, self.store_time()))

    async def hasten(self, sink: str) -> None:
        """Let every delivery for ``sink`` that waits for its retry fall due."""
        await self._commits.submit(outbox.Hasten(sink))

    async def park(self, parking: model.Parking, revived: Sequence[model.Delivery] = ()) -> None:
        """Park a sink, and make the dead among ``revived`` pending again."""
        await self._commits.submit(outbox.Park(parking, tuple(revived)))

    async def revive(self, revived: Sequence[model.Delivery]) -> None:
        """Make the dead among ``revived`` pending again, in their old places."""
        await self._commits.submit(outbox.Park(None, tuple(revived)))

    async def resume(self, sink: str) -> bool:
        """Unpark a sink, and let its retries fall due; return ``False`` if it was not parked."""
        return bool(await self._commits.submit(outbox.Resume(sink)))

    async def add_watch(self, watch: model.RuntimeWatch) -> bool:
        """Store a run-time watch; return ``False`` if there is one of its name."""
        return bool(await self._commits.submit(writes.AddWatch(watch)))

    async def remove_watch(self, name: str) -> bool:
        """Delete a run-time watch; return ``False`` if there was none of that name."""
        return bool(await self._commits.submit(writes.RemoveWatch(name)))

    async def keep_baselines(
        self, kept: Sequence[model.Baseline], gone: Sequence[model.Baseline]
    ) -> None:
        """Insert or replace ``kept``, and delete ``gone``, in one transaction."""
        await self._commits.submit(writes.KeepBaselines(tuple(kept), tuple(gone)))

    async def settled(
        self,
        sink: str,
        statuses: Collection[model.DeliveryStatus],
        since: datetime | None,
        after: int = 0,
    ) -> Sequence[tuple[int, int, dict[str, Any]]]:
        """Return (id, position, CloudEvent) of at most 500 settled deliveries, by position.

        All of them are later than the position ``after``, and their changes were observed at
        ``since`` or later.
        """
        found = await self._read(
            queries.settled(sink, statuses, since, after, writes.MOST_POSITIONS)
        )
        return [(row.id, row.position, rows.sent_event(row)) for row in found]

    async def replay(self, ids: Sequence[int]) -> int:
        """Send at most 500 settled deliveries again, behind what waits; return how many.

        Each gets a new id, and its event says that it is replayed.
        """
        unit = outbox.ReplayDeliveries(tuple(ids), self._clock.now(), self.store_time())
        return await self._commits.submit(unit)

    async def discard(self, ids: Sequence[int]) -> int:
        """Mark dead deliveries as not to be sent any more; return how many were dead."""
        unit = silenced.DiscardDeliveries(tuple(ids), self._clock.now(), self.store_time())
        return await self._commits.submit(unit)

    async def prune(self, before: datetime) -> int:
        """Delete transitions settled for every sink before a store time; return how many."""
        if before <= self._store_clock.began:
            return 0  # nothing can be that old
        deleted, after, many = 0, 0, _LEAST_PRUNED
        while True:
            (found,) = await self._read(queries.oldest(after, many))
            # Positions rise with the time of recording, so all that follow are younger.
            if found.last is None or found.since >= before:
                return deleted
            started = self._clock.monotonic()
            deleted += await self._commits.submit(writes.Prune(after, found.last, before))
            after = found.last
            # In small steps with pauses, so that neither polls nor the commits of others wait. On a
            # machine with other work they take longer, and get smaller.
            took = self._clock.monotonic() - started
            many = round(many * (1.25 if took < _PRUNE_FOR else 0.5))
            many = min(_MOST_PRUNED, max(_LEAST_PRUNED, many))
            await anyio.sleep(_PRUNE_PAUSES * took)

    async def ping(self) -> None:
        """Commit a change of nothing; raise StoreError if that fails."""
        await self._commits.submit(writes.Ping())

    async def _write(self, units: Sequence[writes.Unit]) -> Sequence[int]:
        times = {"own": self.store_time(), "wall": self._clock.now()}

        def work(connection: sa.Connection) -> list[int]:
            if self.replicas is None or self._reconnection is None:
                written = writes.apply(connection, units)
            else:
                if writes.has_owners(units) and not self.replicas.still_owns(connection):
                    written = writes.apply(connection, writes.without_owners(units))
                else:
                    written = writes.apply(connection, units)
                # The clocks of all replicas agree: each follows the one that is ahead.
                times["own"] = max(
                    times["own"], connection.execute(queries.STORE_TIME).scalar_one()
                )
                if topics := sorted(set(writes.topics(units, written))):
                    self.replicas.notify(connection, topics)
                self._reconnection.expect(connection, written)
            if self._store_clock.moves:
                connection.execute(writes.KEEP_TIME, times)
            return written

        with database.store_errors(self._database.name):
            written = await self._database.transact(work)
        if times["own"] > self.store_time():
            self._store_clock = self._store_clock.moved(times["own"])
        self._groups += 1
        # After the commit: one into a file that was removed meanwhile must not be acknowledged.
        self._database.check()
        if self._reconnection:
            self._reconnection.committed()
        return written

    async def _read_through_outages(self, statement: sa.Executable) -> Sequence[sa.Row[Any]]:
        """Return all rows of a query."""
        for pause in (*_READ_AGAIN_AFTER, 0):
            await anyio.lowlevel.checkpoint_if_cancelled()
            self._commits.check()
            if self.outage:
                await self.ping()
            try:
                with database.store_errors(self._database.name):
                    return await self._database.read(lambda reader: reader.execute(statement).all())
            except errors.StoreLostError:
                if self._reconnection is None or not pause:
                    raise
            await anyio.sleep(pause)
            # The session that writes may not have noticed yet; it ends when that is there again.
            await self.ping()
        raise AssertionError("the last attempt returns or raises")
