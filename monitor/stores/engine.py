"""From the setting ``store`` to an open database with the newest schema."""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from monitor import errors
from monitor.stores import database, postgresql, sqlite

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from contextlib import AbstractAsyncContextManager

_MIGRATIONS = Path(__file__).with_name("migrations")
_MIGRATING = 0x6A6F62_6D6967
"""The number of PostgreSQL's advisory lock under which the schema changes."""


@asynccontextmanager
async def opened(
    url: str, *, exclusive: bool = True, migrate: bool = True
) -> AsyncGenerator[database.Database]:
    """Open the database of ``url`` and bring its schema up to date.

    ``exclusive=False`` lets other processes use it as well. ``migrate=False`` makes and
    changes no tables: they must be there, as this version writes them.

    Raises:
        ConfigurationError: the URL has none of the forms known.
        StoreLockedError: another process uses it.
        StoreError: it cannot be reached, read or written.
    """
    async with AsyncExitStack() as stack:
        opening = _opening(url, exclusive=exclusive, create=migrate)
        found = await stack.enter_async_context(opening)
        with database.troubles_of(found.name):
            async with found.writer.begin():
                await found.writer.run_sync(_migrate if migrate else _verify, found.name)
        found.check()
        yield found


def _opening(
    url: str, *, exclusive: bool, create: bool
) -> AbstractAsyncContextManager[database.Database]:
    scheme = url.partition(":")[0]
    if scheme == "sqlite":
        return sqlite.opened(sqlite.path_of(url), exclusive=exclusive, create=create)
    if scheme == "postgresql":
        return postgresql.opened(url, exclusive=exclusive)
    raise database.misnamed(
        "not a store that is known",
        "write sqlite:///absolute/path.db, sqlite:relative.db or postgresql://user@host/db",
    )


def _migrate(connection: sa.Connection, name: str) -> None:
    """Take the steps that are missing, inside the present transaction."""
    if connection.dialect.name == "postgresql":
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_MIGRATING)))
    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", _location())
    _refuse_newer(connection, name, _steps())
    command.upgrade(config, "head")


def _verify(connection: sa.Connection, name: str) -> None:
    """Look whether every step was taken."""
    _refuse_newer(connection, name, _steps())
    at = MigrationContext.configure(connection).get_current_revision()
    if at is None:
        raise errors.StoreError(f"store {name}: there is nothing in it yet (job-monitor run)")
    if at != _steps().get_current_head():
        raise errors.StoreError(
            f"store {name}: written by an older version of job-monitor (start this one's daemon)"
        )


def _refuse_newer(connection: sa.Connection, name: str, steps: ScriptDirectory) -> None:
    known = {step.revision for step in steps.walk_revisions()}
    if set(MigrationContext.configure(connection).get_current_heads()) - known:
        raise errors.StoreError(
            f"store {name}: written by a newer version of job-monitor (install that one again)"
        )


def _steps() -> ScriptDirectory:
    return ScriptDirectory(str(_MIGRATIONS))


def _location() -> str:
    return str(_MIGRATIONS).replace("%", "%%")
