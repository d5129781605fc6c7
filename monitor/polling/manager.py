"""All pollers, one per quota, and the watched regions that give them their jobs."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import anyio

from monitor.model import SourceKey
from monitor.polling.poller import Poller
from monitor.polling.quota import Quota
from monitor.polling.watch import JobOwnership, WatchTarget

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Collection, Iterable, Iterator, Mapping

    from monitor import config, model
    from monitor.interfaces import Clock, Random, Source
    from monitor.metrics import Metrics
    from monitor.polling.job_status import JobStatus
    from monitor.recording.recorder import Recorder
    from monitor.sources.job_type import JobType

FINISH_WITHIN = 3.0
"""Seconds that looks under way get to end when the daemon stops."""

Place = tuple[str, str, str]
"""Type, account and region of jobs."""


class PollManager:
    """Turns watches into running pollers."""

    def __init__(
        self,
        recorder: Recorder,
        metrics: Metrics,
        clock: Clock,
        random: Random,
        source_of: Callable[[config.Watch, JobType, str], Source],
    ) -> None:
        """``source_of(watch, job_type, region)`` builds what a watch looks through."""
        self._recorder = recorder
        self._metrics = metrics
        self._clock = clock
        self._random = random
        self._source_of = source_of
        self._watched: list[WatchTarget] = []
        self._owners = JobOwnership(())
        self._pollers: dict[str, Poller] = {}
        self._budgets: dict[str, tuple[float, int]] = {}
        self._tasks = anyio.create_task_group()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run the pollers beside the body; then start no more looks, and let the last ones end."""
        async with self._tasks:
            yield
            for poller in self._pollers.values():
                poller.stop()
            self._tasks.cancel_scope.deadline = anyio.current_time() + FINISH_WITHIN

    def apply(
        self,
        settings: config.Settings,
        types: Mapping[str, JobType],
        known: Collection[model.Snapshot] = (),
    ) -> None:
        """Watch what ``settings`` ask for, and nothing else, from now on.

        Of what was watched before, all that stays the same goes on undisturbed: each job
        keeps its turn, each listing its page, each look under way its end. A job belongs
        to the first watch that wants it. ``known`` are jobs of the store, to go on with.
        """
        before = {each.key: each for each in self._watched}
        self._budgets = budgets(settings, types)
        self._watched = [
            self._watch(before.get((watch.name, region)), watch, region, type_of(watch, types))
            for watch in settings.watches
            for region in _regions(watch, types[watch.type])
        ]
        self._owners = JobOwnership(self._watched)
        baselines = self._recorder.baselines
        baselines.want(self._owners.discoveries(), self._owners.name)
        for each in set(before.values()).difference(self._watched):
            each.end()
        self._hand_over()
        self._adopt(known)
        for each in self._watched:
            if before.get(each.key) is not each:
                each.begin()
        self._spend()
        self._forget(before.values(), known)
        self._tasks.start_soon(baselines.tidy, name="forget old baselines")

    def retry(self, accounts: Collection[str]) -> None:
        """Ask again for all that failed in these accounts, which have changed."""
        for poller in self._pollers.values():
            if poller.key.account in accounts:
                poller.retry()

    def last_pass_age(self) -> float:
        """Return the seconds since the slowest poller last went through what is due."""
        now = self._clock.monotonic()
        return max((now - poller.last_pass for poller in self.pollers()), default=0.0)

    def pollers(self) -> Iterator[Poller]:
        """Go through the pollers that run; from any thread."""
        yield from list(self._pollers.values())

    def followed(self) -> Iterator[JobStatus]:
        """Yield how every job of every watch stands; from any thread."""
        for poller in list(self._pollers.values()):
            yield from poller.followed()

    def standing_of(self, key: str) -> JobStatus | None:
        """Return how one job stands, if it is followed."""
        found = (poller.standing_of(key) for poller in self._pollers.values())
        return next(filter(None, found), None)

    def places(self) -> set[Place]:
        """Return the types, accounts and regions that are watched."""
        return {each.place for each in self._watched}

    # What is watched

    def _watch(
        self, before: WatchTarget | None, watch: config.Watch, region: str, job_type: JobType
    ) -> WatchTarget:
        """Return ``before`` if that is the same, or else what is to take its place."""
        if before is not None and before.is_of(watch, job_type):
            return before
        source = self._source_of(watch, job_type, region)
        poller = self._poller(SourceKey(job_type.service, watch.account, region))
        operations = (job_type.describe_operation, job_type.list_operation)
        self._metrics.expect_operations(poller.key, filter(None, operations))
        return WatchTarget(watch, region, job_type.interval, source, poller, self._owner_of)

    def _owner_of(self, job: model.Job) -> WatchTarget | None:
        return self._owners.of(job)

    def _hand_over(self) -> None:
        """Give each job that is followed to the watch that it belongs to now, if there is one.

        Nothing may come between, so each job is looked up once: a hundred thousand of them
        must not hold up the loop for long.
        """
        self._recorder.keep_only(self._owners.want)
        kept: set[str] = set()
        for poller in self._pollers.values():
            for tracked in poller.tracked():
                owner = self._owners.of(tracked.job)
                if owner is None or owner.poller is not poller:
                    poller.drop(tracked)
                    continue
                kept.add(tracked.job.key)
                if not owner.follows(tracked):
                    owner.follow(tracked.job)
        for snapshot in self._recorder.snapshots():
            if snapshot.job.key not in kept:
                self._follow(snapshot.job, self._owners.of(snapshot.job))

    def _adopt(self, known: Iterable[model.Snapshot]) -> None:
        """Go on with jobs of the store, where what is known here is not newer."""
        for snapshot in known:
            owner = self._owners.of(snapshot.job)
            if owner is not None and self._recorder.snapshot(snapshot.job.key) is None:
                self._recorder.adopt(snapshot)
                self._follow(snapshot.job, owner)

    @staticmethod
    def _follow(job: model.Job, owner: WatchTarget | None) -> None:
        if owner is not None and not owner.poller.follows(job):
            owner.follow(job)

    # The pollers

    def _poller(self, key: model.SourceKey) -> Poller:
        """Return the one poller of a quota; a new one begins to run."""
        if key.key not in self._pollers:
            rate, burst = self._budgets[key.service]
            quota = Quota(rate, burst, self._clock.monotonic())
            self._metrics.expect_source(key)
            poller = Poller(key, quota, self._recorder, self._metrics, self._clock, self._random)
            self._pollers[key.key] = poller
            self._tasks.start_soon(self._poll, poller, name=f"poll {key.key}")
        return self._pollers[key.key]

    async def _poll(self, poller: Poller) -> None:
        await poller.run()
        if poller.key.key not in self._pollers:
            self._metrics.forget_source(poller.key)

    def _spend(self) -> None:
        """Let each poller have its budget, and none run that has nothing to do."""
        needed = {each.poller for each in self._watched}
        for poller in list(self._pollers.values()):
            if poller in needed:
                poller.limit(*self._budgets[poller.key.service])
            else:
                del self._pollers[poller.key.key]
                poller.stop()

    def _forget(self, before: Collection[WatchTarget], known: Collection[model.Snapshot]) -> None:
        """Let the series of places end that are watched no more, and others begin."""
        was, now = {each.place for each in before}, self.places()
        for place in now - was:
            self._metrics.expect_jobs(*place)
        for place in was - now:
            self._metrics.forget_jobs(*place)
        self._metrics.adopt_ends(now - was, known)


def type_of(watch: config.Watch, types: Mapping[str, JobType]) -> JobType:
    """Return the type of a watch's jobs, with what the watch says of those that ended."""
    return types[watch.type].with_grace(watch.final_grace, watch.ended_interval)


def _regions(watch: config.Watch, job_type: JobType) -> list[str]:
    return [job_type.region] if job_type.region else watch.regions


def budgets(
    settings: config.Settings, types: Mapping[str, JobType]
) -> dict[str, tuple[float, int]]:
    """Return rate and burst by service: as configured, or else those of the first watch's type."""
    found: dict[str, tuple[float, int]] = {}
    for watch in settings.watches:
        job_type = types[watch.type]
        found.setdefault(job_type.service, (job_type.rate, job_type.burst))
    return found | {name: (quota.rate, quota.burst) for name, quota in settings.quotas.items()}
