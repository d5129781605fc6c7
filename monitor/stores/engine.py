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
async def opened(url: str, *, exclusive: bool = True) -> AsyncGenerator[database.Database]:
    """Open the database of ``url`` and bring its schema up to date.

    ``exclusive=False`` lets other processes use it as well.

    Raises:
        ConfigurationError: the URL has none of the forms known.
        StoreLockedError: another process uses it.
        StoreError: it cannot be reached, read or written.
    """
    async with AsyncExitStack() as stack:
        opening = _opening(url, exclusive=exclusive)
        found = await stack.enter_async_context(opening)
        with database.troubles_of(found.name):
            async with found.writer.begin():
                await found.writer.run_sync(_migrate, found.name)
        found.check()
        yield found


def _opening(url: str, *, exclusive: bool) -> AbstractAsyncContextManager[database.Database]:
    scheme = url.partition(":")[0]
    if scheme == "sqlite":
        return sqlite.opened(sqlite.path_of(url), exclusive=exclusive)
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
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    known = {step.revision for step in ScriptDirectory.from_config(config).walk_revisions()}
    if set(MigrationContext.configure(connection).get_current_heads()) - known:
        raise errors.StoreError(
            f"store {name}: written by a newer version of job-monitor (install that one again)"
        )
    command.upgrade(config, "head")
