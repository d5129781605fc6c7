"""``job-monitor lab``: learned poll times against a fixed interval, replayed from a store."""

import json
from datetime import UTC, datetime, timedelta
from random import Random

import pytest

from monitor import simulator
from monitor.clock import SystemClock
from monitor.model import Job, Observation
from monitor.recording.diff import TrackingOptions
from monitor.recording.recorder import Recorder
from monitor.recording.router import Router
from monitor.sources import loader
from monitor.stores.store import open_store
from tests.acceptance.program import configure, disks, packages, run, running, until

pytestmark = pytest.mark.timeout(600)

TYPE = "importexport.job"
KIND = loader.load_job_types(None)[TYPE]
BEGAN = datetime(2026, 3, 1, tzinfo=UTC)
RUNNING, DONE = ("AtAWS", "InProgress"), ("AtAWS", "Complete")
WAITING = ("NotReceived", "Pending")


async def fill(directory, jobs=300):
    """Write jobs that wait for any time, and then run for much the same time each."""
    random = Random(5)
    async with open_store(f"sqlite://{directory}/state.db", SystemClock()) as store:
        recorder = Recorder(store, Router([], []), lambda _entry, _before: None)
        for number in range(jobs):
            moment = BEGAN + timedelta(minutes=number)
            waits = random.expovariate(1 / 3600)
            runs = 3600 * random.lognormvariate(0, 0.25)
            job = Job(TYPE, "sim", "us-east-1", f"J{number}")
            for state, lasts in ((WAITING, waits), (RUNNING, runs), (DONE, 0.0)):
                # Seen at its beginning and shortly before its end.
                for at in (moment, moment + timedelta(seconds=max(0.0, lasts - 20))):
                    parts = dict(zip(("LocationCode", "ProgressCode"), state, strict=True))
                    await recorder.observe(
                        Observation(job, at, at, parts, {}), TrackingOptions(KIND, {})
                    )
                moment += timedelta(seconds=lasts)


async def lab(directory, config, *options):
    return await run("lab", "-c", config, *options, directory=directory)


async def test_learned_poll_times_are_taken_where_they_win_and_refused_elsewhere(tmp_path):
    await fill(tmp_path)
    async with simulator.running({"jobs": []}) as sim:
        watches = [disks(interval="5m", schedule="learned"), packages(schedule="learned")]
        config = configure(tmp_path, sim, watches=watches, sinks={})
        code, out, err = await lab(tmp_path, config, "-o", "json")
        assert (code, err) == (0, "")
        rows = {row["state"]: row for row in json.loads(out)}
        _, table, _ = await lab(tmp_path, config)
        _, checked, _ = await run("check", "-c", config, directory=tmp_path)
    assert set(rows) == {"AtAWS/InProgress", "NotReceived/Pending"}
    runs, waits = rows["AtAWS/InProgress"], rows["NotReceived/Pending"]
    assert (runs["samples"], runs["watch"], runs["schedule"]) == (300, "disks", "learned")
    assert runs["verdict"] == "learned is better"
    assert runs["ratio"] <= 0.6
    assert runs["fixed_mean_delay_seconds"] == 150.0
    assert runs["learned_mean_delay_seconds"] <= 0.6 * 150
    assert waits["verdict"] == "refused: does not see changes clearly sooner"
    assert waits["ratio"] > 0.9
    assert "learned is better" in table
    assert "schedule: has no effect: a sweep of the listing polls these jobs" in checked


async def test_an_empty_ledger_teaches_nothing(tmp_path):
    await fill(tmp_path, jobs=0)
    async with simulator.running({"jobs": []}) as sim:
        config = configure(tmp_path, sim, watches=[disks()], sinks={})
        code, out, _ = await lab(tmp_path, config)
    assert (code, out) == (0, "The ledger shows no state of a described job from begin to end.\n")


async def test_few_samples_are_refused(tmp_path):
    await fill(tmp_path, jobs=30)
    async with simulator.running({"jobs": []}) as sim:
        config = configure(tmp_path, sim, watches=[disks()], sinks={})
        _, out, _ = await lab(tmp_path, config, "-o", "json")
    assert {row["verdict"] for row in json.loads(out)} == {"refused: fewer than 200 samples"}


async def test_a_daemon_learns_from_its_own_ledger(tmp_path):
    await fill(tmp_path)
    async with simulator.running({"jobs": []}) as sim:
        config = configure(tmp_path, sim, watches=[disks(schedule="learned")], sinks={})
        async with running("run", "-c", config, directory=tmp_path) as program:
            await program.started()
            await until(lambda: program.logged("schedule.learned"))
    (line,) = program.logged("schedule.learned")
    assert (line["type"], line["state"]) == (TYPE, "AtAWS/InProgress")
