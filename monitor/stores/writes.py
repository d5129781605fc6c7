"""The units that callers write, and how a group of them becomes one transaction.

A lock on the ledger's only row lets one writer of a database proceed at a time. What is read
under it stays true until the commit. So comparing sequences and then writing is a
compare-and-set, and positions rise in the order of the commits.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import sqlalchemy as sa

from monitor.stores import archive, bulk, entries, outbox, replicas, rows, schema, silenced
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
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import datetime

    from sqlalchemy import Connection

    from monitor import model


MOST_POSITIONS = 500
"""The most positions of one transaction, well below any database's limit."""


@dataclass(frozen=True, slots=True)
class Touch:
    """The times at which jobs or sources, by key, were last polled.

    ``known`` are the sequences of those of which the polls have shown what has that sequence: where
    another replica has recorded more since, they say nothing of it.
    """

    polls: Mapping[str, datetime]
    known: Mapping[str, int]


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
    entries.Record
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
    | archive.Mark
    | archive.IndexTexts
    | archive.KeepDiscovers
    | silenced.Unit
    | silenced.Release
    | replicas.Unit
    | Ping
)

_TOPICS: Sequence[tuple[tuple[type, ...], str]] = (
    ((outbox.Park, outbox.Resume, outbox.ReplayDeliveries, silenced.Release), "outbox"),
    ((AddWatch, RemoveWatch), "watches"),
    (
        (
            silenced.KeepSilence,
            silenced.ForgetSilences,
            silenced.Acknowledge,
            silenced.Withdraw,
        ),
        "quiet",
    ),
    ((replicas.GiveUp, replicas.Leave), "replicas"),
)
_ANY = -1
"""Stands for any sequence."""
_OF_AN_OWNER = (KeepBaselines, archive.Mark, archive.KeepDiscovers)
"""Units that are right only as long as the replica still owns the source that they are about."""

_LOCK = sa.select(ledger.c.position).with_for_update()
_MOVE = sa.update(ledger).values(position=sa.bindparam("to"))
KEEP_TIME = sa.update(ledger).values(own_time=sa.bindparam("own"), wall_time=sa.bindparam("wall"))
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


def apply(connection: Connection, units: Sequence[Unit]) -> list[int]:
    """Write ``units`` in the open transaction; return how much each one wrote.

    A ``Record`` writes 0 if another writer was first, and then leaves no trace.
    """
    written: list[int] = []
    together: list[Unit] = []
    for unit in units:
        if not isinstance(unit, silenced.Release):
            together.append(unit)
            continue
        # What was recorded as silenced before it is released by it; what comes behind it is not.
        written += _write(connection, together)
        together = []
        connection.execute(_LOCK)
        written.append(silenced.release(connection, unit))
    return written + _write(connection, together)


def has_owners(units: Sequence[Unit]) -> bool:
    """Return whether any of the units is for owners alone."""
    return any(map(_is_of_an_owner, units))


def without_owners(units: Sequence[Unit]) -> Sequence[Unit]:
    """Return the units, with nothing in the places of those that only an owner may write."""
    return [Ping() if _is_of_an_owner(unit) else unit for unit in units]


def _is_of_an_owner(unit: Unit) -> bool:
    # Whether a source is available, its owner finds out for itself. What a poll has shown of a job
    # is true whoever owns it by now.
    if isinstance(unit, entries.Record):
        return unit.is_of_source
    return isinstance(unit, _OF_AN_OWNER)


def topics(units: Sequence[Unit], written: Sequence[int]) -> Iterator[str]:
    """Yield what other replicas should know of units that wrote something."""
    for unit, many in zip(units, written, strict=True):
        if isinstance(unit, entries.Record):
            if many and unit.transitions:
                yield "ledger"
        elif many:
            yield from (topic for kinds, topic in _TOPICS if isinstance(unit, kinds))


def _write(connection: Connection, units: Sequence[Unit]) -> list[int]:
    """Write units in whatever order costs least."""
    if not units:
        return []
    # First of all: what the statements below read must not change before the commit.
    position: int = connection.execute(_LOCK).scalar_one()
    # Settled first: what is recorded then falls due at once if its line has become empty.
    outbox.settle(connection, [unit for unit in units if isinstance(unit, outbox.Settle)])
    records = [unit for unit in units if isinstance(unit, entries.Record)]
    accepted = entries.write(connection, records, position)
    _touch(connection, [unit for unit in units if isinstance(unit, Touch)])
    added = sum(len(record.transitions) for record in accepted)
    connection.execute(_MOVE, {"to": position + added})
    taken = {id(record) for record in accepted}
    return [
        int(id(unit) in taken) if isinstance(unit, entries.Record) else _written(connection, unit)
        for unit in units
    ]


def _touch(connection: Connection, units: Sequence[Touch]) -> None:
    times: dict[sa.Table, list[tuple[int, str, int]]] = {table: [] for table in _TOUCH}
    for unit in units:
        for key, at in unit.polls.items():
            table = sources if key.startswith("source:") else jobs
            times[table].append((schema.microseconds(at), key, unit.known.get(key, _ANY)))
    for table, later in _TOUCH.items():
        later.execute(connection, times[table])


def _written(connection: Connection, unit: Unit) -> int:  # noqa: PLR0911
    """Write a unit that is not written in bulk; return how much it wrote."""
    match unit:
        case Prune(after, last, before):
            bounds = {"after": after, "last": last, "before": before}
            return connection.execute(_FORGET, bounds).rowcount
        case outbox.Hasten(sink):
            return outbox.hasten(connection, sink)
        case outbox.Park():
            return outbox.park(connection, unit)
        case outbox.Resume(sink):
            return outbox.resume(connection, sink)
        case outbox.ReplayDeliveries():
            return outbox.replay(connection, unit)
        case AddWatch(watch):
            return _add_watch(connection, watch)
        case RemoveWatch(name):
            removal = sa.delete(watches).where(watches.c.name == name)
            return connection.execute(removal).rowcount
        case KeepBaselines(kept, gone):
            return _keep_baselines(connection, kept, gone)
    return _written_elsewhere(connection, unit)


def _written_elsewhere(connection: Connection, unit: Unit) -> int:
    if isinstance(unit, archive.Mark | archive.IndexTexts | archive.KeepDiscovers):
        return archive.write(connection, unit)
    if isinstance(unit, replicas.UNITS):
        return replicas.write(connection, unit)
    return silenced.write(connection, unit) if isinstance(unit, silenced.Unit) else 0


def _add_watch(connection: Connection, watch: model.RuntimeWatch) -> int:
    known = sa.select(watches.c.name).where(watches.c.name == watch.name)
    if connection.execute(known).first():
        return 0
    settings = rows.clean(rows.encode(watch.settings))
    row = {"name": watch.name, "settings": settings, "added_at": watch.added_at}
    connection.execute(sa.insert(watches), row)
    return 1


def _later(table: sa.Table) -> bulk.Bulk:
    """Return the statement that moves the time of a poll; one that is late moves none back."""
    polled_at: sa.BindParameter[int] = sa.bindparam("at", type_=sa.BigInteger)
    known: sa.BindParameter[int] = sa.bindparam("known", type_=sa.BigInteger)
    is_later = sa.and_(table.c.key == sa.bindparam("of"), table.c.looked_at < polled_at)
    is_known = sa.or_(known == sa.literal_column(str(_ANY)), table.c.sequence == known)
    moved = sa.update(table).where(is_later, is_known).values(looked_at=polled_at)
    return bulk.Bulk(moved, "at", "of", "known")


_TOUCH = {table: _later(table) for table in (jobs, sources)}


def _keep_baselines(
    connection: Connection, kept: Sequence[model.Baseline], gone: Sequence[model.Baseline]
) -> int:
    old = [rows.baseline_key(each) for each in (*kept, *gone)]
    is_old = sa.and_(*(baselines.c[name] == sa.bindparam(f"of_{name}") for name in _BASELINE_KEY))
    keys = [{f"of_{name}": value for name, value in key.items()} for key in old]
    outbox.many(connection, sa.delete(baselines).where(is_old), keys)
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
    outbox.many(connection, sa.insert(baselines), new)
    return len(kept)
