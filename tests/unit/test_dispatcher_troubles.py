"""A sink that takes nothing, in virtual time: it is given a rest, or parked; nothing is lost."""

import anyio
import pytest
from structlog.testing import capture_logs

from monitor.condition import WIDESPREAD
from monitor.dispatcher import LONGEST_PAUSE
from monitor.errors import SendError, SendReason
from monitor.model import Parking
from tests.builders import VIRTUAL, ScriptedSink, running, until
from tests.unit.test_dispatcher import DAY, DOWN, HOUR, about, delivering, failing

pytestmark = VIRTUAL
NO = SendError(SendReason.REJECTED, "403")
GONE = SendError(SendReason.GONE, "410")


async def _jobs(d, many, *states):
    for number in range(many):
        await d.change(f"j-{number:03}", *(states or ["PENDING"]))


async def test_a_sink_that_refuses_everybody_is_parked_and_nothing_dies(tmp_path):
    async with delivering(tmp_path) as d:
        sink = ScriptedSink(failing(NO))
        await _jobs(d, 20, "PENDING", "FAILED")
        dispatcher = d.dispatcher(sink, concurrency=3)
        with capture_logs() as lines:
            async with running(dispatcher):
                await anyio.sleep(DAY)
        assert dispatcher.parked
        assert len(sink.attempts) <= 2 * WIDESPREAD + 3
        assert await d.statuses() == {"pending": 40}
        assert [line["event"] for line in lines].count("sink.parked") == 1
        ((name, reason),) = [(one.sink, one.reason) for one in await d.store.parkings()]
        assert (name, reason) == ("ops", f"refused {WIDESPREAD} jobs in a row, at last: 403")


async def test_a_resumed_sink_gets_all_that_it_refused_in_order(tmp_path):
    async with delivering(tmp_path) as d:
        sink = ScriptedSink(failing(NO))
        await _jobs(d, 20, "PENDING", "RUNNING", "FAILED")
        dispatcher = d.dispatcher(sink)
        async with running(dispatcher):
            await anyio.sleep(HOUR)
            sink.behave = failing(NO, "nobody")
            await d.store.resume("ops")
            await until(lambda: len(sink.taken) == 60, within=LONGEST_PAUSE + 5)
        assert not dispatcher.parked
        for number in range(20):
            mine = [about(e)[1] for e in sink.taken if e["subject"] == f"j-{number:03}"]
            assert mine == ["PENDING", "RUNNING", "FAILED"]
        assert await d.statuses() == {"delivered": 60}


async def test_a_few_jobs_that_are_refused_among_others_die_alone(tmp_path):
    async with delivering(tmp_path) as d:

        async def behave(events):
            if events[0]["subject"] < "j-004":
                raise NO

        sink = ScriptedSink(behave)
        await _jobs(d, 20)
        async with running(d.dispatcher(sink, concurrency=1)):
            await anyio.sleep(HOUR)
        assert await d.statuses() == {"dead": 4, "delivered": 16}
        assert await d.store.parkings() == []


async def test_a_sink_parked_before_the_start_gets_nothing(tmp_path):
    async with delivering(tmp_path) as d:
        await d.store.park(Parking("ops", d.clock.now(), "410"), [])
        await d.change("a")
        sink = ScriptedSink()
        async with running(d.dispatcher(sink)):
            await anyio.sleep(DAY)
            assert not sink.attempts
            await d.store.resume("ops")
            await until(lambda: sink.taken, within=LONGEST_PAUSE + 1)


async def test_what_is_too_old_dies_while_its_sink_is_parked_and_can_be_replayed(tmp_path):
    async with delivering(tmp_path) as d:
        sink = ScriptedSink(failing(GONE))
        await d.change("a", "PENDING", "RUNNING")
        async with running(d.dispatcher(sink, max_age=DAY)):
            await anyio.sleep(DAY / 2)
            await d.change("b")
            assert await d.statuses() == {"pending": 3}
            await anyio.sleep(DAY / 2 + 2 * HOUR)
            assert await d.statuses() == {"dead": 2, "pending": 1}
            await anyio.sleep(DAY)
            assert await d.statuses() == {"dead": 3}
            sink.behave = failing(GONE, "nobody")
            rows = await d.store.deliveries()
            await d.store.resume("ops")
            await d.store.replay([row.id for row in rows])
            await until(lambda: len(sink.taken) == 3, within=LONGEST_PAUSE + 1)
        assert len(sink.attempts) == 4
        assert all(event["data"]["replayed"] for event in sink.taken)


async def test_a_sink_that_is_down_is_asked_once_a_minute_whatever_waits(tmp_path):
    async with delivering(tmp_path) as d:
        sink = ScriptedSink(failing(DOWN), batch_size=10)
        await _jobs(d, 200)
        async with running(d.dispatcher(sink)):
            await anyio.sleep(HOUR)
            assert 60 <= len(sink.attempts) <= 150
            assert all(len(events) == 1 for _, events in sink.attempts[10:])
            asked = d.store.asked["due"] + d.store.asked["settle"]
            assert asked < 500
            sink.behave = failing(DOWN, "nobody")
            await until(lambda: len(sink.taken) == 200, within=65)
        assert [one.pending for one in await d.store.backlog()] == []


async def test_the_first_event_taken_after_an_outage_brings_all_the_others(tmp_path):
    async with delivering(tmp_path) as d:
        sink = ScriptedSink(failing(DOWN))
        await _jobs(d, 8)
        async with running(d.dispatcher(sink)):
            await anyio.sleep(DAY / 2)
            sink.behave = failing(DOWN, "nobody")
            await until(lambda: sink.taken, within=HOUR)
            await until(lambda: len(sink.taken) == 8, within=1)


async def test_one_that_always_fails_does_not_slow_the_others(tmp_path):
    async with delivering(tmp_path) as d:
        sink = ScriptedSink(failing(DOWN, "bad"))
        await d.change("bad", *["PENDING", "RUNNING"] * 10)
        await _jobs(d, 50, "PENDING", "FAILED")
        async with running(d.dispatcher(sink)):
            await until(lambda: len(sink.taken) == 100, within=1)


@pytest.mark.parametrize("error", [NO, GONE, DOWN])
async def test_a_crash_at_any_point_of_the_trouble_loses_nothing(tmp_path, error):
    async with delivering(tmp_path) as d:
        await _jobs(d, 12, "PENDING", "FAILED")
        for pause in (0.01, 0.5, 3):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(d.dispatcher(ScriptedSink(failing(error))).run)
                await anyio.sleep(pause)
                tasks.cancel_scope.cancel()
            await d.store.resume("ops")
        sink = ScriptedSink()
        async with running(d.dispatcher(sink)):
            await anyio.sleep(2 * HOUR)
        told = {about(event) for event in sink.taken}
        dead = (await d.statuses())["dead"]
        assert len(told) + dead == 24
        assert not dead
