"""No stampede: many jobs that are due together, a restart, and a machine that slept."""

from collections import Counter
from dataclasses import replace
from datetime import datetime
from itertools import count, pairwise

import anyio
import pytest

from monitor.config import Discover
from monitor.errors import PollError, PollReason
from monitor.model import Page
from monitor.polling.quota import Budget
from monitor.polling.schedule import ListingSweep
from monitor.polling.scheduled_job import PollOptions, ScheduledJob
from monitor.polling.turn_queue import State
from monitor.runtime import upkeep
from tests.builders import SOURCE, TYPE, VIRTUAL, ScriptedSource, following, job, running
from tests.polling import polling, run_for

pytestmark = VIRTUAL

NEXT = {None: "1", "1": "2", "2": "3", "3": None}
"""The token of the next page by that of a page, in a listing of four."""


def per_second(looks, since=0.0):
    """Return the requests in each second from ``since``."""
    return Counter(int(moment - since) for moment, _ in looks if moment >= since)


def gaps(b, ids):
    times = [b.source.asked_for(each) for each in ids]
    return [after - before for each in times for before, after in pairwise(each)]


@pytest.mark.parametrize(
    "jobs",
    [
        pytest.param(2_000, id="quick"),
        pytest.param(10_000, id="long", marks=pytest.mark.soak),
    ],
)
async def test_thousands_of_jobs_that_are_due_together_are_spread_over_their_interval(
    tmp_path, jobs
):
    ids, rate = [f"j-{number}" for number in range(jobs)], jobs // 5
    async with polling(tmp_path, rate=rate, burst=50, concurrency=256) as b:
        b.source.answers = dict.fromkeys(ids, "RUNNING")
        b.follow(*ids, interval=60.0)
        await run_for(b, 180)
        counts = per_second(b.source.looks)
        assert max(counts.values()) <= rate + 50
        # From the second poll on, each has its own time.
        later = [counts[second] for second in range(115, 178)]
        assert max(later) <= 1.4 * jobs / 60
        assert min(later) >= 0.6 * jobs / 60


async def test_jobs_that_are_followed_one_after_the_other_have_their_first_turns_together(
    tmp_path, monkeypatch
):
    """Each in a place of its own would take memory that the daemon keeps for good."""
    async with polling(tmp_path) as b:
        at = b.clock.monotonic()
        readings = count()
        # As a real clock: 10 microseconds for each job that a configuration names.
        monkeypatch.setattr(b.clock, "monotonic", lambda: at + next(readings) * 1e-5)
        b.follow(*(f"j-{number}" for number in range(1_000)))
        assert next(readings) >= 1_000
        due = {job.due for job in b.poller.schedule.everyone()}
        assert len(due) <= 10
        assert all(at - 0.02 < moment < at + 0.1 for moment in due)


@pytest.mark.parametrize("pause", [1.0, 20.0, 3600.0])
async def test_a_restart_goes_on_with_the_interval_of_each_job(tmp_path, pause):
    ids = [f"j-{number}" for number in range(300)]
    settings = {"rate": 1000, "burst": 1000, "concurrency": 64}
    async with polling(tmp_path, **settings) as b:
        b.source.answers = dict.fromkeys(ids, "RUNNING")
        b.follow(*ids, interval=30.0)
        await run_for(b, 100)
        await b.recorder.rest()
    await anyio.sleep(pause)
    async with polling(tmp_path, **settings) as b:
        began = b.clock.monotonic()
        b.source.answers = dict.fromkeys(ids, "RUNNING")
        b.follow(*ids, interval=30.0)
        await run_for(b, 60)
        counts = per_second(b.source.looks, began)
        if pause < 30:
            share = 300 * (pause + 1.1) / 30
            assert counts[0] <= 1.5 * share + 10
            assert max(list(counts.values())[1:]) <= 30
        # No job waits for longer than its interval.
        first = [b.source.asked_for(each)[0] for each in ids]
        assert max(first) - began <= 30.1


@pytest.mark.parametrize(("interval", "most"), [(30.0, 30), (60.0, 20), (600.0, 10)])
async def test_a_kill_costs_no_burst_either(tmp_path, interval, most):
    ids = [f"j-{number}" for number in range(300)]
    settings = {"rate": 1000, "burst": 1000, "concurrency": 64}
    async with polling(tmp_path, **settings) as b, anyio.create_task_group() as tasks:
        b.source.answers = dict.fromkeys(ids, "RUNNING")
        b.follow(*ids, interval=interval)
        tasks.start_soon(upkeep.keep_polls, b.recorder, b.clock)
        tasks.start_soon(upkeep.keep_time, b.store)
        await run_for(b, 2 * interval + 100)
        tasks.cancel_scope.cancel()  # nothing more is stored
    await anyio.sleep(5)
    async with polling(tmp_path, **settings) as b:
        began = b.clock.monotonic()
        b.source.answers = dict.fromkeys(ids, "SUCCEEDED")
        b.follow(*ids, interval=interval)
        await run_for(b, interval + 1)
        counts = per_second(b.source.looks, began)
        assert counts[0] <= 0.6 * 300
        assert sum(counts.values()) == 300
        assert max(list(counts.values())[1:]) <= most
        assert {name for _, name in b.source.looks} == set(ids)
        # The windows of what has changed are no wider than by what a kill loses.
        windows = [event["data"]["window"] for _, event in await b.store.transitions(limit=1000)]
        ends = [each for each in windows if each["after"]]
        assert len(ends) == 300
        seconds = [
            (datetime.fromisoformat(one["before"]) - datetime.fromisoformat(one["after"])).seconds
            for one in ends
        ]
        assert max(seconds) <= interval + 5 + upkeep.KEEP_POLLS + upkeep.LONGEST_POLL


async def test_a_source_that_was_lost_at_a_restart_is_tried_at_once(tmp_path):
    async with polling(tmp_path) as b:
        b.source.answers["a"] = "RUNNING"
        b.follow("a", interval=3600.0)
        await run_for(b, 1)
        now = b.clock.now()
        await b.recorder.record_availability(
            SOURCE, available=False, after=now, at=now, reason=None
        )
        await b.recorder.rest()
    async with polling(tmp_path) as b:
        b.source.answers["a"] = "RUNNING"
        b.follow("a", interval=3600.0)
        await run_for(b, 30)
        assert (await b.kinds())[-1] == "source.recovered"


async def test_a_wall_clock_that_was_set_back_puts_no_poll_off(tmp_path):
    async with polling(tmp_path) as b:
        b.source.answers["a"] = "RUNNING"
        b.follow("a", interval=600.0)
        await run_for(b, 1)
        await b.recorder.rest()
    async with polling(tmp_path) as b:
        b.clock.jump = -10_000.0
        b.source.answers["a"] = "RUNNING"
        b.follow("a", interval=600.0)
        began = b.clock.monotonic()
        await run_for(b, 1)
        assert b.source.asked_for("a") == [pytest.approx(began, abs=0.1)]


@pytest.mark.parametrize("jump", [-86_400.0, 86_400.0])
async def test_a_wall_clock_that_jumps_makes_nothing_due(tmp_path, jump):
    ids = [f"j-{number}" for number in range(100)]
    async with polling(tmp_path) as b:
        b.source.answers = dict.fromkeys(ids, "RUNNING")
        b.follow(*ids)
        async with running(b.poller):
            await anyio.sleep(100)
            b.clock.jump = jump
            await anyio.sleep(100)
        assert max(per_second(b.source.looks, 40).values()) <= 15
        assert max(gaps(b, ids)) <= 1.1 * 30 + 1


async def test_a_machine_that_slept_catches_up_as_the_quota_permits(tmp_path):
    """Where the monotonic clock goes on during the sleep, everything is overdue after it."""
    ids = [f"j-{number}" for number in range(300)]
    async with polling(tmp_path, rate=20, burst=5) as b:
        b.source.answers = dict.fromkeys(ids, "RUNNING")
        b.follow(*ids, interval=30.0)
        await run_for(b, 100)
        b.poller._stopping = False
        await anyio.sleep(3600)
        woke = b.clock.monotonic()
        async with running(b.poller):
            await anyio.sleep(120)
        counts = per_second(b.source.looks, woke)
        assert max(counts.values()) <= 26
        # One poll makes up for all that were missed.
        assert sum(counts[second] for second in range(15)) <= 310
        assert max(counts[second] for second in range(60, 120)) <= 18


async def test_a_sweep_does_not_wait_behind_the_jobs_that_a_slow_service_keeps_overdue(tmp_path):
    """A page goes first, as it may show many of them; so it does where the quota is short."""
    ids = [f"j-{number}" for number in range(120)]
    async with polling(tmp_path, concurrency=2) as b:
        b.source.latency = b.source.page_latency = 1.0
        b.source.answers = dict.fromkeys(ids, "RUNNING")
        b.source.listing = lambda token: Page((), NEXT[token])
        b.follow(*ids, interval=10.0)
        b.discover(interval=10.0)
        await run_for(b, 600)
        sweeps = sum(token is None for _, token in b.source.pages)
        assert sweeps >= 40


async def test_listings_take_half_of_the_places_that_a_slow_service_keeps_taken(tmp_path):
    ids = [f"j-{number}" for number in range(120)]
    async with polling(tmp_path, concurrency=4) as b:
        b.source.latency = b.source.page_latency = 1.0
        b.source.listing = lambda token: Page((), str(int(token or 0) + 1))
        b.source.answers = dict.fromkeys(ids, "RUNNING")
        b.follow(*ids, interval=10.0)
        for number in range(20):
            b.discover(interval=10.0, include=[f"{number}-*"])
        await run_for(b, 600)
        # Four polls a second: half of them for pages, of which there is never an end.
        assert len(b.source.looks) >= 1_000
        assert len(b.source.pages) >= 1_000
        assert {name for _, name in b.source.looks} == set(ids)


async def test_a_listing_has_all_places_where_nothing_else_is_due(tmp_path):
    async with polling(tmp_path, concurrency=4) as b:
        b.source.page_latency = 1.0
        b.source.listing = lambda token: Page((), str(int(token or 0) + 1))
        for number in range(20):
            b.discover(interval=10.0, include=[f"{number}-*"])
        await run_for(b, 600)
        assert len(b.source.pages) >= 2_200


async def test_a_job_that_somebody_waits_for_does_not_wait_behind_those_a_slow_service_delays(
    tmp_path,
):
    ids = [f"j-{number}" for number in range(120)]
    async with polling(tmp_path, concurrency=2) as b:
        b.source.latency = 1.0
        b.source.answers = dict.fromkeys(ids, "RUNNING")
        b.follow(*ids, interval=10.0)
        awaited = b.poller.schedule.known(job("j-60"))
        assert awaited is not None
        b.poller.awaited(awaited, 3600.0)
        await run_for(b, 600)
        # Others come every 60 seconds. It may be overdue by four intervals less than they are.
        assert len(b.source.asked_for("j-60")) >= 20
        assert min(len(b.source.asked_for(each)) for each in ids) >= 7


async def test_no_listing_is_kept_out_by_long_ones_that_a_slow_service_keeps_late(tmp_path):
    ids = [f"j-{number}" for number in range(200)]
    async with polling(tmp_path, rate=1000.0, concurrency=4) as b:
        b.source.latency = b.source.page_latency = 4.0
        b.source.answers = dict.fromkeys(ids, "RUNNING")
        b.source.listing = lambda token: Page((), str(int(token or 0) + 1))
        b.follow(*ids, interval=10.0)
        short = ScriptedSource(b.clock)
        short.page_latency, short.listing = 4.0, lambda _token: Page((), None)
        for source in (b.source, b.source, b.source, short):
            sweep = ListingSweep(source, Discover(), 10.0, lambda row: b.track(row.job))
            b.poller.discover(sweep)
        await run_for(b, 600)
        times = [moment for moment, _ in short.pages]
        assert len(times) >= 30
        assert max(after - before for before, after in pairwise(times)) <= 30


async def test_listings_take_half_of_the_prepared_requests_that_a_slow_service_delays(tmp_path):
    ids = [f"j-{number}" for number in range(300)]
    async with polling(tmp_path, rate=1000.0, burst=1000) as b:
        b.source.prepares = True
        b.source.latency = b.source.page_latency = 4.0
        b.source.answers = dict.fromkeys(ids, "RUNNING")
        b.source.listing = lambda _token: Page((), None)
        b.follow(*ids, interval=10.0)
        for number in range(200):
            b.discover(interval=3.0, include=[f"{number}-*"])
        await run_for(b, 600)
        # 64 requests under way, so 16 a second.
        assert b.source.prepared
        assert len(b.source.pages) >= 3_000
        assert len(b.source.looks) >= 3_000


@pytest.mark.parametrize("back", ["describes", "pages"])
@pytest.mark.parametrize("limited", [False, True])
async def test_a_lost_source_is_found_by_the_operation_that_is_answered_again(
    tmp_path, back, limited
):
    ids = [f"j-{number}" for number in range(300)]
    async with polling(tmp_path, rate=1000.0) as b:
        b.source.latency = b.source.page_latency = 10.0
        b.source.answers = dict.fromkeys(ids, "RUNNING")
        b.source.listing = lambda _token: Page((), None)
        b.follow(*ids, interval=10.0)
        b.discover(interval=10.0)
        if limited:
            # A third operation, which may not be called for long.
            other = ScriptedSource(b.clock, replace(TYPE, describe_operation="Other"))
            other.trouble = PollError(PollReason.UNAVAILABLE, "down")
            options = PollOptions(other, following(other.job_type), 10.0, 3600.0)
            b.poller.follow(ScheduledJob(job("other"), options))
            b.quota.change(1000.0, 1, b.clock.monotonic(), {"Other": Budget(1e-4, 1)})
        async with running(b.poller):
            await anyio.sleep(200)
            down = PollError(PollReason.UNAVAILABLE, "down")
            b.source.answers = dict.fromkeys(ids, down)
            b.source.page_trouble = down
            await anyio.sleep(1200)
            assert b.poller.client.health.lost
            if back == "describes":
                b.source.answers, b.source.latency = dict.fromkeys(ids, "RUNNING"), 0.1
            else:
                b.source.page_trouble, b.source.page_latency = None, 0.1
            await anyio.sleep(120)
            # It may be lost again, as the other operation fails as before.
            assert "source.recovered" in await b.kinds()


async def test_a_hint_goes_before_jobs_that_a_slow_service_keeps_overdue(tmp_path):
    ids = [f"j-{number}" for number in range(120)]
    async with polling(tmp_path, concurrency=2) as b:
        b.source.latency = 1.0
        b.source.answers = dict.fromkeys(ids, "RUNNING")
        b.follow(*ids, interval=10.0)
        async with running(b.poller):
            await anyio.sleep(300)
            turns = [one for one in b.poller.schedule.everyone() if one.state is State.WAITING]
            now = b.clock.monotonic()
            # Others that are longer overdue would go first.
            late = max((one for one in turns if one.due < now - 30), key=lambda one: one.due)
            b.poller.hint(late)
            await anyio.sleep(3)
            assert b.source.asked_for(late.job.id)[-1] >= now


async def test_a_prepared_page_needs_no_place_for_a_task(tmp_path):
    async with polling(tmp_path, concurrency=2) as b:
        b.source.prepares = True
        b.source.listing = lambda _token: Page((), None)
        b.discover(interval=5.0)
        async with running(b.poller):
            await anyio.sleep(30)
            b.source.latency = 50.0
            b.follow("a", "b", "c")
            await anyio.sleep(1)
            assert b.source.under_way == 2
            before = len(b.source.pages)
            await anyio.sleep(45)
            assert len(b.source.pages) - before >= 8
