import random

from monitor.simulator.faults import Buckets
from monitor.simulator.triggers import Trigger, When


def strikes(moments, **terms):
    trigger = Trigger(When.model_validate(terms), random.Random(1))
    return [trigger.fires(moment) for moment in moments]


def test_without_terms_every_request_is_struck():
    assert all(strikes(range(5)))


def test_a_stretch_has_a_first_moment_and_an_end():
    assert strikes([1, 2, 3, 4], **{"from": "2s", "until": "4s"}) == [False, True, True, False]


def test_a_cycle_repeats_the_stretch():
    terms = {"from": "2s", "until": "4s", "cycle": "10s"}
    assert strikes([3, 9, 13, 23, 25], **terms) == [True, False, True, True, False]


def test_each_nth_is_struck():
    assert strikes([0] * 6, every=3) == [False, False, True] * 2


def test_the_first_so_many_are_struck():
    assert strikes([0] * 4, times=2) == [True, True, False, False]


def test_chance_is_repeatable_and_near_its_probability():
    struck = strikes([0] * 2000, probability=0.1)
    assert struck == strikes([0] * 2000, probability=0.1)
    assert 150 < sum(struck) < 250


def test_requests_outside_the_stretch_do_not_count():
    assert strikes([0, 0, 5, 5], every=2, **{"from": "5s"}) == [False, False, False, True]


def test_a_rule_added_later_counts_from_then():
    trigger = Trigger(When(until=5), random.Random(1), since=100)
    assert [trigger.fires(moment) for moment in (101, 106)] == [True, False]


def test_a_bucket_allows_its_burst_then_its_rate():
    buckets = Buckets(rate=2, burst=3)
    assert [buckets.take("a", 10.0) for _ in range(4)] == [True, True, True, False]
    assert [buckets.take("a", 10.5), buckets.take("a", 10.5)] == [True, False]


def test_a_bucket_never_holds_more_than_its_burst():
    buckets = Buckets(rate=2, burst=1)
    assert buckets.take("a", 0.0)
    assert [buckets.take("a", 100.0), buckets.take("a", 100.0)] == [True, False]


def test_each_key_has_its_own_bucket():
    buckets = Buckets(rate=1, burst=1)
    assert [buckets.take("a", 0.0), buckets.take("b", 0.0)] == [True, True]
