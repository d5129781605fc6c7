"""Output that cannot be written ends every command with one line and exit code 74."""

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from monitor.cli import main
from monitor.stores.store import open_store
from tests.acceptance.program import ROOT, environment
from tests.contracts.store_examples import SettableClock, entry

pytestmark = pytest.mark.timeout(600)

FULL = (
    "error: cannot write to standard output: no space left on device"
    " (redirect it elsewhere, or free some space)\n"
)
PRINTING = [
    ["--version"],
    ["check"],
    ["check", "--output", "json"],
    ["plan"],
    ["iam-policy"],
    ["jobs"],
    ["jobs", "list", "--output", "json"],
    ["transitions", "list"],
    ["deliveries", "list"],
    ["sinks", "list"],
    ["sinks", "resume", "audit"],
    ["render", "--sink", "audit", "--kind", "job.stuck"],
    ["replay", "--sink", "audit", "--dry-run"],
    ["types", "list"],
    ["types", "show", "importexport.job"],
    ["types", "lint", str(ROOT / "monitor/sources/job_types/importexport.job.yaml")],
    ["version"],
    ["demo", "--duration", "1s"],
    ["simulate", "--listen", "127.0.0.1:0", "--receiver", "127.0.0.1:0"],
]


def _every(command, path=()):
    yield [*path, "--help"]
    for name, inner in getattr(command, "commands", {}).items():
        yield from _every(inner, (*path, name))


HELP = list(_every(typer.main.get_command(main.app)))


def _read(path):
    return Path(path).read_text() if path != "/dev/full" else ""


@pytest.fixture
def give(tmp_path):
    """Return a function from command lines to their exit codes and what they said."""
    config = tmp_path / "monitor.yaml"
    config.write_text(
        "watches: [{name: w, type: importexport.job, discover: true}]\n"
        f"sinks: {{audit: {{type: log}}}}\nstore: sqlite://{tmp_path}/state.db\n"
    )

    async def record():
        async with open_store(f"sqlite://{tmp_path}/state.db", SettableClock()) as store:
            await store.record(entry())

    asyncio.run(record())

    def given(lines, out="/dev/full", err=None):
        asked = [
            {"arguments": line, "out": out, "err": err or str(tmp_path / f"err{number}")}
            for number, line in enumerate(lines)
        ]
        done = subprocess.run(
            [sys.executable, Path(__file__).with_name("cli_child.py"), json.dumps(asked)],
            env=environment(JOB_MONITOR_CONFIG=str(config), TERM="dumb", PYTHONPATH=str(ROOT)),
            capture_output=True,
            text=True,
            check=True,
            cwd=tmp_path,
        )
        return json.loads(done.stdout), [_read(each["err"]) for each in asked]

    return given


def test_a_full_disk_ends_every_command_with_one_line(give):
    assert len(HELP) > 25
    lines = [*HELP, *PRINTING]
    codes, told = give(lines)
    for line, code, text in zip(lines, codes, told, strict=True):
        assert (line, code, text) == (line, 74, FULL)


def test_a_stream_that_is_closed_is_no_other_file(tmp_path):
    config = tmp_path / "monitor.yaml"
    config.write_text(f"sinks: {{a: {{type: log}}}}\nstore: sqlite://{tmp_path}/state.db\n")
    given = f"{sys.executable} -m monitor check -c {config} >&-"
    # What the tests add to Python itself would open a file of its own in its place.
    bare = {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"}
    done = subprocess.run(
        ["bash", "-c", given], capture_output=True, text=True, check=False, env=bare
    )
    assert done.returncode == 74
    assert done.stderr.splitlines(keepends=True)[-1] == (
        "error: cannot write to standard output: bad file descriptor"
        " (redirect it elsewhere, or free some space)\n"
    )


def test_a_reader_that_leaves_is_told_nothing():
    given = f"{sys.executable} -m monitor --help | head -1; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(
        ["bash", "-c", given], capture_output=True, text=True, check=True, env=environment()
    )
    assert done.stderr == ""
    assert done.stdout.splitlines()[-1] in {"0", "74"}  # a fast reader may have taken all


def test_a_mistake_keeps_its_exit_code_where_nothing_can_be_said(give):
    assert give([["nope"], ["check", "-c", "absent.yaml"]], err="/dev/full")[0] == [2, 2]


def test_the_log_goes_on_once_its_disk_has_room_again(tmp_path):
    child = (
        "import resource\n"
        "from monitor import logs\n"
        "from monitor.cli import streams\n"
        "streams.prepare()\n"
        "logs.configure('json', 'info')\n"
        "unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)\n"
        "logs.get().info('before')\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (150, unlimited[1]))\n"
        "for number in range(300):\n"
        "    logs.get().info(f'full {number}')\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)\n"
        "logs.get().info('after')\n"
        "streams.finish()\n"
    )
    log = tmp_path / "log"
    with log.open("wb") as file:
        done = subprocess.run(
            [sys.executable, "-c", child], stderr=file, check=False, env=environment(), cwd=ROOT
        )
    lines = log.read_text().splitlines()
    assert done.returncode == 0
    assert json.loads(lines[0])["event"] == "before"
    assert json.loads(lines[-1])["event"] == "after"  # on a line of its own
    assert len(lines) < 20  # what was lost meanwhile stays lost
