"""All pollers, one per quota, and the watched regions that give them their jobs."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import anyio

from monitor import pacing
from monitor.model import SourceKey
from monitor.poller import Poller
from monitor.watching import WatchedRegion

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence

    from anyio.abc import TaskGroup

    from monitor import config, model
    from monitor.interfaces import Clock, Random, Source
    from monitor.metrics import Metrics
    from monitor.recorder import Recorder
    from monitor.sources.job_type import JobType
    from monitor.standing import FollowedJob

FINISH_WITHIN = 3.0
"""Seconds that looks under way get to end when the daemon stops."""


class Polling:
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
        self._watched: list[WatchedRegion] = []
        self._pollers: dict[str, Poller] = {}
        self._tasks: TaskGroup

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run the pollers beside the body; then start no more looks, and let the last ones end."""
        async with anyio.create_task_group() as self._tasks:
            yield
            for poller in self._pollers.values():
                poller.stop()
            self._tasks.cancel_scope.deadline = anyio.current_time() + FINISH_WITHIN

    def begin(
        self,
        settings: config.Settings,
        types: Mapping[str, JobType],
        known: Iterable[model.Snapshot],
    ) -> None:
        """Watch what ``settings`` ask for, going on with those ``known`` jobs that they want."""
        self._watched = [
            self._watch(watch, region, types[watch.type], settings.quotas)
            for watch in settings.watches
            for region in _regions(watch, types[watch.type])
        ]
        for snapshot in known:
            self._adopt(snapshot)
        for each in self._watched:
            each.begin()
        for poller in self._pollers.values():
            self._tasks.start_soon(poller.run, name=f"poll {poller.key.key}")

    def last_pass_age(self) -> float:
        """Return the seconds since the slowest poller last went through what is due."""
        now = self._clock.monotonic()
        return max((now - poller.last_pass for poller in self.pollers()), default=0.0)

    def pollers(self) -> Iterator[Poller]:
        """Go through the pollers that run."""
        yield from self._pollers.values()

    def followed(self) -> Iterator[FollowedJob]:
        """Yield how every job of every watch stands; from any thread."""
        for poller in list(self._pollers.values()):
            yield from poller.followed()

    def standing_of(self, key: str) -> FollowedJob | None:
        """Return how one job stands, if it is followed."""
        found = (poller.standing_of(key) for poller in self._pollers.values())
        return next(filter(None, found), None)

    def _watch(
        self,
        watch: config.Watch,
        region: str,
        declared: JobType,
        quotas: Mapping[str, config.Quota],
    ) -> WatchedRegion:
        job_type = declared.with_grace(watch.final_grace, watch.final_interval)
        source = self._source_of(watch, job_type, region)
        key = SourceKey(job_type.service, watch.account, region)
        self._metrics.expect_jobs(watch.type, watch.account, region)
        operations = (job_type.describe_operation, job_type.list_operation)
        self._metrics.expect_source(key, filter(None, operations))
        poller = self._poller(key, job_type, quotas.get(key.service))
        return WatchedRegion(watch, region, job_type.interval, source, poller)

    def _poller(self, key: model.SourceKey, job_type: JobType, own: config.Quota | None) -> Poller:
        """Return the one poller of a quota."""
        if key.key not in self._pollers:
            rate, burst = (own.rate, own.burst) if own else (job_type.rate, job_type.burst)
            quota = pacing.Quota(rate, burst, self._clock.monotonic())
            self._pollers[key.key] = Poller(
                key, quota, self._recorder, self._metrics, self._clock, self._random
            )
        return self._pollers[key.key]

    def _adopt(self, snapshot: model.Snapshot) -> None:
        """Go on with a job of the store, if a watch still wants it."""
        mine = next((each for each in self._watched if each.wants(snapshot.job)), None)
        if mine is not None:
            self._recorder.adopt(snapshot)
            mine.follow(snapshot.job)


def _regions(watch: config.Watch, job_type: JobType) -> Sequence[str]:
    return [job_type.region] if job_type.region else watch.regions
