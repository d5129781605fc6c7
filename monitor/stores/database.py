"""An open database, and how its troubles are told."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from monitor import errors

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

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


def misnamed(message: str, remedy: str) -> errors.ConfigurationError:
    """Complain of the setting ``store``."""
    return errors.ConfigurationError([errors.Problem("", "store", message, remedy)])


@contextmanager
def troubles_of(name: str) -> Iterator[None]:
    """Turn what a database raises into StoreError, on one line, without SQL or values."""
    try:
        yield
    except (SQLAlchemyError, OSError) as error:
        raise errors.StoreError(f"store {name}: {reason(error)}") from error


def reason(error: Exception) -> str:
    """Say what the driver said, without its details: they may quote rows."""
    told = error.orig if isinstance(error, DBAPIError) and error.orig else error
    # SQLAlchemy's asyncpg adapter puts "<class '…'>: " before the server's words.
    first_line = str(told).strip().partition("\n")[0].rpartition(">: ")[2]
    return first_line or type(told).__name__
