"""A search among archived jobs: an index finds the few that may match, or a condition them all."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from monitor.stores import queries, text_index
from monitor.stores.schema import jobs

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Sequence

    from monitor import model

    Read = Callable[[sa.Executable], Awaitable[Sequence[sa.Row[Any]]]]

_MOST_STATES = 100
"""States of archived jobs that a filter is compared with; of more, the jobs are."""


class ArchiveSearch:
    """Searches the archived jobs of one store."""

    def __init__(self, read: Read, dialect: str) -> None:
        """``read`` returns the rows of a query."""
        self._read = read
        self.texts = text_index.TextIndex(read, dialect)

    async def find(
        self, having: model.ArchivedFilter, phases: Collection[model.Phase]
    ) -> tuple[Sequence[str] | None, sa.ColumnElement[bool] | None]:
        """Return the keys of all jobs that may match, if they are few, or else the condition."""
        if having.text and (keys := await self.texts.find(having.text)) is not None:
            return keys, None
        wanted: list[sa.ColumnElement[bool]] = []
        if having.takes_state is not None:
            known = await self._read(_states(frozenset(phases)))
            if len(known) <= _MOST_STATES:
                wanted.append(jobs.c.state.in_([s for (s,) in known if having.takes_state(s)]))
        if having.changed_since is not None:
            wanted.append(jobs.c.changed_at >= having.changed_since)
        if having.changed_before is not None:
            wanted.append(jobs.c.changed_at <= having.changed_before)
        for each in wanted:
            few = [
                sa.select(jobs.c.key)
                .where(queries.IS_ARCHIVED, jobs.c.phase == phase.value, each)
                .limit(text_index.MOST_FOUND + 1)
                for phase in phases
            ]
            found = await self._read(queries.together(few).limit(text_index.MOST_FOUND + 1))
            if len(found) <= text_index.MOST_FOUND:
                return [key for (key,) in found], None
        wanted += [queries.has_text(having.text)] if having.text else []
        return None, sa.and_(*wanted) if wanted else None


@cache
def _states(phases: frozenset[model.Phase]) -> sa.Select[Any]:
    """Select the states of archived jobs: one step in the index leads to the next."""
    steps = []
    for phase in phases:
        least = sa.select(sa.func.min(jobs.c.state).label("state"))
        least = least.where(queries.IS_ARCHIVED, jobs.c.phase == phase.value)
        found = least.cte(f"states_{phase.value}", recursive=True)
        following = least.where(jobs.c.state > found.c.state).scalar_subquery()
        found = found.union_all(sa.select(following).where(found.c.state.is_not(None)))
        some = sa.select(found.c.state).where(found.c.state.is_not(None))
        steps.append(some.limit(_MOST_STATES + 1))
    return queries.together(steps).limit(_MOST_STATES + 1)
