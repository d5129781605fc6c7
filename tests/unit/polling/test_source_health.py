"""The health of a source over many polls."""

import pytest

from monitor.errors import PollReason
from monitor.polling.source_health import AvailabilityChange, SourceHealth


def looks(health, *reasons, every=1.0, start=0.0):
    return [health.polled(reason, start + n * every) for n, reason in enumerate(reasons)]


GONE, BAD, AUTH = PollReason.UNAVAILABLE, PollReason.TRANSIENT, PollReason.AUTH


def test_a_source_that_cannot_be_reached_three_times_is_lost():
    assert looks(SourceHealth(), GONE, GONE, GONE, GONE) == [
        None,
        None,
        AvailabilityChange.LOST,
        None,
    ]


def test_one_good_look_between_begins_anew():
    assert looks(SourceHealth(), GONE, GONE, None, GONE, GONE) == [None] * 5
    assert looks(SourceHealth(), GONE, GONE, None, BAD, BAD, GONE) == [None] * 6


@pytest.mark.parametrize("reason", [BAD, AUTH, PollReason.MALFORMED, PollReason.INTERNAL])
def test_other_failures_lose_a_source_after_five_minutes(reason):
    assert looks(SourceHealth(), *[reason] * 4, every=100) == [
        None,
        None,
        None,
        AvailabilityChange.LOST,
    ]
    assert looks(SourceHealth(), *[reason] * 4, every=99) == [None] * 4


def test_two_failures_lose_nothing_however_long_they_last():
    assert looks(SourceHealth(), BAD, BAD, every=1000) == [None, None]


def test_the_five_minutes_begin_with_the_first_failure_after_a_good_look():
    health = SourceHealth()
    looks(health, BAD, BAD, None)
    assert looks(health, BAD, BAD, BAD, start=1000) == [None, None, None]


def test_throttling_says_nothing_about_a_source():
    health = SourceHealth()
    assert looks(health, *[PollReason.THROTTLE] * 9, every=100) == [None] * 9
    assert looks(health, GONE, PollReason.THROTTLE, GONE, GONE)[-1] is AvailabilityChange.LOST


@pytest.mark.parametrize("reason", [None, PollReason.MISSING, PollReason.CONFIG])
def test_any_answer_finds_a_lost_source_again(reason):
    assert looks(SourceHealth(lost=True), reason, reason) == [AvailabilityChange.FOUND, None]


def test_a_source_can_be_lost_again():
    health = SourceHealth(lost=True)
    assert looks(health, None, GONE, GONE, GONE) == [
        AvailabilityChange.FOUND,
        None,
        None,
        AvailabilityChange.LOST,
    ]
