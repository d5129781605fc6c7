"""The writes of the outbox: settle, park, resume and replay, each in an open transaction.

A line is a (sink, key). Its deliveries go out in the order of their ids, and ``due_at`` is set
on the first pending one alone. It is store time: the end of a pause, or else the time at which
the delivery was made, which is never in the future.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from monitor import model
from monitor.stores import bulk, rows, schema
from monitor.stores.schema import deliveries, sink_state

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from sqlalchemy import Connection


@dataclass(frozen=True, slots=True)
class Settle:
    """The results of attempts, and the store time at which they were known."""

    settlements: tuple[model.Settlement, ...]
    store_time: datetime


@dataclass(frozen=True, slots=True)
class Hasten:
    """A sink whose retries need no longer wait."""

    sink: str


@dataclass(frozen=True, slots=True)
class Park:
    """A sink to park, if any, and its dead deliveries that become pending again."""

    parking: model.Parking | None
    revived: tuple[model.Delivery, ...]


@dataclass(frozen=True, slots=True)
class Resume:
    """A sink that is no longer parked."""

    sink: str


@dataclass(frozen=True, slots=True)
class ReplayDeliveries:
    """Deliveries of one sink to send again, unless they are pending."""

    ids: tuple[int, ...]
    created_at: datetime
    store_time: datetime


# A delivery that another process settled first is not pending, and stays as it is.
_IS_OPEN = sa.and_(
    deliveries.c.id == sa.bindparam("of"), schema.status_is(model.DeliveryStatus.PENDING)
)
_SETTLED = {
    "attempts": deliveries.c.attempts + sa.bindparam("made", type_=sa.Integer),
    "last_error": sa.bindparam("error"),
}
_RETRY = bulk.Bulk(
    sa.update(deliveries).where(_IS_OPEN).values(due_at=sa.bindparam("due"), **_SETTLED),
    *("of", "made", "error", "due"),
)
_CLOSE = bulk.Bulk(
    sa.update(deliveries)
    .where(_IS_OPEN)
    .values(
        status=sa.bindparam("to"),
        settled_at=sa.bindparam("at"),
        own_settled=sa.bindparam("own"),
        due_at=sa.null(),
        **_SETTLED,
    ),
    *("of", "made", "error", "to", "at", "own"),
)

_first = deliveries.alias("first")
ADVANCE = (
    sa.update(deliveries)
    .where(
        deliveries.c.due_at.is_(None),
        deliveries.c.id
        == sa.select(sa.func.min(_first.c.id))
        .where(
            schema.status_is(model.DeliveryStatus.PENDING, _first),
            _first.c.sink == sa.bindparam("of_sink"),
            _first.c.key == sa.bindparam("of_key"),
        )
        .scalar_subquery(),
    )
    .values(due_at=deliveries.c.own_created)
)
_ADVANCE = bulk.Bulk(ADVANCE, "of_sink", "of_key")

_REVIVE = (
    sa.update(deliveries)
    .where(deliveries.c.id == sa.bindparam("of"), schema.status_is(model.DeliveryStatus.DEAD))
    .values(status=model.DeliveryStatus.PENDING.value, settled_at=None)
)
# A revived delivery may come before the one that was first in its line.
_HALT = (
    sa.update(deliveries)
    .where(
        deliveries.c.sink == sa.bindparam("of_sink"),
        deliveries.c.key == sa.bindparam("of_key"),
        schema.status_is(model.DeliveryStatus.PENDING),
    )
    .values(due_at=None)
)
_REPLAYABLE = (
    sa.select(deliveries.c.id, deliveries.c.sink, deliveries.c.key, deliveries.c.position)
    .where(
        deliveries.c.id.in_(sa.bindparam("ids", expanding=True)),
        deliveries.c.status != model.DeliveryStatus.PENDING.value,
    )
    .order_by(deliveries.c.position)
)
_REMOVE = sa.delete(deliveries).where(deliveries.c.id.in_(sa.bindparam("ids", expanding=True)))


def many(
    connection: Connection, statement: sa.Insert | sa.Update | sa.Delete, rows: Sequence[Any]
) -> None:
    """Execute a statement once for each row, if there are any."""
    if rows:
        connection.execute(statement, rows)


def settle(connection: Connection, units: Sequence[Settle]) -> None:
    """Write the results of attempts; a delivery that is settled already stays so.

    The next delivery of each line falls due.
    """
    retries: list[tuple[Any, ...]] = []
    closes: list[tuple[Any, ...]] = []
    lines: list[tuple[str, str]] = []
    for unit in units:
        own = schema.microseconds(unit.store_time)
        for one in unit.settlements:
            made = one.delivery.id, int(one.attempted), rows.short_error(one.error)
            lines.append((one.delivery.sink, one.delivery.key))
            if one.due_at is not None and one.status is model.DeliveryStatus.PENDING:
                retries.append((*made, schema.microseconds(one.due_at)))
            else:
                closes.append((*made, one.status.value, schema.microseconds(one.at), own))
    _RETRY.execute(connection, retries)
    _CLOSE.execute(connection, closes)
    advance(connection, lines)


def advance(connection: Connection, lines: Iterable[tuple[str, str]]) -> None:
    """Let the first pending delivery of each line (sink, key) fall due."""
    _ADVANCE.execute(connection, sorted(set(lines)))


def hasten(connection: Connection, sink: str) -> int:
    """Let the first of each line of a sink fall due at once; return how many waited."""
    first = sa.and_(deliveries.c.sink == sink, deliveries.c.due_at.is_not(None))
    waits = deliveries.c.due_at > deliveries.c.own_created
    hastened = sa.update(deliveries).where(first, waits).values(due_at=deliveries.c.own_created)
    return connection.execute(hastened).rowcount


def resume(connection: Connection, sink: str) -> int:
    """Unpark a sink, and hasten it; return 0 if it was not parked."""
    # Its pauses were set by the failures that parked it.
    hasten(connection, sink)
    gone = sa.delete(sink_state).where(sink_state.c.sink == sink)
    return connection.execute(gone).rowcount


def park(connection: Connection, unit: Park) -> int:
    """Park a sink, and return the dead of ``unit.revived`` to their old places in line."""
    if unit.parking is not None:
        row = {
            "sink": unit.parking.sink,
            "parked_at": unit.parking.at,
            "reason": rows.short_error(unit.parking.reason),
        }
        connection.execute(sa.delete(sink_state).where(sink_state.c.sink == row["sink"]))
        connection.execute(sa.insert(sink_state), row)
    lines = [(one.sink, one.key) for one in unit.revived]
    many(connection, _REVIVE, [{"of": one.id} for one in unit.revived])
    many(connection, _HALT, [{"of_sink": sink, "of_key": key} for sink, key in sorted(set(lines))])
    advance(connection, lines)
    return 1


def replay(connection: Connection, unit: ReplayDeliveries) -> int:
    """Put new deliveries at the end of their lines; return how many."""
    found = connection.execute(_REPLAYABLE, {"ids": list(unit.ids)}).all()
    # New ids: the settlement of an attempt that still runs must not hit the new delivery.
    connection.execute(_REMOVE, {"ids": [row.id for row in found]})
    again = [
        {
            **rows.delivery_row(row.sink, row.key, unit.created_at, unit.store_time),
            "position": row.position,
            "replayed": True,
        }
        for row in found
    ]
    many(connection, sa.insert(deliveries), again)
    advance(connection, [(row.sink, row.key) for row in found])
    return len(found)
