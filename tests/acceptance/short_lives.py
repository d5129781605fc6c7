"""Many jobs that live for less than a few sweeps, and a daemon that is killed again and again."""

import random
from collections import Counter, defaultdict
from contextlib import asynccontextmanager
from signal import SIGTERM
from typing import Any

import anyio

from monitor import simulator
from tests.acceptance import evidence, ledger, scrape
from tests.acceptance.program import PATIENCE, configure, disks, packages, running, until

LONGEST = 3
"""Sweep intervals that a job lives for at most."""
ENDS: dict[str, dict[str, list[Any]]] = {
    "panorama": {
        "succeeded": [{"set": {"Status": "SUCCEEDED"}}],
        "failed": [{"set": {"Status": "FAILED"}}],
    },
    "importexport": {
        "succeeded": [{"set": {"ProgressCode": "Complete", "LocationCode": "Returned"}}],
        "failed": [{"set": {"ProgressCode": "DeviceError", "LocationCode": "Returned"}}],
        "canceled": [
            {"set": {"ProgressCode": "Canceled", "IsCanceled": True}},
            {"set": {"IsCanceled": True}, "error": "canceled"},
        ],
        "expired": [{"error": "expired"}],
    },
}


class Harness:
    """The jobs, and the daemon in its many lives; there are no routes."""

    def __init__(self, sim, directory, seed, *, interval, jobs, restarts):
        self.sim = sim
        self.directory = directory
        self.chance = random.Random(seed)
        self.interval = interval
        self.jobs = jobs
        self.restarts = restarts
        self.old = set()
        self.ends = {}
        """The phase in which each job ends that is to be reported, by id."""
        self._open: dict[str, str] = {}
        self.kills = 0
        self.born = 0
        every = f"{interval * 1000:.0f}ms"
        watches = [packages(interval=every), disks(interval=every)]
        # A second watch on the same jobs must not report them twice, nor hide them.
        twin = packages(interval=every, name="twin", discover={"include": ["job-*1"]})
        self._config = configure(directory, sim, watches=[*watches, twin])

    @asynccontextmanager
    async def life(self):
        arguments = ("run", "--config", self._config)
        async with running(*arguments, directory=self.directory) as program:
            yield program

    async def live(self):
        """Kill the first sweep, then let jobs come and go over restarts, and wait for the rest."""
        self._populate()
        await self._first_sweep_cut_off()
        while self.kills <= self.restarts:
            await self._live_and_die()
        async with self.life() as program:
            url = await program.started()
            await until(lambda: self._open.keys() <= self._recorded())
            await self._let_some_be_seen()
            for job_id, service in self._open.items():
                self.ends[job_id], end = self._choose(service)
                self.sim.change(job_id, end, service=service)
            await until(lambda: self.reported().keys() >= self.ends.keys(), PATIENCE)
            # Whatever would be reported once too often would be so within some sweeps.
            await anyio.sleep(3 * self.interval)
            self.recent = await scrape.table(url, "recently_ended_jobs", "phase")
            self.counted = await scrape.table(url, "ended_jobs_total", "phase")
            assert (await program.stop(SIGTERM))[0] == 0

    def _populate(self):
        """Let there be jobs before the daemon is: most are over, some end much later."""
        for number in range(60):
            service = self.chance.choice(list(ENDS))
            job_id = f"old-{number}"
            if number % 10:
                self.old.add(job_id)
                self._add(service, job_id, 0.0)
            else:
                self._open[job_id] = service
                self.sim.add_job(id=job_id, service=service)

    async def _first_sweep_cut_off(self):
        """Kill the daemon when AWS has answered the first page, and hold the next ones back."""
        rule = {"kind": "slow", "delay": 1.0, "match": {"operation": "List*"}, "every": 2}
        slow = self.sim.faults.add(rule)
        async with self.life() as program:
            await self.sim.truth.requests.wait_for(lambda request: bool(request.rows))
            await anyio.sleep(0.3)
            assert await program.kill()
        self.kills += 1
        self.sim.faults.remove(slow)
        await anyio.sleep(1.1)  # creation dates may be told in whole seconds

    async def _live_and_die(self):
        """Run the daemon for a while: some jobs come before it, some beside it, some die unseen."""
        share = -(-self.jobs // self.restarts)
        for _ in range(self.chance.randint(0, share // 2)):
            self._be_born()
        async with self.life() as program:
            if self.chance.random() < 0.7:
                await program.started()
            while self.born < min(self.jobs, share * self.kills):
                self._be_born()
                await anyio.sleep(self.chance.uniform(0, 4 * self.interval / share))
            if self.chance.random() < 0.3 and "daemon.started" in program.err:
                await program.stop(SIGTERM)
            else:
                await program.kill()
        self.kills += 1

    async def _let_some_be_seen(self):
        """Let more jobs live, and for longer, until some were seen open: sweeps may be slow."""
        await until(lambda: self.reported().keys() >= self.ends.keys())
        for life in range(LONGEST, 10 * LONGEST):
            if len(self.ends) - len(self._unseen()) > self.jobs / 20:
                break
            self.jobs += 1
            self._be_born(life * self.interval)
            await until(lambda: self.reported().keys() >= self.ends.keys())

    def _be_born(self, life=None):
        if self.born == self.jobs:
            return
        self.born += 1
        job_id = f"job-{self.born}"
        if life is None:
            life = self.chance.choice([0.0, self.chance.uniform(0, LONGEST * self.interval)])
        self.ends[job_id] = self._add(self.chance.choice(list(ENDS)), job_id, life)

    def _add(self, service, job_id, life):
        phase, end = self._choose(service)
        steps = [{"after": life, **end}] if life else []
        self.sim.add_job(id=job_id, service=service, steps=steps)
        if not life:
            self.sim.change(job_id, end, service=service)
        return phase

    def _choose(self, service):
        phase = self.chance.choice(list(ENDS[service]))
        return phase, self.chance.choice(ENDS[service][phase])

    def _recorded(self):
        return {row.data["job"]["id"] for row in ledger.transitions(self.directory / "state.db")}

    def reported(self):
        """Return the ends that the receiver took: job → the phase of each event's id."""
        found: dict[str, dict[str, str]] = defaultdict(dict)
        for record in self.sim.truth.received:
            if record.accepted:
                event = evidence.event_of(record)
                data, phase = event["data"], event["data"]["current"]["phase"]
                was = data["previous"] and data["previous"]["phase"]
                if phase in {"succeeded", "failed", "canceled", "expired"} and phase != was:
                    found[data["job"]["id"]][event["id"]] = phase
        return found

    def assert_kept(self):
        """Each end once, none of the baseline, and the counts of the alerts are the truth."""
        reported = {job: list(ids.values()) for job, ids in self.reported().items()}
        assert not reported.keys() & self.old
        assert reported == {job: [phase] for job, phase in self.ends.items()}
        truth = {(phase,): many for phase, many in Counter(self.ends.values()).items()}
        assert self.recent == truth
        assert self.counted == truth
        self._assert_enough_happened()

    def _unseen(self):
        """Return the jobs that were first seen at their end."""
        events = [evidence.event_of(record)["data"] for record in self.sim.truth.received]
        return {each["job"]["id"] for each in events if each["kind"] == "job.discovered"}

    def _assert_enough_happened(self):
        unseen = self._unseen()
        assert self.kills > self.restarts
        assert self.born == self.jobs
        assert len(self.old) == 54
        assert len(unseen) > self.jobs / 4
        assert len(self.ends) - len(unseen) > self.jobs / 20


async def live(directory, seed, **settings):
    """Run it all, and return what is left to be judged."""
    scenario = {"seed": seed, "page_limit": 25}
    async with simulator.running(scenario, directory=directory / "truth") as sim:
        harness = Harness(sim, directory, seed, **settings)
        await harness.live()
        harness.assert_kept()
