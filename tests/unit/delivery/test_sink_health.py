"""When it is the sink, and not the event."""

from datetime import UTC, datetime
from random import Random

import pytest

from monitor.delivery.sink_health import WIDESPREAD, SinkHealth
from monitor.errors import SendError, SendReason
from monitor.model import Delivery

NOW = datetime(2026, 3, 1, tzinfo=UTC)
DOWN = SendError(SendReason.CONNECTION, "refused")
NO = SendError(SendReason.REJECTED, "403")


def delivery(number, key=None):
    return Delivery(number, "ops", key or f"job-{number}", {}, 0, NOW, NOW)


@pytest.fixture
def condition():
    return SinkHealth(Random(3))


def test_one_job_that_fails_over_and_over_says_nothing_of_the_sink(condition):
    for number in range(1000):
        assert not condition.failed(delivery(number, "bad"), DOWN, number)
        assert not condition.failed(delivery(number, "worse"), NO, number)
    assert not condition.down
    assert condition.rest(0) == 0
    assert len(condition.take_back(())) <= 500


def test_different_jobs_that_fail_in_a_row_do(condition):
    for number in range(WIDESPREAD):
        assert not condition.down
        condition.failed(delivery(number), DOWN, 100)
    assert condition.down
    assert 0.5 <= condition.rest(100) <= 1


def test_anything_taken_ends_the_row(condition):
    for number in range(WIDESPREAD - 1):
        condition.failed(delivery(number), NO, 0)
        condition.failed(delivery(number), DOWN, 0)
    assert condition.taken() is False
    condition.failed(delivery(9), DOWN, 0)
    assert not condition.down
    assert not condition.failed(delivery(9), NO, 0)
    assert [one.id for one in condition.take_back(())] == [9]


def test_what_was_refused_is_handed_out_once_and_not_while_a_later_one_is_under_way(condition):
    verdicts = [condition.failed(delivery(number), NO, 0) for number in range(WIDESPREAD)]
    assert verdicts == [*[False] * (WIDESPREAD - 1), True]
    assert [one.id for one in condition.take_back({"job-2"})] == [0, 1, 3, 4]
    assert [one.id for one in condition.take_back(())] == [2]
    assert condition.take_back(()) == []


@pytest.mark.parametrize("reason", SendReason)
def test_what_a_later_event_may_have_overtaken_is_not_handed_out(condition, reason):
    condition.failed(delivery(1, "a"), NO, 0)
    condition.failed(delivery(2, "b"), NO, 0)
    condition.failed(delivery(3, "a"), SendError(reason, "no"), 0)
    back = {one.id for one in condition.take_back(())}
    assert 2 in back
    assert (1 in back) is not reason.uncertain


def test_rests_grow_to_a_minute_and_end_with_the_first_event_taken(condition):
    now, rests = 0.0, []
    for number in range(50):
        condition.failed(delivery(number), DOWN, now)
        rests.append(condition.rest(now))
        now += rests[-1]
    assert max(rests) <= 60
    assert min(rests[-20:]) >= 30
    assert condition.taken() is True
    assert condition.rest(now) == 0


def test_what_ends_during_a_rest_does_not_prolong_it(condition):
    for number in range(WIDESPREAD + 10):
        condition.failed(delivery(number), DOWN, 100)
    assert condition.rest(100) <= 1


def test_the_receivers_own_time_is_honoured_up_to_an_hour(condition):
    for number in range(WIDESPREAD):
        slow = SendError(SendReason.RATE_LIMITED, "429", retry_after=100_000)
        condition.failed(delivery(number), slow, 0)
    assert condition.rest(0) == 3600


def test_a_sink_that_refuses_is_there(condition):
    for number in range(WIDESPREAD):
        condition.failed(delivery(number), DOWN, 0)
    condition.failed(delivery(9), NO, 0)
    assert not condition.down
