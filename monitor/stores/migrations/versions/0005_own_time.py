"""Store time, by which deliveries fall due and history grows old.

What is there already is as old as the ledger's own time, which begins when a daemon next opens it.
"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

_BEFORE = sa.text("0")


def upgrade() -> None:
    """Let the ledger, its transitions and their deliveries have times of their own."""
    for name in ("own_began", "own_time", "wall_time"):
        op.add_column("ledger", sa.Column(name, sa.BigInteger))
    _add("transitions", "own_recorded")
    _add("deliveries", "own_created")
    _add("deliveries", "own_settled")
    op.create_index("transitions_own_recorded", "transitions", ["own_recorded"])
    op.drop_index("deliveries_line", "deliveries")
    pending = sa.text("status = 'pending'")
    op.create_index(
        "deliveries_line",
        "deliveries",
        ["sink", "key", "id", "own_created", "status"],
        sqlite_where=pending,
        postgresql_where=pending,
    )
    tried = sa.text("status = 'pending' AND attempts > 0")
    op.create_index(
        "deliveries_tried",
        "deliveries",
        ["sink", "own_created", "last_error", "status", "attempts"],
        sqlite_where=tried,
        postgresql_where=tried,
    )


def _add(table: str, name: str) -> None:
    column = sa.Column(name, sa.BigInteger, nullable=False, server_default=_BEFORE)
    op.add_column(table, column)
