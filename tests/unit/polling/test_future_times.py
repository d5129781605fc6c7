"""An update time ahead of our clock proves no order, and makes no job deaf."""

import anyio
import pytest
from structlog.testing import capture_logs

from monitor.recording import diff
from tests.builders import TYPE, VIRTUAL, Answer, at, job, observation, running, snapshot
from tests.polling import polling, run_for

pytestmark = VIRTUAL
YEARS = 10 * 365 * 86400.0
HOUR = 3600.0


async def states(b):
    return [state for *_, state in await b.told()]


@pytest.mark.parametrize("ahead", [330.0, HOUR, 86400.0, YEARS])
@pytest.mark.parametrize("discovered", [False, True])
async def test_one_time_in_the_future_makes_a_job_not_deaf(tmp_path, ahead, discovered):
    async with polling(tmp_path) as b:
        b.source.answers["a"] = Answer("RUNNING", updated_at=at(ahead))
        b.discover() if discovered else b.follow("a")
        with capture_logs() as lines:
            async with running(b.poller):
                await anyio.sleep(5)
                b.source.answers["a"] = Answer("RUNNING", updated_at=at(1))
                await anyio.sleep(100)
                b.source.answers["a"] = Answer("SUCCEEDED", updated_at=at(90))
                await anyio.sleep(100)
        assert await states(b) == ["RUNNING", "SUCCEEDED"]
        assert [line["event"] for line in lines].count("job.misdated") == 1
        assert b.measured("misdated_answers_total", type=TYPE.name) >= 1
        events = [event["data"] for _, event in await b.store.transitions()]
        assert [event["occurred_at"] for event in events] == [None, "2026-03-01T12:01:30.000Z"]


async def test_a_change_that_is_itself_dated_in_the_future_is_recorded_without_that_time(tmp_path):
    async with polling(tmp_path) as b:
        b.source.answers["a"] = Answer("RUNNING", updated_at=at(-5))
        b.follow("a")
        async with running(b.poller):
            await anyio.sleep(5)
            b.source.answers["a"] = Answer("FAILED", updated_at=at(YEARS))
            await anyio.sleep(60)
        events = [event["data"] for _, event in await b.store.transitions()]
        assert [event["current"]["state"] for event in events] == ["RUNNING", "FAILED"]
        assert events[1]["occurred_at"] is None


@pytest.mark.parametrize("ahead", [HOUR, YEARS])
@pytest.mark.parametrize("later", [60.0, 2 * HOUR])
async def test_a_future_time_of_the_store_keeps_no_job_deaf(tmp_path, ahead, later):
    """An older version wrote it; and by the restart the clock may have passed it."""
    async with polling(tmp_path) as b:
        b.source.answers["a"] = "RUNNING"
        b.follow("a")
        await run_for(b, 5)
        known = b.recorder.snapshot(job("a"))
        assert known is not None
    async with polling(tmp_path) as b:
        b.recorder.adopt(known.replace(updated_at=at(ahead)))
        b.clock.jump = later
        b.source.answers["a"] = Answer("SUCCEEDED", updated_at=at(50))
        b.follow("a")
        await run_for(b, 100)
        assert await states(b) == ["RUNNING", "SUCCEEDED"]


async def test_with_a_clock_that_is_behind_no_change_is_lost(tmp_path):
    async with polling(tmp_path) as b:
        b.clock.jump = -86400.0
        b.source.answers["a"] = Answer("PENDING", updated_at=at(0))
        b.discover()
        async with running(b.poller):
            for number, state in enumerate(("RUNNING", "PENDING", "SUCCEEDED"), start=1):
                await anyio.sleep(100)
                b.source.answers["a"] = Answer(state, updated_at=at(100 * number))
            await anyio.sleep(100)
        assert await states(b) == ["PENDING", "RUNNING", "PENDING", "SUCCEEDED"]


async def test_a_clock_that_is_put_right_finds_the_order_again(tmp_path):
    async with polling(tmp_path) as b:
        b.clock.jump = -86400.0
        b.source.answers["a"] = Answer("RUNNING", updated_at=at(0))
        b.follow("a")
        async with running(b.poller):
            await anyio.sleep(100)
            b.clock.jump = 0.0
            await anyio.sleep(100)
            b.source.answers["a"] = Answer("PENDING", updated_at=at(-50))
            await anyio.sleep(100)
            b.source.answers["a"] = Answer("SUCCEEDED", updated_at=at(250))
            await anyio.sleep(100)
        assert await states(b) == ["RUNNING", "SUCCEEDED"]


async def test_a_time_a_little_ahead_that_was_wrong_makes_a_job_not_deaf_for_ever(tmp_path):
    """Four minutes are within what clocks differ by; the service insists on the right time."""
    async with polling(tmp_path) as b:
        b.source.answers["a"] = Answer("RUNNING", updated_at=at(240))
        b.follow("a")
        async with running(b.poller):
            await anyio.sleep(5)
            b.source.answers["a"] = Answer("SUCCEEDED", updated_at=at(10))
            await anyio.sleep(700)
        assert await states(b) == ["RUNNING", "SUCCEEDED"]


async def test_a_stale_answer_that_comes_and_goes_moves_no_job_backwards(tmp_path):
    async with polling(tmp_path) as b:
        b.follow("a")
        async with running(b.poller):
            for number in range(100):
                stale = Answer("PENDING", updated_at=at(-60))
                b.source.answers["a"] = stale if number % 4 else Answer("RUNNING", updated_at=at(0))
                await anyio.sleep(30)
        assert await states(b) == ["RUNNING"]


@pytest.mark.parametrize(
    ("known", "seen", "stale"), [(0, -1, True), (0, 0, False), (0, 1, False), (301, 0, False)]
)
def test_only_a_time_that_can_be_true_makes_an_answer_stale(known, seen, stale):
    before = snapshot(updated_at=at(known))
    assert (diff.age_order(before, observation(asked=0, seen=0, updated=seen)) < 0) is stale
