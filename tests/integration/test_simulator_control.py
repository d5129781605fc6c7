"""The control API."""

import aiohttp
import pytest

from monitor import simulator

PACKAGE = {"id": "p", "service": "panorama"}


async def call(sim, method, path, body=None, text=None):
    async with (
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(5)) as session,
        session.request(method, f"{sim.url}/_simulator/{path}", json=body, data=text) as response,
    ):
        return response.status, await response.json()


async def test_health_tells_what_is_going_on():
    async with simulator.running({"name": "n", "jobs": [PACKAGE]}) as sim:
        status, health = await call(sim, "GET", "health")
    assert (status, health["status"], health["scenario"], health["jobs"]) == (200, "ok", "n", 1)


async def test_a_job_is_added_changed_and_told():
    async with simulator.running() as sim:
        steps = [{"after": "1h", "set": {"Status": "FAILED"}}]
        status, job = await call(sim, "POST", "jobs", {**PACKAGE, "steps": steps})
        assert (status, job["state"], job["number"]) == (200, "PENDING", 1)
        _, told = await call(sim, "POST", "jobs/p", {"set": {"Status": "SUCCEEDED"}})
        assert told == {"id": "p", "number": 2, "state": "SUCCEEDED"}
        _, jobs = await call(sim, "GET", "jobs")
        assert [(job["id"], job["state"]) for job in jobs] == [("p", "SUCCEEDED")]
        _, truth = await call(sim, "GET", "truth?job=p")
        assert [(line["line"], line["number"], line["state"]) for line in truth] == [
            (1, 1, "PENDING"),
            (2, 2, "SUCCEEDED"),
        ]
        assert (await call(sim, "GET", "truth?after=2"))[1] == []


async def test_jobs_of_one_name_are_told_apart():
    twins = [PACKAGE, {**PACKAGE, "region": "eu-west-1"}]
    async with simulator.running({"jobs": twins}) as sim:
        change = {"set": {"Status": "FAILED"}}
        status, answer = await call(sim, "POST", "jobs/p", change)
        assert (status, answer) == (400, {"error": "2 jobs are called 'p'"})
        assert (await call(sim, "POST", "jobs/p?region=eu-west-1", change))[0] == 200
        assert [job.state.summary for job in sim.world] == ["PENDING", "FAILED"]


async def test_faults_are_added_told_and_lifted():
    async with simulator.running({"jobs": [PACKAGE]}) as sim:
        rule = {"kind": "html", "name": "h", "match": {"job": "p"}, "times": 3}
        assert (await call(sim, "POST", "faults", rule)) == (200, {"name": "h"})
        assert (await call(sim, "POST", "faults", {"kind": "reset"})) == (200, {"name": "reset-2"})
        _, faults = await call(sim, "GET", "faults")
        assert faults[0] == {**rule, "fired": 0}
        assert (await call(sim, "DELETE", "faults/h"))[0] == 200
        assert [fault.kind for fault in sim.faults] == ["reset"]
        assert (await call(sim, "DELETE", "faults"))[0] == 200
        assert list(sim.faults) == []


async def test_the_control_api_is_not_struck_by_faults_nor_recorded():
    async with simulator.running({"faults": [{"kind": "reset"}]}) as sim:
        assert (await call(sim, "GET", "requests")) == (200, [])


async def test_a_receiver_is_told_how_to_behave():
    async with simulator.running() as sim:
        faults = [{"kind": "status", "status": 503}]
        assert (await call(sim, "POST", "receiver/ops", {"faults": faults}))[0] == 200
        async with (
            aiohttp.ClientSession() as session,
            session.post(f"{sim.receiver_url}/hook/ops", data=b"\xff") as response,
        ):
            assert response.status == 503
        _, (record,) = await call(sim, "GET", "received")
    assert (record["name"], record["answer"], record["body_base64"]) == ("ops", 503, "/w==")


@pytest.mark.parametrize(
    ("method", "path", "body", "message"),
    [
        ("POST", "jobs", {"id": "x"}, "service: Field required"),
        ("POST", "jobs", {**PACKAGE, "starts": "5s"}, "a job that is added comes at once"),
        ("POST", "jobs", PACKAGE, "there is a job 'p' of panorama in us-east-1"),
        ("POST", "jobs", [], "the body is not a JSON object"),
        ("POST", "jobs/none", {}, "no jobs are called 'none'"),
        ("POST", "jobs/p", {"set": {"Stat": 1}}, "'Stat' is not a member of panorama"),
        ("POST", "jobs/p", {"vanish": "maybe"}, "vanish: Input should be a valid boolean"),
        ("POST", "faults", {"kind": "x"}, "does not match any of the expected tags"),
        ("DELETE", "faults/none", None, "there is no fault 'none'"),
        ("POST", "receiver/a", {"status": 1}, "status: Input should be greater"),
        ("GET", "truth?after=x", None, "after: 'x' is not a number"),
        ("GET", "nothing", None, "there is no GET /_simulator/nothing"),
    ],
)
async def test_a_mistake_is_answered_400_with_one_line(method, path, body, message):
    async with simulator.running({"jobs": [PACKAGE]}) as sim:
        status, answer = await call(sim, method, path, body)
    assert status == 400
    assert message in answer["error"]
    assert "\n" not in answer["error"]


async def test_a_body_that_is_no_json_is_a_mistake():
    async with simulator.running() as sim:
        status, answer = await call(sim, "POST", "jobs", text="{")
    assert (status, answer["error"].startswith("the body is not JSON: ")) == (400, True)
