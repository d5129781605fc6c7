"""The metrics of the followed jobs: totals, and if wanted each job by itself."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from heapq import nlargest
from typing import TYPE_CHECKING

from prometheus_client.core import (
    GaugeMetricFamily,
    InfoMetricFamily,
    StateSetMetricFamily,
)

from monitor.metrics import ENDS, JOBS, job_label
from monitor.model import Phase

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
    from datetime import datetime

    from prometheus_client import Metric

    from monitor import config
    from monitor.interfaces import Clock
    from monitor.model import Snapshot
    from monitor.polling.job_status import JobStatus

    SinceEnd = Callable[[datetime, datetime | None], timedelta]

Place = tuple[str, str, str]
"""Type, account and region."""

RECENT = timedelta(hours=1)
"""For how long a job counts as having ended of late: what alerts count, exactly."""

_JOB = (*JOBS, "id")


class JobCollector:
    """Counts the jobs anew at each scrape, in the thread that renders it.

    Every place in ``places`` has its totals, be there no job at all.
    """

    def __init__(
        self,
        places: Collection[Place],
        followed: Callable[[], Iterable[JobStatus]],
        settings: config.MetricsSettings,
        clock: Clock,
        own_time: Callable[[], datetime],
    ) -> None:
        """``followed`` is asked at each scrape, and must bear to be asked from any thread.

        So must ``own_time``, the store's own.
        """
        self._places = places
        self._followed = followed
        self.settings = settings
        """How much is shown; whoever puts others here has them from the next scrape on."""
        self._clock = clock
        self._own_time = own_time
        self._began = own_time()

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics as they are now."""
        # Kept only where it is needed: so many new objects at once wake the garbage collector.
        jobs = list(self._followed()) if self.settings.per_job else self._followed()
        yield from _totals(list(self._places), jobs, self._since_end())
        if self.settings.per_job:
            yield from self._each(list(jobs))

    def _each(self, jobs: Sequence[JobStatus]) -> Iterator[Metric]:
        """Yield each job by itself; of too many, the quietest are cut."""
        keep, since_end = timedelta(seconds=self.settings.keep_finished), self._since_end()
        recent = [job for job in jobs if not _is_past(job, keep, since_end)]
        shown = nlargest(self.settings.max_jobs, recent, key=_liveliness)
        text = "Jobs that have no series of their own, as there are more than max_jobs."
        yield GaugeMetricFamily("job_monitor_job_series_cut", text, len(recent) - len(shown))
        yield self._info(shown)
        yield _states(shown)
        yield _last_changes(shown)

    def _since_end(self) -> SinceEnd:
        """Return what tells how long ago an end was seen, by its two times.

        No wall clock that is set moves an end that this run has seen. Own time stands still while
        no daemon runs, so an end of an earlier run is as old as either of the two says.
        """
        now, own, began = self._clock.now(), self._own_time(), self._began

        def since_end(ended_at: datetime, own_ended: datetime | None) -> timedelta:
            if own_ended is None:
                return now - ended_at
            seen = own - own_ended
            return seen if own_ended >= began else max(seen, now - ended_at)

        return since_end

    def _info(self, jobs: Sequence[JobStatus]) -> Metric:
        text = "A followed job, the watch that follows it, and that watch's labels."
        wanted = self.settings.job_labels
        labels = (*_JOB, "watch", *map(job_label, wanted))
        family = InfoMetricFamily("job_monitor_job", text, labels=labels)
        for job in jobs:
            values = (job.labels.get(label, "") for label in wanted)
            family.add_metric((*_names(job), job.watch, *values), {})
        return family


def _totals(
    places: Iterable[Place],
    jobs: Iterable[JobStatus],
    since_end: SinceEnd,
) -> Iterator[Metric]:
    """Yield how many jobs there are at each place, by what is to be said of them."""
    tally: Counter[tuple[Place, str]] = Counter()
    for each in jobs:
        job = each.job
        place = (job.type, job.account, job.region)
        for what in _traits(each):
            tally[place, what] += 1
        known = each.snapshot
        if known and (known.ended_at or known.earlier_ended):  # most of many jobs are open
            for phase in _recent_ends(known, since_end):
                tally[place, f"recently {phase}"] += 1
    # A watch that is gone may have left jobs that are still followed.
    everywhere = sorted({*places, *(place for place, _ in tally)})
    family = GaugeMetricFamily("job_monitor_jobs", "Followed jobs.", labels=(*JOBS, "phase"))
    for place in everywhere:
        for phase in Phase:
            family.add_metric((*place, phase), tally[place, phase])
    yield family
    yield _recent(everywhere, tally)
    for what, text in _TRAITS.items():
        family = GaugeMetricFamily(f"job_monitor_{what}_jobs", text, labels=JOBS)
        for place in everywhere:
            family.add_metric(place, tally[place, what])
        yield family


def _recent_ends(known: Snapshot, since_end: SinceEnd) -> Collection[str]:
    """Return the phases in which a job has ended of late; one that went on has ended as well."""
    recent = {phase for phase, times in known.earlier_ended.items() if since_end(*times) < RECENT}
    ended_at = known.ended_at if known.has_ended else None
    if ended_at is not None and since_end(ended_at, known.own_ended) < RECENT:
        recent.add(known.phase)
    return recent


def _is_past(job: JobStatus, keep: timedelta, since_end: SinceEnd) -> bool:
    known = job.snapshot
    if known is None or known.ended_at is None:
        return False
    return since_end(known.ended_at, known.own_ended) > keep


def _recent(places: Iterable[Place], tally: Counter[tuple[Place, str]]) -> Metric:
    text = "Followed jobs that were seen to end, or first seen at their end, in the last hour."
    name = "job_monitor_recently_ended_jobs"
    family = GaugeMetricFamily(name, text, labels=(*JOBS, "phase"))
    for place in places:
        for phase in ENDS:
            family.add_metric((*place, phase), tally[place, f"recently {phase}"])
    return family


_TRAITS = {
    "stuck": "Followed jobs whose state has not changed for too long.",
    "missing": "Followed jobs of which AWS says that they do not exist any more.",
    "blind": "Followed jobs about which AWS has told nothing for too long.",
}


def _traits(job: JobStatus) -> Iterator[str]:
    if job.snapshot is not None:
        yield job.snapshot.phase
    if job.stuck:
        yield "stuck"
    if job.missing:
        yield "missing"
    if job.blind:
        yield "blind"


def _liveliness(job: JobStatus) -> tuple[bool, float]:
    """Tell by what jobs are preferred: first those that have not ended, then the last changed."""
    known = job.snapshot
    if known is None:
        return True, 0.0
    return not known.phase.terminal, known.changed_at.timestamp()


def _states(jobs: Iterable[JobStatus]) -> Metric:
    text = "The phase that a job is in."
    family = StateSetMetricFamily("job_monitor_job_state", text, labels=_JOB)
    for job in jobs:
        if job.snapshot:
            phase = job.snapshot.phase
            family.add_metric(_names(job), {each: each is phase for each in Phase})
    return family


def _last_changes(jobs: Iterable[JobStatus]) -> Metric:
    text = "When a job was first seen in its present state."
    name = "job_monitor_job_last_change_timestamp_seconds"
    family = GaugeMetricFamily(name, text, labels=_JOB)
    for job in jobs:
        if job.snapshot:
            family.add_metric(_names(job), job.snapshot.changed_at.timestamp())
    return family


def _names(job: JobStatus) -> tuple[str, str, str, str]:
    return job.job.type, job.job.account, job.job.region, job.job.id
