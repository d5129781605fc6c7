"""The long form of what ``acceptance/test_daemon_short_jobs.py`` holds."""

import os

import pytest

from tests.acceptance import short_lives

pytestmark = pytest.mark.soak


@pytest.mark.timeout(900)
async def test_a_thousand_short_lives_over_twenty_restarts(tmp_path):
    seed = int(os.environ.get("TEST_SEED", "1"))
    await short_lives.live(tmp_path, seed, interval=2.0, jobs=1000, restarts=20)
