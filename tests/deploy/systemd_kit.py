"""A systemd of its own: the real one, as the first process of a new set of namespaces.

Its root is a copy of this machine's, written to in memory alone, so what it and its services do to
files is gone with it. It takes root and Linux's namespaces, as a container engine does.
"""

import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.acceptance.program import PATIENCE
from tests.deploy import systemd_first
from tests.deploy.systemd_first import PATH, PROGRAM, SHARED

__all__ = ["SHARED", "Systemd", "running"]

_CGROUPS = Path("/sys/fs/cgroup")
_INSTALLING = 800.0


def needed():
    """Skip where there is no systemd to run; in CI that is a failure."""
    lacking = [str(PROGRAM)] if not PROGRAM.exists() else []
    lacking += [each for each in ("unshare", "nsenter", "systemctl") if shutil.which(each) is None]
    lacking += ["root"] if os.geteuid() else []
    if lacking:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(f"needed: {lacking}")


class Systemd:
    """One that runs; commands are run beside its services."""

    def __init__(self, pid):
        self._pid = pid

    def run(self, *command, cwd="/", seconds=PATIENCE):
        """Run a command to its end; return what it printed."""
        done = self.attempt(*command, cwd=cwd, seconds=seconds)
        if done.returncode:
            journal = self.attempt("journalctl", "--no-pager", "--lines=40").stdout
            pytest.fail(f"{command}\n{done.stdout}{done.stderr}\n{journal}")
        return done.stdout

    def attempt(self, *command, cwd="/", seconds=PATIENCE):
        """Run a command to its end, however it ends; return the whole result."""
        enter = ["nsenter", f"--target={self._pid}", f"--wdns={cwd}", "-m", "-p", "-i", "-u", "-C"]
        passed = {k: v for k, v in os.environ.items() if k.startswith(("PIP_", "SSL_"))}
        return subprocess.run(
            [*enter, *map(str, command)],
            capture_output=True,
            text=True,
            env={**passed, "PATH": PATH, "HOME": "/root", "LC_ALL": "C.UTF-8"},
            timeout=seconds,
            check=False,
        )

    def script(self, text, cwd, env):
        """Run the commands of a document as they stand, up to the first that fails."""
        given = [f"{name}={value}" for name, value in env.items()]
        command = ("env", *given, "bash", "-euxo", "pipefail", "-c", text)
        return self.run(*command, cwd=cwd, seconds=_INSTALLING)

    def write(self, path, text):
        """Write a file, readable by everybody."""
        Path(self.inside(path)).parent.mkdir(parents=True, exist_ok=True)
        Path(self.inside(path)).write_text(text)

    def inside(self, path):
        """Return how this process reaches a path that systemd sees."""
        return Path(f"/proc/{self._pid}/root{path}")

    def shown(self, unit, name):
        """Return a property of a unit."""
        return self.run("systemctl", "show", "--value", f"--property={name}", unit).strip()

    def logged(self, unit):
        """Return the journal of a unit."""
        return self.run("journalctl", "--no-pager", "--output=cat", f"--unit={unit}")


@contextmanager
def running(directory, shared):
    """Start systemd; it ends, and all that it started with it, at the end.

    ``directory`` is for what it needs, ``shared`` is what it sees at SHARED.
    """
    needed()
    place = directory / "place"
    place.mkdir()
    groups = _own_groups()
    apart = ("--pid", "--mount", "--ipc", "--uts", "--cgroup", "--fork", "--kill-child")
    command = [*_entering(groups), "unshare", *apart]
    become = [sys.executable, systemd_first.__file__, place, shared]
    output = directory / "systemd.log"
    with output.open("wb") as log:
        process = subprocess.Popen(
            [*command, *become],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env={"PATH": PATH},
        )
    try:
        manager = Systemd(_first_child(process, output))
        _until_up(manager, process, output)
        yield manager
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait(PATIENCE)
        _remove(groups)


def _first_child(process, output):
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    end = time.monotonic() + PATIENCE
    while True:
        assert process.poll() is None, output.read_text()
        assert time.monotonic() < end, output.read_text()
        if found := children.read_text().split():
            return int(found[0])
        time.sleep(0.02)


def _until_up(manager, process, output):
    end = time.monotonic() + PATIENCE
    while manager.attempt("systemctl", "is-active", "up.target").stdout != "active\n":
        assert process.poll() is None, output.read_text()
        assert time.monotonic() < end, output.read_text()
        time.sleep(0.1)


def _own_groups():
    """Make a control group below that of this process, in each hierarchy that allows it."""
    made = []
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        place = controllers.removeprefix("name=") or "unified"
        for root in (_CGROUPS / place, _CGROUPS):
            group = root / path.lstrip("/") / f"systemd-tests-{os.getpid()}"
            if (group.parent / "cgroup.procs").exists():
                with suppress(OSError):
                    group.mkdir()
                    made.append(group)
                break
    return made


def _entering(groups):
    """Return a command that enters the groups, and runs the one behind it there."""
    # cpuset takes nobody before it has processors; systemd can do without.
    enter = [f"echo $$ > {shlex.quote(str(group))}/cgroup.procs || true" for group in groups]
    return ["sh", "-c", "\n".join([*enter, 'exec "$@"']), "sh"]


def _remove(groups):
    """Remove the groups, in which nobody is any more but for a moment."""
    for group in groups:
        for place in [*sorted(group.rglob("*/"), reverse=True), group]:
            for _ in range(1500):
                with suppress(OSError):
                    place.rmdir()
                    break
                time.sleep(0.02)
