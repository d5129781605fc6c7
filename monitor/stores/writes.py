"""The units that callers write, and how a group of them becomes one transaction.

A lock on the ledger's only row lets one writer of a database proceed at a time. What is read
under it stays true until the commit. So comparing sequences and then writing is a
compare-and-set, and positions rise in the order of the commits.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from monitor import events, model
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


MOST_POSITIONS = 500
"""The most positions of one transaction, well below any database's limit."""


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
    store_time: datetime


@dataclass(frozen=True, slots=True)
class Touch:
    """The times at which jobs or sources, by key, were last polled."""

    polls: Mapping[str, datetime]


@dataclass(frozen=True, slots=True)
class Prune:
    """Transitions to delete: those later than ``after`` and up to ``last`` that are old enough.

    They, and all their deliveries, were settled earlier than ``before``, in store time.
    """

    after: int
    last: int
    before: datetime


@dataclass(frozen=True, slots=True)
class AddWatch:
    """A run-time watch to add, unless there is one of its name."""

    watch: model.RuntimeWatch


@dataclass(frozen=True, slots=True)
class RemoveWatch:
    """A run-time watch to remove."""

    name: str


@dataclass(frozen=True, slots=True)
class KeepBaselines:
    """Baselines to insert or replace, and others to delete."""

    kept: tuple[model.Baseline, ...]
    gone: tuple[model.Baseline, ...]


@dataclass(frozen=True, slots=True)
class Ping:
    """A write that changes nothing, to test that commits succeed."""


Unit = (
    Record
    | outbox.Settle
    | Touch
    | Prune
    | outbox.Hasten
    | outbox.Park
    | outbox.Resume
    | outbox.ReplayDeliveries
    | AddWatch
    | RemoveWatch
    | KeepBaselines
    | Ping
)

_LOCK = sa.select(ledger.c.position).with_for_update()
_MOVE = sa.update(ledger).values(position=sa.bindparam("to"))
KEEP_TIME = sa.update(ledger).values(own_time=sa.bindparam("own"), wall_time=sa.bindparam("wall"))
_polled_at = sa.bindparam("at", type_=schema.StoredTime)

_BASELINE_KEY = ("type", "account", "region", "digest")

_before = sa.bindparam("before", type_=schema.StoredTime)
# A range of positions, as its rows lie side by side. One that is sent again is not settled.
_FORGET = sa.delete(transitions).where(
    transitions.c.position > sa.bindparam("after"),
    transitions.c.position <= sa.bindparam("last"),
    transitions.c.own_recorded < _before,
    ~sa.exists().where(
        deliveries.c.position == transitions.c.position,
        sa.or_(deliveries.c.settled_at.is_(None), deliveries.c.own_settled >= _before),
    ),
)


def record_of(
    entry: model.Entry, ledger_id: str, wall_time: datetime, store_time: datetime
) -> Record:
    """Return the rows of an entry.

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
        table = sources
        row = {
            "key": after.source.key,
            "service": after.source.service,
            "account": after.source.account,
            "region": after.source.region,
            "available": after.available,
            "sequence": after.sequence,
            "changed_at": after.changed_at,
            "looked_at": after.looked_at,
        }
    made = [(one, events.cloud_event(one, ledger_id)) for one in entry.transitions]
    return Record(
        table=table,
        key=row["key"],
        expected=entry.expected,
        row=row,
        transitions=tuple(
            {
                "key": transition.subject.key,
                "sequence": transition.sequence,
                "event_id": cloud_event["id"],
                "kind": transition.kind.value,
                "observed_at": transition.before,
                "event": rows.encode(cloud_event),
            }
            for transition, cloud_event in made
        ),
        sinks=entry.sinks,
        created_at=wall_time,
        store_time=store_time,
    )


async def apply(connection: AsyncConnection, units: Sequence[Unit]) -> list[int]:
    """Write ``units`` in the open transaction; return how much each one wrote.

    A ``Record`` writes 0 if another writer was first, and then leaves no trace.
    """
    # First of all: what the statements below read must not change before the commit.
    position: int = (await connection.execute(_LOCK)).scalar_one()
    records = [unit for unit in units if isinstance(unit, Record)]
    accepted = [
        record
        for table in (jobs, sources)
        for record in await _accept(
            connection, table, [one for one in records if one.table is table]
        )
    ]
    added, delivered = _numbered(accepted, position)
    await outbox.many(connection, sa.insert(transitions), added)
    await outbox.many(connection, sa.insert(deliveries), delivered)
    settled = [unit for unit in units if isinstance(unit, outbox.Settle)]
    await outbox.settle(connection, settled)
    # After both: a line whose first delivery is settled goes on with one made in this group.
    lines = [(row["sink"], row["key"]) for row in delivered]
    lines += [(one.settlement.delivery.sink, one.settlement.delivery.key) for one in settled]
    await outbox.advance(connection, lines)
    await _touch(connection, [unit for unit in units if isinstance(unit, Touch)])
    await connection.execute(_MOVE, {"to": position + len(added)})
    taken = {id(record) for record in accepted}
    return [await _written(connection, unit, id(unit) in taken) for unit in units]


async def _written(connection: AsyncConnection, unit: Unit, taken: bool) -> int:  # noqa: FBT001, PLR0911
    """Write a unit that is not written in bulk; return how much any unit wrote."""
    match unit:
        case Prune(after, last, before):
            bounds = {"after": after, "last": last, "before": before}
            return (await connection.execute(_FORGET, bounds)).rowcount
        case outbox.Hasten(sink):
            return await outbox.hasten(connection, sink)
        case outbox.Park():
            return await outbox.park(connection, unit)
        case outbox.Resume(sink):
            return await outbox.resume(connection, sink)
        case outbox.ReplayDeliveries():
            return await outbox.replay(connection, unit)
        case AddWatch(watch):
            known = sa.select(watches.c.name).where(watches.c.name == watch.name)
            if (await connection.execute(known)).first():
                return 0
            settings = rows.clean(rows.encode(watch.settings))
            row = {"name": watch.name, "settings": settings, "added_at": watch.added_at}
            await connection.execute(sa.insert(watches), row)
            return 1
        case RemoveWatch(name):
            removal = sa.delete(watches).where(watches.c.name == name)
            return (await connection.execute(removal)).rowcount
        case KeepBaselines(kept, gone):
            return await _keep_baselines(connection, kept, gone)
    return int(taken)


async def _accept(
    connection: AsyncConnection, table: sa.Table, records: Sequence[Record]
) -> list[Record]:
    """Store the snapshots of the records that come first; return those records."""
    if not records:
        return []
    keys = sorted({record.key for record in records})
    statement = sa.select(table.c.key, table.c.sequence).where(table.c.key.in_(keys))
    stored = {row.key: row.sequence for row in await connection.execute(statement)}
    inserts: list[Mapping[str, Any]] = []
    updates: list[Mapping[str, Any]] = []
    accepted = []
    for record in records:
        if stored.get(record.key, 0) != record.expected:
            continue  # another writer was first, perhaps earlier in this group
        (updates if record.key in stored else inserts).append(record.row)
        stored[record.key] = record.row["sequence"]
        accepted.append(record)
    # A job with two records in the group is inserted before it is updated.
    await outbox.many(connection, sa.insert(table), inserts)
    replacement = sa.update(table).where(table.c.key == sa.bindparam("of"))
    await outbox.many(connection, replacement, [{**row, "of": row["key"]} for row in updates])
    return accepted


def _numbered(
    records: Sequence[Record], position: int
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return the rows of transitions, with positions after ``position``, and of deliveries."""
    added: list[dict[str, Any]] = []
    delivered: list[dict[str, Any]] = []
    for record in records:
        for transition, sinks in zip(record.transitions, record.sinks, strict=True):
            position += 1
            added.append({**transition, "position": position, "own_recorded": record.store_time})
            made = record.created_at, record.store_time
            delivered += [
                {**rows.delivery_row(sink, record.key, *made), "position": position}
                for sink in sinks
            ]
    return added, delivered


async def _touch(connection: AsyncConnection, touches: Sequence[Touch]) -> None:
    polls = [poll for touch in touches for poll in touch.polls.items()]
    for table in (jobs, sources):
        # A poll that is committed late must not move the time back.
        later = (
            sa.update(table)
            .where(table.c.key == sa.bindparam("of"), table.c.looked_at < _polled_at)
            .values(looked_at=_polled_at)
        )
        times = [
            {"of": key, "at": at}
            for key, at in polls
            if key.startswith("source:") is (table is sources)
        ]
        await outbox.many(connection, later, times)


async def _keep_baselines(
    connection: AsyncConnection, kept: Sequence[model.Baseline], gone: Sequence[model.Baseline]
) -> int:
    old = [rows.baseline_key(each) for each in (*kept, *gone)]
    is_old = sa.and_(*(baselines.c[name] == sa.bindparam(f"of_{name}") for name in _BASELINE_KEY))
    keys = [{f"of_{name}": value for name, value in key.items()} for key in old]
    await outbox.many(connection, sa.delete(baselines).where(is_old), keys)
    new = [
        {
            **rows.baseline_key(each),
            "discover": each.discover,
            "begun_at": each.begun_at,
            "completed_at": each.completed_at,
            "awaited": rows.encode(each.awaited),
        }
        for each in kept
    ]
    await outbox.many(connection, sa.insert(baselines), new)
    return len(kept)
