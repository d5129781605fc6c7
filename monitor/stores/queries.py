"""The queries of the ledger; each one is a single statement over an index.

What is compared with ``due_at`` or a column ``own_…`` is store time, see ``store_clock``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from monitor import model
from monitor.stores import schema
from monitor.stores.schema import (
    baselines,
    deliveries,
    jobs,
    ledger,
    sink_state,
    sources,
    transitions,
    watches,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from datetime import datetime

SNAPSHOTS = sa.select(jobs.c.snapshot, jobs.c.looked_at)
SOURCES = sa.select(sources)
POSITION = sa.select(ledger.c.position)
PARKINGS = sa.select(sink_state.c.sink, sink_state.c.parked_at, sink_state.c.reason).order_by(
    sink_state.c.sink
)
BASELINES = sa.select(baselines)
WATCHES = sa.select(watches).order_by(watches.c.added_at, watches.c.name)

# The number of pending deliveries of each sink, and the oldest.
PENDING = (
    sa.select(
        deliveries.c.sink,
        sa.func.count().label("many"),
        sa.func.min(deliveries.c.own_created).label("oldest"),
    )
    .where(schema.status_is(model.DeliveryStatus.PENDING))
    .group_by(deliveries.c.sink)
)
# The pending deliveries of each sink that failed at least once. The literal 0 lets SQLite use
# the partial index: with a parameter it cannot prove that the index covers the query.
TRIED = (
    sa.select(
        deliveries.c.sink,
        sa.func.min(deliveries.c.own_created).label("since"),
        sa.func.max(deliveries.c.own_created).label("last"),
        sa.func.max(deliveries.c.last_error).label("error"),
    )
    .where(schema.status_is(model.DeliveryStatus.PENDING), deliveries.c.attempts > sa.text("0"))
    .group_by(deliveries.c.sink)
)
DEAD = (
    sa.select(deliveries.c.sink, sa.func.count().label("many"))
    .where(schema.status_is(model.DeliveryStatus.DEAD))
    .group_by(deliveries.c.sink)
)
# The last delivery to each sink; no index covers this, so every delivery is read.
LAST_DELIVERED = (
    sa.select(deliveries.c.sink, sa.func.max(deliveries.c.own_settled).label("at"))
    .where(schema.status_is(model.DeliveryStatus.DELIVERED))
    .group_by(deliveries.c.sink)
)
STORED_SINKS = sa.union(sa.select(deliveries.c.sink), sa.select(sink_state.c.sink))
# A source has no type.
PLACES = sa.union(
    sa.select(jobs.c.type, jobs.c.account, jobs.c.region),
    sa.select(sa.literal("").label("type"), sources.c.account, sources.c.region),
)
EVENTS = sa.select(transitions.c.position, transitions.c.event)
DELIVERIES = sa.select(
    *(deliveries.c[name] for name in ("id", "position", "sink", "key", "status", "attempts")),
    *(deliveries.c[name] for name in ("created_at", "due_at", "settled_at", "last_error")),
    deliveries.c.replayed,
    transitions.c.event_id,
    transitions.c.kind,
).join_from(deliveries, transitions)


def due(sink: str, now: datetime, limit: int) -> sa.Select[Any]:
    """Select the due deliveries; only the first of each line has ``due_at``."""
    return (
        sa.select(
            deliveries.c.id,
            deliveries.c.sink,
            deliveries.c.key,
            deliveries.c.attempts,
            deliveries.c.own_created,
            deliveries.c.due_at,
            deliveries.c.replayed,
            transitions.c.event,
        )
        .join_from(deliveries, transitions)
        .where(deliveries.c.sink == sink, deliveries.c.due_at <= now)
        .order_by(deliveries.c.due_at, deliveries.c.id)
        .limit(limit)
    )


def next_due(sink: str, now: datetime) -> sa.Select[Any]:
    """Select the earliest ``due_at`` after ``now``."""
    return (
        sa.select(deliveries.c.due_at)
        .where(deliveries.c.sink == sink, deliveries.c.due_at > now)
        .order_by(deliveries.c.due_at)
        .limit(1)
    )


def oldest(after: int, limit: int) -> sa.Select[Any]:
    """Select the ``last`` position of the next transitions, and ``since``, their least age."""
    found = (
        sa.select(transitions.c.position, transitions.c.own_recorded)
        .where(transitions.c.position > after)
        .order_by(transitions.c.position)
        .limit(limit)
        .subquery()
    )
    since = sa.func.min(found.c.own_recorded, type_=schema.StoredTime)
    return sa.select(sa.func.max(found.c.position).label("last"), since.label("since"))


def events(
    after: int,
    limit: int,
    key: str | None = None,
    kinds: Collection[str] | None = None,
    since: datetime | None = None,
    until: int | None = None,
) -> sa.Select[Any]:
    """Select transitions by position, of one job or of all; ``until`` is the last position."""
    statement = EVENTS.where(transitions.c.position > after).limit(limit)
    if until is not None:
        statement = statement.where(transitions.c.position <= until)
    if kinds is not None:
        statement = statement.where(transitions.c.kind.in_(sorted(kinds)))
    if since is not None:
        statement = statement.where(transitions.c.observed_at >= since)
    if key is None:
        return statement.order_by(transitions.c.position)
    # Within a job the sequence gives the same order, and has an index.
    return statement.where(transitions.c.key == key).order_by(transitions.c.sequence)


def later(sequences: Mapping[str, int]) -> sa.Select[Any]:
    """Select transitions of jobs (by key) later than a sequence of each, in order."""
    newer = (
        sa.and_(transitions.c.key == key, transitions.c.sequence > sequence)
        for key, sequence in sequences.items()
    )
    return EVENTS.where(sa.or_(sa.false(), *newer)).order_by(transitions.c.position)


def history(
    job: str | None, since: datetime | None, kinds: Collection[str] | None, limit: int
) -> sa.Select[Any]:
    """Select the newest transitions first; ``job`` is a key or an id."""
    statement = EVENTS
    if job is not None:
        statement = statement.where(_is_about(transitions, job))
    if since is not None:
        statement = statement.where(transitions.c.observed_at >= since)
    if kinds is not None:
        statement = statement.where(transitions.c.kind.in_(sorted(kinds)))
    return statement.order_by(transitions.c.position.desc()).limit(limit)


def listing(
    sink: str | None,
    status: model.DeliveryStatus | None,
    limit: int,
    job: str | None = None,
    before: int | None = None,
) -> sa.Select[Any]:
    """Select deliveries, newest first; ``job`` is a key or an id, ``before`` a delivery id."""
    statement = DELIVERIES
    if before is not None:
        statement = statement.where(deliveries.c.id < before)
    if sink is not None:
        statement = statement.where(deliveries.c.sink == sink)
    if status is not None:
        statement = statement.where(schema.status_is(status))
    if job is not None:
        statement = statement.where(_is_about(deliveries, job))
    return statement.order_by(deliveries.c.id.desc()).limit(limit)


def settled(
    sink: str,
    statuses: Collection[model.DeliveryStatus],
    since: datetime | None,
    after: int,
    limit: int,
) -> sa.Select[Any]:
    """Select settled deliveries by position later than ``after``, with their events."""
    statement = (
        sa.select(deliveries.c.id, deliveries.c.position, deliveries.c.replayed)
        .add_columns(transitions.c.event)
        .join_from(deliveries, transitions)
        .where(deliveries.c.sink == sink, deliveries.c.position > after)
        .where(sa.or_(*(schema.status_is(status) for status in statuses)))
    )
    if since is not None:
        statement = statement.where(transitions.c.observed_at >= since)
    return statement.order_by(deliveries.c.position).limit(limit)


def _is_about(table: sa.Table, job: str) -> sa.ColumnElement[bool]:
    """Return the condition that a key is ``job``, or ends with it as an id."""
    end = f"/{job}"
    start = sa.func.length(table.c.key) - len(end) + 1
    return sa.or_(table.c.key == job, sa.func.substr(table.c.key, start) == end)
