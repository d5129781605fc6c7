"""A whole ledger, read and compared with what it must be.

The daemon keeps to these rules with each commit. They may be broken by a damaged disk, by a backup
that was taken file by file while the daemon ran, or by somebody who wrote to the database by hand.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import orjson
import sqlalchemy as sa

from monitor import errors
from monitor.stores import connect, database, rows, schema
from monitor.stores.schema import deliveries, jobs, ledger, sources, transitions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from monitor.config.settings import StoreSettings

MOST_NAMED = 5
"""Rows that break one rule, of which all are named."""
_ROWS_AT_ONCE = 1000


@dataclass(frozen=True, slots=True)
class StoreReport:
    """The rows of each table, and what is wrong, one text for each rule that is broken."""

    rows: Mapping[str, int]
    problems: Sequence[str]


_other = deliveries.alias()
_is_first = deliveries.c.id == (
    sa.select(sa.func.min(_other.c.id))
    .where(
        _other.c.sink == deliveries.c.sink,
        _other.c.key == deliveries.c.key,
        _other.c.status == sa.literal_column("'pending'"),
    )
    .scalar_subquery()
)
_is_pending = deliveries.c.status == sa.literal_column("'pending'")
_last_position = sa.select(ledger.c.position).scalar_subquery()

RULES: Sequence[tuple[str, sa.Select[Any]]] = (
    (
        "transitions lie after the position of the ledger",
        sa.select(transitions.c.position).where(transitions.c.position > _last_position),
    ),
    (
        "transitions are newer than the snapshot of their job",
        sa.select(transitions.c.position)
        .join(jobs, jobs.c.key == transitions.c.key)
        .where(transitions.c.sequence > jobs.c.sequence),
    ),
    (
        "transitions are newer than what is known of their source",
        sa.select(transitions.c.position)
        .join(sources, sources.c.key == transitions.c.key)
        .where(transitions.c.sequence > sources.c.sequence),
    ),
    (
        "deliveries have no transition",
        sa.select(deliveries.c.id)
        .outerjoin(transitions, transitions.c.position == deliveries.c.position)
        .where(transitions.c.position.is_(None)),
    ),
    (
        "deliveries are of another job than their transition",
        sa.select(deliveries.c.id)
        .join(transitions, transitions.c.position == deliveries.c.position)
        .where(transitions.c.key != deliveries.c.key),
    ),
    (
        "pending deliveries are not the first of their job, and fall due",
        sa.select(deliveries.c.id).where(
            _is_pending, deliveries.c.due_at.is_not(None), sa.not_(_is_first)
        ),
    ),
    (
        "pending deliveries are the first of their job, and never fall due",
        sa.select(deliveries.c.id).where(_is_pending, deliveries.c.due_at.is_(None), _is_first),
    ),
    (
        "deliveries that are not pending fall due",
        sa.select(deliveries.c.id).where(sa.not_(_is_pending), deliveries.c.due_at.is_not(None)),
    ),
)
"""What must not be found, in words that follow a number, and the rows that are."""


async def check(
    where: str | StoreSettings,
    on_table: Callable[[str], None],
    make_token: database.MakeToken | None = None,
) -> StoreReport:
    """Read the whole store at ``where``, which no process may use, and change nothing.

    ``on_table`` is called with each table before it is read. ``make_token`` is that of
    ``connect.open_database``.

    Raises:
        ConfigurationError: the URL has none of the known forms.
        StoreLockedError: another process uses it.
        StoreError: it cannot be read, or another version wrote it.
    """
    opening = connect.open_database(where, migrate=False, make_token=make_token)
    async with opening as opened:
        with database.store_errors(opened.name):
            return await opened.read(partial(_report, on_table=on_table))


def _report(connection: sa.Connection, on_table: Callable[[str], None]) -> StoreReport:
    counted = {}
    for table in schema.metadata.sorted_tables:
        on_table(table.name)
        count = sa.select(sa.func.count()).select_from(table)
        # Its own kind of text, which JSON does not take.
        counted[str(table.name)] = connection.scalar(count) or 0
    problems = [*_damage(connection)]
    if counted[ledger.name] != 1:
        problems.append(f"the table ledger has {counted[ledger.name]} rows instead of one")
    on_table("the rules")
    for words, query in RULES:
        found = connection.scalars(query).all()
        problems += [_problem(len(found), words, found)] if found else []
    problems += _unreadable(connection, on_table)
    return StoreReport(counted, problems)


def _problem(many: int, words: str, found: Sequence[Any]) -> str:
    named = ", ".join(str(each) for each in found[:MOST_NAMED])
    return f"{many} {words}: {named}{', …' if many > MOST_NAMED else ''}"


def _damage(connection: sa.Connection) -> Iterator[str]:
    """Yield what SQLite itself finds in its file, beyond the check at each start."""
    if connection.dialect.name == "sqlite":
        for pragma in ("integrity_check", "foreign_key_check"):
            found = connection.execute(sa.text(f"PRAGMA {pragma}")).all()
            lines = [" ".join(map(str, row)) for row in found if row[0] != "ok"]
            if lines:
                yield _problem(len(lines), f"lines of PRAGMA {pragma}", lines)


def _unreadable(connection: sa.Connection, on_table: Callable[[str], None]) -> Iterator[str]:
    """Yield what cannot be decoded, or says something else than the columns beside it."""
    columns = transitions.c
    events = sa.select(columns.position, columns.event_id, columns.sequence, columns.event)
    for table, query, is_right, words in (
        (transitions, events, _is_event, "transitions have an event that is not theirs"),
        (jobs, sa.select(jobs), _is_snapshot, "jobs have a snapshot that is not theirs"),
    ):
        on_table(table.name)
        wrong = []
        result = connection.execute(query, execution_options={"yield_per": _ROWS_AT_ONCE})
        for some in result.partitions():
            wrong += [row[0] for row in some if not is_right(row)]
        if wrong:
            yield _problem(len(wrong), words, wrong)


def _is_event(row: Any) -> bool:
    try:
        event = orjson.loads(row.event)
        return bool(event["id"] == row.event_id and event["data"]["sequence"] == row.sequence)
    except (ValueError, KeyError, TypeError):
        return False


def _is_snapshot(row: Any) -> bool:
    try:
        return bool(rows.snapshot(row).job.key == row.key)
    except errors.StoreError:
        return False
