"""The server of the store is killed while the daemon runs: it says so, waits, and loses nothing."""

from contextlib import asynccontextmanager
from signal import SIGTERM

import anyio
import pytest

from monitor import simulator
from tests.acceptance import scrape
from tests.acceptance.program import SECRET, configure, fetch, running, until
from tests.acceptance.test_daemon_stop import IN_TIME
from tests.contracts import postgresql_kit

pytestmark = pytest.mark.timeout(600)

SCENARIO = {
    "jobs": [{"id": "pkg", "service": "panorama"}, {"id": "EX1", "service": "importexport"}],
    "receivers": {"hook": {"secrets": [SECRET]}},
}


@asynccontextmanager
async def beside_a_server(directory, cluster):
    """Yield a server to kill, the simulator, and a configuration for a daemon of both."""
    with postgresql_kit.server(cluster=cluster) as server:
        async with simulator.running(SCENARIO) as sim:
            yield server, sim, configure(directory, sim, store=server.create("jobs"))


async def _store_up(url):
    return [value for _, value in await scrape.samples(url, "job_monitor_store_up")]


async def test_a_server_that_is_killed_is_waited_for_and_nothing_is_lost(
    tmp_path, postgresql_cluster
):
    async with beside_a_server(tmp_path, postgresql_cluster) as (server, sim, config):
        async with running("run", "-c", config, directory=tmp_path) as program:
            url = await program.started()
            await until(lambda: len(program.logged("job.transitioned")) == 2)
            assert await _store_up(url) == [1]

            await anyio.to_thread.run_sync(server.kill)
            sim.change("pkg", Status="SUCCEEDED")
            await until(lambda: program.logged("store.lost"))
            assert await _store_up(url) == [0]
            status, _, text = await fetch(f"{url}/")
            assert status == 503
            assert "The store cannot be reached" in text
            assert "postgresql:///jobs" in text
            status, headers, text = await fetch(f"{url}/api/v1/jobs")
            assert (status, headers["Retry-After"]) == (503, "5")
            assert "the store cannot be reached since" in text
            assert (await fetch(f"{url}/-/ready"))[0] == 503
            assert (await fetch(f"{url}/-/healthy"))[0] == 200
            assert (await fetch(f"{url}/api/v1/sources"))[0] == 200
            await anyio.sleep(2)
            assert program.alive
            assert sim.truth.received.count == 0

            await anyio.to_thread.run_sync(server.start)
            await until(lambda: program.logged("store.recovered"))
            await until(lambda: sim.truth.received.count == 1)
            assert await _store_up(url) == [1]
            assert (await fetch(f"{url}/-/ready"))[0] == 200
            status, _, text = await fetch(f"{url}/")
            assert status == 200
            assert "The store cannot be reached" not in text
            assert len(program.logged("store.lost")) == 1
            assert len(program.logged("job.transitioned")) == 3
            assert (await program.stop(SIGTERM))[0] == 0
        assert "Traceback" not in program.err
        assert sim.truth.received.count == 1


async def test_it_stops_in_time_while_the_server_is_lost(tmp_path, postgresql_cluster):
    async with beside_a_server(tmp_path, postgresql_cluster) as (server, sim, config):
        async with running("run", "-c", config, directory=tmp_path) as program:
            await program.started()
            await until(lambda: len(program.logged("job.transitioned")) == 2)
            await anyio.to_thread.run_sync(server.kill)
            sim.change("pkg", Status="SUCCEEDED")
            await until(lambda: program.logged("store.lost"))
            code, seconds = await program.stop(SIGTERM)
            assert code == 0
            assert seconds < IN_TIME
        await anyio.to_thread.run_sync(server.start)
        async with running("run", "-c", config, directory=tmp_path) as program:
            await program.started()
            await until(lambda: sim.truth.received.count == 1)
            assert (await program.stop(SIGTERM))[0] == 0
