"""All pollers, one per quota, and the watch targets that give them their jobs."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import anyio

from monitor.clock import Lease
from monitor.model import Job, SourceKey, WatchLabels
from monitor.polling import watch_pace
from monitor.polling.learned import LearnedSchedules
from monitor.polling.poller import Poller
from monitor.polling.quota import Budget, Quota
from monitor.polling.turn_queue import State
from monitor.polling.watch import JobOwnership, WatchTarget

if TYPE_CHECKING:
    from collections.abc import (
        AsyncIterator,
        Callable,
        Collection,
        Iterable,
        Iterator,
        Mapping,
        Sequence,
    )
    from datetime import datetime

    from monitor import config, model
    from monitor.interfaces import Clock, JobStatus, Random, Source
    from monitor.metrics import Metrics
    from monitor.model import Place
    from monitor.polling.quota import QuotaLevel
    from monitor.polling.scheduled_job import HintTicket, ScheduledJob
    from monitor.polling.watch_pace import WatchPace
    from monitor.recording.recorder import Recorder
    from monitor.sources.job_type import JobType

FINISH_WITHIN = 3.0
"""Seconds that polls under way get to end when the daemon stops."""


@dataclass(frozen=True, slots=True)
class Handover:
    """What the last owner of a source has left: the level of its quota, and when it lived."""

    level: QuotaLevel | None = None
    alive_at: datetime | None = None


class PollManager:
    """Turns watches into running pollers."""

    def __init__(
        self,
        recorder: Recorder,
        metrics: Metrics,
        clock: Clock,
        random: Random,
        source_of: Callable[[config.Watch, JobType, str], Source],
        lease: Lease | None = None,
    ) -> None:
        """Take a factory: ``source_of(watch, job_type, region)`` makes the source of a watch."""
        self._lease = lease or Lease()
        self._recorder = recorder
        self._metrics = metrics
        self._clock = clock
        self._random = random
        self._source_of = source_of
        self._watched: list[WatchTarget] = []
        self._owners = JobOwnership(())
        self._pollers: dict[str, Poller] = {}
        self._idle: dict[str, Poller] = {}
        self._owned: Mapping[str, Handover] | None = None
        self.elsewhere: Callable[[str], JobStatus | None] = lambda _key: None
        """Returns the status of a job that another replica polls."""
        self.hint_elsewhere: Callable[[Job, str | None], HintTicket | None] = lambda *_about: None
        """Has another replica poll a job soon."""
        self._budgets: dict[str, Budget] = {}
        self._hinted: frozenset[tuple[str, str]] = frozenset()
        self.learned = LearnedSchedules()
        """The poll times of watches whose schedule is learned."""
        self.catch_up = recorder.catch_up
        """Load what another replica has recorded of jobs that are polled here."""
        recorder.is_elsewhere = lambda job: self.target_elsewhere(job) is not None
        self._tasks = anyio.create_task_group()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run the pollers beside the body; then stop, and let the last polls end."""
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
        owned: Mapping[str, Handover] | None = None,
    ) -> None:
        """Watch what ``settings`` want, and nothing else, from now on.

        What stays the same goes on undisturbed: each job keeps its turn, each listing its page,
        each poll under way its end. A job belongs to the first watch that wants it. ``known``
        are jobs of the store, to continue with. Nothing here awaits, so no poll and no commit
        can come between the old configuration and the new one.

        Only sources in ``owned`` are polled, by key; all of them if it is ``None``.
        """
        before = {each.key: each for each in self._watched}
        were_ours = {each.place for each in self._watched if self._is_ours(each)}
        self._owned = owned
        self._part_with()
        self._budgets = budgets(settings, types)
        self._watch_labels = settings.metrics.watch_labels
        self._watched = [
            self._target(before.get((watch.name, region)), watch, region, job_type)
            for watch, job_type in [(each, type_of(each, types)) for each in settings.watches]
            # A global type has but its own region.
            for region in ([job_type.region] if job_type.region else watch.regions)
        ]
        self._owners = JobOwnership(
            self._watched,
            lambda job: one.parent if (one := self._recorder.snapshot(job)) else None,
        )
        baselines = self._recorder.baselines
        ours = [each for each in self._watched if self._is_ours(each)]
        discoveries = JobOwnership(ours).discoveries()
        # What others own is kept by them; the store's must not be tidied here.
        baselines.release({each.place for each in self._watched if not self._is_ours(each)})
        baselines.want(discoveries, self._owners.name)
        self._recorder.archive.present = frozenset(discoveries)
        for each in set(before.values()).difference(self._watched):
            each.end()
        self._hand_over(known)
        for each in ours:
            if before.get(each.key) is not each:
                each.begin()
        self._settle(were_ours, known)
        self._tasks.start_soon(baselines.tidy, name="forget old baselines")

    def _is_ours(self, target: WatchTarget) -> bool:
        return self._owned is None or target.poller.key.key in self._owned

    def _polled_by(self, job: Job, parent: str | None = None) -> WatchTarget | None:
        """Return the target of a job, if there is one and it is polled here."""
        owner = self._owners.of(job, parent)
        return owner if owner is not None and self._is_ours(owner) else None

    def _part_with(self) -> None:
        """Stop polling sources that another replica owns from now on."""
        for key, poller in list(self._pollers.items()):
            if self._owned is not None and key not in self._owned:
                del self._pollers[key]
                poller.stop()
                places = {each.place for each in self._watched if each.poller is poller}
                self._recorder.baselines.release(places)

    async def part_with(self, sources: Collection[str]) -> dict[str, QuotaLevel]:
        """Stop polling some sources, and return their levels once the last polls have ended."""
        gone = [poller for key, poller in self._pollers.items() if key in sources]
        for poller in gone:
            poller.stop()
        with anyio.move_on_after(FINISH_WITHIN):
            for poller in gone:
                await poller.ended.wait()
        return {poller.key.key: poller.hand_over() for poller in gone}

    def level(self, source: str) -> QuotaLevel | None:
        """Return the level of the quota of a source, if it is polled here."""
        poller = self._pollers.get(source)
        return poller.hand_over() if poller else None

    def retry(self, accounts: Collection[str]) -> None:
        """Poll all that failed in these accounts again: they have changed."""
        for poller in self._pollers.values():
            if poller.key.account in accounts:
                poller.retry()

    def last_pass_age(self) -> float:
        """Return the seconds since the last pass of the slowest poller."""
        now = self._clock.monotonic()
        return max((now - poller.last_pass for poller in self.pollers()), default=0.0)

    def pollers(self) -> Iterator[Poller]:
        """Yield the pollers that run; from any thread."""
        yield from list(self._pollers.values())

    def watched(self) -> Iterator[JobStatus]:
        """Yield the status of every job of every watch; from any thread."""
        for poller in self.pollers():
            yield from poller.watched()

    def finished(self) -> Iterator[ScheduledJob]:
        """Yield the jobs that are no longer polled, but for those that a watch names."""
        for poller in self.pollers():
            for scheduled in poller.schedule.finished():
                if not self._owners.name(scheduled.job):
                    yield scheduled

    def release(self, scheduled: ScheduledJob) -> bool:
        """Forget a job that is archived; ``False`` if another has taken its place."""
        for poller in self._pollers.values():
            if poller.schedule.known(scheduled.job) is scheduled:
                poller.drop(scheduled)
                return True
        return False

    def archived(self) -> Mapping[tuple[Place, model.Phase], int]:
        """Return how many followed jobs only the store has, by place and phase; any thread."""
        return self._recorder.archive.counts()

    def archived_elsewhere(self) -> bool:
        """Return whether the store has others at places that no watch discovers now."""
        return self._recorder.archive.has_others()

    def remembered(self, known: model.Snapshot) -> JobStatus | None:
        """Return the status of an archived job, if a watch follows it; from any thread."""
        owner = self._owners.of(known.job, known.parent)
        return owner.remembered(known, self._clock.now()) if owner else None

    def discovering(self, place: Place) -> Mapping[str, Mapping[str, str]]:
        """Return the watches that discover jobs at a place, with their labels; from any thread."""
        return {
            each.watch.name: each.watch.labels
            for each in list(self._watched)
            if each.place == place and each.sweeps
        }

    async def recall(self, job: model.Job) -> None:
        """Find out whether a job that is not in memory is archived."""
        if self._polled_by(job):
            await self._recorder.recall([job])

    def status_of(self, key: str) -> JobStatus | None:
        """Return the status of one job, if it is watched."""
        job = Job.of(key)
        if job is None:
            return None
        found = (poller.status_of(job) for poller in self._pollers.values())
        return next(filter(None, found), None)

    def watch_of(self, key: str, parent: str | None = None) -> str | None:
        """Name the watch that follows a job, be it in memory or not; from any thread.

        ``parent`` is the one for which it was listed, as the store has it.
        """
        job = Job.of(key)
        owner = self._owners.of(job, parent) if job else None
        return owner.watch.name if owner else None

    def hint(self, job: model.Job, parent: str | None = None) -> HintTicket | None:
        """Poll a job soon that somebody says has changed; ``None`` if no watch polls it.

        One that is not known yet is tracked if a watch discovers it and its poll shows it.
        """
        owner = self._owners.of(job, parent)
        if owner is None:
            return None
        if not self._is_ours(owner):
            return self.hint_elsewhere(job, parent)
        scheduled = owner.poller.schedule.known(job)
        if scheduled is None:
            if self._recorder.archive.row(job.key) is not None:
                return None  # archived: one that is final needs no further poll
            scheduled = owner.hinted(job, parent, self._recorder.baselines)
            owner.poller.follow(scheduled)
        # One that is final needs no further poll.
        held = owner.poller.schedule.holds(scheduled)
        return owner.poller.hint(scheduled) if held else None

    def awaited(self, key: str, seconds: float) -> None:
        """Note that somebody waits for a job for so long: of many that are overdue, it is first."""
        job = Job.of(key)
        for poller in self._pollers.values():
            scheduled = poller.schedule.get(job) if job else None
            if scheduled is not None:
                poller.awaited(scheduled, seconds)

    def withdraw(self, job: model.Job) -> None:
        """Forget a job that a hint alone has named, if its poll has not begun yet."""
        owner = self._owners.of(job)
        scheduled = owner.poller.schedule.get(job) if owner else None
        waits = scheduled is not None and scheduled.state is State.WAITING
        if owner and scheduled and waits and scheduled.admit is not None:
            owner.poller.drop(scheduled)

    def rely_on_hints(self, places: frozenset[tuple[str, str]]) -> None:
        """Poll more slowly, where a watch says so, in these accounts and regions alone."""
        turned, self._hinted = self._hinted ^ places, places
        changed: dict[int, WatchTarget] = {}
        for each in self._watched:
            place = each.place[1:]
            if place in turned and each.rely(hinted=place in places):
                changed[id(each.following)] = each
        for poller in {each.poller for each in changed.values()}:
            # One that is idle has no jobs.
            for scheduled in poller.schedule.everyone():
                owner = changed.get(id(scheduled.following))
                if owner is not None:
                    owner.follow(scheduled.job)

    def named_jobs(self, watch: str) -> Iterator[JobStatus | None]:
        """Yield the status of each job that the watch of this name names; ``None`` if dropped."""
        for each in self._watched:
            if each.watch.name == watch:
                status_of = self.status_of if self._is_ours(each) else self.elsewhere
                keys = (Job(*each.place, job_id).key for job_id in each.watch.jobs)
                yield from map(status_of, keys)

    def paces(self, poller: Poller | None = None) -> Iterator[WatchPace]:
        """Yield how often each configured watch polls, or each watch of a poller; any thread."""
        if poller is None:
            ours = [each for each in self._watched if self._is_ours(each)]
            targets = list(watch_pace.configured(ours))
        else:
            targets = [each for each in self._watched if each.poller is poller]
        yield from watch_pace.paces(targets, self._clock.monotonic())

    def places(self) -> set[Place]:
        """Return the types, accounts and regions that are watched, and polled here."""
        return {each.place for each in self._watched if self._is_ours(each)}

    def targets_elsewhere(self) -> Iterator[WatchTarget]:
        """Yield what is watched, and polled by other replicas; from any thread."""
        return (each for each in list(self._watched) if not self._is_ours(each))

    def target_elsewhere(self, job: Job, parent: str | None = None) -> WatchTarget | None:
        """Return what a job is watched by, if another replica polls it; from any thread."""
        owner = self._owners.of(job, parent)
        return None if owner is None or self._is_ours(owner) else owner

    def sources(self) -> Sequence[str]:
        """Return the keys of all sources that are watched, whoever polls them."""
        return sorted({each.poller.key.key for each in self._watched})

    # What is watched

    def _target(
        self, before: WatchTarget | None, watch: config.Watch, region: str, job_type: JobType
    ) -> WatchTarget:
        """Return ``before`` if it is the same, or else a target to replace it."""
        key = SourceKey(job_type.service, watch.account, region)
        poller, ours = self._poller_of(key)
        same = before and before.watch == watch and before.source.job_type == job_type
        if before and same and before.poller is poller:
            return before
        source = self._source_of(watch, job_type, region)
        if ours:
            operations = (job_type.describe_operation, *job_type.list_operations)
            self._metrics.expect_operations(poller.key, operations)
        # Read each time: a reload replaces the owners, and this target may stay.
        owner_of: Callable[[model.Job, str | None], WatchTarget | None]
        owner_of = lambda job, parent: self._owners.of(job, parent)  # noqa: E731, PLW0108 -- see above
        hinted = (watch.account, region) in self._hinted
        return WatchTarget(
            watch, region, job_type.interval, source, poller, owner_of, hinted=hinted
        )

    def _poller_of(self, key: SourceKey) -> tuple[Poller, bool]:
        """Return the poller of a source, and whether it polls: another replica's stays idle."""
        ours = self._owned is None or key.key in self._owned
        pollers = self._pollers if ours else self._idle
        if (poller := pollers.get(key.key)) is None:
            budget, now = self._budgets[key.service], self._clock.monotonic()
            quota = Quota(budget.rate, budget.burst, now, budget.operations)
            parts = (self._recorder, self._metrics, self._clock, self._random)
            poller = Poller(key, quota, *parts, learned=self.learned, lease=self._lease)
            pollers[key.key] = poller
            if ours:
                self._idle.pop(key.key, None)
                self._metrics.expect_source(key)
                if self._owned is not None:
                    handed = self._owned[key.key]
                    poller.take_over(handed.level, handed.alive_at)
                self._tasks.start_soon(self._poll, poller, name=f"poll {key.key}")
        return poller, ours

    def _hand_over(self, known: Iterable[model.Snapshot]) -> None:
        """Give each watched job to the watch that it belongs to now, if there is one.

        Each job is looked up once: a hundred thousand of them must not block the loop for long.
        """
        polled_by = self._polled_by
        self._recorder.keep_only(lambda job: polled_by(job) is not None)
        kept: set[Job] = set()
        for poller in self._pollers.values():
            for scheduled in poller.schedule.everyone():
                owner = polled_by(scheduled.job, scheduled.parent)
                if owner is None or owner.poller is not poller:
                    poller.drop(scheduled)
                    continue
                kept.add(scheduled.job)
                if scheduled.following is not owner.following:
                    owner.follow(scheduled.job)
        # Recorded, but of no watch until now: a watch may want it again.
        for snapshot in self._recorder.snapshots():
            owner = polled_by(snapshot.job) if snapshot.job not in kept else None
            if owner is not None and owner.poller.schedule.known(snapshot.job) is None:
                owner.follow(snapshot.job)
        # The store's, unless newer states of them are known here.
        for snapshot in known:
            owner = polled_by(snapshot.job, snapshot.parent)
            if owner is not None and self._recorder.snapshot(snapshot.job) is None:
                self._recorder.adopt(snapshot)
                if owner.poller.schedule.known(snapshot.job) is None:
                    owner.follow(snapshot.job)

    # The pollers

    async def _poll(self, poller: Poller) -> None:
        await poller.run()
        if poller.key.key not in self._pollers:
            self._metrics.forget_source(poller.key)

    def _settle(self, was: set[Place], known: Collection[model.Snapshot]) -> None:
        """Give each poller its quota, and each place that is watched now its series.

        Pollers that have nothing to do stop, and the series of other places end.
        """
        needed = {each.poller for each in self._watched}
        for poller in list(self._pollers.values()):
            if poller in needed:
                poller.limit(self._budgets[poller.key.service])
            else:
                del self._pollers[poller.key.key]
                poller.stop()
        for key in self._idle.keys() - {each.key.key for each in needed}:
            del self._idle[key]
        now = self.places()
        owned = ((each.place, each.watch.labels) for each in self._watched if self._is_ours(each))
        renewed = self._metrics.use_watch_labels(WatchLabels.of(self._watch_labels, owned))
        for place in now - was:
            self._metrics.expect_jobs(*place)
        for place in was - now:
            self._metrics.forget_jobs(*place)
        counted = now if renewed else now - was
        owners = self._owners
        self._metrics.adopt_ends(
            counted,
            known,
            lambda one: owner.watch.labels if (owner := owners.of(one.job, one.parent)) else {},
        )
        for (place, phase), many in self._recorder.archive.ends(counted).items():
            labels = next(iter(self.discovering(place).values()), {})
            chosen = self._metrics.watch_labels.values(labels)
            self._metrics.ended.labels(*place, phase, *chosen).inc(many)


def type_of(watch: config.Watch, types: Mapping[str, JobType]) -> JobType:
    """Return the type of a watch's jobs, with the watch's own options for ended jobs."""
    return types[watch.type].with_grace(watch.final_grace, watch.ended_interval)


def budgets(settings: config.Settings, types: Mapping[str, JobType]) -> dict[str, Budget]:
    """Return the budget of each service, without what is left to other programs.

    It is as configured, or else that of the first watch's type.
    """
    found: dict[str, Budget] = {}
    for watch in settings.watches:
        job_type = types[watch.type]
        found.setdefault(job_type.service, Budget(job_type.rate, job_type.burst))
    return found | {name: Budget.of(quota) for name, quota in settings.quotas.items()}
