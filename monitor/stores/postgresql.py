"""Opening PostgreSQL: one owner per database, held by the connection that writes.

The owner's lock is an advisory lock of the writing session. A process that loses the session
loses the lock and the means to write in the same moment, so there are never two owners.
It needs a session of its own: a pooler in transaction mode must not stand between.
"""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import sqlalchemy as sa
from anyio import CancelScope
from sqlalchemy.ext.asyncio import create_async_engine

from monitor import errors
from monitor.stores import database

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from sqlalchemy.ext.asyncio import AsyncEngine

_READERS = 4
_OWNER = 0x6A6F62_6D6F6E
"""The number of the owner's advisory lock, which must never change."""
_CONNECT_TIMEOUT = 10.0
_COMMAND_TIMEOUT = 60.0
_REMEDY = "check the URL, and that the server is up and lets this user in"
_DURABLE = sa.text(
    "SELECT set_config('synchronous_commit', 'on', false)"
    " WHERE current_setting('synchronous_commit') = 'off'"
)


@asynccontextmanager
async def open_postgresql(url: str, *, exclusive: bool) -> AsyncGenerator[database.Database]:
    """Open the database that ``url``, in libpq's form, names."""
    name = _name(url)
    async with AsyncExitStack() as stack:
        writers = await stack.enter_async_context(_engine(url, name, size=1))
        readers = await stack.enter_async_context(_engine(url, name, size=_READERS))
        # One connection for as long as the store is open: the lock is gone with it.
        writer = await stack.enter_async_context(writers.connect())
        with database.store_errors(name):
            async with writer.begin():
                await writer.execute(_DURABLE)
                lock = sa.select(sa.func.pg_try_advisory_lock(_OWNER))
                free = not exclusive or await writer.scalar(lock)
            if not free:
                raise errors.StoreLockedError(
                    f"store {name}: another process uses this database (stop that one, or give"
                    " this one a database of its own)"
                )
            session: Any = (await writer.get_raw_connection()).driver_connection

        def check() -> None:
            if session.is_closed():
                raise errors.StoreError(f"store {name}: the server closed the connection")

        async def transact(work: database.Work) -> Sequence[int]:
            async with writer.begin():
                return await writer.run_sync(work)

        yield database.Database(name, writer, readers, transact, check)


def _name(url: str) -> str:
    """Return the URL without user, password and parameters, for messages.

    Raises:
        ConfigurationError: it cannot be parsed; the error does not repeat it, for the password.
    """
    try:
        parts = urlsplit(url)
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        parts, port = None, ""
    # An unescaped "/" in a password ends the host too early and leaves the "@" in the path.
    if parts is None or "@" in parts.path:
        raise database.url_problem(
            "not a PostgreSQL URL",
            "write postgresql://user@host/db; percent-encode special characters in a password",
        )
    return f"postgresql://{parts.hostname or ''}{port}{parts.path}"


@asynccontextmanager
async def _engine(url: str, name: str, *, size: int) -> AsyncGenerator[AsyncEngine]:
    async def connect() -> Any:
        import asyncpg  # type: ignore[import-untyped] # noqa: PLC0415 (an optional extra)

        try:
            return await asyncpg.connect(
                url,
                timeout=_CONNECT_TIMEOUT,
                command_timeout=_COMMAND_TIMEOUT,
                server_settings={"application_name": "job-monitor"},
            )
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, ValueError) as error:
            raise errors.StoreError(f"store {name}: {database.reason(error)} ({_REMEDY})") from None

    try:
        engine = create_async_engine(
            "postgresql+asyncpg://",
            async_creator=connect,
            hide_parameters=True,
            isolation_level="READ COMMITTED",
            max_overflow=0,
            pool_pre_ping=True,
            pool_size=size,
        )
    except ModuleNotFoundError:
        raise database.url_problem(
            "PostgreSQL needs a driver that is not installed",
            "pip install 'aws-job-monitor[postgresql]'",
        ) from None
    try:
        yield engine
    finally:
        with CancelScope(shield=True):
            await engine.dispose()
