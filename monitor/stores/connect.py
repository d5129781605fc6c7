"""Opening the database that the setting ``store`` names, with the newest schema."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from monitor.stores import database, postgresql, sqlite, upgrade

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from contextlib import AbstractAsyncContextManager


@asynccontextmanager
async def open_database(
    url: str, *, exclusive: bool = True, migrate: bool = True
) -> AsyncGenerator[database.Database]:
    """Open the database of ``url`` and bring its schema up to date.

    ``exclusive=False`` lets other processes use it as well. ``migrate=False`` makes and
    changes no tables: they must be there, as this version writes them.

    Raises:
        ConfigurationError: the URL has none of the known forms.
        StoreLockedError: another process uses it.
        StoreError: it cannot be reached, read or written.
    """
    opening: AbstractAsyncContextManager[database.Database]
    match url.partition(":")[0]:
        case "sqlite":
            path = sqlite.path_of(url)
            opening = sqlite.open_sqlite(path, exclusive=exclusive, create=migrate)
        case "postgresql":
            opening = postgresql.open_postgresql(url, exclusive=exclusive)
        case _:
            raise database.url_problem(
                "not a store that is known",
                "write sqlite:///absolute/path.db, sqlite:relative.db or postgresql://user@host/db",
            )
    async with opening as opened:
        with database.store_errors(opened.name):
            async with opened.writer.begin():
                await opened.writer.run_sync(
                    upgrade.migrate if migrate else upgrade.verify, opened.name
                )
            if opened.writer.dialect.name == "sqlite":
                await sqlite.enforce_references(opened.writer)
        # SQLite opens a file by name: it may have been replaced between the check and the opening.
        opened.check()
        yield opened
