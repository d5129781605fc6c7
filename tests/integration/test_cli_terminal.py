"""Listings on a real terminal: they fit it, are drawn in place, and leave it clean."""

import re

import aiohttp
import pytest

from tests.integration.test_cli_listings import daemon
from tests.tmux import NEEDED, program, terminal

pytestmark = [pytest.mark.timeout(600), NEEDED]

JOBS = [
    {"id": f"people-counter-build-2026030{number}-site-berlin", "service": "panorama"}
    for number in range(1, 6)
]
SCENARIO = {"jobs": [*JOBS, {"id": "EX1", "service": "importexport"}]}
WATCH = "job-monitor jobs -w -l team=vision --stuck --sort age --interval 500ms"


def _rows(lines):
    return [line for line in lines if "PENDING" in line]


@pytest.mark.parametrize("columns", [80, 200])
async def test_stuck_jobs_are_watched_at_the_width_of_the_terminal(tmp_path, columns):
    async with (
        daemon(tmp_path, SCENARIO) as (url, _, sim),
        terminal(
            tmp_path,
            *("bash", "--norc", "-i"),
            columns=columns,
            rows=24,
            path=program(tmp_path),
            PS1="> ",
            JOB_MONITOR_SERVER=url,
        ) as window,
    ):
        await window.type("echo before; " + WATCH)
        await window.keys("Enter")
        lines = await window.shows(lambda lines: len(_rows(lines)) == len(JOBS))
        # It is drawn over the former screen, and nothing is wrapped.
        assert lines[0].startswith(("TYPE", "ID"))
        assert "before" not in "\n".join(lines)
        assert max(map(len, lines)) <= columns
        assert all("stuck" in row for row in _rows(lines))
        assert ("…" in "\n".join(lines)) == (columns == 80)
        assert any("Ctrl-C ends it" in line for line in lines)
        assert all(re.search(r" running +\d+[smh]\w* ", row) for row in _rows(lines))
        # What is stuck no more leaves its place.
        async with aiohttp.ClientSession() as session:
            change = {"set": {"Status": "SUCCEEDED"}}
            path = f"{sim.url}/_simulator/jobs/{JOBS[0]['id']}"
            async with session.post(path, json=change) as reply:
                assert reply.status == 200
        await window.shows(lambda lines: len(_rows(lines)) == len(JOBS) - 1)
        # Another size is taken at once.
        await window.call("resize-window", "-x", "120", "-y", "24")
        lines = await window.shows(
            lambda lines: len(_rows(lines)) == len(JOBS) - 1 and max(map(len, lines)) <= 120
        )
        # A low window shows how many there are more.
        await window.call("resize-window", "-x", "120", "-y", "6")
        await window.shows(lambda lines: any(re.search(r"… and \d more", line) for line in lines))
        await window.call("resize-window", "-x", str(columns), "-y", "24")
        await window.keys("C-c")
        lines = await window.shows(lambda lines: lines[-1] == ">")
        assert "before" in lines
        assert not _rows(lines)
        await window.type("echo code $?")
        await window.keys("Enter")
        await window.shows(lambda lines: "code 0" in lines)
        assert (await window.call("display-message", "-p", "#{cursor_flag}")).strip() == "1"


async def test_a_table_fits_and_heeds_the_wish_for_no_colours(tmp_path):
    async with (
        daemon(tmp_path, SCENARIO) as (url, _, _),
        terminal(
            tmp_path,
            *("bash", "--norc", "-i"),
            path=program(tmp_path),
            PS1="> ",
            JOB_MONITOR_SERVER=url,
        ) as window,
    ):
        for command, coloured in (
            ("job-monitor jobs --stuck", True),
            ("NO_COLOR=1 job-monitor jobs --stuck", False),
            ("NO_COLOR=1 job-monitor jobs --stuck --color always", True),
            ("job-monitor jobs --stuck --color never", False),
            ("TERM=dumb job-monitor jobs --stuck", False),
        ):
            await window.type(f"clear; {command}; echo the-end")
            await window.keys("Enter")
            lines = await window.shows(lambda lines: "the-end" in lines)
            assert len(_rows(lines)) == len(JOBS), command
            assert max(map(len, lines)) <= 80
            escaped = await window.call("capture-pane", "-p", "-e")
            assert ("\x1b[33m" in escaped) == coloured, command


async def test_an_outage_of_the_daemon_is_said_below_what_was_seen(tmp_path):
    async with daemon(tmp_path, SCENARIO) as (url, _, _):
        pass
    # The daemon has ended: the first answer must come, or it is an error.
    async with terminal(
        tmp_path, "bash", "--norc", "-i", path=program(tmp_path), PS1="> ", JOB_MONITOR_SERVER=url
    ) as window:
        await window.type(f"{WATCH}; echo code $?")
        await window.keys("Enter")
        lines = await window.shows(lambda lines: "code 69" in lines)
        assert any(line.startswith("error: ") for line in lines)
