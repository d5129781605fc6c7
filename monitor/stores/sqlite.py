"""Opening SQLite: one file, one process, nothing lost in a power cut.

The lock is ``flock`` on ``<file>.lock``: the kernel drops it when the process ends,
however it ends. Neither it nor SQLite's write-ahead log works on a network file system.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import time
from contextlib import AsyncExitStack, asynccontextmanager, closing, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

import sqlalchemy as sa
from anyio import to_thread

from monitor import errors
from monitor.stores import database, sqlite_check, sqlite_threads

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator, Mapping

_READERS = 4
_NEEDS = "SQLite needs a directory on a local disk that job-monitor may write to"
_PRAGMAS = (
    "PRAGMA busy_timeout = 30000",
    "PRAGMA synchronous = FULL",
    "PRAGMA journal_size_limit = 67108864",
)

_MOST_TRIES = 600
_BETWEEN_TRIES = 0.05

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
        readers = sqlite_threads.Readers(_engine(path, writes=False), _READERS)
        with database.store_errors(name):
            writer = await sqlite_threads.connect(_engine(path, writes=True))
            stack.push_async_callback(writer.close)
            stack.push_async_callback(readers.close)
            suffixes = ("", "-wal", "-shm", *([".lock"] if exclusive else []))
            paths = [path.with_name(path.name + suffix) for suffix in suffixes]
            # The other files exist once there was a transaction. To lose one of them would lose
            # commits, or let a second process in.
            opened = await writer.transact(lambda _: {each: each.stat() for each in paths})
        yield database.Database(
            name=name,
            dialect="sqlite",
            read=readers.read,
            transact=writer.transact,
            enforce_references=partial(writer.run, _enforce_references),
            check=partial(_require_same, opened),
            written=partial(_written, path.with_name(path.name + "-wal")),
        )


def _begin(connection: sa.Connection) -> None:
    # Take the write lock at once: SQLite may refuse a lock taken later without waiting.
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def _enforce_references(connection: sa.Connection) -> None:
    """Let deliveries go with their transition from now on.

    Not before the schema is up to date: a table that is copied for it must not take along what
    refers to the old one. Not in a transaction either, in which SQLite would ignore it.
    """
    connection.connection.cursor().execute("PRAGMA foreign_keys = ON")


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


def _written(log: Path) -> object:
    """Return what differs once somebody has written to the log."""
    try:
        status = log.stat()
    except OSError:
        return None  # the next commit finds out
    return status.st_mtime_ns, status.st_size


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


def _engine(path: Path, *, writes: bool) -> sa.Engine:
    engine = sa.create_engine(
        sa.URL.create("sqlite", database=str(path)),
        # The driver must not open transactions by itself, in the middle of ours.
        connect_args={"isolation_level": None},
        hide_parameters=True,
        poolclass=sa.pool.NullPool,
    )
    sa.event.listen(engine, "connect", _set_up)
    if writes:
        # References are enforced later, see ``_enforce_references``.
        sa.event.listen(engine, "begin", _begin)
        sa.event.listen(engine, "connect", _set_up_writer)
    return engine


def _set_up_writer(connection: sqlite3.Connection, _record: object) -> None:
    with closing(connection.cursor()) as cursor:
        for pragma in WRITER:
            cursor.execute(f"PRAGMA {pragma}")


def _set_up(connection: sqlite3.Connection, _record: object) -> None:
    with closing(connection.cursor()) as cursor:
        for pragma in _PRAGMAS:
            cursor.execute(pragma)
        _ask_for_log(cursor)
        if cursor.fetchone() != ("wal",):
            raise errors.StoreError(f"the store has no write-ahead log ({_NEEDS})")


def _ask_for_log(cursor: sqlite3.Cursor) -> None:
    # While another does this to a new file, SQLite refuses at once, whatever the busy_timeout is.
    for left in reversed(range(_MOST_TRIES)):
        try:
            cursor.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or not left:
                raise
            time.sleep(_BETWEEN_TRIES)
        else:
            return
