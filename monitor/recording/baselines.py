"""The baselines: jobs that are older than their watch are recorded, and never sent.

The first whole sweep of a discovery is its baseline. Baselines are known by place (type, account,
region) and by what is discovered there, not by the name of a watch, so that another name, a
second watch, a restart or a reload does not start another. The order of the commits makes a
crash harmless:

1. The begin is durable before the first page is polled.
2. Jobs are recorded while the sweep goes on. After a crash here it starts again; what was created
   after the first begin is then no baseline.
3. The end is durable after the rows of the last page, together with the ids of those jobs that
   were found but still wait for their first poll.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from fnmatch import fnmatchcase
from functools import cached_property
from typing import TYPE_CHECKING, Any

import orjson

from monitor import model
from monitor.config import Discover

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping
    from datetime import datetime

    from monitor.interfaces import Store

Place = tuple[str, str, str]
"""Type, account and region of jobs."""

ANY_PARENT = "any parent: "
"""Begins the text of a discovery that has a baseline for each parent."""


def includes(discover: Discover, job_id: str) -> bool:
    """Check a job id against the globs of ``discover``."""
    return any(fnmatchcase(job_id, glob) for glob in discover.include) and not any(
        fnmatchcase(job_id, glob) for glob in discover.exclude
    )


def accepts(discover: Discover, row: model.Observation) -> bool:
    """Check the job of a row against ``discover``: its id and its age."""
    if not includes(discover, row.job.id):
        return False
    if discover.max_age is None or row.created_at is None:
        return True
    return row.seen_at - row.created_at <= timedelta(seconds=discover.max_age)


@dataclass(frozen=True)
class Discovery:
    """What one listing shows of what a watch discovers: this is what names a baseline.

    ``listed`` is the request of the listing: one that has lost its filter shows old jobs too.
    ``parent`` is the one whose jobs it shows, where each parent has a listing of its own.
    """

    discover: Discover
    listed: str
    parent: str | None = None

    @cached_property
    def spec(self) -> str:
        """One text for all that have the same meaning."""
        own = {} if self.parent is None else {"parent": self.parent}
        return orjson.dumps({**self._common, **own}).decode()

    @cached_property
    def family(self) -> str:
        """The text that stands for the same discovery of any parent."""
        return ANY_PARENT + orjson.dumps(self._common).decode()

    @property
    def _common(self) -> dict[str, Any]:
        return {
            "listed": self.listed,
            "include": sorted(set(self.discover.include)),
            "exclude": sorted(set(self.discover.exclude)),
            "max_age": self.discover.max_age,
        }


@dataclass(slots=True)
class _KnownBaseline:
    """A baseline as stored; ``interrupted`` is set if its first attempt was not completed."""

    stored: model.Baseline
    discovery: Discovery
    interrupted: bool = False

    def wanted(self, configured: set[str]) -> bool:
        """Return whether it is of what is configured: itself, or any parent of its kind."""
        found = self.discovery
        return found.spec in configured or (found.parent is not None and found.family in configured)


class Baselines:
    """Separates jobs that are new from those that are only recorded for the first time."""

    def __init__(self, store: Store) -> None:
        """Start without any; ``adopt`` loads those of the store."""
        self._store = store
        self._known: dict[Place, dict[str, _KnownBaseline]] = {}
        self._awaited: dict[Place, dict[str, bool]] = {}
        self._undated: dict[Place, dict[str, datetime]] = {}
        self._present: Mapping[Place, set[str]] = {}
        self._named: Callable[[model.Job], bool] = lambda _job: False
        self._gone: list[model.Baseline] = []

    def adopt(self, stored: Iterable[model.Baseline]) -> None:
        """Load the baselines of the store."""
        for each in stored:
            place = (each.type, each.account, each.region)
            # Some may be recorded by now: loading their snapshots calls ``note_recorded``.
            self._awaited.setdefault(place, {}).update(each.awaited)
            spec = orjson.loads(each.discover)
            listed, parent = spec.pop("listed", ""), spec.pop("parent", None)
            discovery = Discovery(Discover.model_construct(**spec), listed, parent)
            known = self._known.setdefault(place, {})
            known[each.discover] = _KnownBaseline(each, discovery, interrupted=True)

    def release(self, places: Collection[Place]) -> None:
        """Forget what another process goes on with; the store keeps it."""
        for waiting in (self._known, self._awaited, self._undated):
            for place in places:
                waiting.pop(place, None)

    def want(self, present: Mapping[Place, set[str]], named: Callable[[model.Job], bool]) -> None:
        """Set what is discovered at each place from now on, and which jobs are named."""
        self._present, self._named = present, named
        for place, known in list(self._known.items()):
            configured = present.get(place, set())
            for each in known.values():
                each.interrupted = True
            # A complete one still shows what is not new, even if it is no longer configured.
            kept = {
                spec: each
                for spec, each in known.items()
                if each.wanted(configured) or (configured and each.stored.completed_at)
            }
            self._keep(place, kept)
            if not configured:
                for waiting in (self._known, self._awaited, self._undated):
                    waiting.pop(place, None)

    async def tidy(self) -> None:
        """Delete from the store what ``want`` has left out."""
        lost = self._lost()
        if lost:
            await self._store.keep_baselines((), lost)

    async def begin(
        self,
        place: Place,
        discovery: Discovery,
        at: datetime,
        *,
        again: bool = False,
        of: Discovery | None = None,
    ) -> bool:
        """Note that a sweep begins; return ``True`` from its second attempt on.

        ``again`` is set if the same discovery has begun one before. ``of`` is the listing that
        has found the parent, ``again`` then speaks of that one.
        """
        place_known = self._known.setdefault(place, {})
        resumed = self.resumed(place, discovery, again=again and of is None)
        if resumed is not None:
            return resumed
        stored, parents = model.Baseline(*place, discovery.spec, at), None
        if of is not None and of.spec in place_known:
            parents = place_known[of.spec].stored
        if parents and parents.completed_at:
            # The parent is younger than the watch: all its jobs are new.
            stored = replace(stored, completed_at=at)
        elif parents:
            stored = replace(stored, begun_at=parents.begun_at)
        place_known[discovery.spec] = _KnownBaseline(stored, discovery, again and of is not None)
        await self._store.keep_baselines([stored], ())
        return False

    def resumed(self, place: Place, discovery: Discovery, *, again: bool) -> bool | None:
        """Return what ``begin`` does for a baseline that was begun before; ``None`` for another."""
        known = self._known.get(place, {}).get(discovery.spec)
        return None if known is None else known.interrupted or again

    def under_way_since(self, place: Place, discovery: Discovery) -> datetime | None:
        """Return when the baseline of a discovery was begun, unless it is complete."""
        known = self._known.get(place, {}).get(discovery.spec)
        return known.stored.begun_at if known and not known.stored.completed_at else None

    def parents(self, place: Place, like: Discovery) -> set[str]:
        """Return the parents that have a baseline of a kind, but not those that a watch names."""
        named = self._present.get(place, set())
        return {
            each.discovery.parent
            for spec, each in self._known.get(place, {}).items()
            if each.discovery.parent is not None
            and each.discovery.family == like.family
            and spec not in named
        }

    def began(self, place: Place, discoveries: Iterable[Discovery]) -> datetime | None:
        """Return when the last of these baselines began; ``None`` unless all have.

        A job that was created later is in none of them.
        """
        known = self._known.get(place, {})
        found = [known.get(each.spec) for each in discoveries]
        times = [each.stored.begun_at for each in found if each is not None]
        return max(times, default=None) if len(times) == len(found) else None

    def are_complete(self, place: Place) -> bool:
        """Return whether every baseline there is complete."""
        known = self._known.get(place, {}).values()
        return all(each.stored.completed_at is not None for each in known)

    async def forget(self, place: Place, discovery: Discovery) -> None:
        """Forget the baseline of a parent that is gone: another of its name is a new one."""
        if discovery.spec in self._present.get(place, ()):
            return  # a watch names the parent, so it is swept on
        known = self._known.get(place, {}).pop(discovery.spec, None)
        if known is not None:
            await self._store.keep_baselines((), [known.stored])

    def find(
        self,
        place: Place,
        discovery: Discovery,
        row: model.Observation,
        again: bool,  # noqa: FBT001 -- as it stands on the discovery
        listed_open: bool,  # noqa: FBT001 -- one caller
    ) -> None:
        """Note a job that a sweep shows and that is not recorded yet.

        ``again`` is what ``begin`` returned for the sweep. ``listed_open`` is set if the row
        shows that the job has not ended: if it has by its first poll, that is news.
        """
        job_id, awaited = row.job.id, self._awaited.setdefault(place, {})
        if job_id in awaited:
            return
        known = self._known.get(place, {})
        own = known.get(discovery.spec)
        # A job that a complete baseline with the same listing would have shown is new.
        for each in known.values():
            like = each.discovery
            same = own is None or (
                (like.listed, like.parent) == (discovery.listed, discovery.parent)
            )
            if same and each.stored.completed_at and accepts(each.discovery.discover, row):
                return
        begun_at = own.stored.begun_at if again and own else None
        # A listing that is never complete would otherwise suppress the end of every job.
        if begun_at and row.created_at and row.created_at > begun_at:
            return
        awaited[job_id] = listed_open
        if begun_at and row.created_at is None:
            # Its first poll may show that it was created after the sweeps began.
            self._undated.setdefault(place, {})[job_id] = begun_at

    def covers(self, first: model.Snapshot, created_at: datetime | None) -> bool:
        """Check that a job that is recorded for the first time, as ``first``, is of a baseline."""
        job = first.job
        begun_at = self._undated.get(_place(job), {}).get(job.id)
        if begun_at and created_at and created_at > begun_at:
            return False
        listed_open = self._awaited.get(_place(job), {}).get(job.id)
        if listed_open is None or self._named(job):
            return False
        # It ended between its row and its first poll: that is news.
        return not (listed_open and first.phase.terminal)

    def note_recorded(self, job: model.Job) -> None:
        """Stop waiting for the first poll of a job."""
        for waiting in (self._awaited, self._undated):
            waiting.get(_place(job), {}).pop(job.id, None)

    def is_settled(self, place: Place, discovery: Discovery) -> bool:
        """Return whether ``complete`` has nothing to store."""
        known = self._known.get(place, {}).get(discovery.spec)
        if known is None:
            return True
        # Later sweeps are stored only to clear the ids that the first one left waiting.
        waits = bool(self._awaited.get(place)) or not known.stored.awaited
        return waits and known.stored.completed_at is not None

    def awaited(self) -> Iterable[model.Job]:
        """Yield the jobs that wait for their first poll."""
        for place, ids in self._awaited.items():
            yield from (model.Job(*place, job_id) for job_id in ids)

    async def complete(self, place: Place, discovery: Discovery, at: datetime) -> None:
        """Note that a sweep is complete, and its rows are recorded."""
        known = self._known.get(place, {}).get(discovery.spec)
        if known is None or self.is_settled(place, discovery):
            return
        awaited = self._awaited.get(place, {})
        completed_at = known.stored.completed_at or at
        # Set before it is durable: what the sweep of a second watch finds from here on is new
        # either way.
        known.stored = replace(known.stored, completed_at=completed_at, awaited=dict(awaited))
        self._keep(place, self._known[place])
        await self._store.keep_baselines([known.stored], self._lost())

    def _lost(self) -> list[model.Baseline]:
        """Take what is to be deleted; a sweep may have begun one of them again since."""
        gone, self._gone = self._gone, []
        return [each for each in gone if each.discover not in self._known.get(_place(each), {})]

    def _keep(self, place: Place, kept: dict[str, _KnownBaseline]) -> None:
        """Drop all but ``kept``, and of these what is no longer configured.

        An old one stays until all that is configured has a complete baseline: until then only
        the old one shows which jobs are not new.
        """
        configured = self._present.get(place, set())
        exact = [spec for spec in configured if not spec.startswith(ANY_PARENT)]
        if configured and all(
            spec in kept and kept[spec].stored.completed_at is not None for spec in exact
        ):
            kept = {spec: each for spec, each in kept.items() if each.wanted(configured)}
        dropped = [each.stored for spec, each in self._known[place].items() if spec not in kept]
        self._gone.extend(dropped)
        self._known[place] = kept


def _place(of: model.Job | model.Baseline) -> Place:
    return of.type, of.account, of.region
