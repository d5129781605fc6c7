"""The commands of the documents that need a daemon with something to tell, as they stand."""

import asyncio
import base64
import os
import shlex
import subprocess
from contextlib import asynccontextmanager

import pytest
import yaml

from monitor import simulator
from tests import forks
from tests.acceptance.program import SECRET, environment, running, until
from tests.docs import pages

pytestmark = pytest.mark.timeout(600)

SCENARIO = {
    "jobs": [
        {"id": "EX1ID", "service": "importexport"},
        {"id": "one", "service": "panorama"},
        {"id": "two", "service": "panorama"},
    ]
}
REFUSING = {"status": 400}
GONE = {"status": 410}
TAKING = {"status": 204, "secrets": [SECRET]}


def commands(page, word):
    """Return the block of a page in which a word is, line by line."""
    blocks = pages.command_blocks((pages.ROOT / page).read_text())
    [block] = [block for block in blocks if word in block.text]
    return block.text.splitlines()


class Shell:
    """Where the commands are given, beside the configuration of the README."""

    def __init__(self, directory, sim):
        self._directory = directory
        self._config = directory / "job-monitor.yaml"
        self._config.write_text(settings(directory, sim))
        (directory / "bin").mkdir()
        program, self._descriptors = forks.command(environment())
        monitor = f'exec {shlex.join(program)} "$@"'
        for name, does in (("job-monitor", monitor), ("next-step", "echo the next step")):
            program = directory / "bin" / name
            program.write_text(f"#!/bin/sh\n{does}\n")
            program.chmod(0o755)

    async def give(self, line):
        """Run a line to its end; return what it printed."""
        path = f"{self._directory / 'bin'}{os.pathsep}{os.environ['PATH']}"
        process = await asyncio.create_subprocess_exec(
            *("bash", "-c", line),
            cwd=self._directory,
            env=environment(PATH=path, JOB_MONITOR_CONFIG=str(self._config)),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            pass_fds=self._descriptors,
        )
        out, err = await process.communicate()
        assert process.returncode == 0, f"{line}\n{out.decode()}\n{err.decode()}"
        return out.decode()


def settings(directory, sim):
    """Return the settings of the README, with places and addresses of this machine."""
    readme = (pages.ROOT / "README.md").read_text()
    text = readme.partition("```yaml\n")[2].partition("```")[0]
    (directory / "hook").write_text(SECRET)
    local = f'{sim.receiver_url}/hook/ops", allow_http: true, allow_networks: [127.0.0.0/8]'
    for before, after in (
        ('https://hooks.example.com/jobs"', local),
        ("/run/secrets/hook", str(directory / "hook")),
        ("/var/lib/job-monitor", str(directory)),
        ("interval: 30s", "interval: 1s"),
    ):
        assert before in text
        text = text.replace(before, after)
    own = {
        "accounts": {"default": {"endpoint_urls": {"panorama": sim.url, "importexport": sim.url}}},
        "server": {"listen": "127.0.0.1:0"},
    }
    return text + yaml.safe_dump(own)


@asynccontextmanager
async def watching(directory, behaviour):
    """Run a daemon that has seen all jobs; the receiver of webhooks answers like this."""
    async with simulator.running(SCENARIO) as sim:
        sim.receiver.behave("ops", behaviour)
        shell = Shell(directory, sim)
        run = ("run", "--config", "job-monitor.yaml")
        async with running(*run, directory=directory) as daemon:
            await daemon.started()
            await until(lambda: len(daemon.logged("job.transitioned")) == 3)
            yield sim, shell, daemon


def told(sim):
    return [each.text for each in sim.truth.received if each.accepted]


async def test_the_commands_of_the_readme(tmp_path):
    check, plan, policy, doctor, *rest = commands("README.md", "send-test")
    run, show, wait, jobs, test, dead, replay = rest
    assert run == "job-monitor run --config job-monitor.yaml"
    async with watching(tmp_path, REFUSING) as (sim, shell, daemon):
        assert "The configuration is valid." in await shell.give(check)
        assert " 164160 " in await shell.give(plan)  # 1.9 pages a second: 95 % of the quota
        assert "panorama:ListPackageImportJobs" in await shell.give(policy)
        assert "ok" in await shell.give(doctor)
        assert "EX1ID" in await shell.give(show)
        sim.change("EX1ID", ProgressCode="Complete")
        assert (await shell.give(wait)).endswith("the next step\n")
        sim.change("one", Status="FAILED")
        await until(lambda: daemon.logged("delivery.dead"))
        assert " failed " in await shell.give(jobs)
        assert "/one" in await shell.give(dead)
        sim.receiver.behave("ops", TAKING)
        await shell.give(test)
        [event] = told(sim)
        assert '"test"' in event
        await shell.give(replay)
        await until(lambda: len(told(sim)) == 2)
        assert '"FAILED"' in told(sim)[-1]


async def test_the_commands_for_a_parked_sink(tmp_path):
    listing, resume = commands("docs/sinks.md", "sinks resume")
    async with watching(tmp_path, GONE) as (sim, shell, daemon):
        sim.change("one", Status="FAILED")
        await until(lambda: daemon.logged("sink.parked"))
        assert "parked" in await shell.give(listing)
        sim.receiver.behave("ops", TAKING)
        await shell.give(resume)
        await until(lambda: len(told(sim)) == 1)
        assert "parked" not in await shell.give(listing)


async def test_the_commands_that_send_again(tmp_path):
    dry, everything, chosen, delivered = commands("docs/sinks.md", "replay --sink ops --dry-run")
    async with watching(tmp_path, REFUSING) as (sim, shell, daemon):
        for number, (job, command) in enumerate([("one", everything), ("two", chosen)], 1):
            sim.receiver.behave("ops", REFUSING)
            sim.change(job, Status="FAILED")
            await until(lambda number=number: len(daemon.logged("delivery.dead")) == number)
            sim.receiver.behave("ops", TAKING)
            assert f"/{job}" in await shell.give(dry)
            await shell.give(command)
            await until(lambda number=number: len(told(sim)) == number)
        await shell.give(delivered)
        await until(lambda: len(told(sim)) == 4)


def test_the_command_that_makes_a_secret(tmp_path):
    [line] = commands("docs/sinks.md", "openssl rand")
    alone = ["unshare", "--mount", *([] if os.geteuid() == 0 else ["--map-root-user"])]
    # A place for secrets that goes with the shell.
    given = f"mount -t tmpfs none /run && mkdir /run/secrets && {line} && cat /run/secrets/hook"
    done = subprocess.run(
        [*alone, "bash", "-c", given], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    kind, _, key = done.stdout.strip().partition("_")
    assert kind == "whsec"
    assert len(base64.b64decode(key, validate=True)) == 32
