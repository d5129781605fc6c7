"""A sink that takes nothing, in virtual time: it is given a rest, or parked; nothing is lost."""

import anyio
import pytest
from structlog.testing import capture_logs

from monitor.delivery import dispatcher as dispatching
from monitor.delivery.sink_health import WIDESPREAD
from monitor.errors import PartialSendError, SendError, SendReason
from monitor.model import Parking
from tests.builders import VIRTUAL, ScriptedSink, running, until
from tests.unit.delivery.test_dispatcher import DOWN, HOUR, about, delivering, failing

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
                await anyio.sleep(3 * HOUR)
        assert dispatcher.parked
        assert len(sink.attempts) <= 2 * WIDESPREAD + 3
        assert await d.statuses() == {"pending": 40}
        assert [line["event"] for line in lines].count("sink.parked") == 1
        ((name, reason),) = [(one.sink, one.reason) for one in await d.store.parkings()]
        assert (name, reason) == ("ops", f"refused {WIDESPREAD} jobs in a row, at last: 403")


async def test_a_sink_that_denies_everybody_is_probed_and_resumes_by_itself(tmp_path):
    async with delivering(tmp_path) as d:
        denied = SendError(SendReason.DENIED, "401")
        sink = ScriptedSink(failing(denied))
        await _jobs(d, 20, "PENDING", "FAILED")
        dispatcher = d.dispatcher(sink)
        async with running(dispatcher):
            await anyio.sleep(3 * HOUR)
            assert not dispatcher.parked
            assert await d.statuses() == {"pending": 40}
            probes = len(sink.attempts)
            assert 3 * HOUR / 60 < probes < 3 * 3 * HOUR / 60
            sink.behave = failing(denied, "nobody")
            await until(lambda: len(sink.taken) == 40, within=65)
        for number in range(20):
            mine = [about(e)[1] for e in sink.taken if e["subject"] == f"j-{number:03}"]
            assert mine == ["PENDING", "FAILED"]


async def test_a_few_jobs_that_are_denied_come_within_minutes_of_the_right_token(tmp_path):
    async with delivering(tmp_path) as d:
        denied = SendError(SendReason.DENIED, "403")
        sink = ScriptedSink(failing(denied))
        await _jobs(d, 2)
        async with running(d.dispatcher(sink)):
            await anyio.sleep(3 * HOUR)
            assert len(sink.attempts) > 2 * 3 * HOUR / 300
            assert await d.statuses() == {"pending": 2}
            sink.behave = failing(denied, "nobody")
            await until(lambda: len(sink.taken) == 2, within=301)
        assert await d.statuses() == {"delivered": 2}


async def test_a_resumed_sink_gets_all_that_it_refused_in_order(tmp_path):
    async with delivering(tmp_path) as d:
        sink = ScriptedSink(failing(NO))
        await _jobs(d, 20, "PENDING", "RUNNING", "FAILED")
        dispatcher = d.dispatcher(sink)
        async with running(dispatcher):
            await anyio.sleep(HOUR)
            sink.behave = failing(NO, "nobody")
            await d.store.resume("ops")
            await until(lambda: len(sink.taken) == 60, within=dispatching.LONGEST_PAUSE + 5)
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
            await anyio.sleep(3 * HOUR)
            assert not sink.attempts
            await d.store.resume("ops")
            await until(lambda: sink.taken, within=dispatching.LONGEST_PAUSE + 1)


async def test_what_is_too_old_dies_while_its_sink_is_parked_and_can_be_replayed(tmp_path):
    async with delivering(tmp_path) as d:
        sink = ScriptedSink(failing(GONE))
        await d.change("a", "PENDING", "RUNNING")
        async with running(d.dispatcher(sink, max_age=3 * HOUR)):
            await anyio.sleep(1.5 * HOUR)
            await d.change("b")
            assert await d.statuses() == {"pending": 3}
            await anyio.sleep(2.5 * HOUR)
            assert await d.statuses() == {"dead": 2, "pending": 1}
            await anyio.sleep(3 * HOUR)
            assert await d.statuses() == {"dead": 3}
            sink.behave = failing(GONE, "nobody")
            rows = await d.store.deliveries()
            assert [row.attempts for row in rows] == [0, 0, 1]
            await d.store.resume("ops")
            await d.store.replay([row.id for row in rows])
            await until(lambda: len(sink.taken) == 3, within=dispatching.LONGEST_PAUSE + 1)
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
            await anyio.sleep(3 * HOUR)
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
        # Where fewer than five were refused before the crash, nothing said that it is the sink.
        assert not dead or error is NO


class Overtaking:
    """Refuses everybody; the second event of job ``a`` is under way for 5 s, and ends as told."""

    def __init__(self, d, outcome=None):
        self.outcome = outcome
        self.mended = False
        self.sink = ScriptedSink(self._behave)
        self.dispatcher = d.dispatcher(self.sink)

    async def _behave(self, events):
        if self.mended:
            return
        if about(events[0]) != ("a", "FAILED"):
            raise NO
        await anyio.sleep(5)
        if self.outcome:
            raise self.outcome

    def told(self, job_id="a"):
        """Name the states of a job in the order in which they were taken."""
        return [about(event)[1] for event in self.sink.taken if event["subject"] == job_id]


async def _park(d, rig):
    """Have the sink parked for other jobs while the second event of job ``a`` is under way."""
    await d.change("a", "PENDING", "FAILED")
    await until(lambda: len(rig.sink.attempts) == 2, within=1)
    await _jobs(d, WIDESPREAD - 1)
    await until(lambda: rig.dispatcher.parked, within=1)


async def _parked_and_resumed(d, rig, *, after):
    async with running(rig.dispatcher):
        await _park(d, rig)
        await anyio.sleep(after)
        rig.mended = True
        await d.store.resume("ops")
        await until(lambda: not rig.dispatcher.parked, within=2 * dispatching.LONGEST_PAUSE)
        await anyio.sleep(HOUR)


@pytest.mark.parametrize("after", [0.5, 60])
async def test_what_was_refused_is_not_sent_after_a_later_one_that_was_taken(tmp_path, after):
    async with delivering(tmp_path) as d:
        rig = Overtaking(d)
        await _parked_and_resumed(d, rig, after=after)
        assert rig.told() == ["FAILED"]
        assert await d.statuses() == {"delivered": WIDESPREAD, "dead": 1}
        assert d.measured("delivered") == WIDESPREAD


@pytest.mark.parametrize("after", [0.5, 60])
async def test_what_was_refused_is_taken_back_where_a_later_one_was_refused_too(tmp_path, after):
    async with delivering(tmp_path) as d:
        rig = Overtaking(d, NO)
        await _parked_and_resumed(d, rig, after=after)
        assert rig.told() == ["PENDING", "FAILED"]
        assert await d.statuses() == {"delivered": WIDESPREAD + 1}


@pytest.mark.parametrize("reason", [reason for reason in SendReason if reason.uncertain])
async def test_what_was_refused_is_not_sent_after_one_that_may_have_arrived(tmp_path, reason):
    async with delivering(tmp_path) as d:
        rig = Overtaking(d, SendError(reason, "no answer"))
        await _parked_and_resumed(d, rig, after=60)
        assert rig.told() == ["FAILED"]
        assert await d.statuses() == {"delivered": WIDESPREAD, "dead": 1}


async def test_a_batch_may_park_its_sink_and_be_taken_in_part(tmp_path):
    async with delivering(tmp_path) as d:

        async def partly(events):
            refused = {e["id"]: NO for e in events if about(e) != ("a", "FAILED")}
            if refused and not mended:
                await anyio.sleep(1)
                raise PartialSendError(refused)

        mended = False
        sink = ScriptedSink(partly, batch_size=10)
        dispatcher = d.dispatcher(sink, concurrency=1)
        async with running(dispatcher):
            await d.change("a", "PENDING")
            await until(lambda: sink.attempts, within=1)
            await _jobs(d, WIDESPREAD)
            await d.change("a", "FAILED")
            await until(lambda: dispatcher.parked, within=5)
            assert [about(events[-1]) for _, events in sink.attempts][1] == ("a", "FAILED")
            mended = True
            await anyio.sleep(1)
            assert await d.store.resume("ops")
            await until(lambda: len(sink.taken) == WIDESPREAD, within=2 * dispatching.LONGEST_PAUSE)
            await anyio.sleep(HOUR)
        assert len(sink.taken) == WIDESPREAD
        assert await d.statuses() == {"delivered": WIDESPREAD + 1, "dead": 1}


async def test_a_resume_stands_though_an_attempt_is_under_way(tmp_path):
    async with delivering(tmp_path) as d:
        rig = Overtaking(d, NO)
        async with running(rig.dispatcher):
            await _park(d, rig)
            await anyio.sleep(0.5)
            rig.mended = True
            assert await d.store.resume("ops")
            await anyio.sleep(30)
            assert await d.store.parkings() == []
            await until(lambda: len(rig.told()) == 2, within=HOUR)
        assert rig.told() == ["PENDING", "FAILED"]


async def test_what_was_read_while_the_sink_was_being_parked_grows_too_old_as_well(tmp_path):
    async with delivering(tmp_path) as d:

        async def refuse(_events):
            await anyio.sleep(1)
            raise GONE

        dispatcher = d.dispatcher(ScriptedSink(refuse), max_age=3 * HOUR)
        async with running(dispatcher):
            await d.change("a")
            await anyio.sleep(0.5)
            d.store.slow["due"] = 3
            await d.change("b")
            await until(lambda: dispatcher.parked, within=1)
            d.store.slow.clear()
            await anyio.sleep(4 * HOUR)
            assert await d.statuses() == {"dead": 2}


async def test_the_next_deliveries_are_read_while_all_workers_are_busy(tmp_path, monkeypatch):
    ahead = 100
    monkeypatch.setattr(dispatching, "AHEAD", ahead)
    async with delivering(tmp_path) as d:

        async def slow(_events):
            await anyio.sleep(0.01)

        sink = ScriptedSink(slow, checks=False)
        await _jobs(d, 3 * ahead)
        d.store.slow["due"] = 0.2
        async with running(d.dispatcher(sink, concurrency=1)):
            # The first reading, and then one attempt after the other.
            await until(lambda: len(sink.taken) == 3 * ahead, within=0.2 + 0.011 * 3 * ahead)
