"""A test that goes on after its timeout ends its process, so that the run ends and names it."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]

DEAF = """
import asyncio

import pytest


@pytest.mark.timeout(0.5)
async def test_that_keeps_the_exception_to_itself():
    async def busy():
        while True:
            try:
                await asyncio.sleep(0)
            except BaseException:
                pass
    while True:
        try:
            await busy()
        except BaseException:
            pass
"""


def test_a_test_deaf_to_its_timeout_is_ended_and_named(tmp_path):
    made = tmp_path / "test_deaf.py"
    made.write_text(DEAF)
    settings = ("-p", "no:cacheprovider", "-p", "tests.conftest", "-c", ROOT / "pyproject.toml")
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", *settings, "--rootdir", tmp_path, made],
        cwd=ROOT,
        env=os.environ | {"TEST_GRACE": "0.5", "PYTEST_ADDOPTS": ""},
        capture_output=True,
        text=True,
        check=False,
        timeout=110,
    )
    assert ran.returncode == 1
    assert "test_that_keeps_the_exception_to_itself has outlived its timeout" in ran.stderr
    assert "(most recent call first):\n  File " in ran.stderr  # where it was
