"""An open database, and how its troubles are told."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from monitor import errors

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine


@dataclass(frozen=True, slots=True)
class Database:
    """An open database: one connection that writes, and several that read.

    ``name`` is how messages call it, without a password. ``check`` raises StoreError when
    what was opened is no longer what others would find under that name.
    """

    name: str
    writer: AsyncConnection
    readers: AsyncEngine
    check: Callable[[], None]


RECOVERY = (
    "restore a backup; or save what can be read: sqlite3 STORE .recover | sqlite3 NEW; or move it"
    " away and start anew, which loses history, pending deliveries and run-time watches, and takes"
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
_OWN = frozenset({"ledger", "jobs", "transitions", "deliveries"})
_MARK = "alembic_version"
_MOST_NAMED = 3


def is_damage(text: str) -> bool:
    """Whether SQLite says that what is in the file is no database any longer."""
    return any(words in text for words in _DAMAGE)


def require_own(tables: Collection[str], name: str, *, alone: bool) -> None:
    """Require that a database has the tables of a store, or room for them.

    ``alone`` says that nothing else may be in it.

    Raises:
        StoreError: it belongs to another program; ``name`` is how the message calls it.
    """
    if {*_OWN, _MARK} <= set(tables):
        return
    # SQLite keeps tables of its own, such as sqlite_sequence, when all others are gone.
    theirs = {table for table in tables if not table.startswith("sqlite_")}
    foreign = sorted(theirs if alone else {*_OWN, _MARK} & theirs)
    if foreign:
        more = ", …" if len(foreign) > _MOST_NAMED else ""
        what = f"{'table' if len(foreign) == 1 else 'tables'} {', '.join(foreign[:_MOST_NAMED])}"
        raise errors.StoreError(
            f"store {name}: it belongs to another program: it has the {what}{more}"
            " (name another file or database, which job-monitor fills itself)"
        )


def misnamed(message: str, remedy: str) -> errors.ConfigurationError:
    """Complain of the setting ``store``."""
    return errors.ConfigurationError([errors.Problem("", "store", message, remedy)])


@contextmanager
def troubles_of(name: str) -> Iterator[None]:
    """Turn what a database raises into StoreError, on one line, without SQL or values."""
    try:
        yield
    except (SQLAlchemyError, OSError) as error:
        told = reason(error)
        remedy = f" ({_remedy(told)})" if _remedy(told) else ""
        raise errors.StoreError(f"store {name}: {told}{remedy}") from error


def _remedy(told: str) -> str:
    if is_damage(told):
        return RECOVERY
    return next((remedy for words, remedy in _REMEDIES.items() if words in told), "")


def reason(error: Exception) -> str:
    """Say what the driver said, without its details: they may quote rows."""
    told = error.orig if isinstance(error, DBAPIError) and error.orig else error
    # SQLAlchemy's asyncpg adapter puts "<class '…'>: " before the server's words.
    first_line = str(told).strip().partition("\n")[0].rpartition(">: ")[2]
    return first_line or type(told).__name__
