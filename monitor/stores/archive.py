"""The jobs that only the store remembers: archived, known again, and listed by the page."""

from __future__ import annotations

from dataclasses import dataclass
from operator import attrgetter
from typing import TYPE_CHECKING, Any

import orjson
import sqlalchemy as sa

from monitor import model
from monitor.model import shared_parts, shared_time
from monitor.stores import archive_search, outbox, queries, rows, text_index
from monitor.stores.schema import archived_places, jobs

if TYPE_CHECKING:
    from collections.abc import (
        AsyncIterator,
        Awaitable,
        Callable,
        Collection,
        Iterable,
        Mapping,
        Sequence,
    )
    from datetime import datetime

    from sqlalchemy import Connection

    from monitor.stores import writes

    Place = tuple[str, str, str]
    Read = Callable[[sa.Executable], Awaitable[Sequence[sa.Row[Any]]]]
    Submit = Callable[[writes.Unit], Awaitable[int]]

KEYS_AT_ONCE = 500
"""Keys of one query or commit, below any database's limit."""
ROWS_AT_ONCE = 1000
"""Jobs that are read at once: decoding them takes some 20 ms."""
PLACES_SCANNED = 4000
"""Jobs that one page of a list goes through where only some places are wanted."""
TEXTS_SCANNED = 500
"""Jobs in whose text one page of a list searches: some 3 ms."""

KEY, PHASE, STATE = "key", "phase", "state"
"""Orders of a list; the others are the columns of times."""


@dataclass(frozen=True, slots=True)
class Mark:
    """Where jobs are to be kept from now on."""

    marks: Sequence[model.ArchiveMark]


@dataclass(frozen=True, slots=True)
class IndexTexts:
    """The next archived jobs whose texts are not indexed are to be."""


@dataclass(frozen=True, slots=True)
class KeepDiscovers:
    """What is discovered at each place, in place of what was stored of all, or of ``places``."""

    kept: Mapping[Place, str]
    places: Collection[Place] | None = None


_MARK = (
    sa.update(jobs)
    .where(jobs.c.key == sa.bindparam("of"), jobs.c.sequence == sa.bindparam("expected"))
    .values(archived=sa.bindparam("to"), looked_at=sa.bindparam("at"))
)
_FORGET_PLACE = sa.delete(archived_places).where(
    archived_places.c.type == sa.bindparam("of_type"),
    archived_places.c.account == sa.bindparam("of_account"),
    archived_places.c.region == sa.bindparam("of_region"),
)


def write(connection: Connection, unit: Mark | IndexTexts | KeepDiscovers) -> int:
    """Write a unit; return how much it wrote."""
    if isinstance(unit, IndexTexts):
        return text_index.index_next(connection)
    if isinstance(unit, Mark):
        marked = [
            {
                "of": each.key,
                "expected": each.sequence,
                "to": each.archived.value,
                "at": each.looked_at,
            }
            for each in unit.marks
        ]
        outbox.many(connection, _MARK, marked)
        text_index.index(connection, [each.key for each in unit.marks])
        return len(marked)
    if unit.places is None:
        connection.execute(sa.delete(archived_places))
    else:
        gone = [
            {"of_type": type_, "of_account": account, "of_region": region}
            for type_, account, region in unit.places
        ]
        outbox.many(connection, _FORGET_PLACE, gone)
    kept = [
        {"type": type_, "account": account, "region": region, "discovers": text}
        for (type_, account, region), text in unit.kept.items()
    ]
    outbox.many(connection, sa.insert(archived_places), kept)
    return len(kept)


_IS_ENDED = jobs.c.archived == sa.text(str(model.Archived.ENDED.value))
_COUNTS = (
    sa.select(
        *(jobs.c.type, jobs.c.account, jobs.c.region, jobs.c.phase),
        sa.func.count().label("many"),
        sa.func.sum(sa.case((_IS_ENDED, 1), else_=0)).label("ended"),
    )
    .where(queries.IS_ARCHIVED)
    .group_by(jobs.c.type, jobs.c.account, jobs.c.region, jobs.c.phase)
)
_end = sa.bindparam("end", type_=sa.Text)
_LAST_PART = sa.func.substr(jobs.c.id, sa.func.length(jobs.c.id) - sa.func.length(_end) + 1)
# Made once: each search for text asks for it.
_WITH_ID = queries.SNAPSHOTS.where(
    queries.IS_ARCHIVED,
    jobs.c.key.in_(
        sa.union(
            sa.select(jobs.c.key).where(jobs.c.key == sa.bindparam("id")),
            sa.select(jobs.c.key).where(jobs.c.id == sa.bindparam("id")),
            sa.select(jobs.c.key).where(sa.text("id LIKE '%/%'"), _end == _LAST_PART),
        )
    ),
)
_WHOLE = queries.SNAPSHOTS.add_columns(jobs.c.archived)


_ANY = model.ArchivedFilter()


@dataclass(frozen=True, slots=True)
class _Run:
    """A part of a list whose jobs lie side by side in an index; ``low`` and ``high`` are keys."""

    phases: Sequence[model.Phase]
    low: str = ""
    high: str | None = None


class JobArchive:
    """The archive of one store."""

    def __init__(self, read: Read, submit: Submit, search: archive_search.ArchiveSearch) -> None:
        """``read`` returns the rows of a query, ``submit`` commits a unit."""
        self._read = read
        self._search = search
        self._submit = submit

    async def live(self, after: str = "", place: Place | None = None) -> Sequence[model.Snapshot]:
        """Return the next jobs that are not archived, by key, anywhere or at a place."""
        query = queries.SNAPSHOTS.where(queries.IS_LIVE, jobs.c.key > after)
        if place is not None:
            low, high = _range(place)
            query = query.where(jobs.c.key > low, jobs.c.key < high)
        found = await self._read(query.order_by(jobs.c.key).limit(ROWS_AT_ONCE))
        return [rows.snapshot(row) for row in found]

    async def heads(self, place: Place, after: str = "") -> Sequence[tuple[str, int, datetime]]:
        """Return (key, sequence, last poll) of the next jobs of a place that are not archived."""
        low, high = _range(place)
        query = sa.select(jobs.c.key, jobs.c.sequence, jobs.c.looked_at)
        query = query.where(queries.IS_LIVE, jobs.c.key > max(low, after), jobs.c.key < high)
        found = await self._read(query.order_by(jobs.c.key).limit(ROWS_AT_ONCE))
        return [(row.key, row.sequence, row.looked_at) for row in found]

    async def of_place(
        self, place: Place, after: str = ""
    ) -> Sequence[tuple[model.Snapshot, model.Archived]]:
        """Return the next jobs of a place that are not live, by key; none behind the last."""
        low, high = _range(place)
        between = (jobs.c.key > max(low, after), jobs.c.key < high)
        query = _WHOLE.where(*between, jobs.c.archived != 0)
        found = await self._read(query.order_by(jobs.c.key).limit(ROWS_AT_ONCE))
        return [(rows.snapshot(row), model.Archived(row.archived)) for row in found]

    async def find(
        self, keys: Collection[str], *, live: bool = True
    ) -> Sequence[tuple[model.Snapshot, model.Archived]]:
        """Return the jobs among ``keys`` that are stored, or those that are not ``live``."""
        query = _WHOLE if live else _WHOLE.where(jobs.c.archived != 0)
        return [
            (rows.snapshot(row), model.Archived(row.archived))
            async for row in self._of_keys(query, keys)
        ]

    async def rows(self, keys: Collection[str]) -> Mapping[str, model.ArchivedRow]:
        """Return what rows of listings are compared with, of those ``keys`` that are not live."""
        query = _WHOLE.add_columns(jobs.c.key).where(jobs.c.archived != 0)
        return {row.key: _row(row) async for row in self._of_keys(query, keys)}

    async def counts(self) -> Mapping[tuple[Place, model.Phase], tuple[int, int]]:
        """Return, by place and phase, how many are archived, and how many of these were ended."""
        return {
            ((row.type, row.account, row.region), model.Phase(row.phase)): (row.many, row.ended)
            for row in await self._read(_COUNTS)
        }

    async def ended_since(
        self, at: datetime, phases: Iterable[model.Phase]
    ) -> Sequence[model.Snapshot]:
        """Return archived jobs that were seen to end since a time of the wall clock."""
        found: list[model.Snapshot] = []
        for phase in phases:
            query = queries.SNAPSHOTS.where(
                queries.IS_ARCHIVED, jobs.c.phase == phase.value, jobs.c.changed_at >= at, _IS_ENDED
            )
            found += [rows.snapshot(row) for row in await self._read(query)]
        return found

    async def mark(self, marks: Sequence[model.ArchiveMark]) -> None:
        """Keep jobs elsewhere from now on; those that have changed meanwhile stay."""
        for start in range(0, len(marks), KEYS_AT_ONCE):
            await self._submit(Mark(tuple(marks[start : start + KEYS_AT_ONCE])))

    async def index_texts(self) -> int:
        """Index the texts of the next jobs that were archived before; return 0 if all are."""
        return await self._submit(IndexTexts())

    async def has_text_index(self) -> bool:
        """Return whether all archived jobs can be found in an index of their texts."""
        return await self._search.texts.is_usable()

    async def discovers(self) -> Mapping[Place, str]:
        """Return what was discovered at each place when its archived jobs were last judged."""
        return {
            (row.type, row.account, row.region): row.discovers
            for row in await self._read(sa.select(archived_places))
        }

    async def keep_discovers(
        self, kept: Mapping[Place, str], places: Collection[Place] | None = None
    ) -> None:
        """Store what is discovered at each place; of all, or ``places``, the rest is forgotten."""
        await self._submit(KeepDiscovers(dict(kept), places))

    async def with_id(self, name: str) -> Sequence[model.Snapshot]:
        """Return the archived jobs with a key or id, as ``history`` finds them."""
        found = await self._read(_WITH_ID.params(id=name, end=f"/{name}"))
        return [rows.snapshot(row) for row in found]

    async def page(
        self,
        order: str,
        places: Collection[Place],
        phases: Collection[model.Phase],
        *,
        down: bool = False,
        every_place: bool = True,
        after: tuple[Any, ...] | None = None,
        until: tuple[Any, ...] | None = None,
        limit: int = ROWS_AT_ONCE,
        having: model.ArchivedFilter = _ANY,
    ) -> model.ArchivedPage:
        """Return a page of the archived jobs of some places and phases.

        ``order`` is ``key``, ``phase``, ``state`` or a time; ranks are as of ``RANKS`` of the web
        API, with times as numbers. Those wanted come after the rank ``after``, and not after
        ``until``. ``every_place`` says that no other places have any.
        All that match ``having`` are among them, and maybe more: the caller compares them. There
        a page may have fewer jobs than ``limit``, and more may still follow. If an index finds all
        that may match, no others are read.
        """
        indexed, hit = await self._search.find(having, phases)
        if indexed is not None:
            ranked = await self._ranked(order, indexed, places, phases)
            low, high = (until, after) if down else (after, until)
            between = [
                one
                for one in ranked
                if (low is None or one >= low) and (high is None or one <= high) and one != after
            ]
            shown = sorted(between, reverse=down)[:limit]
            last = shown[-1] if len(between) > limit else None
            return await self._whole([(rank, rank[-1]) for rank in shown], last)
        found: list[tuple[tuple[Any, ...], str | model.Snapshot]] = []
        filters = not every_place and order not in {KEY, PHASE}
        searches = hit is not None
        # Of many that are only compared, the few that match are read afterwards.
        whole = not (filters or searches)
        left = TEXTS_SCANNED if searches else PLACES_SCANNED if filters else limit
        for run in _runs(order, places, phases, down=down, every_place=every_place):
            query = _page_of(run, order, (after, until), left, hit, down=down, whole=whole)
            met = [] if query is None else await self._read(query)
            for row in met:
                if row.hit and not (filters and tuple(row.key.split("/", 3)[:3]) not in places):
                    found.append((_rank(order, row), rows.snapshot(row) if whole else row.key))
                if len(found) == limit:
                    return await self._whole(found, found[-1][0])
            if len(met) == left:
                return await self._whole(found, _rank(order, met[-1]))
            left -= len(met) if searches else 0
        return await self._whole(found, None)

    async def _ranked(
        self,
        order: str,
        keys: Sequence[str],
        places: Collection[Place],
        phases: Collection[model.Phase],
    ) -> Sequence[tuple[Any, ...]]:
        """Return the ranks of those of some jobs that are archived, in some places and phases."""
        column = jobs.c.key if order in {KEY, PHASE} else jobs.c[order]
        query = sa.select(column.label("ranked"), jobs.c.key.label("key"), jobs.c.phase)
        values = {each.value for each in phases}
        return [
            _rank(order, row)
            async for row in self._of_keys(query.where(queries.IS_ARCHIVED), keys)
            if row.phase in values and tuple(row.key.split("/", 3)[:3]) in places
        ]

    async def _whole(
        self,
        found: Sequence[tuple[tuple[Any, ...], str | model.Snapshot]],
        last: tuple[Any, ...] | None,
    ) -> model.ArchivedPage:
        keys = [one for _, one in found if isinstance(one, str)]
        known = {one.job.key: one for one, _ in await self.find(keys)}
        ranked = ((rank, known.get(one) if isinstance(one, str) else one) for rank, one in found)
        return model.ArchivedPage([(rank, one) for rank, one in ranked if one is not None], last)

    async def _of_keys(
        self, query: sa.Select[Any], keys: Collection[str]
    ) -> AsyncIterator[sa.Row[Any]]:
        wanted = sorted(keys)
        for start in range(0, len(wanted), KEYS_AT_ONCE):
            some = wanted[start : start + KEYS_AT_ONCE]
            for row in await self._read(query.where(jobs.c.key.in_(some))):
                yield row


def _row(row: sa.Row[Any]) -> model.ArchivedRow:
    raw = orjson.loads(row.snapshot)
    return model.ArchivedRow(
        parts=shared_parts(raw["parts"]),
        updated_at=shared_time(raw["updated_at"]),
        looked_at=row.looked_at,
        missing=raw.get("missing", False),
        settled=row.archived > 0 or raw["ending"] == model.Ending.FINAL,
    )


def _range(place: Place) -> tuple[str, str]:
    """Return two texts between which the keys of a place lie."""
    prefix = "/".join((*place, ""))
    return prefix, f"{prefix[:-1]}0"  # the character after the slash


def _runs(
    order: str,
    places: Collection[Place],
    phases: Collection[model.Phase],
    *,
    down: bool,
    every_place: bool,
) -> Sequence[_Run]:
    """Return the parts of a list, in its order."""
    if not phases or not places:
        return []
    together = sorted(phases, key=attrgetter("value"), reverse=down)
    ranges: list[tuple[str, str | None]] = [("", None)]
    if not every_place and order in {KEY, PHASE}:
        ranges = sorted(map(_range, places), reverse=down)
    groups = [(phase,) for phase in together] if order == PHASE else [tuple(together)]
    return [_Run(group, low, high) for group in groups for low, high in ranges]


def _between(
    run: _Run,
    order: str,
    bounds: tuple[tuple[Any, ...] | None, tuple[Any, ...] | None],
    *,
    down: bool,
) -> list[Any] | None:
    """Return the conditions for what comes after one rank and not after another, if any can."""
    found: list[Any] = []
    for rank, is_first in zip(bounds, (True, False), strict=True):
        if rank is None:
            continue
        *ranks, last = rank
        above = is_first is not down
        place: Any = jobs.c.key
        bound: Any = last
        if order == PHASE and run.phases[0].value != ranks[0]:
            if (run.phases[0].value > ranks[0]) is not above:
                return None
            continue
        if order not in {KEY, PHASE}:
            column = jobs.c[order]
            at = sa.literal(ranks[0] if order == STATE else rows.moment(ranks[0]), column.type)
            place, bound = sa.tuple_(column, place), sa.tuple_(at, sa.literal(last))
        if is_first:
            found.append(place > bound if above else place < bound)
        else:
            found.append(place >= bound if above else place <= bound)
    return found


def _page_of(
    run: _Run,
    order: str,
    bounds: tuple[tuple[Any, ...] | None, tuple[Any, ...] | None],
    limit: int,
    hit: sa.ColumnElement[bool] | None,
    *,
    down: bool,
    whole: bool,
) -> sa.Select[Any] | None:
    """Select the next jobs of a run, or their ranks alone; ``None`` if all lie elsewhere."""
    if (between := _between(run, order, bounds, down=down)) is None:
        return None
    column = jobs.c.key if order in {KEY, PHASE} else jobs.c[order]
    key = jobs.c.key
    conditions: list[Any] = [queries.IS_ARCHIVED, *between]
    if run.high is not None:
        conditions += [key > run.low, key < run.high]
    is_hit = (sa.literal_column("1") if hit is None else hit).label("hit")
    one = sa.select(column.label("ranked"), key.label("key"), jobs.c.phase.label("phase"), is_hit)
    if whole:
        one = one.add_columns(jobs.c.snapshot, jobs.c.looked_at)
    ordered = [each.desc() if down else each for each in dict.fromkeys((column, key))]
    pages = [
        one.where(jobs.c.phase == phase.value, *conditions).order_by(*ordered).limit(limit)
        for phase in run.phases
    ]
    if len(pages) == 1:
        return pages[0]
    again: list[sa.UnaryExpression[Any]]
    again = [sa.desc(name) if down else sa.asc(name) for name in ("ranked", "key")]
    return queries.together(pages).order_by(*again).limit(limit)


def _rank(order: str, row: sa.Row[Any]) -> tuple[Any, ...]:
    if order == KEY:
        return (row.key,)
    if order == PHASE:
        return row.phase, row.key
    return (row.ranked if order == STATE else row.ranked.timestamp()), row.key
