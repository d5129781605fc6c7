"""Silences and acknowledgements, what holds a delivery back, and jobs that only the store has.

SQLite compares the bytes of texts already. PostgreSQL follows the collation of the database, which
may even change with the version of the C library.
"""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"

_ORDERS = ("changed_at", "first_seen_at", "looked_at", "state")


def upgrade() -> None:
    """Add the tables, to each delivery what silences it, and compare jobs by their bytes."""
    _archive()
    op.add_column("deliveries", sa.Column("silenced_by", sa.Text))
    silenced = sa.text("status = 'silenced'")
    held = sa.text("status = 'silenced' AND settled_at IS NULL")
    op.create_index(
        "deliveries_silenced",
        "deliveries",
        ["sink", "id"],
        sqlite_where=silenced,
        postgresql_where=silenced,
    )
    op.create_index(
        "deliveries_held", "deliveries", ["id"], sqlite_where=held, postgresql_where=held
    )
    op.create_table(
        "silences",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("match", sa.Text, nullable=False),
        sa.Column("starts_at", sa.BigInteger, nullable=False),
        sa.Column("ends_at", sa.BigInteger, nullable=False),
        sa.Column("author", sa.Text, nullable=False),
        sa.Column("comment", sa.Text, nullable=False),
    )
    op.create_table(
        "acknowledgements",
        sa.Column("key", sa.Text, primary_key=True),
        sa.Column("sequence", sa.BigInteger, nullable=False),
        sa.Column("author", sa.Text, nullable=False),
        sa.Column("comment", sa.Text, nullable=False),
        sa.Column("at", sa.BigInteger, nullable=False),
    )


def _archive() -> None:
    """Let a job be archived; all are live until a daemon has judged them."""
    if op.get_context().dialect.name == "postgresql":
        # The order in which a daemon sorts, whatever the language of the database.
        for table, column in (
            ("jobs", "key"),
            ("jobs", "id"),
            ("jobs", "state"),
            ("sources", "key"),
        ):
            op.alter_column(table, column, type_=sa.Text(collation="C"))
    op.add_column(
        "jobs", sa.Column("archived", sa.SmallInteger, nullable=False, server_default=sa.text("0"))
    )
    op.drop_index("jobs_place", "jobs")
    place = ["type", "account", "region", "phase", "id", "archived"]
    op.create_index("jobs_place", "jobs", place)
    _partial("jobs_live", ["key"], "archived = 0")
    _partial("jobs_archived_key", ["phase", "key"], "archived > 0")
    for name in _ORDERS:
        _partial(f"jobs_archived_{name}", ["phase", name, "key"], "archived > 0")
    op.create_table(
        "archived_places",
        sa.Column("type", sa.Text, primary_key=True),
        sa.Column("account", sa.Text, primary_key=True),
        sa.Column("region", sa.Text, primary_key=True),
        sa.Column("discovers", sa.Text, nullable=False),
    )


def _partial(name: str, columns: list[str], where: str) -> None:
    condition = sa.text(where)
    op.create_index(name, "jobs", columns, sqlite_where=condition, postgresql_where=condition)
