"""Three replicas over one PostgreSQL: whatever is done to them, nothing is lost or invented."""

import json
import os
import random
import tempfile
import time
from pathlib import Path
from signal import SIGTERM

import aiohttp
import anyio
import asyncpg  # type: ignore[import-untyped]
import pytest

from monitor import simulator
from monitor.runtime.replicas import LEASE
from tests import rounds
from tests.acceptance import evidence
from tests.acceptance.fleet import REGIONS, SINKS, SOURCES, Fleet, RegionsWorld
from tests.acceptance.program import PATIENCE, SECRET, disks, packages, run, until
from tests.contracts import postgresql_kit, postgresql_proxy

pytestmark = pytest.mark.timeout(900)

OLD_LEDGER = Path(__file__).parents[1] / "contracts" / "store_0007_postgresql.sql"
FEWEST_CHANGES = 50
"""Changes of state without which nothing is proved."""
TAKEN_WITHIN = 15.0
"""Seconds until the sources of a replica that was killed are polled by another."""

SCENARIO = {
    "receivers": {
        name: {"secrets": [SECRET], "faults": [{"kind": "status", "status": 500, "every": 20}]}
        for name in SINKS
    },
    "faults": [
        {"kind": "error", "status": 500, "code": "InternalServerException", "every": 60},
        {"kind": "slow", "delay": 0.1, "every": 15},
    ],
}


@pytest.fixture
def seed():
    """Printed, so that a failure can be had again with TEST_SEED."""
    chosen = int(os.environ.get("TEST_SEED") or random.SystemRandom().randrange(10**6))
    print(f"TEST_SEED={chosen}")  # noqa: T201 -- for whoever reads a failure
    return chosen


class Disturber:
    """Does to the replicas what may happen to them, one thing after the other."""

    def __init__(self, fleet, chance):
        self.fleet = fleet
        self.done = {"kill": 0, "freeze": 0, "cut": 0, "restart": 0}
        self.taken = []
        self._chance = chance

    async def disturb(self, kind):
        await getattr(self, f"_{kind}")(self._chance.choice(self.fleet.replicas))
        self.done[kind] += 1
        await self.fleet.shared()

    async def _kill(self, replica):
        self.taken.append(await self.fleet.kill(replica))
        self.fleet.replicas[self.fleet.replicas.index(replica)] = await self.fleet.start()

    async def _freeze(self, replica):
        took = await self.fleet.freeze(replica)
        assert took < TAKEN_WITHIN + 5, "its sign of life is missed after ten seconds"
        # It finds out before it acts that others have taken its place.
        await until(lambda: replica.program.logged("replica.recovered"))

    async def _cut(self, _replica):
        self.fleet.note()
        await postgresql_kit.end_sessions(self.fleet.store)
        self.fleet.note()

    async def _restart(self, _replica):
        self.fleet.note()
        await anyio.to_thread.run_sync(self.fleet.server.kill)
        await anyio.sleep(self._chance.uniform(0.0, 2.0))
        await anyio.to_thread.run_sync(self.fleet.server.start)
        self.fleet.note()


KINDS = ("kill", "freeze", "cut", "kill", "restart")
"""In turn, so that each of them is done in a short run too."""


@pytest.mark.parametrize("many", [10, pytest.param(100, marks=pytest.mark.soak)])
async def test_nothing_is_lost_or_invented_whatever_happens_to_the_replicas(
    tmp_path, postgresql_cluster, seed, many
):
    chance = random.Random(seed)
    with postgresql_kit.server(cluster=postgresql_cluster) as server:
        async with simulator.running(SCENARIO, directory=tmp_path / "truth") as sim:
            fleet = Fleet(sim, server, tmp_path)
            world = RegionsWorld(sim, random.Random(seed + 1))
            world.populate()
            async with fleet.running():
                disturber = Disturber(fleet, chance)
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(world.turn)
                    enough = lambda: len(sim.truth.received) > 100  # noqa: E731
                    for number in rounds.until_enough(many, enough, 3 * many):
                        await disturber.disturb(KINDS[number % len(KINDS)])
                    tasks.cancel_scope.cancel()
                world.finish()
                await fleet.settled()
                await _stop_together(fleet)
                await _assert_kept(fleet)
                assert min(disturber.done.values()) >= many // len(KINDS)
                assert max(disturber.taken) < TAKEN_WITHIN, disturber.taken


async def _stop_together(fleet):
    """None may take what another leaves behind, for it ends as well."""

    async def stop(program):
        code, _ = await program.stop(SIGTERM)
        assert code == 0, program.err[-3000:]

    async with anyio.create_task_group() as tasks:
        for replica in fleet.replicas:
            tasks.start_soon(stop, replica.program)


async def _assert_kept(fleet):
    rows = await fleet.rows()
    assert len({(row.key, row.sequence) for row in rows}) == len(rows)
    rows = [row for row in rows if "job" in row.data]
    kinds = [row.data["kind"] for row in rows]
    assert kinds.count("job.state_changed") > FEWEST_CHANGES
    for sink in SINKS:
        received = [
            each for each in fleet.received(sink) if "job" in evidence.event_of(each)["data"]
        ]
        evidence.assert_signed(received)
        evidence.assert_are_events(received)
        evidence.assert_same_event_behind_each_id(received)
        evidence.assert_in_order(received, rows)
        evidence.assert_repeats_are_excused(received, fleet.disturbed)
        evidence.assert_all_of_the_ledger_was_delivered(received, rows)
        told = evidence.with_baseline(evidence.delivered(received), rows)
        evidence.assert_true(fleet.sim.truth, told, fleet.disturbed)


async def test_a_replica_that_is_cut_off_acts_no_longer_than_its_lease(
    tmp_path, postgresql_cluster, seed
):
    with (
        postgresql_kit.server(cluster=postgresql_cluster) as server,
        tempfile.TemporaryDirectory(prefix="pg-proxy-") as place,
    ):
        async with (
            simulator.running(SCENARIO, directory=tmp_path / "truth") as sim,
            postgresql_proxy.running(server, place) as proxy,
        ):
            fleet = Fleet(sim, server, tmp_path)
            world = RegionsWorld(sim, random.Random(seed))
            world.populate()
            through = f"postgresql://postgres@/jobs?host={place}"
            async with fleet.running(2):
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(world.turn)
                    await fleet.add(JOB_MONITOR_STORE=through)
                    await fleet.shared()
                    await _until(lambda: _has_changed(fleet))
                    tasks.cancel_scope.cancel()
                # Nothing changes: a poll that waits for a commit would send no other anyway.
                await anyio.sleep(2)
                await _cut_off(fleet, fleet.replicas[-1], proxy)
                world.finish()
                await fleet.settled()
                await _assert_kept(fleet)


async def _has_changed(fleet):
    kinds = [row.data["kind"] for row in await fleet.rows()]
    return kinds.count("job.state_changed") > FEWEST_CHANGES


async def _cut_off(fleet, replica, proxy):
    """Drop all packets between a replica and the database, until others have taken its place."""
    owned = (await replica.own())["owned_sources"]
    assert owned
    proxy.stalled, began = True, time.monotonic()
    fleet.note()
    over = fleet.sim.clock.now() + LEASE
    assert await fleet.taken(replica, owned, began) < TAKEN_WITHIN + 5
    await anyio.sleep(3)
    requests = [each for each in fleet.sim.truth.requests if each.access_key == replica.key]
    assert [each for each in requests if each.time <= over]
    assert not [each for each in requests if each.time > over], "it polls after its lease"
    proxy.stalled = False
    fleet.note()
    await until(lambda: replica.program.logged("replica.recovered"))
    await fleet.shared()


async def test_three_replicas_send_as_many_requests_as_one(tmp_path, postgresql_cluster):
    scenario = {"receivers": {name: {"secrets": [SECRET]} for name in SINKS}}
    with postgresql_kit.server(cluster=postgresql_cluster) as server:
        async with simulator.running(scenario) as sim:
            slow = [packages(regions=REGIONS, interval="1s"), disks(interval="1s")]
            fleet = Fleet(sim, server, tmp_path, watches=slow)
            RegionsWorld(sim, random.Random(1)).populate()
            async with fleet.running(1):
                alone = await _rate(sim)
                await fleet.add()
                await fleet.add()
                await fleet.shared()
                together = await _rate(sim)
    assert set(alone) == set(together) == SOURCES
    assert 0.95 < sum(together.values()) / sum(alone.values()) < 1.05, (alone, together)


async def _rate(sim, seconds=20.0):
    """Return the requests per second of each source, once all is known."""
    await anyio.sleep(4)
    began = time.monotonic()
    first = len(sim.truth.requests)
    await anyio.sleep(seconds)
    counts: dict[str, int] = {}
    for request in list(sim.truth.requests)[first:]:
        source = f"{request.service}/sim/{request.region}"
        counts[source] = counts.get(source, 0) + 1
    took = time.monotonic() - began
    return {source: count / took for source, count in counts.items()}


async def test_every_replica_shows_and_changes_everything(tmp_path, postgresql_cluster):
    scenario = {"receivers": {name: {"secrets": [SECRET]} for name in SINKS}}
    with postgresql_kit.server(cluster=postgresql_cluster) as server:
        async with simulator.running(scenario) as sim:
            # Discovered nowhere, so that each job waits for somebody to ask for it.
            fleet = Fleet(
                sim,
                server,
                tmp_path,
                watches=[packages(regions=REGIONS, jobs=["one"], discover=False)],
            )
            sim.add_job(id="one", service="panorama", region="eu-west-1")
            sim.add_job(id="added", service="panorama", region="us-west-2")
            async with fleet.running(alone=True):
                await _until(lambda: _is_polled(fleet))
                await _shown_by_all(fleet, "one", "PENDING")
                await _streamed(fleet, sim)
                await _waited_for(fleet, sim)
                await _added_and_removed(fleet)
                await _silenced(fleet)
                await _reloaded(fleet)


async def _is_polled(fleet):
    """Whether every source has an owner, whichever."""
    found = await fleet.replicas[0].replicas()
    owned = {name for each in found for name in each["owned_sources"]}
    return len(owned) == len(REGIONS) and sum(each["alive"] for each in found) == 3


async def _shown_by_all(fleet, job_id, state):
    for replica in fleet.replicas:
        await _until(lambda r=replica: _shows(r, job_id, state))
        await _until(lambda r=replica: _names_owners(r))


async def _streamed(fleet, sim):
    """A stream continues at another replica where the first one ended."""
    first, second, _ = fleet.replicas
    seen: list[tuple[str, str]] = []

    async def stream(replica, last, many):
        headers = {"Last-Event-ID": last} if last else {}
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"{replica.url}/api/v1/events", headers=headers) as response,
        ):
            number = ""
            async for line in response.content:
                text = line.decode().strip()
                number = text.removeprefix("id: ") if text.startswith("id: ") else number
                if text.startswith("data: "):
                    data = json.loads(text.removeprefix("data: "))["data"]
                    seen.append((number, data["current"]["state"]))
                    if len(seen) == many:
                        return

    with anyio.fail_after(PATIENCE):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(stream, first, "", 1)
            await anyio.sleep(1)
            sim.change("one", region="eu-west-1", Status="STEP_1")
        await _shown_by_all(fleet, "one", "STEP_1")
        sim.change("one", region="eu-west-1", Status="STEP_2")
        await _shown_by_all(fleet, "one", "STEP_2")
        await stream(second, seen[-1][0], 2)
    assert [state for _, state in seen] == ["STEP_1", "STEP_2"]


async def _waited_for(fleet, sim):
    """A wait ends at each replica, and a poll can be asked for at each."""
    key = "panorama.package-import/sim/eu-west-1/one"
    done = []

    async def wait(replica):
        done.append((await replica.get(f"/api/v1/jobs/{key}/wait?timeout=60s"))["done"])

    for replica in fleet.replicas:
        status, body = await replica.send("POST", f"/api/v1/jobs/{key}/poll")
        assert (status, body["outcome"]) == (200, "answered")
    async with anyio.create_task_group() as tasks:
        for replica in fleet.replicas:
            tasks.start_soon(wait, replica)
        await anyio.sleep(0.5)
        sim.change("one", region="eu-west-1", Status="SUCCEEDED")
    assert done == [True] * 3


async def _added_and_removed(fleet):
    """A watch that is added at one replica is followed by the owner, and removed at a third."""
    first, second, third = fleet.replicas
    watch = packages(name="more", regions=["us-west-2"], jobs=["added"], discover=False)
    assert (await first.send("POST", "/api/v1/watches", watch))[0] == 201
    for replica in fleet.replicas:
        await _until(lambda r=replica: _has(r, "added", "PENDING"))
    assert (await second.send("POST", "/api/v1/watches", watch))[0] == 409
    assert (await third.send("DELETE", "/api/v1/watches/more"))[0] in {200, 204}
    for replica in fleet.replicas:
        await _until(lambda r=replica: _has_not(r, "added"))


async def _silenced(fleet):
    first, *others = fleet.replicas
    silence = {
        "match": [{"account": ["sim"]}],
        "duration": "1h",
        "author": "me",
        "comment": "a test",
    }
    status, made = await first.send("POST", "/api/v1/silences", silence)
    assert status == 201, made
    for replica in others:
        await _until(lambda r=replica: _lists(r, "/api/v1/silences", made["id"]))


async def _reloaded(fleet):
    """All replicas have the configuration that one of them was asked to read."""
    before = {each["generation"] for each in await fleet.replicas[0].replicas()}
    assert len(before) == 1
    text = fleet.config.read_text()
    fleet.config.write_text(text.replace('"interval": "400ms"', '"interval": "500ms"'))
    assert (await fleet.replicas[1].send("POST", "/-/reload"))[0] == 200

    async def changed():
        found = [each["generation"] for each in await fleet.replicas[2].replicas()]
        return len(set(found)) == 1 and not before & set(found)

    await _until(changed)


async def _has(replica, job_id, state):
    found = (await replica.get("/api/v1/jobs"))["items"]
    return (job_id, state) in {(each["id"], each["state"]) for each in found}


async def _has_not(replica, job_id):
    return job_id not in {each["id"] for each in (await replica.get("/api/v1/jobs"))["items"]}


async def _lists(replica, path, name):
    return name in {each["id"] for each in (await replica.get(path))["items"]}


async def _shows(replica, job_id, state):
    return await _has(replica, job_id, state)


async def _names_owners(replica):
    sources = (await replica.get("/api/v1/sources"))["items"]
    names = {each["name"] for each in await replica.replicas()}
    assert len(sources) == len(REGIONS)
    return {each["replica"] for each in sources} <= names


async def _until(condition):
    with anyio.fail_after(PATIENCE):
        while not await condition():  # noqa: ASYNC110 -- over HTTP
            await anyio.sleep(0.1)


async def test_a_ledger_of_the_last_release_goes_on_with_replicas_that_roll(
    tmp_path, postgresql_cluster
):
    """One daemon of that release was killed with twelve deliveries to be made."""
    scenario = {"receivers": {name: {"secrets": [SECRET]} for name in SINKS}}
    with postgresql_kit.server(cluster=postgresql_cluster) as server:
        async with simulator.running(scenario) as sim:
            fleet = Fleet(sim, server, tmp_path)
            server.load("jobs", OLD_LEDGER)
            for number in range(8):
                region = ("us-east-1", "us-west-2", "eu-west-1", "ap-southeast-2")[number % 4]
                sim.add_job(id=f"old-{number}", service="panorama", region=region)
                sim.change(f"old-{number}", Status="SUCCEEDED" if number < 4 else "STEP_1")
            sim.add_job(id="EXOLD", service="importexport")
            before = await fleet.rows()
            async with fleet.running(0):
                async with anyio.create_task_group() as tasks:
                    for _ in range(3):  # one of them upgrades the tables
                        tasks.start_soon(fleet.add)
                await fleet.shared()
                for number, old in enumerate(list(fleet.replicas), 4):
                    sim.change(f"old-{number}", Status="STEP_2")
                    code, seconds = await old.program.stop(SIGTERM)
                    assert (code, seconds < 10) == (0, True)
                    fleet.replicas[fleet.replicas.index(old)] = await fleet.start()
                    sim.change(f"old-{number}", Status="SUCCEEDED")
                await fleet.shared()
                await fleet.settled()
            rows = await fleet.rows()
    assert rows[: len(before)] == before
    assert [row.position for row in rows] == list(range(1, len(rows) + 1))
    for key in {row.key for row in rows}:
        numbers = [row.sequence for row in rows if row.key == key]
        assert numbers == list(range(1, len(numbers) + 1))
    sent = [evidence.event_of(each)["id"] for each in fleet.received("second")]
    assert len(sent) == len(set(sent)) == 12 + len(rows) - len(before)


async def test_an_older_version_refuses_the_tables_of_a_newer_one(tmp_path, postgresql_cluster):
    with postgresql_kit.server(cluster=postgresql_cluster) as server:
        async with simulator.running({}) as sim:
            fleet = Fleet(sim, server, tmp_path)
            async with fleet.running(1):
                connection = await asyncpg.connect(fleet.store)
                await connection.execute("UPDATE alembic_version SET version_num = '9999'")
                await connection.close()
                code, _, err = await run("run", "--config", fleet.config, directory=tmp_path)
    assert code == 74
    assert "written by a newer version of job-monitor, revision '9999'" in err
