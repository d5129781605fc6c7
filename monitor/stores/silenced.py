"""Silences, acknowledgements, and the release of what was silenced."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson
import sqlalchemy as sa

from monitor import model
from monitor.model import DeliveryStatus, Kind
from monitor.stores import outbox, rows, schema
from monitor.stores.schema import acknowledgements, deliveries, jobs, silences, transitions

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
    from datetime import datetime

    from sqlalchemy import Connection

    StillHeld = Callable[[str, str | None, Mapping[str, Any]], bool]
    Read = Callable[[sa.Executable], Awaitable[Sequence[sa.Row[Any]]]]

AT_ONCE = 200
"""Deliveries that are released in one commit: some 50 ms, for which others wait."""
_TOPICS: Mapping[Kind, tuple[Kind, ...]] = {
    kind: topic
    for topic in (
        (Kind.DISCOVERED, Kind.STATE_CHANGED),
        (Kind.STUCK, Kind.UNSTUCK),
        (Kind.MISSING, Kind.REAPPEARED),
        (Kind.SOURCE_UNAVAILABLE, Kind.SOURCE_RECOVERED),
    )
    for kind in topic
}
"""What a kind reports on: the last of its topic is what is true now."""
_RECOVERIES = frozenset({Kind.UNSTUCK, Kind.REAPPEARED, Kind.SOURCE_RECOVERED})
"""Kinds that mean something only to whoever was sent the trouble before."""
_LASTS = tuple(sorted({Kind.UPDATED.value, Kind.REMINDER.value}))
"""Kinds after which an acknowledgement still holds."""


@dataclass(frozen=True, slots=True)
class KeepSilence:
    """A silence to store, in place of the one of its id."""

    silence: model.Silence


@dataclass(frozen=True, slots=True)
class ForgetSilences:
    """Silences to delete."""

    ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Acknowledge:
    """An acknowledgement to store, if the job is still as it was then."""

    acknowledgement: model.Acknowledgement


@dataclass(frozen=True, slots=True)
class Withdraw:
    """The jobs whose acknowledgements are to be deleted."""

    keys: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class DiscardDeliveries:
    """Deliveries that are dead, and need not be sent."""

    ids: tuple[int, ...]
    at: datetime
    store_time: datetime


@dataclass(slots=True, eq=False)
class Release:
    """The end of some silences: what is still true is sent, all else stays silenced for good.

    ``still_held(key, parent, event)`` is true for what another one holds; ``parent`` is the one of
    the job. It is submitted until ``after`` has reached ``last``: what was held when it was first
    written, and nothing that is held later.
    """

    still_held: StillHeld
    at: datetime
    store_time: datetime
    after: int = 0
    last: int | None = None


Unit = KeepSilence | ForgetSilences | Acknowledge | Withdraw | DiscardDeliveries

_changed_since = transitions.alias("changed_since")
# Those of jobs that have changed since: whoever wrote that may not have come to delete them.
_CURRENT = sa.select(acknowledgements).where(
    ~sa.exists().where(
        _changed_since.c.key == acknowledgements.c.key,
        _changed_since.c.sequence > acknowledgements.c.sequence,
        _changed_since.c.kind.not_in(_LASTS),
    )
)
_IS_HELD = (schema.status_is(DeliveryStatus.SILENCED), deliveries.c.settled_at.is_(None))
_LAST_HELD = sa.select(deliveries.c.id).where(*_IS_HELD).order_by(deliveries.c.id.desc()).limit(1)
_HELD = (
    sa.select(deliveries.c.id, deliveries.c.sink, deliveries.c.key, deliveries.c.position)
    .add_columns(deliveries.c.silenced_by, transitions.c.kind, transitions.c.event)
    .add_columns(jobs.c.snapshot)
    .join_from(deliveries, transitions)
    .outerjoin(jobs, jobs.c.key == deliveries.c.key)
    .where(
        *_IS_HELD, deliveries.c.id > sa.bindparam("after"), deliveries.c.id <= sa.bindparam("to")
    )
    .order_by(deliveries.c.id)
    .limit(sa.bindparam("limit"))
)
_LAST_OF_TOPIC = (
    sa.select(transitions.c.position)
    .where(transitions.c.key == sa.bindparam("of"))
    .where(transitions.c.kind.in_(sa.bindparam("kinds", expanding=True)))
    .order_by(transitions.c.sequence.desc())
    .limit(1)
)
# What the receiver has, or is about to get.
_HEARD = (
    sa.select(transitions.c.event)
    .join_from(transitions, deliveries)
    .where(transitions.c.key == sa.bindparam("of"), deliveries.c.sink == sa.bindparam("by"))
    .where(transitions.c.kind.in_(sa.bindparam("kinds", expanding=True)))
    .where(
        sa.or_(schema.status_is(DeliveryStatus.PENDING), schema.status_is(DeliveryStatus.DELIVERED))
    )
    .order_by(transitions.c.sequence.desc())
    .limit(1)
)
_CLOSE = (
    sa.update(deliveries)
    .where(deliveries.c.id == sa.bindparam("of"))
    .values(settled_at=sa.bindparam("at", type_=schema.StoredTime))
    .values(own_settled=sa.bindparam("own", type_=schema.StoredTime))
)
_REMOVE = sa.delete(deliveries).where(deliveries.c.id == sa.bindparam("of"))
_DISCARD = (
    sa.update(deliveries)
    .where(deliveries.c.id == sa.bindparam("of"), schema.status_is(DeliveryStatus.DEAD))
    .values(status=DeliveryStatus.DISCARDED.value)
    .values(settled_at=sa.bindparam("at", type_=schema.StoredTime))
    .values(own_settled=sa.bindparam("own", type_=schema.StoredTime))
)


def write(connection: Connection, unit: Unit) -> int:
    """Write a unit; return how much it wrote."""
    match unit:
        case KeepSilence(silence):
            _delete(connection, silences.c.id, [silence.id])
            row = {
                "id": silence.id,
                "match": rows.clean(rows.encode(silence.match)),
                "starts_at": silence.starts_at,
                "ends_at": silence.ends_at,
                "author": rows.clean(silence.author),
                "comment": rows.clean(silence.comment),
            }
            connection.execute(sa.insert(silences), row)
            return 1
        case ForgetSilences(ids):
            return _delete(connection, silences.c.id, ids)
        case Acknowledge(made):
            same = sa.select(jobs.c.key).where(
                jobs.c.key == made.key, jobs.c.sequence == made.sequence
            )
            if connection.execute(same).first() is None:
                return 0
            _delete(connection, acknowledgements.c.key, [made.key])
            row = {"key": made.key, "sequence": made.sequence, "at": made.at}
            row |= {"author": rows.clean(made.author), "comment": rows.clean(made.comment)}
            connection.execute(sa.insert(acknowledgements), row)
            return 1
        case Withdraw(keys):
            return _delete(connection, acknowledgements.c.key, keys)
        case DiscardDeliveries(ids, at, own):
            which = [{"of": number, "at": at, "own": own} for number in ids]
            return sum(connection.execute(_DISCARD, each).rowcount for each in which)


def _delete(connection: Connection, column: sa.Column[str], values: Collection[str]) -> int:
    return connection.execute(sa.delete(column.table).where(column.in_(values))).rowcount


@dataclass(frozen=True, slots=True)
class _HeldDelivery:
    """A delivery whose silence is over."""

    id: int
    sink: str
    key: str
    position: int
    silenced_by: str
    topic: tuple[Kind, ...]


def release(connection: Connection, unit: Release) -> int:
    """Send what is still true of the next that nothing holds any longer; return how much that is.

    For each sink and job (or source), the last of each topic counts. It is sent behind what waits
    already, with a new id as in ``outbox.replay``. What comes next needs no other rule: a change
    that is not the last of its topic is not sent.
    """
    last: dict[tuple[str, str, tuple[Kind, ...]], _HeldDelivery] = {}
    closed: list[int] = []
    for each in _free(connection, unit):
        line = (each.sink, each.key, each.topic)
        if each.topic and line in last:
            closed.append(last[line].id)
        if each.topic:
            last[line] = each
        else:
            closed.append(each.id)
    due = [each for each in last.values() if _is_news(connection, each)]
    ids = {each.id for each in due}
    closed += [each.id for each in last.values() if each.id not in ids]
    settled = [{"of": number, "at": unit.at, "own": unit.store_time} for number in closed]
    outbox.many(connection, _CLOSE, settled)
    outbox.many(connection, _REMOVE, [{"of": number} for number in sorted(ids)])
    again = [
        {
            **rows.delivery_row(each.sink, each.key, unit.at, unit.store_time),
            "position": each.position,
            "silenced_by": each.silenced_by,
        }
        for each in sorted(due, key=lambda one: one.position)
    ]
    outbox.many(connection, sa.insert(deliveries), again)
    outbox.advance(connection, [(each.sink, each.key) for each in due])
    return len(due)


def _free(connection: Connection, unit: Release) -> Iterable[_HeldDelivery]:
    """Yield what is held for nothing that lasts, in the order of recording."""
    if unit.last is None:
        unit.last = connection.execute(_LAST_HELD).scalar() or 0
    bounds = {"after": unit.after, "to": unit.last, "limit": AT_ONCE}
    found = connection.execute(_HELD, bounds).all()
    unit.after = found[-1].id if len(found) == AT_ONCE else unit.last
    for row in found:
        parent = orjson.loads(row.snapshot).get("parent") if row.snapshot else None
        if not unit.still_held(row.key, parent, orjson.loads(row.event)):
            topic = _TOPICS.get(Kind(row.kind), ())
            yield _HeldDelivery(row.id, row.sink, row.key, row.position, row.silenced_by, topic)


def _is_news(connection: Connection, held: _HeldDelivery) -> bool:
    """Return whether a held transition is still true, and not known to the sink already."""
    kinds = sorted(kind.value for kind in held.topic)
    newest = connection.execute(_LAST_OF_TOPIC, {"of": held.key, "kinds": kinds}).scalar()
    if newest != held.position:
        return False
    of_it = sa.select(transitions.c.event).where(transitions.c.position == held.position)
    event = orjson.loads(connection.execute(of_it).scalar_one())
    about = {"of": held.key, "by": held.sink, "kinds": kinds}
    found = connection.execute(_HEARD, about).scalar()
    heard = orjson.loads(found)["data"] if found else None
    data = event["data"]
    if data["kind"] in _RECOVERIES:
        return heard is not None and heard["kind"] not in _RECOVERIES
    if heard is None or Kind.STATE_CHANGED not in held.topic:
        return heard is None or heard["kind"] in _RECOVERIES
    # An end is news each time; to a state that is not one, the job may have come back.
    ended = model.Phase(data["current"]["phase"]).terminal
    return bool(ended or heard["current"] != data["current"])


class SilenceStore:
    """The silences and acknowledgements of a ledger."""

    def __init__(
        self,
        submit: Callable[[Unit | Release], Awaitable[int]],
        read: Read,
        now: Callable[[], datetime],
        store_time: Callable[[], datetime],
    ) -> None:
        """``submit`` commits a unit, ``read`` returns the rows of a query."""
        self._submit = submit
        self._read = read
        self._now = now
        self._store_time = store_time

    async def all(self) -> Sequence[model.Silence]:
        """Return every stored silence, in no order."""
        return [
            model.Silence(
                id=row.id,
                match=tuple(orjson.loads(row.match)),
                starts_at=row.starts_at,
                ends_at=row.ends_at,
                author=row.author,
                comment=row.comment,
            )
            for row in await self._read(sa.select(silences))
        ]

    async def keep(self, silence: model.Silence) -> None:
        """Store a silence, in place of the one of its id."""
        await self._submit(KeepSilence(silence))

    async def forget(self, ids: Collection[str]) -> None:
        """Delete silences."""
        await self._submit(ForgetSilences(tuple(ids)))

    async def release(self, still_held: StillHeld) -> int:
        """Send what is still true of all that ``still_held`` does not hold; return how much.

        In bites, between which others write. The first is queued before anything waits here.
        """
        unit = Release(still_held, self._now(), self._store_time())
        many = 0
        while unit.last is None or unit.after < unit.last:
            many += await self._submit(unit)
        return many

    async def acknowledgements(self) -> Sequence[model.Acknowledgement]:
        """Return the acknowledgements of the jobs that have not changed since."""
        return [model.Acknowledgement(**row._asdict()) for row in await self._read(_CURRENT)]

    async def withdraw_ended(self) -> None:
        """Delete what ``acknowledgements`` leaves out, before the proof of that is pruned."""
        current = {each.key for each in await self.acknowledgements()}
        every = await self._read(sa.select(acknowledgements.c.key))
        if gone := [row.key for row in every if row.key not in current]:
            await self.withdraw(gone)

    async def acknowledge(self, made: model.Acknowledgement) -> bool:
        """Store an acknowledgement; return ``False`` if the job has changed meanwhile."""
        return bool(await self._submit(Acknowledge(made)))

    async def withdraw(self, keys: Collection[str]) -> bool:
        """Delete the acknowledgements of some jobs; return ``False`` if there was none."""
        return bool(await self._submit(Withdraw(tuple(keys))))
