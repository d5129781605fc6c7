"""Opening SQLite: one file, one process, nothing lost in a power cut.

The lock is ``flock`` on ``<file>.lock``: the kernel drops it when the process ends,
however it ends. Neither it nor SQLite's write-ahead log works on a network file system.
"""

from __future__ import annotations

import fcntl
import os
from contextlib import AsyncExitStack, asynccontextmanager, closing, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import sqlalchemy as sa
from anyio import CancelScope, to_thread
from sqlalchemy.ext.asyncio import create_async_engine

from monitor import errors
from monitor.stores import database, sqlite_check

if TYPE_CHECKING:
    from collections.abc import (
        AsyncGenerator,
        Awaitable,
        Callable,
        Iterator,
        Mapping,
        Sequence,
    )

    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

_READERS = 4
_NEEDS = "SQLite needs a directory on a local disk that job-monitor may write to"
_PRAGMAS = (
    "PRAGMA busy_timeout = 30000",
    "PRAGMA synchronous = FULL",
    "PRAGMA journal_size_limit = 67108864",
)

# The pages of the largest group fit into 16 MiB: what does not is written twice. The log is
# copied into the file when it has 16 MiB, which takes four times as many commits as by default.
WRITER = ("cache_size = -16384", "wal_autocheckpoint = 4096")


def path_of(url: str) -> Path:
    """Return the path in ``sqlite:///absolute/path`` or ``sqlite:relative/path``.

    Raises:
        ConfigurationError: the URL has neither form.
    """
    rest = url.removeprefix("sqlite:")
    remedy = "write sqlite:///absolute/path.db or sqlite:relative.db"
    if rest.startswith("//"):
        if not rest.startswith("///"):
            raise database.url_problem("a SQLite URL names no host", remedy)
        rest = "/" + rest.lstrip("/")
    if "?" in rest or "#" in rest:
        raise database.url_problem("a SQLite URL takes no parameters", remedy)
    path = Path(unquote(rest))
    if path.name in {"", ":memory:"} or "\0" in path.name:
        raise database.url_problem("the SQLite URL names no file", remedy)
    return path.absolute()


@asynccontextmanager
async def open_sqlite(
    path: Path, *, exclusive: bool, create: bool = True
) -> AsyncGenerator[database.Database]:
    """Open the file; with ``create``, make a missing one that only its owner may read."""
    name = str(path)
    async with AsyncExitStack() as stack:
        path = await to_thread.run_sync(_checked, path, create)
        if exclusive:
            stack.enter_context(_locked(path))
            # Under the lock: the check of the log is wrong while somebody writes.
            await to_thread.run_sync(sqlite_check.require_intact, path)
        # Made here, because SQLite gives its other files the permissions of this one.
        os.close(_open(path))
        writers = await stack.enter_async_context(_engine(path, size=1, writes=True))
        readers = await stack.enter_async_context(_engine(path, size=_READERS, writes=False))
        with database.store_errors(name):
            writer = await stack.enter_async_context(writers.connect())
            # The other files exist once there was a transaction. To lose one of them would lose
            # commits, or let a second process in.
            async with writer.begin():
                suffixes = ("", "-wal", "-shm", *([".lock"] if exclusive else []))
                paths = [path.with_name(path.name + suffix) for suffix in suffixes]
                opened = {each: each.stat() for each in paths}
            transact = await stack.enter_async_context(_transactions(writer))
        yield database.Database(name, writer, readers, transact, partial(_require_same, opened))


@asynccontextmanager
async def _transactions(
    writer: AsyncConnection,
) -> AsyncGenerator[Callable[[database.Work], Awaitable[Sequence[int]]]]:
    """Run work on the connection of ``writer``, whole, in the one thread that may use that.

    By way of ``writer`` each statement would take several turns of the event loop, which are
    long while that is busy.
    """
    driver: Any = (await writer.get_raw_connection()).driver_connection
    in_thread = driver._execute  # noqa: SLF001 -- there is no other way into the thread
    inner = driver._conn  # noqa: SLF001 -- nor to what it uses
    engine = sa.create_engine(
        "sqlite://", creator=lambda: inner, poolclass=sa.pool.StaticPool, hide_parameters=True
    )
    sa.event.listen(engine, "begin", _begin)
    connection: sa.Connection = await in_thread(engine.connect)

    def run(work: database.Work) -> Sequence[int]:
        with connection.begin():
            return work(connection)

    try:
        yield partial(in_thread, run)
    finally:
        with CancelScope(shield=True):
            await in_thread(connection.close)


def _begin(connection: sa.Connection) -> None:
    # Take the write lock at once: SQLite may refuse a lock taken later without waiting.
    connection.exec_driver_sql("BEGIN IMMEDIATE")


async def enforce_references(writer: AsyncConnection) -> None:
    """Let deliveries go with their transition from now on.

    Not before the schema is up to date: a table that is copied for it must not take along what
    refers to the old one. Not in a transaction either, in which SQLite would ignore it.
    """
    driver: Any = (await writer.get_raw_connection()).driver_connection
    await driver.execute("PRAGMA foreign_keys = ON")


def check(path: Path) -> None:
    """Require that a store may be opened there; change nothing.

    Raises:
        StoreError: it may not; the message has the remedy.
    """
    path = _checked(path, create=True)
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise errors.StoreError(f"store {path}: it may not be written ({_NEEDS})")


def _checked(path: Path, create: bool) -> Path:  # noqa: FBT001 -- as a thread takes it
    """Return the real path of a store that can be opened."""
    try:
        has_directory = path.parent.is_dir()
    except OSError as error:
        raise _unusable(path, error) from None
    if not has_directory:
        remedy = f"make it: mkdir -p {path.parent}; or name another path"
        raise errors.StoreError(f"store {path}: its directory does not exist ({remedy})")
    sqlite_check.require_kind(path)
    if not create and not path.exists():
        raise errors.StoreError(f"store {path}: there is none yet (job-monitor run makes it)")
    # SQLite puts its files beside the end of all links; and two links to a store are one store.
    path = Path(os.path.realpath(path))
    sqlite_check.require_content(path)
    return path


def _require_same(opened: Mapping[Path, os.stat_result]) -> None:
    """Require that each path still leads to the file (device and inode) that was opened."""
    for path, status in opened.items():
        try:
            same = os.path.samestat(path.stat(), status)
        except OSError:
            same = False
        if not same:
            raise errors.StoreError(
                f"store {path}: the file was removed or replaced while in use"
                " (put it back, or restart with what is there now)"
            )


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    descriptor = _open(path.with_name(path.name + ".lock"))
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise errors.StoreLockedError(
            f"store {path}: another process uses it (stop that one, or give this one a store"
            " of its own; several replicas need postgresql://)"
        ) from None
    except OSError as error:
        os.close(descriptor)
        raise _unusable(path, error) from None
    # The lock file stays: if it were removed, two processes could lock two files of its name.
    try:
        yield
    finally:
        os.close(descriptor)


def _open(path: Path) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise _unusable(path, error) from None


def _unusable(path: Path, error: OSError) -> errors.StoreError:
    return errors.StoreError(f"store {path}: {error.strerror} ({_NEEDS})")


@asynccontextmanager
async def _engine(path: Path, *, size: int, writes: bool) -> AsyncGenerator[AsyncEngine]:
    engine = create_async_engine(
        sa.URL.create("sqlite+aiosqlite", database=str(path)),
        # The driver must not open transactions by itself, in the middle of ours.
        connect_args={"isolation_level": None},
        hide_parameters=True,
        max_overflow=0,
        pool_size=size,
    )
    sa.event.listen(engine.sync_engine, "connect", _set_up)
    if writes:
        # References are enforced later, see ``enforce_references``.
        sa.event.listen(engine.sync_engine, "begin", _begin)
        sa.event.listen(engine.sync_engine, "connect", _set_up_writer)
    try:
        yield engine
    finally:
        with CancelScope(shield=True):
            await engine.dispose()


def _set_up_writer(connection: Any, _record: Any) -> None:
    with closing(connection.cursor()) as cursor:
        for pragma in WRITER:
            cursor.execute(f"PRAGMA {pragma}")


def _set_up(connection: Any, _record: Any) -> None:
    with closing(connection.cursor()) as cursor:
        for pragma in _PRAGMAS:
            cursor.execute(pragma)
        cursor.execute("PRAGMA journal_mode = WAL")
        if cursor.fetchone() != ("wal",):
            raise errors.StoreError(f"the store has no write-ahead log ({_NEEDS})")
