"""Every command of the tutorial for a job type is run as it stands, with moto in place of AWS."""

import json
import os
import shutil
import sys
from pathlib import Path

import pytest

from tests.acceptance.program import environment
from tests.docs import pages
from tests.docs.test_guide import run

PAGE = pages.ROOT / "docs" / "tutorial-job-type.md"
PATIENCE = 100.0
"""Seconds for all commands."""


@pytest.fixture
def tools():
    """Directories of the AWS CLI and of this project; without the CLI, a skip, in CI a failure."""
    aws = os.environ.get("TEST_AWS_CLI") or shutil.which("aws")
    if aws is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("there is no AWS CLI")
    own = Path(sys.executable).parent
    if not (own / "job-monitor").exists():
        pytest.skip("the program is not installed beside this Python")
    return os.pathsep.join([str(own), str(Path(aws).parent), os.environ["PATH"]])


def follow(directory, **variables):
    """Run all blocks as one script; return the exit code and what it printed."""
    blocks = [block.text for block in pages.command_blocks(PAGE.read_text()) if block.run]
    command = ["bash", "-c", "".join(["set -euo pipefail\n", *blocks])]
    return run(command, directory, environment(**variables), directory / "output.txt", PATIENCE)


@pytest.mark.timeout(200)
def test_the_tutorial_ends_with_a_stopped_experiment_delivered(tmp_path, moto, tools):
    code, output = follow(
        tmp_path,
        PATH=tools,
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
