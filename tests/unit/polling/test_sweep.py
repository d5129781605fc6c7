"""Listings, page by page: jobs that are new, jobs that differ, and looks for free."""

from dataclasses import dataclass
from itertools import pairwise

import anyio
import pytest
from structlog.testing import capture_logs

from monitor.clock import Lease
from monitor.config import Discover
from monitor.errors import PollError, PollReason
from monitor.model import Page
from monitor.polling import sweep
from monitor.polling.quota import Budget
from monitor.polling.schedule import ListingSweep
from tests.builders import (
    TYPE,
    VIRTUAL,
    Answer,
    FakeListing,
    FakeType,
    ScriptedSource,
    at,
    following,
    job,
    observation,
    running,
    until,
)
from tests.polling import lapsing, polling, run_for

pytestmark = VIRTUAL
POLLS = {"type": TYPE.name, "account": "prod", "region": "us-east-1", "mode": "sweep"}
CANCEL_ONLY = FakeType(lists_states=False)
"""A listing that tells no states, but that a job was canceled."""


def gaps(times):
    return [later - earlier for earlier, later in pairwise(times)]


def broken_once(source, error):
    """List as ``source`` does, but fail once at the second page."""
    errors = [error]

    def listing(token):
        if token == "25" and errors:
            raise errors.pop()
        return source.slice(token)

    return listing


async def test_no_page_is_requested_once_the_lease_lapsed_while_the_store_was_away(
    tmp_path, monkeypatch
):
    lease = Lease()
    async with polling(tmp_path, lease=lease) as b:
        baselines = b.recorder.baselines
        monkeypatch.setattr(baselines, "begin", lapsing(lease, b.clock, baselines.begin))
        b.source.answers["j-1"] = "PENDING"
        b.discover()
        async with running(b.poller):
            await anyio.sleep(60)
            assert b.source.pages == []
            monkeypatch.undo()
            lease.until = float("inf")
            await until(lambda: b.source.pages, within=5)


async def test_every_job_of_every_page_is_found(tmp_path):
    async with polling(tmp_path) as b:
        b.source.answers |= {f"j-{number}": "PENDING" for number in range(60)}
        b.discover()
        await run_for(b, 2.9)
        assert [token for _, token in b.source.pages] == [None, "25", "50"]
        assert {subject for subject, *_ in await b.told()} == set(b.source.answers)
        assert len(b.source.looks) == 60


async def test_a_job_that_comes_later_is_found_by_a_later_sweep(tmp_path):
    async with polling(tmp_path) as b:
        b.source.answers["a"] = "PENDING"
        b.discover()
        async with running(b.poller):
            await anyio.sleep(100)
            b.source.answers["b"] = "PENDING"
            await anyio.sleep(31)
        assert ("b", "job.discovered", "PENDING") in await b.told()


async def test_only_what_the_watch_wants_is_followed(tmp_path):
    async with polling(tmp_path) as b:
        b.source.answers |= {"cam-1": "PENDING", "cam-2": "PENDING", "disk-1": "PENDING"}
        b.source.answers["cam-old"] = Answer("PENDING", created_at=at(-7200))
        b.discover(include=["cam-*"], exclude=["*-2"], max_age="1h")
        await run_for(b, 100)
        assert {asked for _, asked in b.source.looks} == {"cam-1"}


async def test_a_job_that_is_not_wanted_any_more_is_not_followed_when_it_changes(tmp_path):
    async with polling(tmp_path) as b:
        b.source.answers["a"] = "PENDING"
        b.discover()
        await run_for(b, 5)
    async with polling(tmp_path) as b:
        b.source.answers["a"] = "RUNNING"
        b.discover(exclude=["a"])
        await run_for(b, 100)
        assert b.source.looks == []


async def test_a_row_that_shows_nothing_new_spares_a_look(tmp_path):
    async with polling(tmp_path) as b:
        b.source.answers |= {f"j-{number}": "PENDING" for number in range(25)}
        b.discover()
        async with running(b.poller):
            await anyio.sleep(40)
            first = len(b.source.looks)
            await anyio.sleep(3600)
        assert len(b.source.looks) == first <= 50
        assert len(b.source.pages) == pytest.approx(3640 / 30, abs=2)
        assert b.measured("polls_total", outcome="unchanged", **POLLS) >= 2900


async def test_a_row_that_differs_leads_to_one_look_for_the_whole_snapshot(tmp_path):
    async with polling(tmp_path) as b:
        b.source.answers |= {"a": "PENDING", "b": "PENDING"}
        b.discover()
        async with running(b.poller):
            await anyio.sleep(95)
            looks = len(b.source.looks)
            b.source.answers["a"] = Answer("RUNNING", fields={"Size": 1})
            await anyio.sleep(31)
            await anyio.sleep(600)
            assert {asked for _, asked in b.source.looks[looks:]} == {"a"}
            assert len(b.source.looks) <= looks + 2
        rows = [event["data"] for _, event in await b.store.transitions()]
        assert rows[-1]["fields"] == {"Size": 1}
        assert rows[-1]["window"]["after"] is not None


async def test_rows_keep_windows_narrow(tmp_path):
    async with polling(tmp_path) as b:
        b.source.answers["a"] = "PENDING"
        b.discover()
        async with running(b.poller):
            await anyio.sleep(995)
            b.source.answers["a"] = "RUNNING"
            await anyio.sleep(60)
        window = [event["data"]["window"] for _, event in await b.store.transitions()][-1]
        assert window == {
            "after": "2026-03-01T12:16:30.000Z",
            "before": "2026-03-01T12:17:00.000Z",
        }


async def test_an_older_row_changes_nothing(tmp_path):
    async with polling(tmp_path) as b:
        b.source.answers["a"] = Answer("RUNNING", updated_at=at(10))
        stale = Page((observation("PENDING", of=job("a"), updated=5),), None)
        b.source.listing = lambda _token: stale
        b.follow("a", interval=3600.0)
        b.discover()
        await run_for(b, 600)
        assert await b.told() == [("a", "job.discovered", "RUNNING")]
        assert len(b.source.looks) <= 2


async def test_what_ended_before_it_was_seen_needs_no_look(tmp_path):
    async with polling(tmp_path) as b:
        b.source.answers |= {f"j-{number}": "FAILED" for number in range(100)}
        b.discover()
        await run_for(b, 600)
        assert b.source.looks == []
        assert len(await b.told()) == 100


async def test_a_job_that_ended_but_may_change_is_looked_at_and_let_go_after_its_grace(tmp_path):
    async with polling(tmp_path) as b:
        b.source.answers["a"] = "RETURNING"
        b.discover()
        async with running(b.poller):
            await anyio.sleep(60)
            assert len(b.source.looks) == 1
            assert len(b.poller.schedule) == 1
            await anyio.sleep(3600)
            assert len(b.poller.schedule) == 0
        assert len(b.source.looks) <= 7


async def test_a_final_job_that_goes_on_after_all_is_followed_again(tmp_path):
    async with polling(tmp_path) as b:
        b.source.answers["a"] = "FAILED"
        b.discover()
        async with running(b.poller):
            await anyio.sleep(100)
            b.source.answers["a"] = "RUNNING"
            await anyio.sleep(100)
            b.source.answers["a"] = "SUCCEEDED"
            await anyio.sleep(100)
        assert [state for *_, state in await b.told()] == ["FAILED", "RUNNING", "SUCCEEDED"]


async def test_an_end_that_only_the_listing_tells_is_recorded(tmp_path):
    async with polling(tmp_path, job_type=CANCEL_ONLY) as b:
        b.source.answers["a"] = "RUNNING"
        parts: dict[str, str | None] = {"Status": None}
        b.source.listing = lambda _token: Page((observation(of=job("a"), parts=dict(parts)),), None)
        b.discover()
        async with running(b.poller):
            await anyio.sleep(100)
            parts["Status"] = "CANCELED"
            await anyio.sleep(31)
            looks = len(b.source.looks)
            await anyio.sleep(600)
        assert [state for *_, state in await b.told()] == ["RUNNING", "CANCELED"]
        assert len(b.source.looks) == looks


async def test_a_listing_that_tells_only_ends_is_no_first_sight(tmp_path):
    async with polling(tmp_path, job_type=CANCEL_ONLY) as b:
        b.source.answers["a"] = Answer("CANCELED", fields={"Size": 1})
        row = observation("CANCELED", of=job("a"))
        b.source.listing = lambda _token: Page((row,), None)
        b.discover()
        await run_for(b, 100)
        assert len(b.source.looks) == 1
        (event,) = [event for _, event in await b.store.transitions()]
        assert event["data"]["fields"] == {"Size": 1}


async def test_a_row_that_tells_no_state_spares_no_look(tmp_path):
    async with polling(tmp_path, job_type=CANCEL_ONLY) as b:
        b.source.answers["a"] = "RUNNING"
        page = Page((observation(of=job("a"), parts={"Status": None}),), None)
        b.source.listing = lambda _token: page
        b.discover()
        await run_for(b, 600)
        assert gaps(b.source.asked_for("a"))[1:] == pytest.approx([30] * 19, abs=0.1)


async def test_absence_from_a_listing_proves_nothing(tmp_path):
    async with polling(tmp_path) as b:
        b.source.answers["a"] = "RUNNING"
        b.source.listing = lambda _token: Page((), None)
        b.follow("a")
        b.discover()
        await run_for(b, 600)
        assert await b.told() == [("a", "job.discovered", "RUNNING")]
        assert len(b.source.looks) >= 20


async def test_a_job_that_sweeps_show_is_looked_at_if_they_stop(tmp_path):
    async with polling(tmp_path) as b:
        b.source.answers["a"] = "PENDING"
        b.discover()
        async with running(b.poller):
            await anyio.sleep(300)
            b.source.page_trouble = PollError(PollReason.AUTH, "AccessDenied")
            looks = len(b.source.looks)
            await anyio.sleep(50)
            assert len(b.source.looks) > looks
            b.source.answers["a"] = "SUCCEEDED"
            await anyio.sleep(50)
        assert [state for *_, state in await b.told()] == ["PENDING", "SUCCEEDED"]


async def test_a_job_found_by_two_discoveries_is_followed_once(tmp_path):
    async with polling(tmp_path) as b:
        ids = [f"j-{number}" for number in range(30)]
        b.source.answers |= dict.fromkeys(ids[:15], "PENDING")
        b.source.answers |= dict.fromkeys(ids[15:], "RETURNING")
        b.source.latency = b.source.page_latency = 0.5
        b.discover()
        b.discover()
        await run_for(b, 3)
        assert sorted(await b.kinds()) == ["job.discovered"] * 30
        assert max(len(b.source.asked_for(job_id)) for job_id in ids) == 1


async def test_a_failed_page_is_asked_for_again(tmp_path):
    async with polling(tmp_path) as b:
        b.source.answers |= {f"j-{number}": "FAILED" for number in range(60)}
        b.discover()
        b.source.listing = broken_once(b.source, PollError(PollReason.TRANSIENT, "X"))
        await run_for(b, 10)
        assert [token for _, token in b.source.pages] == [None, "25", "25", "50"]


async def test_after_a_page_that_came_failures_count_anew(tmp_path):
    async with polling(tmp_path) as b:
        b.discover()
        async with running(b.poller):
            b.source.page_trouble = PollError(PollReason.TRANSIENT, "X")
            await anyio.sleep(400)
            b.source.page_trouble = None
            await anyio.sleep(400)
            b.source.page_trouble = PollError(PollReason.TRANSIENT, "X")
            failed = len(b.source.pages)
            await anyio.sleep(35)
            first, second, third, *_ = [moment for moment, _ in b.source.pages[failed:]]
            assert second - first <= 1
            assert third - second <= 2


async def test_a_token_that_is_refused_starts_the_listing_anew(tmp_path):
    async with polling(tmp_path) as b:
        b.source.answers |= {f"j-{number}": "FAILED" for number in range(60)}
        b.discover()
        refused = PollError(PollReason.CONFIG, "ValidationException")
        b.source.listing = broken_once(b.source, refused)
        with capture_logs() as lines:
            await run_for(b, 70)
        tokens = [token for _, token in b.source.pages]
        assert tokens[:5] == [None, "25", None, "25", "50"]
        assert [line["event"] for line in lines if line["log_level"] == "warning"] == [
            "listing.refused"
        ]


async def test_a_token_that_leads_in_a_circle_ends_the_sweep(tmp_path):
    async with polling(tmp_path) as b:
        b.source.listing = lambda token: Page((), "b" if token == "a" else "a")
        b.discover()
        with capture_logs() as lines:
            await run_for(b, 29)
        assert [token for _, token in b.source.pages] == [None, "a", "b"]
        assert [line["event"] for line in lines] == ["listing.torn"]


async def test_a_listing_that_is_torn_again_and_again_is_logged_once_until_it_was_whole(tmp_path):
    async with polling(tmp_path) as b:
        whole = 4
        b.source.listing = lambda _token: Page((), None, torn=len(b.source.pages) != whole)
        b.discover()
        with capture_logs() as lines:
            await run_for(b, 300)
        assert len(b.source.pages) > whole + 1
        assert [line["event"] for line in lines] == ["listing.torn"] * 2


async def test_a_listing_without_end_is_cut(tmp_path, monkeypatch):
    monkeypatch.setattr(sweep, "MAX_PAGES", 50)
    async with polling(tmp_path) as b:
        b.source.listing = lambda token: Page((), str(int(token or 0) + 1))
        b.discover()
        with capture_logs() as lines:
            await run_for(b, 29)
        assert len(b.source.pages) == 50
        assert [line["event"] for line in lines] == ["listing.torn"]


async def test_an_empty_page_in_the_middle_is_passed(tmp_path):
    async with polling(tmp_path) as b:
        b.source.answers["a"] = "FAILED"
        pages = {None: Page((), "1"), "1": Page((), "2")}
        b.source.listing = lambda token: pages.get(token) or Page(b.source.rows("a"), None)
        b.discover()
        await run_for(b, 5)
        assert await b.told() == [("a", "job.discovered", "FAILED")]


async def test_the_rows_of_a_torn_page_count(tmp_path):
    async with polling(tmp_path) as b:
        b.source.answers["a"] = "FAILED"
        b.source.listing = lambda _token: Page(b.source.rows("a"), None, torn=True)
        b.discover()
        with capture_logs() as lines:
            await run_for(b, 5)
        assert await b.told() == [("a", "job.discovered", "FAILED")]
        assert [line["event"] for line in lines] == ["listing.torn"]


async def test_a_job_that_stands_twice_in_a_page_is_taken_once(tmp_path):
    async with polling(tmp_path) as b:
        b.source.answers["a"] = "FAILED"
        b.source.listing = lambda _token: Page(b.source.rows("a", "a"), None)
        b.discover()
        await run_for(b, 5)
        assert await b.told() == [("a", "job.discovered", "FAILED")]


async def test_sweeps_leave_half_of_the_quota_to_looks(tmp_path):
    async with polling(tmp_path, rate=2, burst=1) as b:
        b.source.page_size = 1
        b.source.answers |= {f"j-{number}": "FAILED" for number in range(100)}
        b.discover(interval=5.0)
        await run_for(b, 1200)
        assert len(b.source.pages) <= 1201
        starts = [moment for moment, token in b.source.pages if token is None]
        assert gaps(starts)[1:] == pytest.approx([100] * len(gaps(starts)[1:]), abs=1)


async def test_many_jobs_over_a_small_quota_are_seen_by_sweeps(tmp_path):
    """Two hundred looks every half minute would need three times the quota."""
    async with polling(tmp_path, rate=2, burst=5) as b:
        b.source.page_size = 4
        b.source.answers |= {f"j-{number}": "PENDING" for number in range(200)}
        b.discover()
        async with running(b.poller):
            await anyio.sleep(600)
            looks, moment = len(b.source.looks), anyio.current_time()
            b.source.answers["j-100"] = "RUNNING"
            await anyio.sleep(300)
            asked = [when for when, job_id in b.source.looks[looks:] if job_id == "j-100"]
            assert asked
            assert asked[0] - moment <= 60
            assert len(b.source.looks) - looks <= 5
        assert ("j-100", "job.state_changed", "RUNNING") in await b.told()


async def test_few_jobs_in_a_long_listing_keep_their_interval(tmp_path):
    async with polling(tmp_path, rate=2, burst=5) as b:
        b.source.page_size = 1
        b.source.answers |= {f"old-{number}": "FAILED" for number in range(200)}
        b.source.answers["new"] = "PENDING"
        b.discover()
        await run_for(b, 1500)
        assert max(gaps(b.source.asked_for("new"))) <= 30 + 45 + 3


async def test_a_row_does_not_cut_short_the_patience_with_a_failing_job(tmp_path):
    async with polling(tmp_path) as b:
        b.source.answers["a"] = "PENDING"
        b.discover()
        async with running(b.poller):
            await anyio.sleep(5)
            b.source.answers["a"] = PollError(PollReason.MISSING, "ResourceNotFound")
            b.source.listing = lambda _token: Page((observation("RUNNING", of=job("a")),), None)
            await anyio.sleep(3000)
            assert await b.kinds() == ["job.discovered"]
            await anyio.sleep(1000)
            assert await b.kinds() == ["job.discovered", "job.missing"]


async def test_rows_do_not_put_off_the_next_look_at_a_failing_job(tmp_path):
    async with polling(tmp_path) as b:
        b.source.answers["a"] = "PENDING"
        b.discover()
        async with running(b.poller):
            await anyio.sleep(1)
            b.source.listing = lambda _token: Page((observation(of=job("a")),), None)
            b.source.answers["a"] = PollError(PollReason.MISSING, "ResourceNotFound")
            await until(lambda: len(b.source.looks) == 2)
            await anyio.sleep(3700)
        assert await b.kinds() == ["job.discovered", "job.missing"]


async def test_a_missing_job_that_a_listing_shows_is_looked_at(tmp_path):
    async with polling(tmp_path) as b:
        b.source.answers["a"] = "PENDING"
        b.follow("a", missing_after=60.0)
        async with running(b.poller):
            await anyio.sleep(5)
            del b.source.answers["a"]
            await anyio.sleep(24 * 3600)
            assert await b.kinds() == ["job.discovered", "job.missing"]
            b.discover()
            await anyio.sleep(5)
            b.source.answers["a"] = "PENDING"
            await anyio.sleep(35)
        assert await b.kinds() == ["job.discovered", "job.missing", "job.reappeared"]


async def test_a_row_does_not_begin_a_second_look_beside_one_under_way(tmp_path):
    async with polling(tmp_path) as b:
        b.source.answers["a"] = "PENDING"
        b.discover(interval=10.0)
        flaky = PollError(PollReason.TRANSIENT, "InternalServerException")
        async with running(b.poller):
            await anyio.sleep(25)
            b.source.latency = 55
            b.source.page_trouble = flaky
            await until(lambda: b.source.under_way)
            b.source.page_trouble = None
            pages = len(b.source.pages)
            await until(lambda: len(b.source.pages) > pages)
            b.source.page_trouble = flaky
            await anyio.sleep(30)
            assert b.source.under_way == b.source.most_under_way == 1


async def test_a_row_does_not_cost_an_overdue_job_its_place_in_line(tmp_path):
    async with polling(tmp_path, rate=1, burst=1) as b:
        ids = [f"j-{number}" for number in range(30)]
        b.source.answers |= dict.fromkeys([*ids, "a"], "PENDING")
        row = observation("RUNNING", of=job("a"))
        b.source.listing = lambda _token: Page((row,), None)
        b.follow(*ids, "a", interval=1.0)
        for _ in range(4):
            b.discover(interval=5.0)
        await run_for(b, 600)
        assert len(b.source.asked_for("a")) >= 10


async def test_a_job_that_only_sweeps_see_is_told_stuck(tmp_path):
    async with polling(tmp_path) as b:
        b.source.answers["a"] = "RUNNING"
        listing = b.discover()
        listing.track = lambda row: b.track(row.job, follow=following(stuck_after=600.0))
        await run_for(b, 1500)
        assert await b.kinds() == ["job.discovered", "job.stuck"]
        assert len(b.source.looks) <= 3


@dataclass(frozen=True)
class OtherType(FakeType):
    @property
    def listings(self):
        return (
            FakeListing("ListOthers", "ListOthers", lists_states=True, parent=None, windowed=False),
        )


async def test_the_limit_of_one_listing_does_not_slow_down_another(tmp_path):
    async with polling(tmp_path) as b:
        b.poller.limit(Budget(10.0, 10, {"ListOthers": Budget(0.1, 1)}))
        b.source.page_size = 1
        b.source.answers = {f"j-{number}": "SUCCEEDED" for number in range(40)}
        other = ScriptedSource(b.clock, OtherType(name="panorama.other"))
        b.discover(30.0)
        b.poller.discover(ListingSweep(other, Discover(), 30.0, lambda row: b.track(row.job)))
        await run_for(b, 600)
        sweeps = [at for at, token in b.source.pages if token is None]
        assert len(sweeps) >= 19
        assert len(other.pages) == pytest.approx(20, abs=2)
