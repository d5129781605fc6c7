"""The queries of the ledger; each one is a single statement over an index.

What is compared with ``due_at`` or a column ``own_…`` is store time, see ``store_clock``.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import orjson
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
    from collections.abc import Collection, Mapping, Sequence
    from datetime import datetime

# Keys of jobs and sources sort by their bytes, those of transitions as the database does. Compared
# by their bytes, PostgreSQL would use no index of transitions.
_AS_IN_HISTORY = sa.Text(collation="default").with_variant(sa.Text(), "sqlite")

IS_LIVE, IS_ARCHIVED = sa.text("archived = 0"), sa.text("archived > 0")
"""In the words of the partial indexes."""
UNWATCHED = sa.select(jobs.c.archived).where(jobs.c.archived < 0).limit(1)
SNAPSHOTS = sa.select(jobs.c.snapshot, jobs.c.looked_at)
LEDGER_ID = sa.select(ledger.c.ledger_id)
SOURCES = sa.select(sources)
POSITION = sa.select(ledger.c.position)
STORE_TIME = sa.select(ledger.c.own_time)
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
    .where(schema.has_status(model.DeliveryStatus.DEAD))
    .group_by(deliveries.c.sink)
)
PARKED_SINKS = sa.select(sink_state.c.sink)
COUNTS = sa.select(
    *(jobs.c.type, jobs.c.account, jobs.c.region, jobs.c.phase), sa.func.count().label("many")
).group_by(jobs.c.type, jobs.c.account, jobs.c.region, jobs.c.phase)
EVENTS = sa.select(transitions.c.position, transitions.c.event)
# The columns in the order of the values.
DELIVERIES = sa.select(
    *(
        (transitions if name in {"event_id", "kind"} else deliveries).c[name]
        for name in model.StoredDelivery._fields
    )
).join_from(deliveries, transitions)


@cache
def sinks_with(status: model.DeliveryStatus) -> sa.Select[Any]:
    """Select each sink with deliveries of a status: one step in the index leads to the next."""
    least = sa.select(sa.func.min(deliveries.c.sink).label("sink")).where(schema.has_status(status))
    found = least.cte(recursive=True)
    following = least.where(deliveries.c.sink > found.c.sink).scalar_subquery()
    found = found.union_all(sa.select(following).where(found.c.sink.is_not(None)))
    return sa.select(found.c.sink).where(found.c.sink.is_not(None))


def last_delivered(sink: str, among: int) -> sa.Select[Any]:
    """Select the time of the last delivery to a sink ``among`` the newest that were delivered."""
    newest = (
        sa.select(deliveries.c.own_settled)
        .where(schema.has_status(model.DeliveryStatus.DELIVERED), deliveries.c.sink == sink)
        .order_by(deliveries.c.id.desc())
        .limit(among)
        .subquery()
    )
    return sa.select(sa.func.max(newest.c.own_settled).label("at"))


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
    if key is not None:
        conditions = [transitions.c.key == key, transitions.c.position > after]
        if until is not None:
            conditions.append(transitions.c.position <= until)
        if kinds is not None:
            conditions.append(transitions.c.kind.in_(sorted(kinds)))
        if since is not None:
            conditions.append(transitions.c.observed_at >= since)
        # Within a job the sequence gives the same order, and has an index.
        return EVENTS.where(*conditions).order_by(transitions.c.sequence).limit(limit)
    # Both bounds of a position would seem better to SQLite than the one of a time.
    position = transitions.c.position if since is None else transitions.c.position + 0
    later_than = [position > after]
    if until is not None:
        later_than.append(position <= until)
    if since is not None:
        return _observed(since, later_than, kinds, limit, position)
    return _of_kinds(later_than, kinds, limit, position)


def near(
    after: int,
    until: int,
    kinds: Collection[str] | None,
    since: datetime,
    limit: int,
    *,
    newest: bool = False,
) -> sa.Select[Any]:
    """Select transitions by position, of which there are few; ``newest`` ones first."""
    statement = EVENTS.where(
        transitions.c.position > after,
        transitions.c.position <= until,
        transitions.c.observed_at >= since,
    )
    if kinds is not None:
        statement = statement.where(transitions.c.kind.in_(sorted(kinds)))
    order = transitions.c.position.desc() if newest else transitions.c.position
    return statement.order_by(order).limit(limit)


def _of_kinds(
    conditions: Sequence[sa.ColumnElement[bool]],
    kinds: Collection[str] | None,
    limit: int,
    order: sa.ColumnElement[Any],
) -> sa.Select[Any]:
    """Select transitions in the order of their positions; those of a kind are a page of each."""
    if not kinds:
        chosen = EVENTS.where(*conditions) if kinds is None else EVENTS.where(sa.false())
        return chosen.order_by(order).limit(limit)
    pages = [
        sa.select(transitions.c.position)
        .where(transitions.c.kind == kind, *conditions)
        .order_by(order)
        .limit(limit)
        for kind in sorted(kinds)
    ]
    return EVENTS.where(transitions.c.position.in_(together(pages))).order_by(order).limit(limit)


def together(pages: Sequence[sa.Select[Any]]) -> sa.Select[Any]:
    """Select what any of ``pages``, which have limits of their own, selects."""
    if len(pages) == 1:
        return pages[0]
    return sa.select(sa.union_all(*(sa.select(page.subquery()) for page in pages)).subquery())


def _observed(
    since: datetime,
    conditions: Sequence[sa.ColumnElement[bool]],
    kinds: Collection[str] | None,
    limit: int,
    order: sa.ColumnElement[Any],
) -> sa.Select[Any]:
    """Select transitions by time, of which there are few; ``order`` is of no index, see below."""
    found = sa.select(transitions.c.position).where(transitions.c.observed_at >= since, *conditions)
    if kinds is not None:
        # All of a kind are more than those since a time; the index by time has the kind, too.
        found = found.where(transitions.c.kind.concat("").in_(sorted(kinds)))
    # SQLite would else follow the positions, through all that was observed before.
    return EVENTS.where(transitions.c.position.in_(found.order_by(order).limit(limit))).order_by(
        order
    )


def later(sequences: Mapping[str, int]) -> sa.Select[Any]:
    """Select transitions of jobs (by key) later than a sequence of each, in order."""
    newer = (
        sa.and_(transitions.c.key == key, transitions.c.sequence > sequence)
        for key, sequence in sequences.items()
    )
    return EVENTS.where(sa.or_(sa.false(), *newer)).order_by(transitions.c.position)


def history(
    job: str | None,
    since: datetime | None,
    kinds: Collection[str] | None,
    limit: int,
) -> sa.Select[Any]:
    """Select the newest transitions first, of the jobs of ``keys_of`` or of all."""
    newest = transitions.c.position.desc()
    if job is not None:
        statement = EVENTS.where(transitions.c.key.in_(keys_of(job)))
        if since is not None:
            statement = statement.where(transitions.c.observed_at >= since)
        if kinds is not None:
            statement = statement.where(transitions.c.kind.in_(sorted(kinds)))
        # The plus keeps SQLite from following the positions, through the history of all jobs.
        return statement.order_by((transitions.c.position + 0).desc()).limit(limit)
    if since is not None:
        return _observed(since, (), kinds, limit, (transitions.c.position + 0).desc())
    return _of_kinds((), kinds, limit, newest)


def keys_of(job: str) -> sa.Select[Any]:
    """Select the keys of jobs, or sources, by key or id, or by the last part of an id of several.

    A source has its region in place of an id. A subquery, as any number of jobs may have it: more
    than a statement takes parameters.
    """
    end = f"/{job}"

    def ends(column: sa.Column[str]) -> sa.ColumnElement[bool]:
        return sa.func.substr(column, sa.func.length(column) - len(end) + 1) == end

    found = sa.union(
        sa.select(jobs.c.key).where(jobs.c.key == job),
        sa.select(jobs.c.key).where(jobs.c.id == job),
        sa.select(jobs.c.key).where(sa.text("id LIKE '%/%'"), ends(jobs.c.id)),
        sa.select(sources.c.key).where(sa.or_(sources.c.key == job, ends(sources.c.key))),
    ).subquery()
    return sa.select(sa.cast(found.c.key, _AS_IN_HISTORY))


def listing(
    lines: Sequence[tuple[str, model.DeliveryStatus]] | None,
    limit: int,
    job: str | None = None,
    before: int | None = None,
) -> sa.Select[Any]:
    """Select deliveries, newest first: of some sinks and statuses, and of the jobs of ``keys_of``.

    ``before`` is the id of a delivery.
    """
    statement = DELIVERIES
    earlier = [] if before is None else [deliveries.c.id < before]
    if job is not None:
        of = sa.select(transitions.c.position).where(transitions.c.key.in_(keys_of(job)))
        statement = statement.where(deliveries.c.position.in_(of), *earlier)
        if lines is not None:
            pairs = (
                sa.and_(deliveries.c.sink == sink, schema.status_is(status))
                for sink, status in lines
            )
            statement = statement.where(sa.or_(sa.false(), *pairs))
        return statement.order_by((deliveries.c.id + 0).desc()).limit(limit)
    newest = deliveries.c.id.desc()
    if not lines:
        chosen = earlier if lines is None else [sa.false()]
        return statement.where(*chosen).order_by(newest).limit(limit)
    wanted = [
        (deliveries.c.sink == sink, schema.has_status(status), *earlier) for sink, status in lines
    ]
    # Of those pending no index has the order: their ids alone are sorted.
    if len(wanted) == 1 and lines[0][1] is not model.DeliveryStatus.PENDING:
        return statement.where(*wanted[0]).order_by(newest).limit(limit)
    pages = [
        sa.select(deliveries.c.id).where(*each).order_by(newest).limit(limit) for each in wanted
    ]
    return statement.where(deliveries.c.id.in_(together(pages))).order_by(newest).limit(limit)


def jobs_of(
    place: tuple[str, str, str],
    phases: Collection[str],
    after: str,
    limit: int,
    text: str | None = None,
) -> sa.Select[Any]:
    """Select jobs of one place by id, later than the id ``after``; see ``LedgerReader.jobs``."""
    type_, account, region = place
    conditions = [jobs.c.type == type_, jobs.c.account == account, jobs.c.region == region]
    conditions.append(jobs.c.id > after)
    if text is not None:
        conditions.append(has_text(text))
    pages = [
        sa.select(jobs.c.key)
        .where(jobs.c.phase == phase, *conditions)
        .order_by(jobs.c.id)
        .limit(limit)
        for phase in sorted(phases)
    ]
    return SNAPSHOTS.where(jobs.c.key.in_(together(pages))).order_by(jobs.c.id).limit(limit)


def snapshots(after: str, limit: int) -> sa.Select[Any]:
    """Select jobs by their keys, which come after ``after``."""
    return SNAPSHOTS.where(jobs.c.key > after).order_by(jobs.c.key).limit(limit)


def has_text(text: str) -> sa.ColumnElement[bool]:
    """Select jobs with a text in the key or in the snapshot, whatever its case.

    Of other than ASCII, a database knows no case: any job may have it.
    """
    if not text.isascii():
        return sa.true()
    # A snapshot is JSON, in which quotes and the like are escaped.
    inside = orjson.dumps(text)[1:-1].decode()
    return sa.or_(
        jobs.c.key.icontains(text, autoescape=True),
        jobs.c.snapshot.icontains(inside, autoescape=True),
    )


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
