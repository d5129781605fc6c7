"""Outages of 1, 4 and 6 minutes of real time, through the real process."""

import time

import anyio
import pytest

from monitor import simulator
from tests.acceptance import ledger
from tests.acceptance.program import configure, packages, running, until

pytestmark = [
    pytest.mark.soak,
    pytest.mark.timeout(900),
]
JOBS = [f"job-{number}" for number in range(100)]
WITHIN = 35.0


@pytest.mark.parametrize("minutes", [1, 4, 6])
async def test_all_changes_come_soon_after_an_outage(tmp_path, minutes):
    jobs = [{"id": job_id, "service": "panorama"} for job_id in JOBS]
    async with simulator.running({"jobs": jobs}) as sim:
        watch = packages(discover=False, jobs=JOBS, interval="10s")
        quotas = {"panorama": {"rate": 20, "burst": 20}}
        config = configure(tmp_path, sim, watches=[watch], sinks={}, quotas=quotas)
        store = tmp_path / "state.db"
        async with running("run", "-c", config, directory=tmp_path) as program:
            await program.started()
            await until(lambda: len(ledger.transitions(store)) == len(JOBS))
            before = sim.truth.requests.count
            sim.faults.add({"name": "outage", "kind": "error", "status": 503, "code": "Down"})
            await anyio.sleep(minutes * 60)
            assert sim.truth.requests.count > before + 3
            for job_id in JOBS:
                sim.change(job_id, Status="SUCCEEDED")
            sim.faults.remove("outage")
            back = time.monotonic()
            await until(lambda: _changed(store) == set(JOBS), seconds=WITHIN)
            assert time.monotonic() - back <= WITHIN


def _changed(store):
    rows = ledger.transitions(store)
    return {
        row.event["subject"] for row in rows if row.event["data"]["kind"] == "job.state_changed"
    }
