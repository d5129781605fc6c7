"""The questions put to the ledger; each one is a single statement over an index."""

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


def snapshot(key: str) -> sa.Select[Any]:
    """One job."""
    return SNAPSHOTS.where(jobs.c.key == key)


def due(sink: str, now: datetime, limit: int) -> sa.Select[Any]:
    """First deliveries of their lines that are due; only those have ``due_at``, in own time."""
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
    """When the next of the first deliveries falls due after ``now``."""
    return (
        sa.select(deliveries.c.due_at)
        .where(deliveries.c.sink == sink, deliveries.c.due_at > now)
        .order_by(deliveries.c.due_at)
        .limit(1)
    )


def pending() -> sa.Select[Any]:
    """How many wait for each sink, and since when, in own time."""
    return (
        sa.select(
            deliveries.c.sink,
            sa.func.count().label("many"),
            sa.func.min(deliveries.c.own_created).label("oldest"),
        )
        .where(schema.status_is(model.DeliveryStatus.PENDING))
        .group_by(deliveries.c.sink)
    )


def tried() -> sa.Select[Any]:
    """Since when each sink has not taken what was tried and still waits, and what that met."""
    return (
        sa.select(
            deliveries.c.sink,
            sa.func.min(deliveries.c.own_created).label("since"),
            sa.func.max(deliveries.c.own_created).label("last"),
            sa.func.max(deliveries.c.last_error).label("error"),
        )
        .where(schema.status_is(model.DeliveryStatus.PENDING), deliveries.c.attempts > sa.text("0"))
        .group_by(deliveries.c.sink)
    )


def dead() -> sa.Select[Any]:
    """How many are dead for each sink."""
    return (
        sa.select(deliveries.c.sink, sa.func.count().label("many"))
        .where(schema.status_is(model.DeliveryStatus.DEAD))
        .group_by(deliveries.c.sink)
    )


def taken() -> sa.Select[Any]:
    """When each sink last took something, in own time; reads every delivery."""
    return (
        sa.select(deliveries.c.sink, sa.func.max(deliveries.c.own_settled).label("at"))
        .where(schema.status_is(model.DeliveryStatus.DELIVERED))
        .group_by(deliveries.c.sink)
    )


def forgettable(before: datetime, limit: int) -> sa.Select[Any]:
    """Positions of transitions with which nothing was or will be done since ``before`` (own)."""
    unsettled = sa.exists().where(
        deliveries.c.position == transitions.c.position,
        sa.or_(deliveries.c.settled_at.is_(None), deliveries.c.own_settled >= before),
    )
    return (
        sa.select(transitions.c.position)
        .where(transitions.c.own_recorded < before, ~unsettled)
        .order_by(transitions.c.own_recorded)
        .limit(limit)
    )


def events(
    after: int,
    limit: int,
    key: str | None = None,
    kinds: Collection[str] | None = None,
    since: datetime | None = None,
    until: int | None = None,
) -> sa.Select[Any]:
    """Transitions by position, of one job or of all; ``until`` is the last position."""
    statement = sa.select(transitions.c.position, transitions.c.event)
    statement = statement.where(transitions.c.position > after).limit(limit)
    if until is not None:
        statement = statement.where(transitions.c.position <= until)
    if kinds is not None:
        statement = statement.where(transitions.c.kind.in_(sorted(kinds)))
    if since is not None:
        statement = statement.where(transitions.c.observed_at >= since)
    if key is None:
        return statement.order_by(transitions.c.position)
    # Within a job the sequence is the same order, and there is an index for it.
    return statement.where(transitions.c.key == key).order_by(transitions.c.sequence)


def later(sequences: Mapping[str, int]) -> sa.Select[Any]:
    """Transitions of jobs (by key) later than a sequence of each, in order."""
    wanted = (
        sa.and_(transitions.c.key == key, transitions.c.sequence > sequence)
        for key, sequence in sequences.items()
    )
    return (
        sa.select(transitions.c.position, transitions.c.event)
        .where(sa.or_(sa.false(), *wanted))
        .order_by(transitions.c.position)
    )


def last_of(key: str, kinds: Collection[str]) -> sa.Select[Any]:
    """Return the last transition of a job that is of one of these kinds."""
    return (
        sa.select(transitions.c.position, transitions.c.event)
        .where(transitions.c.key == key, transitions.c.kind.in_(sorted(kinds)))
        .order_by(transitions.c.sequence.desc())
        .limit(1)
    )


def history(
    job: str | None, since: datetime | None, kinds: Collection[str] | None, limit: int
) -> sa.Select[Any]:
    """Return the newest transitions first; ``job`` is a key or an id."""
    statement = sa.select(transitions.c.position, transitions.c.event)
    if job is not None:
        statement = statement.where(_is_about(transitions, job))
    if since is not None:
        statement = statement.where(transitions.c.observed_at >= since)
    if kinds is not None:
        statement = statement.where(transitions.c.kind.in_(sorted(kinds)))
    return statement.order_by(transitions.c.position.desc()).limit(limit)


_STANDING = sa.select(
    *(deliveries.c[name] for name in ("id", "position", "sink", "key", "status", "attempts")),
    *(deliveries.c[name] for name in ("created_at", "due_at", "settled_at", "last_error")),
    deliveries.c.replayed,
    transitions.c.event_id,
    transitions.c.kind,
).join_from(deliveries, transitions)


def listing(
    sink: str | None,
    status: model.DeliveryStatus | None,
    limit: int,
    job: str | None = None,
    before: int | None = None,
) -> sa.Select[Any]:
    """Deliveries as they stand, newest first; ``job`` is a key or an id, ``before`` a number."""
    statement = _STANDING
    if before is not None:
        statement = statement.where(deliveries.c.id < before)
    if sink is not None:
        statement = statement.where(deliveries.c.sink == sink)
    if status is not None:
        statement = statement.where(schema.status_is(status))
    if job is not None:
        statement = statement.where(_is_about(deliveries, job))
    return statement.order_by(deliveries.c.id.desc()).limit(limit)


def deliveries_of(positions: Collection[int]) -> sa.Select[Any]:
    """Deliveries of some transitions as they stand, by sink."""
    wanted = deliveries.c.position.in_(sorted(positions))
    return _STANDING.where(wanted).order_by(deliveries.c.sink, deliveries.c.position)


def standing(delivery: int) -> sa.Select[Any]:
    """One delivery as it stands, with its event."""
    return _STANDING.add_columns(transitions.c.event).where(deliveries.c.id == delivery)


STORED_SINKS = sa.union(sa.select(deliveries.c.sink), sa.select(sink_state.c.sink))


def places() -> sa.CompoundSelect[Any]:
    """Where the known jobs and sources are; a source has no type."""
    none = sa.literal("").label("type")
    return sa.union(
        sa.select(jobs.c.type, jobs.c.account, jobs.c.region),
        sa.select(none, sources.c.account, sources.c.region),
    )


def settled(
    sink: str,
    statuses: Collection[model.DeliveryStatus],
    since: datetime | None,
    after: int,
    limit: int,
) -> sa.Select[Any]:
    """Deliveries that came to their end, by position later than ``after``, with their events."""
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
    """Compare with a whole key, or with the id at the end of one."""
    end = f"/{job}"
    start = sa.func.length(table.c.key) - len(end) + 1
    return sa.or_(table.c.key == job, sa.func.substr(table.c.key, start) == end)
