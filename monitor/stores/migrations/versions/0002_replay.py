"""Parked sinks, and deliveries that are sent again: behind what waits, so in the order of id."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Mark replayed deliveries, order lines by id, and remember which sinks are parked."""
    op.add_column(
        "deliveries",
        sa.Column("replayed", sa.Boolean, nullable=False, server_default=sa.false()),
    )
    op.drop_index("deliveries_line", "deliveries")
    pending = sa.text("status = 'pending'")
    op.create_index(
        "deliveries_line",
        "deliveries",
        ["sink", "key", "id", "created_at", "status"],
        sqlite_where=pending,
        postgresql_where=pending,
    )
    op.create_table(
        "sink_state",
        sa.Column("sink", sa.Text, primary_key=True),
        sa.Column("parked_at", sa.BigInteger, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
    )
