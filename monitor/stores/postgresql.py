"""Opening PostgreSQL: one owner per database, held by the connection that writes.

The owner's lock is an advisory lock of the writing session. Whoever loses that session
loses the lock and the means to write in the same moment, so there are never two owners.
It needs a session of its own: no pooler in transaction mode may stand between.
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
    from collections.abc import AsyncGenerator

    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

_READERS = 4
_OWNER = 0x6A6F62_6D6F6E
"""The number of the owner's advisory lock, fixed for ever."""
_CONNECT_TIMEOUT = 10.0
_COMMAND_TIMEOUT = 60.0
_REMEDY = "check the URL, and that the server is up and lets this user in"
_DURABLE = sa.text(
    "SELECT set_config('synchronous_commit', 'on', false)"
    " WHERE current_setting('synchronous_commit') = 'off'"
)


@asynccontextmanager
async def opened(url: str, *, exclusive: bool) -> AsyncGenerator[database.Database]:
    """Open the database that ``url``, in libpq's own form, names."""
    name = _name(url)
    async with AsyncExitStack() as stack:
        writers = await stack.enter_async_context(_engine(url, name, size=1))
        readers = await stack.enter_async_context(_engine(url, name, size=_READERS))
        writer = await stack.enter_async_context(writers.connect())
        with database.troubles_of(name):
            await _own(writer, name, exclusive=exclusive)
            session = (await writer.get_raw_connection()).driver_connection
        yield database.Database(name, writer, readers, _Session(name, session).check)


class _Session:
    """The session that writes; it is never opened again, for the lock went with it."""

    def __init__(self, name: str, session: Any) -> None:
        self._name = name
        self._session = session

    def check(self) -> None:
        """Raise StoreError if the server has closed it."""
        if self._session.is_closed():
            raise errors.StoreError(f"store {self._name}: the server closed the connection")


def _name(url: str) -> str:
    """How messages call it: without user, password and parameters.

    Raises:
        ConfigurationError: it cannot be read; its text is not repeated, for the password.
    """
    try:
        parts = urlsplit(url)
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        raise _unreadable() from None
    if "@" in parts.path:
        raise _unreadable()
    return f"postgresql://{parts.hostname or ''}{port}{parts.path}"


def _unreadable() -> errors.ConfigurationError:
    return database.misnamed(
        "not a PostgreSQL URL",
        "write postgresql://user@host/db; percent-encode special characters in a password",
    )


async def _own(writer: AsyncConnection, name: str, *, exclusive: bool) -> None:
    async with writer.begin():
        await writer.execute(_DURABLE)
        free = not exclusive or await writer.scalar(sa.select(sa.func.pg_try_advisory_lock(_OWNER)))
    if not free:
        raise errors.StoreLockedError(
            f"store {name}: another process uses this database (stop that one, or give this one"
            " a database of its own)"
        )


@asynccontextmanager
async def _engine(url: str, name: str, *, size: int) -> AsyncGenerator[AsyncEngine]:
    async def connect() -> Any:
        return await _connect(url, name)

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
        raise database.misnamed(
            "PostgreSQL needs a driver that is not installed",
            "pip install 'aws-job-monitor[postgresql]'",
        ) from None
    try:
        yield engine
    finally:
        with CancelScope(shield=True):
            await engine.dispose()


async def _connect(url: str, name: str) -> Any:
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
