"""After an outage all that failed meanwhile is polled, as the quota permits."""

import math
from itertools import pairwise

import anyio
import pytest

from monitor.errors import PollError, PollReason
from monitor.polling.outage import Outages
from monitor.polling.poller import LONGEST_HOLD, PROBE_INTERVAL
from tests.builders import VIRTUAL, job, running, until
from tests.polling import polling, run_for

pytestmark = VIRTUAL
IDS = [f"j-{number}" for number in range(100)]
SOME = IDS[:20]
FLAKY = PollError(PollReason.TRANSIENT, "InternalServerException", status=503)
WITHIN = 35.0


async def changed(b):
    """Return when each change was seen, in seconds of the test's time."""
    return {subject for subject, kind, _ in await b.told() if kind == "job.state_changed"}


async def outage(b, minutes, trouble, *, breaks="trouble"):
    """Let everything fail for so long, all jobs change meanwhile, and 35 s pass after it."""
    async with running(b.poller):
        await anyio.sleep(60)
        asked = len(b.source.looks) + len(b.source.pages)
        setattr(b.source, breaks, trouble)
        await anyio.sleep(minutes * 60)
        assert len(b.source.looks) + len(b.source.pages) >= asked + 3
        b.source.answers |= dict.fromkeys(b.source.answers, "SUCCEEDED")
        setattr(b.source, breaks, None)
        await anyio.sleep(WITHIN)
        return await changed(b)


@pytest.mark.parametrize("minutes", [1, 4, 6])
async def test_all_changes_come_soon_after_an_outage(tmp_path, minutes):
    async with polling(tmp_path, rate=20, burst=20) as b:
        b.source.answers |= dict.fromkeys(IDS, "RUNNING")
        b.follow(*IDS, interval=10.0)
        assert await outage(b, minutes, FLAKY) == set(IDS)


@pytest.mark.parametrize("minutes", [0.3, 4, 6])
@pytest.mark.parametrize(
    "reason", [PollReason.UNAVAILABLE, PollReason.AUTH, PollReason.MALFORMED, PollReason.INTERNAL]
)
async def test_it_does_not_matter_how_a_source_fails(tmp_path, minutes, reason):
    async with polling(tmp_path) as b:
        b.source.answers |= dict.fromkeys(SOME, "RUNNING")
        b.follow(*SOME, interval=10.0)
        assert await outage(b, minutes, PollError(reason, "Bad")) == set(SOME)


@pytest.mark.parametrize("retry_after", [30.0, 120.0, 3600.0, 1e9])
@pytest.mark.parametrize("reason", [PollReason.TRANSIENT, PollReason.UNAVAILABLE])
async def test_what_asked_for_patience_in_an_outage_has_none_after_it(
    tmp_path, reason, retry_after
):
    """A proxy that answers for a service does not know when that is back."""
    async with polling(tmp_path, rate=20, burst=20) as b:
        b.source.answers |= dict.fromkeys(SOME, "RUNNING")
        b.follow(*SOME, interval=10.0)
        trouble = PollError(reason, "Bad", status=503, retry_after=retry_after)
        async with running(b.poller):
            await anyio.sleep(60)
            b.source.trouble = trouble
            looks = len(b.source.looks)
            await anyio.sleep(240)
            asked = len(b.source.looks) - looks
            b.source.answers |= dict.fromkeys(SOME, "SUCCEEDED")
            b.source.trouble = None
            await anyio.sleep(LONGEST_HOLD + PROBE_INTERVAL + 2)
            assert await changed(b) == set(SOME)
        assert asked >= 4
        assert retry_after < 120 or asked <= 3 * len(SOME)


@pytest.mark.parametrize("minutes", [1, 4])
async def test_after_throttling_all_changes_come_as_the_quota_permits(tmp_path, minutes):
    """The rate has fallen to a 64th; after 15 seconds it regains a fifteenth each second."""
    async with polling(tmp_path, rate=40, burst=20) as b:
        b.source.answers |= dict.fromkeys(IDS, "RUNNING")
        b.follow(*IDS, interval=10.0)
        assert await outage(b, minutes, PollError(PollReason.THROTTLE, "Slow")) == set(IDS)


@pytest.mark.parametrize("jobs", [1, 2])
@pytest.mark.parametrize("reason", [PollReason.TRANSIENT, PollReason.UNAVAILABLE, PollReason.AUTH])
async def test_the_return_is_found_soon_where_few_jobs_can_show_it(tmp_path, jobs, reason):
    async with polling(tmp_path) as b:
        b.source.answers |= dict.fromkeys(IDS[:jobs], "RUNNING")
        b.follow(*IDS[:jobs])
        assert len(await outage(b, 120, PollError(reason, "Bad"))) == jobs


async def test_a_source_that_fails_wholly_is_probed_but_not_hammered(tmp_path):
    async with polling(tmp_path) as b:
        b.follow("a")
        b.source.trouble = FLAKY
        await run_for(b, 4 * 3600)
        late = [moment for moment, _ in b.source.looks if moment > 3600]
        gaps = [later - earlier for earlier, later in pairwise(late)]
        assert max(gaps) <= PROBE_INTERVAL + 5.1
        assert sum(gaps) / len(gaps) >= PROBE_INTERVAL / 2


async def test_a_listing_is_due_after_an_outage_as_well(tmp_path):
    async with polling(tmp_path, rate=2, burst=5) as b:
        b.source.answers |= dict.fromkeys(SOME, "RUNNING")
        b.discover(interval=10.0)
        assert await outage(b, 4, FLAKY) == set(SOME)


async def test_describes_that_are_back_are_found_though_the_listing_worked_all_along(tmp_path):
    async with polling(tmp_path, rate=40, burst=20) as b:
        b.source.answers |= dict.fromkeys(SOME, "RUNNING")
        b.follow(*SOME, interval=10.0)
        b.source.listing = lambda _token: b.source.slice("1000")
        b.discover()
        async with running(b.poller):
            await anyio.sleep(60)
            b.source.answers |= dict.fromkeys(SOME, FLAKY)
            await anyio.sleep(300)
            b.source.answers |= dict.fromkeys(SOME, "SUCCEEDED")
            await anyio.sleep(WITHIN)
            assert await changed(b) == set(SOME)


async def test_a_listing_that_is_back_is_found_though_describes_worked_all_along(tmp_path):
    async with polling(tmp_path) as b:
        b.source.answers["a"] = "RUNNING"
        b.follow("a")
        b.source.page_trouble = FLAKY
        b.discover()
        async with running(b.poller):
            await anyio.sleep(1800)
            b.source.answers["b"] = "RUNNING"
            b.source.page_trouble = None
            await anyio.sleep(WITHIN)
        assert ("b", "job.discovered", "RUNNING") in await b.told()


async def test_polls_that_were_under_way_at_the_return_do_not_wait_either(tmp_path):
    async with polling(tmp_path, rate=20, burst=20) as b:
        b.source.answers |= dict.fromkeys(SOME, "RUNNING")
        b.follow(*SOME, interval=10.0)
        async with running(b.poller):
            await anyio.sleep(60)
            b.source.trouble = FLAKY
            await anyio.sleep(240)
            b.source.latency = 8
            await until(lambda: b.source.under_way >= 3)
            b.source.trouble = None
            b.source.answers |= dict.fromkeys(SOME, "SUCCEEDED")
            b.source.latency = 0
            await anyio.sleep(WITHIN)
            assert await changed(b) == set(SOME)


async def test_a_return_that_stumbles_once_more_costs_little(tmp_path):
    async with polling(tmp_path, rate=20, burst=20) as b:
        b.source.answers |= dict.fromkeys(SOME, "RUNNING")
        b.follow(*SOME, interval=10.0)
        async with running(b.poller):
            await anyio.sleep(60)
            b.source.trouble = FLAKY
            await anyio.sleep(300)
            b.source.trouble = None
            ok = len(await b.told())
            b.source.answers["j-7"] = "SUCCEEDED"
            await until(lambda: "SUCCEEDED" in str(b.recorder.snapshot(job("j-7"))), within=60)
            b.source.trouble = FLAKY
            await anyio.sleep(10)
            b.source.trouble = None
            b.source.answers |= dict.fromkeys(SOME, "SUCCEEDED")
            await anyio.sleep(WITHIN)
            assert await changed(b) == set(SOME)
        assert ok == len(SOME)


async def test_a_job_that_alternates_hurries_none_that_keep_failing(tmp_path):
    ids, bad = IDS[:12], IDS[:3]
    async with polling(tmp_path) as b:
        b.source.answers |= dict.fromkeys(ids, "RUNNING") | dict.fromkeys(bad, FLAKY)
        b.follow(*ids, interval=30.0)
        async with running(b.poller):
            for turn in range(240):
                b.source.answers[ids[-1]] = FLAKY if turn % 2 else "RUNNING"
                await anyio.sleep(15)
        for job_id in bad:
            late = [moment for moment in b.source.asked_for(job_id) if moment > 1200]
            assert 5 <= len(late) <= 2400 / 100


async def test_half_of_all_polls_failing_makes_no_stampede(tmp_path):
    async with polling(tmp_path) as b:
        ids = IDS[:20]
        b.source.latency = 0.3
        b.follow(*ids, interval=10.0)
        async with running(b.poller):
            for turn in range(300):
                half = (FLAKY, "RUNNING") if turn % 2 else ("RUNNING", FLAKY)
                b.source.answers |= dict.fromkeys(ids[::2], half[0])
                b.source.answers |= dict.fromkeys(ids[1::2], half[1])
                await anyio.sleep(1)
        assert 600 < len(b.source.looks) <= 2.5 * 600


def test_one_failure_by_itself_says_nothing_of_a_source():
    outages = Outages(20)
    outages.sent("D", 0)
    outages.failed("D", 0, 0, fresh=True)
    assert outages.succeeded("D", 1) == []


def test_a_short_run_of_failures_forgives_only_those_that_began_in_it():
    outages = Outages(20)
    outages.sent("D", 0)
    outages.succeeded("D", 10)
    for moment in (11, 12):
        outages.failed("D", moment, moment, fresh=True)
    assert {(back.operation, back.since) for back in outages.succeeded("D", 13)} == {
        (None, 10),
        ("D", 10),
    }


def test_a_long_run_forgives_all_unless_they_had_failed_before():
    for fresh, since in ((True, -math.inf), (False, 10)):
        outages = Outages(20)
        outages.sent("D", 0)
        outages.succeeded("D", 10)
        for moment in (11, 12):
            outages.failed("D", moment, moment, fresh=fresh)
        assert {back.since for back in outages.succeeded("D", 40)} == {since}
