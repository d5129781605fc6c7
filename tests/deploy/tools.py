"""The checkers of what ``deploy/`` ships; .ci/run installs them into a virtual environment."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.deploy import shipped

TIMEOUT = 110


def lacking(what):
    """Skip for want of a tool; in CI, where every tool must be there, fail."""
    (pytest.fail if os.environ.get("CI") else pytest.skip)(f"{what}; .ci/run installs it")


def tool(name):
    """Return the path of one of the tools."""
    folder = Path(os.environ.get("TEST_DEPLOY_TOOLS") or shipped.ROOT / ".venv-deploy")
    path = folder / "bin" / name
    if not path.exists():
        lacking(f"there is no {name}")
    return path


def kubectl():
    path = shutil.which("kubectl")
    if path is None:
        lacking("there is no kubectl")
    return path


def run(*command, text=""):
    """Run a tool to its end, whatever it says of what it was given."""
    return subprocess.run(
        command, input=text, capture_output=True, text=True, timeout=TIMEOUT, check=False
    )
