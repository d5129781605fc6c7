"""Whatever fails and whenever it restarts, the monitor tells the truth, all of it, in order."""

import asyncio
from collections import defaultdict
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from functools import partial
from random import Random

import anyio
import looptime
import pytest
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from monitor.config import Discover, Route
from monitor.delivery.dispatcher import Dispatcher
from monitor.metrics import Metrics
from monitor.polling import archiver
from monitor.polling.archiver import Archiver
from monitor.polling.poller import Poller
from monitor.polling.quota import Quota
from monitor.polling.schedule import ListingSweep
from monitor.polling.scheduled_job import PollOptions, ScheduledJob
from monitor.recording.recorder import Recorder
from monitor.recording.router import Router
from tests.builders import SOURCE, VIRTUAL, VirtualClock, following, job
from tests.simulation.checks import (
    alternates,
    is_complete,
    is_gapless,
    is_true,
    was_delivered,
)
from tests.simulation.stores import File, on_server
from tests.simulation.world import World, WorldSink, WorldSource, wall

pytestmark = VIRTUAL
JOBS, NAMED, SPAN = 25, 5, 3600.0
CRASHES, STOPS = 9, 4
"""How many times the monitor is cut off, and how many times it stops in peace."""
REMIND = 150.0
SEEDS_OF_SERVERS = [0, *(pytest.param(seed, marks=pytest.mark.soak) for seed in range(1, 40))]
FOLLOWED = replace(following(stuck_after=200.0), remind_every=REMIND)
SINKS = {"single": 1, "batch": 10}
ROUTES = [
    Route.model_validate(
        {"sinks": list(SINKS), "match": {"kind": ["job.*", "job.discovered", "source.*"]}}
    )
]


class Released:
    """The jobs of one poller that may be archived: those that are not named."""

    def __init__(self, poller):
        self.poller = poller

    def finished(self):
        named = {f"j-{number}" for number in range(NAMED)}
        return [one for one in self.poller.schedule.finished() if one.job.id not in named]

    def release(self, scheduled):
        self.poller.drop(scheduled)
        return True


class Run:
    """One random world, watched through random restarts.

    ``cuts`` are the times of crashes, each with the time since which looks may not be stored.
    """

    def __init__(self, place, seed, span=SPAN):
        self.place = place
        self.span = span
        self.random = Random(seed)
        self.clock = VirtualClock()
        self.world = World(self.random, JOBS, span)
        self.source = WorldSource(self.world, self.clock, self.random)
        self.sinks = {name: WorldSink(self.world, self.random, n) for name, n in SINKS.items()}
        self.cuts = []
        self.restarts = self.archived = 0
        self.events = []

    async def live(self, peace):
        """Run to the end of the world with troubles, and then ``peace`` seconds without.

        In 8,000 s all is told: the longest pause of any retry is an hour.
        """
        for crash in self.random.sample([True, False], CRASHES + STOPS, counts=[CRASHES, STOPS]):
            share = self.span / (CRASHES + STOPS)
            await self._session(self.random.uniform(5, 1.5 * share), crash=crash)
            await anyio.sleep(self.random.choice([0.0, self.random.uniform(0, share)]))
        self.world.calm = True
        await self._session(peace, crash=False)
        async with self.place.store(self.clock) as store:
            self.events = [event for _, event in await store.transitions(limit=100_000)]
            self.backlog = await store.backlog()

    async def _session(self, seconds, *, crash):
        """Run the monitor once; a crash forgets all that is not in the store."""
        self.restarts += 1
        async with self.place.store(self.clock, calm=self.world.calm) as store:
            recorder, loops = await self._monitor(store)
            async with anyio.create_task_group() as tasks:
                for loop in loops:
                    tasks.start_soon(loop.run)
                tasks.start_soon(self._archive, recorder, loops[0])
                await anyio.sleep(seconds)
                if crash:
                    self.cuts.append(_cut(store))
                    self.source.cut_off()
                    tasks.cancel_scope.cancel()
                for loop in loops:
                    loop.stop()
                if not crash:
                    self.archiving.cancel()
            if not crash:
                await recorder.rest()

    async def _archive(self, recorder, poller):
        """Archive ended jobs as soon as may be; a crash comes at any moment of it."""
        archiver = Archiver(recorder, Released(poller), self.clock)
        with anyio.CancelScope() as self.archiving:
            while True:
                await anyio.sleep(self.random.uniform(1, 60))
                self.archived += await archiver.archive_once()

    async def _monitor(self, store):
        metrics = Metrics(CollectorRegistry(), "0")
        dispatchers = [
            Dispatcher(
                name,
                sink,
                store,
                metrics,
                self.clock,
                self.random,
                timeout=5.0,
                max_age=1e9,
                concurrency=3,
            )
            for name, sink in self.sinks.items()
        ]

        def announce(_entry, _before):
            for dispatcher in dispatchers:
                dispatcher.wake()

        recorder = Recorder(store, Router(ROUTES, list(SINKS)), announce)
        recorder.adopt_sources(await store.sources())
        named = {f"j-{number}" for number in range(NAMED)}
        recorder.baselines.adopt(await store.baselines())
        recorder.baselines.want({}, lambda one: one.id in named)
        poller = self._poller(recorder, metrics)
        for snapshot in await store.archive.live():
            recorder.adopt(snapshot)
            poller.follow(self._track(snapshot.job))
        for number in range(NAMED):
            poller.follow(self._track(job(f"j-{number}")))
        rules = Discover.model_validate({"exclude": ["j-0"]})
        poller.discover(ListingSweep(self.source, rules, 30.0, lambda row: self._track(row.job)))
        return recorder, [poller, *dispatchers]

    def _poller(self, recorder, metrics):
        quota = Quota(5.0, 10, self.clock.monotonic())
        return Poller(
            SOURCE, quota, recorder, metrics, self.clock, self.random, concurrency=6, timeout=5.0
        )

    def _track(self, wanted):
        return ScheduledJob(wanted, PollOptions(self.source, FOLLOWED, 20.0, 3600.0))

    def told(self):
        """Return the data of each job's events, in the order of the ledger."""
        of = defaultdict(list)
        for event in self.events:
            of[event["subject"]].append(event["data"])
        return of

    def surely_seen(self, job_id):
        """Return the states that looks showed, but for those that a crash cut off."""
        return [
            state
            for moment, shown_id, state in self.source.shown
            if shown_id == job_id and not any(since < moment <= crash for since, crash in self.cuts)
        ]


def _cut(store):
    """Return since when a crash loses what was seen, and when it comes, which is now.

    While the server is away, nothing can be stored.
    """
    now = anyio.current_time()
    since = wall(store.outage.since.isoformat()) if store.outage else now
    return since - 1, now


@asynccontextmanager
async def lived(place, seed, span=SPAN, peace=8000):
    run = Run(place, seed, span)
    with capture_logs(), anyio.fail_after(10 * SPAN):
        await run.live(peace)
    yield run


@pytest.fixture(autouse=True)
def archived_at_once(monkeypatch):
    monkeypatch.setattr(archiver, "AFTER", timedelta())
    monkeypatch.setattr(archiver, "AFTER_FAILURE", timedelta())


@pytest.mark.parametrize("seed", range(4))
async def test_everything_seen_is_told_and_nothing_else(tmp_path, seed):
    async with lived(File(tmp_path), seed) as run:
        _all_is_told(run)
        assert set(run.source.failures) == {"PollError", "ValueError"}


@pytest.mark.parametrize("seed", SEEDS_OF_SERVERS)
async def test_everything_seen_is_told_and_nothing_else_over_postgresql(new_database, seed):
    with on_server(new_database(), Random(seed)) as server:
        async with lived(server, seed) as run:
            _all_is_told(run)
        _server_troubles_happened(server)


def test_a_seed_makes_one_world_however_fast_the_machine_is(tmp_path):
    _is_one_world(_lived_alone(File(tmp_path / "once")), _lived_alone(File(tmp_path / "again")))


@pytest.mark.soak
def test_a_seed_makes_one_world_over_postgresql_too(new_database):
    runs = []
    for _ in range(2):
        with on_server(new_database(), Random(0)) as server:
            runs.append(_lived_alone(server, SPAN / 3))
    _is_one_world(*runs)


def _is_one_world(once, again):
    assert len(once.source.shown) > 100
    assert len(once.events) > JOBS
    assert once.source.shown == again.source.shown
    assert once.told() == again.told()


def _lived_alone(place, span=SPAN / 2):
    """Live through a world on a loop of its own, as time goes on in one that is used twice."""

    async def live():
        async with lived(place, 0, span=span, peace=60) as run:
            return run

    with asyncio.Runner(loop_factory=partial(looptime.new_event_loop, noop_cycles=1)) as runner:
        return runner.run(live())


def _all_is_told(run):
    _something_happened(run)
    told = run.told()
    for job_id in run.world.histories:
        data = told[job_id]
        is_gapless(data)
        is_true(run.world, job_id, data)
        is_complete(run.world, job_id, data, run.surely_seen(job_id))
        _is_reminded(data)
    assert "job.reminder" in {event["data"]["kind"] for event in run.events}
    is_gapless(told[SOURCE.service])
    alternates([each["kind"] for each in told[SOURCE.service]])
    for sink in run.sinks.values():
        was_delivered(run.events, sink)
    assert [each.pending for each in run.backlog] in ([], [0, 0])


def _something_happened(run):
    """A simulation in which nothing happens proves nothing."""
    assert len(run.events) >= 2 * JOBS
    assert run.restarts == CRASHES + STOPS + 1
    assert len(run.cuts) == CRASHES
    assert run.archived > 5
    assert sum(run.source.failures.values()) > 30
    assert run.source.unread > 20
    for sink in run.sinks.values():
        assert sum(sink.failures.values()) > 10
        assert len(sink.taken) > len({event["id"] for event in sink.taken})


def _server_troubles_happened(server):
    assert min(server.lost, server.unanswered) > 3
    assert server.refused > 20


def _is_reminded(data):
    """A job is reminded of while it is stuck, and not too often."""
    last = None
    for each in data:
        at = wall(each["window"]["before"])
        if each["kind"] == "job.reminder":
            assert last is not None
            assert at - last >= REMIND - 10
        if each["kind"] in {"job.stuck", "job.reminder"}:
            last = at
        elif each["kind"] == "job.unstuck":
            last = None
