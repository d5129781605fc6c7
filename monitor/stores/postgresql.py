"""Opening PostgreSQL: for several daemons at once, or for one process alone.

Each holds an advisory lock in its writing session: daemons share it, as they share the database,
and a process that needs the database for itself has it alone. A process that loses the session
loses all its locks and the means to write in the same moment.
They need sessions of their own: a pooler in transaction mode must not stand between.
"""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import anyio
import anyio.lowlevel
import sqlalchemy as sa
from anyio import CancelScope
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import create_async_engine

from monitor import errors
from monitor.stores import database, replicas
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
_LISTEN_AGAIN = 1.0
"""Seconds after which a session that listens is replaced, if it was lost."""
_LISTEN_CHECK = 10.0
"""Seconds between two checks that a session that listens still has its server."""
_IDLE_WITHIN = sa.text(
    "SELECT set_config('idle_in_transaction_session_timeout', '9s', false) FROM pg_settings"
    " WHERE name = 'idle_in_transaction_session_timeout' AND source = 'session'"
    " AND setting = '60000'"
)
"""A process that is stopped amidst a commit must not hold up all other replicas for long.

Longer than the lease of a replica: its locks must not be free while it still acts.
"""
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
    store: StoreSettings,
    make_token: database.MakeToken | None,
    *,
    exclusive: bool,
    shared: bool = False,
) -> AsyncGenerator[database.Database]:
    """Open the database that the URL of ``store``, in libpq's form, names.

    ``shared`` is for daemons, which share it with each other, and with nobody who needs it alone.
    """
    login = Login(store, make_token)
    name = login.url.name
    async with AsyncExitStack() as stack:
        writers = await stack.enter_async_context(_engine(login, size=1))
        readers = await stack.enter_async_context(_engine(login, size=READERS))
        writer = _Writer(writers, name, exclusive=exclusive, shared=shared)
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
            watch_loss=partial(setattr, writer, "on_loss"),
            listen=partial(_listen, login) if shared else None,
        )


async def _listen(login: Login, tell: Callable[[str | None], None]) -> NoReturn:
    """Call ``tell`` with each message of a replica, and with ``None`` after each new session."""
    while True:
        with suppress(Exception):  # whatever it is, another session may do better
            session = await login.connect()
            try:
                lost = anyio.Event()
                session.add_termination_listener(lambda _session: lost.set())  # noqa: B023 -- this one
                await session.add_listener(replicas.CHANNEL, lambda *about: tell(about[-1]))
                # What was sent before this session listened is lost.
                tell(None)
                while not lost.is_set():
                    with anyio.move_on_after(_LISTEN_CHECK):
                        await lost.wait()
                    # A server that is gone without a word would else be listened to for ever.
                    if not lost.is_set():
                        await session.execute("SELECT 1", timeout=_LISTEN_CHECK)
            finally:
                session.terminate()
        await anyio.sleep(_LISTEN_AGAIN)


class _Writer:
    """The session that writes and holds the owner's lock; when it is lost, another takes its place.

    The server gives the lock of a lost session to whoever comes next. So what was known of the
    database before must be compared with it after ``reopen``.
    """

    def __init__(self, engine: AsyncEngine, name: str, *, exclusive: bool, shared: bool) -> None:
        self._engine = engine
        self._name = name
        self._exclusive = exclusive
        self._shared = shared
        self._connection: AsyncConnection | None = None
        self._session: Any = None
        self.on_loss: Callable[[], None] = lambda: None
        """Called as soon as the session is known to have ended."""
        self._backend: dict[str, Any] = {"pid": 0, "began": None}

    async def open(self) -> None:
        """Connect, and take the lock.

        Raises:
            StoreLockedError: another process has it.
            StoreLostError: our last session still has it, and is being ended.
        """
        connection = self._connection = await self._engine.connect()
        session: Any = (await connection.get_raw_connection()).driver_connection
        self._session = session
        session.add_termination_listener(lambda _session: self.on_loss())
        async with connection.begin():
            await connection.execute(_DURABLE)
            await connection.execute(_IDLE_WITHIN)
            function = "pg_try_advisory_lock_shared" if self._shared else "pg_try_advisory_lock"
            lock = sa.select(getattr(sa.func, function)(_OWNER))
            free = not self._exclusive or await connection.scalar(lock)
            # The server may not know yet that the last session is lost. While it lasts, it is in
            # doubt what was committed, and it holds what this one is to take.
            if (self._shared or not free) and await connection.scalar(_END, self._backend):
                raise errors.StoreLostError(
                    f"store {self._name}: the server still runs the session that was lost"
                )
            self._backend = {**(await connection.execute(_BACKEND)).mappings().one()}
        if not free:
            whom = "another process uses this database"
            if self._shared:
                whom = "a process that needs it alone uses this database, such as store copy"
            raise errors.StoreLockedError(
                f"store {self._name}: {whom} (stop that one, or give this one a database of its"
                " own)"
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
