"""The promise: every change that a look observes reaches the sink, at least once and in order,
however often the daemon is killed; and nothing is told that AWS did not report."""

import os
import random
from contextlib import asynccontextmanager
from signal import SIGTERM

import anyio
import pytest

from monitor import simulator
from tests import rounds
from tests.acceptance import evidence, ledger
from tests.acceptance.program import PATIENCE, SECRET, configure, disks, packages, running, until
from tests.acceptance.world import NAMED, SERVICES, World
from tests.contracts import postgresql_kit

FAULTS = [
    {"kind": "status", "status": 500, "every": 20},
    {"kind": "reset", "taken": "before", "every": 25},
    {"kind": "reset", "taken": "after", "every": 25},
]
"""Together, one request in ten."""


class Harness:
    """The daemon in its many lives, all on one store."""

    def __init__(self, sim, directory, chance, server=None):
        self.sim = sim
        self.directory = directory
        self.store = directory / "state.db"
        url = f"sqlite://{self.store}"
        if server is not None:
            self.store, url = ledger.PostgresqlLedger(server, "jobs"), server.create("jobs")
        self.kills = []
        self._chance = chance
        self._lives = 0
        named = [[f"{service}-named-{n + 1}" for n in range(NAMED)] for service in SERVICES]
        self._config = configure(
            directory,
            sim,
            store=url,
            watches=[packages(jobs=named[0]), disks(jobs=named[1])],
            routes=[
                {"match": {"kind": "job.discovered"}, "sinks": ["hook"]},
                {"sinks": ["hook"]},
            ],
        )

    @asynccontextmanager
    async def life(self):
        self._lives += 1
        key = f"AKIALIFE{self._lives:04d}"
        arguments = ("run", "--config", self._config)
        # Every fifth life starts Python itself: only then can it be killed among its imports.
        how = {"anew": self._lives % 5 == 1, "AWS_ACCESS_KEY_ID": key}
        async with running(*arguments, directory=self.directory, **how) as program:
            yield key, program

    async def live_and_die(self):
        """Start the daemon and kill it at some moment, of four kinds."""
        async with self.life() as (key, program):
            kind = self._chance.choice(["any", "after a look", "delivery", "answer", "answer"])
            with anyio.fail_after(PATIENCE):
                await getattr(self, f"_{kind.replace(' ', '_')}")(key)
            assert program.alive, program.err
            assert await program.kill()
        # What it had sent may be read only now: it was taken before the kill.
        await anyio.sleep(2 * evidence.SLACK)
        self.kills.append(self.sim.clock.now())

    async def _any(self, _key):
        """Perhaps while it starts."""
        await anyio.sleep(self._chance.uniform(0.1, 3.0))

    async def _after_a_look(self, key):
        await self.sim.truth.requests.wait_for(lambda request: request.access_key == key)
        await anyio.sleep(self._chance.uniform(0.0, 2.0))

    async def _delivery(self, key):
        """The receiver has just got a request, and not answered yet."""
        await self._after_a_look(key)
        now = self.sim.clock.now()
        await self.sim.truth.received.wait_for(lambda record: record.time > now)

    async def _answer(self, key):
        """AWS has just answered, and nothing can be durable yet."""
        await self._after_a_look(key)
        now, requests = self.sim.clock.now(), self.sim.truth.requests
        await requests.wait_for(lambda request: request.time > now and request.state is not None)

    def settled(self):
        """Whether every job's last state is known and everything was delivered."""
        last = {row.data["job"]["id"]: row.data["current"]["state"] for row in self.rows()}
        ends = {state.job: state.state for state in self.sim.truth.states}
        return last == ends and set(ledger.statuses(self.store)) == {"delivered"}

    def rows(self):
        return ledger.transitions(self.store)

    async def swept_again(self, key):
        """Wait until this life has seen all listings three times."""

        def sweeps(operation):
            asked = [r for r in self.sim.truth.requests if r.access_key == key]
            return sum(request.operation == operation for request in asked)

        await until(lambda: min(map(sweeps, ("ListPackageImportJobs", "ListJobs"))) > 8)


@pytest.fixture
def seed():
    """Printed, so that a failure can be had again with TEST_SEED."""
    chosen = int(os.environ.get("TEST_SEED") or random.SystemRandom().randrange(10**6))
    print(f"TEST_SEED={chosen}")  # noqa: T201 -- for whoever reads a failure
    return chosen


@pytest.mark.timeout(900)
@pytest.mark.parametrize("kills", [10, pytest.param(60, marks=pytest.mark.soak)])
async def test_nothing_observed_is_lost_or_invented_when_the_daemon_is_killed(
    tmp_path, seed, kills
):
    await _kill_again_and_again(tmp_path, seed, kills)


@pytest.mark.timeout(900)
@pytest.mark.parametrize("kills", [4, pytest.param(60, marks=pytest.mark.soak)])
async def test_nothing_is_lost_or_invented_on_postgresql_either(
    tmp_path, postgresql_cluster, seed, kills
):
    with postgresql_kit.server(cluster=postgresql_cluster) as server:
        await _kill_again_and_again(tmp_path, seed, kills, server)


async def _kill_again_and_again(tmp_path, seed, kills, server=None):
    chance = random.Random(seed)
    scenario = {
        "seed": seed,
        "receivers": {"hook": {"secrets": [SECRET], "faults": FAULTS}},
        "faults": [
            {"kind": "error", "status": 500, "code": "InternalServerException", "every": 60},
            {"kind": "slow", "delay": 0.1, "every": 15},
        ],
    }
    async with simulator.running(scenario, directory=tmp_path / "truth") as sim:
        harness = Harness(sim, tmp_path, chance, server)
        world = World(sim, random.Random(seed + 1))
        world.populate()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(world.turn)
            for _ in rounds.until_enough(kills, lambda: not _lacking(harness, kills), 4 * kills):
                await harness.live_and_die()
            tasks.cancel_scope.cancel()
        world.finish()
        async with harness.life() as (_, program):
            await until(harness.settled, 2 * PATIENCE)
            assert (await program.stop(SIGTERM))[0] == 0
        _assert_kept(harness)
        assert not _lacking(harness, kills)
        await _assert_nothing_comes_again(harness)


def _assert_kept(harness):
    truth, rows = harness.sim.truth, harness.rows()
    received = list(truth.received)
    evidence.assert_signed(received)
    evidence.assert_are_events(received)
    evidence.assert_same_event_behind_each_id(received)
    evidence.assert_in_order(received, rows)
    evidence.assert_repeats_are_excused(received, harness.kills)
    evidence.assert_all_of_the_ledger_was_delivered(received, rows)
    told = evidence.with_baseline(evidence.delivered(received), rows)
    evidence.assert_true(truth, told)


def _lacking(harness, kills):
    """Return what has happened too seldom to prove anything: a busy machine needs more lives."""
    received = list(harness.sim.truth.received)
    lost_acknowledgements = [
        first for first, _ in evidence.repeats(received) if first.fault == "reset"
    ]
    rows = harness.rows()
    done = {
        "kills": len(harness.kills),
        "transitions": len(rows),
        "changes of state": sum(row.data["kind"] == "job.state_changed" for row in rows),
        "refused deliveries": sum(not record.accepted for record in received),
        "lost acknowledgements": len(lost_acknowledgements),
    }
    least = {
        "kills": kills,
        "transitions": 50,
        "changes of state": 25,
        "refused deliveries": 3,
        "lost acknowledgements": 1,
    }
    return {name: done[name] for name, number in least.items() if done[name] < number}


async def _assert_nothing_comes_again(harness):
    """A restart without any change tells nothing."""
    received, transitions = harness.sim.truth.received.count, len(harness.rows())
    async with harness.life() as (key, program):
        await harness.swept_again(key)
        assert (await program.stop(SIGTERM))[0] == 0
    assert (harness.sim.truth.received.count, len(harness.rows())) == (received, transitions)
