"""``job-monitor demo``: what a newcomer runs first, on whatever machine."""

import asyncio
import os
import pty
import re
import sys
from signal import SIGINT

import pytest

from tests.acceptance.program import PATIENCE, ROOT, environment, fetch, running, until
from tests.acceptance.test_daemon_stop import IN_TIME

pytestmark = pytest.mark.timeout(600)

LINE = re.compile(
    r"^[0-9:]{8} UTC  (panorama\.package-import|importexport\.job)/\S+ +\S.*", re.MULTILINE
)
CHANGE = re.compile(r"\S+ -> \S+")
ESCAPE = "\x1b["


async def test_the_demo_shows_transitions_and_ends_by_itself(tmp_path, made_events):
    lines = 0
    for duration in ("12s", "50s"):  # the longer one for a busy machine; its AWS is in trouble
        async with running("demo", "--duration", duration, directory=tmp_path) as program:
            code = await program.ended()
        assert code == 0
        assert program.err == "" or duration == "50s"
        assert "Traceback" not in program.err
        lines += len(LINE.findall(program.out))
        if len(CHANGE.findall(program.out)) >= 3:
            break
    assert len(LINE.findall(program.out)) >= 3
    assert len(CHANGE.findall(program.out)) >= 3
    assert made_events.check() == lines
    assert re.search(r"^\d+ transitions; \d+ webhooks sent$", program.out, re.MULTILINE)
    assert ESCAPE not in program.out


async def test_its_addresses_answer_and_ctrl_c_ends_it_well(tmp_path):
    async with running("demo", directory=tmp_path) as program:
        await program.said("Ctrl-C")
        page, metrics, aws, receiver = re.findall(r"http://127\.0\.0\.1:\d+\S*", program.out)
        assert "<h1" in (await fetch(page))[2]
        assert "job_monitor_build_info" in (await fetch(metrics))[2]
        assert (await fetch(f"{aws}/_simulator/health"))[0] == 200
        assert (await fetch(receiver))[0] == 204
        await program.said("discovered")
        code, took = await program.stop(SIGINT)
    assert (code, program.err) == (0, "")
    assert took < IN_TIME
    assert "webhooks sent" in program.out


async def test_it_heeds_nothing_of_the_aws_set_up(tmp_path):
    nonsense = {
        "AWS_PROFILE": "nonexistent",
        "AWS_ACCESS_KEY_ID": "nonsense",
        "AWS_SESSION_TOKEN": "nonsense",
        "AWS_REGION": "mars-north-1",
        "AWS_DEFAULT_REGION": "mars-north-1",
        "AWS_CONFIG_FILE": "/nonexistent",
        "AWS_ENDPOINT_URL": "http://127.0.0.1:1",
        "AWS_ENDPOINT_URL_PANORAMA": "http://127.0.0.1:1",
        "AWS_CA_BUNDLE": "/nonexistent",
        "AWS_ROLE_ARN": "nonsense",
        "AWS_WEB_IDENTITY_TOKEN_FILE": "/nonexistent",
        "AWS_USE_FIPS_ENDPOINT": "true",
        "JOB_MONITOR_STORE": "nonsense",
        "JOB_MONITOR_CONFIG": "/nonexistent",
        "HTTP_PROXY": "http://127.0.0.1:1",
        "http_proxy": "http://127.0.0.1:1",
    }
    async with running("demo", directory=tmp_path, **nonsense) as program:
        await _until_changed(program)
        assert (await program.stop(SIGINT))[0] == 0
    assert program.err == ""


async def _until_changed(program):
    """Both kinds of jobs were seen, and one changed."""
    await until(lambda: CHANGE.search(program.out) or not program.alive)
    await program.said("panorama.package-import/")
    await program.said("importexport.job/")


@pytest.mark.parametrize("home", [None, "/proc/nonexistent", "/sys"])
async def test_it_needs_no_home_and_no_place_to_write_but_the_temporary_one(tmp_path, home):
    async with running("demo", directory=tmp_path, cwd="/proc", HOME=home) as program:
        await _until_changed(program)
        assert (await program.stop(SIGINT))[0] == 0
    assert program.err == ""


async def test_it_leaves_no_file_behind(tmp_path):
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    async with running("demo", directory=tmp_path, TMPDIR=str(scratch)) as program:
        await program.said("discovered")
        assert list(scratch.iterdir())
        await program.stop(SIGINT)
    assert list(scratch.iterdir()) == []


async def test_on_a_terminal_it_is_coloured():
    """Colours only where somebody looks, and Ctrl-C typed there ends it."""
    leader, follower = pty.openpty()
    arguments = (sys.executable, "-m", "monitor", "demo")
    env = environment(TERM="xterm-256color", NO_COLOR=None)
    process = await asyncio.create_subprocess_exec(
        *arguments, stdin=follower, stdout=follower, stderr=follower, env=env, cwd=ROOT
    )
    os.close(follower)
    try:
        shown = await asyncio.to_thread(_read_until, leader, "->")
        process.send_signal(SIGINT)
        async with asyncio.timeout(PATIENCE):
            rest = await asyncio.to_thread(_read_until, leader, "webhooks sent")
            assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        os.close(leader)
    assert ESCAPE in shown
    assert "Traceback" not in shown + rest


def _read_until(terminal, text):
    shown = ""
    while text not in shown:
        try:
            shown += os.read(terminal, 4096).decode(errors="replace")
        except OSError:  # the other side was closed
            break
    return shown
