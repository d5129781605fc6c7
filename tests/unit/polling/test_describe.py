"""One look at one job: what each answer leads to."""

from itertools import pairwise

import anyio
import pytest
from structlog.testing import capture_logs

from monitor.errors import PollError, PollReason
from tests.builders import TYPE, VIRTUAL, Answer, FakeType, at, following, running, until
from tests.polling import polling, run_for

pytestmark = [VIRTUAL, pytest.mark.usefixtures("long_pauses")]
MISSING = PollError(PollReason.MISSING, "ResourceNotFound")
REFUSED = PollError(PollReason.CONFIG, "ValidationException")
DENIED = PollError(PollReason.AUTH, "AccessDenied")
FLAKY = PollError(PollReason.TRANSIENT, "InternalServerException", status=500)
HOUR, DAY = 3600.0, 86_400.0


def gaps(times):
    return [later - earlier for earlier, later in pairwise(times)]


async def test_a_failed_look_is_never_a_state(tmp_path):
    async with polling(tmp_path) as b:
        b.source.answers["a"] = "PENDING"
        b.follow("a")
        async with running(b.poller):
            await anyio.sleep(1)
            for reason in PollReason:
                b.source.trouble = PollError(reason, "X")
                await anyio.sleep(100)
            b.source.trouble = None
            await anyio.sleep(HOUR)
        assert [kind for kind in await b.kinds() if kind.startswith("job.")] == ["job.discovered"]


async def test_a_transient_failure_is_retried_ever_more_slowly(tmp_path):
    async with polling(tmp_path) as b:
        b.source.answers |= {"a": FLAKY, "healthy": "PENDING"}
        b.follow("a", "healthy")
        await run_for(b, 4 * HOUR)
        times = b.source.asked_for("a")
        waits = gaps(times)
        for attempt, wait in enumerate(waits):
            assert wait <= min(300, 2**attempt) + 0.05
        assert max(waits[:4]) <= 8
        assert max(waits) > 200
        assert sum(waits[10:]) / len(waits[10:]) == pytest.approx(150, abs=40)


async def test_after_a_failure_a_job_returns_to_its_interval(tmp_path):
    async with polling(tmp_path) as b:
        b.source.answers["a"] = FLAKY
        b.follow("a")
        async with running(b.poller):
            await anyio.sleep(200)
            b.source.answers["a"] = "PENDING"
            await until(b.recorder.snapshots)
            asked = len(b.source.looks)
            await anyio.sleep(300)
            assert gaps(b.source.asked_for("a")[asked:]) == pytest.approx([30] * 9, abs=0.1)
            b.source.answers["a"] = FLAKY
            await until(lambda: len(b.source.looks) >= asked + 11)
            b.source.answers["a"] = "PENDING"
            await anyio.sleep(1.1)
            assert len(b.source.looks) >= asked + 12


@pytest.mark.parametrize(
    ("error", "shortest", "longest"), [(DENIED, 450, 900), (REFUSED, 1800, 3600)]
)
async def test_what_needs_a_person_is_probed_slowly(tmp_path, error, shortest, longest):
    async with polling(tmp_path) as b:
        b.source.answers |= {"a": error, "healthy": "PENDING"}
        b.follow("a")
        b.follow("healthy", interval=60.0)
        await run_for(b, 20 * HOUR)
        waits = gaps(b.source.asked_for("a"))
        assert all(shortest <= wait <= longest + 0.1 for wait in waits[7:])
        assert len(waits) <= 20 * HOUR / shortest + 8
        assert waits[0] >= 15


async def test_a_job_that_was_never_seen_is_put_in_quarantine(tmp_path):
    async with polling(tmp_path) as b:
        b.follow("typo")
        with capture_logs() as lines:
            await run_for(b, 10 * HOUR)
        waits = gaps(b.source.asked_for("typo"))
        assert 30 <= waits[0] <= 60
        assert waits[-1] >= 1800
        assert await b.told() == []
        (line,) = [line for line in lines if line["event"] == "job.failing"]
        assert (line["reason"], line["job"].split("/")[-1]) == ("missing", "typo")


async def test_a_job_in_quarantine_that_appears_is_followed(tmp_path):
    async with polling(tmp_path) as b:
        b.follow("late")
        async with running(b.poller):
            await anyio.sleep(HOUR)
            b.source.answers["late"] = "PENDING"
            with capture_logs() as lines:
                await anyio.sleep(HOUR + 1)
        assert await b.kinds() == ["job.discovered"]
        assert [line["event"] for line in lines] == ["job.recovered"]


async def test_a_known_job_is_told_missing_after_three_denials_over_an_hour(tmp_path):
    async with polling(tmp_path) as b:
        b.source.answers["a"] = "RUNNING"
        b.follow("a")
        async with running(b.poller):
            await anyio.sleep(5)
            del b.source.answers["a"]
            asked = len(b.source.looks)
            await until(lambda: len(b.source.looks) > asked)
            first = anyio.current_time()
            await anyio.sleep(HOUR - 5)
            assert await b.kinds() == ["job.discovered"]
            await anyio.sleep(10)
            assert await b.kinds() == ["job.discovered", "job.missing"]
            assert [t - first for t in b.source.asked_for("a")[asked:]] == pytest.approx(
                [0, HOUR / 2, HOUR], abs=0.2
            )
            await anyio.sleep(2 * 24 * HOUR)
        assert (await b.kinds()).count("job.missing") == 1
        assert gaps(b.source.asked_for("a"))[-1] >= 12 * HOUR


async def test_a_denial_that_is_not_confirmed_is_forgotten(tmp_path):
    async with polling(tmp_path) as b:
        b.source.answers["a"] = "RUNNING"
        b.follow("a")
        async with running(b.poller):
            await anyio.sleep(5)
            for _ in range(3):
                del b.source.answers["a"]
                await anyio.sleep(0.6 * HOUR)
                b.source.answers["a"] = "RUNNING"
                await anyio.sleep(0.6 * HOUR)
        assert await b.kinds() == ["job.discovered"]


async def test_trouble_between_denials_neither_confirms_nor_refutes_them(tmp_path):
    async with polling(tmp_path) as b:
        b.source.answers |= {"a": "RUNNING", "healthy": "PENDING"}
        b.follow("a", "healthy")
        async with running(b.poller):
            await anyio.sleep(5)
            b.source.answers["a"] = MISSING
            await anyio.sleep(0.75 * HOUR)
            b.source.answers["a"] = FLAKY
            await anyio.sleep(0.5 * HOUR)
            assert "job.missing" not in await b.kinds()
            b.source.answers["a"] = MISSING
            await anyio.sleep(0.2 * HOUR)
        assert (await b.kinds()).count("job.missing") == 1


async def test_a_missing_job_that_is_shown_again_reappears(tmp_path):
    async with polling(tmp_path) as b:
        b.source.answers["a"] = "RUNNING"
        b.follow("a", missing_after=60.0)
        async with running(b.poller):
            await anyio.sleep(5)
            del b.source.answers["a"]
            await anyio.sleep(200)
            b.source.answers["a"] = "SUCCEEDED"
            await anyio.sleep(2 * 24 * HOUR)
        assert await b.kinds() == [
            "job.discovered",
            "job.missing",
            "job.reappeared",
            "job.state_changed",
        ]


async def test_a_missing_job_is_neither_told_nor_hurried_after_a_restart(tmp_path):
    async with polling(tmp_path) as b:
        b.source.answers["a"] = "RUNNING"
        b.follow("a", missing_after=600.0)
        async with running(b.poller):
            await anyio.sleep(5)
            del b.source.answers["a"]
            await anyio.sleep(700)
    async with polling(tmp_path) as b:
        b.follow("a", missing_after=600.0)
        await run_for(b, 3 * HOUR)
        assert await b.kinds() == ["job.discovered", "job.missing"]
        first, second, *_ = gaps(b.source.asked_for("a"))
        assert 300 <= first <= 600
        assert 600 <= second <= 1200


async def test_a_service_in_trouble_may_ask_for_patience(tmp_path):
    async with polling(tmp_path) as b:
        b.source.answers |= {
            "a": PollError(PollReason.TRANSIENT, "InternalServerException", retry_after=90),
            "b": "PENDING",
        }
        b.follow("a", "b")
        await run_for(b, 100)
        assert b.source.asked_for("a") == pytest.approx([0, 90], abs=0.1)
        assert len(b.source.asked_for("b")) >= 4


async def test_a_job_that_ended_but_may_change_is_looked_at_slowly_and_then_no_more(tmp_path):
    async with polling(tmp_path) as b:
        b.source.answers["a"] = "RETURNING"
        b.follow("a")
        await run_for(b, 3 * HOUR)
        waits = gaps(b.source.asked_for("a"))
        assert waits[1:] == pytest.approx([600] * (len(waits) - 1), abs=0.1)
        assert HOUR <= b.source.asked_for("a")[-1] <= HOUR + 660
        assert await b.kinds() == ["job.discovered"]


async def test_a_change_within_the_grace_is_told(tmp_path):
    async with polling(tmp_path) as b:
        b.source.answers["a"] = "RETURNING"
        b.follow("a")
        async with running(b.poller):
            await anyio.sleep(0.5 * HOUR)
            b.source.answers["a"] = "SUCCEEDED"
            await anyio.sleep(5 * HOUR)
        assert await b.kinds() == ["job.discovered", "job.state_changed"]
        assert b.source.asked_for("a")[-1] <= 0.5 * HOUR + 610


async def test_the_grace_goes_on_over_a_restart(tmp_path):
    async with polling(tmp_path) as b:
        b.source.answers["a"] = "RETURNING"
        b.follow("a")
        await run_for(b, 0.75 * HOUR)
        await b.store.ping()  # as the daemon does in the end: with it, store time is written down
    async with polling(tmp_path) as b:
        b.source.answers["a"] = "RETURNING"
        b.follow("a")
        began = b.clock.monotonic()
        await run_for(b, 2 * HOUR)
        assert b.source.asked_for("a")
        assert b.source.asked_for("a")[-1] - began <= 0.25 * HOUR + 610


@pytest.mark.parametrize("step", [HOUR, -HOUR, DAY, -DAY, 366 * DAY, -366 * DAY])
async def test_a_wall_clock_that_is_set_neither_ends_the_grace_nor_prolongs_it(tmp_path, step):
    async with polling(tmp_path) as b:
        b.source.answers["a"] = "RETURNING"
        b.follow("a")
        async with running(b.poller):
            await anyio.sleep(0.25 * HOUR)
            b.clock.jump = step
            await anyio.sleep(0.5 * HOUR)
            assert b.source.asked_for("a")[-1] > 0.5 * HOUR
            b.clock.jump = 0.0
            await anyio.sleep(2 * HOUR)
        assert b.source.asked_for("a")[-1] <= HOUR + 610


async def test_a_slow_interval_is_not_sped_up_by_the_grace(tmp_path):
    async with polling(tmp_path, job_type=FakeType(grace_interval=10.0)) as b:
        b.source.answers["a"] = "RETURNING"
        b.follow("a", interval=300.0)
        await run_for(b, 0.9 * HOUR)
        assert len(b.source.looks) <= 0.9 * HOUR / 300 + 2


async def test_stale_answers_are_counted_and_change_nothing(tmp_path):
    async with polling(tmp_path) as b:
        b.source.answers["a"] = Answer("RUNNING", updated_at=at(50))
        b.follow("a")
        async with running(b.poller):
            await anyio.sleep(5)
            b.source.answers["a"] = Answer("PENDING", updated_at=at(10))
            await anyio.sleep(60)
            b.source.answers["a"] = Answer("SUCCEEDED", updated_at=at(60))
            await anyio.sleep(60)
        assert [state for *_, state in await b.told()] == ["RUNNING", "SUCCEEDED"]
        labels = {"type": TYPE.name, "account": "prod", "region": "us-east-1"}
        assert b.measured("polls_total", mode="describe", outcome="stale", **labels) >= 2
        assert b.measured("polls_total", mode="describe", outcome="changed", **labels) == 2


async def test_a_job_that_does_not_move_is_told_stuck_and_unstuck(tmp_path):
    async with polling(tmp_path) as b:
        b.source.answers["a"] = "RUNNING"
        b.follow("a", follow=following(stuck_after=HOUR))
        async with running(b.poller):
            await anyio.sleep(HOUR - 60)
            assert await b.kinds() == ["job.discovered"]
            await anyio.sleep(5 * HOUR)
            b.source.answers["a"] = "SUCCEEDED"
            await anyio.sleep(60)
        assert await b.kinds() == [
            "job.discovered",
            "job.stuck",
            "job.state_changed",
            "job.unstuck",
        ]
