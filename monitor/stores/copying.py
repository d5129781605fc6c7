"""A whole ledger, copied into another database, such as from SQLite into PostgreSQL.

Rows are copied as they are, in the order of their keys, some in each commit. So a copy that was
interrupted goes on after the last row of each table. Until the end the table ``store_copy`` says
which ledger is copied: no daemon opens such a database, and nothing but the same ledger, in the
same state, may be copied on. The last commit gives the target the identity of the source.
"""

from __future__ import annotations

from contextlib import AsyncExitStack
from functools import partial
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from monitor import errors
from monitor.stores import connect, database, rows, schema, upgrade

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Row = dict[str, Any]

ROWS_AT_ONCE = 1000
"""Rows of one commit: a megabyte or two."""


def _plain(table: sa.Table) -> sa.Table:
    """Return a table whose times are the integers that they are stored as."""
    columns = [
        sa.Column(
            each.name,
            sa.BigInteger if isinstance(each.type, schema.StoredTime) else each.type,
            primary_key=each.primary_key,
        )
        for each in table.columns
    ]
    return sa.Table(table.name, sa.MetaData(), *columns)


_LEDGER = _plain(schema.ledger)
TABLES = [_plain(each) for each in schema.metadata.sorted_tables if each is not schema.ledger]
"""All but the ledger's own row; what others refer to comes first."""


async def copy(source: str, target: str, on_rows: Callable[[str, int, int], None]) -> int:
    """Copy the ledger at the URL ``source`` into the database at ``target``; return its rows.

    No process may use either. ``on_rows`` is called with a table, its rows that are copied, and
    all of its rows, whenever there are more of them.

    Raises:
        ConfigurationError: a URL has none of the known forms.
        StoreLockedError: another process uses one of them.
        StoreError: one cannot be read or written, or the target has something else in it.
    """
    async with AsyncExitStack() as stack:
        opened = await stack.enter_async_context(connect.open_database(source, migrate=False))
        into = await stack.enter_async_context(connect.open_database(target, copying=True))
        with database.store_errors(opened.name):
            (known,) = await opened.read(partial(_rows, query=sa.select(_LEDGER)))
        with database.store_errors(into.name):
            await into.transact(partial(_begin, known=known, name=into.name))
        total = 0
        for table in TABLES:
            total += await _copy_table(table, opened, into, on_rows)
        with database.store_errors(opened.name):
            last_id = await opened.read(_last_delivery)
        with database.store_errors(into.name):
            await into.transact(partial(_end, known=known, last_id=last_id))
        return total


async def _copy_table(
    table: sa.Table,
    opened: database.Database,
    into: database.Database,
    on_rows: Callable[[str, int, int], None],
) -> int:
    key = [*table.primary_key.columns]
    count = sa.select(sa.func.count()).select_from(table)
    last = sa.select(*key).order_by(*(each.desc() for each in key)).limit(1)
    with database.store_errors(opened.name):
        total = await opened.read(lambda reader: reader.scalar(count)) or 0
    with database.store_errors(into.name):
        done = await into.transact(lambda writer: writer.scalar(count)) or 0
        after: Sequence[Any] | None
        after = await into.transact(lambda writer: writer.execute(last).first())
    while True:
        on_rows(table.name, done, total)
        query = sa.select(table).order_by(*key).limit(ROWS_AT_ONCE)
        if after is not None:
            place = [sa.literal(it, each.type) for it, each in zip(after, key, strict=True)]
            query = query.where(sa.tuple_(*key) > sa.tuple_(*place))
        with database.store_errors(opened.name):
            found = [_cleaned(row) for row in await opened.read(partial(_rows, query=query))]
        if not found:
            break
        with database.store_errors(into.name):
            await into.transact(partial(_insert, table=table, found=found))
        done += len(found)
        after = [found[-1][each.name] for each in key]
    if done != total:
        raise errors.StoreError(
            f"store {into.name}: {done} rows of {table.name} were copied, of {total}"
            " (recreate the database, and repeat the copy)"
        )
    return total


def _rows(connection: sa.Connection, query: sa.Select[Any]) -> Sequence[Row]:
    return [{**row} for row in connection.execute(query).mappings()]


def _insert(connection: sa.Connection, table: sa.Table, found: Sequence[Row]) -> None:
    connection.execute(sa.insert(table), found)


def _cleaned(row: Row) -> Row:
    """Return a row that any database takes: older versions stored NUL in SQLite."""
    return {name: rows.clean(it) if isinstance(it, str) else it for name, it in row.items()}


def _begin(connection: sa.Connection, known: Row, name: str) -> None:
    """Note what is copied; of a target that has something else in it, change nothing."""
    mark = {column.name: known[column.name] for column in upgrade.copies.columns}
    if sa.inspect(connection).has_table(upgrade.copies.name):
        begun = connection.execute(sa.select(upgrade.copies)).mappings().one()
        if {**begun} != mark:
            raise errors.StoreError(
                f"store {name}: the copy of another ledger into it, or of this one before it was"
                " used again, has not ended (recreate the database)"
            )
        return
    full = [
        each.name for each in TABLES if connection.scalar(sa.select(sa.exists(sa.select(each))))
    ]
    if full or connection.scalar(sa.select(schema.ledger.c.position)):
        raise errors.StoreError(
            f"store {name}: it is not empty: it has rows in {', '.join(full) or 'ledger'}"
            " (name a new database)"
        )
    upgrade.copies.create(connection)
    connection.execute(sa.insert(upgrade.copies), mark)


def _last_delivery(reader: sa.Connection) -> int:
    """Return the largest id that a delivery ever had: none is used twice."""
    if reader.dialect.name == "sqlite":
        query = sa.text("SELECT seq FROM sqlite_sequence WHERE name = 'deliveries'")
        return int(reader.scalar(query) or 0)
    query = sa.text("SELECT last_value FROM deliveries_id_seq WHERE is_called")
    return int(reader.scalar(query) or 0)


def _end(connection: sa.Connection, known: Row, last_id: int) -> None:
    """Give the target the identity of the source."""
    if connection.dialect.name == "sqlite":
        connection.execute(sa.text("DELETE FROM sqlite_sequence WHERE name = 'deliveries'"))
        insert = "INSERT INTO sqlite_sequence (name, seq) VALUES ('deliveries', :last)"
        connection.execute(sa.text(insert), {"last": last_id})
    elif last_id:
        connection.execute(sa.text("SELECT setval('deliveries_id_seq', :last)"), {"last": last_id})
    connection.execute(sa.delete(_LEDGER))
    connection.execute(sa.insert(_LEDGER), known)
    upgrade.copies.drop(connection)
