"""Starting, stopping, files, and virtual time."""

import asyncio
import base64
import json
from contextlib import suppress
from datetime import UTC, datetime

import aiohttp
import pytest
from standardwebhooks import Webhook

from monitor import simulator

LIFE = {
    "id": "p",
    "service": "panorama",
    "steps": [{"after": "1h", "set": {"Status": "SUCCEEDED"}}],
}


async def status_of(sim, session, job="p"):
    async with session.get(f"{sim.url}/packages/import-jobs/{job}") as response:
        return (await response.json())["Status"]


@pytest.mark.looptime
async def test_everything_works_in_virtual_time():
    async with simulator.running({"jobs": [LIFE]}) as sim, aiohttp.ClientSession() as session:
        begun = sim.clock.now()
        assert await status_of(sim, session) == "PENDING"
        await asyncio.sleep(3601)
        assert await status_of(sim, session) == "SUCCEEDED"
        async with session.post(f"{sim.receiver_url}/hook/x", data="{}") as response:
            assert response.status == 204
        assert sim.truth.of("p")[1].time - begun == pytest.approx(3600, abs=1)
        assert sim.truth.of("p")[1].members["LastUpdatedTime"] > begun + 3599


@pytest.mark.looptime
async def test_signatures_of_webhooks_follow_virtual_time():
    secret = base64.b64encode(b"0" * 24).decode()
    scenario = {"receivers": {"default": {"secrets": [secret]}}}
    async with simulator.running(scenario) as sim, aiohttp.ClientSession() as session:
        await asyncio.sleep(86400)
        for age, expected in ((0, 204), (400, 401)):
            moment = datetime.fromtimestamp(int(sim.clock.now()) - age, UTC)
            headers = {
                "webhook-id": "a",
                "webhook-timestamp": str(int(moment.timestamp())),
                "webhook-signature": Webhook(secret).sign("a", moment, "{}"),
            }
            async with session.post(sim.receiver_url, data="{}", headers=headers) as response:
                assert response.status == expected
    assert [r.signature for r in sim.receiver.received] == ["valid", "invalid"]


async def test_truth_goes_to_files_line_by_line(tmp_path):
    scenario = {"keep": 1, "jobs": [{**LIFE, "steps": []}]}
    async with (
        simulator.running(scenario, directory=tmp_path / "out") as sim,
        aiohttp.ClientSession() as session,
    ):
        await status_of(sim, session)
        sim.change("p", Status="FAILED")
        await status_of(sim, session)
        async with session.post(f"{sim.receiver_url}/hook/x", data="hello"):
            pass
        # Read while it runs: a harness may kill it at any time.
        lines = {
            name: [json.loads(line) for line in (tmp_path / "out" / name).read_text().splitlines()]
            for name in ("truth.jsonl", "requests.jsonl", "received.jsonl")
        }
        assert len(sim.truth.states) == 1
    assert [(line["number"], line["state"]) for line in lines["truth.jsonl"]] == [
        (1, "PENDING"),
        (2, "FAILED"),
    ]
    assert [line["state"] for line in lines["requests.jsonl"]] == [1, 2]
    assert lines["received.jsonl"][0]["body"] == "hello"


async def test_it_listens_on_loopback_and_says_where():
    async with simulator.running({"name": "n", "description": "d", "jobs": [LIFE]}) as sim:
        assert sim.url.startswith("http://127.0.0.1:")
        assert sim.url != sim.receiver_url
        text = sim.describe()
    assert sim.url in text
    assert sim.receiver_url in text
    assert "n: d" in text


async def test_jobs_are_added_and_changed_from_a_program():
    async with simulator.running() as sim:
        job = sim.add_job({"id": "p", "service": "panorama"}, steps=[{"vanish": True}])
        assert job.state.number == 1
        await asyncio.wait_for(sim.truth.states.wait_for(lambda r: r.missing), 5)
        state = sim.change("p", {"reappear": True, "extra": {"New": 1}}, Status="FAILED")
        assert (state.missing, state.members["Status"], state.extra) == (
            False,
            "FAILED",
            {"New": 1},
        )
        with pytest.raises(LookupError):
            sim.change("q", Status="FAILED")
        with pytest.raises(ValueError, match="comes at once"):
            sim.add_job(id="q", service="panorama", starts="1s")


async def test_ports_are_free_again_after_stopping():
    async with simulator.running({"jobs": [LIFE]}) as sim:
        port = int(sim.url.rpartition(":")[2])
    async with simulator.running({"jobs": [LIFE]}, port=port) as again:
        assert again.url == sim.url


async def test_a_port_in_use_is_an_error_and_leaves_nothing_behind(tmp_path):
    async with simulator.running() as sim:
        port = int(sim.url.rpartition(":")[2])
        with pytest.raises(OSError, match="in use"):
            async with simulator.running(port=port, directory=tmp_path):
                pass


async def test_serving_for_ever_ends_when_cancelled():
    ready: asyncio.Future[simulator.Simulator] = asyncio.get_running_loop().create_future()
    task = asyncio.create_task(
        simulator.serve_forever(
            simulator.Scenario.load("steady"), listen="127.0.0.1:0", ready=ready.set_result
        )
    )
    sim = await asyncio.wait_for(ready, 5)
    async with aiohttp.ClientSession() as session:
        assert await status_of(sim, session, "pkg-good") == "PENDING"
    task.cancel()
    with suppress(asyncio.CancelledError):
        await asyncio.wait_for(task, 5)


@pytest.mark.parametrize("listen", ["4566", ":4566", "localhost:", "localhost:99999", "a:b"])
async def test_an_address_that_is_none_is_refused(listen):
    with pytest.raises(ValueError, match="is not HOST:PORT"):
        await simulator.serve_forever(simulator.Scenario(), listen=listen)


async def test_many_clients_at_once_are_served_and_recorded():
    scenario = {"generate": [{"service": "panorama", "count": 50, "profile": "stuck"}]}
    async with (
        asyncio.timeout(30),
        simulator.running(scenario) as sim,
        aiohttp.ClientSession() as session,
    ):
        jobs = [f"pkg-{number:04d}" for number in range(1, 51)] * 4
        await asyncio.gather(*(status_of(sim, session, job) for job in jobs))
        assert len({r.request_id for r in sim.truth.requests}) == 200


@pytest.mark.looptime
@pytest.mark.parametrize("name", ["demo", "steady", "chaos"])
async def test_a_shipped_scenario_runs_for_an_hour_within_bounds(name):
    async with simulator.running(simulator.Scenario.load(name)) as sim:
        await asyncio.sleep(3600)
        assert sim.truth.states.count > 4
        assert len(sim.world) < 700
        assert all(record.number >= 1 for record in sim.truth.states)


@pytest.mark.looptime
async def test_the_demo_tells_its_story():
    async with simulator.running(simulator.Scenario.load("demo")) as sim:
        await asyncio.sleep(90)
        last = {record.job: record for record in sim.truth.states}
    assert last["people-counter"].state == "SUCCEEDED"
    assert last["shelf-gaps"].state == "FAILED"
    assert last["EXDISK1"].members["TrackingNumber"] == "1Z999AA10123456784"
    assert last["EXDISK2"].state == "Returned/SuccessWithErrors"
    assert last["EXDISK3"].error == "canceled"
    assert last["EXDISK4"].state == "NotReceived/Expired"
    assert any(job.startswith("camera-") for job in last)
