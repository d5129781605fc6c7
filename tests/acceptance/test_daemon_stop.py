"""Being told to stop: in time, with exit code 0, and with nothing lost or told twice."""

import asyncio
import json
import os
import sqlite3
from collections import Counter
from contextlib import closing
from signal import SIGHUP, SIGINT, SIGTERM

import anyio
import pytest

from monitor import simulator
from tests.acceptance import ledger
from tests.acceptance.program import PATIENCE, SECRET, configure, run, running, until

IN_TIME = 10.0 + 20.0
"""Seconds within which the daemon must be gone, and a busy machine must have told us.

The process keeps its own time of 10 s, and ends with code 74 after it.
"""

pytestmark = pytest.mark.timeout(600)


def _scenario(*faults, aws=()):
    return {
        "jobs": [{"id": "pkg", "service": "panorama"}, {"id": "EX1", "service": "importexport"}],
        "receivers": {"hook": {"secrets": [SECRET], "faults": list(faults)}},
        "faults": list(aws),
    }


async def _known(tmp_path, count=2):
    await until(lambda: len(ledger.transitions(tmp_path / "state.db")) >= count)


def _taken(sim):
    """How often each event was taken."""
    return Counter(json.loads(r.body)["id"] for r in sim.truth.received if r.accepted)


@pytest.mark.parametrize("signal", [SIGTERM, SIGINT])
async def test_an_idle_daemon_stops_at_once(tmp_path, signal):
    async with simulator.running(_scenario()) as sim:
        config = configure(tmp_path, sim)
        # As users start it: a fork of the tests' server does not take Python apart at its end.
        async with running("run", "-c", config, directory=tmp_path, anew=True) as program:
            await program.started()
            await _known(tmp_path)
            code, took = await program.stop(signal)
            listed = await run("jobs", "-c", config, "-q", "pkg", directory=tmp_path, anew=True)
    assert code == 0
    assert took < IN_TIME
    assert [line["event"] for line in program.log][-2:] == ["daemon.stopping", "daemon.stopped"]
    assert listed[0] == 0
    assert listed[2].count("\n") == 1, "more than the hint at --server"
    assert program.out == ""


async def test_a_daemon_that_is_told_to_stop_while_it_still_reads_its_configuration_ends_well(
    tmp_path,
):
    pipe = tmp_path / "job-monitor.yaml"
    os.mkfifo(pipe)
    async with running("run", "-c", pipe, directory=tmp_path) as program:
        # Opening it for writing waits until the program has opened it for reading.
        writer = await anyio.to_thread.run_sync(os.open, pipe, os.O_WRONLY)
        code, took = await program.stop(SIGTERM)
        os.close(writer)
    assert code == 0
    assert took < IN_TIME
    assert program.err == ""


async def test_a_log_file_may_be_rotated_with_a_hangup(tmp_path):
    audit, rotated = tmp_path / "audit.jsonl", tmp_path / "audit.jsonl.1"
    sinks = {"audit": {"type": "log", "path": str(audit)}}
    async with simulator.running(_scenario()) as sim:
        config = configure(tmp_path, sim, sinks=sinks)
        async with running("run", "-c", config, directory=tmp_path) as program:
            await _known(tmp_path)
            sim.change("pkg", Status="FAILED")
            await until(lambda: audit.exists() and audit.read_text().endswith("\n"))
            audit.rename(rotated)
            program.process.send_signal(SIGHUP)
            sim.change("EX1", ProgressCode="InProgress")
            await until(lambda: audit.exists() and audit.read_text().endswith("\n"))
            assert (await program.stop(SIGTERM))[0] == 0
    told = [json.loads(file.read_text())["subject"] for file in (rotated, audit)]
    assert told == ["pkg", "EX1"]


async def test_it_stops_while_aws_does_not_answer(tmp_path):
    async with simulator.running(_scenario(aws=[{"kind": "hang"}])) as sim:
        config = configure(tmp_path, sim)
        async with running("run", "-c", config, directory=tmp_path) as program:
            url = await program.started()
            assert url.startswith("http://127.0.0.1:")
            # A hanging request is recorded when it arrives.
            await until(lambda: {r.service for r in sim.truth.requests} >= _SERVICES)
            code, took = await program.stop(SIGTERM)
    assert code == 0, program.err
    assert took < IN_TIME


_SERVICES = {"panorama", "importexport"}


async def test_a_delivery_that_is_being_answered_is_finished_and_not_sent_again(tmp_path):
    async with simulator.running(_scenario({"kind": "slow", "delay": 1.5})) as sim:
        config = configure(tmp_path, sim)
        async with running("run", "-c", config, directory=tmp_path) as program:
            await _known(tmp_path)
            sim.change("pkg", Status="SUCCEEDED")
            with anyio.fail_after(PATIENCE):
                await sim.truth.received.wait_for(lambda _: True)
            code, took = await program.stop(SIGTERM)
        assert code == 0, program.err
        assert took < IN_TIME
        assert ledger.statuses(tmp_path / "state.db") == ["delivered"]
        await _live_a_little(sim, config, tmp_path)
        assert sim.truth.received.count == 1


async def _live_a_little(sim, config, directory):
    """Run the daemon until it has been through everything a few times."""
    async with running("run", "-c", config, directory=directory) as program:
        await program.started()
        seen = sim.truth.requests.count
        await until(lambda: sim.truth.requests.count > seen + 20)
        assert (await program.stop(SIGTERM))[0] == 0


@pytest.mark.parametrize("signal", [SIGTERM, SIGINT])
async def test_what_a_receiver_never_answers_is_sent_again_after_the_restart(tmp_path, signal):
    async with simulator.running(_scenario({"kind": "hang"})) as sim:
        config = configure(tmp_path, sim)
        async with running("run", "-c", config, directory=tmp_path) as program:
            await _known(tmp_path)
            sim.change("pkg", Status="SUCCEEDED")
            with anyio.fail_after(PATIENCE):
                await sim.truth.received.wait_for(lambda _: True)
            code, took = await program.stop(signal)
        assert code == 0, program.err
        assert took < IN_TIME
        assert ledger.statuses(tmp_path / "state.db") == ["pending"]
        sim.receiver.behave("hook", {"secrets": [SECRET]})
        async with running("run", "-c", config, directory=tmp_path) as program:
            await until(lambda: ledger.statuses(tmp_path / "state.db") == ["delivered"])
    assert list(_taken(sim).values()) == [2]


async def test_it_stops_while_another_program_holds_up_the_store(tmp_path):
    async with simulator.running(_scenario()) as sim:
        config = configure(tmp_path, sim)
        async with running("run", "-c", config, directory=tmp_path) as program:
            await program.started()
            await _known(tmp_path)
            with _locked(tmp_path / "state.db"):
                seen = sim.truth.requests.count
                sim.change("pkg", Status="SUCCEEDED")
                await until(lambda: sim.truth.requests.count > seen + 10)
                program.process.send_signal(SIGTERM)
                await until(lambda: program.logged("daemon.stopping"))
                await asyncio.sleep(2)  # what a backup takes; nothing can be waited for
            assert await program.ended() == 0, program.err
        (ended,) = [r for r in ledger.transitions(tmp_path / "state.db") if r.sequence == 2]
        assert ended.data["current"]["state"] == "SUCCEEDED"


async def test_a_store_that_never_answers_does_not_keep_it_from_ending(tmp_path):
    store = tmp_path / "state.db"
    async with simulator.running(_scenario()) as sim:
        config = configure(tmp_path, sim)
        async with running("run", "-c", config, directory=tmp_path) as program:
            await program.started()
            await _known(tmp_path)
            with _locked(store):
                seen = sim.truth.requests.count
                sim.change("pkg", Status="SUCCEEDED")
                await until(lambda: sim.truth.requests.count > seen + 10)
                code, took = await program.stop(SIGTERM)
        assert code == 74
        assert took < IN_TIME
        assert program.err.splitlines()[-1].startswith(
            "error: ended without waiting any longer for what does not answer, such as the store"
        )
        async with running("run", "-c", config, directory=tmp_path):
            await until(lambda: ledger.statuses(store) == ["delivered"])
    assert list(_taken(sim).values()) == [1]


async def test_it_stops_in_time_when_nobody_answers(tmp_path):
    """AWS and the receiver hang, and a client holds a page open; the grace of each adds up."""
    async with simulator.running(_scenario({"kind": "hang"})) as sim:
        config = configure(tmp_path, sim)
        async with running("run", "-c", config, directory=tmp_path) as program:
            url = await program.started()
            await _known(tmp_path)
            sim.change("pkg", Status="SUCCEEDED")
            with anyio.fail_after(PATIENCE):
                await sim.truth.received.wait_for(lambda _: True)
            sim.faults.add({"kind": "hang", "name": "hang"})
            await until(lambda: sim.faults.fired("hang") > 1)
            async with await anyio.connect_tcp("127.0.0.1", int(url.rpartition(":")[2])) as half:
                await half.send(b"GET /metrics HTTP/1.1\r\nHost: x\r\n")
                code, took = await program.stop(SIGTERM)
    assert code == 0, program.err
    assert took < IN_TIME


def _locked(store):
    """Hold SQLite's one write lock, as ``sqlite3 state.db`` may in the hands of an operator."""
    connection = sqlite3.connect(store, isolation_level=None, timeout=30)
    connection.execute("BEGIN IMMEDIATE")
    return closing(connection)


async def test_it_stops_under_load_and_loses_nothing(tmp_path):
    async with simulator.running(_scenario({"kind": "slow", "delay": 0.5})) as sim:
        jobs = [f"pkg-{number}" for number in range(40)]
        for job in jobs:
            sim.add_job(id=job, service="panorama")
        config = configure(tmp_path, sim)
        async with running("run", "-c", config, directory=tmp_path) as program:
            await _known(tmp_path, count=42)
            for job in jobs:
                sim.change(job, Status="SUCCEEDED")
            with anyio.fail_after(PATIENCE):
                await sim.truth.received.wait_for(lambda _: sim.truth.received.count > 3)
            code, took = await program.stop(SIGTERM)
        assert code == 0, program.err
        assert took < IN_TIME
        async with running("run", "-c", config, directory=tmp_path) as program:
            await until(lambda: _all_delivered(tmp_path, jobs))
            assert (await program.stop(SIGTERM))[0] == 0
    assert sorted(_taken(sim).values()) == [1] * len(jobs)


def _all_delivered(tmp_path, jobs):
    statuses = ledger.statuses(tmp_path / "state.db")
    return len(statuses) == len(jobs) and set(statuses) == {"delivered"}


@pytest.mark.parametrize("second", [SIGTERM, SIGINT])
async def test_a_second_signal_ends_it_at_once(tmp_path, second):
    async with simulator.running(_scenario({"kind": "hang"})) as sim:
        config = configure(tmp_path, sim)
        async with running("run", "-c", config, directory=tmp_path) as program:
            await _known(tmp_path)
            sim.change("pkg", Status="SUCCEEDED")
            with anyio.fail_after(PATIENCE):
                await sim.truth.received.wait_for(lambda _: True)
            program.process.send_signal(SIGTERM)
            await until(lambda: program.logged("daemon.stopping"))
            code, took = await program.stop(second)
    assert code == 130
    assert took < IN_TIME
    assert "Traceback" not in program.err


async def test_a_second_process_on_the_same_store_is_refused(tmp_path):
    async with simulator.running(_scenario()) as sim:
        config = configure(tmp_path, sim)
        async with running("run", "-c", config, directory=tmp_path) as first:
            await first.started()
            code, out, err = await run("run", "-c", config, directory=tmp_path)
            assert (await first.stop(SIGTERM))[0] == 0
    assert (code, out) == (69, "")
    assert len(err.splitlines()) == 1
    assert "another process uses it" in err
