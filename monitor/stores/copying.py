"""A whole ledger, copied into another database, such as from SQLite into PostgreSQL.

Rows are copied as they are, in the order of their keys, some in each commit. So a copy that was
interrupted goes on after the last row of each table. Until the end the table ``store_copy`` says
which ledger is copied: no daemon opens such a database, and nothing but the same ledger, in the
same state, may be copied on. Then all rows of both are compared, and the last commit gives the
target the identity of the source.
"""

from __future__ import annotations

from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from monitor import errors
from monitor.stores import bulk, connect, database, rows, schema, text_index, upgrade

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from monitor.config.settings import StoreSettings

    Row = tuple[Any, ...]
    OnRows = Callable[[str, int, int], None]

T = TypeVar("T")

ROWS_AT_ONCE = 5000
"""Rows of one commit: some ten megabytes."""

NOT_COPIED: Mapping[str, str] = {
    "replicas": "the processes that share a database are not those of another",
    "owned_resources": "nobody owns anything in a database that no replica uses",
}
"""Tables that are left out, each with the reason."""


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
TABLES = [
    _plain(each)
    for each in schema.metadata.sorted_tables
    if each is not schema.ledger and each.name not in NOT_COPIED
]
"""All that is copied but the ledger's own row; what others refer to comes first."""


async def copy(
    source: str | StoreSettings,
    target: str | StoreSettings,
    on_rows: OnRows,
    *,
    source_token: database.MakeToken | None = None,
    target_token: database.MakeToken | None = None,
) -> int:
    """Copy the ledger in ``source``, a URL or settings, into ``target``; return its rows.

    No process may use either. ``on_rows`` is called with a table, its rows that are copied, and
    all of its rows, whenever there are more of them; and likewise with ``comparing TABLE`` while
    both are compared. The tokens are as in ``connect.open_database``.

    Raises:
        ConfigurationError: a URL has none of the known forms.
        StoreLockedError: another process uses one of them.
        StoreError: one cannot be read or written, or the target has something else in it.
    """
    async with AsyncExitStack() as stack:
        opened = await stack.enter_async_context(
            connect.open_database(source, migrate=False, make_token=source_token)
        )
        into = await stack.enter_async_context(
            connect.open_database(target, copying=True, make_token=target_token)
        )
        with database.store_errors(opened.name):
            [known] = await opened.read(_identity)
        mark = {column.name: known[column.name] for column in upgrade.copies.columns}
        with database.store_errors(into.name):
            await into.transact(partial(_begin, mark=mark, known=known, name=into.name))
        begun = _Copy(opened, into, on_rows)
        for table in TABLES:
            await begun.copy_table(table)
        for table in TABLES:
            await begun.compare_table(table)
        last_id = await begun.read_source(_last_delivery)
        if await begun.read_source(_identity) != [known]:
            raise errors.StoreError(
                f"store {opened.name}: it was used while it was copied (recreate the target, and"
                " repeat the copy)"
            )
        await begun.write(partial(_end, known=known, last_id=last_id))
        return sum(begun.done.values())


@dataclass(slots=True)
class _Copy:
    """A copy that has begun: what fails from now on leaves rows behind, and may be repeated."""

    opened: database.Database
    into: database.Database
    on_rows: OnRows
    done: dict[str, int] = field(default_factory=dict)

    async def copy_table(self, table: sa.Table) -> None:
        """Copy the rows that come after the last one of the target."""
        count = sa.select(sa.func.count()).select_from(table)
        total = await self.read_source(lambda reader: reader.scalar(count) or 0)
        done = await self.write(lambda writer: writer.scalar(count) or 0)
        after = await self.write(partial(_last_key, table=table))
        while True:
            self.done[table.name] = done
            self.on_rows(table.name, done, total)
            found = await self.read_source(partial(_page, table=table, after=after))
            if not found:
                break
            await self.write(partial(_append, table=table, found=found))
            done += len(found)
            after = _key_of(table, found[-1])
        if done != total:
            raise self._differs(f"{done} rows of {table.name} were copied, of {total}")

    async def compare_table(self, table: sa.Table) -> None:
        """Compare all rows of both; raise StoreError if any of them differ."""
        after: Row | None = None
        done = 0
        while True:
            self.on_rows(f"comparing {table.name}", done, self.done[table.name])
            page = partial(_page, table=table, after=after)
            wanted, copied = await self.read_source(page), await self.write(page)
            if wanted != copied:
                pairs = zip(wanted, copied, strict=False)
                first = next((row for row, other in pairs if row != other), None)
                where = f"at {_key_of(table, first)}" if first else "in how many rows it has"
                raise self._differs(f"{table.name} differs from its source {where}")
            if not wanted:
                break
            done += len(wanted)
            after = _key_of(table, wanted[-1])

    def _differs(self, what: str) -> errors.StoreError:
        return errors.StoreError(
            f"store {self.into.name}: {what} (recreate the database, and repeat the copy)"
        )

    async def read_source(self, work: Callable[[sa.Connection], T]) -> T:
        """Run ``work`` on a connection of the source."""
        return await self._run(self.opened, self.opened.read, work)

    async def write(self, work: Callable[[sa.Connection], T]) -> T:
        """Run ``work`` in a transaction of the target."""
        return await self._run(self.into, self.into.transact, work)

    async def _run(
        self,
        where: database.Database,
        run: Callable[[Callable[[sa.Connection], T]], Any],
        work: Callable[[sa.Connection], T],
    ) -> T:
        try:
            with database.store_errors(where.name):
                found: T = await run(work)
                return found
        except errors.StoreError as error:
            rest = f"{sum(self.done.values()):,} rows are copied: repeat the command to go on"
            raise type(error)(f"{error}; {rest}") from error


def _key_of(table: sa.Table, row: Row) -> Row:
    return tuple(it for it, each in zip(row, table.columns, strict=True) if each.primary_key)


def _order(table: sa.Table, dialect: str) -> list[sa.ColumnElement[Any]]:
    """Return the key of a table, to be sorted the same in each database: by its bytes."""
    return [
        sa.collate(each, "C")
        if dialect == "postgresql" and isinstance(each.type, sa.Text)
        else each
        for each in table.primary_key.columns
    ]


def _page(connection: sa.Connection, table: sa.Table, after: Row | None) -> Sequence[Row]:
    """Return the rows that come next after a key."""
    key = _order(table, connection.dialect.name)
    query = sa.select(table).order_by(*key).limit(ROWS_AT_ONCE)
    if after is not None:
        place = [
            sa.literal(it, each.type)
            for it, each in zip(after, table.primary_key.columns, strict=True)
        ]
        query = query.where(sa.tuple_(*key) > sa.tuple_(*place))
    found = connection.execute(query)
    if connection.dialect.name != "sqlite":
        return [tuple(row) for row in found]
    # Older versions stored NUL in SQLite, which no other database takes.
    return [tuple([rows.clean(it) if it.__class__ is str else it for it in row]) for row in found]


def _last_key(connection: sa.Connection, table: sa.Table) -> Row | None:
    key = _order(table, connection.dialect.name)
    last = sa.select(*table.primary_key.columns).order_by(*(each.desc() for each in key)).limit(1)
    found = connection.execute(last).first()
    return None if found is None else tuple(found)


def _append(connection: sa.Connection, table: sa.Table, found: Sequence[Row]) -> None:
    """Add rows to a target into which a copy has begun, and has not ended."""
    # The adapter of asyncpg begins its transaction with the first statement that it knows of.
    connection.execute(sa.select(upgrade.copies)).one()
    if connection.dialect.name == "postgresql":
        _send(connection, table, found)
    else:
        bulk.Bulk(sa.insert(table), *table.columns.keys()).execute(connection, found)


def _send(connection: sa.Connection, table: sa.Table, found: Sequence[Row]) -> None:
    """Add rows by COPY, which takes a third of the time of INSERT."""
    import asyncpg  # type: ignore[import-untyped] # noqa: PLC0415 (an optional extra)

    driver: Any = connection.connection.dbapi_connection
    names = table.columns.keys()
    try:
        driver.run_async(
            lambda session: session.copy_records_to_table(table.name, columns=names, records=found)
        )
    except (asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        lost = driver.driver_connection.is_closed()
        raise DBAPIError(
            f"COPY {table.name}", None, error, hide_parameters=True, connection_invalidated=lost
        ) from error


def _identity(connection: sa.Connection) -> Sequence[dict[str, Any]]:
    return [{**row} for row in connection.execute(sa.select(_LEDGER)).mappings()]


def _begin(
    connection: sa.Connection, mark: Mapping[str, Any], known: Mapping[str, Any], name: str
) -> None:
    """Note what is copied; of a target that has something else in it, change nothing."""
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
        ended = _identity(connection) == [known]
        remedy = "the copy of this ledger has ended: start the daemon with it"
        raise errors.StoreError(
            f"store {name}: it is not empty: it has rows in {', '.join(full) or 'ledger'}"
            f" ({remedy if ended else 'name a new database'})"
        )
    upgrade.copies.create(connection)
    connection.execute(sa.insert(upgrade.copies), mark)
    # A daemon that has run on the empty target has indexed all that was there.
    text_index.index_again(connection)


def _last_delivery(reader: sa.Connection) -> int:
    """Return the largest id that a delivery ever had: none is used twice."""
    if reader.dialect.name == "sqlite":
        query = sa.text("SELECT seq FROM sqlite_sequence WHERE name = 'deliveries'")
        return int(reader.scalar(query) or 0)
    query = sa.text("SELECT last_value FROM deliveries_id_seq WHERE is_called")
    return int(reader.scalar(query) or 0)


def _end(connection: sa.Connection, known: Mapping[str, Any], last_id: int) -> None:
    """Give the target the identity of the source."""
    if connection.dialect.name == "sqlite":
        connection.execute(sa.text("DELETE FROM sqlite_sequence WHERE name = 'deliveries'"))
        insert = "INSERT INTO sqlite_sequence (name, seq) VALUES ('deliveries', :last)"
        connection.execute(sa.text(insert), {"last": last_id})
    elif last_id:
        connection.execute(sa.text("SELECT setval('deliveries_id_seq', :last)"), {"last": last_id})
    connection.execute(sa.delete(_LEDGER))
    connection.execute(sa.insert(_LEDGER), [known])
    upgrade.copies.drop(connection)
