"""Every command of the guides is run as it stands, from a clean copy of the project."""

import json
import os
import re
import signal
import subprocess
import sys
import venv
from pathlib import Path

import pip
import pytest

from tests import wheels
from tests.acceptance.program import environment
from tests.checkout import checkout
from tests.deploy.prometheus_kit import needed
from tests.docs import docker_kit, pages

pytestmark = pytest.mark.timeout(1500)

GUIDE = pages.ROOT / "docs" / "getting-started.md"
RUN = {pages.name(GUIDE), "docs/tutorial-job-type.md", *docker_kit.PAGES}
"""The documents whose ``sh run`` blocks a test below, or of test_containers.py, runs."""
PATIENCE = 1000.0
"""Seconds for all commands of a guide."""
KEEP = "curl -fsS http://127.0.0.1:4566/_simulator/received > received.json\n"
"""Added before the last block, which stops everything."""


def copy(directory):
    """Copy the project as it would be checked out, with an environment as ``make`` sets it up."""
    checkout(directory)
    # With the pip that is here: ensurepip would compile its own, which takes a third of all.
    environment_there = directory / ".venv"
    venv.create(environment_there)
    [packages] = environment_there.glob("lib/python*/site-packages")
    (packages / "pip").symlink_to(Path(pip.__file__).parent)
    # The commands themselves run without a network.
    made = ["make", "--silent", "demo", "ARGS=--help", f"PYTHON={sys.executable}"]
    env = bare(directory) | wheels.settings(wheels.kept()) | wheels.UNCOMPILED
    subprocess.run(made, cwd=directory, env=env, capture_output=True, check=True)


def bare(directory):
    """An environment in which nothing is set up yet."""
    gone = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "PYTHONPATH", "VIRTUAL_ENV", "MAKEFLAGS")
    path = os.pathsep.join(
        each
        for each in os.environ["PATH"].split(os.pathsep)
        if not Path(each).is_relative_to(pages.ROOT)
    )
    return environment(**dict.fromkeys(gone), PATH=path, TMPDIR=str(directory.parent))


def script(page):
    """Return the blocks of a page as one script, which ends at the first command that fails."""
    blocks = [block.text for block in pages.command_blocks(page.read_text()) if block.run]
    return "".join(["set -euo pipefail\n", *blocks[:-1], KEEP, blocks[-1]])


def follow(text, directory):
    """Run a script on a network of its own; return the exit code and all that it printed."""
    alone = ["unshare", "--net", *([] if os.geteuid() == 0 else ["--map-root-user"])]
    command = [
        *alone,
        sys.executable,
        str(Path(__file__).with_name("alone.py")),
        "bash",
        "-c",
        text,
    ]
    return run(command, directory, bare(directory), directory.parent / "output.txt", PATIENCE)


def run(command, directory, env, output, patience, descriptors=()):
    """Run a command, and end all that it started; return the exit code and what it printed."""
    with output.open("wb") as file:
        process = subprocess.Popen(
            command,
            cwd=directory,
            env=env,
            pass_fds=descriptors,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            start_new_session=True,
        )
        try:
            code = process.wait(patience)
        except subprocess.TimeoutExpired:
            code = -1
        finally:
            if process.poll() is None or code:
                end(process)
    return code, output.read_text()


def end(process):
    """End a script and all that it started."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return
    process.wait(60)


def test_every_block_that_is_marked_belongs_to_a_guide_that_is_run():
    marked = {
        pages.name(page)
        for page in pages.documents()
        if any(block.run for block in pages.command_blocks(page.read_text()))
    }
    assert marked == RUN


def test_the_guide_ends_with_a_webhook_told_and_an_alert_firing(tmp_path):
    for program in ("prometheus", "prometheus-alertmanager", "promtool", "amtool"):
        needed(program)
    project = tmp_path / "project"
    project.mkdir()
    copy(project)
    code, output = follow(script(GUIDE), project)
    logs = {path.name: path.read_text()[-2000:] for path in project.glob("first-steps/*.log")}
    assert code == 0, f"{output}\n{logs}"
    assert re.search(r"PENDING -> \w+", output)
    assert "The configuration is valid." in output
    taken = [each for each in received(project) if each["accepted"]]
    told, *again = [
        event
        for each in taken
        if each["name"] == "ops"
        if (event := json.loads(each["body"]))["subject"] == "my-import"
        # While the scenario throttles, a row of the listing is all that is known of the job: the
        # fields that a describe shows come later, as an update.
        and event["data"]["kind"] == "job.state_changed"
    ]
    assert all(each["id"] == told["id"] for each in again)
    assert told["data"]["current"] == {"state": "FAILED", "phase": "failed"}
    assert told["data"]["reason"] == "The model archive has no descriptor."
    # Taken or refused, on purpose, to be sent once more: by then the guide is at its end.
    alerts = [json.loads(each["body"]) for each in received(project) if each["name"] == "alerts"]
    assert "JobMonitorJobFailed" in json.dumps(alerts)


def received(project):
    return json.loads((project / "first-steps" / "received.json").read_text())


def test_a_command_that_fails_is_noticed(tmp_path):
    (tmp_path / "project").mkdir()
    code, output = follow(
        "set -euo pipefail\necho before\nfalse\necho after\n", tmp_path / "project"
    )
    assert (code, output) == (1, "before\n")
