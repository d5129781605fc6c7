"""Loop 2 in virtual time: what is sent when, and what becomes of it."""

import asyncio
from collections import Counter
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from itertools import pairwise
from random import Random

import anyio
import pytest
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from monitor.config import Route
from monitor.delivery import dispatcher as dispatching
from monitor.delivery.dispatcher import Dispatcher
from monitor.errors import PartialSendError, SendError, SendReason, StoreError
from monitor.metrics import Metrics
from monitor.model import DeliveryStatus
from monitor.recording.recorder import Recorder
from monitor.recording.router import Router
from tests.builders import (
    VIRTUAL,
    ScriptedSink,
    VirtualClock,
    following,
    job,
    ledger,
    observation,
    running,
    until,
)

pytestmark = VIRTUAL
HOUR, DAY = 3600.0, 86400.0
DOWN = SendError(SendReason.CONNECTION, "connection refused")


class CountedStore:
    """The real store, with what is asked of it counted and, if wanted, delayed."""

    def __init__(self, store):
        self._store = store
        self.asked: Counter[str] = Counter()
        self.slow = {}
        self.store_time, self.set_back = store.store_time, store.set_back

    def __getattr__(self, name):
        method = getattr(self._store, name)

        async def counted(*args):
            self.asked[name] += 1
            answer = await method(*args)
            await anyio.sleep(self.slow.get(name, 0))
            return answer

        return counted


class Delivering:
    """A recorder that fills the outbox, and dispatchers that empty it."""

    def __init__(self, store, clock, sinks):
        self.clock = clock
        self.store = CountedStore(store)
        self.registry = CollectorRegistry()
        self.metrics = Metrics(self.registry, "0")
        self.dispatchers = {}
        routes = [
            Route.model_validate({"sinks": sinks, "match": {"kind": ["job.*", "job.discovered"]}})
        ]
        self.recorder = Recorder(store, Router(routes, sinks), self._announce)

    def _announce(self, entry, _before):
        for names in entry.sinks:
            for name in names:
                if name in self.dispatchers:
                    self.dispatchers[name].wake()

    def dispatcher(self, sink, name="ops", **settings):
        limits = {"timeout": 15.0, "max_age": 3 * DAY, "concurrency": 4} | settings
        chance = Random(5)
        made = Dispatcher(name, sink, self.store, self.metrics, self.clock, chance, **limits)
        self.dispatchers[name] = made
        return made

    async def change(self, job_id="a", *states):
        """Record one transition of the job for each state."""
        for state in states or ["PENDING"]:
            asked = self.clock.monotonic() + self.clock.jump
            seen = observation(state, of=job(job_id), asked=asked)
            await self.recorder.observe(seen, following())

    async def statuses(self):
        rows = await self.store.deliveries()
        return Counter(row.status.value for row in rows)

    def measured(self, outcome, sink="ops"):
        labels = {"sink": sink, "outcome": outcome}
        return self.registry.get_sample_value("job_monitor_deliveries_total", labels) or 0


@asynccontextmanager
async def delivering(directory, *sinks, jump=0.0):
    """Open the store, as after a start, with a wall clock that is ``jump`` seconds ahead."""
    clock = VirtualClock()
    clock.jump = jump
    async with ledger(directory, clock) as store:
        with anyio.fail_after(30 * DAY):
            yield Delivering(store, clock, list(sinks or ["ops"]))


def about(event):
    """Return job id and state."""
    return event["subject"], event["data"]["current"]["state"]


def failing(error, job_id=None):
    """Behave as a receiver that refuses the events of one job, or all."""

    async def behave(events):
        if job_id is None or any(event["subject"] == job_id for event in events):
            raise error

    return behave


async def test_what_was_recorded_is_sent_and_settled(tmp_path):
    async with delivering(tmp_path) as d:
        sink = ScriptedSink()
        await d.change("a", "PENDING", "FAILED")
        async with running(d.dispatcher(sink)):
            await until(lambda: len(sink.taken) == 2)
            await anyio.sleep(HOUR)
        assert [about(event) for event in sink.taken] == [("a", "PENDING"), ("a", "FAILED")]
        assert await d.statuses() == {"delivered": 2}
        assert d.measured("delivered") == 2


async def test_what_is_sent_is_what_is_stored(tmp_path):
    async with delivering(tmp_path) as d:
        sink = ScriptedSink()
        await d.change("a", "PENDING")
        async with running(d.dispatcher(sink)):
            await until(lambda: sink.taken)
        assert [event for _, event in await d.store.transitions()] == sink.taken


async def test_news_wakes_the_dispatcher(tmp_path):
    async with delivering(tmp_path) as d:
        sink = ScriptedSink()
        async with running(d.dispatcher(sink)):
            await anyio.sleep(100)
            await d.change("a")
            start = anyio.current_time()
            await until(lambda: sink.taken, within=1)
            assert sink.attempts[0][0] - start < 0.1


async def test_the_outbox_is_read_now_and_then_without_news(tmp_path):
    async with delivering(tmp_path) as d:
        sink = ScriptedSink()
        async with running(d.dispatcher(sink)):
            await anyio.sleep(100)
            d.dispatchers.clear()
            await d.change("a")
            await until(lambda: sink.taken, within=dispatching.LONGEST_PAUSE + 1)


async def test_the_transitions_of_a_job_are_sent_one_after_the_other(tmp_path):
    async with delivering(tmp_path) as d:
        under_way: Counter[str] = Counter()

        async def slow(events):
            (event,) = events
            under_way[event["subject"]] += 1
            assert under_way[event["subject"]] == 1
            await anyio.sleep(3)
            under_way[event["subject"]] -= 1

        sink = ScriptedSink(slow)
        for job_id in "abc":
            await d.change(job_id, "PENDING", "RUNNING", "FAILED")
        async with running(d.dispatcher(sink)):
            await until(lambda: len(sink.taken) == 9)
        for job_id in "abc":
            mine = [about(event)[1] for event in sink.taken if event["subject"] == job_id]
            assert mine == ["PENDING", "RUNNING", "FAILED"]
        assert d.measured("delivered") == 9


async def test_a_delivery_that_fails_holds_back_its_own_job_alone(tmp_path):
    async with delivering(tmp_path) as d:
        sink = ScriptedSink(failing(DOWN, "bad"))
        await d.change("bad", "PENDING", "FAILED")
        await d.change("good", "PENDING", "FAILED")
        async with running(d.dispatcher(sink)):
            await anyio.sleep(2 * HOUR)
            assert [about(event) for event in sink.taken] == [
                ("good", "PENDING"),
                ("good", "FAILED"),
            ]
            tried = [about(events[0]) for _, events in sink.attempts]
            assert ("bad", "FAILED") not in tried
            sink.behave = failing(DOWN, "nobody")
            await anyio.sleep(HOUR + 1)
        assert [about(event) for event in sink.taken[2:]] == [("bad", "PENDING"), ("bad", "FAILED")]


async def test_retries_go_from_five_seconds_to_an_hour(tmp_path):
    async with delivering(tmp_path) as d:
        sink = ScriptedSink(failing(DOWN))
        await d.change("a")
        async with running(d.dispatcher(sink)):
            await anyio.sleep(DAY / 2)
        times = [moment for moment, _ in sink.attempts]
        waits = [later - earlier for earlier, later in pairwise(times)]
        for attempt, wait in enumerate(waits):
            assert wait <= min(HOUR, 5 * 2**attempt) + 0.1
        assert max(waits) > HOUR / 2
        assert 15 <= len(waits) <= 50
        assert d.measured("retried") == len(times)
        assert await d.statuses() == {"pending": 1}


async def test_retry_after_is_honoured(tmp_path):
    async with delivering(tmp_path) as d:
        sink = ScriptedSink(failing(SendError(SendReason.RATE_LIMITED, "429", retry_after=120)))
        await d.change("a")
        async with running(d.dispatcher(sink)):
            await anyio.sleep(130)
        assert [moment for moment, _ in sink.attempts] == pytest.approx([0, 120], abs=0.1)


@pytest.mark.parametrize("reason", [reason for reason in SendReason if not reason.parks])
async def test_what_may_be_taken_later_is_retried_and_the_rest_dies_at_once(tmp_path, reason):
    async with delivering(tmp_path) as d:
        sink = ScriptedSink(failing(SendError(reason, "no"), "a"))
        await d.change("a", "PENDING")
        async with running(d.dispatcher(sink)):
            await anyio.sleep(HOUR)
        dead = reason is SendReason.REJECTED
        assert await d.statuses() == ({"dead": 1} if dead else {"pending": 1})
        assert (len(sink.attempts) == 1) is dead
        assert d.measured("dead") == int(dead)


async def test_the_next_of_a_job_follows_one_that_died(tmp_path):
    async with delivering(tmp_path) as d:
        refused = [SendError(SendReason.REJECTED, "400")]

        async def once(_events):
            if refused:
                raise refused.pop()

        sink = ScriptedSink(once)
        await d.change("a", "PENDING", "FAILED")
        async with running(d.dispatcher(sink)):
            await until(lambda: sink.taken)
        assert [about(event) for event in sink.taken] == [("a", "FAILED")]


async def test_a_delivery_is_dead_after_its_age_and_not_before(tmp_path):
    async with delivering(tmp_path) as d:
        sink = ScriptedSink(failing(DOWN))
        await d.change("a")
        async with running(d.dispatcher(sink, max_age=2 * HOUR)):
            await anyio.sleep(2 * HOUR - 10)
            assert await d.statuses() == {"pending": 1}
            await anyio.sleep(20)
            assert await d.statuses() == {"dead": 1}
            tries = len(sink.attempts)
            await anyio.sleep(2 * HOUR)
        assert len(sink.attempts) == tries
        assert sink.attempts[-1][0] == pytest.approx(2 * HOUR, abs=1)


async def test_what_grew_old_while_nobody_ran_gets_one_chance(tmp_path):
    async with delivering(tmp_path) as d:
        await d.change("a", "PENDING", "FAILED")
        await anyio.sleep(2 * DAY)
        sink = ScriptedSink()
        async with running(d.dispatcher(sink, max_age=DAY)):
            await until(lambda: len(sink.taken) == 2)


async def test_a_receiver_that_is_gone_parks_its_sink_and_loses_nothing(tmp_path):
    async with delivering(tmp_path) as d:
        gone = SendError(SendReason.GONE, "410")
        sink = ScriptedSink(failing(gone))
        await d.change("a", "PENDING", "FAILED")
        await anyio.sleep(2)
        dispatcher = d.dispatcher(sink, concurrency=1)
        async with running(dispatcher):
            await anyio.sleep(3 * HOUR)
            assert dispatcher.parked
            await d.change("b", "FAILED")
            await anyio.sleep(HOUR)
        assert len(sink.attempts) == 1
        assert (await d.statuses())["pending"] >= 2
    async with delivering(tmp_path) as d:
        sink = ScriptedSink()
        async with running(d.dispatcher(sink)):
            await anyio.sleep(HOUR)
            assert not sink.attempts
            await d.store.resume("ops")
            await until(lambda: len(sink.taken) == 3, within=dispatching.LONGEST_PAUSE + 1)
        assert (await d.statuses())["pending"] == 0


async def test_a_batch_takes_several_jobs_and_never_two_of_one(tmp_path):
    async with delivering(tmp_path) as d:
        sink = ScriptedSink(batch_size=10)
        for number in range(25):
            await d.change(f"j-{number}", "PENDING", "FAILED")
        async with running(d.dispatcher(sink, concurrency=2)):
            await until(lambda: len(sink.taken) == 50)
        for _, events in sink.attempts:
            assert len({event["subject"] for event in events}) == len(events) <= 10
        assert len(sink.attempts) <= 12
        assert await d.statuses() == {"delivered": 50}


async def test_each_event_of_a_batch_has_its_own_fate(tmp_path):
    async with delivering(tmp_path) as d:
        fates = {"bad": SendReason.REJECTED, "slow": SendReason.RATE_LIMITED}

        async def partly(events):
            failures = {
                event["id"]: SendError(fates[event["subject"]], "no")
                for event in events
                if event["subject"] in fates
            }
            if failures:
                raise PartialSendError(failures)

        sink = ScriptedSink(partly, batch_size=10)
        for job_id in ("good", "bad", "slow"):
            await d.change(job_id)
        async with running(d.dispatcher(sink)):
            await anyio.sleep(1)
            assert await d.statuses() == {"delivered": 1, "dead": 1, "pending": 1}
            del fates["slow"]
            await anyio.sleep(HOUR)
        assert await d.statuses() == {"delivered": 2, "dead": 1}
        assert (
            Counter(event["subject"] for _, events in sink.attempts for event in events)["good"]
            == 1
        )


async def test_no_more_attempts_are_under_way_than_permitted(tmp_path):
    async with delivering(tmp_path) as d:
        under_way, most = 0, 0

        async def slow(_events):
            nonlocal under_way, most
            under_way += 1
            most = max(most, under_way)
            await anyio.sleep(5)
            under_way -= 1

        sink = ScriptedSink(slow)
        for number in range(20):
            await d.change(f"j-{number}")
        async with running(d.dispatcher(sink, concurrency=3)):
            await until(lambda: len(sink.taken) == 20)
        assert most == 3
        assert anyio.current_time() == pytest.approx(35, abs=1)


async def test_attempts_that_hang_leave_room_for_others(tmp_path):
    async with delivering(tmp_path) as d:

        async def hang(events):
            if events[0]["subject"] in "ab":
                await anyio.sleep(14)

        sink = ScriptedSink(hang)
        await d.change("a")
        await d.change("b")
        async with running(d.dispatcher(sink)):
            await anyio.sleep(1)
            await d.change("c")
            await d.change("d")
            await anyio.sleep(1)
            assert {event["subject"] for event in sink.taken} == {"c", "d"}
        assert len(sink.attempts) == 4


async def test_nothing_is_sent_twice_while_a_slow_store_answers(tmp_path):
    """An attempt ends between the moment that the outbox is read and that it is known."""
    async with delivering(tmp_path) as d:
        d.store.slow["due"] = 1.0

        async def slow(_events):
            await anyio.sleep(0.5)

        sink = ScriptedSink(slow)
        dispatcher = d.dispatcher(sink)
        for number in range(10):
            await d.change(f"j-{number}", "PENDING", "RUNNING", "FAILED")
        async with running(dispatcher):
            for _ in range(100):
                await anyio.sleep(0.3)
                dispatcher.wake()
        assert len(sink.taken) == len(sink.attempts) == 30


async def test_outcomes_that_wait_for_a_slow_store_are_stored_together(tmp_path):
    async with delivering(tmp_path) as d:
        d.store.slow["settle"] = 1.0
        sink = ScriptedSink()
        for number in range(50):
            await d.change(f"j-{number}", "PENDING", "FAILED")
        async with running(d.dispatcher(sink, concurrency=10)):
            await until(lambda: len(sink.taken) == 100)
            await anyio.sleep(10)
        assert await d.statuses() == {"delivered": 100}
        assert d.store.asked["settle"] <= 5
        for number in range(50):
            mine = [about(event)[1] for event in sink.taken if event["subject"] == f"j-{number}"]
            assert mine == ["PENDING", "FAILED"]


async def test_a_dispatcher_whose_attempts_take_long_does_not_spin(tmp_path):
    async with delivering(tmp_path) as d:

        async def slow(_events):
            await anyio.sleep(14)

        sink = ScriptedSink(slow)
        await d.change("a")
        await d.change("b")
        async with running(d.dispatcher(sink)):
            await anyio.sleep(13)
            assert d.store.asked["due"] <= 3
            await anyio.sleep(300)
        assert sum(d.store.asked.values()) < 60


async def test_an_idle_dispatcher_sleeps(tmp_path):
    async with delivering(tmp_path) as d:
        async with running(d.dispatcher(ScriptedSink())):
            await anyio.sleep(HOUR)
        assert d.store.asked["due"] <= HOUR / dispatching.LONGEST_PAUSE + 2


async def test_a_failing_dispatcher_wakes_for_its_retries_alone(tmp_path):
    async with delivering(tmp_path) as d:
        sink = ScriptedSink(failing(DOWN))
        await d.change("a")
        async with running(d.dispatcher(sink)):
            await anyio.sleep(3 * HOUR)
        assert len(sink.attempts) > 5
        assert (
            d.store.asked["due"]
            <= 3 * HOUR / dispatching.LONGEST_PAUSE + 3 * len(sink.attempts) + 2
        )


async def test_a_sink_that_hangs_ends_at_its_deadline(tmp_path):
    async with delivering(tmp_path) as d:
        sink = ScriptedSink(lambda _events: anyio.sleep_forever())
        await d.change("a")
        async with running(d.dispatcher(sink, timeout=7.0)):
            await anyio.sleep(6.9)
            assert d.measured("retried") == 0
            await anyio.sleep(0.2)
            assert d.measured("retried") == 1
            (row,) = await d.store.deliveries()
            assert row.last_error == "no answer within 7 s"
            sink.behave = failing(DOWN, "nobody")


@pytest.mark.parametrize(
    "broken",
    [ValueError("secret"), ExceptionGroup("several", [KeyError("x")]), asyncio.CancelledError()],
    ids=lambda error: type(error).__name__,
)
async def test_a_sink_may_raise_anything(tmp_path, broken):
    async with delivering(tmp_path) as d:
        sink = ScriptedSink(failing(broken, "a"))
        await d.change("a")
        await d.change("b")
        with capture_logs() as lines:
            async with running(d.dispatcher(sink, concurrency=1)):
                await anyio.sleep(60)
                assert await d.statuses() == {"delivered": 1, "pending": 1}
                sink.behave = failing(broken, "nobody")
                await anyio.sleep(HOUR)
        assert await d.statuses() == {"delivered": 2}
        assert not any("secret" in str(line.get("error")) for line in lines)


async def test_a_sink_that_fails_disturbs_no_other(tmp_path):
    async with delivering(tmp_path, "ops", "audit") as d:
        bad = ScriptedSink(lambda _events: anyio.sleep_forever())
        good = ScriptedSink()
        async with running(d.dispatcher(bad), d.dispatcher(good, "audit")):
            for number in range(20):
                await d.change(f"j-{number}")
            await until(lambda: len(good.taken) == 20, within=1)
            assert bad.taken == []
            bad.behave = failing(DOWN)
            await anyio.sleep(20)


async def test_what_a_crash_left_unsettled_is_sent_again(tmp_path):
    async with delivering(tmp_path) as d:
        await d.change("a", "PENDING", "FAILED")
        sink = ScriptedSink()

        async def die(_settlement):
            await anyio.sleep_forever()

        d.store.settle = die
        with anyio.move_on_after(5):
            await d.dispatcher(sink).run()
        assert [about(event) for event in sink.taken] == [("a", "PENDING")]
        first = sink.taken[0]
    async with delivering(tmp_path) as d:
        sink = ScriptedSink()
        async with running(d.dispatcher(sink)):
            await until(lambda: len(sink.taken) == 2)
        assert sink.taken[0] == first
        assert about(sink.taken[1]) == ("a", "FAILED")


async def test_a_stop_finishes_the_attempts_under_way_and_begins_no_more(tmp_path):
    async with delivering(tmp_path) as d:

        async def slow(_events):
            await anyio.sleep(10)

        sink = ScriptedSink(slow)
        await d.change("a", "PENDING", "FAILED")
        async with running(d.dispatcher(sink)):
            await anyio.sleep(1)
        assert [about(event) for event in sink.taken] == [("a", "PENDING")]
        assert await d.statuses() == {"delivered": 1, "pending": 1}


async def test_an_attempt_that_is_cut_off_is_not_settled(tmp_path):
    async with delivering(tmp_path) as d:
        sink = ScriptedSink(lambda _events: anyio.sleep_forever())
        await d.change("a")
        with anyio.move_on_after(5):
            await d.dispatcher(sink).run()
        assert len(sink.attempts) == 1
        (row,) = await d.store.deliveries()
        assert (row.status.value, row.attempts) == ("pending", 0)
        assert "settle" not in d.store.asked


async def test_a_stop_while_the_outbox_is_read_begins_nothing(tmp_path):
    async with delivering(tmp_path) as d:
        d.store.slow["due"] = 1.0
        sink = ScriptedSink()
        await d.change("a")
        async with running(d.dispatcher(sink)):
            await anyio.sleep(0.5)
        assert sink.attempts == []


async def test_a_store_that_fails_ends_the_dispatcher(tmp_path):
    async with delivering(tmp_path) as d:
        await d.change("a")
        (tmp_path / "state.db").unlink()
        with anyio.fail_after(100), pytest.RaisesGroup(StoreError, flatten_subgroups=True):
            await d.dispatcher(ScriptedSink()).run()


async def test_a_wall_clock_that_jumps_loses_nothing(tmp_path):
    async with delivering(tmp_path) as d:
        sink = ScriptedSink(failing(DOWN))
        await d.change("a")
        async with running(d.dispatcher(sink)):
            await anyio.sleep(60)
            sink.behave = failing(DOWN, "nobody")
            d.clock.jump = -HOUR
            await d.change("b")
            await until(lambda: sink.taken, within=dispatching.LONGEST_PAUSE + 1)
            await until(lambda: len(sink.taken) == 2, within=1.2 * HOUR)
            d.clock.jump = DAY
            await d.change("a", "FAILED")
            await until(lambda: len(sink.taken) == 3, within=dispatching.LONGEST_PAUSE + 1)


async def test_a_retry_waits_its_time_whatever_the_wall_clock_says(tmp_path):
    async with delivering(tmp_path) as d:
        sink = ScriptedSink(failing(SendError(SendReason.RATE_LIMITED, "429", retry_after=HOUR)))
        await d.change("a")
        async with running(d.dispatcher(sink)):
            await anyio.sleep(60)
            d.clock.jump = DAY
            await anyio.sleep(HOUR - 61)
            assert len(sink.attempts) == 1
            d.clock.jump = -DAY
            await anyio.sleep(dispatching.LONGEST_PAUSE + 1)
            assert len(sink.attempts) == 2


async def test_latency_counts_from_the_recording(tmp_path):
    async with delivering(tmp_path) as d:
        await d.change("a")
        await anyio.sleep(100)
        async with running(d.dispatcher(ScriptedSink())):
            await anyio.sleep(1)
        name = "job_monitor_delivery_latency_seconds_sum"
        assert d.registry.get_sample_value(name, {"sink": "ops"}) == pytest.approx(100, abs=0.1)


async def test_the_log_names_the_first_failure_the_recovery_and_each_death(tmp_path):
    async with delivering(tmp_path) as d:
        sink = ScriptedSink(failing(DOWN))
        await d.change("a")
        with capture_logs() as lines:
            async with running(d.dispatcher(sink, max_age=DAY)):
                await anyio.sleep(2 * HOUR)
                sink.behave = failing(DOWN, "nobody")
                await anyio.sleep(2 * HOUR)
                sink.behave = failing(SendError(SendReason.REJECTED, "400"))
                await d.change("b")
                await anyio.sleep(10)
        assert [line["event"] for line in lines] == [
            "delivery.failing",
            "delivery.recovered",
            "delivery.dead",
        ]
        assert lines[0]["error"] == "connection refused"


async def test_a_sink_fails_since_the_first_failure_after_it_last_took_something(tmp_path):
    answers = [DOWN, DOWN, None, DOWN]
    at = []

    async with delivering(tmp_path) as d:

        async def behave(_events):
            at.append(d.clock.now())
            if answer := answers[len(at) - 1]:
                raise answer

        dispatcher = d.dispatcher(ScriptedSink(behave), concurrency=1)
        seen: list[datetime | None] = []
        async with running(dispatcher):
            assert dispatcher.failing_since is None
            await d.change("a")
            for number in (1, 2, 3):
                await until(lambda: len(at) == number, within=HOUR)  # noqa: B023
                await anyio.sleep(0.01)
                seen.append(dispatcher.failing_since)
            await d.change("b")
            await until(lambda: len(at) == 4, within=HOUR)
            await anyio.sleep(0.01)
            seen.append(dispatcher.failing_since)
            dispatcher.stop()
    assert at[1] > at[0]
    first, second, taken, last = seen
    # In whole seconds, by the monotonic clock: a wall clock that is set does not move it far.
    assert first == second
    assert taken is None
    assert first == pytest.approx(at[0], abs=timedelta(seconds=1))
    assert last == pytest.approx(at[3], abs=timedelta(seconds=1))


async def test_a_judgement_is_bounded_by_the_age(tmp_path):
    async with delivering(tmp_path) as d:
        await d.change("a")
        dispatcher = d.dispatcher(ScriptedSink(), max_age=10.0)
        (delivery,) = await d.store.due("ops", d.store.store_time(), 1)
        await anyio.sleep(9)
        slow = SendError(SendReason.RATE_LIMITED, "429", retry_after=500)
        judged = dispatcher.judge(delivery, slow)
        assert judged.status is DeliveryStatus.PENDING
        assert judged.due_at == delivery.created_at + timedelta(seconds=10)
        await anyio.sleep(1)
        assert dispatcher.judge(delivery, slow).status is DeliveryStatus.DEAD
