"""An open database, and the texts of its errors."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn, Protocol, TypeVar

from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from monitor import errors

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Iterator

    from sqlalchemy import Connection

    MakeToken = Callable[[], Awaitable[str]]
    """Makes the password of one connection; raises PollError where it cannot."""

T = TypeVar("T")


class Runner(Protocol):
    """Runs work on a connection of the database."""

    async def __call__(self, work: Callable[[Connection], T]) -> T:
        """Return the result of ``work``, or raise its error."""


@dataclass(frozen=True, slots=True)
class Database:
    """An open database: one connection that writes, and several that read.

    ``name`` is its name in messages, without a password, ``dialect`` its name in SQLAlchemy.
    ``read`` runs work that only reads; ``transact`` runs work in a transaction of the connection
    that writes, which does nothing else meanwhile. Work that is cancelled is at its end when the
    call returns. ``enforce_references`` is called once the schema is up to date. ``check`` raises
    StoreError if the name no longer leads to the database that was opened. ``written`` returns
    another value once any process has written to it. ``reopen`` replaces the connection that writes
    after it was lost, or raises StoreError; it is ``None`` where a lost database stays lost.
    ``listen`` calls a function with each message of other processes, and with ``None`` whenever
    some may have been missed, until it is cancelled; it is ``None`` where no others may write.
    ``watch_loss`` takes a function that is called as soon as the connection that writes is lost.
    """

    name: str
    dialect: str
    read: Runner
    transact: Runner
    enforce_references: Callable[[], Awaitable[None]]
    check: Callable[[], None]
    written: Callable[[], object]
    reopen: Callable[[], Awaitable[None]] | None = None
    listen: Callable[[Callable[[str | None], None]], Awaitable[NoReturn]] | None = None
    watch_loss: Callable[[Callable[[], None]], None] = lambda _lost: None


RECOVERY = (
    "restore a backup; or save what can be read: sqlite3 STORE .recover | sqlite3 NEW; or move it"
    " away and start again, which loses history, pending deliveries and run-time watches, and takes"
    " all jobs as seen for the first time"
)
"""The remedy for a damaged store."""

_REMEDIES = {
    "disk is full": "make room on its disk",
    "No space left on device": "make room on its disk",
    "disk I/O error": "check its disk and the file system; nothing that was sent is lost",
    "readonly database": "let the user of job-monitor write to the file and its directory",
    "unable to open database": "let the user of job-monitor write to the file and its directory,"
    " and keep nothing else under its name with -wal, -shm or .lock",
    "is locked": "another program holds it: close that one",
}
_LOST_CLASSES = ("08", "57")
"""SQLSTATEs of a lost connection, and of a server that stops, starts or ends a statement."""
_GIVEN_UP = frozenset({"40001", "40P01", "55P03", "53300"})
"""Serialization failure, deadlock, lock not available, too many connections."""
_DAMAGE = ("malformed", "not a database")
_TABLES = frozenset({"ledger", "jobs", "transitions", "deliveries"})
_REVISION_TABLE = "alembic_version"
_MOST_NAMED = 3


def is_damage(text: str) -> bool:
    """Recognize a message of SQLite about a damaged file."""
    return any(words in text for words in _DAMAGE)


def require_ours(tables: Collection[str], name: str, *, alone: bool) -> None:
    """Require that a database has the tables of a store, or room for them.

    With ``alone``, other tables may not be there either.

    Raises:
        StoreError: it belongs to another program; the message calls it ``name``.
    """
    if {*_TABLES, _REVISION_TABLE} <= set(tables):
        return
    # SQLite keeps its internal tables, such as sqlite_sequence, after the last table is dropped.
    present = {table for table in tables if not table.startswith("sqlite_")}
    foreign = sorted(present if alone else {*_TABLES, _REVISION_TABLE} & present)
    if foreign:
        more = ", …" if len(foreign) > _MOST_NAMED else ""
        what = f"{'table' if len(foreign) == 1 else 'tables'} {', '.join(foreign[:_MOST_NAMED])}"
        raise errors.StoreError(
            f"store {name}: it belongs to another program: it has the {what}{more}"
            " (name another file or database, which job-monitor fills itself)"
        )


def url_problem(message: str, remedy: str) -> errors.ConfigurationError:
    """Return the error about the setting ``store``."""
    return errors.ConfigurationError([errors.Problem("", "store", message, remedy)])


@contextmanager
def store_errors(name: str) -> Iterator[None]:
    """Turn the errors of a database into StoreError, on one line, without SQL or values."""
    try:
        yield
    except (SQLAlchemyError, OSError) as error:
        message = reason(error)
        known = (remedy for words, remedy in _REMEDIES.items() if words in message)
        remedy = RECOVERY if is_damage(message) else next(known, "")
        suffix = f" ({remedy})" if remedy else ""
        kind = errors.StoreLostError if is_lost(error) else errors.StoreError
        raise kind(f"store {name}: {message}{suffix}") from error


def is_lost(error: Exception) -> bool:
    """Return whether a server may soon take again what it did not take now."""
    if isinstance(error, TimeoutError):
        return True
    if not isinstance(error, DBAPIError):
        return False
    state = _state(error)
    return error.connection_invalidated or state.startswith(_LOST_CLASSES) or state in _GIVEN_UP


def _state(error: DBAPIError) -> str:
    """Return the SQLSTATE of a server; empty for an error of the driver."""
    return str(getattr(error.orig, "sqlstate", None) or "")


def reason(error: Exception) -> str:
    """Return the driver's message without its details, which may quote rows."""
    if isinstance(error, TimeoutError):
        return "the server did not answer in time"
    cause = error.orig if isinstance(error, DBAPIError) and error.orig else error
    if isinstance(error, DBAPIError) and error.connection_invalidated and not _state(error):
        # The driver says only in which of its own states it noticed.
        return "the connection to the server was lost"
    # SQLAlchemy's asyncpg adapter puts "<class '…'>: " before the server's words.
    first_line = str(cause).strip().partition("\n")[0].rpartition(">: ")[2]
    return first_line or type(cause).__name__
