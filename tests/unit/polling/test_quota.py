"""The requests that a source may be sent."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.polling.quota import Quota, Tally


def spend(quota, start, seconds, step=0.05):
    """Take whatever is ready at each step; the times of the requests."""
    taken, now = [], start
    while now < start + seconds:
        while quota.ready_at(now) <= now:
            quota.take(now)
            taken.append(now)
        now += step
    return taken


@given(
    st.floats(0.1, 50),
    st.integers(1, 20),
    st.lists(st.floats(0, 5), min_size=1, max_size=60),
    st.data(),
)
def test_no_window_ever_holds_more_than_burst_and_rate_allow(rate, burst, gaps, data):
    quota, now, taken = Quota(rate, burst, 0.0), 0.0, []
    for gap in gaps:
        now += gap
        if data.draw(st.integers(0, 9)) == 0:
            quota.throttled(now, None)
        while quota.ready_at(now) <= now:
            quota.take(now)
            taken.append(now)
    for first in range(len(taken)):
        for last in range(first, len(taken)):
            allowed = burst + rate * (taken[last] - taken[first])
            assert last - first + 1 <= allowed + 1e-6


def test_a_full_quota_gives_its_burst_and_then_its_rate():
    taken = spend(Quota(2, 5, 0.0), 0, 60)
    assert taken[:5] == [0] * 5
    assert len(taken) == pytest.approx(5 + 2 * 60, abs=1)


def test_a_quota_says_when_the_next_request_may_be_made():
    quota = Quota(2, 1, 0.0)
    quota.take(0.0)
    assert quota.ready_at(0.0) == pytest.approx(0.5)
    assert quota.ready_at(0.2) == pytest.approx(0.5)


def test_throttling_halves_the_rate_and_empties_the_bucket():
    quota = Quota(8, 5, 0.0)
    assert quota.throttled(0.0, None)
    assert quota.rate == 4
    assert quota.ready_at(0.0) == pytest.approx(0.25)


def test_answers_that_were_on_their_way_together_count_as_one():
    quota = Quota(8, 5, 0.0)
    assert [quota.throttled(moment, None) for moment in (0.0, 0.3, 0.99)] == [True, False, False]
    assert quota.rate == pytest.approx(4, abs=0.2)


def test_a_rate_is_never_lowered_to_nothing():
    quota, now = Quota(8, 5, 0.0), 0.0
    for _ in range(100):
        now += max(1.0, 1 / quota.rate)
        quota.throttled(now, None)
    assert quota.rate >= 8 / 64


def test_a_rate_recovers_in_steps():
    quota = Quota(8, 5, 0.0)
    quota.throttled(0.0, None)
    quota.ready_at(10.0)
    assert quota.rate == pytest.approx(4 + 10 * 8 / 50)
    quota.ready_at(25.0)
    assert quota.rate == pytest.approx(8)
    quota.ready_at(500.0)
    assert quota.rate == 8


def test_nothing_is_asked_before_retry_after():
    quota = Quota(8, 5, 0.0)
    quota.throttled(0.0, 30)
    assert quota.ready_at(10.0) == 30
    quota.throttled(0.1, 5)
    assert quota.ready_at(10.0) == 30
    assert quota.ready_at(30.0) == 30


def test_another_budget_gives_away_no_requests_that_were_not_saved_up():
    quota = Quota(1, 1, 0.0)
    spend(quota, 0, 10)
    quota.change(1, 50, 10.0)
    assert 9 <= len(spend(quota, 10, 10)) <= 11


def test_a_smaller_budget_takes_back_what_was_saved_up():
    quota = Quota(10, 50, 0.0)
    quota.change(1, 1, 5.0)
    assert 9 <= len(spend(quota, 5, 10)) <= 11


@pytest.mark.parametrize(("rate", "then"), [(100, 4), (2, 2)])
def test_a_rate_that_throttling_lowered_recovers_from_there_to_the_new_one(rate, then):
    quota = Quota(8, 5, 0.0)
    assert quota.throttled(0.0, None)
    quota.change(rate, 5, 0.0)
    assert quota.rate == then
    quota.ready_at(1000.0)
    assert quota.rate == rate


def test_a_tally_tells_how_often_something_happened_within_the_last_minute():
    tally = Tally(1000.0)
    assert tally.rate(1000.0) == 0
    for second in range(120):
        tally.add(1000.0 + second)
        tally.add(1000.0 + second)
    assert tally.rate(1119.0) == pytest.approx(2, rel=0.1)
    assert 0 < tally.rate(1150.0) < 1.2
    assert tally.rate(1119.0 + 61) == 0


def test_a_tally_that_has_just_begun_does_not_spread_one_event_over_a_minute():
    tally = Tally(1000.0)
    for second in range(10):
        tally.add(1000.0 + second)
    assert tally.rate(1010.0) == pytest.approx(1)


def test_asking_for_the_rate_spends_and_gives_nothing():
    """Pages ask in a thread of their own, while the loop takes."""
    quota = Quota(2, 5, 0.0)
    spend(quota, 0, 10)
    quota.throttled(10.0, None)
    before = dict(vars(quota))
    assert quota.rate_at(15.0) == pytest.approx(1.2)
    assert quota.rate_at(9999.0) == 2
    assert vars(quota) == before
