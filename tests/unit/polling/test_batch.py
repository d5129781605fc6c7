"""Jobs that share a describe: how many requests they cost, and how each keeps its own fate."""

from contextlib import asynccontextmanager
from dataclasses import replace
from itertools import pairwise
from random import Random
from typing import Any

import anyio
import pytest

from monitor.config import Route
from monitor.errors import PollError, PollReason
from monitor.polling.schedule import ListingSweep, Schedule
from monitor.polling.scheduled_job import PollOptions, ScheduledJob
from monitor.polling.turn_queue import State
from monitor.polling.unchanged import RepeatedPoll
from monitor.recording.router import Router
from tests.builders import (
    VIRTUAL,
    Answer,
    FakeType,
    ScriptedSource,
    VirtualClock,
    at,
    following,
    job,
    running,
    until,
)
from tests.polling import PLACE, polling, run_for

pytestmark = VIRTUAL
BATCH = FakeType(at_once=20)
HUNDRED = FakeType(at_once=100)
BAD = PollError(PollReason.CONFIG, "ValidationException")
ABSENT = PollError(PollReason.MISSING, "Absent")
MALFORMED = PollError(PollReason.MALFORMED, "NoState")
UNREACHABLE = PollError(PollReason.UNAVAILABLE, "EndpointConnectionError")
JOBS = {"type": BATCH.name, "account": "prod", "region": "us-east-1"}


def batched(tmp_path, **settings):
    return polling(tmp_path, **{"job_type": BATCH, "rate": 100.0, "burst": 100} | settings)


@asynccontextmanager
async def under_way(tmp_path):
    """Open the poller of twenty jobs while a batch of them waits for its answer."""
    async with batched(tmp_path) as b:
        watch_all(b, names(20))
        async with running(b.poller):
            await anyio.sleep(35)
            b.source.latency, before = 5.0, len(b.source.batches)
            await until(lambda: len(b.source.batches) > before)
            yield b


def names(count, prefix="j"):
    return [f"{prefix}-{number:03d}" for number in range(count)]


def watch_all(b, ids, **more):
    b.source.answers |= dict.fromkeys(ids, "RUNNING")
    b.follow(*ids, **more)


def count(b, mode, outcome):
    return b.measured("polls_total", **JOBS, mode=mode, outcome=outcome)


async def rounds(b, number, interval=30.0):
    """Return how many requests each of so many intervals sees."""
    found = []
    for _ in range(number):
        before = len(b.source.batches)
        await anyio.sleep(interval)
        found.append(len(b.source.batches) - before)
    return found


@pytest.mark.parametrize(
    ("at_once", "number"),
    [
        (100, 6),
        (8, 240),
        pytest.param(100, 20, marks=pytest.mark.soak),
        pytest.param(8, 480, marks=pytest.mark.soak),
    ],
)
async def test_jobs_cost_a_request_a_round_for_each_batch_for_hours(tmp_path, at_once, number):
    """Five hundred jobs for minutes, and forty for hours."""
    async with batched(tmp_path, job_type=FakeType(at_once=at_once)) as b:
        ids = names(5 * at_once)
        watch_all(b, ids)
        async with running(b.poller):
            await anyio.sleep(31)
            before = b.measured("aws_requests_total", **_request("ok"))
            assert await rounds(b, number) == [5] * number
            assert b.measured("aws_requests_total", **_request("ok")) - before == 5 * number
        assert {len(batch) for batch in b.source.batches} == {at_once}
        for name in ids:
            gaps = _gaps(b.source.asked_for(name))[1:]
            assert gaps == pytest.approx([30.0] * len(gaps), abs=0.5)
        assert count(b, "batch", "unchanged") == len(b.source.looks) - len(ids)
        assert count(b, "batch", "changed") == len(ids)
        assert count(b, "describe", "unchanged") == 0


def _request(outcome):
    return {**PLACE, "operation": BATCH.describe_operation, "outcome": outcome}


def _gaps(times):
    return [after - before for before, after in pairwise(times)]


async def test_a_request_takes_one_token_and_is_late_once(tmp_path):
    """Two requests a second: five of them take two seconds, and no more."""
    async with batched(tmp_path, rate=2.0, burst=1) as b:
        watch_all(b, names(100))
        async with running(b.poller):
            await anyio.sleep(2.5)
            assert [len(batch) for batch in b.source.batches] == [20] * 5
            await anyio.sleep(60)
        assert b.measured("poll_lateness_seconds_count") == len(b.source.batches)
        assert b.measured("poll_lateness_seconds_bucket", le="5.0") == len(b.source.batches)


async def test_jobs_that_come_at_any_moment_join_the_round(tmp_path):
    chance = Random(3)
    async with batched(tmp_path) as b:
        watch_all(b, names(80))
        async with running(b.poller):
            for name in names(20, "later"):
                await anyio.sleep(chance.uniform(0, 40))
                watch_all(b, [name])
            await anyio.sleep(61)
            assert await rounds(b, 10) == [5] * 10


async def test_jobs_that_fail_alone_come_back_to_the_round(tmp_path):
    chance = Random(4)
    ids = names(100)
    async with batched(tmp_path) as b:
        watch_all(b, ids)
        async with running(b.poller):
            await anyio.sleep(45)
            for _ in range(15):
                failing = chance.sample(ids, 7)
                b.source.answers |= dict.fromkeys(failing, MALFORMED)
                await anyio.sleep(chance.uniform(20, 90))
                b.source.answers |= dict.fromkeys(failing, "RUNNING")
            await anyio.sleep(200)
            assert await rounds(b, 10) == [5] * 10
        assert count(b, "batch", "malformed") + count(b, "describe", "malformed") > 40
        assert b.measured("source_up", **PLACE) == 1


async def test_an_id_that_the_answer_omits_goes_missing_alone(tmp_path):
    async with batched(tmp_path) as b:
        watch_all(b, names(9), missing_after=3600.0)
        async with running(b.poller):
            await anyio.sleep(40)
            del b.source.answers["j-007"]
            await anyio.sleep(5000)
            told = await b.told()
            assert [entry for entry in told if entry[1] != "job.discovered"] == [
                ("j-007", "job.missing", "RUNNING")
            ]
            asked = b.source.asked_for("j-007")
            b.source.answers["j-007"] = "SUCCEEDED"
            for _ in range(12 * 6):
                await anyio.sleep(600)
                if back := ("j-007", "job.reappeared", "SUCCEEDED") in await b.told():
                    break
            assert back
        # Three denials, spread over an hour.
        assert len([moment for moment in asked if moment > 45]) <= 3
        others = b.source.asked_for("j-008")
        assert max(_gaps(others)) <= 33.1


async def test_one_bad_id_ends_up_alone_and_the_others_go_on(tmp_path):
    async with batched(tmp_path) as b:
        watch_all(b, names(100))
        b.source.answers["j-023"] = BAD
        async with running(b.poller):
            await anyio.sleep(29)
            assert len(b.source.answers) == 100
            assert await b.kinds() == ["job.discovered"] * 99
            # Its twenty are cut in halves until it is found.
            assert len(b.source.batches) <= 5 + 2 * 6
            await anyio.sleep(301)
            # Its own rare probe comes on top.
            found = await rounds(b, 20)
            assert set(found) <= {5, 6}
            assert found.count(6) <= 3
        alone = [moment for moment, asked in b.source.looks if asked == "j-023"]
        assert 1 <= len([moment for moment in alone if moment > 29]) <= 8
        # Its backoff is its own: every other was polled all the while.
        for name in ("j-022", "j-024", "j-099"):
            assert max(_gaps(b.source.asked_for(name))) <= 33.1
        assert b.poller.status_of(job("j-023")).failing is PollReason.CONFIG
        assert b.measured("source_up", **PLACE) == 1
        assert ("prod", "source.unavailable") not in await b.told()


async def test_a_bad_id_that_is_good_again_joins_the_round(tmp_path):
    async with batched(tmp_path) as b:
        watch_all(b, names(24))
        b.source.answers["j-011"] = BAD
        async with running(b.poller):
            await anyio.sleep(100)
            b.source.answers["j-011"] = "RUNNING"
            await anyio.sleep(600)
            assert await rounds(b, 20) == [2] * 20
        assert len(b.source.asked_for("j-011")) > 20


@pytest.mark.parametrize("bad", [0, 10, 19, 20, 50, 99])
async def test_several_bad_ids_are_found_wherever_they_stand(tmp_path, bad):
    async with batched(tmp_path) as b:
        watch_all(b, names(100))
        spoilt = {f"j-{(bad + step) % 100:03d}" for step in (0, 1, 14, 60)}
        b.source.answers |= dict.fromkeys(spoilt, BAD)
        await run_for(b, 20)
        told = {subject for subject, _, _ in await b.told()}
        assert told == set(names(100)) - spoilt


async def test_a_request_that_is_wrong_for_all_ends_with_each_job_on_its_own(tmp_path):
    async with batched(tmp_path) as b:
        watch_all(b, names(100))
        b.source.trouble = BAD
        await run_for(b, 300)
        # Halves down to one, and then a slow probe for each.
        assert len(b.source.batches) <= 200
        assert len(b.source.looks) <= 100 * 5
        assert await b.kinds() == []


@pytest.mark.parametrize("reason", [PollReason.UNAVAILABLE, PollReason.TRANSIENT])
async def test_an_outage_counts_once_and_all_come_back_at_once(tmp_path, reason):
    async with batched(tmp_path) as b:
        watch_all(b, names(100))
        async with running(b.poller):
            await anyio.sleep(61)
            b.source.trouble, before = PollError(reason, "Broken"), len(b.source.batches)
            await anyio.sleep(3600)
            failed = len(b.source.batches) - before
            # They fail as five polls, and not as a hundred: a probe every 20 s, and theirs.
            assert failed <= 3600 / 20 + 5 * 40
            b.source.trouble, back = None, len(b.source.batches)
            changed = b.clock.monotonic()
            b.source.answers |= dict.fromkeys(names(100), "SUCCEEDED")
            await until(lambda: len(b.poller.schedule) == 0, 40)
            assert b.clock.monotonic() - changed <= 21
            assert len(b.source.batches) - back <= 7
        kinds = await b.kinds()
        assert kinds.count("source.unavailable") == kinds.count("source.recovered") == 1
        assert kinds.count("job.state_changed") == 100
        assert kinds.count("job.missing") == 0


async def test_an_id_that_turns_bad_in_an_outage_holds_nobody_back(tmp_path):
    async with batched(tmp_path) as b:
        watch_all(b, names(40))
        async with running(b.poller):
            await anyio.sleep(61)
            b.source.trouble = UNREACHABLE
            await anyio.sleep(1800)
            b.source.trouble = None
            b.source.answers |= dict.fromkeys(names(40), "SUCCEEDED") | {"j-000": BAD}
            changed = b.clock.monotonic()
            await until(lambda: len(b.poller.schedule) == 1, 40)
            assert b.clock.monotonic() - changed <= 21
        assert (await b.kinds()).count("source.recovered") == 1


async def test_a_health_needs_three_requests_and_not_three_jobs(tmp_path):
    async with batched(tmp_path) as b:
        watch_all(b, names(20))
        b.source.trouble = UNREACHABLE
        async with running(b.poller):
            await anyio.sleep(1)
            assert b.poller.client.health.failures == 1
            assert not b.poller.client.health.lost


async def test_no_job_is_polled_before_a_retry_after_has_passed(tmp_path):
    async with batched(tmp_path) as b:
        watch_all(b, names(100))
        async with running(b.poller):
            await anyio.sleep(61)
            b.source.trouble = PollError(PollReason.THROTTLE, "Throttled", retry_after=50.0)
            await until(lambda: b.measured("aws_requests_total", **_request("throttle")))
            failed_at, before = b.clock.monotonic(), len(b.source.batches)
            b.source.trouble = None
            await anyio.sleep(49)
            concerned = set(b.source.batches[before - 1])
            early = [one for batch in b.source.batches[before:] for one in batch]
            assert not concerned & set(early)
            await until(
                lambda: concerned <= {one for batch in b.source.batches[before:] for one in batch}
            )
            assert b.clock.monotonic() - failed_at < 120


async def test_a_retry_after_is_kept_while_others_are_due(tmp_path):
    """Others of the same describe, due a little earlier, do not take it along."""
    async with batched(tmp_path) as b:
        b.source.answers |= dict.fromkeys(["a", "b"], "RUNNING")
        held, other = b.track(job("a")), b.track(job("b"))
        b.poller.schedule.put(held, 12.0)
        held.hold_until = 12.0
        b.poller.schedule.put(other, 10.0)
        await run_for(b, 15)
        assert b.source.asked_for("a")[0] >= 12.0
        assert b.source.asked_for("b")[0] == pytest.approx(10.0, abs=0.1)


async def test_jobs_that_were_throttled_together_stay_together(tmp_path):
    async with batched(tmp_path) as b:
        watch_all(b, names(20))
        async with running(b.poller):
            await anyio.sleep(61)
            before = len(b.source.batches)
            b.source.trouble = PollError(PollReason.THROTTLE, "Throttled")
            await anyio.sleep(600)
            assert {len(batch) for batch in b.source.batches[before:]} == {20}
            b.source.trouble = None
            await anyio.sleep(330)
            assert await rounds(b, 10) == [1] * 10


async def test_a_job_that_has_failed_for_long_does_not_make_all_wait(tmp_path):
    async with batched(tmp_path) as b:
        watch_all(b, names(20))
        async with running(b.poller):
            await anyio.sleep(35)
            old = b.poller.schedule.get(job("j-000"))
            old.attempts = 30
            b.source.trouble = PollError(PollReason.TRANSIENT, "Timeout")
            await until(lambda: b.poller.schedule.get(job("j-010")).attempts)
            assert b.poller.schedule.get(job("j-010")).due - b.clock.monotonic() <= 1.0


async def test_jobs_that_end_in_a_batch_leave_it(tmp_path):
    async with batched(tmp_path) as b:
        ids = names(100)
        watch_all(b, ids)
        async with running(b.poller):
            await anyio.sleep(61)
            b.source.answers |= dict.fromkeys(ids[:50], "FAILED")
            await anyio.sleep(35)
            assert len(b.poller.schedule) == 50
            assert await rounds(b, 10) == [3] * 10
        assert (await b.kinds()).count("job.state_changed") == 50


async def test_a_job_that_is_dropped_while_its_batch_is_under_way_does_not_come_back(tmp_path):
    async with under_way(tmp_path) as b:
        dropped = b.poller.schedule.get(job("j-001"))
        assert dropped.state is State.BUSY
        b.poller.drop(dropped)
        await anyio.sleep(1)
        # A new watch takes it while the old poll still goes on.
        b.poller.drop(b.poller.schedule.get(job("j-002")))
        b.follow("j-002", interval=10.0)
        await anyio.sleep(200)
        assert b.poller.schedule.known(job("j-001")) is None
        assert b.source.asked_for("j-001")[-1] < 80
        assert max(_gaps(b.source.asked_for("j-002"))) <= 35
        assert (await b.kinds()) == ["job.discovered"] * 20


async def test_a_job_that_changes_hands_in_a_batch_is_recorded_for_its_new_watch(tmp_path):
    async with under_way(tmp_path) as b:
        smaller = replace(BATCH, at_once=10)
        b.source.answers["j-003"] = "FAILED"
        b.follow("j-003", follow=following(smaller, labels={"team": "new"}))
        await anyio.sleep(10)
        events = [event["data"] for _, event in await b.store.transitions(limit=1000)]
        (ended,) = [data for data in events if data["kind"] == "job.state_changed"]
        assert ended["job"]["labels"] == {"team": "new"}


async def test_a_reload_that_lowers_how_many_share_holds_for_halves_too(tmp_path):
    async with batched(tmp_path) as b:
        watch_all(b, names(20))
        b.source.answers["j-000"], b.source.latency = BAD, 5.0
        smaller = following(replace(BATCH, at_once=5))
        async with running(b.poller):
            await until(lambda: b.source.batches)
            b.follow(*names(20), follow=smaller)
            await anyio.sleep(200)
        assert {len(batch) for batch in b.source.batches[1:]} <= set(range(1, 6))
        assert len(await b.kinds()) == 19


async def test_jobs_of_different_requests_do_not_share_one(tmp_path):
    async with batched(tmp_path) as b:
        ids = [f"{cluster}/{number}" for number in range(15) for cluster in ("a", "b", "c")]
        watch_all(b, ids)
        async with running(b.poller):
            await anyio.sleep(65)
            assert await rounds(b, 10) == [3] * 10
        for batch in b.source.batches:
            assert len({one.partition("/")[0] for one in batch}) == 1


async def test_sweeps_and_batches_leave_each_other_alone(tmp_path):
    """A sweep confirms what a batch has under way; each change is told once."""
    chance = Random(11)
    ids = names(60)
    async with batched(tmp_path) as b:
        b.recorder.router = Router([Route.model_validate({"sinks": ["ops"]})], ["ops"])
        b.source.answers |= dict.fromkeys(ids, "PENDING")
        b.source.latency, b.source.page_latency, b.source.page_size = 0.7, 0.4, 20
        b.follow(*ids[:30])
        b.discover(interval=7.0)
        async with running(b.poller):
            for _ in range(60):
                await anyio.sleep(chance.uniform(0.1, 9))
                for name in chance.sample(ids, 3):
                    now = b.source.answers[name]
                    b.source.answers[name] = {"PENDING": "RUNNING"}.get(now, "FAILED")
            await anyio.sleep(120)
        told: dict[str, list[str]] = {}
        for subject, _, state in await b.told():
            told.setdefault(subject, []).append(state)
        for name in ids:
            assert told[name][-1] == b.source.answers[name]
            assert len(told[name]) == len(set(told[name]))


async def test_a_source_that_leaves_out_an_answer_breaks_nothing_else(tmp_path):
    async with batched(tmp_path) as b:
        watch_all(b, names(10))
        b.source.answers["j-004"] = ValueError("the source answers nothing for this one")
        await run_for(b, 40)
        assert len(await b.kinds()) == 9
        assert b.poller.status_of(job("j-004")).failing is PollReason.INTERNAL


async def test_an_answer_dated_later_than_a_batch_is_not_undone(tmp_path):
    async with batched(tmp_path) as b:
        b.source.answers["a"] = Answer("RUNNING", updated_at=at(10))
        b.source.answers["b"] = Answer("RUNNING", updated_at=at(10))
        b.follow("a", "b")
        async with running(b.poller):
            await anyio.sleep(40)
            b.source.answers["a"] = Answer("PENDING", updated_at=at(5))
            await anyio.sleep(31)
        assert await b.kinds() == ["job.discovered"] * 2
        assert count(b, "batch", "stale") >= 1


def _begun(schedule):
    begun = schedule.begin(1.0)
    assert not isinstance(begun, ListingSweep)
    return [one.job.id for one in begun]


@pytest.mark.parametrize("jobs", [20_000, pytest.param(100_000, marks=pytest.mark.soak)])
def test_a_group_of_very_many_jobs_is_begun_at_little_cost(jobs):
    """Each request takes its hundred, and leaves no old entry behind."""
    source, schedule = ScriptedSource(VirtualClock(), HUNDRED), Schedule()
    options = PollOptions(source, following(HUNDRED), 30.0, 3600.0)
    for number in range(jobs):
        schedule.put(ScheduledJob(job(f"j-{number}"), options), 1.0)
    taken = 0
    while schedule.first():
        assert len(_begun(schedule)) == 100
        taken += 1
    assert taken == jobs / 100
    queue = schedule._queue
    assert not any(slot.turns[slot.taken :] for slot in queue._slots.values())
    assert not any(queue._ranked.values())


def test_a_begin_passes_over_no_more_than_a_bound_of_others():
    source, schedule = ScriptedSource(VirtualClock(), HUNDRED), Schedule()
    options = following(HUNDRED)
    for number in range(1000):
        tracked = ScheduledJob(job(f"c-{number}/x"), PollOptions(source, options, 30.0, 3600.0))
        schedule.put(tracked, 1.0)
    late = ScheduledJob(job("c-0/y"), PollOptions(source, options, 30.0, 3600.0))
    schedule.put(late, 1.0)
    assert _begun(schedule) == ["c-0/x"]
    # Nobody has lost a turn.
    order = []
    while schedule.first():
        order += _begun(schedule)
    assert order[:2] == ["c-1/x", "c-2/x"]
    assert len(order) == 1000


async def test_an_answer_is_not_noted_for_what_another_replica_has_recorded_since(tmp_path):
    async with polling(tmp_path) as b:
        b.source.answers["a"] = "PENDING"
        b.follow("a")
        await run_for(b, 40)
        turn, known = b.poller.schedule.known(job("a")), b.recorder.snapshot(job("a"))
        assert turn
        assert turn.steady
        assert known
        unused: Any = None
        for shown, digest in ((known.replace(sequence=2), None), (known, b"of the answer")):
            repeat = RepeatedPoll(unused)
            repeat.note((turn,), [shown], b"of the answer", [30.0], 0.0, b.recorder)
            assert repeat.digest == digest
