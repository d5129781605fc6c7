"""A configured watch in one region: which jobs it wants, and how they are followed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from monitor import baselines
from monitor.agenda import Discovery, Tracked
from monitor.baselines import includes
from monitor.config import Discover
from monitor.model import Job
from monitor.recorder import Following

if TYPE_CHECKING:
    from collections.abc import Iterable

    from monitor.config import Watch
    from monitor.interfaces import JobType, Source
    from monitor.poller import Poller


def discovers(watch: Watch, job_id: str) -> bool:
    """Whether the watch follows a job of that id, once AWS lists it."""
    discover = _discover(watch)
    return discover is not None and includes(discover, job_id)


def _discover(watch: Watch) -> Discover | None:
    wanted = watch.discover
    return wanted if isinstance(wanted, Discover) else Discover() if wanted else None


class WatchedRegion:
    """Gives a poller the jobs of one watch in one region."""

    def __init__(
        self, watch: Watch, region: str, interval: float, source: Source, poller: Poller
    ) -> None:
        """``interval`` is in seconds."""
        self._watch = watch
        self._named = frozenset(watch.jobs)
        self._region = region
        self._interval = watch.interval or interval
        self._source = source
        self._discovery: Discovery | None = None
        self.poller = poller
        """Looks at its jobs."""
        self._following = Following(source.job_type, watch.labels, watch.stuck_after, watch.name)

    @property
    def job_type(self) -> JobType:
        """The type of its jobs."""
        return self._source.job_type

    @property
    def key(self) -> tuple[str, str]:
        """The watch's name, and the region."""
        return self._watch.name, self._region

    @property
    def place(self) -> tuple[str, str, str]:
        """Type, account and region of its jobs."""
        return self._watch.type, self._watch.account, self._region

    @property
    def discovery(self) -> str | None:
        """What it discovers, in the form by which baselines are known."""
        discover = _discover(self._watch)
        return baselines.canonical(discover) if discover else None

    def names(self, job: Job) -> bool:
        """Whether the watch names ``job``."""
        return job.id in self._named

    def is_of(self, watch: Watch, job_type: JobType) -> bool:
        """Whether it would be just the same, were it made of these now."""
        return self._watch == watch and self.job_type == job_type

    def wants(self, job: Job) -> bool:
        """Whether the watch names ``job``, or would discover it."""
        watch = self._watch
        if (job.type, job.account, job.region) != (watch.type, watch.account, self._region):
            return False
        return job.id in self._named or discovers(watch, job.id)

    def follow(self, job: Job) -> None:
        """Look at ``job`` from now on, and as this watch says."""
        self.poller.follow_as(self._track(job))

    def follows(self, tracked: Tracked) -> bool:
        """Whether a job is looked at as this watch says."""
        return tracked.following is self._following

    def begin(self) -> None:
        """Look at the jobs that the watch names, and sweep the listing if it discovers more."""
        for job_id in self._watch.jobs:
            self.poller.follow(self._track(Job(*self.place, job_id)))
        discover = _discover(self._watch)
        if discover is not None:
            self._discovery = Discovery(self._source, discover, self._interval, self._track)
            self.poller.discover(self._discovery)

    def end(self) -> None:
        """Sweep no more; the jobs are another's to take over, or to drop."""
        if self._discovery is not None:
            self.poller.drop(self._discovery)

    def _track(self, job: Job) -> Tracked:
        return Tracked(
            job,
            self._source,
            self._following,
            self._interval,
            self._watch.missing_after,
            self._watch.blind_after_intervals,
        )


class Owners:
    """Tells which watched region a job belongs to: the first that wants it."""

    def __init__(self, watched: Iterable[WatchedRegion]) -> None:
        """Take the regions in the order of the configuration."""
        self._places: dict[tuple[str, str, str], list[WatchedRegion]] = {}
        for each in watched:
            self._places.setdefault(each.place, []).append(each)

    def of(self, job: Job) -> WatchedRegion | None:
        """Return the region, if there is one."""
        found = self._places.get((job.type, job.account, job.region), ())
        return next((each for each in found if each.wants(job)), None)

    def want(self, job: Job) -> bool:
        """Whether there is one."""
        return self.of(job) is not None

    def name(self, job: Job) -> bool:
        """Whether any of them names the job."""
        found = self._places.get((job.type, job.account, job.region), ())
        return any(each.names(job) for each in found)

    def discoveries(self) -> dict[tuple[str, str, str], set[str]]:
        """Return what is discovered at each place where anything is."""
        found = {
            place: {each.discovery for each in regions if each.discovery is not None}
            for place, regions in self._places.items()
        }
        return {place: wanted for place, wanted in found.items() if wanted}
