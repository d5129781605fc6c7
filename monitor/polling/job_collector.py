"""The metrics of the watched jobs: totals, and if configured each job by itself."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from heapq import nlargest
from operator import itemgetter
from typing import TYPE_CHECKING

from prometheus_client.core import (
    GaugeMetricFamily,
    InfoMetricFamily,
    StateSetMetricFamily,
)

from monitor.metrics import ENDS, JOBS, job_label
from monitor.model import Phase, Place, WatchLabels

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
    from datetime import datetime

    from prometheus_client import Metric

    from monitor import config
    from monitor.interfaces import Clock, JobStatus
    from monitor.recording.archive import Archive

    SinceEnd = Callable[[datetime, datetime | None], timedelta]

At = tuple[Place, tuple[str, ...]]
"""A place, and the values of the labels of watches there."""

RECENT = timedelta(hours=1)
"""Time for which a job counts as recently ended: exactly what alerts count."""

_TRAITS = {
    "stuck": "Followed jobs whose state has not changed for too long.",
    "missing": "Followed jobs of which AWS says that they do not exist any more.",
    "blind": "Followed jobs without a successful poll for too long.",
}


class JobCollector:
    """Counts the jobs again at each scrape, in the thread that renders it.

    Every place in ``places`` has its totals, even if it has no job at all.
    """

    def __init__(
        self,
        places: Collection[Place],
        watched: Callable[[], Iterable[JobStatus]],
        settings: config.MetricsSettings,
        clock: Clock,
        store_time: Callable[[], datetime],
        watch_labels: Callable[[], WatchLabels] = WatchLabels,
        archive: Archive | None = None,
        discovering: Callable[[Place], Mapping[str, Mapping[str, str]]] = lambda _place: {},
    ) -> None:
        """Call the functions at each scrape, from any thread; ``store_time`` is the store's own.

        The jobs of ``archive`` count as well, and have no metrics of their own. They have the
        labels of the first watch that is ``discovering`` jobs at their place.
        """
        self._archive = archive
        self._discovering = discovering
        self._places = places
        self._watched = watched
        self.settings = settings
        """The present settings; others that are assigned here count from the next scrape on."""
        self._clock = clock
        self._store_time = store_time
        self._watch_labels = watch_labels
        self._began = store_time()

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics as they are now."""
        now, store_time, began = self._clock.now(), self._store_time(), self._began

        def since_end(ended_at: datetime, own_ended: datetime | None) -> timedelta:
            # A wall clock that is set does not move an end that this run has recorded. Store time
            # stands still while no daemon runs, so an end of an earlier run has the larger age.
            if own_ended is None:
                return now - ended_at
            age = store_time - own_ended
            return age if own_ended >= began else max(age, now - ended_at)

        # Kept only where it is needed: so many new objects at once wake the garbage collector.
        jobs = list(self._watched()) if self.settings.per_job else self._watched()
        owned = self._watch_labels()
        archived = self._archived(since_end, owned)
        yield from _totals(list(self._places), jobs, since_end, owned, archived)
        if self.settings.per_job:
            yield from self._each(list(jobs), since_end)

    def _archived(self, since_end: SinceEnd, owned: WatchLabels) -> Counter[tuple[At, str]]:
        """Count the archived jobs: of all that a job may count as, they have a phase and an end."""
        tally: Counter[tuple[At, str]] = Counter()
        if self._archive is None:
            return tally

        def at(place: Place) -> At:
            labels = next(iter(self._discovering(place).values()), {}) if owned.names else {}
            return place, owned.values(labels)

        for (place, phase), many in self._archive.counts().items():
            tally[at(place), phase] += many
        for end in self._archive.recent:
            is_recent = since_end(end.ended_at, end.own_ended) < RECENT
            if end.place in self._archive.present and is_recent:
                tally[at(end.place), f"recently {end.phase}"] += 1
        return tally

    def _each(self, jobs: Sequence[JobStatus], since_end: SinceEnd) -> Iterator[Metric]:
        """Yield each job by itself; of too many, the ended are cut first, then the quietest."""
        keep, recent = timedelta(seconds=self.settings.keep_finished), []
        for each in jobs:
            known = each.snapshot
            if known is None:
                recent.append((True, 0.0, each))
            elif not known.ended_at or since_end(known.ended_at, known.own_ended) <= keep:
                recent.append((not known.phase.terminal, known.changed_at.timestamp(), each))
        shown = nlargest(self.settings.max_jobs, recent, key=itemgetter(0, 1))
        text = "Jobs that have no series of their own, as there are more than max_jobs."
        yield GaugeMetricFamily("job_monitor_job_series_cut", text, len(recent) - len(shown))

        names, labels = (*JOBS, "id"), self.settings.job_labels
        text = "A followed job, the watch that follows it, and that watch's labels."
        columns = (*names, "watch", *map(job_label, labels))
        infos = InfoMetricFamily("job_monitor_job", text, labels=columns)
        text = "The phase that a job is in."
        states = StateSetMetricFamily("job_monitor_job_state", text, labels=names)
        text = "When a job was first seen in its present state."
        name = "job_monitor_job_last_change_timestamp_seconds"
        changes = GaugeMetricFamily(name, text, labels=names)
        for _, _, each in shown:
            job, known = each.job, each.snapshot
            values = (job.type, job.account, job.region, job.id)
            own = (each.labels.get(label, "") for label in labels)
            infos.add_metric((*values, each.watch, *own), {})
            # A job that has not been described yet has no state.
            if known:
                states.add_metric(values, {phase: phase is known.phase for phase in Phase})
                changes.add_metric(values, known.changed_at.timestamp())
        yield from (infos, states, changes)


def _totals(
    places: Iterable[Place],
    jobs: Iterable[JobStatus],
    since_end: SinceEnd,
    owned: WatchLabels,
    archived: Counter[tuple[At, str]],
) -> Iterator[Metric]:
    """Yield the number of jobs at each place, by labels of watches, phase and trait."""
    tally = _tally(jobs, since_end, owned)
    tally.update(archived)
    # A watch that is gone may have left jobs that are still polled.
    expected = {(place, values) for place in places for values in owned.at(place)}
    everywhere = sorted({*expected, *(at for at, _ in tally)})
    columns = owned.columns
    labels = (*JOBS, "phase", *columns)
    family = GaugeMetricFamily("job_monitor_jobs", "Followed jobs.", labels=labels)
    for at in everywhere:
        for phase in Phase:
            family.add_metric((*at[0], phase, *at[1]), tally[at, phase])
    yield family
    text = "Followed jobs that were seen to end, or first seen at their end, in the last hour."
    name = "job_monitor_recently_ended_jobs"
    family = GaugeMetricFamily(name, text, labels=labels)
    for at in everywhere:
        for phase in ENDS:
            family.add_metric((*at[0], phase, *at[1]), tally[at, f"recently {phase}"])
    yield family
    for trait, text in _TRAITS.items():
        family = GaugeMetricFamily(f"job_monitor_{trait}_jobs", text, labels=(*JOBS, *columns))
        for at in everywhere:
            family.add_metric((*at[0], *at[1]), tally[at, trait])
        yield family


def _tally(
    jobs: Iterable[JobStatus], since_end: SinceEnd, owned: WatchLabels
) -> Counter[tuple[At, str]]:
    tally: Counter[tuple[At, str]] = Counter()
    # The jobs of a watch share its labels. Kept with them, so that no other takes their identity.
    known: dict[int, tuple[Mapping[str, str], tuple[str, ...]]] = {}
    values: tuple[str, ...] = ()
    for each in jobs:
        if owned.names:
            found = known.get(id(each.labels))
            if found is None:
                found = known[id(each.labels)] = each.labels, owned.values(each.labels)
            values = found[1]
        at = (each.job.type, each.job.account, each.job.region), values
        for trait in _traits(each, since_end):
            tally[at, trait] += 1
    return tally


def _traits(job: JobStatus, since_end: SinceEnd) -> Iterator[str]:
    """Yield what a job counts as: its phase, recent ends, and the keys of ``_TRAITS``."""
    known = job.snapshot
    if known is not None:
        yield known.phase
        # Most of many jobs are open, and need no arithmetic with times.
        if known.ended_at or known.earlier_ended:
            # A job that went on after an end has ended as well; each phase counts once.
            ends = known.earlier_ended.items()
            recent = {phase for phase, times in ends if since_end(*times) < RECENT}
            ended_at = known.ended_at if known.has_ended else None
            if ended_at is not None and since_end(ended_at, known.own_ended) < RECENT:
                recent.add(known.phase)
            yield from (f"recently {phase}" for phase in recent)
    if job.stuck:
        yield "stuck"
    if job.missing:
        yield "missing"
    if job.blind:
        yield "blind"
