"""The unit under a real systemd: installed as the documentation says, and lived with."""

import json
import re
import shutil
import sys

import anyio
import pytest

from monitor import simulator
from tests import wheels
from tests.acceptance.program import SECRET, configure, packages, until, webhook
from tests.checkout import checkout
from tests.deploy import systemd_kit
from tests.docs import pages

pytestmark = pytest.mark.timeout(900)

UNIT = "job-monitor.service"
STORE = "/var/lib/private/job-monitor/state.db"
CREDENTIAL = "/run/credentials/job-monitor.service/hook"
JOBS = {"jobs": [{"id": "one", "service": "panorama"}, {"id": "two", "service": "panorama"}]}
DROP_IN = """\
[Service]
LoadCredential=hook:/etc/job-monitor/secrets/hook
Environment=AWS_ACCESS_KEY_ID=AKIAIOSFODNN7EXAMPLE AWS_SECRET_ACCESS_KEY=example
Environment=JOB_MONITOR_SERVER__LISTEN=127.0.0.1:0
# A minute in the unit: enough for a test to wait for, but not for this one.
WatchdogSec=5
"""


def installing():
    """Return the commands that deployment.md gives for systemd."""
    blocks = pages.command_blocks((pages.ROOT / "docs" / "deployment.md").read_text())
    (found,) = [block.text for block in blocks if "systemctl enable" in block.text]
    return found


async def test_the_unit_lives_as_documented(tmp_path):
    project, state = tmp_path / "project", tmp_path / "systemd"
    for directory in (project, state):
        directory.mkdir()
    checkout(project)
    shutil.copytree(wheels.kept(), project / "wheels")  # it sees no other folder of ours
    with systemd_kit.running(state, shared=project) as systemd:
        offline = wheels.settings(f"{systemd_kit.SHARED}/wheels") if _same_python(systemd) else {}
        await anyio.to_thread.run_sync(systemd.script, installing(), systemd_kit.SHARED, offline)
        _runs(systemd)
        async with simulator.running(JOBS) as sim:
            await _reconfigured(systemd, sim, tmp_path)
            await _tells_and_reloads(systemd, sim)
            await _is_restarted_when_it_hangs(systemd, sim)
        _stays_down_after_a_mistake(systemd)


def _same_python(systemd):
    """Return whether the wheels, fetched for this Python, are good for the machine's too."""
    told = systemd.run("python3", "-c", "import sys; print(sys.version_info[:2])")
    return told.strip() == str(sys.version_info[:2])


def _runs(systemd):
    """With the example of the documentation; that it is ready is its own word."""
    assert systemd.shown(UNIT, "ActiveState") == "active"
    assert systemd.shown(UNIT, "UnitFileState") == "enabled"
    assert systemd.shown(UNIT, "NRestarts") == "0"
    assert '"daemon.started"' in systemd.logged(UNIT)
    status = systemd.inside(f"/proc/{systemd.shown(UNIT, 'MainPID')}/status").read_text()
    ids = re.search(r"Uid:\s+(.+)", status)
    assert ids
    (user,) = set(ids[1].split())
    assert int(user) >= 61184  # of those that are given for as long as a service runs
    assert re.search(r"NoNewPrivs:\s+1", status)
    assert re.search(r"CapBnd:\s+0+\n", status)
    assert re.search(r"Seccomp:\s+2", status)
    assert int(systemd.shown(UNIT, "MemoryCurrent")) < 256 * 2**20
    assert systemd.inside(STORE).exists()


async def _reconfigured(systemd, sim, directory):
    """Give it jobs to watch, a secret as documented, and a watchdog that is less patient."""
    written = configure(
        directory,
        sim,
        watches=[packages()],
        sinks={"hook": webhook(sim, secret_files=[CREDENTIAL])},
    )
    settings = json.loads(written.read_text())
    del settings["store"]  # the unit says where it is
    systemd.write("/etc/job-monitor/config.yaml", json.dumps(settings))
    systemd.write("/etc/job-monitor/secrets/hook", SECRET)
    systemd.inside("/etc/job-monitor/secrets").chmod(0o700)
    systemd.write(f"/etc/systemd/system/{UNIT}.d/test.conf", DROP_IN)
    systemd.run("systemctl", "daemon-reload")
    systemd.run("systemctl", "restart", "job-monitor")
    await until(lambda: len(_told(systemd)) == 2)


async def _tells_and_reloads(systemd, sim):
    sim.change("one", Status="SUCCEEDED")
    await until(lambda: sim.truth.received.count == 1)
    path = systemd.inside("/etc/job-monitor/config.yaml")
    settings = json.loads(path.read_text())
    settings["watches"][0]["labels"] = {"team": "vision"}
    before = systemd.shown(UNIT, "MainPID")
    path.write_text(json.dumps(settings))
    systemd.run("systemctl", "reload", "job-monitor")
    await until(lambda: '"config.reloaded"' in systemd.logged(UNIT))
    # The command that asked for the reload may still be about to end.
    await until(lambda: systemd.shown(UNIT, "ActiveState") == "active")
    assert systemd.shown(UNIT, "MainPID") == before


async def _is_restarted_when_it_hangs(systemd, sim):
    """The watchdog kills what does not move, and nothing is told twice, nor lost."""
    before = systemd.shown(UNIT, "MainPID")
    systemd.run("kill", "-STOP", before)
    sim.change("two", Status="FAILED")
    await until(lambda: systemd.shown(UNIT, "NRestarts") == "1")
    assert "watchdog" in systemd.run("journalctl", "--no-pager", f"--unit={UNIT}").lower()
    await until(lambda: sim.truth.received.count == 2)
    assert systemd.shown(UNIT, "MainPID") not in {before, "0"}
    assert _told(systemd) == {("one", 1), ("one", 2), ("two", 1), ("two", 2)}


def _told(systemd):
    """Job and sequence of each transition, as the program's own command lists them to root."""
    command = ("/opt/job-monitor/bin/job-monitor", "transitions", "list", "--kind=job.*")
    store = f"JOB_MONITOR_STORE=sqlite://{STORE}"
    listed = systemd.run("env", store, *command, "--output=json", "--config=/etc/job-monitor")
    events = [each["event"] for each in json.loads(listed)]
    told = [(event["subject"], event["data"]["sequence"]) for event in events]
    assert len(told) == len(set(told))
    return set(told)


def _stays_down_after_a_mistake(systemd):
    systemd.run("systemctl", "stop", "job-monitor")
    assert systemd.shown(UNIT, "Result") == "success"
    assert systemd.shown(UNIT, "ExecMainStatus") == "0"
    systemd.write("/etc/job-monitor/config.yaml", "watches: nonsense\n")
    assert systemd.attempt("systemctl", "start", "job-monitor").returncode
    assert systemd.shown(UNIT, "ActiveState") == "failed"
    assert systemd.shown(UNIT, "ExecMainStatus") == "2"
    assert "watches" in systemd.logged(UNIT)
