"""What a listing shows counts where the describe of the job fails."""

import json
from datetime import timedelta
from random import Random

import anyio
import pytest

from monitor.errors import PollError, PollReason
from monitor.model import Page
from monitor.polling import describe
from monitor.polling.poller import Poller
from monitor.stores import rows
from tests.builders import (
    SOURCE,
    VIRTUAL,
    Answer,
    FakeType,
    at,
    job,
    observation,
    running,
    snapshot,
    until,
)
from tests.polling import polling, run_for

pytestmark = [VIRTUAL, pytest.mark.usefixtures("long_pauses")]
FLAKY = PollError(PollReason.TRANSIENT, "InternalServerException", status=503)
NO_STATEMENT = [reason for reason in PollReason if reason is not PollReason.MISSING]


def listed(b, *rows):
    """Let the listing show ``rows``, each an observation of job ``a`` made anew."""
    b.source.listing = lambda _token: Page(tuple(_now(b, row) for row in rows), None)


def _now(b, told):
    return b.source._observation(job("a"), told, b.clock.now())


def tracked(b):
    found = b.poller.schedule.get(job("a"))
    assert found is not None
    return found


async def states(b):
    return [state for *_, state in await b.told()]


@pytest.mark.parametrize("reason", NO_STATEMENT)
async def test_a_row_is_recorded_when_the_describe_fails_once(tmp_path, reason):
    async with polling(tmp_path) as b:
        b.source.answers |= {"a": "RUNNING", "healthy": "PENDING"}
        b.discover()
        async with running(b.poller):
            await anyio.sleep(95)
            listed(b, Answer("SUCCEEDED", updated_at=at(90)))
            b.source.answers["a"] = PollError(reason, "Bad")
            looks = len(b.source.asked_for("a"))
            await anyio.sleep(31)
            assert await states(b) == ["RUNNING", "PENDING", "SUCCEEDED"]
            assert len(b.source.asked_for("a")) > looks
            (event,) = [event for _, event in await b.store.transitions()][2:]
            assert event["data"]["window"] == {
                "after": "2026-03-01T12:01:30.000Z",
                "before": "2026-03-01T12:02:00.000Z",
            }
            assert event["data"]["occurred_at"] == "2026-03-01T12:01:30.000Z"


async def test_what_only_the_describe_knows_follows_as_an_update(tmp_path):
    async with polling(tmp_path) as b:
        b.source.answers["a"] = Answer("RUNNING", fields={"Size": None})
        b.discover()
        async with running(b.poller):
            await anyio.sleep(95)
            listed(b, Answer("FAILED"))
            b.source.answers["a"] = FLAKY
            await anyio.sleep(60)
            b.source.answers["a"] = Answer("FAILED", fields={"Size": 1})
            await anyio.sleep(300)
            asked = len(b.source.looks)
            await anyio.sleep(3600)
        assert await b.kinds() == ["job.discovered", "job.state_changed", "job.updated"]
        assert len(b.source.looks) == asked


async def test_a_job_that_failed_before_its_row_changed_does_not_wait_for_its_backoff(tmp_path):
    async with polling(tmp_path) as b:
        b.source.answers |= {"a": "RUNNING", "healthy": "PENDING"}
        b.discover()
        async with running(b.poller):
            await anyio.sleep(5)
            listed(b)
            b.source.answers["a"] = FLAKY
            await until(lambda: tracked(b).attempts > 8, within=7200)
            listed(b, Answer("SUCCEEDED"))
            await anyio.sleep(31)
            assert (await states(b))[-1] == "SUCCEEDED"


async def test_a_new_job_whose_describe_fails_is_recorded_from_its_row(tmp_path):
    async with polling(tmp_path) as b:
        b.source.answers["a"] = FLAKY
        listed(b, Answer("RUNNING"))
        b.discover()
        async with running(b.poller):
            await anyio.sleep(3)
            assert await b.told() == [("a", "job.discovered", "RUNNING")]
            b.source.answers["a"] = Answer("RUNNING", fields={"Size": 1})
            await anyio.sleep(60)
        assert await b.kinds() == ["job.discovered", "job.updated"]


async def test_a_named_job_that_was_never_described_is_recorded_from_its_row(tmp_path):
    async with polling(tmp_path) as b:
        b.source.answers["a"] = FLAKY
        b.follow("a")
        async with running(b.poller):
            await anyio.sleep(100)
            assert await b.told() == []
            listed(b, Answer("RUNNING"))
            b.discover()
            await anyio.sleep(3)
            assert await b.told() == [("a", "job.discovered", "RUNNING")]


async def test_a_row_says_nothing_against_a_describe_that_denies_the_job(tmp_path):
    async with polling(tmp_path) as b:
        listed(b, Answer("RUNNING"))
        b.discover()
        await run_for(b, 600)
        assert b.source.looks
        assert await b.told() == []


async def test_a_row_that_came_while_the_describe_was_under_way_counts_when_that_fails(tmp_path):
    async with polling(tmp_path) as b:
        b.source.answers["a"] = "RUNNING"
        listed(b, Answer("RUNNING"))
        b.discover()
        async with running(b.poller):
            await anyio.sleep(35)
            b.source.latency = 20
            b.source.answers["a"] = FLAKY
            b.poller.schedule.put(tracked(b), 55)
            b.poller._wake.set()
            await until(lambda: b.source.under_way)
            listed(b, Answer("SUCCEEDED"))
            await anyio.sleep(21)
        assert await states(b) == ["RUNNING", "SUCCEEDED"]


async def test_a_row_that_was_asked_for_before_what_is_known_is_never_recorded(tmp_path):
    """A page that was long on its way shows what the job was before."""
    async with polling(tmp_path) as b:
        b.source.answers["a"] = "RUNNING"
        b.follow("a", interval=10.0)
        async with running(b.poller):
            await anyio.sleep(5)
            b.source.page_latency = 30
            page = Page((_now(b, Answer("PENDING")),), None)
            b.source.listing = lambda _token: page
            b.discover(interval=3600.0)
            await anyio.sleep(25)
            b.source.answers["a"] = FLAKY
            await anyio.sleep(100)
        assert await states(b) == ["RUNNING"]


async def test_an_older_row_is_not_recorded_though_the_describe_fails(tmp_path):
    async with polling(tmp_path) as b:
        b.source.answers["a"] = Answer("RUNNING", updated_at=at(-10))
        b.follow("a")
        async with running(b.poller):
            await anyio.sleep(5)
            b.source.answers["a"] = FLAKY
            listed(b, Answer("PENDING", updated_at=at(-20)))
            b.discover()
            await anyio.sleep(600)
        assert await states(b) == ["RUNNING"]


@pytest.mark.parametrize(("updated", "told"), [(None, ["FAILED"]), (90, ["FAILED", "RUNNING"])])
async def test_only_a_later_date_lets_a_row_alone_open_a_job_that_ended(tmp_path, updated, told):
    async with polling(tmp_path) as b:
        b.source.answers["a"] = Answer("FAILED", updated_at=at(-10))
        b.discover()
        async with running(b.poller):
            await anyio.sleep(95)
            listed(b, Answer("RUNNING", updated_at=updated and at(updated)))
            b.source.answers["a"] = FLAKY
            await anyio.sleep(300)
            assert len(b.source.looks) > 1
        assert await states(b) == told


async def test_a_missing_job_comes_back_by_a_row_only_in_another_state(tmp_path):
    async with polling(tmp_path) as b:
        b.source.answers["a"] = "RUNNING"
        b.follow("a", missing_after=60.0)
        async with running(b.poller):
            await anyio.sleep(5)
            del b.source.answers["a"]
            await anyio.sleep(600)
            b.source.answers["a"] = FLAKY
            listed(b, Answer("RUNNING"))
            b.discover()
            await anyio.sleep(300)
            assert await b.kinds() == ["job.discovered", "job.missing"]
            listed(b, Answer("SUCCEEDED"))
            await anyio.sleep(31)
        assert (await b.kinds())[2:] == ["job.reappeared", "job.state_changed"]


async def test_rows_that_stay_the_same_are_recorded_once(tmp_path, monkeypatch):
    monkeypatch.setattr(describe, "OWED_FOR", timedelta(hours=6))
    async with polling(tmp_path) as b:
        b.source.answers["a"] = "RUNNING"
        b.discover(interval=300.0)
        async with running(b.poller):
            await anyio.sleep(950)
            listed(b, Answer("SUCCEEDED"))
            b.source.answers["a"] = FLAKY
            await anyio.sleep(2 * 3600)
            assert await states(b) == ["RUNNING", "SUCCEEDED"]
            await anyio.sleep(6 * 3600)
            asked = len(b.source.looks)
            await anyio.sleep(3 * 3600)
            assert len(b.source.looks) == asked


async def test_an_end_that_a_row_showed_is_no_loss_when_the_job_is_deleted(tmp_path):
    async with polling(tmp_path) as b:
        b.source.answers["a"] = "RUNNING"
        b.discover(interval=300.0)
        async with running(b.poller):
            await anyio.sleep(950)
            listed(b, Answer("SUCCEEDED"))
            b.source.answers["a"] = FLAKY
            await anyio.sleep(400)
            del b.source.answers["a"]
            b.source.listing = lambda _token: Page((), None)
            await anyio.sleep(24 * 3600)
        assert await b.kinds() == ["job.discovered", "job.state_changed"]


async def test_a_row_without_a_state_is_not_recorded_for_a_new_job(tmp_path):
    async with polling(tmp_path, job_type=FakeType(lists_states=False)) as b:
        b.source.answers["a"] = FLAKY
        page = Page((observation(of=job("a"), parts={"Status": None}),), None)
        b.source.listing = lambda _token: page
        b.discover()
        await run_for(b, 300)
        assert await b.told() == []


async def test_a_cancel_that_only_the_listing_tells_waits_for_no_describe(tmp_path):
    async with polling(tmp_path, job_type=FakeType(lists_states=False)) as b:
        b.source.answers |= {"a": "RUNNING", "healthy": "PENDING"}
        b.discover()
        async with running(b.poller):
            await anyio.sleep(5)
            b.source.answers["a"] = FLAKY
            await anyio.sleep(600)
            listed(b, Answer("CANCELED"))
            await anyio.sleep(31)
            assert (await states(b))[-1] == "CANCELED"


async def _owing(b):
    """Let only a row show that ``a`` has failed."""
    b.source.answers["a"] = Answer("RUNNING", fields={"Size": None})
    b.discover()
    async with running(b.poller):
        await anyio.sleep(95)
        listed(b, Answer("FAILED"))
        b.source.answers["a"] = FLAKY
        await anyio.sleep(60)
    assert await b.kinds() == ["job.discovered", "job.state_changed"]
    await b.store.ping()  # as the daemon does in the end


@pytest.mark.parametrize("away", [0.0, 3600.0])
async def test_the_describe_is_still_owed_after_a_restart_although_the_job_is_final(tmp_path, away):
    async with polling(tmp_path) as b:
        await _owing(b)
    await anyio.sleep(away)
    async with polling(tmp_path) as b:
        b.source.answers["a"] = FLAKY
        b.follow("a")
        async with running(b.poller):
            await anyio.sleep(60)
            assert b.source.asked_for("a")
            b.source.answers["a"] = Answer("FAILED", fields={"Size": 1})
            await anyio.sleep(900)
            asked = len(b.source.looks)
            await anyio.sleep(3600)
        assert await b.kinds() == ["job.discovered", "job.state_changed", "job.updated"]
        assert len(b.source.looks) == asked
    async with polling(tmp_path) as b:
        b.follow("a")
        await run_for(b, 3600)
        assert b.source.asked_for("a") == []


async def test_the_describe_is_still_owed_by_the_poller_that_takes_over_at_a_reload(tmp_path):
    async with polling(tmp_path) as b:
        await _owing(b)
        b.source.answers["a"] = Answer("FAILED", fields={"Size": 1})
        limits = b.quota, b.recorder, b.poller._metrics, b.clock, Random(7)
        b.poller = Poller(SOURCE, *limits)
        b.follow("a")
        await run_for(b, 900)
        assert await b.kinds() == ["job.discovered", "job.state_changed", "job.updated"]


async def test_a_describe_is_owed_for_one_day_however_often_the_daemon_is_restarted(tmp_path):
    async with polling(tmp_path) as b:
        await _owing(b)
    for hours in (12, 13):
        async with polling(tmp_path) as b:
            b.source.answers["a"] = FLAKY
            b.follow("a")
            await run_for(b, hours * 3600)
            assert b.source.asked_for("a")
            await b.store.ping()
    async with polling(tmp_path) as b:
        b.source.answers["a"] = FLAKY
        b.follow("a")
        await run_for(b, 3600)
        assert b.source.asked_for("a") == []


async def test_a_describe_that_lags_behind_the_row_does_not_pay_what_is_owed(tmp_path):
    async with polling(tmp_path) as b:
        b.source.answers["a"] = Answer("RUNNING", updated_at=at(0), fields={"Size": None})
        b.discover()
        async with running(b.poller):
            await anyio.sleep(95)
            listed(b, Answer("FAILED", updated_at=at(90)))
            b.source.answers["a"] = FLAKY
            await until(lambda: tracked(b).partial, within=60)
            b.source.answers["a"] = Answer("RUNNING", updated_at=at(0), fields={"Size": None})
            await anyio.sleep(60)
            b.source.answers["a"] = Answer("FAILED", updated_at=at(90), fields={"Size": 1})
            await anyio.sleep(900)
        assert await b.kinds() == ["job.discovered", "job.state_changed", "job.updated"]


def test_a_snapshot_of_an_earlier_version_owes_no_describe():
    known = snapshot("FAILED")
    old = json.loads(rows.encode(known))
    del old["describe_owed"]
    assert rows.decode_snapshot(json.dumps(old)) == known
    owing = known.replace(describe_owed=True)
    assert rows.decode_snapshot(rows.encode(owing)) == owing


@pytest.mark.parametrize("step", [2 * 86400.0, 366 * 86400.0])
async def test_a_wall_clock_that_is_set_gives_up_no_describe_that_is_owed(tmp_path, step):
    async with polling(tmp_path) as b:
        b.source.answers["a"] = "RUNNING"
        b.discover()
        async with running(b.poller):
            await anyio.sleep(65)
            listed(b, Answer("SUCCEEDED"))
            b.source.answers["a"] = FLAKY
            await anyio.sleep(65)
            b.clock.jump = step
            await anyio.sleep(600)
            b.clock.jump = 0.0
            b.source.answers["a"] = Answer("SUCCEEDED", fields={"Size": 7})
            await anyio.sleep(600)
        assert (await b.kinds())[1:] == ["job.state_changed", "job.updated"]
