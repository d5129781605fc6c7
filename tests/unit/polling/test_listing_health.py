"""A listing whose later page keeps failing begins anew, and is shown as incomplete."""

import math
from itertools import product

import anyio
import pytest
from structlog.testing import capture_logs

from monitor.errors import PollError, PollReason
from monitor.model import Page, SkippedRow
from tests.builders import TYPE, VIRTUAL, running
from tests.polling import polling, run_for

pytestmark = VIRTUAL
PLACE = {"type": TYPE.name, "account": "prod", "region": "us-east-1"}


def broken(b, error, page="2"):
    """Let one page fail, and the first page show all jobs."""

    def listing(token):
        if token == page:
            raise error
        following = {None: "2", "2": "3"}.get(token)
        return Page(b.source.rows(*b.source.answers) if token is None else (), following)

    b.source.listing = listing


def firsts(b):
    return [moment for moment, token in b.source.pages if token is None]


def events(lines, *names):
    return [line["event"] for line in lines if line["event"] in names]


# Without throttling that asks for patience: that silences all polls of the service.
FAILURES = [
    (reason, retry_after)
    for reason, retry_after in product(PollReason, (None, 900.0))
    if reason is not PollReason.THROTTLE or retry_after is None
]


@pytest.mark.parametrize(("reason", "retry_after"), FAILURES)
@pytest.mark.parametrize("interval", [5.0, 30.0])
async def test_jobs_on_the_first_page_are_found_however_the_second_fares(
    tmp_path, reason, retry_after, interval
):
    async with polling(tmp_path) as b:
        broken(b, PollError(reason, "Bad", retry_after=retry_after))
        b.discover(interval=interval)
        async with running(b.poller):
            for number in range(8):
                b.source.answers[f"j-{number}"] = "FAILED"
                await anyio.sleep(60)
                assert len(b.recorder.snapshots()) == number + 1
        assert len(b.source.pages) <= 4 * 8 * 60 / interval
        assert b.measured("listing_complete", **PLACE) == 0


async def test_a_sweep_that_begins_anew_keeps_its_interval(tmp_path):
    async with polling(tmp_path) as b:
        broken(b, PollError(PollReason.TRANSIENT, "X"))
        b.discover(interval=30.0)
        await run_for(b, 600)
        gaps = [later - earlier for earlier, later in zip(firsts(b), firsts(b)[1:], strict=False)]
        assert len(gaps) > 15
        assert gaps == pytest.approx([30] * len(gaps), abs=0.1)


async def test_a_listing_is_called_failing_once_and_recovered_once(tmp_path):
    async with polling(tmp_path) as b:
        b.source.answers["a"] = "RUNNING"
        b.follow("a", interval=10.0)
        broken(b, PollError(PollReason.TRANSIENT, "InternalServerException"))
        listing = b.discover(interval=300.0)
        assert math.isnan(b.measured("listing_complete", **PLACE))
        with capture_logs() as lines:
            async with running(b.poller):
                await anyio.sleep(3600)
                assert b.measured("listing_complete", **PLACE) == 0
                assert math.isnan(b.measured("listing_last_complete_timestamp_seconds", **PLACE))
                (seen,) = b.poller.schedule.listings()
                assert seen.complete is False
                assert "InternalServerException" in str(seen.trouble)
                assert events(lines, "poll.recovered", "listing.recovered") == []
                b.source.listing = b.source.slice
                await anyio.sleep(600)
                (seen,) = b.poller.schedule.listings()
                assert (seen.complete, seen.trouble) == (True, None)
                assert b.measured("listing_complete", **PLACE) == 1
                assert b.measured("listing_last_complete_timestamp_seconds", **PLACE) > 1e9
                b.poller.drop(listing)
        assert b.registry.get_sample_value("job_monitor_listing_complete", PLACE) is None
        names = ("poll.failing", "listing.failing", "listing.recovered", "poll.recovered")
        assert events(lines, *names) == list(names)
        (line,) = [line for line in lines if line["event"] == "listing.failing"]
        assert (line["page"], line["type"], line["code"]) == (
            2,
            TYPE.name,
            "InternalServerException",
        )


async def test_a_job_that_fails_by_itself_is_not_called_recovered_between_its_polls(tmp_path):
    async with polling(tmp_path) as b:
        b.source.answers |= {"a": PollError(PollReason.MALFORMED, "NoState"), "b": "RUNNING"}
        b.follow("a", "b")
        with capture_logs() as lines:
            async with running(b.poller):
                await anyio.sleep(4 * 3600)
                assert events(lines, "poll.failing", "poll.recovered") == ["poll.failing"]
                b.source.answers["a"] = "RUNNING"
                await anyio.sleep(600)
        assert events(lines, "poll.failing", "poll.recovered") == ["poll.failing", "poll.recovered"]


async def test_a_page_that_fails_twice_is_no_incomplete_listing(tmp_path):
    async with polling(tmp_path) as b:
        errors = [PollError(PollReason.TRANSIENT, "X")] * 2
        pages = {None: Page((), "2"), "2": Page((), None)}

        def listing(token):
            if token and errors:
                raise errors.pop()
            return pages[token]

        b.source.listing = listing
        b.discover()
        with capture_logs() as lines:
            await run_for(b, 20)
        assert [token for _, token in b.source.pages] == [None, "2", "2", "2"]
        assert events(lines, "listing.failing") == []
        assert b.measured("listing_complete", **PLACE) == 1


async def test_a_first_page_that_keeps_failing_is_an_incomplete_listing(tmp_path):
    async with polling(tmp_path) as b:
        b.source.page_trouble = PollError(PollReason.AUTH, "AccessDenied")
        b.discover()
        with capture_logs() as lines:
            await run_for(b, 300)
        assert b.measured("listing_complete", **PLACE) == 0
        assert events(lines, "listing.failing") == ["listing.failing"]


async def test_a_torn_listing_is_incomplete(tmp_path):
    async with polling(tmp_path) as b:
        b.source.listing = lambda _token: Page((), None, torn=True)
        b.discover()
        await run_for(b, 100)
        assert b.measured("listing_complete", **PLACE) == 0


async def test_of_two_watches_of_one_listing_the_worse_is_shown(tmp_path):
    async with polling(tmp_path) as b:
        pages = [Page((), None), Page((), None, torn=True)]
        b.source.listing = lambda _token: pages.pop()
        b.discover(interval=3000.0)
        b.discover(interval=3000.0)
        await run_for(b, 100)
        assert pages == []
        assert b.measured("listing_complete", **PLACE) == 0


async def test_a_page_of_nothing_but_odd_rows_ends_no_sweep(tmp_path):
    async with polling(tmp_path) as b:
        b.source.answers |= {"first": "PENDING", "last": "PENDING"}
        pages = {
            None: Page((), "2", skipped=(SkippedRow(0, "BadRow"),)),
            "2": Page(b.source.rows("first"), "3"),
            "3": Page((), None, skipped=(SkippedRow(0, "BadRow"),)),
        }
        b.source.listing = lambda token: pages[token]
        b.discover()
        await run_for(b, 100)
        assert [subject for subject, *_ in await b.told()] == ["first"]
        assert b.measured("listing_complete", **PLACE) == 1


async def test_a_listing_of_nothing_but_odd_rows_is_incomplete(tmp_path):
    """So it is where a type reads the wrong member, and nothing of a page says so."""
    async with polling(tmp_path) as b:
        odd = (SkippedRow(0, "BadRow"),)
        b.source.listing = lambda token: Page((), None if token else "2", skipped=odd)
        b.discover()
        await run_for(b, 100)
        assert b.measured("listing_complete", **PLACE) == 0
        (known,) = await b.store.baselines()
        assert known.completed_at is None
