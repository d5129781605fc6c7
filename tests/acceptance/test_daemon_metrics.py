"""What a running daemon shows of itself over HTTP."""

import math
from collections import Counter
from contextlib import AsyncExitStack
from signal import SIGTERM

import anyio
import pytest

from monitor import simulator
from tests.acceptance import ledger, scrape
from tests.acceptance.program import PATIENCE, SECRET, configure, fetch, running, until
from tests.ports import free_port

pytestmark = pytest.mark.timeout(600)

SCENARIO = {
    "jobs": [
        {"id": "pkg", "service": "panorama"},
        {"id": "pkg-stays", "service": "panorama"},
        {"id": "EX1", "service": "importexport"},
    ],
    "receivers": {"hook": {"secrets": [SECRET], "faults": [{"kind": "status", "times": 1}]}},
}


async def _up(url):
    samples = await scrape.samples(url, "job_monitor_source_up")
    return {labels["service"]: value for labels, value in samples}


async def _until_up(url, value):
    async def reached():
        return set((await _up(url)).values()) == {value}

    await _until(reached)


async def _until(reached):
    with anyio.fail_after(PATIENCE):
        while not await reached():  # noqa: ASYNC110 -- another process brings it about
            await anyio.sleep(0.1)


async def test_the_counters_agree_with_the_ledger(tmp_path):
    store = tmp_path / "state.db"
    async with simulator.running(SCENARIO) as sim:
        config = configure(tmp_path, sim)
        async with running("run", "-c", config, directory=tmp_path) as program:
            url = await program.started()
            await until(lambda: len(ledger.transitions(store)) == 3)
            sim.change("pkg", Status="SUCCEEDED")
            sim.change("EX1", LocationCode="AtAWS")
            await until(lambda: ledger.statuses(store) == ["delivered"] * 2)
            counted = await scrape.samples(url, "job_monitor_transitions_total")
            sent = dict(_by_outcome(await scrape.samples(url, "job_monitor_deliveries_total")))
            assert (await program.stop(SIGTERM))[0] == 0
    assert {key: n for key, n in _by_kind(counted).items() if n} == _by_ledger(store)
    assert sent == {"delivered": 2, "retried": 1, "dead": 0, "parked": 0}


def _by_kind(counted):
    return {(each["type"], each["kind"], each["phase"]): number for each, number in counted}


def _by_ledger(store):
    rows = [row.data for row in ledger.transitions(store)]
    return Counter((row["job"]["type"], row["kind"], row["current"]["phase"]) for row in rows)


def _by_outcome(samples):
    return [(labels["outcome"], number) for labels, number in samples]


async def test_the_gauges_follow_the_store(tmp_path):
    async with simulator.running(SCENARIO) as sim:
        sim.receiver.behave("hook", {"status": 400})
        config = configure(tmp_path, sim)
        async with running("run", "-c", config, directory=tmp_path) as program:
            url = await program.started()
            await until(lambda: len(ledger.transitions(tmp_path / "state.db")) == 3)
            sim.change("pkg", Status="FAILED")

            async def shown():
                dead = await scrape.samples(url, "job_monitor_dead_letters")
                jobs = await scrape.samples(url, "job_monitor_jobs")
                failed = [n for labels, n in jobs if labels["phase"] == "failed" and n]
                return dead == [({"sink": "hook"}, 1.0)] and failed == [1.0]

            await _until(shown)


async def test_health_readiness_and_the_index_answer(tmp_path):
    async with simulator.running(SCENARIO) as sim:
        config = configure(tmp_path, sim)
        async with running("run", "-c", config, directory=tmp_path) as program:
            url = await program.started()
            for path in ("/-/healthy", "/healthz", "/-/ready", "/readyz", "/", "/metrics"):
                assert (await fetch(url + path))[0] == 200, path
            assert (await fetch(f"{url}/nothing"))[0] == 404
            assert "/metrics" in (await fetch(url))[2]


async def test_a_source_that_goes_away_and_comes_back_changes_no_job(tmp_path):
    store = tmp_path / "state.db"
    async with AsyncExitStack() as first:
        sim = await first.enter_async_context(simulator.running(SCENARIO, port=free_port()))
        config = configure(tmp_path, sim)
        async with running("run", "-c", config, directory=tmp_path) as program:
            url = await program.started()
            await until(lambda: len(ledger.transitions(store)) == 3)
            await _until_up(url, 1.0)
            before = ledger.transitions(store)
            await first.aclose()
            await _until_up(url, 0.0)
            assert (await fetch(f"{url}/-/healthy"))[0] == 200
            assert (await fetch(f"{url}/-/ready"))[0] == 200
            # Another one, of the same jobs, takes its place.
            async with simulator.running(SCENARIO, port=int(sim.url.rpartition(":")[2])):
                await _until_up(url, 1.0)
            assert ledger.transitions(store) == before
            assert (await program.stop(SIGTERM))[0] == 0


async def test_a_source_that_was_never_seen_is_neither_up_nor_down(tmp_path):
    async with simulator.running({"faults": [{"kind": "hang"}]}) as sim:
        config = configure(tmp_path, sim)
        async with running("run", "-c", config, directory=tmp_path) as program:
            url = await program.started()
            assert all(map(math.isnan, (await _up(url)).values()))
