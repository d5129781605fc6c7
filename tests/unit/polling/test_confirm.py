"""The flap guard: another state counts once enough polls in a row have shown it."""

from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime

import anyio
import pytest

from monitor.model import Page
from monitor.polling.turn_queue import State
from monitor.recording.recorder import RecordResult
from tests.builders import START, VIRTUAL, Answer, at, following, job, observation, running
from tests.polling import polling
from tests.unit.recording.test_recorder import bench, restarted, text

pytestmark = VIRTUAL
TWICE = replace(following(), confirm=2)
THRICE = replace(following(), confirm=3)


async def test_a_state_counts_once_two_polls_agree(tmp_path):
    async with bench(tmp_path) as b:
        await b.see("PENDING", follow=TWICE)
        await b.see("PENDING", follow=TWICE, asked=30)
        assert await b.see("RUNNING", follow=TWICE, asked=60) is RecordResult.UNCONFIRMED
        assert b.recorder.snapshot(job()).state == "PENDING"
        assert await b.see("RUNNING", follow=TWICE, asked=65) is RecordResult.CHANGED
        assert (await b.told())[1:] == [("job.state_changed", 2, "RUNNING")]
        # From the last poll that showed the old state to the first that showed the new one.
        assert (await b.windows())[1] == (text(30), text(60.1))
        assert b.recorder.snapshot(job()).changed_at == at(60.1)


async def test_a_state_that_goes_back_leaves_no_trace(tmp_path):
    async with bench(tmp_path) as b:
        await b.see("PENDING", follow=TWICE)
        for start in range(100, 500, 100):
            assert await b.see("RUNNING", follow=TWICE, asked=start) is RecordResult.UNCONFIRMED
            assert await b.see("PENDING", follow=TWICE, asked=start + 5) is RecordResult.UNCHANGED
        assert len(await b.told()) == 1


async def test_a_third_state_begins_anew_and_the_window_stays_honest(tmp_path):
    async with bench(tmp_path) as b:
        await b.see("PENDING", follow=THRICE)
        for number, state in enumerate(["RUNNING", "RUNNING", "WAITING"] + ["RUNNING"] * 2):
            result = await b.see(state, follow=THRICE, asked=10.0 + number)
            assert result is RecordResult.UNCONFIRMED
        assert await b.see("RUNNING", follow=THRICE, asked=20) is RecordResult.CHANGED
        assert (await b.windows())[1] == (text(0), text(13.1))


async def test_an_end_is_believed_at_once(tmp_path):
    async with bench(tmp_path) as b:
        await b.see("PENDING", follow=TWICE)
        await b.see("RUNNING", follow=TWICE, asked=10)
        assert await b.see("FAILED", follow=TWICE, asked=20) is RecordResult.CHANGED
        assert (await b.told())[1:] == [("job.state_changed", 2, "FAILED")]


async def test_a_row_that_shows_the_old_state_begins_anew(tmp_path):
    async with bench(tmp_path) as b:
        await b.see("PENDING", follow=TWICE)
        await b.see("RUNNING", follow=TWICE, asked=10)
        await b.recorder.confirm(observation("PENDING", asked=12), TWICE)
        assert await b.see("RUNNING", follow=TWICE, asked=20) is RecordResult.UNCONFIRMED
        b.recorder.note_poll(job(), at(25))
        assert await b.see("RUNNING", follow=TWICE, asked=30) is RecordResult.UNCONFIRMED
        assert await b.see("RUNNING", follow=TWICE, asked=35) is RecordResult.CHANGED
        assert (await b.windows())[1] == (text(25), text(30.1))


async def test_a_denial_in_between_begins_anew(tmp_path):
    async with bench(tmp_path) as b:
        await b.see("PENDING", follow=TWICE)
        await b.see("RUNNING", follow=TWICE, asked=10)
        await b.recorder.deny(job(), at(20), TWICE)
        assert await b.see("RUNNING", follow=TWICE, asked=30) is RecordResult.UNCONFIRMED


async def test_a_restart_only_delays(tmp_path):
    async with bench(tmp_path) as b:
        await b.see("PENDING", follow=TWICE)
        await b.see("RUNNING", follow=TWICE, asked=10)
    async with restarted(tmp_path) as b:
        assert await b.see("RUNNING", follow=TWICE, asked=20) is RecordResult.UNCONFIRMED
        assert await b.see("RUNNING", follow=TWICE, asked=25) is RecordResult.CHANGED
        assert (await b.windows())[1] == (text(0), text(20.1))


async def test_the_poll_that_confirms_comes_soon(tmp_path):
    async with polling(tmp_path) as b:
        b.source.answers["j-1"] = "PENDING"
        b.follow("j-1", interval=300.0)
        (known,) = b.poller.schedule.everyone()
        known.options = replace(known.options, following=replace(known.following, confirm=2))
        async with running(b.poller):
            await anyio.sleep(10)
            b.source.answers["j-1"] = "RUNNING"
            await anyio.sleep(330)
        looks = b.source.asked_for("j-1")
        assert ("j-1", "job.state_changed", "RUNNING") in await b.told()
        assert looks[2] - looks[1] <= 6
        assert b.measured("polls_total", **_labels("unconfirmed")) == 1


@asynccontextmanager
async def listed(tmp_path, *, prepares, page_latency=0.5):
    """Poll a job by a page that goes on to show its old state; end before the next page."""
    async with polling(tmp_path) as b:
        b.source.prepares, b.source.page_latency = prepares, page_latency
        b.source.answers["j-1"] = "PENDING"
        sweep = b.discover(30.0)
        known: dict[str, str | Answer | BaseException] = {"j-1": "PENDING"}

        def lags(_token):
            told, b.source.answers = b.source.answers, known
            try:
                return b.source.slice(None)
            finally:
                b.source.answers = told

        async with running(b.poller):
            await anyio.sleep(200)
            (one,) = b.poller.schedule.everyone()
            one.options = replace(one.options, following=replace(one.following, confirm=2))
            await anyio.sleep(110)
            assert one.state is (State.LISTED if prepares else State.WAITING)
            b.source.answers["j-1"], b.source.listing = "RUNNING", lags
            b.source.looks.clear()
            yield b, sweep, one


@pytest.mark.parametrize("prepares", [False, True])
async def test_a_page_does_not_put_off_the_poll_that_confirms(tmp_path, prepares):
    async with listed(tmp_path, prepares=prepares) as (b, sweep, one):
        await anyio.sleep(sweep.due - anyio.current_time() - 1)
        asked = sweep.due
        b.poller.hint(one)
        await anyio.sleep(12)
        first, second = b.source.asked_for("j-1")
        assert first == pytest.approx(asked - 1, abs=0.1)
        assert second - first <= 5.1
        assert (await b.kinds())[1:] == ["job.state_changed"]
        ((after, before),) = (await windows(b))[1:]
        assert (after, before) == pytest.approx((asked - 30, first), abs=0.6)


@pytest.mark.parametrize("prepares", [False, True])
async def test_a_page_that_was_requested_before_the_new_state_was_seen_proves_nothing(
    tmp_path, prepares
):
    async with listed(tmp_path, prepares=prepares, page_latency=3.0) as (b, sweep, one):
        await anyio.sleep(sweep.due - anyio.current_time() + 1)
        b.poller.hint(one)
        await anyio.sleep(7)
        first, second = b.source.asked_for("j-1")
        assert second - first <= 5.1
        assert (await b.kinds())[1:] == ["job.state_changed"]
        ((_, before),) = (await windows(b))[1:]
        assert before == pytest.approx(first, abs=0.1)


@pytest.mark.parametrize("prepares", [False, True])
async def test_a_row_without_a_state_proves_nothing(tmp_path, prepares):
    async with listed(tmp_path, prepares=prepares) as (b, sweep, one):
        rows = b.source.listing(None).rows
        stateless = Page(tuple(replace(row, parts={"Status": None}) for row in rows), None)
        b.source.listing = lambda _token: stateless
        await anyio.sleep(sweep.due - anyio.current_time() - 1)
        b.poller.hint(one)
        await anyio.sleep(7)
        first, second = b.source.asked_for("j-1")
        assert second - first <= 5.1
        assert (await b.kinds())[1:] == ["job.state_changed"]


async def windows(b):
    """Return both ends of the window of each event, in seconds since the start."""
    return [
        [
            end and (datetime.fromisoformat(end) - START).total_seconds()
            for end in (event["data"]["window"]["after"], event["data"]["window"]["before"])
        ]
        for _, event in await b.store.transitions(limit=1000)
    ]


def _labels(outcome):
    place = {"type": "panorama.package-import", "account": "prod", "region": "us-east-1"}
    return {**place, "mode": "describe", "outcome": outcome}
