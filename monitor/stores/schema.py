"""The tables of the ledger, as the newest migration leaves them.

Times are integers, microseconds since 1970 in UTC, so that they sort and compare the
same in every database. JSON is kept as text, byte for byte as it was written.

There are two kinds of time. Most columns hold the wall clock's, for people to read. ``due_at`` and
the columns ``own_…`` decide when something is sent, given up or deleted. They hold store time,
which does not jump when somebody sets the wall clock (``store_clock.py``).
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import sqlalchemy as sa

if TYPE_CHECKING:
    from sqlalchemy.engine import Dialect

    from monitor.model import DeliveryStatus

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def microseconds(moment: datetime) -> int:
    """Return a time in the form in which it is stored."""
    return (moment - _EPOCH) // _MICROSECOND


def from_microseconds(value: int) -> datetime:
    """Return a time as it was before it was stored."""
    return _EPOCH + value * _MICROSECOND


class StoredTime(sa.TypeDecorator[datetime]):
    """An aware datetime, stored as microseconds since 1970 in UTC; exact both ways."""

    impl = sa.BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> int | None:  # noqa: ARG002
        """Return the microseconds since 1970."""
        return None if value is None else microseconds(value)

    def process_result_value(self, value: int | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """Return the time in UTC."""
        return None if value is None else from_microseconds(value)


# SQLite numbers rows by itself only where the type is literally INTEGER.
_ROW_ID = sa.BigInteger().with_variant(sa.Integer, "sqlite")

_BEFORE = sa.text("0")
"""The store time of rows from before there was one: they count from its beginning."""

metadata = sa.MetaData()

REVISION = "0010"
"""The newest step in ``migrations/``, after which a database has these tables."""

# One row: the identity of the ledger, the position of its last transition, the store time at its
# beginning and at the last commit, and the wall clock at the last commit.
ledger = sa.Table(
    "ledger",
    metadata,
    sa.Column("ledger_id", sa.Text, primary_key=True),
    sa.Column("position", sa.BigInteger, nullable=False),
    sa.Column("own_began", StoredTime),
    sa.Column("own_time", StoredTime),
    sa.Column("wall_time", StoredTime),
)

_COMPOUND = sa.text("id LIKE '%/%'")
_LIVE = sa.text("archived = 0")
_ARCHIVED = sa.text("archived > 0")

# In the order of its code points, in which Python sorts too: lists of jobs are merged there.
_SORTED_TEXT = sa.Text(collation="C").with_variant(sa.Text(), "sqlite")

# The last snapshot of each job; looked_at is newer than the one inside it.
jobs = sa.Table(
    "jobs",
    metadata,
    sa.Column("key", _SORTED_TEXT, primary_key=True),
    sa.Column("type", sa.Text, nullable=False),
    sa.Column("account", sa.Text, nullable=False),
    sa.Column("region", sa.Text, nullable=False),
    sa.Column("id", _SORTED_TEXT, nullable=False),
    sa.Column("snapshot", sa.Text, nullable=False),
    sa.Column("state", _SORTED_TEXT, nullable=False),
    sa.Column("phase", sa.Text, nullable=False),
    sa.Column("sequence", sa.BigInteger, nullable=False),
    sa.Column("first_seen_at", StoredTime, nullable=False),
    sa.Column("changed_at", StoredTime, nullable=False),
    sa.Column("looked_at", StoredTime, nullable=False),
    # 0 if a daemon reads it when it starts: see ``model.Archived``.
    sa.Column("archived", sa.SmallInteger, nullable=False, server_default=_BEFORE),
    # Of one place and phase, by id; without the rest it counts them.
    sa.Index("jobs_place", "type", "account", "region", "phase", "id", "archived"),
    sa.Index("jobs_id", "id"),
    sa.Index("jobs_compound", "id", sqlite_where=_COMPOUND),
    sa.Index("jobs_live", "key", sqlite_where=_LIVE),
    # The orders in which archived jobs are listed.
    sa.Index("jobs_archived_key", "phase", "key", sqlite_where=_ARCHIVED),
    *(
        sa.Index(f"jobs_archived_{name}", "phase", name, "key", sqlite_where=_ARCHIVED)
        for name in ("changed_at", "first_seen_at", "looked_at", "state")
    ),
)

sources = sa.Table(
    "sources",
    metadata,
    sa.Column("key", _SORTED_TEXT, primary_key=True),
    sa.Column("service", sa.Text, nullable=False),
    sa.Column("account", sa.Text, nullable=False),
    sa.Column("region", sa.Text, nullable=False),
    sa.Column("available", sa.Boolean, nullable=False),
    sa.Column("sequence", sa.BigInteger, nullable=False),
    sa.Column("changed_at", StoredTime, nullable=False),
    sa.Column("looked_at", StoredTime, nullable=False),
)

# Append-only; positions rise without gaps in the order of the commits. The event's id follows from
# key and sequence, so it has no index: that would double the pages that each row costs.
transitions = sa.Table(
    "transitions",
    metadata,
    sa.Column("position", _ROW_ID, primary_key=True, autoincrement=False),
    sa.Column("key", sa.Text, nullable=False),
    sa.Column("sequence", sa.BigInteger, nullable=False),
    sa.Column("event_id", sa.Text, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("observed_at", StoredTime, nullable=False),
    sa.Column("event", sa.Text, nullable=False),
    sa.Column("own_recorded", StoredTime, nullable=False, server_default=_BEFORE),
    sa.UniqueConstraint("key", "sequence", name="transitions_key_sequence"),
    sa.Index("transitions_observed_at", "observed_at", "kind"),
    sa.Index("transitions_kind", "kind", "position"),
    sa.Index("transitions_own_recorded", "own_recorded"),
)

_PENDING = sa.text("status = 'pending'")
_FIRST = sa.text("due_at IS NOT NULL")
_SETTLED = sa.text("settled_at IS NOT NULL")
_SILENCED = sa.text("status = 'silenced'")
_HELD = sa.text("status = 'silenced' AND settled_at IS NULL")
_TRIED = sa.text("status = 'pending' AND attempts > 0")

# A line is a (sink, key), in the order of id; due_at is set on its first pending one. A silenced
# one without settled_at may still be sent.
deliveries = sa.Table(
    "deliveries",
    metadata,
    sa.Column("id", _ROW_ID, primary_key=True),
    sa.Column(
        "position",
        _ROW_ID,
        sa.ForeignKey("transitions.position", name="deliveries_position_fkey", ondelete="CASCADE"),
        nullable=False,
    ),
    sa.Column("sink", sa.Text, nullable=False),
    sa.Column("key", sa.Text, nullable=False),
    sa.Column("status", sa.Text, nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("created_at", StoredTime, nullable=False),
    sa.Column("due_at", StoredTime),
    sa.Column("settled_at", StoredTime),
    sa.Column("last_error", sa.Text),
    sa.Column("replayed", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("own_created", StoredTime, nullable=False, server_default=_BEFORE),
    sa.Column("own_settled", StoredTime, nullable=False, server_default=_BEFORE),
    sa.Column("silenced_by", sa.Text),
    sa.UniqueConstraint("position", "sink", name="deliveries_position_sink"),
    sa.Index("deliveries_first", "sink", "due_at", "id", sqlite_where=_FIRST),
    # The status is the same in all, but SQLite reads the row for it if it is not in the index.
    sa.Index(
        "deliveries_line",
        "sink",
        "key",
        "id",
        "own_created",
        "status",
        sqlite_where=_PENDING,
    ),
    # Few deliveries have failed; the many behind them have had no attempt yet.
    sa.Index(
        "deliveries_tried",
        "sink",
        "own_created",
        "last_error",
        "status",
        "attempts",
        sqlite_where=_TRIED,
    ),
    # Not of those that are pending, which would else be moved when they are settled.
    sa.Index(
        "deliveries_settled",
        *("status", "sink", "id"),
        sqlite_where=_SETTLED,
    ),
    sa.Index("deliveries_silenced", "sink", "id", sqlite_where=_SILENCED),
    sa.Index("deliveries_held", "id", sqlite_where=_HELD),
    # An id is never used twice, so that a late settlement cannot hit another delivery.
    sqlite_autoincrement=True,
)

# The parked sinks; a sink without a row delivers.
sink_state = sa.Table(
    "sink_state",
    metadata,
    sa.Column("sink", sa.Text, primary_key=True),
    sa.Column("parked_at", StoredTime, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
)

# The run-time watches, with their settings as a configuration file would hold them.
watches = sa.Table(
    "watches",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("settings", sa.Text, nullable=False),
    sa.Column("added_at", StoredTime, nullable=False),
)

# The silences, with their matchers as they are written; expired ones are kept for a while.
silences = sa.Table(
    "silences",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("match", sa.Text, nullable=False),
    sa.Column("starts_at", StoredTime, nullable=False),
    sa.Column("ends_at", StoredTime, nullable=False),
    sa.Column("author", sa.Text, nullable=False),
    sa.Column("comment", sa.Text, nullable=False),
)

# Who takes care of which job, as it was after a transition.
acknowledgements = sa.Table(
    "acknowledgements",
    metadata,
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("sequence", sa.BigInteger, nullable=False),
    sa.Column("author", sa.Text, nullable=False),
    sa.Column("comment", sa.Text, nullable=False),
    sa.Column("at", StoredTime, nullable=False),
)

# The progress of the first sweep of each discovery. The key has a digest of the text, because the
# text may be longer than a PostgreSQL index entry allows.
baselines = sa.Table(
    "baselines",
    metadata,
    sa.Column("type", sa.Text, primary_key=True),
    sa.Column("account", sa.Text, primary_key=True),
    sa.Column("region", sa.Text, primary_key=True),
    sa.Column("digest", sa.Text, primary_key=True),
    sa.Column("discover", sa.Text, nullable=False),
    sa.Column("begun_at", StoredTime, nullable=False),
    sa.Column("completed_at", StoredTime),
    sa.Column("awaited", sa.Text, nullable=False),
)

# What the watches of a place discovered when its archived jobs were last compared with them.
archived_places = sa.Table(
    "archived_places",
    metadata,
    sa.Column("type", sa.Text, primary_key=True),
    sa.Column("account", sa.Text, primary_key=True),
    sa.Column("region", sa.Text, primary_key=True),
    sa.Column("discovers", sa.Text, nullable=False),
)

# The processes that share the store, where several may: see ``replicas.py``. ``mark`` counts the
# commits of a replica, ``beat`` its signs of life; the session is the one that writes.
replicas = sa.Table(
    "replicas",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("version", sa.Text, nullable=False),
    sa.Column("started_at", StoredTime, nullable=False),
    sa.Column("seen_at", StoredTime, nullable=False),
    sa.Column("beat", sa.BigInteger, nullable=False),
    sa.Column("mark", sa.BigInteger, nullable=False),
    sa.Column("pid", sa.BigInteger, nullable=False),
    sa.Column("session_began", sa.BigInteger, nullable=False),
    sa.Column("facts", sa.Text, nullable=False),
)

# The last owner of each source and sink, when it was last known to be one, and what it said of it.
# Who owns it now is the one that holds its lock.
owned_resources = sa.Table(
    "owned_resources",
    metadata,
    sa.Column("resource", sa.Text, primary_key=True),
    sa.Column("replica", sa.Text, nullable=False),
    sa.Column("since", StoredTime, nullable=False),
    sa.Column("alive_at", StoredTime, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
)


def prepare(dialect: str) -> None:
    """Give the partial indexes their conditions in another database than SQLite, too.

    Not in the tables: SQLAlchemy would import all drivers of PostgreSQL for each start.
    """
    for index in (each for table in metadata.tables.values() for each in table.indexes):
        where = index.dialect_options["sqlite"]["where"]
        if where is not None:
            index.dialect_options[dialect]["where"] = where


def has_status(status: DeliveryStatus) -> sa.ColumnElement[bool]:
    """Select deliveries of a status in the words of the partial index that has them."""
    if status.value in {"pending", "silenced"}:
        return status_is(status)
    return sa.and_(status_is(status), deliveries.c.settled_at.is_not(None))


def status_is(status: DeliveryStatus, table: sa.FromClause = deliveries) -> sa.ColumnElement[bool]:
    """Compare with a literal: with a parameter, the partial indexes would go unused."""
    return table.c.status == sa.literal_column(f"'{status.value}'")
