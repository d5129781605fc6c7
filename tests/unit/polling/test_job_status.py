"""How followed jobs stand: seen or not, stuck, missing, blind, finished; in virtual time."""

from datetime import timedelta

import anyio
import pytest

from monitor.errors import PollError, PollReason
from monitor.model import Phase
from tests.builders import VIRTUAL, at, following, job, running, until
from tests.polling import polling, run_for

pytestmark = [VIRTUAL, pytest.mark.usefixtures("long_pauses")]
GONE = PollError(PollReason.UNAVAILABLE, "NoSuchHost")
FLAKY = PollError(PollReason.TRANSIENT, "InternalServerException")
REFUSED = PollError(PollReason.CONFIG, "ValidationException")
MISSING = PollError(PollReason.MISSING, "ResourceNotFound")
DENIED = PollError(PollReason.AUTH, "AccessDenied")
HOUR, DAY = 3600.0, 86400.0


def standings(b):
    return {each.job.id: each for each in b.poller.watched()}


def blind(b):
    return {job_id for job_id, each in standings(b).items() if each.blind}


async def test_a_followed_job_tells_who_follows_it_and_when_it_is_looked_at(tmp_path):
    async with polling(tmp_path) as b:
        b.source.answers["a"] = "PENDING"
        b.follow("a", interval=100.0)
        async with running(b.poller):
            await anyio.sleep(250)
            (a,) = b.poller.watched()
        last = b.source.asked_for("a")[-1]
        assert a.job == job("a")
        assert a.interval == 100.0
        assert a.polled_at == pytest.approx(at(last), abs=timedelta(seconds=0.1))
        assert a.next_look_at == pytest.approx(at(last + 100), abs=timedelta(seconds=0.1))
        assert a.snapshot is b.recorder.snapshot(job("a"))
        assert (a.failing, a.finished, a.stuck, a.missing, a.blind) == (None, *[False] * 4)


async def test_a_followed_job_carries_its_watch_and_labels(tmp_path):
    async with polling(tmp_path) as b:
        b.follow("a", follow=following(labels={"team": "vision"}, watch="packages"))
        (a,) = b.poller.watched()
        assert (a.watch, a.labels) == ("packages", {"team": "vision"})


async def test_a_job_is_blind_after_five_intervals_without_an_answer_and_until_the_next(tmp_path):
    async with polling(tmp_path) as b:
        b.source.answers["a"] = "PENDING"
        b.follow("a")
        async with running(b.poller):
            await anyio.sleep(100)
            b.source.trouble = FLAKY
            last = b.source.asked_for("a")[-1]
            await anyio.sleep(last + 149 - b.clock.monotonic())
            assert blind(b) == set()
            assert standings(b)["a"].failing is PollReason.TRANSIENT
            await anyio.sleep(2)
            assert blind(b) == {"a"}
            assert standings(b)["a"].polled_at == pytest.approx(
                at(last), abs=timedelta(seconds=0.1)
            )
            b.source.trouble = None
            await until(lambda: not blind(b))
            assert standings(b)["a"].failing is None


async def test_a_watch_says_after_how_many_intervals_it_is_blind(tmp_path):
    async with polling(tmp_path) as b:
        b.follow("soon", blind_after=2)
        b.follow("late", blind_after=10)
        b.source.trouble = FLAKY
        await run_for(b, 100)
        assert blind(b) == {"soon"}


async def test_a_job_that_alone_is_refused_is_the_only_blind_one(tmp_path):
    async with polling(tmp_path) as b:
        b.source.answers |= {"a": "PENDING", "b": "PENDING"}
        b.follow("a", "b")
        async with running(b.poller):
            await anyio.sleep(60)
            b.source.answers["a"] = REFUSED
            await anyio.sleep(HOUR)
            assert blind(b) == {"a"}
            assert b.measured("source_up", service="panorama", account="prod", region="us-east-1")


async def test_a_job_that_was_never_seen_becomes_blind_and_has_no_snapshot(tmp_path):
    async with polling(tmp_path) as b:
        b.source.trouble = DENIED
        b.follow("a")
        async with running(b.poller):
            await anyio.sleep(140)
            assert blind(b) == set()
            await anyio.sleep(20)
            (a,) = b.poller.watched()
        assert (a.blind, a.snapshot, a.polled_at, a.failing) == (True, None, None, PollReason.AUTH)


async def test_a_missing_job_is_asked_for_ever_more_rarely_and_is_not_blind(tmp_path):
    async with polling(tmp_path) as b:
        b.source.answers["a"] = "PENDING"
        b.follow("a")
        async with running(b.poller):
            await anyio.sleep(60)
            b.source.answers["a"] = MISSING
            for _ in range(40):
                await anyio.sleep(HOUR)
                assert blind(b) == set()
            (a,) = b.poller.watched()
        assert a.missing
        assert not a.stuck
        assert 3 < len(b.source.asked_for("a")) < 20


async def test_a_job_can_be_missing_and_then_out_of_sight(tmp_path):
    async with polling(tmp_path) as b:
        b.source.answers["a"] = "PENDING"
        b.follow("a")
        async with running(b.poller):
            await anyio.sleep(60)
            b.source.answers["a"] = MISSING
            await anyio.sleep(2 * HOUR)
            b.source.answers["a"] = GONE
            await anyio.sleep(6 * HOUR)
            (a,) = b.poller.watched()
        assert a.missing
        assert a.blind


async def test_stuck_and_blind_are_two_things(tmp_path):
    async with polling(tmp_path) as b:
        b.source.answers |= {"a": "PENDING", "b": "PENDING"}
        b.follow("a", follow=following(stuck_after=600.0))
        b.follow("b")
        async with running(b.poller):
            await anyio.sleep(700)
            assert [(each.stuck, each.blind) for each in standings(b).values()] == [
                (True, False),
                (False, False),
            ]
            b.source.trouble = GONE
            await anyio.sleep(200)
            assert [(each.stuck, each.blind) for each in standings(b).values()] == [
                (True, True),
                (False, True),
            ]


async def test_a_source_that_is_lost_is_told_once_and_each_of_its_jobs_is_blind(tmp_path):
    async with polling(tmp_path) as b:
        ids = [f"j-{number}" for number in range(20)]
        b.source.answers |= dict.fromkeys(ids, "PENDING")
        b.follow(*ids)
        async with running(b.poller):
            await anyio.sleep(60)
            b.source.trouble = GONE
            await anyio.sleep(HOUR)
            assert blind(b) == set(ids)
            kinds = [kind for kind in await b.kinds() if kind != "job.discovered"]
            assert kinds == ["source.unavailable"]
            b.source.trouble = None
            await until(lambda: not blind(b))
            kinds = [kind for kind in await b.kinds() if kind != "job.discovered"]
            assert kinds == ["source.unavailable", "source.recovered"]


async def test_a_finished_job_is_still_shown_and_is_neither_stuck_nor_blind(tmp_path):
    async with polling(tmp_path) as b:
        b.source.answers["a"] = "PENDING"
        b.follow("a", follow=following(stuck_after=60.0))
        async with running(b.poller):
            await anyio.sleep(100)
            assert standings(b)["a"].stuck
            b.source.answers["a"] = "FAILED"
            await anyio.sleep(2 * HOUR)
            (a,) = b.poller.watched()
        assert a.snapshot is not None
        assert (a.snapshot.phase, a.finished) == (Phase.FAILED, True)
        assert (a.next_look_at, a.stuck, a.blind) == (None, False, False)


async def test_a_job_that_finished_before_a_restart_is_shown_after_it(tmp_path):
    async with polling(tmp_path) as b:
        b.source.answers["a"] = "FAILED"
        b.follow("a")
        await run_for(b, 10)
        before = standings(b)["a"].snapshot
    async with polling(tmp_path) as b:
        b.follow("a", "a")
        (a,) = b.poller.watched()
        assert before is not None
        assert (a.snapshot, a.finished, a.polled_at) == (before, True, before.looked_at)


async def test_a_finished_job_whose_row_changes_is_looked_at_and_shown_once(tmp_path):
    async with polling(tmp_path) as b:
        b.source.answers["a"] = "FAILED"
        b.discover()
        async with running(b.poller):
            await anyio.sleep(50)
            assert standings(b)["a"].finished
            b.source.answers["a"] = "PENDING"
            await until(lambda: not standings(b)["a"].finished)
            (a,) = b.poller.watched()
        assert a.next_look_at is not None
        assert not a.blind


async def test_an_ended_job_that_may_still_change_is_given_its_slow_interval(tmp_path):
    async with polling(tmp_path) as b:
        b.source.answers["a"] = "RETURNING"
        b.follow("a")
        async with running(b.poller):
            await anyio.sleep(500)
            (a,) = b.poller.watched()
        assert (a.finished, a.blind) == (False, False)
        assert a.interval == b.source.job_type.grace_interval


async def test_time_in_which_the_monitor_did_not_run_makes_no_job_blind(tmp_path):
    async with polling(tmp_path) as b:
        b.source.answers["a"] = "PENDING"
        b.follow("a")
        await run_for(b, 40)
        await b.recorder.rest()
    await anyio.sleep(DAY)
    async with polling(tmp_path) as b:
        b.follow("a")
        (a,) = b.poller.watched()
        assert not a.blind
        assert a.polled_at is not None
        assert a.polled_at < at(100)


async def test_jobs_that_sweeps_can_only_show_more_slowly_are_not_blind(tmp_path):
    async with polling(tmp_path, rate=0.1, burst=1) as b:
        ids = [f"j-{number}" for number in range(100)]
        b.source.answers |= dict.fromkeys(ids, "PENDING")
        b.discover(interval=1.0)
        async with running(b.poller):
            await anyio.sleep(HOUR)
            seen = blind(b)
            for _ in range(50):
                await anyio.sleep(10)
                seen |= blind(b)
            assert seen == set()
            assert standings(b)["j-1"].interval == pytest.approx(4 / (0.95 * 0.1))
            b.source.trouble = FLAKY
            await anyio.sleep(2 * HOUR)
            assert blind(b) == set(ids)


async def test_a_job_that_a_listing_has_just_shown_is_not_blind(tmp_path):
    async with polling(tmp_path, rate=0.1, burst=1) as b:
        b.discover()
        async with running(b.poller):
            await anyio.sleep(HOUR)
            b.source.answers["new"] = "PENDING"
            await until(lambda: standings(b))
            assert blind(b) == set()
