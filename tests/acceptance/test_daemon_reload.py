"""The real program takes another configuration while it runs, or refuses it and goes on."""

import json
import os
from contextlib import suppress
from signal import SIGHUP, SIGTERM

import anyio
import pytest
from prometheus_client.parser import text_string_to_metric_families

from monitor import simulator
from monitor.sources import loader
from tests.acceptance import ledger
from tests.acceptance.program import (
    SECRET,
    configure,
    disks,
    fetch,
    packages,
    running,
    until,
    webhook,
)

pytestmark = pytest.mark.timeout(600)

SCENARIO = {
    "jobs": [{"id": "pkg", "service": "panorama"}, {"id": "EX1", "service": "importexport"}],
    "receivers": {"hook": {"secrets": [SECRET]}, "other": {}},
}


def _told(sim, receiver):
    """(job, state) of all that a receiver took."""
    events = [json.loads(r.body) for r in sim.truth.received if r.accepted and r.name == receiver]
    return [(event["subject"], event["data"]["current"]["state"]) for event in events]


async def _metric(url, name):
    _, _, text = await fetch(f"{url}/metrics")
    families = text_string_to_metric_families(text)
    samples = (sample for family in families for sample in family.samples)
    return {
        tuple(sorted(sample.labels.items())): sample.value
        for sample in samples
        if sample.name == name
    }


async def _hup(program, event="config.reloaded"):
    before = len(program.logged(event))
    program.process.send_signal(SIGHUP)
    await until(lambda: len(program.logged(event)) > before or not program.alive)
    assert program.alive, program.err


async def test_a_hangup_lets_watches_sinks_and_routes_come_change_and_go(tmp_path):
    store = tmp_path / "state.db"
    async with simulator.running(SCENARIO) as sim:
        plain = {"type": "log", "path": str(tmp_path / "audit.jsonl")}
        first = {"hook": webhook(sim, secret_files=[str(tmp_path / "hook-secret")]), "audit": plain}
        config = configure(tmp_path, sim, watches=[packages()], sinks=first)
        async with running("run", "-c", config, directory=tmp_path) as program:
            url = await program.started()
            await until(lambda: len(ledger.transitions(store)) == 1)
            sim.change("pkg", Status="RUNNING")
            await until(lambda: _told(sim, "hook") == [("pkg", "RUNNING")])
            configure(
                tmp_path,
                sim,
                watches=[disks()],
                sinks={"hook": first["hook"], "other": webhook(sim, "other")},
                routes=[{"match": {"type": "importexport.*"}, "sinks": ["other"]}],
            )
            await _hup(program)
            await until(lambda: len(ledger.transitions(store)) == 3)
            sim.change("EX1", ProgressCode="InProgress")
            sim.change("pkg", Status="SUCCEEDED")
            await until(lambda: [job for job, _ in _told(sim, "other")] == ["EX1"])
            jobs = await _metric(url, "job_monitor_jobs")
            assert {dict(labels)["type"] for labels in jobs} == {"importexport.job"}
            sinks = await _metric(url, "job_monitor_sink_parked")
            assert {dict(labels)["sink"] for labels in sinks} == {"hook", "other"}
            (line,) = program.logged("sink.removed")
            assert (line["sink"], line["pending"]) == ("audit", 0)
            # What came back goes on from where it was.
            configure(tmp_path, sim, sinks=first)
            await _hup(program)
            await until(lambda: _told(sim, "hook")[1:] == [("pkg", "SUCCEEDED")])
            assert (await program.stop(SIGTERM))[0] == 0
        kinds = [(row.data["job"]["id"], row.data["kind"]) for row in ledger.transitions(store)]
    assert sorted(kinds) == [
        ("EX1", "job.discovered"),
        ("EX1", "job.state_changed"),
        ("pkg", "job.discovered"),
        ("pkg", "job.state_changed"),
        ("pkg", "job.state_changed"),
    ]


async def test_a_bad_configuration_is_refused_and_seen_and_the_old_one_goes_on(tmp_path):
    store = tmp_path / "state.db"
    async with simulator.running(SCENARIO) as sim:
        config = configure(tmp_path, sim)
        async with running("run", "-c", config, directory=tmp_path) as program:
            url = await program.started()
            await until(lambda: len(ledger.transitions(store)) == 2)
            (took,) = (await _metric(url, f"{LAST}_success_timestamp_seconds")).values()
            configure(tmp_path, sim, watches=[packages(tpye=1), disks(regoins=[])], sinks={})
            await _hup(program, "config.refused")
            assert await _metric(url, f"{LAST}_successful") == {(): 0.0}
            assert await _metric(url, f"{LAST}_success_timestamp_seconds") == {(): took}
            await until(lambda: len(program.logged("config.refused")) >= 2)
            problems = {line["problem"] for line in program.logged("config.refused")}
            assert any("tpye" in problem for problem in problems), problems
            assert any("regoins" in problem for problem in problems), problems
            sim.change("pkg", Status="SUCCEEDED")
            await until(lambda: _told(sim, "hook") == [("pkg", "SUCCEEDED")])
            configure(tmp_path, sim)
            await _hup(program)
            assert await _metric(url, f"{LAST}_successful") == {(): 1.0}
            (again,) = (await _metric(url, f"{LAST}_success_timestamp_seconds")).values()
            assert again > took
            assert (await program.stop(SIGTERM))[0] == 0


LAST = "job_monitor_config_last_reload"


async def test_what_cannot_change_while_running_is_refused_by_name(tmp_path):
    async with simulator.running(SCENARIO) as sim:
        config = configure(tmp_path, sim)
        async with running("run", "-c", config, directory=tmp_path) as program:
            await program.started()
            elsewhere = f"sqlite://{tmp_path}/other.db"
            configure(tmp_path, sim, store=elsewhere, server={"listen": "127.0.0.1:1"}, sinks={})
            await _hup(program, "config.refused")
            await until(lambda: len(program.logged("config.refused")) >= 2)
            told = {line["problem"] for line in program.logged("config.refused")}
            assert (await program.stop(SIGTERM))[0] == 0
    where = {problem.split(": ")[1] for problem in told}
    assert where == {"store", "server.listen"}
    assert all(problem.endswith("(restart to change it)") for problem in told)
    assert all(problem.startswith(f"{config}:") for problem in told)


async def test_a_secret_that_changed_signs_after_a_hangup_and_log_level_and_format_follow(tmp_path):
    other = "whsec_b3RoZXItc2VjcmV0LW9mLWEtcmVsb2FkLXRlc3Q="
    scenario = {**SCENARIO, "receivers": {"hook": {"secrets": [other]}}}
    async with simulator.running(scenario) as sim:
        config = configure(tmp_path, sim)
        async with running("run", "-c", config, directory=tmp_path) as program:
            await program.started()
            await until(lambda: len(ledger.transitions(tmp_path / "state.db")) == 2)
            sim.change("pkg", Status="RUNNING")
            await until(lambda: {r.signature for r in sim.truth.received} == {"invalid"})
            (tmp_path / "hook-secret").write_text(other)
            await _hup(program)
            sim.change("EX1", ProgressCode="InProgress")
            await until(lambda: "valid" in [r.signature for r in sim.truth.received])
            configure(tmp_path, sim, log={"level": "info", "format": "console"})
            program.process.send_signal(SIGHUP)
            await until(lambda: not program.err.splitlines()[-1].startswith("{"))
            assert [line for line in program.err.splitlines() if "config.reloaded" in line][-1][
                0
            ] != "{"
            assert (await program.stop(SIGTERM))[0] == 0


async def test_a_config_map_that_is_swapped_takes_effect_within_seconds(tmp_path):
    mount = tmp_path / "mount"
    mount.mkdir()
    async with simulator.running(SCENARIO) as sim:
        _swap(mount, 1, configure(tmp_path, sim, watches=[packages()]).read_text())
        (mount / "monitor.yaml").symlink_to("..data/monitor.yaml")
        async with running("run", "-c", mount, directory=tmp_path) as program:
            await program.started()
            await until(lambda: len(ledger.transitions(tmp_path / "state.db")) == 1)
            _swap(mount, 2, configure(tmp_path, sim).read_text())
            await until(lambda: len(ledger.transitions(tmp_path / "state.db")) == 2)
            _swap(mount, 3, "watches: [")
            await until(lambda: program.logged("config.refused"))
            assert len(program.logged("config.reloaded")) == 1
            code, _ = await program.stop(SIGTERM)
            assert code == 0, program.err


def _swap(mount, number, content):
    """As the kubelet does: a new directory, a link to it, renamed over the old link."""
    (mount / f"..{number}").mkdir()
    (mount / f"..{number}" / "monitor.yaml").write_text(content)
    (mount / "..data_tmp").symlink_to(f"..{number}")
    os.replace(mount / "..data_tmp", mount / "..data")  # noqa: PTH105 -- the call that is meant


async def test_hangups_at_any_moment_of_start_and_stop_do_no_harm(tmp_path):
    async with simulator.running(SCENARIO) as sim:
        config = configure(tmp_path, sim)
        async with running("run", "-c", config, directory=tmp_path) as program:
            hangups = 0

            async def hang_up():
                nonlocal hangups
                while program.alive:
                    hangups += 1
                    with suppress(ProcessLookupError):  # it may have ended just now
                        program.process.send_signal(SIGHUP)
                    await anyio.sleep(0.02)

            # The process itself begins with the default, which would end it.
            await until(lambda: ledger.transitions(tmp_path / "state.db"))
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(hang_up)
                await until(lambda: len(program.logged("config.reloaded")) >= 5)
                code, _ = await program.stop(SIGTERM)
    assert code == 0, program.err
    assert hangups > len(program.logged("config.reloaded")) >= 5


async def test_a_job_type_that_is_declared_anew_takes_effect_by_itself(tmp_path):
    types, built_in = tmp_path / "types", loader.BUILT_IN / "panorama.package-import.yaml"
    types.mkdir()
    text = built_in.read_text().replace("name: panorama.", "name: own.", 1)
    own = types / "own.yaml"
    own.write_text(text)
    async with simulator.running(SCENARIO) as sim:
        watch = packages(type="own.package-import")
        config = configure(tmp_path, sim, watches=[watch], job_types_dir=str(types))
        async with running("run", "-c", config, directory=tmp_path) as program:
            url = await program.started()
            await until(lambda: len(ledger.transitions(tmp_path / "state.db")) == 1)
            assert "running: [PENDING]" in text
            own.write_text(text.replace("running: [PENDING]", "waiting: [PENDING]"))
            await until(lambda: len(ledger.transitions(tmp_path / "state.db")) == 2)
            assert await _metric(url, f"{LAST}_successful") == {(): 1.0}
            assert (await program.stop(SIGTERM))[0] == 0
        last = ledger.transitions(tmp_path / "state.db")[-1].data
    assert (last["kind"], last["sequence"]) == ("job.state_changed", 2)
    assert (last["previous"]["phase"], last["current"]["phase"]) == ("running", "waiting")
