"""Waiting for a job by looks of one's own, in virtual time."""

import math
from random import Random

import anyio
import pytest

from monitor.errors import PollError, PollReason
from monitor.model import Phase
from monitor.polling.quota import Quota
from monitor.tools import wait as waiting
from monitor.tools import wait_on_aws
from monitor.tools.wait import Outcome
from monitor.tools.wait_on_aws import AwsGetter
from tests.builders import TYPE, VIRTUAL, ScriptedSource, VirtualClock, at, job, observation

pytestmark = VIRTUAL
INTERVAL = 30.0
DENIED = PollError(PollReason.AUTH, "AccessDeniedException")
REFUSED = PollError(PollReason.CONFIG, "ValidationException")
GONE = PollError(PollReason.MISSING, "ResourceNotFoundException")
NOWHERE = PollError(PollReason.UNAVAILABLE, "EAI_NONAME")
FLAKY = PollError(PollReason.TRANSIENT, "InternalServerException")


class Waiter:
    """One who waits for ``j-1``; ``shown`` is what was told meanwhile."""

    def __init__(self, *answers, interval=INTERVAL, rate=100.0):
        self.clock = VirtualClock()
        self.source = ScriptedSource(self.clock)
        self.shown = []
        self.answers = list(answers)
        quota = Quota(rate, 1, anyio.current_time())
        self.eye = AwsGetter(self._ask, TYPE, interval, quota, self.clock, Random(1))

    async def _ask(self):
        """Give one answer after the other, the last one for ever."""
        self.source.answers["j-1"] = self.answers.pop(0) if self.answers[1:] else self.answers[0]
        return await self.source.describe(job())

    async def wait(self, longest=None):
        return await waiting.wait(self.eye, "j-1", longest, self.shown.append)

    @property
    def looks(self):
        return self.source.asked_for("j-1")


@pytest.mark.parametrize(
    ("state", "end"),
    [
        ("SUCCEEDED", Outcome.SUCCEEDED),
        ("RETURNING", Outcome.SUCCEEDED),
        ("FAILED", Outcome.FAILED),
        ("CANCELED", Outcome.FAILED),
        ("EXPIRED", Outcome.FAILED),
    ],
)
async def test_it_ends_with_the_job_and_says_how(state, end):
    waiter = Waiter("PENDING", "RUNNING", state)
    result = await waiter.wait()
    assert (result.outcome, result.progress.state) == (end, state)
    assert waiter.looks == [0, INTERVAL, 2 * INTERVAL]
    assert [each.state for each in waiter.shown] == ["PENDING", "RUNNING", state]


async def test_a_state_that_nobody_knows_is_no_end():
    result = await Waiter("PENDING", "SURPRISE", "SUCCEEDED").wait()
    assert result.outcome is Outcome.SUCCEEDED


async def test_it_is_told_since_when_the_state_is_so():
    waiter = Waiter("PENDING", "PENDING", "RUNNING")
    await waiter.wait(70)
    assert [each.since for each in waiter.shown] == [at(0), at(0), at(60), at(60)]
    assert [each.next_poll_at for each in waiter.shown[:2]] == [at(30), at(60)]


@pytest.mark.parametrize("error", [DENIED, REFUSED], ids=str)
async def test_what_no_waiting_mends_ends_it_at_the_first_look(error):
    waiter = Waiter(error)
    result = await waiter.wait(3600)
    assert (result.outcome, result.why) == (Outcome.UNREACHABLE, str(error))
    assert waiter.looks == [0]


@pytest.mark.parametrize("error", [DENIED, REFUSED, GONE, NOWHERE], ids=str)
async def test_of_a_job_that_was_seen_it_is_believed_the_third_time(error):
    waiter = Waiter("PENDING", error)
    result = await waiter.wait(math.inf)
    assert result.outcome is Outcome.UNREACHABLE
    assert result.progress.state == "PENDING"
    assert len(waiter.looks) == 4


async def test_credentials_that_come_back_are_waited_for():
    waiter = Waiter("PENDING", DENIED, DENIED, "PENDING", DENIED, DENIED, "SUCCEEDED")
    assert (await waiter.wait()).outcome is Outcome.SUCCEEDED


async def test_a_job_that_was_made_just_now_may_not_be_known_everywhere_yet():
    waiter = Waiter(GONE, GONE, "SUCCEEDED", interval=300)
    assert (await waiter.wait()).outcome is Outcome.SUCCEEDED
    assert waiter.looks == [0, wait_on_aws.DENIAL_GAP, 2 * wait_on_aws.DENIAL_GAP]


async def test_three_times_denied_there_is_no_such_job():
    waiter = Waiter(GONE, FLAKY, GONE)
    result = await waiter.wait()
    assert (result.outcome, result.why) == (Outcome.UNREACHABLE, str(GONE))
    assert len(waiter.looks) == 4


async def test_what_passes_is_tried_again_until_the_time_is_over():
    waiter = Waiter(FLAKY)
    result = await waiter.wait(120)
    assert (result.outcome, result.why) == (Outcome.UNREACHABLE, str(FLAKY))
    assert anyio.current_time() == 120
    assert 4 < len(waiter.looks) < 40


async def test_once_seen_it_is_a_timeout_even_if_nothing_is_seen_at_last():
    result = await Waiter("RUNNING", FLAKY).wait(120)
    assert (result.outcome, result.progress.state) == (Outcome.TIMEOUT, "RUNNING")
    assert result.progress.trouble == str(FLAKY)


@pytest.mark.parametrize("reason", [PollReason.THROTTLE, PollReason.TRANSIENT])
async def test_the_pause_that_aws_asks_for_is_kept(reason):
    slow_down = PollError(reason, "ServiceUnavailable", retry_after=77)
    waiter = Waiter(slow_down, "SUCCEEDED")
    assert (await waiter.wait()).outcome is Outcome.SUCCEEDED
    assert waiter.looks[1] >= 77


async def test_throttling_slows_down_all_that_follows():
    throttled = PollError(PollReason.THROTTLE, "ThrottlingException")
    waiter = Waiter(*[throttled] * 6, "PENDING", "PENDING", "SUCCEEDED", interval=0.01, rate=1.0)
    await waiter.wait()
    gaps = [b - a for a, b in zip(waiter.looks, waiter.looks[1:], strict=False)]
    assert min(gaps) >= 1
    # Between these two there was no failure, and thus no backoff; only the rate holds them apart.
    assert gaps[-1] > 1.5


async def test_without_a_timeout_a_job_that_is_never_seen_is_given_up():
    result = await Waiter(FLAKY).wait()
    assert result.outcome is Outcome.UNREACHABLE
    assert anyio.current_time() == waiting.PATIENCE


async def test_without_a_timeout_a_job_that_was_seen_is_waited_for_without_end():
    waiter = Waiter("RUNNING", *[FLAKY] * 50, "RUNNING")
    with anyio.move_on_after(86400) as day:
        await waiter.wait()
    assert day.cancelled_caught


async def test_a_look_that_hangs_does_not_outlast_the_timeout():
    waiter = Waiter("RUNNING")
    waiter.source.latency = 1e6
    result = await waiter.wait(50)
    assert result.outcome is Outcome.UNREACHABLE
    assert result.why == "no poll has finished"
    assert anyio.current_time() == 50


async def test_shortly_before_the_timeout_there_is_a_last_look():
    waiter = Waiter("RUNNING", "SUCCEEDED", interval=300)
    assert (await waiter.wait(60)).outcome is Outcome.SUCCEEDED
    assert waiter.looks == [0, 60 - wait_on_aws.LAST_POLL]


async def test_after_the_last_look_there_is_none():
    waiter = Waiter("RUNNING", interval=300)
    assert (await waiter.wait(60)).outcome is Outcome.TIMEOUT
    assert len(waiter.looks) == 2


async def test_what_one_look_does_not_tell_is_as_it_was():
    """An error that is a state tells only its own part."""
    clock = VirtualClock()
    answers = [{"Place": "AtAWS", "Status": "RUNNING"}, {"Place": None, "Status": "CANCELED"}]

    async def ask():
        return observation(parts=answers.pop(0))

    quota = Quota(1, 1, 0)
    eye = AwsGetter(ask, TYPE, INTERVAL, quota, clock, Random(1))
    result = await waiting.wait(eye, "j-1", None, lambda _: None)
    assert result.progress.state == "AtAWS/CANCELED"
    assert result.progress.phase is Phase.CANCELED
