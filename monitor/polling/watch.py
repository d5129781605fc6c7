"""A configured watch in one region: which jobs it wants, and how they are followed."""

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
    """Whether the watch follows a job of that id, once AWS lists it."""
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
        """``interval`` is in seconds; ``owner_of`` tells whose a job is, among all that run."""
        self.watch = watch
        """As configured."""
        self._region = region
        self._interval = watch.interval or interval
        self._source = source
        self._discovery: ListingSweep | None = None
        self.poller = poller
        """Looks at its jobs."""
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
        """The watch's name, and the region."""
        return self.watch.name, self._region

    @property
    def place(self) -> tuple[str, str, str]:
        """Type, account and region of its jobs."""
        return self.watch.type, self.watch.account, self._region

    @property
    def discovery(self) -> str | None:
        """What it discovers, in the form by which baselines are known."""
        discover = _discover(self.watch)
        return baselines.canonical(discover, self.job_type.listed) if discover else None

    def is_of(self, watch: Watch, job_type: JobType) -> bool:
        """Whether it would be just the same, were it made of these now."""
        return self.watch == watch and self.job_type == job_type

    def follow(self, job: Job) -> None:
        """Look at ``job`` from now on, and as this watch says."""
        self.poller.follow_as(self.track(job))

    def follows(self, tracked: ScheduledJob) -> bool:
        """Whether a job is looked at as this watch says."""
        return tracked.following is self._following

    def begin(self) -> None:
        """Look at the jobs that the watch names, and sweep the listing if it discovers more."""
        for job_id in self.watch.jobs:
            job = Job(*self.place, job_id)
            # Most are known already where a large watch is read again.
            if not self.poller.follows(job):
                self.poller.follow(self._track_as_owned(job))
        discover = _discover(self.watch)
        if discover is not None:
            self._discovery = ListingSweep(
                self._source, discover, self._interval, self._track_as_owned
            )
            self.poller.discover(self._discovery)

    def end(self) -> None:
        """Sweep no more; the jobs are another's to take over, or to drop."""
        if self._discovery is not None:
            self.poller.drop(self._discovery)

    def _track_as_owned(self, job: Job) -> ScheduledJob:
        """Track a job as the first watch that wants it says, whichever comes upon it."""
        return (self._owner_of(job) or self).track(job)

    def track(self, job: Job) -> ScheduledJob:
        """Track a job as this watch says."""
        return ScheduledJob(
            job,
            self._source,
            self._following,
            self._interval,
            self.watch.missing_after,
            self.watch.blind_after_intervals,
        )


class JobOwnership:
    """Tells which watched region a job belongs to: the first that wants it."""

    def __init__(self, watched: Iterable[WatchTarget]) -> None:
        """Take the regions in the order of the configuration."""
        self._claims: dict[tuple[str, str, str], Claims[WatchTarget]] = {}
        for order, each in enumerate(watched):
            self._claims.setdefault(each.place, Claims()).add(order, each.watch, each)

    def of(self, job: Job) -> WatchTarget | None:
        """Return the region, if there is one."""
        claims = self._claims.get((job.type, job.account, job.region))
        found = claims.first(job.id) if claims else None
        return found[1] if found else None

    def want(self, job: Job) -> bool:
        """Whether there is one."""
        return self.of(job) is not None

    def name(self, job: Job) -> bool:
        """Whether any of them names the job."""
        claims = self._claims.get((job.type, job.account, job.region))
        return claims is not None and claims.names(job.id)

    def discoveries(self) -> dict[tuple[str, str, str], set[str]]:
        """Return what is discovered at each place where anything is."""
        found = {
            place: {each.discovery for each in claims.claimants() if each.discovery is not None}
            for place, claims in self._claims.items()
        }
        return {place: wanted for place, wanted in found.items() if wanted}


Claimant = TypeVar("Claimant")


class Claims(Generic[Claimant]):
    """Who wants the jobs of one place: those who name a job, and those who discover it.

    A name is looked up, and the globs of all who discover are tried as one expression, so that
    the cost of a job does not grow with the number of the watches.
    """

    def __init__(self) -> None:
        """Begin with none."""
        self._named: dict[str, tuple[int, Claimant]] = {}
        self._discovering: list[tuple[int, Watch, Claimant]] = []
        self._globs: re.Pattern[str] | None = None

    def add(self, order: int, watch: Watch, claimant: Claimant) -> None:
        """Add what ``watch`` wants; to be called by rising ``order``."""
        for job_id in watch.jobs:
            self._named.setdefault(job_id, (order, claimant))
        if watch.discover:
            self._discovering.append((order, watch, claimant))
            self._globs = None

    def names(self, job_id: str) -> bool:
        """Whether anybody names a job."""
        return job_id in self._named

    def claimants(self) -> Iterator[Claimant]:
        """Go through those who discover."""
        for _, _, claimant in self._discovering:
            yield claimant

    def first(self, job_id: str) -> tuple[int, Claimant] | None:
        """Return the first that wants a job, with its order."""
        named = self._named.get(job_id)
        for order, watch, claimant in self._including(job_id):
            if named and named[0] < order:
                break
            if discovers(watch, job_id):
                return order, claimant
        return named

    def _including(self, job_id: str) -> Sequence[tuple[int, Watch, Claimant]]:
        """Leave out those before the first whose globs include the job."""
        if not self._discovering:
            return ()
        if self._globs is None:
            self._globs = _one_of(watch for _, watch, _ in self._discovering)
        found = self._globs.match(job_id)
        # An alternative is tried before those that stand behind it.
        return self._discovering[(found.lastindex or 1) - 1 :] if found else ()


def _one_of(watches: Iterable[Watch]) -> re.Pattern[str]:
    """Return an expression whose last group is numbered by the first watch that includes an id."""
    globs = (discover.include for watch in watches if (discover := _discover(watch)))
    return re.compile("|".join(f"({'|'.join(map(translate, each))})" for each in globs))
