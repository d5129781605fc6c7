"""The replicas that share one PostgreSQL: who lives, and who owns which source and sink.

Each resource has an advisory lock. Its owner holds the lock in the session that writes, so that it
loses the lock and the means to write in the same moment: the server ends both. The tables say
what a lock cannot: who its holder is, what the last owner knew, and who has stopped without a word.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from hashlib import sha256
from typing import TYPE_CHECKING, Any, TypeAlias
from uuid import uuid4

import orjson
import sqlalchemy as sa

from monitor import errors, model
from monitor.stores import schema
from monitor.stores.schema import owned_resources, replicas

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
    from datetime import datetime

    from sqlalchemy import Connection

CHANNEL = "job_monitor"
"""Where replicas tell each other what they have written."""
STALE = 10.0
"""Seconds without a new sign of life after which a replica is put out of the way."""
FORGET_AFTER = 86400 * 10**6
"""Microseconds after which the row of a replica that has stopped without a word is deleted."""
_MOST_UNLOCKS = 10
"""A lock that was taken twice must be given back twice."""


@dataclass(eq=False, slots=True)
class Beat:
    """A sign of life of a replica, with the changed ``states`` of what it owns.

    ``ended`` are the sessions of replicas that show none: they are ended. ``seen`` is filled in.
    """

    replica: str
    facts: str
    states: Mapping[str, str]
    ended: Sequence[model.Replica] = ()
    seen: Sequence[model.Replica] = ()


@dataclass(eq=False, slots=True)
class Own:
    """Resources to take, unless another replica has them; ``taken`` is filled in."""

    replica: str
    resources: Sequence[str]
    at: datetime
    taken: dict[str, model.FormerOwner] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class GiveUp:
    """Resources that a replica no longer owns, with what their next owner should know."""

    replica: str
    states: Mapping[str, str]
    at: datetime


@dataclass(frozen=True, slots=True)
class Leave:
    """A replica that ends."""

    replica: str


@dataclass(frozen=True, slots=True)
class Send:
    """A message to all replicas."""

    message: str


Unit: TypeAlias = Beat | Own | GiveUp | Leave | Send
UNITS = (Beat, Own, GiveUp, Leave, Send)

_SESSION = """
    SELECT pid::bigint AS pid, (extract(epoch FROM backend_start) * 1000000)::bigint AS began,
        usename AS role
    FROM pg_stat_activity
"""
_SERVER_TIME = "(extract(epoch FROM clock_timestamp()) * 1000000)::bigint"
_JOIN = sa.text(
    "INSERT INTO replicas SELECT :id, :name, :version, :started, "  # noqa: S608 -- all ours
    f"{_SERVER_TIME}, 0, 0, pid, began, '{{}}' FROM ({_SESSION}) own WHERE pid = pg_backend_pid()"
)
_SIGN = sa.text(
    f"UPDATE replicas SET seen_at = {_SERVER_TIME}, beat = beat + 1, facts = :facts,"  # noqa: S608 -- as above
    f" pid = own.pid, session_began = own.began FROM ({_SESSION}) own"
    " WHERE own.pid = pg_backend_pid() AND id = :id"
)
_LIVE = sa.text(
    "SELECT replicas.*, own.pid IS NOT NULL AS connected FROM replicas"  # noqa: S608 -- as above
    f" LEFT JOIN ({_SESSION}) own ON own.pid = replicas.pid AND own.began = session_began"
)
_SILENT = sa.text(f"SELECT id, ({_SERVER_TIME} - seen_at) / 1000000.0 AS seconds FROM replicas")  # noqa: S608
_END = sa.text(
    f"SELECT pg_terminate_backend(pid::int) FROM ({_SESSION}) own"  # noqa: S608 -- as above
    " WHERE pid = :pid AND began = :began AND role = current_user"
    # It may have shown one since it was seen to show none.
    " AND EXISTS (SELECT 1 FROM replicas WHERE id = :id AND beat = :beat)"
)
_FORGET = sa.text(
    f"DELETE FROM replicas WHERE seen_at < {_SERVER_TIME} - {FORGET_AFTER}"  # noqa: S608 -- as above
    f" AND NOT EXISTS (SELECT 1 FROM ({_SESSION}) own"
    " WHERE own.pid = replicas.pid AND own.began = session_began)"
)
_HOLDERS = sa.text(
    "SELECT (classid::bigint << 32) | objid::bigint AS number, pid::bigint AS pid FROM pg_locks"
    " WHERE locktype = 'advisory' AND objsubid = 1 AND granted"
    " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
)
_NAMES = sa.select(owned_resources.c.resource)
_LOCK = sa.select(sa.func.pg_try_advisory_lock(sa.bindparam("number", type_=sa.BigInteger)))
_UNLOCK = sa.select(sa.func.pg_advisory_unlock(sa.bindparam("number", type_=sa.BigInteger)))
_HELD_BY_US = sa.text(
    "SELECT true FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 1 AND granted"
    " AND pid = pg_backend_pid() AND ((classid::bigint << 32) | objid::bigint) = :number"
)
# Its last sign of life tells until when an owner lived that has not given the resource up.
_FORMER = (
    sa.select(
        owned_resources.c.replica,
        owned_resources.c.state,
        sa.func.coalesce(replicas.c.seen_at, owned_resources.c.alive_at).label("alive_at"),
    )
    .select_from(owned_resources.outerjoin(replicas, replicas.c.id == owned_resources.c.replica))
    .where(owned_resources.c.resource == sa.bindparam("of"))
)
_TAKE = sa.text(
    "INSERT INTO owned_resources (resource, replica, since, alive_at, state)"
    " VALUES (:of, :by, :at, :at, '') ON CONFLICT (resource)"
    " DO UPDATE SET replica = :by, since = :at, alive_at = :at"
)
_is_ours = sa.and_(
    owned_resources.c.resource == sa.bindparam("of"),
    owned_resources.c.replica == sa.bindparam("by"),
)
_REPORT = sa.update(owned_resources).where(_is_ours).values(state=sa.bindparam("to"))
_GIVE_UP = (
    sa.update(owned_resources)
    .where(_is_ours)
    .values(replica="", alive_at=sa.bindparam("at"), state=sa.bindparam("to"))
)
_LOCK_LEDGER = sa.select(schema.ledger.c.position).with_for_update()
_OURS = (
    sa.select(sa.func.count())
    .select_from(owned_resources)
    .where(owned_resources.c.replica == sa.bindparam("by"))
)
_MARK = sa.select(replicas.c.mark).where(replicas.c.id == sa.bindparam("of"))
_MOVE_MARK = (
    sa.update(replicas).where(replicas.c.id == sa.bindparam("of")).values(mark=sa.bindparam("to"))
)
_NOTIFY = sa.select(sa.func.pg_notify(CHANNEL, sa.bindparam("payload", type_=sa.Text)))


def lock_number(resource: str) -> int:
    """Return the number of the advisory lock of a resource, which must never change."""
    return int.from_bytes(sha256(resource.encode()).digest()[:8], signed=True)


def write(connection: Connection, unit: Unit) -> int:
    """Write a unit; return how much it wrote."""
    match unit:
        case Beat():
            return _beat(connection, unit)
        case Own():
            return _own(connection, unit)
        case GiveUp():
            for resource, state in unit.states.items():
                about = {"of": resource, "by": unit.replica, "to": state, "at": unit.at}
                connection.execute(_GIVE_UP, about)
                for _ in range(_MOST_UNLOCKS):
                    # The server warns of each that is not held; so it is asked first.
                    number = {"number": lock_number(resource)}
                    if not connection.scalar(_HELD_BY_US, number):
                        break
                    connection.execute(_UNLOCK, number)
            return len(unit.states)
        case Leave():
            gone = sa.delete(replicas).where(replicas.c.id == unit.replica)
            return connection.execute(gone).rowcount
        case Send(message):
            connection.execute(_NOTIFY, {"payload": message})
            return 1


def _beat(connection: Connection, unit: Beat) -> int:
    for each in unit.ended:
        about = {"pid": each.pid, "began": each.session_began, "id": each.id, "beat": each.beat}
        connection.execute(_END, about)
    written = connection.execute(_SIGN, {"id": unit.replica, "facts": unit.facts}).rowcount
    if not written:
        raise errors.StoreError("this replica was forgotten by the others (start again)")
    for resource, state in unit.states.items():
        connection.execute(_REPORT, {"of": resource, "by": unit.replica, "to": state})
    connection.execute(_FORGET)
    unit.seen = members(connection)
    return written


def members(connection: Connection) -> Sequence[model.Replica]:
    """Return all replicas, in no order; the owner of a resource is the one that holds its lock."""
    names = {lock_number(name): name for (name,) in connection.execute(_NAMES)}
    owned: dict[int, list[str]] = {}
    for number, pid in connection.execute(_HOLDERS):
        if number in names:
            owned.setdefault(pid, []).append(names[number])
    return [_replica(row, owned.get(row.pid, ())) for row in connection.execute(_LIVE)]


def with_silence(connection: Connection) -> Sequence[tuple[model.Replica, float]]:
    """Return all replicas, each with the seconds since its last sign of life."""
    found = members(connection)
    # By the clock of the server, which wrote the signs of life.
    silent = {row.id: float(row.seconds) for row in connection.execute(_SILENT)}
    return [(one, silent[one.id]) for one in found if one.id in silent]


def _replica(row: sa.Row[Any], owned: Sequence[str]) -> model.Replica:
    facts = orjson.loads(row.facts)
    return model.Replica(
        id=row.id,
        name=row.name,
        version=row.version,
        started_at=schema.from_microseconds(row.started_at),
        seen_at=schema.from_microseconds(row.seen_at),
        beat=row.beat,
        pid=row.pid,
        session_began=row.session_began,
        connected=row.connected,
        generation=facts.get("generation", ""),
        wants=tuple(facts.get("wants", ())),
        owned=tuple(sorted(owned)) if row.connected else (),
    )


def _own(connection: Connection, unit: Own) -> int:
    unit.taken.clear()
    at = schema.microseconds(unit.at)
    for resource in unit.resources:
        if not connection.scalar(_LOCK, {"number": lock_number(resource)}):
            continue
        row = connection.execute(_FORMER, {"of": resource}).first()
        unit.taken[resource] = model.FormerOwner(
            replica=row.replica if row else "",
            alive_at=row.alive_at if row else None,
            state=row.state if row else "",
        )
        connection.execute(_TAKE, {"of": resource, "by": unit.replica, "at": at})
    return len(unit.taken)


class ReplicaStore:
    """This process among the replicas of one store."""

    def __init__(
        self,
        submit: Callable[[Unit], Awaitable[int]],
        read: Callable[[sa.Executable], Awaitable[Sequence[sa.Row[Any]]]],
        now: Callable[[], datetime],
    ) -> None:
        """``submit`` commits a unit, ``read`` returns the rows of a query."""
        self.id = uuid4().hex
        """The identity of this process."""
        self._submit = submit
        self._read = read
        self._now = now
        self._held: set[str] = set()

    def still_owns(self, connection: Connection) -> bool:
        """Return whether nobody has taken anything of what this process took.

        It may have been, while the session was lost: what only an owner may write is then old.
        """
        # Locked first: whoever takes a resource writes its row under the same lock.
        connection.execute(_LOCK_LEDGER)
        return int(connection.scalar(_OURS, {"by": self.id}) or 0) >= len(self._held)

    def notify(self, connection: Connection, topics: Sequence[str]) -> None:
        """Tell all replicas of what changes, once the open transaction is committed."""
        message = {"from": self.id, "topics": topics}
        connection.execute(_NOTIFY, {"payload": orjson.dumps(message).decode()})

    def join(self, connection: Connection, name: str, version: str) -> None:
        """Enter this process in an open transaction."""
        started = schema.microseconds(self._now())
        about = {"id": self.id, "name": name, "version": version, "started": started}
        connection.execute(_JOIN, about)

    async def beat(
        self, facts: Mapping[str, Any], states: Mapping[str, str], ended: Sequence[model.Replica]
    ) -> Sequence[model.Replica]:
        """Give a sign of life, and end the sessions of some others; return all replicas."""
        unit = Beat(self.id, orjson.dumps(facts).decode(), states, ended)
        await self._submit(unit)
        return unit.seen

    async def own(self, resources: Collection[str]) -> Mapping[str, model.FormerOwner]:
        """Take what no other replica holds; return the former owner of each that was taken."""
        unit = Own(self.id, sorted(resources), self._now())
        await self._submit(unit)
        self._held |= unit.taken.keys()
        return unit.taken

    def hold(self, resources: Collection[str]) -> None:
        """Note that resources are owned, as all that was written of them has been read again."""
        self._held |= set(resources)

    def drop(self, resources: Collection[str]) -> None:
        """Note that others have taken resources, while the session was lost."""
        self._held -= set(resources)

    async def give_up(self, states: Mapping[str, str]) -> None:
        """Let others own resources, and keep what they should know of each."""
        self._held -= states.keys()
        await self._submit(GiveUp(self.id, states, self._now()))

    async def leave(self) -> None:
        """Delete this process from the replicas."""
        await self._submit(Leave(self.id))

    async def states(self) -> Mapping[str, tuple[str, str]]:
        """Return (replica, state) of each resource, as its last owner reported."""
        found = await self._read(sa.select(owned_resources))
        return {row.resource: (row.replica, row.state) for row in found}

    async def send(self, message: Mapping[str, Any]) -> None:
        """Send a message to all replicas, this one among them; it may be lost."""
        await self._submit(Send(orjson.dumps({"from": self.id, **message}).decode()))


def read_mark(connection: Connection, replica: str) -> int | None:
    """Return how many commits a replica has made; ``None`` if it is not known any more."""
    found: int | None = connection.scalar(_MARK, {"of": replica})
    return found


def move_mark(connection: Connection, replica: str, mark: int) -> None:
    """Count the commit of the open transaction."""
    connection.execute(_MOVE_MARK, {"of": replica, "to": mark})
