"""Opening the database that the setting ``store`` names, with the newest schema."""

from __future__ import annotations

from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING

from monitor.config.settings import StoreSettings
from monitor.stores import database, sqlite, upgrade

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from contextlib import AbstractAsyncContextManager


@asynccontextmanager
async def open_database(
    where: str | StoreSettings,
    *,
    exclusive: bool = True,
    shared: bool = False,
    migrate: bool = True,
    copying: bool = False,
    make_token: database.MakeToken | None = None,
) -> AsyncGenerator[database.Database]:
    """Open the database at ``where``, its URL or its settings, and bring its schema up to date.

    ``exclusive=False`` lets other processes use it as well; ``shared`` lets other daemons do so,
    where the database is one for several. ``migrate=False`` makes and
    changes no tables: they must be there, as this version writes them. ``copying`` takes a
    database into which a ledger has been copied in part. ``make_token`` makes the password of each
    connection where the settings have ``iam_auth``.

    Raises:
        ConfigurationError: the URL has none of the known forms.
        StoreLockedError: another process uses it.
        StoreError: it cannot be reached, read or written.
    """
    opening: AbstractAsyncContextManager[database.Database]
    store = where if isinstance(where, StoreSettings) else StoreSettings(url=where)
    match store.url.partition(":")[0]:
        case "sqlite":
            path = sqlite.path_of(store.url)
            opening = sqlite.open_sqlite(path, exclusive=exclusive, create=migrate)
        case "postgresql":
            # SQLAlchemy's asyncio brings its ORM along, a fifth of the start of a short command.
            from monitor.stores import postgresql  # noqa: PLC0415

            opening = postgresql.open_postgresql(
                store, make_token, exclusive=exclusive, shared=shared
            )
        case _:
            raise database.url_problem(
                "not a store that is known",
                "write sqlite:///absolute/path.db, sqlite:relative.db or postgresql://user@host/db",
            )
    async with opening as opened:
        prepare = partial(upgrade.migrate, copying=copying) if migrate else upgrade.verify
        with database.store_errors(opened.name):
            await opened.transact(lambda connection: prepare(connection, opened.name))
            await opened.enforce_references()
        # SQLite opens a file by name: it may have been replaced between the check and the opening.
        opened.check()
        yield opened
