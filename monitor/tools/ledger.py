"""The store of a configuration, opened beside a daemon that may be running."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from monitor.clock import SystemClock
from monitor.stores import reader

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from contextlib import AbstractAsyncContextManager

    from monitor.config import Settings
    from monitor.stores.store import SqlStore


@asynccontextmanager
async def read_ledger(settings: Settings) -> AsyncIterator[reader.LedgerReader]:
    """Open the store to read it."""
    opening: AbstractAsyncContextManager[reader.LedgerReader]
    if settings.database.url.startswith("sqlite:"):
        opening = reader.open_sqlite_reader(settings.database, SystemClock())
    else:
        opening = open_ledger(settings)
    async with opening as ledger:
        yield ledger


@asynccontextmanager
async def open_ledger(settings: Settings) -> AsyncIterator[SqlStore]:
    """Open the store to read and write; creates and migrates nothing."""
    from monitor.stores.store import open_store  # noqa: PLC0415 -- commands that read do without

    async with signing(settings) as make_token:
        opening = open_store(
            settings.database,
            SystemClock(),
            exclusive=False,
            migrate=False,
            make_token=make_token,
        )
        async with opening as store:
            yield store


@asynccontextmanager
async def signing(settings: Settings) -> AsyncIterator[Callable[[], Awaitable[str]] | None]:
    """Yield what makes the passwords of the store, where it wants tokens of AWS."""
    if not settings.database.iam_auth:
        yield None
        return
    from monitor.aws import rds_token  # noqa: PLC0415 -- the SDK takes time, and few need it

    async with rds_token.signing(settings.database, settings.accounts) as make_token:
        yield make_token
