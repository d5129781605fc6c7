"""The tables of the ledger, as the newest migration leaves them.

Times are integers, microseconds since 1970 in UTC, so that they sort and compare the
same in every database. JSON is kept as text, byte for byte as it was written.

There are two kinds of time. Most columns hold the wall clock's, for people to read. What decides
when something is sent, given up or forgotten is ``due_at`` and the columns ``own_…``: these hold
the ledger's own time, which no clock that is set can move (``own_time.py``).
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


class Moment(sa.TypeDecorator[datetime]):
    """An aware datetime, stored as microseconds since 1970 in UTC; exact both ways."""

    impl = sa.BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> int | None:  # noqa: ARG002
        """Count the microseconds since 1970."""
        return None if value is None else (value - _EPOCH) // _MICROSECOND

    def process_result_value(self, value: int | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """Make the moment in UTC."""
        return None if value is None else _EPOCH + value * _MICROSECOND


# SQLite numbers rows by itself only where the type is literally INTEGER.
_ROW_ID = sa.BigInteger().with_variant(sa.Integer, "sqlite")

_BEFORE = sa.text("0")
"""The own time of what is older than the ledger's own time: it counts from its beginning."""

metadata = sa.MetaData()

REVISION = "0005"
"""The newest step in ``migrations/``, after which a database has these tables."""

# One row: who this ledger is, the last position given to a transition, its own time when that
# began and at the last commit, and what the wall clock said at the last commit.
ledger = sa.Table(
    "ledger",
    metadata,
    sa.Column("ledger_id", sa.Text, primary_key=True),
    sa.Column("position", sa.BigInteger, nullable=False),
    sa.Column("own_began", Moment),
    sa.Column("own_time", Moment),
    sa.Column("wall_time", Moment),
)

# The last snapshot of each job; looked_at is newer than the one inside it.
jobs = sa.Table(
    "jobs",
    metadata,
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("type", sa.Text, nullable=False),
    sa.Column("account", sa.Text, nullable=False),
    sa.Column("region", sa.Text, nullable=False),
    sa.Column("id", sa.Text, nullable=False),
    sa.Column("snapshot", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("phase", sa.Text, nullable=False),
    sa.Column("sequence", sa.BigInteger, nullable=False),
    sa.Column("first_seen_at", Moment, nullable=False),
    sa.Column("changed_at", Moment, nullable=False),
    sa.Column("looked_at", Moment, nullable=False),
)

sources = sa.Table(
    "sources",
    metadata,
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("service", sa.Text, nullable=False),
    sa.Column("account", sa.Text, nullable=False),
    sa.Column("region", sa.Text, nullable=False),
    sa.Column("available", sa.Boolean, nullable=False),
    sa.Column("sequence", sa.BigInteger, nullable=False),
    sa.Column("changed_at", Moment, nullable=False),
    sa.Column("looked_at", Moment, nullable=False),
)

# Append-only; positions rise without gaps in the order of the commits.
transitions = sa.Table(
    "transitions",
    metadata,
    sa.Column("position", _ROW_ID, primary_key=True, autoincrement=False),
    sa.Column("key", sa.Text, nullable=False),
    sa.Column("sequence", sa.BigInteger, nullable=False),
    sa.Column("event_id", sa.Text, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("observed_at", Moment, nullable=False),
    sa.Column("event", sa.Text, nullable=False),
    sa.Column("own_recorded", Moment, nullable=False, server_default=_BEFORE),
    sa.UniqueConstraint("key", "sequence", name="transitions_key_sequence"),
    sa.UniqueConstraint("event_id", name="transitions_event_id"),
    sa.Index("transitions_observed_at", "observed_at"),
    sa.Index("transitions_own_recorded", "own_recorded"),
)

_PENDING = sa.text("status = 'pending'")
_FIRST = sa.text("due_at IS NOT NULL")
_TRIED = sa.text("status = 'pending' AND attempts > 0")
_DEAD = sa.text("status = 'dead'")

# A line is a (sink, key), in the order of id; due_at is set on its first pending one.
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
    sa.Column("created_at", Moment, nullable=False),
    sa.Column("due_at", Moment),
    sa.Column("settled_at", Moment),
    sa.Column("last_error", sa.Text),
    sa.Column("replayed", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("own_created", Moment, nullable=False, server_default=_BEFORE),
    sa.Column("own_settled", Moment, nullable=False, server_default=_BEFORE),
    sa.UniqueConstraint("position", "sink", name="deliveries_position_sink"),
    sa.Index(
        "deliveries_first", "sink", "due_at", "id", sqlite_where=_FIRST, postgresql_where=_FIRST
    ),
    # Its status says nothing new, but SQLite looks for it in the row if it is not here.
    sa.Index(
        "deliveries_line",
        "sink",
        "key",
        "id",
        "own_created",
        "status",
        sqlite_where=_PENDING,
        postgresql_where=_PENDING,
    ),
    # What was tried and still waits is little, beside all that waits behind it.
    sa.Index(
        "deliveries_tried",
        "sink",
        "own_created",
        "last_error",
        "status",
        "attempts",
        sqlite_where=_TRIED,
        postgresql_where=_TRIED,
    ),
    sa.Index("deliveries_dead", "sink", "id", sqlite_where=_DEAD, postgresql_where=_DEAD),
    # A number is never given twice, so that a late settlement cannot meet another delivery.
    sqlite_autoincrement=True,
)

# The sinks that are parked; no row means that nothing is the matter.
sink_state = sa.Table(
    "sink_state",
    metadata,
    sa.Column("sink", sa.Text, primary_key=True),
    sa.Column("parked_at", Moment, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
)

# The watches that were added at run time, as they would be written.
watches = sa.Table(
    "watches",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("settings", sa.Text, nullable=False),
    sa.Column("added_at", Moment, nullable=False),
)

# How far the first sweep of each discovery has come; the digest stands for the text in the key,
# as the text may be longer than an index of PostgreSQL takes.
baselines = sa.Table(
    "baselines",
    metadata,
    sa.Column("type", sa.Text, primary_key=True),
    sa.Column("account", sa.Text, primary_key=True),
    sa.Column("region", sa.Text, primary_key=True),
    sa.Column("digest", sa.Text, primary_key=True),
    sa.Column("discover", sa.Text, nullable=False),
    sa.Column("begun_at", Moment, nullable=False),
    sa.Column("completed_at", Moment),
    sa.Column("awaited", sa.Text, nullable=False),
)


def status_is(status: DeliveryStatus, table: sa.FromClause = deliveries) -> sa.ColumnElement[bool]:
    """Compare with a literal: with a parameter, the partial indexes would go unused."""
    return table.c.status == sa.literal_column(f"'{status.value}'")
