"""Step Functions executions that start and end between two sweeps, over restarts."""

import random
from collections import defaultdict

import anyio
import orjson
import pytest

from monitor import simulator
from tests import moto_kit
from tests.acceptance import on_moto
from tests.acceptance.program import PATIENCE, configure, running, until
from tests.moto_jobs import Jobs

INTERVAL = 2.0
"""Seconds between two sweeps: an execution lives for some milliseconds."""


@pytest.mark.parametrize(
    ("executions", "kills"),
    [
        pytest.param(60, 2, id="quick", marks=pytest.mark.timeout(900)),
        pytest.param(1000, 20, id="many", marks=[pytest.mark.soak, pytest.mark.timeout(900)]),
    ],
)
async def test_each_short_execution_is_one_event(tmp_path, executions, kills):
    chance = random.Random(11)
    ids = defaultdict(set)
    with moto_kit.serving(tmp_path / "moto.log") as moto:
        jobs = Jobs(moto_kit.Aws(moto))
        jobs.prepare()
        history = {await anyio.to_thread.run_sync(jobs.execution) for _ in range(20)}
        async with simulator.running() as sim:
            machines = on_moto.following(moto, ["stepfunctions.execution"], INTERVAL)
            config = configure(tmp_path, sim, **machines)

            def reported():
                for received in sim.truth.received:
                    event = orjson.loads(received.body)
                    ids[event["subject"]].add(event["id"])
                return ids.keys()

            started: list[str] = []
            killed = 0
            while killed <= kills:
                async with running("run", "--config", config, directory=tmp_path) as daemon:
                    await on_moto.recorded(await daemon.started(), 1)
                    while len(started) < executions * (killed + 1) // (kills + 1):
                        started.append(await anyio.to_thread.run_sync(jobs.execution))
                        await anyio.sleep(chance.uniform(0, 2 * INTERVAL / executions * kills))
                    if killed == kills:
                        await until(lambda: reported() >= set(started), 2 * PATIENCE)
                        # Whatever were reported once too often would be so within some sweeps.
                        await anyio.sleep(2 * INTERVAL)
                    else:
                        await anyio.sleep(chance.uniform(0, INTERVAL))
                    assert await daemon.kill()
                    killed += 1
            reported()
    assert len(started) == executions
    assert {one: len(ids[one]) for one in started} == dict.fromkeys(started, 1)
    assert not history & ids.keys()
