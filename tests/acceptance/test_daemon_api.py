"""What a running daemon answers over its HTTP API, against the simulator's truth."""

import json
from urllib.parse import quote

import aiohttp
import anyio
import pytest

from monitor import simulator
from tests.acceptance.program import PATIENCE, SECRET, configure, running

pytestmark = pytest.mark.timeout(600)

SCENARIO = {
    "jobs": [
        {"id": "pkg", "service": "panorama"},
        {"id": "EX1", "service": "importexport"},
    ],
    "receivers": {"hook": {"secrets": [SECRET]}},
}


async def test_the_api_of_a_running_daemon_tells_what_it_sees(tmp_path):
    async with simulator.running(SCENARIO) as sim, aiohttp.ClientSession() as session:
        config = configure(tmp_path, sim)
        async with running("run", "-c", config, directory=tmp_path) as program:
            api = await program.started() + "/api/v1"

            async def get(path):
                async with session.get(api + path) as response:
                    assert response.status == 200, await response.text()
                    return await response.json()

            with anyio.fail_after(PATIENCE * 2):
                async with session.get(f"{api}/events?after=0&kind=job.*") as stream:
                    await _streamed(stream.content, "pkg", "running")
                    sim.change("pkg", Status="SUCCEEDED")
                    sim.change("EX1", ProgressCode="Complete")
                    await _streamed(stream.content, "pkg", "succeeded")
                jobs = {job["id"]: job for job in (await get("/jobs"))["items"]}
                assert set(jobs) == {"pkg", "EX1"}
                assert (jobs["pkg"]["phase"], jobs["pkg"]["watch"]) == ("succeeded", "packages")
                assert jobs["pkg"]["last_look_at"]
                waited = await get(f"/jobs/{quote(jobs['EX1']['key'])}/wait?timeout=60s")
                assert (waited["done"], waited["job"]["phase"]) == (True, "succeeded")
                shown = await get(f"/jobs/{jobs['pkg']['key']}")
                assert shown["window"]["after"] < shown["window"]["before"]
                sources = (await get("/sources"))["items"]
                assert [one["service"] for one in sources] == ["importexport", "panorama"]
                assert all(one["up"] and one["last_success_at"] for one in sources)
                assert [one["jobs"] for one in sources] == [1, 1]
                assert sources[1]["configured_rate"] == 200
                assert 0 < sources[1]["request_rate"] < 200
                while (await get("/sinks"))["items"][0]["last_delivered_at"] is None:  # noqa: ASYNC110
                    await anyio.sleep(0.1)
                status = await get("/status")
                assert (status["jobs"], status["phases"]["succeeded"]) == (2, 2)
                assert status["config_last_reload_successful"] is True


async def _streamed(content, job, phase):
    """Read events until ``job`` is in ``phase``; every one carries its place in the ledger."""
    last = 0
    async for line in content:
        name, _, value = line.decode().rstrip("\n").partition(": ")
        if name == "id":
            assert int(value) >= last
            last = int(value)
        if name == "data":
            event = json.loads(value)
            if (event["subject"], event["data"]["current"]["phase"]) == (job, phase):
                return
    pytest.fail("the stream ended")
