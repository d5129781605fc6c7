"""A crowd of connections to the port of a real process, whose descriptors are few."""

import resource
from contextlib import ExitStack
from signal import SIGTERM
from socket import create_connection

import pytest

from monitor import simulator
from tests.acceptance import scrape
from tests.acceptance.program import SECRET, configure, fetch, running, until

CROWD = 1400
LIMIT = 1024

pytestmark = pytest.mark.timeout(600)


@pytest.fixture
def _enough_for_the_crowd():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 2 * CROWD)), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.usefixtures("_enough_for_the_crowd")
async def test_jobs_are_polled_and_delivered_and_probes_answered_while_a_crowd_idles(tmp_path):
    scenario = {
        "jobs": [{"id": "pkg", "service": "panorama"}],
        "receivers": {"hook": {"secrets": [SECRET]}},
    }
    few = ("prlimit", f"--nofile={LIMIT // 2}:{LIMIT}")
    async with simulator.running(scenario) as sim:
        config = configure(tmp_path, sim)
        async with running("run", "-c", config, directory=tmp_path, prefix=few) as program:
            url = await program.started()
            host, port = url.removeprefix("http://").split(":")
            await until(lambda: sim.truth.requests)
            with ExitStack() as crowd:
                for number in range(CROWD):
                    crowd.enter_context(create_connection((host, int(port))))
                    if number % 100 == 0:
                        status, _, _ = await fetch(f"{url}/-/healthy")
                        assert status == 200
                before = len(sim.truth.requests)
                sim.change("pkg", {"set": {"Status": "SUCCEEDED"}})
                await until(lambda: any(b"SUCCEEDED" in each.body for each in sim.truth.received))
                await until(lambda: len(sim.truth.requests) > before + 3)
                for path in ("/-/healthy", "/-/ready", "/api/v1/jobs"):
                    assert (await fetch(url + path))[0] == 200
                closed = await scrape.table(url, "http_connections_closed_total", "reason")
                assert closed["crowded",] >= CROWD - 768
                assert await scrape.table(url, "http_connections_limit") == {(): 768}
            code, _ = await program.stop(SIGTERM)
    assert code == 0
    assert [line["limit"] for line in program.logged("connections.full")] == [768]
    assert not [line for line in program.log if line["level"] == "error"]
