"""The jobs that were there before they were watched: recorded, and never sent.

The first whole sweep of a discovery is its baseline. Baselines are known by place (type, account,
region) and by what is discovered there, not by the name of a watch, so that another name, a
second watch, a restart or a reload does not begin one anew. The order of the commits makes a
crash harmless:

1. The begin is durable before the first page is asked for.
2. Jobs are recorded while the sweep goes on. A crash here begins the sweep anew; what was created
   after the first begin is then no baseline.
3. The end is durable after the rows of the last page, together with the ids of those jobs that
   were found but still wait for their first poll.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

import orjson

from monitor import model
from monitor.config import Discover

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from datetime import datetime

    from monitor.interfaces import Store

Place = tuple[str, str, str]
"""Type, account and region of jobs."""


def includes(discover: Discover, job_id: str) -> bool:
    """Whether the globs of ``discover`` take ``job_id``."""
    return any(fnmatchcase(job_id, glob) for glob in discover.include) and not any(
        fnmatchcase(job_id, glob) for glob in discover.exclude
    )


def accepts(discover: Discover, row: model.Observation) -> bool:
    """Whether ``discover`` takes the job of a row: by its id, and by its age."""
    if not includes(discover, row.job.id):
        return False
    if discover.max_age is None or row.created_at is None:
        return True
    return row.seen_at - row.created_at <= timedelta(seconds=discover.max_age)


def canonical(discover: Discover, listed: str) -> str:
    """Return the one form that all discoveries with the same meaning have.

    ``listed`` is what the listing is asked for: one that has lost a filter shows old jobs too.
    """
    wanted = {
        "listed": listed,
        "include": sorted(set(discover.include)),
        "exclude": sorted(set(discover.exclude)),
        "max_age": discover.max_age,
    }
    return orjson.dumps(wanted).decode()


@dataclass(slots=True)
class _Known:
    """A baseline as stored; ``interrupted`` says that its first attempt did not go through."""

    stored: model.Baseline
    discover: Discover
    listed: str
    interrupted: bool = False


class Baselines:
    """Knows which jobs, of those that are seen for the first time, were there before."""

    def __init__(self, store: Store) -> None:
        """Begin with none; ``adopt`` takes those of the store."""
        self._store = store
        self._known: dict[Place, dict[str, _Known]] = {}
        self._awaited: dict[Place, dict[str, bool]] = {}
        self._undated: dict[Place, dict[str, datetime]] = {}
        self._present: Mapping[Place, set[str]] = {}
        self._named: Callable[[model.Job], bool] = lambda _job: False
        self._gone: list[model.Baseline] = []

    def adopt(self, stored: Iterable[model.Baseline]) -> None:
        """Go on from what the store knows."""
        for each in stored:
            place = (each.type, each.account, each.region)
            # Some may be recorded by now: whoever adopts their snapshots says so.
            self._awaited.setdefault(place, {}).update(each.awaited)
            wanted = orjson.loads(each.discover)
            listed = wanted.pop("listed", "")
            self._known.setdefault(place, {})[each.discover] = _Known(
                each, Discover.model_construct(**wanted), listed, interrupted=True
            )

    def want(self, present: Mapping[Place, set[str]], named: Callable[[model.Job], bool]) -> None:
        """Take what is discovered at each place from now on, and which jobs are named."""
        self._present, self._named = present, named
        for place, known in list(self._known.items()):
            wanted = present.get(place, set())
            for each in known.values():
                each.interrupted = True
            # One that is wanted no longer still tells what is not new, if it came to its end.
            kept = {
                discover: each
                for discover, each in known.items()
                if discover in wanted or (wanted and each.stored.completed_at)
            }
            self._keep(place, kept)
            self._drop_old(place)
            if not wanted:
                del self._known[place]
                self._awaited.pop(place, None)
                self._undated.pop(place, None)

    async def tidy(self) -> None:
        """Let the store forget what ``want`` has left out."""
        lost = self._lost()
        if lost:
            await self._store.keep_baselines((), lost)

    async def begin(
        self, place: Place, discover: Discover, listed: str, at: datetime, *, again: bool
    ) -> bool:
        """Note that a sweep begins; return whether it is not the first attempt.

        ``again`` says that the same discovery has begun one before.
        """
        spec = canonical(discover, listed)
        known = self._known.setdefault(place, {}).get(spec)
        if known is not None:
            return again or known.interrupted
        stored = model.Baseline(*place, spec, at)
        self._known[place][spec] = _Known(stored, discover, listed)
        await self._store.keep_baselines([stored], ())
        return False

    def find(
        self,
        place: Place,
        discover: Discover,
        listed: str,
        row: model.Observation,
        again: bool,  # noqa: FBT001 -- as it stands on the discovery
        listed_open: bool,  # noqa: FBT001 -- one caller
    ) -> None:
        """Note a job that a sweep shows and nobody has recorded.

        ``again`` is what ``begin`` returned for the sweep. ``listed_open`` says that the row
        shows that the job has not ended: if it has by its first poll, that is news.
        """
        awaited = self._awaited.setdefault(place, {})
        own = self._known.get(place, {}).get(canonical(discover, listed))
        if row.job.id not in awaited and self._was_there(place, own, row, again=again):
            awaited[row.job.id] = listed_open
            if again and own and row.created_at is None:
                # Its first poll may tell that it was created after the sweeps began.
                self._undated.setdefault(place, {})[row.job.id] = own.stored.begun_at

    def _was_there(
        self, place: Place, own: _Known | None, row: model.Observation, *, again: bool
    ) -> bool:
        for each in self._known.get(place, {}).values():
            same = own is None or each.listed == own.listed
            if same and each.stored.completed_at and accepts(each.discover, row):
                return False
        # A listing that never comes to its end would else swallow every end.
        late = again and own and row.created_at and row.created_at > own.stored.begun_at
        return not late

    def covers(self, first: model.Snapshot, created_at: datetime | None) -> bool:
        """Whether a job that is recorded for the first time, as ``first``, is of a baseline."""
        job = first.job
        begun_at = self._undated.get(_place(job), {}).get(job.id)
        if begun_at and created_at and created_at > begun_at:
            return False
        listed_open = self._awaited.get(_place(job), {}).get(job.id)
        if listed_open is None or self._named(job):
            return False
        return not (listed_open and first.phase.terminal)

    def note_recorded(self, job: model.Job) -> None:
        """Await a job no longer."""
        for waiting in (self._awaited, self._undated):
            waiting.get(_place(job), {}).pop(job.id, None)

    async def complete(self, place: Place, discover: Discover, listed: str, at: datetime) -> None:
        """Note that a sweep went through the whole listing, and its rows are recorded."""
        known = self._known.get(place, {}).get(canonical(discover, listed))
        if known is None:
            return
        awaited = self._awaited.get(place, {})
        first = known.stored.completed_at is None
        if not first and (awaited or not known.stored.awaited):
            return
        completed_at = known.stored.completed_at or at
        # Known before it is durable: what a twin's sweep finds from here on is new either way.
        known.stored = replace(known.stored, completed_at=completed_at, awaited=dict(awaited))
        self._drop_old(place)
        await self._store.keep_baselines([known.stored], self._lost())

    def _lost(self) -> list[model.Baseline]:
        """Take what is to be forgotten; a sweep may have begun one of them anew since."""
        gone, self._gone = self._gone, []
        return [each for each in gone if each.discover not in self._known.get(_place(each), {})]

    def _drop_old(self, place: Place) -> None:
        """Drop what is discovered no longer, once all that is has its baseline."""
        known, wanted = self._known[place], self._present.get(place, set())
        if wanted and all(
            spec in known and known[spec].stored.completed_at is not None for spec in wanted
        ):
            self._keep(place, {spec: known[spec] for spec in wanted})

    def _keep(self, place: Place, kept: dict[str, _Known]) -> None:
        left = [each.stored for spec, each in self._known[place].items() if spec not in kept]
        self._gone.extend(left)
        self._known[place] = kept


def _place(of: model.Job | model.Baseline) -> Place:
    return of.type, of.account, of.region
