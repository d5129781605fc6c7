"""A hundred thousand configured jobs: what start, reload, page and stop cost the real process.

CI runs the quick form, ``make soak`` the long one. Costs that grow faster than the jobs exceed
the limits by far in both. CPU time is held where it can be, so that a busy machine is no failure.
"""

import json
import os
import time
from pathlib import Path
from signal import SIGHUP, SIGTERM

import aiohttp
import anyio
import pytest

from monitor import model
from monitor.clock import SystemClock
from monitor.stores.store import open_store
from tests.acceptance.program import fetch, running, until
from tests.builders import snapshot

pytestmark = pytest.mark.timeout(600)

LIMIT = 10.0
"""Seconds: of CPU to become ready and to reload, and of time to stop."""
LONGEST_STALL = 2.0
"""Seconds that a health probe may wait, on a machine that does other things, too."""
PROBES = 10

FORMS = [
    pytest.param(40_000, 1000, 0.7 * LIMIT, id="quick"),
    pytest.param(100_000, 100_000, LIMIT, id="long", marks=pytest.mark.soak),
]


def _settings(directory, jobs, **changes):
    watch = {"name": "all", "type": "panorama.package-import", "regions": ["us-east-1"]}
    return {
        "accounts": {"default": {"endpoint_urls": {"panorama": "http://127.0.0.1:9"}}},
        "watches": [{**watch, "interval": "1h", "jobs": list(map(_name, range(jobs))), **changes}],
        "sinks": {"audit": {"type": "log", "path": str(directory / "audit.jsonl")}},
        "quotas": {"panorama": {"rate": 1, "burst": 1}},
        "store": f"sqlite://{directory}/state.db",
        "server": {"listen": "127.0.0.1:0"},
    }


def _name(number):
    return f"job-{number:06d}"


async def _fill(directory, jobs):
    """Let a store know every job, as a daemon that polled them all once would."""
    clock = SystemClock()

    async def record(store, number):
        job = model.Job("panorama.package-import", "default", "us-east-1", _name(number))
        now = clock.now()
        known = snapshot(job=job, first_seen_at=now, changed_at=now, looked_at=now)
        made = model.Transition(
            *(job, "panorama", 1, model.Kind.DISCOVERED, None),
            *(model.StateAndPhase(known.state, known.phase), (), None, now, known.severity),
            *(None, None, {}, {}),
        )
        assert await store.record(model.Entry(known, 0, (made,), ((),)))

    async with open_store(f"sqlite://{directory}/state.db", clock) as store:
        for start in range(0, jobs, 5000):
            async with anyio.create_task_group() as tasks:
                for number in range(start, min(jobs, start + 5000)):
                    tasks.start_soon(record, store, number)


def _cpu(program):
    """Seconds of CPU that a process has used."""
    fields = Path(f"/proc/{program.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def _worst_probe(url, done, waits):
    """Ask for the health until ``done``; append how long each answer took."""
    async with aiohttp.ClientSession() as session:
        while not (done.is_set() and len(waits) >= PROBES):
            began = time.monotonic()
            async with session.get(f"{url}/-/healthy") as response:
                assert response.status == 200
            waits.append(time.monotonic() - began)
            await anyio.sleep(0.02)


@pytest.mark.parametrize(("jobs", "known", "limit"), FORMS)
async def test_many_jobs_start_reload_and_stop_in_time(tmp_path, jobs, known, limit):
    file = tmp_path / "monitor.yaml"
    file.write_text(json.dumps(_settings(tmp_path, jobs)))
    await _fill(tmp_path, known)
    async with running("run", "--config", file, directory=tmp_path) as program:
        url = await program.started()
        ready = _cpu(program)
        status = json.loads((await fetch(f"{url}/api/v1/status"))[2])
        assert status["jobs"] == jobs

        before = _cpu(program)
        file.write_text(json.dumps(_settings(tmp_path, jobs, labels={"team": "vision"})))
        program.process.send_signal(SIGHUP)
        await until(lambda: program.logged("config.reloaded") or not program.alive, 120)
        reloaded = _cpu(program) - before

        waits: list[float] = []
        done = anyio.Event()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_worst_probe, url, done, waits)
            for path in ("/", "/api/v1/jobs?label=team:vision", "/metrics"):
                assert (await fetch(f"{url}{path}"))[0] == 200
            done.set()

        code, seconds = await program.stop(SIGTERM)
    assert code == 0
    shown = f"ready {ready:.1f} s, reloaded {reloaded:.1f} s of CPU; stopped in {seconds:.1f} s"
    assert (ready <= limit, reloaded <= limit, seconds <= LIMIT) == (True, True, True), shown
    assert max(waits) <= LONGEST_STALL
