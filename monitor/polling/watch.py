"""A configured watch in one region: the jobs that it wants, and how it follows them."""

from __future__ import annotations

import re
from fnmatch import translate
from typing import TYPE_CHECKING, Generic, TypeVar

from monitor.config import Discover
from monitor.model import Job
from monitor.polling.schedule import ListingSweep, ScheduledJob
from monitor.recording import baselines
from monitor.recording.baselines import includes
from monitor.recording.diff import TrackingOptions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from monitor.config import Watch
    from monitor.interfaces import JobType, Source
    from monitor.polling.poller import Poller


def discovers(watch: Watch, job_id: str) -> bool:
    """Return whether the watch follows a job with this id, once AWS lists it."""
    discover = _discover(watch)
    return discover is not None and includes(discover, job_id)


def _discover(watch: Watch) -> Discover | None:
    wanted = watch.discover
    return wanted if isinstance(wanted, Discover) else Discover() if wanted else None


class WatchTarget:
    """Gives a poller the jobs of one watch in one region."""

    def __init__(
        self,
        watch: Watch,
        region: str,
        interval: float,
        source: Source,
        poller: Poller,
        owner_of: Callable[[Job], WatchTarget | None],
    ) -> None:
        """Take the interval in seconds; ``owner_of`` returns the target that a job belongs to."""
        self.watch = watch
        self._region = region
        self._interval = watch.interval or interval
        self._source = source
        self._sweep: ListingSweep | None = None
        self.poller = poller
        self._owner_of = owner_of
        self._following = TrackingOptions(
            source.job_type, watch.labels, watch.stuck_after, watch.name
        )

    @property
    def job_type(self) -> JobType:
        """The type of its jobs."""
        return self._source.job_type

    @property
    def key(self) -> tuple[str, str]:
        """The name of the watch, and the region."""
        return self.watch.name, self._region

    @property
    def place(self) -> tuple[str, str, str]:
        """Type, account and region of its jobs."""
        return self.watch.type, self.watch.account, self._region

    @property
    def discovery(self) -> str | None:
        """The filter of its discovery, in the form that names a baseline."""
        discover = _discover(self.watch)
        return baselines.canonical(discover, self.job_type.listed) if discover else None

    def is_of(self, watch: Watch, job_type: JobType) -> bool:
        """Return whether a target made of these now would be the same."""
        return self.watch == watch and self.job_type == job_type

    def follow(self, job: Job) -> None:
        """Poll ``job`` from now on, with the options of this watch."""
        self.poller.follow_as(self.track(job))

    def follows(self, tracked: ScheduledJob) -> bool:
        """Return whether a job is polled with the options of this watch."""
        return tracked.following is self._following

    def begin(self) -> None:
        """Poll the jobs that the watch names, and sweep the listing if it discovers more."""
        for job_id in self.watch.jobs:
            job = Job(*self.place, job_id)
            # Most are known already where a large watch is read again.
            if not self.poller.follows(job):
                self.poller.follow(self._track_as_owned(job))
        discover = _discover(self.watch)
        if discover is not None:
            self._sweep = ListingSweep(self._source, discover, self._interval, self._track_as_owned)
            self.poller.discover(self._sweep)

    def end(self) -> None:
        """Stop sweeping; another target takes the jobs over, or drops them."""
        if self._sweep is not None:
            self.poller.drop(self._sweep)

    def _track_as_owned(self, job: Job) -> ScheduledJob:
        """Schedule a job with the options of the first watch that wants it, whichever finds it."""
        return (self._owner_of(job) or self).track(job)

    def track(self, job: Job) -> ScheduledJob:
        """Schedule a job with the options of this watch."""
        return ScheduledJob(
            job,
            self._source,
            self._following,
            self._interval,
            self.watch.missing_after,
            self.watch.blind_after_intervals,
        )


class JobOwnership:
    """Finds the target that a job belongs to: the first that wants it."""

    def __init__(self, watched: Iterable[WatchTarget]) -> None:
        """Take the targets in the order of the configuration."""
        self._claims: dict[tuple[str, str, str], Claims[WatchTarget]] = {}
        for order, each in enumerate(watched):
            self._claims.setdefault(each.place, Claims()).add(order, each.watch, each)

    def of(self, job: Job) -> WatchTarget | None:
        """Return the target of a job, if there is one."""
        claims = self._claims.get((job.type, job.account, job.region))
        found = claims.first(job.id) if claims else None
        return found[1] if found else None

    def want(self, job: Job) -> bool:
        """Return whether a target wants the job."""
        return self.of(job) is not None

    def name(self, job: Job) -> bool:
        """Return whether a target names the job."""
        claims = self._claims.get((job.type, job.account, job.region))
        return claims is not None and claims.names(job.id)

    def discoveries(self) -> dict[tuple[str, str, str], set[str]]:
        """Return the filters of the discoveries at each place that has any."""
        found = {
            place: {each.discovery for each in claims.claimants() if each.discovery is not None}
            for place, claims in self._claims.items()
        }
        return {place: wanted for place, wanted in found.items() if wanted}


Claimant = TypeVar("Claimant")


class Claims(Generic[Claimant]):
    """The claimants to the jobs of one place: those that name a job, and those that discover it.

    A name is looked up, and the globs of all discoveries are tried as one expression, so that
    the cost of a job does not grow with the number of watches.
    """

    def __init__(self) -> None:
        """Start with none."""
        self._named: dict[str, tuple[int, Claimant]] = {}
        self._discovering: list[tuple[int, Watch, Claimant]] = []
        self._globs: re.Pattern[str] | None = None

    def add(self, order: int, watch: Watch, claimant: Claimant) -> None:
        """Add the claims of ``watch``; call this in rising ``order``."""
        for job_id in watch.jobs:
            self._named.setdefault(job_id, (order, claimant))
        if watch.discover:
            self._discovering.append((order, watch, claimant))
            self._globs = None

    def names(self, job_id: str) -> bool:
        """Return whether a claimant names a job."""
        return job_id in self._named

    def claimants(self) -> Iterator[Claimant]:
        """Yield the claimants that discover."""
        for _, _, claimant in self._discovering:
            yield claimant

    def first(self, job_id: str) -> tuple[int, Claimant] | None:
        """Return the first claimant to a job, with its order."""
        named = self._named.get(job_id)
        for order, watch, claimant in self._including(job_id):
            if named and named[0] < order:
                break
            if discovers(watch, job_id):
                return order, claimant
        return named

    def _including(self, job_id: str) -> Sequence[tuple[int, Watch, Claimant]]:
        """Return the discoveries from the first whose globs include the job."""
        if not self._discovering:
            return ()
        if self._globs is None:
            filters = (_discover(watch) for _, watch, _ in self._discovering)
            globs = (discover.include for discover in filters if discover)
            each_as_group = (f"({'|'.join(map(translate, some))})" for some in globs)
            self._globs = re.compile("|".join(each_as_group))
        found = self._globs.match(job_id)
        # Alternatives are tried in order: the group that matched is the first watch to include it.
        return self._discovering[(found.lastindex or 1) - 1 :] if found else ()
