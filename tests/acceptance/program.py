"""The real program as a process of its own, and what it needs to run beside a simulator."""

import asyncio
import itertools
import json
import os
import sys
import tempfile
import time
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import anyio

from tests import forks
from tests.made import search_path

ROOT = Path(__file__).parents[2]
SECRET = "whsec_YWNjZXB0YW5jZS10ZXN0cy1vZi1hLW1vbml0b3I="
FAST = {"rate": 200, "burst": 200}
NO_AUTHORITIES = {"SSL_CERT_FILE": os.devnull}
"""For those who connect to nobody whom a public authority certifies: to read all of these takes
20 ms for each context of TLS, and so for each webhook."""
PATIENCE = 100.0
"""Seconds that anything may take on a slow machine before it counts as hung."""

_NUMBERS = itertools.count(1)
# Restarts are many, and some machines forbid bytecode beside the sources.
_BYTECODE = Path(tempfile.gettempdir()) / f"job-monitor-tests-bytecode-{os.getuid()}"


def environment(**changes):
    """The present environment without anything that would reach the program by accident."""
    hidden = ("AWS_", "JOB_MONITOR_", "PYTEST_", "PYTHONDONTWRITEBYTECODE", "PYTHONPATH")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(hidden)}
    own = {
        "AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE",
        "AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
        "PYTHONPATH": search_path(ROOT),
        "PYTHONPYCACHEPREFIX": str(_BYTECODE),
    }
    merged = {**kept, **own, **changes}
    return {name: value for name, value in merged.items() if value is not None}


class Program:
    """One process, whose output goes to files, so that it can never block."""

    def __init__(self, process, out, err):
        self.process = process
        self.out_file = out
        self.err_file = err
        self._log = []
        self._parsed = 0

    @property
    def out(self):
        return self.out_file.read_text()

    @property
    def err(self):
        return self.err_file.read_text()

    @property
    def alive(self):
        return self.process.returncode is None

    @property
    def log(self):
        """The whole lines of its log, as values."""
        # Only what is new is parsed: some tests ask for this all the time.
        with self.err_file.open("rb") as file:
            file.seek(self._parsed)
            for line in file:
                if line.endswith(b"\n"):
                    self._log.append(json.loads(line))
                    self._parsed += len(line)
        return list(self._log)

    def logged(self, event):
        return [line for line in self.log if line["event"] == event]

    async def said(self, text):
        """Wait until it has printed a text on standard output."""
        await until(lambda: text in self.out or not self.alive)
        assert text in self.out, self.err

    async def started(self):
        """Wait until the daemon says that it runs; return its URL."""
        await until(lambda: "daemon.started" in self.err or not self.alive)
        assert self.alive, self.err
        (line,) = self.logged("daemon.started")
        return line["url"]

    async def ended(self):
        """Wait for its end; return the exit code."""
        with anyio.fail_after(PATIENCE):
            return await self.process.wait()

    async def stop(self, signal):
        """Send a signal; return the exit code and how many seconds the end took."""
        began = time.monotonic()
        self.process.send_signal(signal)
        code = await self.ended()
        return code, time.monotonic() - began

    async def kill(self):
        """Kill it, if it lives still; say whether it did."""
        lived = self.alive
        if lived:
            self.process.kill()
        with anyio.fail_after(PATIENCE, shield=True):
            await self.process.wait()
        return lived and self.process.returncode == -9


@asynccontextmanager
async def running(*arguments, directory, cwd=None, prefix=(), anew=False, **env):
    """Run ``python -m monitor`` with these arguments; killed at the end, if not over before.

    ``prefix`` is a command that runs it, such as one that takes privileges away. The process is
    forked from one that has imported the program, unless it is to be started ``anew``.
    """
    number = next(_NUMBERS)
    out, err = directory / f"{number}.out", directory / f"{number}.err"
    merged = environment(**{**NO_AUTHORITIES, **env})
    given, cwd = list(map(str, arguments)), cwd or directory
    with out.open("wb") as stdout, err.open("wb") as stderr:
        if anew or prefix or not forks.can(merged):
            process = await asyncio.create_subprocess_exec(
                *(*prefix, sys.executable, "-m", "monitor", *given),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                cwd=cwd,
                env=merged,
            )
        else:
            process = await forks.fork(given, cwd=cwd, env=merged, out=stdout, err=stderr)
    program = Program(process, out, err)
    try:
        yield program
    finally:
        await program.kill()


async def run(*arguments, directory, **how):
    """Run a command to its end; return the exit code, its output and its errors."""
    async with running(*arguments, directory=directory, **how) as program:
        code = await program.ended()
        return code, program.out, program.err


async def until(condition, seconds=PATIENCE):
    """Wait until a condition holds; its failure is a TimeoutError."""
    with anyio.fail_after(seconds):
        while True:
            began = time.thread_time()
            if condition():
                return
            # A condition that is much work must not take the machine from what it waits for.
            await anyio.sleep(max(0.02, 9 * (time.thread_time() - began)))


async def fetch(url):
    """GET a page; return status, headers and text."""
    async with aiohttp.ClientSession() as session, session.get(url) as response:
        return response.status, response.headers, await response.text()


def configure(directory, sim, **changes):
    """Write a configuration for one simulator, with every key of ``changes`` replaced."""
    secret = directory / "hook-secret"
    secret.write_text(SECRET)
    settings = {
        "accounts": {"sim": {"endpoint_urls": {"panorama": sim.url, "importexport": sim.url}}},
        "watches": [packages(), disks()],
        "sinks": {"hook": webhook(sim, secret_files=[str(secret)])},
        "quotas": {"panorama": FAST, "importexport": FAST},
        "store": f"sqlite://{directory}/state.db",
        "server": {"listen": "127.0.0.1:0"},
        **changes,
    }
    file = directory / "monitor.yaml"
    file.write_text(json.dumps(settings, indent=2))
    return file


def packages(**changes):
    return {
        "name": "packages",
        "type": "panorama.package-import",
        "account": "sim",
        "regions": ["us-east-1"],
        "discover": True,
        "interval": "400ms",
        **changes,
    }


def disks(**changes):
    return {
        "name": "disks",
        "type": "importexport.job",
        "account": "sim",
        "discover": True,
        "interval": "400ms",
        **changes,
    }


def webhook(sim, name="hook", **changes):
    return {
        "type": "webhook",
        "url": f"{sim.receiver_url}/hook/{name}",
        "allow_http": True,
        "allow_networks": ["127.0.0.0/8"],
        **changes,
    }
