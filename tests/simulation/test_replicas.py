"""Two whole daemons over one PostgreSQL, which crash, stop and are cut off, tell the truth.

All that a daemon does is real but for AWS, the receivers, HTTP, and time.
"""

import json
from collections import defaultdict
from contextlib import asynccontextmanager
from contextvars import ContextVar
from itertools import pairwise
from random import Random
from types import SimpleNamespace
from typing import Any

import anyio
import anyio.to_thread
import pytest
from structlog.testing import capture_logs

from monitor import app, sinks
from monitor.config import Settings
from monitor.errors import StoreError
from monitor.model import Job, Observation
from monitor.polling import manager
from monitor.runtime import other_replicas, sharing, upkeep
from monitor.stores.replicas import lock_number
from tests.builders import VIRTUAL, VirtualClock
from tests.simulation.checks import alternates, is_complete, is_gapless, is_true, was_delivered
from tests.simulation.stores import Chances, LoopClock, on_server
from tests.simulation.world import World, WorldSink, WorldSource

pytestmark = VIRTUAL
REGIONS = ("us-east-1", "eu-west-1", "ap-southeast-2")
JOBS, SPAN, PEACE = 8, 1200.0, 8000.0
ENDS = ("COMPLETED", "FAILED", "CANCELLED")
SINKS = {"single": 1, "batch": 10}
CHANCES = Chances(reading=0.0005, commit=0.002, cut=0.002)
OWNERS = """
    SELECT name FROM replicas JOIN pg_locks USING (pid) WHERE locktype = 'advisory' AND granted
    AND objsubid = 1 AND ((classid::bigint << 32) | objid::bigint) = $1
"""
REPLICA = ContextVar("REPLICA", default="")


class RegionSource(WorldSource):
    """Shows the world of one region to one replica, and notes when it was asked."""

    def __init__(self, run, job_type, region, clock):
        super().__init__(run.worlds[region], clock, run.random)
        self.job_type = job_type
        self.region = region
        self.shown = run.shown
        self.run = run
        self.run.sources[REPLICA.get()].append(self)

    async def describe(self, wanted):
        began = self.clock.monotonic()
        found = await super().describe(wanted)
        if self._owners() != [REPLICA.get()]:
            self.run.unowned[self.shown[-1]] = began
        return found

    def _owners(self):
        number = lock_number(f"{sharing.SOURCE}omics/default/{self.region}")
        return [name for (name,) in self.run.server.rows(OWNERS, number)]

    async def _reach(self):
        # An error here would pass for one of the source's.
        self.run.asked[self.region].append((REPLICA.get(), self._owners()))
        return await super()._reach()

    def _observation(self, job_id, asked_at, state):
        of = Job(self.job_type.name, "default", self.region, job_id)
        return Observation(of, asked_at, self.clock.now(), {"status": state}, {})


class Clients:
    """Clients of AWS that nobody uses."""

    def __init__(self, *_about, **_more):
        pass

    async def __aenter__(self):
        return self

    async def __aexit__(self, *_error):
        pass

    def replace(self, *_about):
        return frozenset()


class Run:
    """Random worlds, watched by two replicas."""

    def __init__(self, server, seed, span):
        self.server = server
        self.span = span
        self.random = Random(seed)
        self.clock = LoopClock(VirtualClock())
        self.worlds = {region: World(self.random, JOBS, span, region, ENDS) for region in REGIONS}
        world: Any = SimpleNamespace(calm=False)
        self.sinks = {name: WorldSink(world, self.random, n) for name, n in SINKS.items()}
        self._receivers = world
        self.shown, self.asked, self.unowned = [], defaultdict(list), {}
        self.sources = defaultdict(list)
        self.crashes = self.stops = self.refused = 0
        self.cuts = []
        self.events = []
        self.settings = Settings.model_validate(
            {
                "store": server.url,
                "watches": [
                    {"name": "w", "type": "omics.run", "regions": REGIONS, "discover": True}
                    | {"interval": "10s"}
                ],
                "sinks": {name: {"type": "log"} for name in SINKS},
                "routes": [
                    {
                        "sinks": [*SINKS],
                        "match": {"kind": ["job.*", "job.discovered", "source.*"]},
                    }
                ],
                "quotas": {"omics": {"rate": 5, "burst": 10}},
            }
        )

    @asynccontextmanager
    async def sink(self, name, *_about, **_more):
        yield self.sinks[name]

    async def live(self):
        self.server.calm = False
        async with anyio.create_task_group() as tasks:
            for name in ("one", "two"):
                tasks.start_soon(self._replica, name)
        self.server.calm = True
        async with self.server.store(VirtualClock()) as store:
            self.events = [event for _, event in await store.transitions(limit=100_000)]
            self.backlog = await store.backlog()

    async def _replica(self, name):
        """Fill one place among the replicas, by one daemon after another."""
        REPLICA.set(name)
        while (now := self.clock.monotonic()) < self.span:
            crash = self.random.random() < 0.6
            await self._life(name, now + self.random.uniform(5, self.span / 4), crash=crash)
            await anyio.sleep(self.random.choice([0.0, self.random.uniform(0, self.span / 10)]))
        self._calm()
        await self._life(name, None, crash=False)

    def _calm(self):
        self.server.calm = self._receivers.calm = True
        for world in self.worlds.values():
            world.calm = True

    async def _life(self, name, until, *, crash):
        """Run a daemon until some time; as a supervisor does, start it again if it cannot start."""
        while until is None or self.clock.monotonic() < until:
            ready: list[app.Running] = []
            if await self._daemon(name, until, ready.append, crash=crash):
                return
            assert not ready
            self.refused += 1
            await anyio.sleep(5)

    async def _daemon(self, name, until, ready, *, crash):
        daemon = app.Daemon(self.settings, clock=self.clock, random=self.random)
        daemon._name = name
        stop, refused = anyio.Event(), False

        async def end():
            if until is None:
                await self._all_is_done()
            else:
                await anyio.sleep(until - self.clock.monotonic())
            now = self.clock.monotonic()
            if crash:
                self.crashes += 1
                self.cuts.append((now - 1, now))
                self._cut_off(name)
                tasks.cancel_scope.cancel()
            else:
                self.stops += 1
                self.cuts.append((now, now + manager.FINISH_WITHIN))
                stop.set()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(end)
            try:
                await daemon.run(stop, ready)
            except StoreError:
                refused = True
            tasks.cancel_scope.cancel()
        self._cut_off(name)
        return not refused

    def _cut_off(self, name):
        """Lose the polls of a daemon that has ended."""
        for source in self.sources.pop(name, ()):
            source.cut_off()

    async def _all_is_done(self):
        """Wait until all jobs have ended and everything is sent, for as long as that may take."""
        while True:
            await anyio.sleep(60)
            if self.server.rows("SELECT 1 FROM deliveries WHERE status = 'pending' LIMIT 1"):
                continue
            ends = {job_id: states[-1] for job_id, states in self.truth().items()}
            found = self.server.rows("SELECT event FROM transitions ORDER BY position")
            if _last([json.loads(text) for (text,) in found]) == ends:
                return

    def told(self):
        """Return the data of the events of each job, and of each region, in order."""
        of = defaultdict(list)
        for event in self.events:
            data = event["data"]
            of[event["subject"] if "job" in data else data["source"]["region"]].append(data)
        return of

    def seen(self, job_id, *, surely=False):
        """Return the states that looks showed; ``surely`` leaves out what may not be stored.

        That is what is seen shortly before a crash or a loss, until something is stored again, and
        what comes when another replica polls the source, which it does after a loss.
        """
        gaps = surely * [*self.cuts, *((one.since - 1, one.until) for one in self.server.troubles)]
        return [
            state
            for moment, shown_id, state in self.shown
            if shown_id == job_id
            and not any(since < moment <= until for since, until in gaps)
            and not (surely and (moment, shown_id, state) in self.unowned)
        ]

    def truth(self):
        """Return the states of each job."""
        return {
            job_id: world.states(job_id)
            for world in self.worlds.values()
            for job_id in world.histories
        }


def _last(events):
    return {
        event["subject"]: event["data"]["current"]["state"]
        for event in events
        if "job" in event["data"]
    }


@asynccontextmanager
async def lived(server, seed, monkeypatch, span=SPAN):
    run = Run(server, seed, span)
    monkeypatch.setattr(
        app,
        "AwsSource",
        lambda kind, _, region, __, clock, **___: RegionSource(run, kind, region, clock),
    )
    monkeypatch.setattr(sinks, "open_sink", run.sink)
    with capture_logs(), anyio.fail_after(10 * PEACE):
        await run.live()
    yield run


@pytest.fixture(autouse=True)
def alone(monkeypatch):
    """Leave out what is beside the loop of the test, and what would only take time."""

    async def at_once(function, *values, **_how):
        return function(*values)

    async def serve(*_about):
        return "http://nobody"

    monkeypatch.setattr(anyio.to_thread, "run_sync", at_once)
    monkeypatch.setattr(app.Daemon, "_serve", serve)
    monkeypatch.setattr(app, "Clients", Clients)
    nothing = lambda: None  # noqa: E731
    monkeypatch.setattr(app, "gc", SimpleNamespace(collect=nothing, freeze=nothing, enable=nothing))
    monkeypatch.setattr(upkeep, "REFRESH", 60.0)
    monkeypatch.setattr(other_replicas, "REFRESH", 60.0)


SEEDS = [0, *(pytest.param(seed, marks=pytest.mark.soak) for seed in range(1, 30))]


@pytest.mark.parametrize("seed", SEEDS)
async def test_two_replicas_tell_all_that_was_seen_and_nothing_else(
    new_database, monkeypatch, seed
):
    with on_server(new_database(), Random(seed), CHANCES) as server:
        async with lived(server, seed, monkeypatch) as run:
            _something_happened(run)
        told, exact = run.told(), 0
        for region, world in run.worlds.items():
            for job_id in world.histories:
                data = told[job_id]
                is_gapless(data)
                seen, surely = run.seen(job_id), run.seen(job_id, surely=True)
                is_true(world, job_id, data)
                is_complete(world, job_id, data, surely)
                exact += seen == surely
            is_gapless(told[region])
            alternates([each["kind"] for each in told[region]])
        assert exact > 0
        for asked in run.asked.values():
            # If its session was ended, nobody owns what a replica polls until it learns of that.
            assert all(owners in ([], [name]) for name, owners in asked)
        for (came, *_), began in run.unowned.items():
            # Without a trouble, a replica that gives up a source awaits the polls under way.
            troubled = any(one.since <= came and began <= one.until for one in server.troubles)
            assert troubled or came - began > manager.FINISH_WITHIN
        for sink in run.sinks.values():
            was_delivered(run.events, sink)
        assert [each.pending for each in run.backlog] in ([], [0, 0])


def _something_happened(run):
    server = run.server
    assert len(run.events) > 40
    assert min(run.crashes, run.stops) >= 2
    assert server.lost + server.unanswered >= 1
    assert server.cuts >= 2
    for asked in run.asked.values():
        assert len(asked) > 60
        assert sum(one[0] != other[0] for one, other in pairwise(asked)) >= 4
