"""Listings that show only what was created lately: how far back each sweep asks."""

from datetime import timedelta

import anyio
import pytest

from monitor.errors import PollError, PollReason
from monitor.model import Page
from monitor.polling import sweep
from tests.builders import VIRTUAL, Answer, FakeType, at, running
from tests.polling import polling, run_for

pytestmark = VIRTUAL
WINDOWED = FakeType(windowed=True, listed="ListJobs since {since}")
HOUR, DAY = 3600.0, 86400.0
UNREACHABLE = PollError(PollReason.UNAVAILABLE, "EndpointConnectionError")


def windowed(b):
    """Let the listing show what was created within the window alone."""

    def listing(_token):
        since = b.source.asked[-1].since
        ids = [
            name
            for name, answer in b.source.answers.items()
            if since is None or answer.created_at >= since
        ]
        return Page(b.source.rows(*ids), None)

    b.source.listing = listing


def spans(b):
    """How many seconds before each sweep its window begins."""
    return [
        moment - (of.since - at(0)).total_seconds()
        for of, (moment, _) in zip(b.source.asked, b.source.pages, strict=True)
    ]


def job_of(b, state="FAILED"):
    return Answer(state, created_at=b.clock.now())


async def subjects(b):
    rows = await b.store.transitions(limit=1000)
    return [
        event["subject"]
        for _, event in rows
        if event["data"]["kind"].startswith("job.") and not event["data"]["baseline"]
    ]


@pytest.mark.parametrize(
    ("discover", "expected"),
    [({}, 7 * DAY), ({"max_age": "2h"}, 2 * HOUR), ({"max_age": "30d"}, 30 * DAY)],
)
async def test_the_first_sweep_goes_back_a_week_or_as_far_as_the_watch_wants(
    tmp_path, discover, expected
):
    async with polling(tmp_path, job_type=WINDOWED) as b:
        windowed(b)
        b.discover(**discover)
        await run_for(b, 100)
        first, *later = spans(b)
        assert first == pytest.approx(expected, abs=0.1)
        # From the begin of the last complete one, less an hour.
        assert later == pytest.approx([HOUR + 30] * len(later), abs=0.5)
        assert len(later) == 3


async def test_after_sweeps_that_failed_for_long_nothing_is_left_out(tmp_path):
    async with polling(tmp_path, job_type=WINDOWED) as b:
        windowed(b)
        b.discover()
        async with running(b.poller):
            await anyio.sleep(40)
            last = b.source.pages[-1][0]
            b.source.page_trouble = UNREACHABLE
            for number in range(6):
                await anyio.sleep(HOUR)
                b.source.answers[f"j-{number}"] = job_of(b)
            b.source.page_trouble = None
            await anyio.sleep(400)
        assert sorted(await subjects(b)) == sorted(b.source.answers)
        failed = [
            of.since
            for of, (moment, _) in zip(b.source.asked, b.source.pages, strict=True)
            if 50 < moment < 6 * HOUR
        ]
        assert set(failed) == {at(last) - timedelta(hours=1)}


async def test_a_first_sweep_that_fails_for_longer_loses_nothing(tmp_path, monkeypatch):
    """What was created since the watch began is news, however late it is listed."""
    monkeypatch.setattr(sweep, "HISTORY", timedelta(hours=1))
    async with polling(tmp_path, job_type=WINDOWED) as b:
        windowed(b)
        b.source.page_trouble = UNREACHABLE
        b.discover()
        async with running(b.poller):
            await anyio.sleep(60)
            b.source.answers["early"] = job_of(b)
            await anyio.sleep(5 * HOUR)
            b.source.page_trouble = None
            await anyio.sleep(400)
        assert await subjects(b) == ["early"]


async def test_a_job_created_while_a_sweep_goes_on_is_in_the_next_window(tmp_path, monkeypatch):
    """The window counts from the begin of the sweep, not from its end."""
    monkeypatch.setattr(sweep, "OVERLAP", timedelta(0))
    async with polling(tmp_path, job_type=WINDOWED) as b:
        windowed(b)
        b.source.page_latency = 50.0
        b.discover(interval=7200.0)
        async with running(b.poller):
            await anyio.sleep(51)
            b.source.answers["during"] = Answer("FAILED", created_at=at(20))
            await anyio.sleep(7300)
        assert await subjects(b) == ["during"]


async def test_a_restart_goes_back_a_week(tmp_path):
    async with polling(tmp_path, job_type=WINDOWED) as b:
        windowed(b)
        b.source.answers["old"] = Answer("FAILED", created_at=at(-60))
        b.discover()
        await run_for(b, 40)
        old = dict(b.source.answers)
    await anyio.sleep(6 * DAY)
    async with polling(tmp_path, job_type=WINDOWED) as b:
        windowed(b)
        b.source.answers |= old | {"down": Answer("FAILED", created_at=at(DAY))}
        b.discover()
        await run_for(b, 40)
        assert await subjects(b) == ["down"]


async def test_an_open_job_that_has_left_the_window_is_described(tmp_path):
    async with polling(tmp_path, job_type=WINDOWED) as b:
        windowed(b)
        b.source.answers["long"] = Answer("RUNNING", created_at=at(0))
        b.discover()
        async with running(b.poller):
            await anyio.sleep(4 * HOUR)
            looks = len(b.source.looks)
            await anyio.sleep(600)
            assert len(b.source.looks) - looks == pytest.approx(20, abs=1)
            b.source.answers["long"] = Answer("FAILED", created_at=at(0))
            await anyio.sleep(35)
        rows = await b.store.transitions(limit=10)
        assert [event["data"]["current"]["state"] for _, event in rows] == ["RUNNING", "FAILED"]


@pytest.mark.parametrize("step", [-5 * HOUR, 5 * HOUR, 2 * DAY])
async def test_a_wall_clock_that_is_set_leaves_nothing_out(tmp_path, step):
    async with polling(tmp_path, job_type=WINDOWED) as b:
        windowed(b)
        b.discover()
        async with running(b.poller):
            await anyio.sleep(40)
            b.clock.jump = step
            await anyio.sleep(40)
            b.clock.jump = 0.0
            b.source.answers["new"] = Answer("FAILED", created_at=at(b.clock.monotonic()))
            await anyio.sleep(70)
        assert await subjects(b) == ["new"]
