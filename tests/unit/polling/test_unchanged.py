"""A poll that changes nothing is not read, and nobody can tell."""

import asyncio
import math
import tempfile
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from random import Random
from types import SimpleNamespace

import anyio
import looptime
import pytest
from structlog.testing import capture_logs

from monitor import pacing
from monitor.clock import Lease
from monitor.config import Discover
from monitor.errors import PollError, PollReason
from monitor.polling.quota import Budget
from monitor.polling.schedule import ListingSweep
from monitor.polling.turn_queue import State
from monitor.polling.unchanged import RepeatedPoll
from tests.builders import (
    TYPE,
    VIRTUAL,
    Answer,
    FakeType,
    ScriptedPoll,
    ScriptedResponse,
    at,
    following,
    job,
    running,
    until,
)
from tests.polling import PLACE, polling, run_for

IDS = ("a", "b", "c", "d")
STATES = ("PENDING", "RUNNING", "RETURNING", "SUCCEEDED", "FAILED", "ODD")
REASONS = (
    *(None, PollReason.THROTTLE, PollReason.TRANSIENT),
    *(PollReason.UNAVAILABLE, PollReason.MISSING),
)
COUNTED = ("polls_total", "aws_requests_total", "misdated_answers_total", "source_up", "ended_jobs")


def script(random, *more):
    """Return what happens, and after how many seconds each."""
    choose = random.choice
    steps = (
        lambda: ("answer", choose(IDS), choose(STATES), choose([None, 0, 500, 4000])),
        lambda: ("answer", choose(IDS), choose(STATES), None),
        lambda: ("deny", choose(IDS)),
        lambda: ("trouble", choose(REASONS)),
        lambda: ("reload", choose([None, 40.0, 90.0]), choose([7.0, 20.0])),
        lambda: ("jump", choose([-4000.0, 0.0, 4000.0])),
        lambda: ("hint", choose(IDS)),
        lambda: ("drop", choose(IDS)),
        *more,
    )
    return [(choose([3.1, 19.3, 77.7, 301.9]), choose(steps)()) for _ in range(12)]


async def live(script, *, at_once, discovers, prepares, named=True):
    """Return what a run tells: its events, its counts, and when each job was polled."""
    kind = FakeType(at_once=at_once, grace=100.0, grace_interval=15.0)
    with tempfile.TemporaryDirectory() as directory, capture_logs() as logged:
        async with polling(Path(directory), job_type=kind, rate=5.0, burst=4) as b:
            b.source.prepares, b.source.latency, stuck_after = prepares, 0.3, 60.0
            b.source.answers |= dict.fromkeys(IDS, "PENDING")
            if named:
                b.follow(*IDS, interval=10.0, follow=following(kind, stuck_after))
            else:
                b.source.page_size = 2
                b.discover(12.0)
            if named and discovers:
                b.discover(40.0)
            async with running(b.poller):
                for seconds, act in script:
                    await anyio.sleep(seconds)
                    perform(b, kind, *act)
                b.source.trouble = b.source.page_trouble = None
                await anyio.sleep(400)
            events = [event for _, event in await b.store.transitions(limit=10_000)]
            # Jobs that are due together may be polled in any order.
            events.sort(key=lambda event: (event["subject"], event["data"]["sequence"]))
            counts = {
                (sample.name, *sorted(sample.labels.items())): sample.value
                for metric in b.registry.collect()
                for sample in metric.samples
                if sample.name.endswith(COUNTED)
            }
            windows = [event["data"].pop("window") for event in events]
            times = [datetime.fromisoformat(each[end] or "2026-03-01T12:00:00Z").timestamp()
                     for each in windows for end in ("after", "before")]  # fmt: skip
            for event in events:
                event.pop("id")
                event.pop("time")
            polled = [(one.job.id, one.failing, one.finished) for one in b.poller.watched()]
            last = [one.polled_at.timestamp() for one in b.poller.watched() if one.polled_at]
            spoken = sorted(
                f"{line['event']} {line.get('job')} {line.get('reason')}" for line in logged
            )
            return (events, counts, polled, spoken), (times, last)


def perform(b, kind, name, *values):
    match name, values:
        case "answer", (job_id, state, dated):
            updated_at = None if dated is None else at(dated)
            b.source.answers[job_id] = Answer(state, {"Owner": state[0]}, updated_at)
        case "deny", (job_id,):
            b.source.answers.pop(job_id, None)
        case "trouble" | "page_trouble", (reason,):
            setattr(b.source, name, PollError(reason, "Oops") if reason else None)
        case "reload", (stuck_after, interval):
            b.follow(*IDS, interval=interval, follow=following(kind, stuck_after))
        case "jump", (seconds,):
            b.clock.jump = seconds
        case "hint", (job_id,):
            if (scheduled := b.poller.schedule.get(job(job_id))) is not None:
                b.poller.hint(scheduled)
        case "drop", (job_id,):
            if (scheduled := b.poller.schedule.get(job(job_id))) is not None:
                b.poller.drop(scheduled)


def alone(*args, **kwargs):
    with asyncio.Runner(loop_factory=partial(looptime.new_event_loop, noop_cycles=1)) as runner:
        return runner.run(live(*args, **kwargs))


@VIRTUAL
@pytest.mark.parametrize("at_once", [1, 3])
async def test_an_answer_is_read_once_as_long_as_it_repeats(tmp_path, at_once):
    async with polling(tmp_path, job_type=FakeType(at_once=at_once)) as b:
        b.source.prepares = True
        b.source.answers |= dict.fromkeys(IDS[:3], "PENDING")
        b.follow(*IDS[:3])
        async with running(b.poller):
            await anyio.sleep(1000)
            requests = 3 // at_once
            assert (b.source.prepared, b.source.reads) == (requests, requests)
            b.source.answers["b"] = "RUNNING"
            await anyio.sleep(100)
        assert b.source.reads == requests + 1
        assert [kind for kind in await b.kinds() if kind != "job.discovered"] == [
            "job.state_changed"
        ]
        place = {"type": TYPE.name, "account": PLACE["account"], "region": PLACE["region"]}
        mode = "batch" if at_once > 1 else "describe"
        polls = {
            outcome: b.measured("polls_total", **place, mode=mode, outcome=outcome)
            for outcome in ("changed", "unchanged")
        }
        assert polls == {"changed": 4.0, "unchanged": len(b.source.looks) - 4.0}
        paths = {
            path: b.measured("poll_path_total", **PLACE, path=path) for path in ("fast", "plain")
        }
        assert paths == {"plain": 0, "fast": len(b.source.looks) / at_once}
        assert b.measured("source_up", **PLACE) == 1.0


class Doubted(FakeType):
    """A type that believes the end of a job only once the job is known."""

    def judge(self, parts, before):
        return super().judge({"Status": "PENDING"} if before is None else parts, before)


@VIRTUAL
async def test_an_answer_is_read_again_if_it_says_more_about_what_is_known_by_then(tmp_path):
    async with polling(tmp_path, job_type=Doubted()) as b:
        b.source.prepares = True
        b.source.answers["a"] = "RUNNING"
        b.follow("a", follow=following(Doubted()))
        await run_for(b, 100)
        assert await b.kinds() == ["job.discovered", "job.state_changed"]
        assert b.source.reads == 2


@VIRTUAL
async def test_an_answer_that_many_polls_must_confirm_is_read_as_often(tmp_path):
    async with polling(tmp_path) as b:
        b.source.prepares = True
        b.source.answers["a"] = "PENDING"
        b.follow("a", follow=replace(following(), confirm=3))
        async with running(b.poller):
            await anyio.sleep(100)
            b.source.answers["a"] = "RUNNING"
            await anyio.sleep(100)
        assert await b.kinds() == ["job.discovered", "job.state_changed"]
        assert b.source.reads == 1 + 3


@VIRTUAL
async def test_responses_that_come_together_are_taken_together_and_counted_each(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(pacing, "phase_of", lambda _key, _interval: 0.0)
    other = FakeType(name="panorama.other", describe_operation="DescribeOther")
    async with polling(tmp_path) as b:
        b.source.prepares, noted = True, []
        note_unchanged = b.poller.client.note_unchanged

        def note(poll, durations, *times):
            noted.append((poll[1], len(durations)))
            note_unchanged(poll, durations, *times)

        monkeypatch.setattr(b.poller.client, "note_unchanged", note)
        b.source.answers |= dict.fromkeys(IDS, "PENDING")
        b.follow("a", "b", "c")
        b.follow("d", follow=following(other))
        await run_for(b, 1000)
        assert b.source.reads == 4
        assert noted == [(TYPE.describe_operation, 3), ("DescribeOther", 1)] * (len(noted) // 2)
        assert len(noted) > 60
        labels = {"service": "panorama", "account": "prod", "region": PLACE["region"]}
        counts = {
            operation: b.measured("aws_requests_total", operation=operation, outcome="ok", **labels)
            for operation, _ in noted
        }
        polls = [len(b.source.asked_for(one)) for one in IDS]
        assert counts == {TYPE.describe_operation: sum(polls[:3]), "DescribeOther": polls[3]}


@VIRTUAL
async def test_a_job_gets_stuck_though_its_answers_are_not_read(tmp_path):
    async with polling(tmp_path) as b:
        b.source.prepares = True
        b.source.answers["a"] = "PENDING"
        b.follow("a", follow=following(stuck_after=500.0))
        await run_for(b, 1000)
        assert await b.kinds() == ["job.discovered", "job.stuck"]
        assert b.source.reads <= 4


@VIRTUAL
async def test_the_window_of_a_change_begins_with_the_last_poll_that_was_not_read(tmp_path):
    async with polling(tmp_path) as b:
        b.source.prepares = True
        b.source.answers["a"] = "PENDING"
        b.follow("a")
        async with running(b.poller):
            await anyio.sleep(500)
            last = b.source.asked_for("a")[-1]
            b.source.answers["a"] = "SUCCEEDED"
            await anyio.sleep(40)
        (_, event) = (await b.store.transitions(limit=10))[-1]
        after = datetime.fromisoformat(event["data"]["window"]["after"])
        assert after.timestamp() == pytest.approx(at(last).timestamp(), abs=0.01)


@VIRTUAL
async def test_an_answer_is_read_after_the_clock_was_set_back_be_it_the_second_one(tmp_path):
    """The first one after a restart may show nothing new, so the second need not be read."""
    async with polling(tmp_path) as b:
        b.source.answers["a"] = Answer("RUNNING", updated_at=at(0))
        b.follow("a")
        await run_for(b, 5)
        known = b.recorder.snapshot(job("a"))
        assert known is not None
    async with polling(tmp_path) as b:
        b.source.prepares = True
        b.recorder.adopt(known)
        b.source.answers["a"] = Answer("RUNNING", updated_at=at(0))
        b.follow("a")
        async with running(b.poller):
            await until(lambda: b.source.reads, within=60)
            b.clock.jump = -4000.0
            await anyio.sleep(35)
            assert b.source.reads == 2
            assert b.measured("misdated_answers_total", type=TYPE.name) == 1


@VIRTUAL
async def test_an_answer_that_is_dated_ahead_is_read_until_it_is_not(tmp_path):
    async with polling(tmp_path) as b:
        b.source.prepares = True
        b.source.answers["a"] = Answer("RUNNING", updated_at=at(100))
        b.follow("a")
        async with running(b.poller):
            await anyio.sleep(130)
            reads = b.source.reads
            await anyio.sleep(300)
        assert (reads, b.source.reads) == (6, 6)


@VIRTUAL
async def test_the_time_of_a_poll_that_was_not_read_is_stored_at_the_end(tmp_path):
    async with polling(tmp_path) as b:
        b.source.prepares = True
        b.source.answers["a"] = "PENDING"
        b.follow("a")
        await run_for(b, 500)
        await b.recorder.rest()
        stored = await b.store.snapshot(job("a").key)
        assert stored is not None
        assert stored.looked_at == at(b.source.asked_for("a")[-1])


@VIRTUAL
async def test_a_source_that_refuses_prepared_requests_is_polled_all_the_same(
    tmp_path, monkeypatch
):
    async with polling(tmp_path) as b:
        b.source.prepares = True
        monkeypatch.setattr(ScriptedPoll, "send", lambda _self, _jobs, _done: False)
        b.source.answers["a"] = "PENDING"
        b.follow("a")
        async with running(b.poller):
            await anyio.sleep(100)
            b.source.answers["a"] = "SUCCEEDED"
            await anyio.sleep(40)
        assert await b.kinds() == ["job.discovered", "job.state_changed"]


@VIRTUAL
async def test_a_fast_path_that_is_broken_does_not_blind_the_daemon(tmp_path, monkeypatch):
    async with polling(tmp_path) as b:
        b.source.prepares = True

        async def broken(_response):
            raise PollError(PollReason.MALFORMED, "Broken")

        b.source.answers["a"] = "PENDING"
        b.follow("a")
        async with running(b.poller):
            await anyio.sleep(100)
            monkeypatch.setattr(ScriptedResponse, "digest", None)
            monkeypatch.setattr(ScriptedResponse, "read", broken)
            b.source.answers["a"] = "SUCCEEDED"
            await anyio.sleep(300)
        assert await b.kinds() == ["job.discovered", "job.state_changed"]
        assert b.measured("poll_path_total", **PLACE, path="plain") >= 1


@VIRTUAL
async def test_a_poller_that_stops_waits_for_prepared_polls(tmp_path):
    async with polling(tmp_path) as b:
        b.source.prepares = True
        b.source.answers["a"] = "PENDING"
        b.follow("a", interval=10.0)
        async with running(b.poller):
            await anyio.sleep(50)
            b.source.latency = 20.0
            await until(lambda: b.source.under_way)
            b.source.answers["a"] = "SUCCEEDED"
        assert await b.kinds() == ["job.discovered", "job.state_changed"]


@VIRTUAL
async def test_a_mistake_of_ours_in_an_answer_ends_the_poller(tmp_path, monkeypatch):
    async with polling(tmp_path) as b:
        b.source.prepares = True
        b.source.answers["a"] = "PENDING"
        b.follow("a")

        def broken(*_):
            raise ZeroDivisionError

        monkeypatch.setattr(RepeatedPoll, "repeats", broken)
        with pytest.raises(ExceptionGroup) as caught:
            await run_for(b, 200)
        assert caught.group_contains(ZeroDivisionError)


@pytest.mark.parametrize("seed", range(6))
def test_whatever_happens_both_paths_tell_the_same(seed):
    random = Random(seed)
    happens, at_once, discovers = script(random), random.choice([1, 3]), seed % 3 == 0
    plain, times = alone(happens, at_once=at_once, discovers=discovers, prepares=False)
    fast, fast_times = alone(happens, at_once=at_once, discovers=discovers, prepares=True)
    assert fast == plain
    for one, other in zip(times, fast_times, strict=True):
        assert one == pytest.approx(other, abs=0.05)


@pytest.mark.parametrize("seed", range(8))
def test_whatever_happens_jobs_of_pages_that_are_not_read_are_told_the_same(seed):
    random = Random(seed)
    reasons = (None, PollReason.TRANSIENT, PollReason.UNAVAILABLE)
    happens = script(random, lambda: ("page_trouble", random.choice(reasons)))
    runs = [
        alone(happens, at_once=1, discovers=True, prepares=prepares, named=False)[0]
        for prepares in (False, True)
    ]
    # The times of retries, and so the counts of polls and of what throttles them, depend on when
    # the last poll was.
    (plain, _, plain_jobs, plain_spoken), (fast, _, fast_jobs, fast_spoken) = runs
    assert (fast, fast_jobs) == (plain, plain_jobs)
    assert set(fast_spoken) == set(plain_spoken)


@VIRTUAL
async def test_a_job_that_waits_with_its_page_is_described_if_that_does_not_come(tmp_path):
    async with polling(tmp_path) as b:
        b.source.prepares = True
        b.source.answers |= dict.fromkeys(IDS, "PENDING")
        b.discover(30.0)
        async with running(b.poller):
            await anyio.sleep(200)
            jobs = b.poller.schedule.polled()
            assert {each.state for each in jobs} == {State.LISTED}
            shown = jobs[0].answered_at
            b.source.page_trouble = PollError(PollReason.TRANSIENT, "Oops")
            looks = len(b.source.looks)
            await anyio.sleep(60)
        found = b.source.looks[looks:]
        first = {job_id: at for at, job_id in reversed(found)}
        # One and a half intervals after the last page that came.
        assert first == pytest.approx(dict.fromkeys(IDS, shown + 45.0), abs=0.5)


@VIRTUAL
async def test_a_hint_takes_a_job_out_of_its_page_and_the_next_page_takes_it_back(tmp_path):
    async with polling(tmp_path) as b:
        b.source.prepares = True
        b.source.answers |= dict.fromkeys(IDS, "PENDING")
        b.discover(30.0)
        async with running(b.poller):
            await anyio.sleep(200)
            hinted = b.poller.schedule.get(job("a"))
            assert hinted is not None
            looks = len(b.source.looks)
            b.poller.hint(hinted)
            await anyio.sleep(5)
            assert [name for _, name in b.source.looks[looks:]] == ["a"]
            states = [hinted.state]
            await anyio.sleep(60)
            states.append(hinted.state)
            assert states == [State.WAITING, State.LISTED]
            assert len(b.source.looks) == looks + 1


@VIRTUAL
async def test_the_window_of_a_change_begins_with_the_last_page_that_was_not_read(tmp_path):
    async with polling(tmp_path) as b:
        b.source.prepares = True
        b.source.answers |= dict.fromkeys(IDS, "PENDING")
        b.discover(30.0)
        async with running(b.poller):
            await anyio.sleep(500)
            last = b.source.pages[-1][0]
            b.source.answers["b"] = "SUCCEEDED"
            await anyio.sleep(40)
        (_, event) = (await b.store.transitions(limit=10))[-1]
        after = datetime.fromisoformat(event["data"]["window"]["after"])
        assert after.timestamp() == pytest.approx(at(last).timestamp(), abs=0.01)


@VIRTUAL
async def test_the_time_of_a_page_that_was_not_read_is_stored_at_the_end(tmp_path):
    async with polling(tmp_path) as b:
        b.source.prepares = True
        b.source.answers |= dict.fromkeys(IDS, "PENDING")
        b.discover(30.0)
        await run_for(b, 500)
        await b.recorder.rest()
        stored = await b.store.snapshot(job("a").key)
        assert stored is not None
        assert stored.looked_at == at(b.source.pages[-1][0])


@VIRTUAL
async def test_pages_are_read_until_they_repeat(tmp_path):
    async with polling(tmp_path) as b:
        b.source.prepares, b.source.page_size = True, 2
        b.source.answers |= dict.fromkeys("abcde", "PENDING")
        b.discover(30.0)
        async with running(b.poller):
            await anyio.sleep(150)
            reads, looks = b.source.page_reads, len(b.source.looks)
            await anyio.sleep(1000)
            assert (b.source.page_reads, len(b.source.looks)) == (reads, looks)
            assert all(
                one.polled_at and one.polled_at > b.clock.now() - timedelta(seconds=32)
                for one in b.poller.watched()
            )
            b.source.answers |= {"c": "RUNNING", "f": "PENDING"}
            await anyio.sleep(40)
        assert await b.told() == [
            *(((each, "job.discovered", "PENDING")) for each in "abcde"),
            ("c", "job.state_changed", "RUNNING"),
            ("f", "job.discovered", "PENDING"),
        ]  # fmt: skip


@VIRTUAL
async def test_a_job_gets_stuck_though_its_pages_are_not_read(tmp_path):
    async with polling(tmp_path) as b:
        b.source.prepares = True
        b.source.answers["a"] = "PENDING"
        rules = Discover.model_validate({})
        limited = following(stuck_after=500.0)
        b.poller.discover(
            ListingSweep(b.source, rules, 30.0, lambda row: b.track(row.job, follow=limited))
        )
        await run_for(b, 1000)
        assert await b.kinds() == ["job.discovered", "job.stuck"]
        assert b.source.page_reads < 5


@VIRTUAL
async def test_a_listing_that_stays_empty_is_complete(tmp_path):
    async with polling(tmp_path) as b:
        b.source.prepares = True
        b.discover(30.0)
        await run_for(b, 300)
        assert (
            b.measured("listing_complete", type=TYPE.name, account="prod", region="us-east-1") == 1
        )
        assert b.source.page_reads < len(b.source.pages) / 2


@VIRTUAL
async def test_a_page_that_is_not_read_tells_how_often_its_jobs_are_polled(tmp_path):
    async with polling(tmp_path) as b:
        b.source.prepares = True
        b.source.answers |= dict.fromkeys(IDS, "PENDING")
        b.discover(30.0)
        async with running(b.poller):
            await anyio.sleep(150)
            b.source.trouble = b.source.page_trouble = PollError(PollReason.THROTTLE, "Throttled")
            await anyio.sleep(600)
            b.source.trouble = b.source.page_trouble = None
            await anyio.sleep(1000)
        gaps = [each.gap for each in b.poller.schedule.polled()]
        assert gaps == pytest.approx([30.0] * len(IDS), abs=1.0)


@VIRTUAL
async def test_a_job_that_leaves_a_prepared_request_under_way_is_not_polled_again(tmp_path):
    async with polling(tmp_path, job_type=FakeType(at_once=3)) as b:
        b.source.prepares, b.source.latency = True, 0.5
        b.source.answers |= dict.fromkeys("abc", "PENDING")
        b.follow(*"abc", interval=10.0)
        async with running(b.poller):
            await anyio.sleep(45)
            dropped = b.poller.schedule.get(job("c"))
            assert dropped is not None
            b.poller.hint(dropped)  # alone, so that it has another request for a while
            await anyio.sleep(12)
            await until(lambda: dropped.state is State.BUSY)
            b.poller.drop(dropped)
            await anyio.sleep(1)
            asked = len(b.source.asked_for("c"))
            await anyio.sleep(100)
            assert len(b.source.asked_for("c")) == asked


@VIRTUAL
async def test_an_answer_that_is_not_read_tells_how_often_its_job_is_polled(tmp_path):
    async with polling(tmp_path) as b:
        b.source.prepares = True
        b.source.answers["a"] = "PENDING"
        b.follow("a")
        async with running(b.poller):
            await anyio.sleep(150)
            b.source.trouble = PollError(PollReason.THROTTLE, "Throttled")
            await anyio.sleep(600)
            b.source.trouble = None
            await anyio.sleep(1000)
        (turn,) = b.poller.schedule.polled()
        assert turn.gap == pytest.approx(30.0, abs=1.0)


@VIRTUAL
async def test_an_answer_is_read_again_once_a_clock_that_was_set_back_misdates_it(tmp_path):
    async with polling(tmp_path) as b:
        b.source.prepares = True
        b.source.answers["a"] = Answer("PENDING", updated_at=b.clock.now())
        b.follow("a")
        async with running(b.poller):
            await anyio.sleep(300)
            assert b.measured("misdated_answers_total", type=TYPE.name) == 0.0
            b.clock.jump = -7200
            await anyio.sleep(100)
        assert b.measured("misdated_answers_total", type=TYPE.name) >= 3


@asynccontextmanager
async def all_due_together(tmp_path, count=50, rate=1000.0, burst=1000, **limits):
    """Yield a running poller of ``count`` jobs with prepared requests, all due in five seconds."""
    ids = [f"j-{number:02}" for number in range(count)]
    async with polling(tmp_path, rate=rate, burst=burst, **limits) as b:
        b.source.prepares = True
        b.source.answers |= dict.fromkeys(ids, "PENDING")
        b.follow(*ids, interval=100.0)
        async with running(b.poller):
            await anyio.sleep(1000)
            due = b.clock.monotonic() + 5.0
            for turn in b.poller.schedule.everyone():
                assert turn.repeat
                b.poller.schedule.put(turn, due)
            yield b, due


def times_since(b, due):
    return [moment - due for moment, _ in b.source.looks if moment >= due]


@VIRTUAL
async def test_prepared_polls_that_are_due_together_take_what_the_quota_has_and_no_more(tmp_path):
    async with all_due_together(tmp_path, rate=5.0, burst=20) as (b, due):
        await anyio.sleep(5.5)
        times = times_since(b, due)
        assert 20 <= len(times) <= 23
        assert sum(moment < 0.1 for moment in times) == 20


@VIRTUAL
async def test_prepared_polls_that_are_due_together_take_what_their_operation_may(tmp_path):
    own = {TYPE.describe_operation: Budget(1.0, 2)}
    async with all_due_together(tmp_path) as (b, due):
        b.poller.limit(Budget(1000.0, 1000, own))
        await anyio.sleep(9.5)
        assert 2 <= len(times_since(b, due)) <= 7


@VIRTUAL
async def test_prepared_polls_that_are_due_together_take_the_places_that_there_are(tmp_path):
    async with all_due_together(tmp_path, concurrency=4) as (b, due):
        b.source.latency = 1.0
        await anyio.sleep(30)
        assert b.source.most_under_way == 16
        assert len(times_since(b, due)) >= 50
        assert b.measured("poll_lateness_seconds_count") == len(b.source.looks)


@VIRTUAL
async def test_prepared_polls_leave_to_the_plain_path_what_cannot_be_sent(tmp_path, monkeypatch):
    send, refused = ScriptedPoll.send, []

    def some(poll, jobs, done):
        if int(jobs[0].id[-1]) % 2:
            return send(poll, jobs, done)
        refused.append(jobs[0].id)
        return False

    async with all_due_together(tmp_path, 9) as (b, due):
        monkeypatch.setattr(ScriptedPoll, "send", some)
        await anyio.sleep(6)
        looks = [job_id for moment, job_id in b.source.looks if moment >= due]
        assert sorted(looks) == [f"j-0{number}" for number in range(9)]
        assert sorted({*refused}) == [f"j-0{number}" for number in range(0, 9, 2)]


@VIRTUAL
async def test_prepared_polls_that_are_due_together_end_with_the_lease(tmp_path, monkeypatch):
    """The machine may be stopped in the middle of sending them."""
    send, lease, passed = ScriptedPoll.send, Lease(), [0.0]

    def stopping(poll, jobs, done):
        passed[0] = 1.0
        return send(poll, jobs, done)

    async with all_due_together(tmp_path, lease=lease) as (b, due):
        lease.until = due + 0.5
        later = SimpleNamespace(now=b.clock.now, monotonic=lambda: b.clock.monotonic() + passed[0])
        monkeypatch.setattr(b.poller, "_clock", later)
        monkeypatch.setattr(ScriptedPoll, "send", stopping)
        await anyio.sleep(5.3)
        assert len(times_since(b, due)) == 1
        lease.until = math.inf
        await anyio.sleep(6)
        assert len(times_since(b, due)) >= 50


@VIRTUAL
async def test_prepared_polls_that_fail_together_are_not_probed_at_once(tmp_path):
    async with all_due_together(tmp_path, 3) as (b, due):
        b.source.trouble = PollError(PollReason.AUTH, "ExpiredToken")
        await anyio.sleep(17)
        assert len(times_since(b, due)) == 3


@VIRTUAL
async def test_prepared_polls_of_a_lost_source_go_one_at_a_time(tmp_path):
    async with all_due_together(tmp_path) as (b, due):
        late = list(b.poller.schedule.everyone())[10:]
        for turn in late:
            b.poller.schedule.put(turn, due + 79.9)  # just before the next probe
        b.source.trouble = PollError(PollReason.UNAVAILABLE, "NoSuchHost")
        await anyio.sleep(74)
        assert b.poller.client.health.lost
        assert all(turn.rare is None for turn in late)
        for turn in [*b.poller.schedule.failing()]:
            b.poller.schedule.put(turn, due + 900.0)
        b.source.latency, b.source.most_under_way = 5.0, 0
        await anyio.sleep(60)
        assert b.source.most_under_way == 1


@VIRTUAL
async def test_polls_that_wait_long_leave_their_places_alone(tmp_path, monkeypatch):
    """The places are filled many at a time, but none that is free stays so for longer."""
    async with polling(tmp_path, rate=1000.0, burst=1000, concurrency=4) as b:
        b.source.prepares, b.source.latency = True, 0.1
        slow, quick = [f"s-{n}" for n in range(13)], [f"q-{n}" for n in range(7)]
        b.source.answers |= dict.fromkeys(slow + quick, "PENDING")
        b.follow(*slow, *quick, interval=1.0)
        send = ScriptedPoll.send

        def sent(poll, jobs, done):
            b.source.latency = 100.0 if jobs[0].id in slow else 0.4
            return send(poll, jobs, done)

        async with running(b.poller):
            await anyio.sleep(5)
            monkeypatch.setattr(ScriptedPoll, "send", sent)
            await anyio.sleep(2)
            before = [len(b.source.asked_for(name)) for name in quick]
            await anyio.sleep(20)
            polls = [len(b.source.asked_for(name)) for name in quick]
            assert b.source.under_way >= len(slow)
            monkeypatch.undo()
        assert min(now - then for now, then in zip(polls, before, strict=True)) >= 19
