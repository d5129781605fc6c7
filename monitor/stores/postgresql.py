"""Opening PostgreSQL: one owner per database, held by the connection that writes.

The owner's lock is an advisory lock of the writing session. A process that loses the session
loses the lock and the means to write in the same moment, so there are never two owners.
It needs a session of its own: a pooler in transaction mode must not stand between.
"""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any, TypeVar

import anyio.lowlevel
import sqlalchemy as sa
from anyio import CancelScope
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import create_async_engine

from monitor import errors
from monitor.stores import database
from monitor.stores.postgresql_login import READERS, Login

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

    from monitor.config.settings import StoreSettings

T = TypeVar("T")

_OWNER = 0x6A6F62_6D6F6E
"""The number of the owner's advisory lock, which must never change."""
_PARTING = 1.0
"""Seconds for which a server may take leave of the session that holds the lock."""
_BACKEND = sa.text(
    "SELECT pid, backend_start AS began FROM pg_stat_activity WHERE pid = pg_backend_pid()"
)
_END = sa.text(
    "SELECT bool_or(pg_terminate_backend(pid)) FROM pg_stat_activity"
    " WHERE pid = :pid AND backend_start = :began"
)
_DURABLE = sa.text(
    "SELECT set_config('synchronous_commit', 'on', false)"
    " WHERE current_setting('synchronous_commit') = 'off'"
)


@asynccontextmanager
async def open_postgresql(
    store: StoreSettings, make_token: database.MakeToken | None, *, exclusive: bool
) -> AsyncGenerator[database.Database]:
    """Open the database that the URL of ``store``, in libpq's form, names."""
    login = Login(store, make_token)
    name = login.url.name
    async with AsyncExitStack() as stack:
        writers = await stack.enter_async_context(_engine(login, size=1))
        readers = await stack.enter_async_context(_engine(login, size=READERS))
        writer = _Writer(writers, name, exclusive=exclusive)
        stack.push_async_callback(writer.close, _PARTING)
        with database.store_errors(name):
            await writer.open()

        async def read(work: Callable[[sa.Connection], T]) -> T:
            async with readers.connect() as reader:
                return await reader.run_sync(work)

        yield database.Database(
            name=name,
            dialect="postgresql",
            read=read,
            transact=writer.transact,
            enforce_references=anyio.lowlevel.checkpoint,  # the server always does
            check=writer.check,
            written=object,  # to ask the server costs as much as to read
            # Without the lock, others may have written meanwhile.
            reopen=writer.reopen if exclusive else None,
        )


class _Writer:
    """The session that writes and holds the owner's lock; when it is lost, another takes its place.

    The server gives the lock of a lost session to whoever comes next. So what was known of the
    database before must be compared with it after ``reopen``.
    """

    def __init__(self, engine: AsyncEngine, name: str, *, exclusive: bool) -> None:
        self._engine = engine
        self._name = name
        self._exclusive = exclusive
        self._connection: AsyncConnection | None = None
        self._session: Any = None
        self._backend: dict[str, Any] = {"pid": 0, "began": None}

    async def open(self) -> None:
        """Connect, and take the lock.

        Raises:
            StoreLockedError: another process has it.
            StoreLostError: our last session still has it, and is being ended.
        """
        connection = self._connection = await self._engine.connect()
        self._session = (await connection.get_raw_connection()).driver_connection
        async with connection.begin():
            await connection.execute(_DURABLE)
            lock = sa.select(sa.func.pg_try_advisory_lock(_OWNER))
            free = not self._exclusive or await connection.scalar(lock)
            # The server may not know yet that the last session is lost.
            if not free and await connection.scalar(_END, self._backend):
                raise errors.StoreLostError(
                    f"store {self._name}: the server still runs the session that was lost"
                )
            self._backend = {**(await connection.execute(_BACKEND)).mappings().one()}
        if not free:
            raise errors.StoreLockedError(
                f"store {self._name}: another process uses this database (stop that one, or give"
                " this one a database of its own)"
            )

    async def reopen(self) -> None:
        """Replace the session; raise StoreError if that cannot be done now, or any more."""
        await self.close()
        with database.store_errors(self._name):
            await self.open()

    async def transact(self, work: Callable[[sa.Connection], T]) -> T:
        """Run work in a transaction."""
        if self._connection is None:
            raise errors.StoreLostError(f"store {self._name}: the server closed the connection")
        async with self._connection.begin():
            return await self._connection.run_sync(work)

    def check(self) -> None:
        """Raise StoreLostError if the session is lost."""
        if self._session is None or self._session.is_closed():
            raise errors.StoreLostError(f"store {self._name}: the server closed the connection")

    async def close(self, patience: float = 0.0) -> None:
        """End the session; wait up to ``patience`` seconds until the server has given up its lock.

        Whoever opens the database next, such as a daemon that is restarted, may come at once.
        """
        connection, self._connection = self._connection, None
        session, self._session = self._session, None
        if session is not None:
            if patience:
                # Whatever this raises, the session is over after the next call.
                with CancelScope(shield=True), suppress(Exception):
                    await session.close(timeout=patience)
            # Without a bound, a server that no longer answers would be waited for.
            session.terminate()
        if connection is not None:
            with CancelScope(shield=True), suppress(SQLAlchemyError, OSError):
                await connection.invalidate()
                await connection.close()


@asynccontextmanager
async def _engine(login: Login, *, size: int) -> AsyncGenerator[AsyncEngine]:
    try:
        engine = create_async_engine(
            "postgresql+asyncpg://",
            async_creator=login.connect,
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
