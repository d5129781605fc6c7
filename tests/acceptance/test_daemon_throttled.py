"""A real daemon against a service that permits less than its configuration says."""

from typing import Any

import anyio
import pytest

from monitor import simulator
from tests import rounds
from tests.acceptance import scrape
from tests.acceptance.program import PATIENCE, configure, packages, running

pytestmark = pytest.mark.timeout(600)

RATE = 30.0
LEAST = 0.6 * 20 * RATE / 3
"""Requests in 20 s."""
IDS = [f"pkg-{number}" for number in range(60)]


async def test_few_requests_are_throttled_and_the_rate_comes_back(tmp_path):
    """The times are those of a high rate, at which what is permitted is found out sooner."""
    scenario = {"jobs": [{"id": each, "service": "panorama"} for each in IDS]}
    async with simulator.running(scenario) as sim:
        third = {"kind": "throttle", "rate": RATE / 3, "burst": 5}
        throttling = sim.faults.add(third)
        quotas = {"panorama": {"rate": RATE, "burst": 5}}
        watch = packages(discover=False, jobs=IDS, interval="1s")
        config = configure(tmp_path, sim, watches=[watch], quotas=quotas, sinks={})
        async with running("run", "-c", config, directory=tmp_path) as program:
            url = await program.started()
            await anyio.sleep(15)
            windows: list[list[Any]] = []
            # A busy machine may keep it from asking for a while, but not each time.
            for _ in rounds.until_enough(1, lambda: len(windows[-1]) > LEAST):
                before = len(sim.truth.requests)
                await anyio.sleep(20)
                windows.append(list(sim.truth.requests)[before:])
            found = windows[-1]
            throttled = [each for each in found if each.error]
            assert len(throttled) < 0.05 * len(found)
            assert len(found) > LEAST
            sim.faults.remove(throttling)

            async def is_back():
                rates = await scrape.table(url, "quota_rate", "service")
                return rates["panorama",] == RATE

            with anyio.fail_after(PATIENCE):
                while not await is_back():  # noqa: ASYNC110 -- another process
                    await anyio.sleep(1)
