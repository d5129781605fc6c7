"""A configured watch in one region: which jobs it wants, and how they are followed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from monitor.agenda import Discovery, Tracked, includes
from monitor.config import Discover
from monitor.model import Job
from monitor.recorder import Following

if TYPE_CHECKING:
    from monitor.config import Watch
    from monitor.interfaces import JobType, Source
    from monitor.poller import Poller


class WatchedRegion:
    """Gives a poller the jobs of one watch in one region."""

    def __init__(
        self, watch: Watch, region: str, interval: float, source: Source, poller: Poller
    ) -> None:
        """``interval`` is in seconds."""
        self._watch = watch
        self._region = region
        self._interval = watch.interval or interval
        self._source = source
        self._poller = poller
        self._following = Following(source.job_type, watch.labels, watch.stuck_after, watch.name)

    @property
    def job_type(self) -> JobType:
        """The type of its jobs."""
        return self._source.job_type

    def wants(self, job: Job) -> bool:
        """Whether the watch names ``job``, or would discover it."""
        watch = self._watch
        if (job.type, job.account, job.region) != (watch.type, watch.account, self._region):
            return False
        discover = self._discover
        return job.id in watch.jobs or (discover is not None and includes(discover, job.id))

    def follow(self, job: Job) -> None:
        """Look at ``job`` from now on."""
        self._poller.follow(self._track(job))

    def begin(self) -> None:
        """Look at the jobs that the watch names, and sweep the listing if it discovers more."""
        for job_id in self._watch.jobs:
            self.follow(Job(self._watch.type, self._watch.account, self._region, job_id))
        discover = self._discover
        if discover is not None:
            self._poller.discover(Discovery(self._source, discover, self._interval, self._track))

    @property
    def _discover(self) -> Discover | None:
        wanted = self._watch.discover
        return wanted if isinstance(wanted, Discover) else Discover() if wanted else None

    def _track(self, job: Job) -> Tracked:
        return Tracked(
            job,
            self._source,
            self._following,
            self._interval,
            self._watch.missing_after,
            self._watch.blind_after_intervals,
        )
