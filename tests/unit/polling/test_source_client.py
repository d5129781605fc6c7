"""One question at a time, under a deadline, with one net around the plug-in."""

import asyncio

import anyio
import pytest
from structlog.testing import capture_logs

from monitor.errors import PollError, PollReason
from tests.builders import VIRTUAL, at, running, until
from tests.polling import PLACE, polling, run_for

pytestmark = VIRTUAL
FLAKY = PollError(PollReason.TRANSIENT, "InternalServerException", status=500, request_id="r-1")


def requests(b, outcome, operation="DescribePackageImportJob"):
    return b.measured("aws_requests_total", operation=operation, outcome=outcome, **PLACE)


async def test_a_look_that_hangs_ends_at_its_deadline(tmp_path):
    async with polling(tmp_path, timeout=20.0) as b:
        b.source.answers["a"] = "PENDING"
        b.source.latency = 1e6
        b.follow("a")
        async with running(b.poller):
            await anyio.sleep(19)
            assert requests(b, "transient") == 0
            await anyio.sleep(2)
            assert requests(b, "transient") == 1
            b.source.latency = 0
            await anyio.sleep(30)
        assert await b.kinds() == ["job.discovered"]


@pytest.mark.parametrize(
    "broken",
    [
        ValueError("secret"),
        KeyError("secret"),
        ExceptionGroup("several", [ValueError("secret")]),
        AssertionError("secret"),
        asyncio.CancelledError("secret"),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_a_plug_in_may_raise_anything(tmp_path, broken):
    async with polling(tmp_path, concurrency=1) as b:
        b.source.answers |= {"a": broken, "b": "PENDING"}
        b.follow("a", "b")
        with capture_logs() as lines:
            async with running(b.poller):
                await anyio.sleep(100)
                b.source.answers["a"] = "RUNNING"
                await anyio.sleep(300)
        assert requests(b, "internal") >= 3
        assert "poll.failing" in [line["event"] for line in lines]
        assert sorted(await b.told()) == [
            ("a", "job.discovered", "RUNNING"),
            ("b", "job.discovered", "PENDING"),
        ]


async def test_a_look_that_is_cut_off_counts_as_nothing(tmp_path):
    async with polling(tmp_path) as b:
        b.source.latency = 1e6
        b.follow("a")
        with anyio.move_on_after(5):
            await b.poller.run()
        assert len(b.source.looks) == 1
        assert requests(b, "internal") == 0


async def test_a_timeout_of_the_plug_in_itself_is_transient(tmp_path):
    async with polling(tmp_path) as b:
        b.source.answers["a"] = TimeoutError()
        b.follow("a")
        await run_for(b, 1)
        assert requests(b, "transient") >= 1


async def test_answers_are_counted_and_timed(tmp_path):
    async with polling(tmp_path) as b:
        b.source.answers["a"] = "SUCCEEDED"
        b.source.latency = 2.5
        b.follow("a")
        await run_for(b, 100)
        assert requests(b, "ok") == 1
        timed = {"service": "panorama", "operation": "DescribePackageImportJob"}
        assert b.measured("aws_request_duration_seconds_sum", **timed) == pytest.approx(2.5)
        assert b.measured("source_up", **PLACE) == 1
        last_success = b.measured("source_last_success_timestamp_seconds", **PLACE)
        assert last_success == pytest.approx(at(2.5).timestamp())


async def test_an_answer_about_one_job_shows_that_the_source_is_there(tmp_path):
    async with polling(tmp_path) as b:
        b.source.trouble = FLAKY
        b.follow("a")
        async with running(b.poller):
            await anyio.sleep(1)
            assert b.measured("source_up", **PLACE) == 0
            b.source.trouble = None
            await anyio.sleep(100)
        assert requests(b, "missing") >= 1
        assert b.measured("source_up", **PLACE) == 1


async def test_the_log_names_the_first_failure_and_the_recovery(tmp_path):
    async with polling(tmp_path) as b:
        b.source.answers |= {"a": "PENDING", "b": "PENDING"}
        b.follow("a", "b", interval=10.0)
        with capture_logs() as lines:
            async with running(b.poller):
                await anyio.sleep(10)
                b.source.trouble = FLAKY
                await anyio.sleep(120)
                b.source.trouble = None
                await anyio.sleep(200)
        assert [line["event"] for line in lines] == ["poll.failing", "poll.recovered"]
        assert lines[0]["code"] == "InternalServerException"
        assert (lines[0]["status"], lines[0]["request_id"]) == (500, "r-1")


async def test_a_source_that_flickers_is_one_trouble(tmp_path):
    async with polling(tmp_path) as b:
        b.source.answers |= {"a": "PENDING", "b": FLAKY}
        b.follow("a", "b", interval=5.0)
        with capture_logs() as lines:
            await run_for(b, 40)
        assert [line["event"] for line in lines] == ["poll.failing"]


async def test_the_windows_of_an_outage_lie_between_its_looks(tmp_path):
    async with polling(tmp_path) as b:
        b.source.answers["a"] = "PENDING"
        b.follow("a", interval=10.0)
        async with running(b.poller):
            await anyio.sleep(50)
            good = [moment for moment, _ in b.source.looks][-1]
            b.source.trouble = PollError(PollReason.UNAVAILABLE, "NoSuchHost")
            await until(lambda: b.recorder.is_lost(b.poller.key))
            lost = b.source.looks[-1][0]
            await anyio.sleep(400)
            bad = b.source.looks[-1][0]
            b.source.trouble = PollError(PollReason.MISSING, "ResourceNotFound")
            await until(lambda: not b.recorder.is_lost(b.poller.key), within=1000)
            found = b.source.looks[-1][0]
        rows = [event["data"] for _, event in await b.store.transitions()]
        outage, recovery = [data for data in rows if data["kind"].startswith("source.")]
        assert _seconds(outage) == pytest.approx([good, lost], abs=0.01)
        assert _seconds(recovery) == pytest.approx([bad, found], abs=0.01)
        assert (outage["reason"], recovery["reason"]) == ("unavailable: NoSuchHost", None)


def _seconds(data):
    minutes = [moment[14:-1].split(":") for moment in data["window"].values()]
    return [60 * int(minute) + float(second) for minute, second in minutes]
