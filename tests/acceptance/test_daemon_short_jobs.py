"""Jobs that end before their first poll are reported, and those of the first sweep are not."""

from tests.acceptance import short_lives


async def test_each_end_is_reported_once_however_short_the_life_and_often_the_restart(tmp_path):
    await short_lives.live(tmp_path, seed=7, interval=0.4, jobs=120, restarts=3)
