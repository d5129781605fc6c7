"""Jobs that AWS lists for one parent at a time, whose parents come and go."""

import random
from collections import defaultdict
from functools import cache
from signal import SIGTERM

import anyio
import orjson
import pytest
from prometheus_client.parser import text_string_to_metric_families

from monitor import config, simulator
from monitor.sources.loader import load_job_types
from monitor.tools import plan
from tests import moto_jobs, moto_kit
from tests.acceptance import on_moto
from tests.acceptance.program import PATIENCE, configure, fetch, running, until

INTERVAL = 2.0
KINDS = ("batch.job", "ecs.task", "emr.step", "glue.job-run", "stepfunctions.execution")


class World:
    """The parents on moto, by the type of their jobs; every call blocks."""

    def __init__(self, url):
        self.aws = moto_kit.Aws(url)
        self.parents: dict[str, dict[int, moto_jobs.Jobs]] = {kind: {} for kind in KINDS}
        self.made = 0
        self.history: set[tuple[str, str]] = set()
        self.jobs: set[tuple[str, str]] = set()
        moto_jobs.Jobs(self.aws).prepare()

    def grow(self, kind):
        self.made += 1
        self.parents[kind][self.made] = moto_jobs.Jobs(self.aws, f"-{self.made}")
        return self.made

    def start(self, kind, number):
        return kind, self.parents[kind][number].start(kind)

    def end(self, kind, number):
        self.parents[kind].pop(number).end(kind)


@cache
def job_types():
    return load_job_types(None)


async def listed(url):
    """Count the requests so far that list jobs or their parents."""
    _, _, text = await fetch(f"{url}/metrics")
    operations = {one for kind in KINDS for one in job_types()[kind].list_operations}
    return sum(
        sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == "job_monitor_aws_requests_total"
        and sample.labels["operation"] in operations
    )


def planned(file, parents):
    """Return the list calls a second that the plan computes for a configuration."""
    settings = config.Settings.model_validate_json(file.read_bytes())
    found, _ = plan.plan(settings, job_types(), 0, parents)
    return sum(one.lists for one in found) / plan.DAY


@pytest.mark.parametrize(
    "parents",
    [
        pytest.param(2, id="quick", marks=pytest.mark.timeout(900)),
        pytest.param(10, id="fifty", marks=[pytest.mark.soak, pytest.mark.timeout(1800)]),
    ],
)
async def test_no_job_of_any_parent_is_missed_and_no_history_is_sent(tmp_path, parents):
    chance, ids, parsed = random.Random(3), defaultdict(set), 0
    do = anyio.to_thread.run_sync
    with moto_kit.serving(tmp_path / "moto.log") as moto:
        moto_jobs.configure(moto, batch={"use_docker": False})
        world = await do(World, moto)
        for kind in KINDS:
            for _ in range(parents):
                number = await do(world.grow, kind)
                world.history.add(await do(world.start, kind, number))
        async with simulator.running() as sim:
            file = configure(
                tmp_path,
                sim,
                **on_moto.following(moto, KINDS, INTERVAL),
                routes=on_moto.DISCOVERED,
            )

            def reported():
                nonlocal parsed
                for number, received in sim.truth.received.after(parsed):
                    parsed = number
                    event = orjson.loads(received.body)
                    data = event["data"]
                    if data["kind"] == "job.discovered":
                        ids[data["job"]["type"], event["subject"]].add(event["id"])
                return ids.keys()

            async with running("run", "--config", file, directory=tmp_path) as daemon:
                url = await daemon.started()
                await on_moto.recorded(url, len(world.history))
                await anyio.sleep(3 * INTERVAL)
                # As many parents as before: five sweeps come, and no sooner than the plan says.
                before, began = await listed(url), anyio.current_time()
                expected, found = planned(file, parents), 0.0
                with anyio.fail_after(5 * PATIENCE):
                    while found < 5 * INTERVAL * expected:
                        await anyio.sleep(INTERVAL / 4)
                        found = await listed(url) - before
                # The first may come at once, and the last at the end of its interval.
                elapsed = anyio.current_time() - began + INTERVAL
                assert found < 1.3 * expected * elapsed
                # Each goes in its turn, and another comes with jobs that have ended by its first
                # sweep. No job is started in one that is about to go: its listing goes with it.
                for _ in range(parents):
                    for kind in KINDS:
                        old = chance.choice(list(world.parents[kind]))
                        world.jobs.add(await do(world.start, kind, old))
                        new = await do(world.grow, kind)
                        world.jobs.update([await do(world.start, kind, new) for _ in range(2)])
                    await until(lambda: world.jobs <= reported(), 5 * PATIENCE)
                    for kind in KINDS:
                        await do(world.end, kind, min(world.parents[kind]))
                await anyio.sleep(3 * INTERVAL)
                assert (await daemon.stop(SIGTERM))[0] == 0
            reported()
    assert len(world.jobs) == 3 * parents * len(KINDS)
    assert {one: len(ids[one]) for one in world.jobs} == dict.fromkeys(world.jobs, 1)
    assert not world.history & ids.keys()
