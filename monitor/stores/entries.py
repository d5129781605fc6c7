"""The entries of the ledger as rows, and how a group of them is written."""

from __future__ import annotations

from operator import itemgetter
from typing import TYPE_CHECKING, Any, NamedTuple

import sqlalchemy as sa

from monitor import events, model
from monitor.stores import bulk, rows, schema
from monitor.stores.schema import deliveries, jobs, sources, transitions

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from sqlalchemy import Connection

_KEYS_AT_ONCE = 500
"""Keys of one query, below any database's limit."""


class _Snapshots:
    """The table of the snapshots of jobs or sources, and the statements that write it."""

    def __init__(self, table: sa.Table, *fixed: str) -> None:
        """``fixed`` are the columns that never change, the key first."""
        # A job is archived by its own statement, and what is recorded of it is live.
        names = [column.name for column in table.columns if column.name != "archived"]
        moving = [name for name in names if name not in fixed]
        is_key = table.c.key == sa.bindparam("of")
        update = sa.update(table).where(is_key).values({n: sa.bindparam(n) for n in moving})
        archived = table.c.archived if "archived" in table.c else sa.literal_column("0")
        are_keys = table.c.key.in_(sa.bindparam("keys", expanding=True))
        self.sequences = sa.select(table.c.key, table.c.sequence, archived.label("archived")).where(
            are_keys
        )
        self.insert = bulk.Bulk(sa.insert(table), *names)
        self.update = bulk.Bulk(update, *moving, "of")
        self.insert_row = itemgetter(*names)
        self.update_row = itemgetter(*moving, "key")


_JOBS = _Snapshots(jobs, "key", "type", "account", "region", "id")
_SOURCES = _Snapshots(sources, "key", "service", "account", "region")

_MAKE_LIVE = (
    sa.update(jobs)
    .where(jobs.c.key.in_(sa.bindparam("keys", expanding=True)))
    .values(archived=model.Archived.LIVE.value)
)

_ADD_TRANSITION = bulk.Bulk(
    sa.insert(transitions),
    *("key", "sequence", "event_id", "kind", "observed_at", "event", "own_recorded", "position"),
)

_waiting = deliveries.alias("waiting")
_is_behind = sa.exists().where(
    schema.status_is(model.DeliveryStatus.PENDING, _waiting),
    _waiting.c.sink == sa.bindparam("sink"),
    _waiting.c.key == sa.bindparam("key"),
)
_ADD_SILENCED = bulk.Bulk(
    sa.insert(deliveries).values(
        position=sa.bindparam("position"),
        sink=sa.bindparam("sink"),
        key=sa.bindparam("key"),
        status=sa.literal_column(f"'{model.DeliveryStatus.SILENCED.value}'"),
        attempts=sa.literal_column("0"),
        created_at=sa.bindparam("created_at"),
        own_created=sa.bindparam("own_created"),
        silenced_by=sa.bindparam("silenced_by"),
    ),
    *("position", "sink", "key", "created_at", "own_created", "silenced_by"),
)
_own_created = sa.bindparam("own_created", type_=schema.StoredTime)
_ADD_DELIVERY = bulk.Bulk(
    sa.insert(deliveries)
    .values(
        position=sa.bindparam("position"),
        sink=sa.bindparam("sink"),
        key=sa.bindparam("key"),
        status=sa.literal_column(f"'{model.DeliveryStatus.PENDING.value}'"),
        attempts=sa.literal_column("0"),
        created_at=sa.bindparam("created_at"),
        own_created=_own_created,
        due_at=sa.case((_is_behind, sa.null()), else_=_own_created),
    )
    .inline(),
    *("position", "sink", "key", "created_at", "own_created"),
)


# A tuple: there are many, and a frozen dataclass takes thrice as long to make.
class Record(NamedTuple):
    """One entry as rows, with times as they are stored.

    The rows in ``transitions`` lack their positions; ``sinks[i]`` is where ``transitions[i]`` goes,
    unless ``held[i]`` silences it.
    """

    table: _Snapshots
    key: str
    expected: int
    sequence: int
    row: dict[str, Any]
    transitions: tuple[tuple[Any, ...], ...]
    sinks: tuple[tuple[str, ...], ...]
    held: tuple[str | None, ...]

    @property
    def is_of_source(self) -> bool:
        """Whether it says that a source is available, or no longer."""
        return self.table is _SOURCES

    created_at: int
    store_time: int


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
        table, row = _JOBS, rows.job_row(after)
    else:
        table = _SOURCES
        row = {
            "key": after.source.key,
            "service": after.source.service,
            "account": after.source.account,
            "region": after.source.region,
            "available": after.available,
            "sequence": after.sequence,
            "changed_at": schema.microseconds(after.changed_at),
            "looked_at": schema.microseconds(after.looked_at),
        }
    recorded = schema.microseconds(store_time)
    added = []
    for made in entry.transitions:
        event = events.cloud_event(made, ledger_id)
        about = made.subject.key, made.sequence, event["id"], made.kind.value
        observed_at = schema.microseconds(made.before)
        added.append((*about, observed_at, rows.encode(event), recorded))
    return Record(
        table,
        row["key"],
        entry.expected,
        after.sequence,
        row,
        tuple(added),
        entry.sinks,
        entry.silenced,
        schema.microseconds(wall_time),
        recorded,
    )


def write(connection: Connection, records: Sequence[Record], position: int) -> list[Record]:
    """Write the records that come first, after ``position``; return those records.

    Their transitions get the next positions, and of their deliveries the first of each line
    falls due.
    """
    accepted = []
    for table in (_JOBS, _SOURCES):
        of_it = [record for record in records if record.table is table]
        accepted += _accept(connection, table, of_it)
    added: list[tuple[Any, ...]] = []
    delivered: list[tuple[Any, ...]] = []
    silenced: list[tuple[Any, ...]] = []
    for record in accepted:
        about = zip(record.transitions, record.sinks, record.held, strict=True)
        for row, sinks, held in about:
            position += 1
            added.append((*row, position))
            made = record.created_at, record.store_time
            for sink in sinks:
                delivery = (position, sink, record.key, *made)
                if held is None:
                    delivered.append(delivery)
                else:
                    silenced.append((*delivery, held))
    _ADD_TRANSITION.execute(connection, added)
    _ADD_DELIVERY.execute(connection, delivered)
    _ADD_SILENCED.execute(connection, silenced)
    return accepted


def _accept(connection: Connection, table: _Snapshots, records: Sequence[Record]) -> list[Record]:
    """Store the snapshots of the records that come first; return those records."""
    keys = sorted({record.key for record in records})
    stored: dict[str, int] = {}
    archived: set[str] = set()
    for start in range(0, len(keys), _KEYS_AT_ONCE):
        some = {"keys": keys[start : start + _KEYS_AT_ONCE]}
        found = connection.execute(table.sequences, some).all()
        stored.update((row.key, row.sequence) for row in found)
        archived.update(row.key for row in found if row.archived)
    fresh = set(keys) - stored.keys()
    accepted: list[Record] = []
    for record in records:
        if stored.get(record.key, 0) != record.expected:
            continue  # another writer was first, perhaps earlier in this group
        stored[record.key] = record.sequence
        accepted.append(record)
    # Of a job with several records only the last snapshot is ever seen.
    last = {record.key: record.row for record in accepted}
    inserts = [table.insert_row(row) for key, row in last.items() if key in fresh]
    updates = [table.update_row(row) for key, row in last.items() if key not in fresh]
    table.insert.execute(connection, inserts)
    table.update.execute(connection, updates)
    if revived := sorted(archived & last.keys()):
        connection.execute(_MAKE_LIVE, {"keys": revived})
    return accepted
