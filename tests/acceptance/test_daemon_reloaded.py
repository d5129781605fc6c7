"""The promise holds over any number of reloads: nothing is lost, told twice or out of order."""

import os
import random
from collections import defaultdict
from signal import SIGHUP, SIGTERM

import anyio
import pytest

from monitor import simulator
from tests import rounds
from tests.acceptance import evidence, ledger
from tests.acceptance.program import (
    PATIENCE,
    SECRET,
    configure,
    disks,
    packages,
    running,
    until,
    webhook,
)
from tests.acceptance.world import NAMED, SERVICES, World

FAULTS = [
    {"kind": "status", "status": 500, "every": 20},
    {"kind": "reset", "taken": "before", "every": 25},
    {"kind": "reset", "taken": "after", "every": 25},
    {"kind": "slow", "delay": 0.5, "every": 10},
]


class Harness:
    """One life of the daemon under many configurations.

    ``hook`` is always told everything, by a sink that changes; ``extra`` comes and goes.
    """

    def __init__(self, sim, directory, chance):
        self.sim = sim
        self.directory = directory
        self.store = directory / "state.db"
        self.refusals = 0
        self._chance = chance

    def configure(self, **changes):
        return configure(self.directory, self.sim, **{**self._plain(), **changes})

    def _plain(self):
        to_all = ["hook", "extra"]
        return {
            "watches": self._watches(discover=True),
            "sinks": {"hook": self._hook(), "extra": webhook(self.sim, "extra")},
            "routes": [{"match": {"kind": "job.discovered"}, "sinks": to_all}, {"sinks": to_all}],
        }

    def _watches(self, *, discover, **more):
        named = [[f"{service}-named-{n + 1}" for n in range(NAMED)] for service in SERVICES]
        more["discover"] = discover
        return [packages(jobs=named[0], **more), disks(jobs=named[1], **more)]

    def _hook(self, **more):
        return webhook(self.sim, secret_files=[str(self.directory / "hook-secret")], **more)

    def random_change(self):
        """Write another configuration, perhaps a bad one."""
        chance = self._chance
        changes = {}
        if chance.random() < 0.7:
            watches = self._watches(
                discover=chance.random() < 0.7,
                interval=chance.choice(["300ms", "500ms"]),
                labels={"n": str(chance.randint(1, 9))},
                stuck_after="1h",
            )
            changes["watches"] = chance.sample(watches, chance.randint(0, 2))
        if chance.random() < 0.6:
            more = {"concurrency": chance.randint(1, 6), "timeout": chance.choice(["5s", "10s"])}
            changes["sinks"] = {"hook": self._hook(**more)}
            changes["routes"] = [
                {"match": {"kind": "job.discovered"}, "sinks": ["hook"]},
                {"sinks": ["hook"]},
            ]
        if chance.random() < 0.4:
            rate = chance.choice([20, 100, 300])
            changes["quotas"] = {key: {"rate": rate, "burst": rate} for key in SERVICES}
        if chance.random() < 0.2:
            self.refusals += 1
            changes["retention"] = "never"
        self.configure(**changes)

    async def change(self, program):
        """Let the daemon take another configuration, asked or by itself, once or in a flurry."""
        done = len(program.logged("config.reloaded")) + len(program.logged("config.refused"))
        for _ in range(self._chance.choice([1, 1, 3])):
            self.random_change()
            if self._chance.random() < 0.8:
                program.process.send_signal(SIGHUP)
        await until(
            lambda: (
                not program.alive
                or len(program.logged("config.reloaded")) + len(program.logged("config.refused"))
                > done
            )
        )
        await anyio.sleep(self._chance.uniform(0, 1))

    def rows(self):
        return ledger.transitions(self.store)

    def settled(self):
        """Whether every job's last state is known and everything was delivered."""
        last = {row.data["job"]["id"]: row.data["current"]["state"] for row in self.rows()}
        ends = {state.job: state.state for state in self.sim.truth.states}
        return last == ends and set(ledger.statuses(self.store)) == {"delivered"}

    def received(self, name):
        return [record for record in self.sim.truth.received if record.name == name]


@pytest.fixture
def seed():
    """Printed, so that a failure can be had again with TEST_SEED."""
    chosen = int(os.environ.get("TEST_SEED") or random.SystemRandom().randrange(10**6))
    print(f"TEST_SEED={chosen}")  # noqa: T201 -- for whoever reads a failure
    return chosen


@pytest.mark.timeout(900)
@pytest.mark.parametrize("reloads", [10, pytest.param(60, marks=pytest.mark.soak)])
async def test_nothing_is_lost_doubled_or_out_of_order_over_many_reloads(tmp_path, seed, reloads):
    scenario = {
        "seed": seed,
        "receivers": {"hook": {"secrets": [SECRET], "faults": FAULTS}, "extra": {"faults": FAULTS}},
        "faults": [
            {"kind": "error", "status": 500, "code": "InternalServerException", "every": 60},
            {"kind": "slow", "delay": 0.3, "every": 7},
        ],
    }
    async with simulator.running(scenario, directory=tmp_path / "truth") as sim:
        harness = Harness(sim, tmp_path, random.Random(seed))
        world = World(sim, random.Random(seed + 1))
        world.populate()
        config = harness.configure()
        async with running("run", "-c", config, directory=tmp_path) as program:
            await program.started()
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(world.turn)
                lacking = lambda: _lacking(harness, program, reloads)  # noqa: E731
                for _ in rounds.until_enough(reloads, lambda: not lacking(), 4 * reloads):
                    await harness.change(program)
                    assert program.alive, program.err
                tasks.cancel_scope.cancel()
            world.finish()
            harness.configure()
            program.process.send_signal(SIGHUP)
            await until(harness.settled, 5 * PATIENCE)
            assert not lacking()
            assert (await program.stop(SIGTERM))[0] == 0, program.err
        _assert_kept(harness)


def _assert_kept(harness):
    truth, rows = harness.sim.truth, harness.rows()
    hook = harness.received("hook")
    evidence.assert_signed(hook)
    evidence.assert_in_order(hook, rows)
    evidence.assert_all_of_the_ledger_was_delivered(hook, rows)
    told = evidence.with_baseline(evidence.delivered(hook), rows)
    evidence.assert_true(truth, told)
    for received in (hook, harness.received("extra")):
        evidence.assert_are_events(received)
        evidence.assert_same_event_behind_each_id(received)
        evidence.assert_repeats_are_excused(received, [])
    _assert_extra(harness)


def _assert_extra(harness):
    """It was told what was routed to it, each once, in order per job."""
    told = defaultdict(list)
    for key, events in evidence.delivered(harness.received("extra")).items():
        told[key] = [event["data"]["sequence"] for event in events]
    routed = defaultdict(list)
    for key, sequence, sink in sorted(ledger.deliveries(harness.store)):
        if sink == "extra":
            routed[key].append(sequence)
    assert told == routed


def _lacking(harness, program, wanted):
    """Return what has happened too seldom to prove anything: a busy machine needs more reloads."""
    rows = harness.rows()
    extra = len(evidence.delivered(harness.received("extra")))
    done = {
        "reloads": len(program.logged("config.reloaded")),
        "transitions": len(rows),
        "changes of state": sum(row.data["kind"] == "job.state_changed" for row in rows),
        "jobs told to a sink that came and went": extra,
    }
    least = {
        "reloads": wanted // 2,
        "transitions": 50,
        "changes of state": 25,
        "jobs told to a sink that came and went": 5,
    }
    return {name: done[name] for name, number in least.items() if done[name] < number}
