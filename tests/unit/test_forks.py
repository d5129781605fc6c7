"""The forks that stand for processes of the program: where they are used, and where not."""

import os
import sys

import pytest

from tests import forks
from tests.acceptance.program import environment, run

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux forks")


async def test_a_usual_process_is_a_fork(tmp_path):
    assert forks.can(environment(HOME=str(tmp_path)))
    code, out, _ = await run("--version", directory=tmp_path)
    assert (code, out.split()[0]) == (0, "job-monitor")


@pytest.mark.parametrize("name", ["PYTHONPATH", "LD_PRELOAD"])
def test_another_environment_takes_a_real_start(name):
    assert not forks.can(environment(**{name: os.devnull}))
