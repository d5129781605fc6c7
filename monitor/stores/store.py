"""The store: interfaces.Store over a ledger in SQL."""

from __future__ import annotations

from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio
import anyio.lowlevel
import orjson

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
    schema,
    silenced,
    store_clock,
    writes,
)

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
_ROWS_AT_ONCE = 1000
"""Rows that are decoded before other tasks run: some 10 ms."""
_READ_AGAIN_AFTER = (0.02, 0.1, 0.5, 1.0, 2.0, 5.0)
"""Seconds after which a read is repeated that lost its connection; beside these it waits for the
session that writes. If that works, and reads do not, waiting longer would hide a fault."""
_NEWEST = 1000
"""Deliveries among which the last one to a sink is looked for."""
_NEAR = 500
"""Positions that are searched one by one before an index by time is."""
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


class SqlStore:
    """The durable memory.

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
        self._store_clock = time
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
        self.archive = archive.JobArchive(self._read, self._commits.submit)
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

    def store_time(self) -> datetime:
        """Return the store time, which moves while a daemon runs, whatever the wall clock does."""
        return self._store_clock.now()

    async def join(self, name: str, version: str) -> None:
        """Enter this process among the replicas, if there may be any."""
        if self._reconnection:
            await self._reconnection.begin(name, version)

    async def run(self) -> None:
        """Commit what callers write, until cancelled."""
        await self._commits.run()

    async def listen(self, tell: Callable[[str | None], None]) -> None:
        """Call ``tell`` with each message of a replica, until cancelled; see ``Database``."""
        if self._database.listen:
            await self._database.listen(tell)

    async def _submit(self, unit: replicas.Unit) -> int:
        return await self._commits.submit(unit)

    async def snapshots(self) -> Sequence[model.Snapshot]:
        """Return every known job, in no order."""
        found: list[model.Snapshot] = []
        after = ""
        # In slices: a hundred thousand jobs take seconds, for which no poll should wait.
        while some := await self._read(queries.snapshots(after, _ROWS_AT_ONCE)):
            found += [rows.snapshot(row) for row in some]
            after = found[-1].job.key
        return found

    async def snapshot(self, key: str) -> model.Snapshot | None:
        """Return one job by its key."""
        query = queries.SNAPSHOTS.where(schema.jobs.c.key == key)
        return next(map(rows.snapshot, await self._read(query)), None)

    async def sources(self) -> Sequence[model.SourceState]:
        """Return every known source, in no order."""
        return [rows.source(row) for row in await self._read(queries.SOURCES)]

    async def record(self, entry: model.Entry) -> bool:
        """Add ``entry`` durably and whole; return ``False`` if another writer was first.

        Raises:
            TypeError: a value has no exact form in JSON.
            ValueError: the sequences of the entry have a gap.
        """
        wall_time, store_time = self._clock.now(), self.store_time()
        record = entries.record_of(entry, self.ledger_id, wall_time, store_time)
        return bool(await self._commits.submit(record))

    async def touch(self, polls: Mapping[str, datetime]) -> None:
        """Store when each job or source (by key) was last polled, if that is later."""
        keys = list(polls)
        for start in range(0, len(keys), _POLLS_AT_ONCE):
            some = keys[start : start + _POLLS_AT_ONCE]
            await self._commits.submit(writes.Touch({key: polls[key] for key in some}))

    async def due(
        self, sink: str, now: datetime, limit: int, without: Collection[int] = ()
    ) -> Sequence[model.Delivery]:
        """Return the first pending delivery of each job for ``sink`` if it is due, oldest first.

        ``now`` is store time, as are all times of a ``Delivery``. Those ``without`` the given ids
        are at most ``limit``.
        """
        # Decoding is what takes time.
        found = await self._read(queries.due(sink, now, limit + len(without)))
        new = [row for row in found if row.id not in without]
        return [rows.delivery(row, self._store_clock) for row in new[:limit]]

    async def next_due(self, sink: str, now: datetime) -> datetime | None:
        """Return the earliest store time after ``now`` at which a delivery falls due."""
        return next((row.due_at for row in await self._read(queries.next_due(sink, now))), None)

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

    async def parkings(self) -> Sequence[model.Parking]:
        """Return the sinks that are parked, by name."""
        found = await self._read(queries.PARKINGS)
        return [model.Parking(row.sink, row.parked_at, row.reason) for row in found]

    async def watches(self) -> Sequence[model.RuntimeWatch]:
        """Return the run-time watches, in the order in which they were added."""
        found = await self._read(queries.WATCHES)
        return [
            model.RuntimeWatch(row.name, orjson.loads(row.settings), row.added_at) for row in found
        ]

    async def add_watch(self, watch: model.RuntimeWatch) -> bool:
        """Store a run-time watch; return ``False`` if there is one of its name."""
        return bool(await self._commits.submit(writes.AddWatch(watch)))

    async def remove_watch(self, name: str) -> bool:
        """Delete a run-time watch; return ``False`` if there was none of that name."""
        return bool(await self._commits.submit(writes.RemoveWatch(name)))

    async def baselines(self) -> Sequence[model.Baseline]:
        """Return every known baseline, in no order."""
        return [rows.baseline(row) for row in await self._read(queries.BASELINES)]

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

    async def backlog(self) -> Sequence[model.Backlog]:
        """Return the undelivered events of each sink; a sink without any is left out."""
        pending = {row.sink: row for row in await self._read(queries.PENDING)}
        tried = {row.sink: row for row in await self._read(queries.TRIED)}
        dead = {row.sink: row.many for row in await self._read(queries.DEAD)}
        found = []
        for sink in sorted(pending.keys() | dead.keys()):
            waiting, failing = pending.get(sink), tried.get(sink)
            as_wall = self._store_clock.as_wall
            found.append(
                model.Backlog(
                    sink=sink,
                    pending=waiting.many if waiting else 0,
                    oldest_at=as_wall(waiting.oldest) if waiting else None,
                    dead=dead.get(sink, 0),
                    failing_since=as_wall(failing.since) if failing else None,
                    tried_at=as_wall(failing.last) if failing else None,
                    last_error=failing.error if failing else None,
                )
            )
        return found

    async def taken(self) -> Mapping[str, datetime]:
        """Return the wall time of the last delivery to each sink.

        It is looked for among the newest that were delivered. An older one that came later, at its
        last retry, does not count.
        """
        found = {}
        for (sink,) in await self._read(queries.sinks_with(model.DeliveryStatus.DELIVERED)):
            for row in await self._read(queries.last_delivered(sink, _NEWEST)):
                if row.at is not None:  # it may have been pruned meanwhile
                    found[sink] = self._store_clock.as_wall(row.at)
        return found

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
        """Return (position, CloudEvent) of transitions later than ``after``, in order.

        Their changes were observed at ``since`` or later; ``until`` is the last position.
        """
        if since is not None and key is None:
            # Where most match, the next positions have a page; where few do, their times have.
            near = after + _NEAR if until is None else min(after + _NEAR, until)
            query = queries.near(after, near, kinds, since, limit)
            found = await self._read(query)
            if len(found) == limit or near == until:
                return [rows.event(row) for row in found]
        query = queries.events(after, limit, key, kinds, since, until)
        return [rows.event(row) for row in await self._read(query)]

    async def position(self) -> int:
        """Return the position of the newest transition; 0 if there has been none."""
        return max((row.position for row in await self._read(queries.POSITION)), default=0)

    async def last_change(self, key: str) -> dict[str, Any] | None:
        """Return the CloudEvent of the last change of a job's state, if it is still stored."""
        change = schema.transitions.c
        kinds = sorted((model.Kind.DISCOVERED, model.Kind.STATE_CHANGED))
        query = queries.EVENTS.where(change.key == key, change.kind.in_(kinds))
        found = await self._read(query.order_by(change.sequence.desc()).limit(1))
        return next((rows.event(row)[1] for row in found), None)

    async def deliveries(
        self,
        sink: str | None = None,
        status: model.DeliveryStatus | None = None,
        limit: int = 100,
        job: str | None = None,
        before: int | None = None,
    ) -> Sequence[model.StoredDelivery]:
        """Return deliveries, newest first; ``job`` is a key or an id.

        All of them have a lower id than ``before``.
        """
        lines = None
        if sink is not None or status is not None:
            sinks = [sink] if sink is not None else await self._delivered_sinks()
            statuses = [status] if status is not None else list(model.DeliveryStatus)
            lines = [(name, each) for name in sinks for each in statuses]
        found = await self._read(queries.listing(lines, limit, job, before))
        return [rows.stored_delivery(row, self._store_clock) for row in found]

    async def delivery(self, number: int) -> tuple[model.StoredDelivery, dict[str, Any]] | None:
        """Return one delivery by its id, and its CloudEvent."""
        query = queries.DELIVERIES.add_columns(schema.transitions.c.event)
        found = await self._read(query.where(schema.deliveries.c.id == number))
        return next(
            ((rows.stored_delivery(row, self._store_clock), rows.sent_event(row)) for row in found),
            None,
        )

    async def history(
        self,
        job: str | None = None,
        since: datetime | None = None,
        kinds: Collection[str] | None = None,
        limit: int = 100,
    ) -> Sequence[tuple[int, dict[str, Any]]]:
        """Return (position, CloudEvent) of the newest transitions, in order.

        ``job`` is a key or an id.
        """
        if since is not None and job is None:
            last = await self.position()
            query = queries.near(last - _NEAR, last, kinds, since, limit, newest=True)
            found = await self._read(query)
            if len(found) == limit:
                return [rows.event(row) for row in reversed(found)]
        found = await self._read(queries.history(job, since, kinds, limit))
        return [rows.event(row) for row in reversed(found)]

    async def later(self, sequences: Mapping[str, int]) -> Sequence[tuple[int, dict[str, Any]]]:
        """Return (position, CloudEvent) of transitions of at most 100 jobs, in order.

        ``sequences`` maps the key of each job to the sequence after which they come.
        """
        return [rows.event(row) for row in await self._read(queries.later(sequences))]

    async def deliveries_of(self, positions: Collection[int]) -> Sequence[model.StoredDelivery]:
        """Return the deliveries of at most 500 transitions, by sink."""
        deliveries = schema.deliveries.c
        query = queries.DELIVERIES.where(deliveries.position.in_(sorted(positions)))
        found = await self._read(query.order_by(deliveries.sink, deliveries.position))
        return [rows.stored_delivery(row, self._store_clock) for row in found]

    async def sinks(self) -> Collection[str]:
        """Return the sinks with stored rows, configured or not."""
        parked = {row.sink for row in await self._read(queries.PARKED_SINKS)}
        return parked.union(await self._delivered_sinks())

    async def places(self) -> Collection[rows.Place]:
        """Return the places of the stored jobs and sources; a source has no type."""
        jobs = {rows.Place(*place) for place, _ in await self.job_counts()}
        sources = (each.source for each in await self.sources())
        return jobs.union(rows.Place("", each.account, each.region) for each in sources)

    async def job_counts(self) -> Mapping[tuple[tuple[str, str, str], model.Phase], int]:
        """Return the number of stored jobs by place (type, account and region) and phase."""
        return {
            ((row.type, row.account, row.region), model.Phase(row.phase)): row.many
            for row in await self._read(queries.COUNTS)
        }

    async def jobs(
        self,
        place: tuple[str, str, str],
        phases: Collection[model.Phase],
        *,
        after: str = "",
        limit: int = _ROWS_AT_ONCE,
        text: str | None = None,
    ) -> Sequence[model.Snapshot]:
        """Return jobs of one place (type, account and region) and some phases, by id.

        All have a later id than ``after``. With ``text`` (ASCII) they have it in the key or
        anywhere in the snapshot, whatever its case.
        """
        query = queries.jobs_of(place, phases, after, limit, text)
        return [rows.snapshot(row) for row in await self._read(query)]

    async def _delivered_sinks(self) -> Sequence[str]:
        statuses = model.DeliveryStatus
        found = [await self._read(queries.sinks_with(status)) for status in statuses]
        return sorted({row.sink for some in found for row in some})

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
                    self.replicas.tell(connection, topics)
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

    async def _read(self, statement: sa.Executable) -> Sequence[sa.Row[Any]]:
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
