"""An open database, and the texts of its errors."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from monitor import errors

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Iterator, Sequence

    from sqlalchemy import Connection
    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

    Work = Callable[[Connection], Sequence[int]]


@dataclass(frozen=True, slots=True)
class Database:
    """An open database: one connection that writes, and several that read.

    ``name`` is its name in messages, without a password. ``transact`` runs work in a transaction
    of the writer, which does nothing else meanwhile. ``check`` raises StoreError if the
    name no longer leads to the database that was opened.
    """

    name: str
    writer: AsyncConnection
    readers: AsyncEngine
    transact: Callable[[Work], Awaitable[Sequence[int]]]
    check: Callable[[], None]


RECOVERY = (
    "restore a backup; or save what can be read: sqlite3 STORE .recover | sqlite3 NEW; or move it"
    " away and start again, which loses history, pending deliveries and run-time watches, and takes"
    " all jobs as seen for the first time"
)
"""The remedy for a damaged store."""

_REMEDIES = {
    "disk is full": "make room on its disk",
    "disk I/O error": "check its disk and the file system; nothing that was sent is lost",
    "readonly database": "let the user of job-monitor write to the file and its directory",
    "unable to open database": "let the user of job-monitor write to the file and its directory,"
    " and keep nothing else under its name with -wal, -shm or .lock",
    "is locked": "another program holds it: close that one",
}
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
        raise errors.StoreError(f"store {name}: {message}{suffix}") from error


def reason(error: Exception) -> str:
    """Return the driver's message without its details, which may quote rows."""
    cause = error.orig if isinstance(error, DBAPIError) and error.orig else error
    # SQLAlchemy's asyncpg adapter puts "<class '…'>: " before the server's words.
    first_line = str(cause).strip().partition("\n")[0].rpartition(">: ")[2]
    return first_line or type(cause).__name__
