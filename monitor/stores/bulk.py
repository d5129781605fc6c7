"""Statements that are executed for many rows, without SQLAlchemy's work on each of them."""

from __future__ import annotations

from operator import itemgetter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import sqlalchemy as sa
    from sqlalchemy import Connection
    from sqlalchemy.engine import Dialect

    Row = tuple[Any, ...]


class Bulk:
    """A statement, and the names of its parameters in the order of the values of a row.

    Rows hold what the drivers take: times are integers (``schema.microseconds``).
    """

    def __init__(self, statement: sa.Insert | sa.Update | sa.Delete, *names: str) -> None:
        """Name every parameter of ``statement``, of which there are at least two."""
        self._statement = statement
        self._names = names
        self._compiled: dict[str, tuple[str, Callable[[Row], Row]]] = {}

    def execute(self, connection: Connection, rows: Sequence[Row]) -> None:
        """Execute the statement once for each row, in order."""
        if rows:
            text, ordered = self._for(connection.dialect)
            connection.exec_driver_sql(text, [ordered(row) for row in rows])

    def _for(self, dialect: Dialect) -> tuple[str, Callable[[Row], Row]]:
        """Return the text for a driver, and what puts a row in the order that it takes."""
        if dialect.name not in self._compiled:
            compiled: Any = self._statement.compile(
                dialect=dialect, column_keys=list(self._names), for_executemany=True
            )
            # A driver without numbered parameters takes one that occurs twice as two.
            places = [self._names.index(name) for name in compiled.positiontup]
            self._compiled[dialect.name] = str(compiled), itemgetter(*places)
        return self._compiled[dialect.name]
