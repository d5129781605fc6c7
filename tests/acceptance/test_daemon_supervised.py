"""The daemon under a service manager: what it says on the socket, and the unit that is shipped."""

import os
import re
import shutil
import socket
import subprocess
import sys
from contextlib import closing, contextmanager
from signal import SIGHUP, SIGTERM

import anyio
import pytest

from monitor import simulator
from monitor.runtime.systemd import Supervisor
from tests.acceptance.program import ROOT, configure, packages, running, until

UNIT = ROOT / "deploy" / "systemd" / "job-monitor.service"
MOST_EXPOSED = 2.0
JOBS = {"jobs": [{"id": "pkg", "service": "panorama"}]}

pytestmark = pytest.mark.timeout(600)


class Manager:
    """A service manager's end of the socket."""

    def __init__(self, address, own):
        self.address = address
        self._own = own
        self.told = []

    def hear(self):
        """Take what has been told since; return all of it, line by line."""
        while True:
            try:
                self.told += self._own.recv(4096).decode().splitlines()
            except BlockingIOError:
                return self.told

    async def until_told(self, line, times=1):
        await until(lambda: self.hear().count(line) >= times)


@contextmanager
def managing(name):
    """Listen on a path, or on an abstract name that begins with ``@``."""
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as own:
        own.bind(name.replace("@", "\0", 1) if name.startswith("@") else name)
        own.setblocking(False)  # noqa: FBT003 -- its own form
        yield Manager(name, own)


async def test_it_tells_when_it_is_ready_reloads_lives_and_stops(tmp_path):
    with managing(str(tmp_path / "notify")) as manager:
        async with simulator.running(JOBS) as sim:
            config = configure(tmp_path, sim, watches=[packages()], sinks={})
            variables = {"NOTIFY_SOCKET": manager.address, "WATCHDOG_USEC": "3000000"}
            async with running("run", "-c", config, directory=tmp_path, **variables) as program:
                await manager.until_told("READY=1")
                await program.started()
                await manager.until_told("WATCHDOG=1", times=3)
                assert "RELOADING=1" not in manager.told
                program.process.send_signal(SIGHUP)
                await manager.until_told("RELOADING=1")
                await manager.until_told("READY=1", times=2)
                config.write_text("watches: nonsense\n")
                program.process.send_signal(SIGHUP)
                await until(lambda: program.logged("config.refused"))
                await manager.until_told("READY=1", times=3)
                assert "STOPPING=1" not in manager.told
                assert (await program.stop(SIGTERM))[0] == 0
        told = manager.hear()
    assert told.index("STOPPING=1") > told.index("WATCHDOG=1")
    moments = [line for line in told if line.startswith("MONOTONIC_USEC=")]
    assert len(moments) == told.count("RELOADING=1") >= 2


async def test_without_a_manager_it_runs_as_ever_and_a_lost_one_does_no_harm(tmp_path):
    async with simulator.running(JOBS) as sim:
        config = configure(tmp_path, sim, watches=[packages()], sinks={})
        lost = {"NOTIFY_SOCKET": str(tmp_path / "gone"), "WATCHDOG_USEC": "100000"}
        for variables in ({}, lost):
            async with running("run", "-c", config, directory=tmp_path, **variables) as program:
                await program.started()
                assert (await program.stop(SIGTERM))[0] == 0


async def test_a_scheduler_that_goes_round_no_more_starves_the_watchdog():
    age, asked = [99.0], [0]

    def last_pass_age():
        asked[0] += 1
        return age[0]

    with managing(f"@job-monitor-test-{os.getpid()}") as manager:
        variables = {"NOTIFY_SOCKET": manager.address, "WATCHDOG_USEC": "90000"}
        supervisor = Supervisor(variables)
        with anyio.fail_after(60):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(supervisor.feed, last_pass_age)
                await until(lambda: asked[0] >= 5)
                assert manager.hear() == []
                age[0] = 0.01
                await manager.until_told("WATCHDOG=1", times=2)
                tasks.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("variables", "limit"),
    [
        ({"NOTIFY_SOCKET": "/x", "WATCHDOG_USEC": "60000000"}, 60.0),
        ({"NOTIFY_SOCKET": "/x", "WATCHDOG_USEC": "60000000", "WATCHDOG_PID": "7"}, 60.0),
        ({"NOTIFY_SOCKET": "/x", "WATCHDOG_USEC": "60000000", "WATCHDOG_PID": "8"}, None),
        ({"NOTIFY_SOCKET": "/x", "WATCHDOG_USEC": "soon"}, None),
        ({"NOTIFY_SOCKET": "/x", "WATCHDOG_USEC": "0"}, None),
        ({"NOTIFY_SOCKET": "vsock:2:1", "WATCHDOG_USEC": "60000000"}, None),
        ({"WATCHDOG_USEC": "60000000"}, None),
    ],
)
def test_the_watchdog_is_the_one_that_the_manager_set_for_this_process(variables, limit):
    assert Supervisor(variables, pid=7).limit == limit


def _analysed(*arguments):
    if shutil.which("systemd-analyze") is None:
        lacking = "systemd-analyze is not installed"
        (pytest.fail if os.environ.get("CI") else pytest.skip)(lacking)
    command = ["systemd-analyze", "--no-pager", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_unit_that_is_shipped_exposes_little():
    done = _analysed("security", "--offline=true", UNIT)
    (exposure,) = re.findall(r"Overall exposure level for \S+: ([0-9.]+)", done.stdout)
    assert float(exposure) < MOST_EXPOSED


def test_the_unit_that_is_shipped_has_no_mistake(tmp_path):
    text = UNIT.read_text()
    program = "/opt/job-monitor/bin/job-monitor"
    assert f"ExecStart={program} run" in text
    assert "Type=notify" in text
    assert "WatchdogSec=60" in text
    copy = tmp_path / UNIT.name
    copy.write_text(text.replace(program, sys.executable))
    done = _analysed("verify", "--man=no", copy)
    assert UNIT.name not in done.stderr
    copy.write_text(copy.read_text().replace("PrivateTmp=yes", "PrivateTemp=yes"))
    assert "PrivateTemp" in _analysed("verify", "--man=no", copy).stderr
