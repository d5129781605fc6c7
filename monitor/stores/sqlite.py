"""Opening SQLite: one file, one process, nothing lost in a power cut.

The lock is ``flock`` on ``<file>.lock``: the kernel drops it when the process ends,
however it ends. Neither it nor SQLite's write-ahead log works on a network file system.
"""

from __future__ import annotations

import fcntl
import os
from contextlib import AsyncExitStack, asynccontextmanager, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import sqlalchemy as sa
from anyio import CancelScope, to_thread
from sqlalchemy.ext.asyncio import create_async_engine

from monitor import errors
from monitor.stores import database, sqlite_check

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence

    from sqlalchemy.ext.asyncio import AsyncEngine

_READERS = 4
_NEEDS = "SQLite needs a directory on a local disk that job-monitor may write to"
_PRAGMAS = (
    "PRAGMA busy_timeout = 30000",
    "PRAGMA synchronous = FULL",
    "PRAGMA foreign_keys = ON",
    "PRAGMA journal_size_limit = 67108864",
)


def path_of(url: str) -> Path:
    """Read ``sqlite:///absolute/path`` or ``sqlite:relative/path``.

    Raises:
        ConfigurationError: it is neither.
    """
    rest = url.removeprefix("sqlite:")
    remedy = "write sqlite:///absolute/path.db or sqlite:relative.db"
    if rest.startswith("//"):
        if not rest.startswith("///"):
            raise database.misnamed("a SQLite URL names no host", remedy)
        rest = "/" + rest.lstrip("/")
    if "?" in rest or "#" in rest:
        raise database.misnamed("a SQLite URL takes no parameters", remedy)
    path = Path(unquote(rest))
    if path.name in {"", ":memory:"} or "\0" in path.name:
        raise database.misnamed("the SQLite URL names no file", remedy)
    return path.absolute()


@asynccontextmanager
async def opened(
    path: Path, *, exclusive: bool, create: bool = True
) -> AsyncGenerator[database.Database]:
    """Open the file, making it if need be and permitted (for its owner's eyes alone)."""
    name = str(path)
    async with AsyncExitStack() as stack:
        path = await to_thread.run_sync(_checked, path, create)
        if exclusive:
            stack.enter_context(_locked(path))
            await to_thread.run_sync(sqlite_check.whole, path)
        _make(path)
        writers = await stack.enter_async_context(_engine(path, size=1, writes=True))
        readers = await stack.enter_async_context(_engine(path, size=_READERS, writes=False))
        with database.troubles_of(name):
            writer = await stack.enter_async_context(writers.connect())
            async with writer.begin():
                files = _Files.seen([path, *_beside(path, exclusive=exclusive)])
        yield database.Database(name, writer, readers, files.check)


def check(path: Path) -> None:
    """Look whether a store may be opened there; change nothing.

    Raises:
        StoreError: it may not, which is told with a remedy.
    """
    path = _checked(path, create=True)
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise errors.StoreError(f"store {path}: it may not be written ({_NEEDS})")


def _checked(path: Path, create: bool) -> Path:  # noqa: FBT001 -- as a thread takes it
    """Return the end of all links: SQLite puts its files beside it, and one end is one store."""
    require_place(path)
    sqlite_check.kind(path)
    if not create:
        _require(path)
    path = Path(os.path.realpath(path))
    sqlite_check.content(path)
    return path


def require_place(path: Path) -> None:
    """Require that the directory of a store is there.

    Raises:
        StoreError: it is not, which is told with a remedy.
    """
    try:
        found = path.parent.is_dir()
    except OSError as error:
        raise _unusable(path, error) from None
    if not found:
        remedy = f"make it: mkdir -p {path.parent}; or name another path"
        raise errors.StoreError(f"store {path}: its directory does not exist ({remedy})")


@dataclass(frozen=True, slots=True)
class _Files:
    """The files that were opened, by device and inode."""

    identities: Mapping[Path, tuple[int, int]]

    @classmethod
    def seen(cls, paths: Sequence[Path]) -> _Files:
        return cls({path: _identity(path) for path in paths})

    def check(self) -> None:
        """Raise StoreError if a name no longer leads to the file that was opened."""
        for path, identity in self.identities.items():
            try:
                same = _identity(path) == identity
            except OSError:
                same = False
            if not same:
                raise errors.StoreError(
                    f"store {path}: the file was removed or replaced while in use"
                    " (put it back, or start anew with what is there now)"
                )


def _identity(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_dev, status.st_ino


def _beside(path: Path, *, exclusive: bool) -> Iterator[Path]:
    """The files whose loss would lose commits, or let a second process in."""
    for suffix in ("-wal", "-shm", *([".lock"] if exclusive else [])):
        yield path.with_name(path.name + suffix)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    lock = path.with_name(path.name + ".lock")
    descriptor = _open(lock)
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
    try:
        yield
    finally:
        os.close(descriptor)


def _require(path: Path) -> None:
    if not path.exists():
        raise errors.StoreError(f"store {path}: there is none yet (job-monitor run makes it)")


def _make(path: Path) -> None:
    """SQLite gives the files beside it the permissions of this one."""
    os.close(_open(path))


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
        sa.event.listen(engine.sync_engine, "begin", _begin)
    try:
        yield engine
    finally:
        with CancelScope(shield=True):
            await engine.dispose()


def _set_up(connection: Any, _record: Any) -> None:
    with closing(connection.cursor()) as cursor:
        for pragma in _PRAGMAS:
            cursor.execute(pragma)
        cursor.execute("PRAGMA journal_mode = WAL")
        if cursor.fetchone() != ("wal",):
            raise errors.StoreError(f"the store has no write-ahead log ({_NEEDS})")


def _begin(connection: sa.Connection) -> None:
    """Take the write lock at once: a lock taken later may be refused without waiting."""
    connection.exec_driver_sql("BEGIN IMMEDIATE")
