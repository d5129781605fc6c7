"""Migration of a database from the revision of its tables to that of this version.

A new database gets the tables of ``schema.py`` at once, as Alembic's own manual advises; one of an
older version takes the steps in ``migrations/``. Only those need Alembic, so it is imported then:
it would take a tenth of the daemon's memory for as long as it runs.
"""

from __future__ import annotations

from pathlib import Path
from uuid import uuid4

import sqlalchemy as sa

from monitor import errors
from monitor.stores import database, schema, text_index

MIGRATIONS = Path(__file__).with_name("migrations")
_MIGRATING = 0x6A6F62_6D6967
"""The number of PostgreSQL's advisory lock under which the schema changes."""
_mark = sa.Table(
    "alembic_version",
    sa.MetaData(),
    sa.Column("version_num", sa.String(32), nullable=False),
    sa.PrimaryKeyConstraint("version_num", name="alembic_version_pkc"),
)
"""Where Alembic keeps the revision, in its own form."""
copies = sa.Table(
    "store_copy",
    sa.MetaData(),
    sa.Column("ledger_id", sa.Text, primary_key=True),
    sa.Column("position", sa.BigInteger, nullable=False),
    sa.Column("wall_time", sa.BigInteger),
)
"""There while another ledger is copied into the database: which one, and how far it had come."""


def migrate(connection: sa.Connection, name: str, *, copying: bool = False) -> None:
    """Make the tables, or take the missing steps, in the open transaction.

    ``copying`` takes a database into which a ledger has been copied in part.

    Raises:
        StoreError: it has been, or a newer version wrote it; the message calls it ``name``.
    """
    if connection.dialect.name == "postgresql":
        # Two processes that start together must not both make the tables.
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_MIGRATING)))
        schema.prepare(connection.dialect.name)
    found = _revision(connection, name, copying=copying)
    if found is None:
        # A table that is there already belongs to another program, and is an error.
        schema.metadata.create_all(connection, checkfirst=False)
        _mark.create(connection)
        connection.execute(_mark.insert().values(version_num=schema.REVISION))
        identity = {"ledger_id": str(uuid4()), "position": 0}
        connection.execute(schema.ledger.insert().values(identity))
    elif found != schema.REVISION:
        from alembic import command  # noqa: PLC0415 -- see above
        from alembic.config import Config  # noqa: PLC0415 -- see above

        _refuse_newer(found, name)
        config = Config(attributes={"connection": connection})
        config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
        command.upgrade(config, "head")
    if connection.dialect.name == "postgresql":
        text_index.make(connection)


def verify(connection: sa.Connection, name: str) -> None:
    """Require that the tables are those of this version; change nothing.

    Raises:
        StoreError: they are not; the message calls the database ``name``.
    """
    found = _revision(connection, name)
    if found is None:
        raise errors.StoreError(
            f"store {name}: there is nothing in it yet (job-monitor run makes its tables)"
        )
    if found != schema.REVISION:
        _refuse_newer(found, name)
        raise errors.StoreError(
            f"store {name}: written by an older version of job-monitor"
            " (start the daemon of this version once, which brings it up to date)"
        )


def _revision(connection: sa.Connection, name: str, *, copying: bool = False) -> str | None:
    tables = sa.inspect(connection).get_table_names()
    # A server's database may hold tables of other programs; a file may not.
    database.require_ours(tables, name, alone=connection.dialect.name == "sqlite")
    if copies.name in tables and not copying:
        raise errors.StoreError(
            f"store {name}: a copy into it has not ended (repeat job-monitor store copy, or"
            " recreate the database)"
        )
    if _mark.name not in tables:
        return None
    found: str | None = connection.scalar(sa.select(_mark.c.version_num))
    return found


def _refuse_newer(found: str, name: str) -> None:
    from alembic.script import ScriptDirectory  # noqa: PLC0415 -- see above

    steps = ScriptDirectory(str(MIGRATIONS)).walk_revisions()
    if found not in {step.revision for step in steps}:
        raise errors.StoreError(
            f"store {name}: written by a newer version of job-monitor, revision {found[:32]!r}"
            " (install that version again, or restore the backup from before it)"
        )
