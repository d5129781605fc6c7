"""``job-monitor plan``: what it reckons, against what the daemon then really does."""

import json
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from monitor import simulator
from tests import rounds
from tests.acceptance import ledger
from tests.acceptance.program import configure, disks, packages, run, running, until

pytestmark = pytest.mark.timeout(600)

DAY = 86400
WINDOW = 8.0
"""Seconds over which requests are counted."""
PANORAMA, IMPORT = "panorama", "importexport"


async def planned(directory, config, *arguments):
    code, out, err = await run("plan", "-c", config, "-o", "json", *arguments, directory=directory)
    assert (code, err) == (0, ""), err
    return json.loads(out)


async def counted(directory, config, requests, jobs, agrees, settle=3):
    """Return the requests of some seconds, once all jobs are known, which should agree.

    A busy machine may keep the daemon from its turns in one window, but not in each.
    """
    windows: list[list[Any]] = []
    async with running("run", "-c", config, directory=directory) as program:
        await program.started()
        await until(lambda: len(ledger.transitions(directory / "state.db")) == jobs)
        await anyio.sleep(settle)
        for _ in rounds.until_enough(1, lambda: agrees(windows[-1])):
            before = len(requests)
            await anyio.sleep(WINDOW)
            windows.append(list(requests)[before:])
    return windows[-1]


def agreeing(plan, **tolerance):
    """Return what says whether the requests of a window are those of a plan."""
    lists, describes = plan["list_calls_per_day"] / DAY, plan["describe_calls_per_day"] / DAY

    def agrees(found):
        listed = sum(each.operation.startswith("List") for each in found) / WINDOW
        described = len(found) / WINDOW - listed
        print(listed, lists, described, describes)  # noqa: T201 -- for whoever reads a failure
        return listed == pytest.approx(lists, rel=0.1, **tolerance) and (
            described == pytest.approx(describes, rel=0.1, **tolerance)
        )

    return agrees


def named(kind, count):
    return [f"job-{number}" for number in range(count)], [
        {"id": f"job-{number}", "service": kind} for number in range(count)
    ]


async def test_a_long_listing_of_few_jobs_is_planned_as_it_is_polled(tmp_path):
    """Sixteen jobs among a thousand others: described, with two sweeps in the window."""
    ids, jobs = named(PANORAMA, 16)
    old = [{"id": f"old-{number}", "service": PANORAMA} for number in range(984)]
    for number, each in enumerate(jobs):
        old.insert(62 * number, each)
    async with simulator.running({"jobs": old}) as sim:
        quotas = {PANORAMA: {"rate": 20, "burst": 2}}
        watch = packages(interval="1700ms", discover={"include": ["job-*"]})
        config = configure(tmp_path, sim, watches=[watch], sinks={}, quotas=quotas)
        arguments = ("--jobs", len(ids), "--finished", 984)
        report = await planned(tmp_path, config, *arguments)
        (plan,), (quota,) = report["watches"], report["quotas"]
        assert quota["mode"] == "single"
        agrees = agreeing(plan, abs=0.2)
        assert agrees(
            await counted(tmp_path, config, sim.truth.requests, len(ids), agrees, settle=9)
        )


@pytest.mark.parametrize(
    ("kind", "count", "changes", "quota", "every"),
    [
        # Nearly all of the quota for three pages, as they poll sooner than 75 describes.
        (PANORAMA, 75, {"discover": True, "interval": "500ms"}, 6, 3 / (0.95 * 6)),
        # Thirty jobs with ten requests a second.
        (PANORAMA, 30, {"discover": False, "interval": "1s"}, 10, 3.0),
        # A listing without states, so that each job is looked at as well.
        (IMPORT, 10, {"discover": True, "interval": "1s"}, 40, 1.0),
    ],
)
async def test_the_daemon_does_what_was_planned(tmp_path, kind, count, changes, quota, every):
    ids, jobs = named(kind, count)
    watch = {PANORAMA: packages, IMPORT: disks}[kind](**changes)
    if not changes["discover"]:
        watch["jobs"] = ids
    async with simulator.running({"jobs": jobs}) as sim:
        budget = {"rate": quota, "burst": 2}
        config = configure(
            tmp_path, sim, watches=[watch], sinks={}, quotas={PANORAMA: budget, IMPORT: budget}
        )
        (plan,) = (await planned(tmp_path, config, "--jobs", count))["watches"]
        agrees = agreeing(plan, abs=0.1)
        found = await counted(tmp_path, config, sim.truth.requests, count, agrees)
    assert plan["jobs"] == count
    assert plan["seconds_between_polls"] == pytest.approx(every, rel=0.02)
    assert plan["mean_delay_seconds"] == pytest.approx(every / 2, rel=0.02)
    assert plan["list_calls_per_day"] + plan["describe_calls_per_day"] > 0
    assert agrees(found)


BATCH = """
name: batch.test-job
service: batch
description: a job of AWS Batch
interval: 30s
quota: {rate: 20, burst: 10}
id: {job: jobId, max_length: 64}
describe: {operation: DescribeJobs, params: {jobs: ["{job}"]}, items: jobs, at_once: 100}
state: status
phases:
  waiting: [SUBMITTED, PENDING, RUNNABLE]
  running: [STARTING, RUNNING]
  succeeded: [SUCCEEDED]
  failed: [FAILED]
"""


@asynccontextmanager
async def batch():
    """A service that knows every job of AWS Batch; yield its URL, and the ids of each request."""
    requests = []

    async def describe(request):
        ids = json.loads(await request.text())["jobs"]
        requests.append(ids)
        jobs = [{"jobId": each, "status": "RUNNING"} for each in ids]
        return web.json_response({"jobs": jobs})

    app = web.Application()
    app.router.add_post("/v1/describejobs", describe)
    server = TestServer(app, host="127.0.0.1")
    await server.start_server()
    try:
        yield str(server.make_url("")), requests
    finally:
        await server.close()


async def test_five_hundred_jobs_that_share_requests_cost_what_was_planned(tmp_path):
    ids, _ = named(PANORAMA, 500)
    types = tmp_path / "types"
    types.mkdir()
    (types / "batch.yaml").write_text(BATCH)
    watch = {"name": "batch", "type": "batch.test-job", "account": "sim", "regions": ["us-east-1"]}
    async with simulator.running({"jobs": []}) as sim, batch() as (url, requests):
        changes = {
            "accounts": {"sim": {"endpoint_urls": {"batch": url}}},
            "job_types_dir": str(types),
            "sinks": {},
            "quotas": {},
        }
        config = configure(tmp_path, sim, watches=[watch | {"jobs": ids}], **changes)
        (plan,) = (await planned(tmp_path, config))["watches"]
        assert (plan["jobs"], plan["describe_calls_per_day"]) == (500, 14_400)
        assert plan["seconds_between_polls"] == 30.0
        quick = {**watch, "jobs": ids, "interval": "2s"}
        config = configure(tmp_path, sim, watches=[quick], **changes)
        (plan,) = (await planned(tmp_path, config))["watches"]
        daily = plan["describe_calls_per_day"]
        assert daily == 14_400 * 15

        def agrees(steady):
            # A busy machine may cut one in two.
            return (
                [len(each) for each in steady].count(100) >= 0.9 * len(steady)
                and {one for each in steady for one in each} == set(ids)
                and len(steady) == pytest.approx(daily / DAY * WINDOW, abs=4)
            )

        # Those of the first moments, when nothing was in step yet, are left out.
        steady = await counted(tmp_path, config, requests, 500, agrees)
    assert agrees(steady), [len(each) for each in steady]


EXAMPLE = Path(__file__).parents[2] / "config" / "full.yaml"


async def test_the_table_tells_what_is_wanted_of_each_quota(tmp_path):
    code, out, err = await run("plan", "-c", EXAMPLE, directory=tmp_path)
    assert (code, err) == (0, "")
    watches, quotas = (part.splitlines() for part in out.split("\n\n"))
    assert watches[1].split() == (
        ["camera-packages", "prod", "us-east-1", "100", "11520", "0", "30.0", "15.0", "30.0", "-"]
    )
    assert quotas[1].split() == ["panorama", "prod", "us-east-1", "1.6", "0.1333", "8.3", "sweep"]


async def test_looks_that_the_quota_delays_are_warned_of(tmp_path):
    code, out, err = await run("plan", "-c", EXAMPLE, "--jobs", "2000", directory=tmp_path)
    assert code == 0
    assert "166.7" in out
    assert err == (
        "warning: camera-packages in prod/us-east-1: polls each job every 53 s instead of"
        " every 30 s: the quota permits only that\n"
    )


async def test_jobs_of_one_quota_are_late_together(tmp_path):
    """Ten a second are asked of five, by watches with different intervals."""
    ids, _ = named(PANORAMA, 10)
    watches = [
        packages(name="quick", discover=False, jobs=ids[:5], interval="1s"),
        packages(name="slow", discover=False, jobs=ids[5:], interval="1s", regions=["eu-west-1"]),
        packages(name="too", discover=False, jobs=ids[5:], interval="2s"),
    ]
    async with simulator.running({"jobs": []}) as sim:
        quotas = {PANORAMA: {"rate": 5, "burst": 2}}
        config = configure(tmp_path, sim, watches=watches, sinks={}, quotas=quotas)
        plan = await planned(tmp_path, config)
    every = {one["watch"]: one["seconds_between_polls"] for one in plan["watches"]}
    assert every["slow"] == 1.0
    assert every["too"] - every["quick"] == pytest.approx(1.0)
    assert 5 / every["quick"] + 5 / every["too"] == pytest.approx(5, rel=0.01)
    wanted = {one["region"]: one["percent_of_quota"] for one in plan["quotas"]}
    assert wanted == {"us-east-1": 150.0, "eu-west-1": 100.0}


async def test_how_often_ended_jobs_are_polled_is_planned_and_checked(tmp_path):
    async with simulator.running({"jobs": []}) as sim:
        watches = [
            disks(name="plain", interval="5m"),
            disks(name="set", interval="5m", ended_interval="30m"),
            disks(name="old", interval="5m", final_interval="45m"),
            disks(name="short", interval="5m", ended_interval="1m"),
            packages(name="final", interval="5m"),
        ]
        config = configure(tmp_path, sim, watches=watches, sinks={})
        plan = await planned(tmp_path, config)
        _, out, _ = await run("check", "-c", config, directory=tmp_path)
    every = {one["watch"]: one["ended_interval_seconds"] for one in plan["watches"]}
    assert every == {"plain": 3600, "set": 1800, "old": 2700, "short": 300, "final": None}
    assert out.count("polled every 5m; every 30m once ended, while it may still change") == 1
    assert "ended_interval: is shorter than the interval of 5m, which is used instead" in out


async def test_without_watches_there_is_nothing_to_plan(tmp_path):
    async with simulator.running({"jobs": []}) as sim:
        config = configure(tmp_path, sim, watches=[])
        code, out, err = await run("plan", "-c", config, directory=tmp_path)
    assert (code, out, err) == (0, "There is nothing to plan: no watches.\n", "")
