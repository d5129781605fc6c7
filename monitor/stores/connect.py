"""From the setting ``store`` to an open database with the newest schema."""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING

from monitor.stores import database, postgresql, sqlite, upgrade

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from contextlib import AbstractAsyncContextManager


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
        settle = upgrade.reach if migrate else upgrade.verify
        with database.troubles_of(found.name):
            async with found.writer.begin():
                await found.writer.run_sync(settle, found.name)
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
