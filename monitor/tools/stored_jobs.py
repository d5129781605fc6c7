"""The jobs of a store, in the form in which a daemon shows the jobs that it follows."""

from __future__ import annotations

from dataclasses import replace
from heapq import nlargest, nsmallest
from typing import TYPE_CHECKING, Any

from monitor.interfaces import JobStatus
from monitor.model import ArchivedFilter, Job, Phase
from monitor.polling.claims import Claims
from monitor.web.api.job_filters import RANKS, JobsQuery, fits, has_label, holds, label_texts

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection, Iterable, Iterator, Mapping, Sequence

    from monitor import config, model
    from monitor.stores.reader import LedgerReader

    Place = tuple[str, str, str]
    Counts = Mapping[tuple[Place, Phase], int]
    """The number of jobs by place and phase."""


class StoredJobs:
    """The jobs of a store, each with the watch that follows it."""

    def __init__(self, store: LedgerReader, watches: Sequence[config.Watch]) -> None:
        """Take the watches in the order of the configuration."""
        self._store = store
        self._claims: dict[Place, Claims[config.Watch]] = {}
        for order, watch in enumerate(watches):
            # One without regions is of a type that has but one.
            for region in watch.regions or ("",):
                place = (watch.type, watch.account, region)
                self._claims.setdefault(place, Claims()).add(order, watch, watch)
        self._watches = watches

    async def list(
        self, counts: Counts, asked: JobsQuery, limit: int
    ) -> tuple[Sequence[JobStatus], int]:
        """Return the first jobs that match, in the order asked for, and the number of all that do.

        ``counts`` are those of the store. Jobs are read where more than place and phase decides,
        and then by the page; all else is counted.
        """
        found: list[JobStatus] = []
        chosen: list[Place] = []
        total = 0
        order = RANKS[asked.sort.removeprefix("-")]
        first = nlargest if asked.sort.startswith("-") else nsmallest

        def rank(one: JobStatus) -> tuple[Any, ...]:
            return (*order(one), one.job.key)

        phases = frozenset(asked.phase or Phase)
        places = {place for place, phase in counts if phase in phases}
        for place in sorted(places, key=lambda one: "/".join((*one, ""))):
            type_, account, region = place
            if not asked.takes_type(type_) or asked.account not in {None, account}:
                continue
            if asked.region not in {None, region}:
                continue
            if asked.counts_suffice and asked.sort == "key":
                total += sum(counts.get((place, phase), 0) for phase in phases)
                if len(found) < limit:
                    page = await self._store.jobs(place, phases, limit=limit - len(found))
                    found += self._statuses(page)
                continue
            chosen.append(place)
        async for page in self._pages(chosen, phases, asked):
            fitting = [job for job in self._statuses(page) if fits(job, asked)]
            total += len(fitting)
            found = first(limit, [*found, *fitting], key=rank)
        return found, total

    async def _pages(
        self, places: Sequence[Place], phases: Collection[Phase], asked: JobsQuery
    ) -> AsyncIterator[Sequence[model.Snapshot]]:
        """Yield the jobs of some places that may match, by the page."""
        having = asked.having
        # Which jobs a watch has is not in the store.
        if asked.q is not None and self._is_of_labels(asked.q, self._watches):
            having = replace(having, text=None)
        matching = self._store.archived_matching
        if having != ArchivedFilter() and await matching(having, phases) is not None:
            # Asked again at the end: a daemon may archive a job, or find that one lives again.
            after, met = "", set[Job]()
            while page := await self._store.live_with_text(having.text, after):
                yield page
                met.update(each.job for each in page)
                after = page[-1].job.key
            indexed = await matching(having, phases) or ()
            yield [each for each in indexed if each.job not in met]
            return
        for place in places:
            near = [
                watch
                for watch in self._watches
                if watch.type == place[0] and watch.account == place[1]
            ]
            if (asked.label or asked.watch) and not any(
                asked.watch in {None, watch.name}
                and all(has_label(watch.labels, label) for label in asked.label)
                for watch in near
            ):
                continue
            text = asked.having.text
            if asked.q is not None and self._is_of_labels(asked.q, near):
                text = None
            after = ""
            while page := await self._store.jobs(place, phases, after=after, text=text):
                yield page
                after = page[-1].job.id

    @staticmethod
    def _is_of_labels(text: str, watches: Iterable[config.Watch]) -> bool:
        """Return whether a label of a watch has a text."""
        return any(holds(label, text) for each in watches for label in label_texts(each.labels))

    def _statuses(self, snapshots: Iterable[model.Snapshot]) -> Iterator[JobStatus]:
        """Yield each job with the watch that follows it; its name is empty if none does any longer.

        Only a running daemon knows when it polls next and whether it can; here that stays empty.
        """
        for snapshot in snapshots:
            job = snapshot.job
            places = ((job.type, job.account, region) for region in (job.region, ""))
            claims = filter(None, map(self._claims.get, places))
            found = (place.first(job.id, snapshot.parent) for place in claims)
            # Of several watches that claim a job, the first one written follows it.
            _, owner = min(filter(None, found), key=lambda one: one[0], default=(0, None))
            yield JobStatus(
                job=job,
                watch=owner.name if owner else "",
                labels=owner.labels if owner else {},
                snapshot=snapshot,
                interval=0.0,
                polled_at=snapshot.looked_at,
                at=snapshot.looked_at,
                next_in=None,
                failing=None,
                finished=False,
                blind=False,
            )
