"""A configured watch in one region: the jobs that it wants, and how it follows them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from monitor import pacing
from monitor.config import Discover
from monitor.interfaces import JobStatus
from monitor.model import Job, ListingRequest
from monitor.polling.claims import Claims, discovery_of
from monitor.polling.schedule import ListingSweep
from monitor.polling.scheduled_job import PollOptions, ScheduledJob
from monitor.recording.baselines import accepts
from monitor.recording.diff import TrackingOptions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from datetime import datetime

    from monitor.config import Watch
    from monitor.interfaces import Source
    from monitor.model import Observation, Snapshot
    from monitor.polling.poller import Poller
    from monitor.recording.baselines import Baselines


class WatchTarget:
    """Gives a poller the jobs of one watch in one region."""

    def __init__(
        self,
        watch: Watch,
        region: str,
        interval: float,
        source: Source,
        poller: Poller,
        owner_of: Callable[[Job, str | None], WatchTarget | None],
        *,
        hinted: bool = False,
    ) -> None:
        """Take the interval in seconds; ``owner_of`` returns the target that a job belongs to.

        ``hinted`` is set while hints tell of changes there.
        """
        self.watch = watch
        self.key = (watch.name, region)
        self.place = (watch.type, watch.account, region)
        """Type, account and region of its jobs."""
        self.source = source
        self._usual = watch.interval or interval
        self.interval = self._pace(hinted=hinted)
        """Seconds between two polls of a job, and between two sweeps."""
        self._discover = discovery_of(watch)
        self.poller = poller
        self._owner_of = owner_of
        self.following = TrackingOptions(
            source.job_type,
            watch.labels,
            watch.stuck_after,
            watch.name,
            learned=watch.schedule == "learned",
            remind_every=watch.remind_every,
            confirm=watch.confirm,
        )
        """The options of every job that is polled for this watch, and for no other."""
        self._options = PollOptions(
            source,
            self.following,
            self.interval,
            watch.missing_after,
            watch.blind_after_intervals,
        )
        self.sweeps = list(self._listings()) if self._discover else []
        """The sweeps of its discovery, without those of parents that were found."""

    def discoveries(self) -> Iterator[str]:
        """Yield the names of the baselines that its discovery needs, or of families of them."""
        for sweep in self.sweeps:
            yield sweep.discovery.spec
            if sweep.child:
                # Which parents there are is not known yet.
                yield from (each.discovery.family for each in sweep.child(""))

    def follow(self, job: Job) -> None:
        """Poll ``job`` from now on, with the options of this watch."""
        self.poller.follow(self.track(job))

    def begin(self) -> None:
        """Poll the jobs that the watch names, and sweep the listing if it discovers more."""
        for job_id in self.watch.jobs:
            job = Job(*self.place, job_id)
            # Most are known already where a large watch is read again.
            if self.poller.schedule.known(job) is None:
                self.poller.follow((self._owner_of(job, None) or self).track(job))
        for sweep in self.sweeps:
            self.poller.discover(sweep)

    def _pace(self, *, hinted: bool) -> float:
        slower = self.watch.interval_with_hints if hinted else None
        return max(self._usual, slower or 0.0)

    def rely(self, *, hinted: bool) -> bool:
        """Sweep at the pace for times with hints, or without; return whether they differ."""
        pace = self._pace(hinted=hinted)
        if pace == self.interval:
            return False
        self.interval, self._options = pace, replace(self._options, interval=pace)
        for sweep in self.sweeps:
            for each in (sweep, *sweep.children.values()):
                each.interval = pace
                self.poller.bring_forward(each)
        return True

    def end(self) -> None:
        """Stop sweeping; another target takes the jobs over, or drops them."""
        for sweep in self.sweeps:
            self.poller.drop(sweep)

    def _listings(self) -> Iterator[ListingSweep]:
        """Yield the sweeps of its discovery: of each listing, for each parent that is named."""
        discover = self._discover or Discover()
        if discover.of == "all":
            yield self._sweep(ListingRequest(), child=self._of_parent)
        for number, listing in enumerate(self.source.job_type.listings):
            if listing.parent is None:
                yield self._sweep(ListingRequest(number))
        for parent in discover.of if isinstance(discover.of, list) else ():
            yield from self._of_parent(parent)

    def _of_parent(self, parent: str) -> Sequence[ListingSweep]:
        """Return the sweeps of the listings of one parent."""
        return [
            self._sweep(ListingRequest(number, parent))
            for number, listing in enumerate(self.source.job_type.listings)
            if listing.parent is not None
        ]

    def _sweep(
        self,
        request: ListingRequest,
        child: Callable[[str], Sequence[ListingSweep]] | None = None,
    ) -> ListingSweep:
        discover = self._discover or Discover()
        return ListingSweep(
            self.source, discover, self.interval, self._track_as_owned, request, child
        )

    def _track_as_owned(self, row: Observation) -> ScheduledJob:
        """Schedule a job with the options of the first watch that wants it, whichever finds it."""
        found = (self._owner_of(row.job, row.parent) or self).track(row.job)
        found.parent = row.parent
        return found

    def hinted(self, job: Job, parent: str | None, baselines: Baselines) -> ScheduledJob:
        """Schedule a job that a hint has named; what its first poll shows must be new.

        A hint proves nothing, so it must not make news of a job that is older than the watch.
        """
        found = self.track(job)
        found.parent = parent

        def is_new(observed: Observation) -> bool:
            discover = self._discover
            if discover is None or not accepts(discover, observed):
                return False
            if parent is None and isinstance(discover.of, list):
                return False  # it may be of a parent that nobody watches
            began = baselines.began(self.place, [each.discovery for each in self.sweeps])
            if began is None:
                return False
            if observed.created_at is not None:
                return observed.created_at > began
            verdict = self.source.job_type.judge(observed.parts, None)
            ended = verdict is not None and verdict.phase.terminal
            return not ended and baselines.are_complete(self.place)

        found.admit = None if job.id in self.watch.jobs else is_new
        return found

    def remembered(self, known: Snapshot, now: datetime) -> JobStatus:
        """Return the status of a job that only the store has."""
        pace = pacing.ended_interval(self.interval, self.following.job_type.grace_interval)
        return JobStatus(
            job=known.job,
            watch=self.following.watch,
            labels=self.following.labels,
            snapshot=known,
            interval=pace,
            polled_at=known.looked_at,
            at=now,
            next_in=None,
            failing=None,
            finished=True,
            blind=False,
        )

    def track(self, job: Job) -> ScheduledJob:
        """Schedule a job with the options of this watch."""
        return ScheduledJob(job, self._options)


class JobOwnership:
    """Finds the target that a job belongs to: the first that wants it."""

    def __init__(
        self,
        watched: Iterable[WatchTarget],
        parent_of: Callable[[Job], str | None] = lambda _job: None,
    ) -> None:
        """Take the targets in the order of the configuration.

        ``parent_of`` returns the parent for which a known job was listed, if it was for any.
        """
        self._parent_of = parent_of
        self._claims: dict[tuple[str, str, str], Claims[WatchTarget]] = {}
        for order, each in enumerate(watched):
            self._claims.setdefault(each.place, Claims()).add(order, each.watch, each)

    def of(self, job: Job, parent: str | None = None) -> WatchTarget | None:
        """Return the target of a job, if there is one; ``parent`` is the one it is listed for."""
        claims = self._claims.get((job.type, job.account, job.region))
        found = claims.first(job.id, parent or self._parent_of(job)) if claims else None
        return found[1] if found else None

    def want(self, job: Job) -> bool:
        """Return whether a target wants the job."""
        return self.of(job) is not None

    def name(self, job: Job) -> bool:
        """Return whether a target names the job."""
        claims = self._claims.get((job.type, job.account, job.region))
        return claims is not None and job.id in claims.named

    def discoveries(self) -> dict[tuple[str, str, str], set[str]]:
        """Return the filters of the discoveries at each place that has any."""
        found = {
            place: {name for each in claims.discovering for name in each.discoveries()}
            for place, claims in self._claims.items()
        }
        return {place: wanted for place, wanted in found.items() if wanted}
