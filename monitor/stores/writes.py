"""What can be asked of the ledger, and how a group of it becomes one transaction.

The lock on the ledger's only row puts all writers of a database in one line. What is
read after it therefore stays true until the commit: comparing sequences and then
writing is a compare-and-set, and positions rise in the order of the commits.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from monitor import model
from monitor.stores import outbox, rows, schema
from monitor.stores.schema import (
    baselines,
    deliveries,
    jobs,
    ledger,
    sources,
    transitions,
    watches,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from sqlalchemy.ext.asyncio import AsyncConnection

    from monitor.stores.store_clock import StoreClock

MOST_POSITIONS = 500
"""The most positions that one ``Prune`` may name, well below any database's limit."""


@dataclass(frozen=True, slots=True)
class Record:
    """One entry in the form of rows; ``sinks[i]`` is where ``transitions[i]`` goes."""

    table: sa.Table
    key: str
    expected: int
    row: Mapping[str, Any]
    transitions: tuple[Mapping[str, Any], ...]
    sinks: tuple[tuple[str, ...], ...]
    created_at: datetime
    own: datetime


@dataclass(frozen=True, slots=True)
class Touch:
    """When jobs or sources, by key, were last looked at."""

    looks: Mapping[str, datetime]


@dataclass(frozen=True, slots=True)
class Prune:
    """Transitions to forget, unless something of them is pending."""

    positions: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class AddWatch:
    """A watch to add, unless there is one of its name."""

    watch: model.AddedWatch


@dataclass(frozen=True, slots=True)
class RemoveWatch:
    """A watch to remove."""

    name: str


@dataclass(frozen=True, slots=True)
class KeepBaselines:
    """Baselines to write in place of what is there of them, and others to forget."""

    kept: tuple[model.Baseline, ...]
    gone: tuple[model.Baseline, ...]


@dataclass(frozen=True, slots=True)
class Ping:
    """Nothing but a commit that writes."""


Unit = (
    Record
    | outbox.Settle
    | Touch
    | Prune
    | outbox.Hasten
    | outbox.Park
    | outbox.Resume
    | outbox.Replay
    | AddWatch
    | RemoveWatch
    | KeepBaselines
    | Ping
)

_LOCK = sa.select(ledger.c.position).with_for_update()
_MOVE = sa.update(ledger).values(position=sa.bindparam("to"))
_GO_ON = sa.update(ledger).values(own_time=sa.bindparam("own"), wall_time=sa.bindparam("wall"))

_BASELINE_KEY = ("type", "account", "region", "digest")

_FORGET = sa.delete(transitions).where(
    transitions.c.position.in_(sa.bindparam("positions", expanding=True)),
    ~sa.exists().where(
        deliveries.c.position == transitions.c.position,
        schema.status_is(model.DeliveryStatus.PENDING),
    ),
)


def record_of(entry: model.Entry, ledger_id: str, now: datetime, own: datetime) -> Record:
    """Make the rows of an entry that is recorded at ``now`` by the wall, at ``own`` by own time.

    Raises:
        TypeError: a value has no exact form in JSON.
        ValueError: the sequences of the entry have a gap.
    """
    after = entry.snapshot
    numbers = [transition.sequence for transition in entry.transitions]
    if [*numbers, after.sequence + 1] != list(range(entry.expected + 1, after.sequence + 2)):
        raise ValueError(f"sequences {numbers} do not lead from {entry.expected} to the snapshot's")
    if isinstance(after, model.Snapshot):
        table, row = jobs, rows.job_row(after)
    else:
        table, row = sources, rows.source_row(after)
    return Record(
        table=table,
        key=row["key"],
        expected=entry.expected,
        row=row,
        transitions=tuple(rows.transition_row(one, ledger_id) for one in entry.transitions),
        sinks=entry.sinks,
        created_at=now,
        own=own,
    )


async def go_on(connection: AsyncConnection, own: StoreClock) -> None:
    """Keep what own time and the wall clock are now, inside the present transaction."""
    await connection.execute(_GO_ON, {"own": own.now(), "wall": own.clock.now()})


async def apply(connection: AsyncConnection, units: Sequence[Unit]) -> list[int]:
    """Write ``units`` inside the present transaction; how much each one wrote.

    A ``Record`` writes 0 where another writer was first, and then leaves no trace.
    """
    position: int = (await connection.execute(_LOCK)).scalar_one()
    records = await _accepted(connection, [unit for unit in units if isinstance(unit, Record)])
    added, delivered = _numbered(records, position)
    await outbox.many(connection, sa.insert(transitions), added)
    await outbox.many(connection, sa.insert(deliveries), delivered)
    settled = [unit for unit in units if isinstance(unit, outbox.Settle)]
    await outbox.settle(connection, settled)
    await outbox.advance(connection, delivered, settled)
    await _touch(connection, [unit for unit in units if isinstance(unit, Touch)])
    await connection.execute(_MOVE, {"to": position + len(added)})
    taken = {id(record) for record in records}
    return [await _written(connection, unit, id(unit) in taken) for unit in units]


async def _written(connection: AsyncConnection, unit: Unit, taken: bool) -> int:  # noqa: FBT001, PLR0911
    """Do what comes one by one, and count what was written."""
    match unit:
        case Prune():
            return await _prune(connection, unit)
        case outbox.Hasten():
            return await outbox.hasten(connection, unit.sink)
        case outbox.Park():
            return await outbox.park(connection, unit)
        case outbox.Resume():
            return await outbox.resume(connection, unit.sink)
        case outbox.Replay():
            return await outbox.replay(connection, unit)
        case AddWatch():
            return await _add_watch(connection, unit.watch)
        case RemoveWatch():
            gone = sa.delete(watches).where(watches.c.name == unit.name)
            return (await connection.execute(gone)).rowcount
        case KeepBaselines():
            return await _keep_baselines(connection, unit)
    return int(taken)


async def _accepted(connection: AsyncConnection, records: Sequence[Record]) -> list[Record]:
    """Store the snapshots of the records that come first; return those records."""
    return [
        record
        for table in (jobs, sources)
        for record in await _accepted_in(
            connection, table, [record for record in records if record.table is table]
        )
    ]


async def _accepted_in(
    connection: AsyncConnection, table: sa.Table, records: Sequence[Record]
) -> list[Record]:
    stored = await _sequences(connection, table, {record.key for record in records})
    inserts: list[Mapping[str, Any]] = []
    updates: list[Mapping[str, Any]] = []
    accepted = []
    for record in records:
        if stored.get(record.key, 0) != record.expected:
            continue
        (updates if record.key in stored else inserts).append(record.row)
        stored[record.key] = record.row["sequence"]
        accepted.append(record)
    await outbox.many(connection, sa.insert(table), inserts)
    replacement = sa.update(table).where(table.c.key == sa.bindparam("of"))
    await outbox.many(connection, replacement, [{**row, "of": row["key"]} for row in updates])
    return accepted


async def _sequences(
    connection: AsyncConnection, table: sa.Table, keys: set[str]
) -> dict[str, int]:
    if not keys:
        return {}
    statement = sa.select(table.c.key, table.c.sequence).where(table.c.key.in_(sorted(keys)))
    return {row.key: row.sequence for row in await connection.execute(statement)}


def _numbered(
    records: Sequence[Record], position: int
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Give the transitions their positions, and make their deliveries."""
    added: list[dict[str, Any]] = []
    delivered: list[dict[str, Any]] = []
    for record in records:
        for transition, sinks in zip(record.transitions, record.sinks, strict=True):
            position += 1
            added.append({**transition, "position": position, "own_recorded": record.own})
            made = record.created_at, record.own
            delivered += [
                {**rows.delivery_row(sink, record.key, *made), "position": position}
                for sink in sinks
            ]
    return added, delivered


async def _touch(connection: AsyncConnection, touches: Sequence[Touch]) -> None:
    looks = [look for touch in touches for look in touch.looks.items()]
    for table in (jobs, sources):
        of_sources = table is sources
        places = [
            {"of": key, "at": at} for key, at in looks if key.startswith("source:") is of_sources
        ]
        await outbox.many(connection, _look(table), places)


def _look(table: sa.Table) -> sa.Update:
    at = sa.bindparam("at", type_=schema.Moment)
    return (
        sa.update(table)
        .where(table.c.key == sa.bindparam("of"), table.c.looked_at < at)
        .values(looked_at=at)
    )


async def _prune(connection: AsyncConnection, unit: Prune) -> int:
    return (await connection.execute(_FORGET, {"positions": list(unit.positions)})).rowcount


async def _keep_baselines(connection: AsyncConnection, unit: KeepBaselines) -> int:
    old = [rows.baseline_key(each) for each in (*unit.kept, *unit.gone)]
    there = sa.and_(*(baselines.c[name] == sa.bindparam(f"of_{name}") for name in _BASELINE_KEY))
    places = [{f"of_{name}": value for name, value in key.items()} for key in old]
    await outbox.many(connection, sa.delete(baselines).where(there), places)
    await outbox.many(
        connection, sa.insert(baselines), [rows.baseline_row(each) for each in unit.kept]
    )
    return len(unit.kept)


async def _add_watch(connection: AsyncConnection, watch: model.AddedWatch) -> int:
    row = rows.watch_row(watch)
    known = sa.select(watches.c.name).where(watches.c.name == row["name"])
    if (await connection.execute(known)).first():
        return 0
    await connection.execute(sa.insert(watches), row)
    return 1
