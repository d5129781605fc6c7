"""The wall clock is set, by an hour, a day or a year, while a daemon runs or between two runs.

Nothing is delayed by more than its longest backoff, nothing is given up, nothing is forgotten.
"""

from datetime import timedelta
from itertools import product

import anyio
import pytest
from structlog.testing import capture_logs

from monitor.delivery.dispatcher import LONGEST_PAUSE
from monitor.delivery.replay import Selection, replay
from monitor.errors import SendError, SendReason
from monitor.model import Parking
from monitor.pacing import LAST_RETRY
from monitor.runtime import clock_jumps
from monitor.runtime.clock_jumps import ClockJumps
from tests.builders import VIRTUAL, ScriptedSink, running
from tests.unit.delivery.test_dispatcher import DAY, DOWN, HOUR, about, delivering, failing

pytestmark = VIRTUAL

YEAR = 366 * DAY
STEPS = [sign * step for step, sign in product((90.0, HOUR, DAY, YEAR), (1, -1))]
RETENTION = 20 * DAY


def _age(seconds):
    return timedelta(seconds=seconds)


async def until(condition, within):
    """Wait for a condition, for as long as an hour in few steps of virtual time."""
    with anyio.fail_after(within + 1):
        while not condition():  # noqa: ASYNC110 -- loop time, which costs nothing
            await anyio.sleep(min(within / 20, 60))


@pytest.mark.parametrize("step", STEPS[2:])
async def test_a_clock_that_is_wrong_for_a_while_delays_nothing_that_failed_meanwhile(
    tmp_path, step
):
    async with delivering(tmp_path) as d:
        sink = ScriptedSink(failing(DOWN))
        async with running(d.dispatcher(sink)):
            d.clock.jump = step
            for number in range(4):  # too few to say that the sink itself is down
                await d.change(f"j-{number}", "RUNNING", "FAILED")
            await anyio.sleep(600)
            assert len(sink.attempts) > 10
            sink.behave = failing(DOWN, "nobody")
            d.clock.jump = 0.0
            await until(lambda: len(sink.taken) == 8, within=LAST_RETRY)
        for number in range(4):
            mine = [about(e)[1] for e in sink.taken if e["subject"] == f"j-{number}"]
            assert mine == ["RUNNING", "FAILED"]


@pytest.mark.parametrize("step", STEPS)
async def test_a_sink_has_failed_for_as_long_as_it_has_whatever_the_clock_says(tmp_path, step):
    async with delivering(tmp_path) as d:
        dispatcher = d.dispatcher(ScriptedSink(failing(DOWN)))
        async with running(dispatcher):
            d.clock.jump = step
            await d.change("a", "RUNNING")
            await until(lambda: dispatcher.failing_since, within=60)
            d.clock.jump = 0.0
            await anyio.sleep(600)
            failing_for = d.clock.now() - dispatcher.failing_since
        assert _age(590) < failing_for < _age(670)


@pytest.mark.parametrize("step", STEPS[2:])
async def test_a_clock_that_was_wrong_at_one_start_delays_nothing_at_the_next(tmp_path, step):
    async with delivering(tmp_path, jump=step) as d:
        sink = ScriptedSink(failing(DOWN))
        async with running(d.dispatcher(sink)):
            await d.change("a", "RUNNING", "FAILED")
            await anyio.sleep(600)
        assert sink.attempts
    async with delivering(tmp_path) as d:
        sink = ScriptedSink()
        async with running(d.dispatcher(sink)):
            await until(lambda: len(sink.taken) == 2, within=LAST_RETRY)


@pytest.mark.parametrize("step", [-step for step in STEPS])
async def test_a_first_attempt_is_made_at_once_after_the_clock_was_set(tmp_path, step):
    """What is recorded by one clock goes out by another, in the run and after a restart."""
    async with delivering(tmp_path) as d:
        await d.change("before", "RUNNING", "FAILED")
        d.clock.jump = step
        sink = ScriptedSink()
        async with running(d.dispatcher(sink)):
            await until(lambda: len(sink.taken) == 2, within=1)
        await d.change("after", "RUNNING", "FAILED")
    async with delivering(tmp_path, jump=2 * step) as d:
        sink = ScriptedSink()
        async with running(d.dispatcher(sink)):
            await until(lambda: len(sink.taken) == 2, within=1)


@pytest.mark.parametrize("step", STEPS)
async def test_what_is_asked_for_by_hand_is_sent_at_once_whatever_the_clock_says(tmp_path, step):
    async with delivering(tmp_path) as d:
        d.clock.jump = step
        sink = ScriptedSink(failing(SendError(SendReason.GONE, "410")))
        async with running(d.dispatcher(sink)):
            await d.change("a", "RUNNING", "FAILED")
            await anyio.sleep(10)
            assert len(sink.attempts) == 1
            sink.behave, d.clock.jump = failing(DOWN, "nobody"), 0.0
            await d.store.resume("ops")
            await until(lambda: len(sink.taken) == 2, within=LONGEST_PAUSE + 1)
            d.clock.jump = -step
            delivered = next(iter({row.status for row in await d.store.deliveries()}))
            async for _ in replay(d.store, Selection("ops", (delivered,))):
                pass
            await until(lambda: len(sink.taken) == 4, within=LONGEST_PAUSE + 1)


@pytest.mark.parametrize("ahead", [4 * DAY, YEAR])
@pytest.mark.parametrize("parked", [False, True])
async def test_no_clock_kills_what_is_pending(tmp_path, ahead, parked):
    async with delivering(tmp_path) as d:
        sink = ScriptedSink(failing(DOWN))
        await d.change("a", "RUNNING", "FAILED")
        if parked:
            await d.store.park(Parking("ops", d.clock.now(), "410"), [])
        async with running(d.dispatcher(sink, max_age=HOUR)):
            await anyio.sleep(HOUR / 6)
            d.clock.jump = ahead
            await anyio.sleep(HOUR / 6)
        assert await d.statuses() == {"pending": 2}
    async with delivering(tmp_path, jump=2 * ahead) as d:
        async with running(d.dispatcher(sink, max_age=HOUR)):
            await anyio.sleep(HOUR / 6)
            assert await d.statuses() == {"pending": 2}
            # Its own time goes on all the same.
            await anyio.sleep(HOUR)
        assert await d.statuses() == {"dead": 2}


@pytest.mark.parametrize("ahead", [40 * DAY, YEAR, -YEAR])
async def test_no_clock_prunes_the_history(tmp_path, ahead):
    async with delivering(tmp_path) as d:
        await _deliver(d, "a")
    async with delivering(tmp_path, jump=ahead) as d:
        assert await d.store.prune(d.store.store_time() - _age(RETENTION)) == 0
        await _deliver(d, "b")
    async with delivering(tmp_path) as d:
        assert await d.store.prune(d.store.store_time() - _age(RETENTION)) == 0
        d.clock.jump = ahead
        assert await d.store.prune(d.store.store_time() - _age(RETENTION)) == 0
        assert len(await d.store.transitions()) == 2
        await anyio.sleep(RETENTION / 2)
        await _deliver(d, "c")
        await anyio.sleep(RETENTION / 2)
        assert await d.store.prune(d.store.store_time() - _age(RETENTION)) == 2


async def _deliver(d, job_id):
    sink = ScriptedSink()
    await d.change(job_id)
    async with running(d.dispatcher(sink)):
        await until(lambda: sink.taken, within=1)


@pytest.mark.parametrize("step", STEPS)
async def test_what_waits_is_as_old_as_it_was_seen_to_wait(tmp_path, step):
    async with delivering(tmp_path, jump=step) as d:
        await d.change("a")
        d.clock.jump = 0.0
        await anyio.sleep(600)
        (backlog,) = await d.store.backlog()
        assert (d.clock.now() - backlog.oldest_at).total_seconds() == pytest.approx(600, abs=1)
        (row,) = await d.store.deliveries()
        assert abs((row.due_at - d.clock.now()).total_seconds()) < 601


async def test_a_pause_between_two_runs_need_not_be_waited_for_again(tmp_path):
    async with delivering(tmp_path) as d:
        busy = SendError(SendReason.RATE_LIMITED, "429", retry_after=HOUR)
        await d.change("a")
        async with running(d.dispatcher(ScriptedSink(failing(busy)))):
            await anyio.sleep(60)
    for off, within in ((0.25 * HOUR, 0.75 * HOUR), (HOUR, 1)):
        async with delivering(tmp_path, jump=off) as d:
            (row,) = await d.store.deliveries()
            left = (row.due_at - d.clock.now()).total_seconds()
            assert left == pytest.approx(within, abs=65)
    async with delivering(tmp_path, jump=HOUR) as d:
        sink = ScriptedSink()
        async with running(d.dispatcher(sink)):
            await until(lambda: sink.taken, within=1)


@pytest.mark.parametrize("step", STEPS)
async def test_a_jump_is_logged_once_and_counted(tmp_path, step):
    async with delivering(tmp_path) as d:
        with capture_logs() as lines:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(ClockJumps(d.clock, d.metrics).watch)
                await anyio.sleep(10)
                d.clock.jump = clock_jumps.LEAST / 2  # a correction
                await anyio.sleep(10)
                assert lines == []
                d.clock.jump += step
                await anyio.sleep(10)
                tasks.cancel_scope.cancel()
        assert [(line["event"], line["seconds"]) for line in lines] == [("clock.jumped", step)]
        assert d.registry.get_sample_value("job_monitor_clock_jumps_total") == 1
        last = d.registry.get_sample_value("job_monitor_clock_last_jump_seconds")
        assert last == pytest.approx(step, abs=0.1)


@pytest.mark.parametrize(("before", "told"), [(DAY, [-DAY]), (1.0, []), (-DAY, [])])
async def test_a_clock_that_went_back_between_two_runs_is_logged(tmp_path, before, told):
    async with delivering(tmp_path, jump=before) as d:
        await d.store.ping()
    async with delivering(tmp_path) as d:
        with capture_logs() as lines:
            ClockJumps(d.clock, d.metrics).between_runs(d.store.set_back)
        assert [line["seconds"] for line in lines] == pytest.approx(told, abs=0.2)
