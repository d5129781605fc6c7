"""Every command of the tutorial for a job type is run as it stands, with moto in place of AWS."""

import json
import os
import shlex
import shutil
from pathlib import Path

import pytest

from tests import forks
from tests.acceptance.program import environment
from tests.docs import pages
from tests.docs.test_guide import run

PAGE = pages.ROOT / "docs" / "tutorial-job-type.md"
PATIENCE = 500.0
"""Seconds for all commands."""


@pytest.fixture
def aws():
    """The directory of the AWS CLI; without it, a skip, in CI a failure."""
    found = os.environ.get("TEST_AWS_CLI") or shutil.which("aws")
    if found is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("there is no AWS CLI")
    return str(Path(found).parent)


def follow(directory, aws, **variables):
    """Run all blocks as one script; return the exit code and what it printed."""
    # Each command is forked, as importing the program takes longer than nearly all of them.
    program, descriptors = forks.command(environment())
    monitor = directory / "bin" / "job-monitor"
    monitor.parent.mkdir()
    monitor.write_text(f'#!/bin/sh\nexec {shlex.join(program)} "$@"\n')
    monitor.chmod(0o755)
    path = os.pathsep.join([str(monitor.parent), aws, os.environ["PATH"]])
    blocks = [block.text for block in pages.command_blocks(PAGE.read_text()) if block.run]
    command = ["bash", "-c", "".join(["set -euo pipefail\n", *blocks])]
    env = environment(PATH=path, **variables)
    return run(command, directory, env, directory / "output.txt", PATIENCE, descriptors)


@pytest.mark.timeout(600)
def test_the_tutorial_ends_with_a_stopped_experiment_delivered(tmp_path, moto, aws):
    code, output = follow(
        tmp_path,
        aws,
        AWS_ENDPOINT_URL=moto,
        # The port of the page is another program's where tests run side by side.
        JOB_MONITOR_SERVER__LISTEN="127.0.0.1:0",
    )
    logs = {path.name: path.read_text()[-2000:] for path in tmp_path.rglob("*.log")}
    assert code == 0, f"{output}\n{logs}"
    shown = [part.partition("```")[0] for part in PAGE.read_text().split("```text\n")[1:]]
    assert len(shown) == 2
    assert all(text in output for text in shown), output
    assert "The configuration is valid." in output
    events = [
        json.loads(line)
        for line in (tmp_path / "first-type/transitions.log").read_text().splitlines()
    ]
    ended = [each["data"] for each in events if each["data"]["current"]["phase"] == "canceled"]
    assert [each["current"]["state"] for each in ended] == ["stopped"]
    assert ended[0]["reason"] == "Experiment stopped"
