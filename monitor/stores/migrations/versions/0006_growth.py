"""Indexes for a ledger that grows.

The index on the ids of events goes: an id follows from key and sequence, which are unique. Its
random order cost a page of the disk for each row that was recorded or pruned. SQLite cannot drop
the constraint, so the table is copied; that takes half a minute for a million transitions.
"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Drop the index on the ids of events, and let every list be a page of an index."""
    if op.get_context().dialect.name == "sqlite":
        _copy()
    else:
        op.drop_constraint("transitions_event_id", "transitions")
        op.drop_index("transitions_observed_at", "transitions")
    op.create_index("transitions_observed_at", "transitions", ["observed_at", "kind"])
    op.create_index("transitions_kind", "transitions", ["kind", "position"])
    op.drop_index("deliveries_dead", "deliveries")
    settled = sa.text("settled_at IS NOT NULL")
    op.create_index(
        "deliveries_settled",
        "deliveries",
        ["status", "sink", "id"],
        sqlite_where=settled,
        postgresql_where=settled,
    )
    op.create_index("jobs_place", "jobs", ["type", "account", "region", "phase", "id"])
    op.create_index("jobs_id", "jobs", ["id"])
    where = sa.text("id LIKE '%/%'")
    op.create_index("jobs_compound", "jobs", ["id"], sqlite_where=where, postgresql_where=where)


def _copy() -> None:
    """Copy the transitions into a table without the constraint.

    Foreign keys are not enforced while the steps are taken, or all deliveries would go with the
    old table.
    """
    if op.get_bind().scalar(sa.text("PRAGMA foreign_keys")):
        raise RuntimeError("a step was taken with foreign keys enforced")
    op.create_table(
        "transitions_new",
        sa.Column("position", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("key", sa.Text, nullable=False),
        sa.Column("sequence", sa.BigInteger, nullable=False),
        sa.Column("event_id", sa.Text, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("observed_at", sa.BigInteger, nullable=False),
        sa.Column("event", sa.Text, nullable=False),
        sa.Column("own_recorded", sa.BigInteger, nullable=False, server_default=sa.text("0")),
        sa.UniqueConstraint("key", "sequence", name="transitions_key_sequence"),
    )
    names = "position, key, sequence, event_id, kind, observed_at, event, own_recorded"
    op.execute(
        f"INSERT INTO transitions_new ({names}) SELECT {names} FROM transitions ORDER BY position"  # noqa: S608
    )
    op.drop_table("transitions")
    op.rename_table("transitions_new", "transitions")
    op.create_index("transitions_own_recorded", "transitions", ["own_recorded"])
