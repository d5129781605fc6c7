"""Reading the ledger: all that needs no transaction of its own."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio.lowlevel
import orjson

from monitor import model
from monitor.stores import archive_search, connect, database, queries, rows, schema, store_clock

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Mapping, Sequence
    from datetime import datetime

    import sqlalchemy as sa

    from monitor.config.settings import StoreSettings
    from monitor.interfaces import Clock

    Read = Callable[[sa.Executable], Awaitable[Sequence[sa.Row[Any]]]]

_ROWS_AT_ONCE = 1000
"""Rows that are decoded before other tasks run: some 10 ms."""
_NEWEST = 1000
"""Deliveries among which the last one to a sink is looked for."""
_NEAR = 500
"""Positions that are searched one by one before an index by time is."""


@asynccontextmanager
async def open_sqlite_reader(where: StoreSettings, clock: Clock) -> AsyncGenerator[LedgerReader]:
    """Open a store in SQLite to read it, while a daemon may use it; see ``open_store``.

    What writes is not imported, which takes a short command a moment. It is not enough for
    PostgreSQL: only who can commit notices that a lost server is there again.
    """
    async with connect.open_database(where, exclusive=False, migrate=False) as opened:

        async def read(statement: sa.Executable) -> Sequence[sa.Row[Any]]:
            await anyio.lowlevel.checkpoint_if_cancelled()
            with database.store_errors(opened.name):
                return await opened.read(lambda reader: reader.execute(statement).all())

        with database.store_errors(opened.name):
            time = await opened.read(partial(store_clock.read_clock, clock=clock))
        yield LedgerReader(read, time, opened.dialect)


class LedgerReader:
    """What the store holds; ``SqlStore`` adds what writes."""

    def __init__(self, read: Read, time: store_clock.StoreClock, dialect: str) -> None:
        """``read`` returns all rows of a query."""
        self._read = read
        self._search = archive_search.ArchiveSearch(read, dialect)
        self._store_clock = time

    def store_time(self) -> datetime:
        """Return the store time, which moves while a daemon runs, whatever the wall clock does."""
        return self._store_clock.now()

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

    async def members(self) -> Sequence[tuple[model.Replica, float]] | None:
        """Return the replicas that share the store, and for how many seconds each is silent.

        ``None`` if it cannot be shared.
        """
        return None

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

    async def baselines(self) -> Sequence[model.Baseline]:
        """Return every known baseline, in no order."""
        return [rows.baseline(row) for row in await self._read(queries.BASELINES)]

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
            statuses = [status] if status is not None else list(model.DeliveryStatus)
            lines = [
                (name, each)
                for each in statuses
                for name in ([sink] if sink is not None else await self._sinks_with(each))
            ]
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
        found = {row.sink for row in await self._read(queries.PARKED_SINKS)}
        for status in model.DeliveryStatus:
            found.update(await self._sinks_with(status))
        return found

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

        All have a later id than ``after``. With ``text`` they may have it in the key or anywhere in
        the snapshot, whatever its case.
        """
        query = queries.jobs_of(place, phases, after, limit, text)
        return [rows.snapshot(row) for row in await self._read(query)]

    async def archived_matching(
        self, having: model.ArchivedFilter, phases: Collection[model.Phase]
    ) -> Sequence[model.Snapshot] | None:
        """Return the jobs that are not live and may match; ``None`` if no index finds them."""
        keys = await self._search.texts.find(having.text) if having.text else None
        # Of the other indexes, none has those that no watch follows any longer.
        if keys is None and not await self._read(queries.UNWATCHED):
            keys, _ = await self._search.find(replace(having, text=None), phases)
        if keys is None:
            return None
        query = queries.SNAPSHOTS.where(schema.jobs.c.key.in_(keys), schema.jobs.c.archived != 0)
        return [rows.snapshot(row) for row in await self._read(query)]

    async def live_with_text(self, text: str | None, after: str = "") -> Sequence[model.Snapshot]:
        """Return the next live jobs by key, those that may have a text as of ``jobs``."""
        key = schema.jobs.c.key
        query = queries.SNAPSHOTS.where(queries.IS_LIVE, key > after)
        if text is not None:
            query = query.where(queries.has_text(text))
        found = await self._read(query.order_by(key).limit(_ROWS_AT_ONCE))
        return [rows.snapshot(row) for row in found]

    async def _sinks_with(self, status: model.DeliveryStatus) -> Sequence[str]:
        return [row.sink for row in await self._read(queries.sinks_with(status))]
