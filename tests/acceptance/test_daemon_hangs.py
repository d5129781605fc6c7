"""Being told to stop while something never answers: it ends in time, and says what it was."""

import asyncio
import os
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from signal import SIGHUP, SIGTERM

import anyio
import pytest

from monitor import simulator
from tests.acceptance import ledger
from tests.acceptance.program import (
    PATIENCE,
    ROOT,
    configure,
    environment,
    packages,
    running,
    until,
)
from tests.acceptance.test_daemon_credentials import hanging_helper, has_ended
from tests.acceptance.test_daemon_stop import IN_TIME

pytestmark = pytest.mark.timeout(600)


def _replace_by_pipe(path):
    path.unlink(missing_ok=True)
    os.mkfifo(path)


@contextmanager
def _reading(pipe):
    """Yield what says whether somebody has begun to read a pipe; nothing is ever written."""
    writers = []

    def has_begun():
        try:
            writers.append(os.open(pipe, os.O_WRONLY | os.O_NONBLOCK))
        except OSError:  # nobody reads
            return False
        return True

    try:
        yield has_begun
    finally:
        for writer in writers:
            os.close(writer)


async def test_it_ends_while_its_configuration_is_a_pipe_that_nobody_writes(tmp_path):
    async with simulator.running({"jobs": [{"id": "pkg", "service": "panorama"}]}) as sim:
        config = configure(tmp_path, sim)
        async with running("run", "-c", config, directory=tmp_path) as program:
            await program.started()
            await until(lambda: ledger.transitions(tmp_path / "state.db"))
            _replace_by_pipe(config)
            program.process.send_signal(SIGHUP)
            with _reading(config) as has_begun:
                await until(has_begun)
                code, took = await program.stop(SIGTERM)
    assert took < IN_TIME
    assert code == 74
    assert "daemon.stopped" in program.err
    assert program.err.splitlines()[-1] == (
        f"error: ended without waiting any longer for {config}, which does not answer"
        " (nothing is lost; what is missing is polled again after the next start)"
    )


async def test_it_ends_while_a_file_of_job_types_never_answers(tmp_path):
    types = tmp_path / "types"
    types.mkdir()
    async with simulator.running() as sim:
        config = configure(tmp_path, sim, job_types_dir=str(types))
        async with running("run", "-c", config, directory=tmp_path) as program:
            await program.started()
            _replace_by_pipe(types / "acme.yaml")
            program.process.send_signal(SIGHUP)
            with _reading(types / "acme.yaml") as has_begun:
                await until(lambda: has_begun() or "config.refused" in program.err)
                code, took = await program.stop(SIGTERM)
    assert took < IN_TIME
    # A type may also be refused at once, as it is no regular file; then nothing hangs.
    assert code == (0 if "config.refused" in program.err else 74)
    assert str(types / "acme.yaml") in program.err


@contextmanager
def _pipe():
    """Yield the end to write to of a pipe that nobody reads."""
    reader, writer = os.pipe()
    try:
        yield writer
    finally:
        os.close(reader)
        os.close(writer)


def _fill(pipe):
    """Let a pipe take no more; who writes to it waits from now on."""
    # Opened anew: whether it waits is a matter of the end that all who have it share.
    own = os.open(f"/proc/self/fd/{pipe}", os.O_WRONLY | os.O_NONBLOCK)
    try:
        for size in (4096, 1):
            with suppress(BlockingIOError):
                while True:
                    os.write(own, b"x" * size)
    finally:
        os.close(own)


@pytest.mark.parametrize("signals", [1, 2])
async def test_it_ends_while_nobody_reads_what_it_logs(tmp_path, signals):
    """The event loop, and the main thread with it, waits for room in the pipe.

    A credential helper that runs at that time must not be left behind.
    """
    pids = hanging_helper(tmp_path)
    async with simulator.running() as sim:
        slow = {"profile": "slow", "endpoint_urls": {"panorama": sim.url}}
        watch = packages(name="slow", account="slow", discover=False, jobs=["a"])
        config = configure(tmp_path, sim, accounts={"slow": slow}, watches=[watch])
        with _pipe() as pipe:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "monitor", "run", "-c", str(config)),
                stdout=pipe,
                stderr=pipe,
                cwd=tmp_path,
                env=environment(AWS_CONFIG_FILE=str(tmp_path / "aws")),
            )
            try:
                await until(lambda: pids.exists() and pids.read_text().endswith("\n"))
                _fill(pipe)  # a line comes at the latest when it stops
                began = time.monotonic()
                for _ in range(signals):
                    process.send_signal(SIGTERM)
                    await anyio.sleep(0.3)  # two at once are one to the system
                with anyio.fail_after(PATIENCE):
                    code = await process.wait()
            finally:
                if process.returncode is None:
                    process.kill()
                    await process.wait()
    # The process keeps the time itself: with 130 it has not waited for what hangs.
    assert code == (74, 130)[signals - 1]
    assert signals == 2 or time.monotonic() - began > 5
    helpers = pids.read_text().split()
    assert len(helpers) == 2
    await until(lambda: all(map(has_ended, helpers)))


_CHILD = """
import os, signal, time
from monitor.cli import signals

def changing(frame):
    raise RuntimeError("dictionary changed size during iteration")

signals.LONGEST_STOP = 0.5
signals._path_in = changing
signals.prepare()
try:
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(30)
except SystemExit:
    time.sleep(30)
"""


def test_it_ends_though_nobody_can_say_what_it_waits_for():
    """The threads that it looks into go on meanwhile, so that a look may fail."""
    done = subprocess.run(
        [sys.executable, "-c", _CHILD],
        capture_output=True,
        text=True,
        check=False,
        timeout=90,
        env=environment(),
        cwd=ROOT,
    )
    assert done.returncode == 74
    assert done.stderr.startswith("error: ended without waiting any longer for what does not ans")
