"""The requests that a source may be sent."""

import heapq
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.config import QuotaSettings
from monitor.polling.quota import Budget, Quota, Tally


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


def test_a_lowered_rate_stays_for_a_while_and_then_recovers_in_steps():
    quota = Quota(8, 5, 0.0)
    quota.throttled(0.0, None)
    quota.ready_at(15.0)
    assert quota.rate == 4
    quota.ready_at(15.0 + 3)
    assert quota.rate == pytest.approx(4 + 3 * 8 / 15)
    quota.ready_at(15.0 + 8)
    assert quota.rate == 8
    quota.ready_at(500.0)
    assert quota.rate == 8


def test_requests_that_were_sent_before_the_rate_was_lowered_do_not_lower_it_again():
    quota = Quota(8, 5, 0.0)
    assert quota.throttled(10.0, None, sent_at=9.0)
    assert not quota.throttled(15.0, None, sent_at=9.9)
    assert quota.throttled(15.0, None, sent_at=10.1)


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
    assert quota.rate_at(30.0) == 1
    assert quota.rate_at(37.0) == pytest.approx(1 + 3 * 2 / 15)
    assert quota.rate_at(9999.0) == 2
    assert vars(quota) == before


class Service:
    """Grants ``rate`` requests a second from a bucket of ``burst``, each answered late."""

    def __init__(self, rate, burst, latency):
        self.rate, self.burst, self.latency = rate, burst, latency
        self.tokens, self.at = float(burst), 0.0
        self.under_way = []
        self.order = count()

    def send(self, now):
        """Take one request; return whether it is granted."""
        self.tokens = min(self.burst, self.tokens + (now - self.at) * self.rate) - 1
        self.at, granted = now, self.tokens >= 0
        self.tokens += not granted
        heapq.heappush(self.under_way, (now + self.latency, next(self.order), now, granted))
        return granted


def drive(quota, service, start, end, most=16):
    """Send whatever is ready; return the times of the requests, and whether each was granted."""
    sent, now = [], start
    while now < end:
        while service.under_way and service.under_way[0][0] <= now:
            at, _, sent_at, granted = heapq.heappop(service.under_way)
            if not granted:
                quota.throttled(at, None, sent_at)
        ready = quota.ready_at(now) if len(service.under_way) < most else float("inf")
        if ready <= now:
            quota.take(now)
            sent.append((now, service.send(now)))
            continue
        now = min(ready, *(entry[0] for entry in service.under_way[:1]), now + 1)
    return sent


@pytest.mark.parametrize("latency", [0.02, 0.3])
@pytest.mark.parametrize(
    ("rate", "burst"), [(2, 1), (2, 5), (2, 10), (5, 2), (10, 1), (10, 10), (50, 20)]
)
def test_a_service_that_grants_a_third_throttles_few_requests(rate, burst, latency):
    quota = Quota(rate, burst, 0.0)
    sent = drive(quota, Service(rate / 3, burst, latency), 0.0, 1200.0)
    granted = [good for at, good in sent if at >= 60]
    assert granted.count(False) < 0.05 * len(granted)
    # What it grants is used, too.
    assert granted.count(True) > 0.7 * 1140 * rate / 3


@pytest.mark.parametrize("moment", range(0, 60, 6))
@pytest.mark.parametrize(("rate", "burst"), [(1, 2), (2, 1), (2, 5), (10, 10)])
def test_the_rate_is_back_within_a_minute_after_a_service_grants_it_again(rate, burst, moment):
    quota, service = Quota(rate, burst, 0.0), Service(rate / 3, burst, 0.1)
    drive(quota, service, 0.0, 300.0 + moment)
    assert quota.rate < rate
    service.rate = 1.05 * rate
    drive(quota, service, 300.0 + moment, 360.0 + moment)
    assert quota.rate_at(360.0 + moment) == rate


def test_the_rate_follows_a_service_that_grants_ever_less():
    quota, service = Quota(10, 10, 0.0), Service(5, 5, 0.1)
    drive(quota, service, 0.0, 300.0)
    service.rate = 0.5
    sent = drive(quota, service, 360.0, 1560.0)
    granted = [good for at, good in sent if at >= 420]
    assert granted.count(False) < 0.08 * len(granted)
    assert granted.count(True) > 0.7 * 1140 * 0.5


LIMITED = {"DescribeJob": Budget(1, 1)}


def test_an_operation_has_a_limit_of_its_own_within_that_of_its_service():
    quota = Quota(10, 10, 0.0, LIMITED)
    assert quota.ready_at(0.0, "DescribeJob") == 0
    quota.take(0.0, "DescribeJob")
    assert quota.ready_at(0.0, "DescribeJob") == pytest.approx(1)
    assert quota.ready_at(0.0, "ListJobs") == 0
    for _ in range(9):
        quota.take(0.0, "ListJobs")
    assert quota.ready_at(0.0, "ListJobs") == pytest.approx(0.1)


def test_throttling_of_an_operation_with_a_limit_slows_down_no_other():
    quota = Quota(10, 10, 0.0, LIMITED)
    assert quota.throttled(5.0, 30, 4.0, "DescribeJob")
    assert quota.rate_at(5.0) == 10
    assert quota.ready_at(5.0, "ListJobs") == 5
    assert quota.ready_at(5.0, "DescribeJob") == 35
    assert quota.operations["DescribeJob"].rate == 0.5


def test_limits_of_operations_change_without_losing_what_throttling_has_shown():
    quota = Quota(10, 10, 0.0, LIMITED | {"GetJob": Budget(1, 1)})
    quota.throttled(0.0, None, None, "DescribeJob")
    quota.change(10, 10, 1.0, LIMITED | {"ListJobs": Budget(2, 2)})
    assert set(quota.operations) == {"DescribeJob", "ListJobs"}
    assert quota.operations["DescribeJob"].rate == 0.5


def test_headroom_is_left_to_other_programs():
    limits = {"rate": 10, "burst": 5, "operations": {"DescribeJob": {"rate": 4, "burst": 2}}}
    budget = Budget.of(QuotaSettings.model_validate(limits | {"headroom": 0.2}))
    assert (budget.rate, budget.burst) == (8, 4)
    assert budget.operations["DescribeJob"] == Budget(3.2, 1)
    none = Budget.of(QuotaSettings.model_validate(limits))
    assert (none.rate, none.burst, none.operations["DescribeJob"]) == (10, 5, Budget(4, 2))


def test_events_that_are_counted_out_of_order_drive_none_out():
    tally = Tally(0.0)
    for number in range(600):
        tally.add(number / 10)
    # A request is counted at its answer, with the time at which it was sent.
    for number in range(40):
        tally.add(60.01 if number % 2 else 59.99)
    assert tally.rate(60.05) == pytest.approx((550 + 40) / 55, rel=0.01)
