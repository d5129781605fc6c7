"""When to ask, and how often."""

import math
from dataclasses import dataclass
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor import pacing
from monitor.errors import PollReason
from monitor.pacing import AvailabilityChange, Quota, SourceHealth
from tests.builders import at, snapshot

INTERVALS = st.floats(0.1, 86400)


@dataclass
class Chance:
    """Chooses the same part of every range."""

    part: float

    def uniform(self, a, b):
        return a + self.part * (b - a)


LEAST, MOST = Chance(0), Chance(1)


# Intervals


@given(st.floats(0, 1e7), INTERVALS, st.floats(0, 1, exclude_max=True))
def test_the_next_turn_is_never_right_away_and_never_late(now, interval, part):
    gap = pacing.next_turn(now, interval, part * interval) - now
    rounding = 1e-8 + interval * 1e-9
    assert 0.1 * interval - rounding <= gap <= 1.1 * interval + rounding


@given(st.floats(0, 1e6), INTERVALS, st.floats(0, 1, exclude_max=True))
def test_turns_stay_on_the_grid(now, interval, part):
    phase = part * interval
    turns = (pacing.next_turn(now, interval, phase) - phase) / interval
    assert math.isclose(turns, round(turns), abs_tol=1e-4)


@given(st.floats(0, 1e5), st.floats(1, 3600), st.floats(0, 0.89))
def test_a_late_look_does_not_move_the_grid(start, interval, late):
    turn = pacing.next_turn(start, interval, 0.0)
    assert pacing.next_turn(turn + late * interval, interval, 0.0) == pytest.approx(turn + interval)


def test_phases_spread_evenly():
    count = 10_000
    phases = sorted(pacing.phase_of(f"job/{number}", 30.0) for number in range(count))
    assert phases[0] >= 0
    assert phases[-1] < 30
    farthest = max(abs(phase / 30 - rank / count) for rank, phase in enumerate(phases))
    assert farthest < 1.95 / math.sqrt(count)  # Kolmogorov-Smirnov, one in a thousand


def test_a_phase_is_the_same_tomorrow():
    assert pacing.phase_of("panorama.package-import/prod/us-east-1/j-1", 1.0) == pytest.approx(
        0.7924, abs=1e-4
    )


# Backoff


@given(st.integers(0, 200), st.floats(0, 1))
def test_full_jitter_stays_below_the_exponential(attempt, part):
    delay = pacing.full_jitter(attempt, 2, 100, Chance(part))
    assert 0 <= delay <= min(100, 2 * 2 ** min(attempt, 60))


@given(st.integers(0, 200), st.floats(0, 1))
def test_a_slow_probe_stays_in_the_upper_half(attempt, part):
    longest = min(100, 2 * 2 ** min(attempt, 60))
    assert longest / 2 <= pacing.slow_probe(attempt, 2, 100, Chance(part)) <= longest


@pytest.mark.parametrize(
    ("reason", "first", "later"),
    [
        (PollReason.THROTTLE, (0, 1), (0, 300)),
        (PollReason.TRANSIENT, (0, 1), (0, 300)),
        (PollReason.MALFORMED, (0, 1), (0, 300)),
        (PollReason.INTERNAL, (0, 1), (0, 300)),
        (PollReason.UNAVAILABLE, (2.5, 5), (150, 300)),
        (PollReason.AUTH, (15, 30), (450, 900)),
        (PollReason.CONFIG, (30, 60), (1800, 3600)),
        (PollReason.MISSING, (30, 60), (1800, 3600)),
    ],
)
def test_each_reason_has_its_own_patience(reason, first, later):
    assert tuple(pacing.retry_delay(reason, 0, chance) for chance in (LEAST, MOST)) == first
    assert tuple(pacing.retry_delay(reason, 99, chance) for chance in (LEAST, MOST)) == later


def test_a_retry_waits_as_long_as_it_was_told_but_not_for_ever():
    assert pacing.retry_delay(PollReason.THROTTLE, 0, MOST, retry_after=77) == 77
    assert pacing.retry_delay(PollReason.THROTTLE, 0, MOST, retry_after=0.5) == 1
    assert pacing.retry_delay(PollReason.THROTTLE, 0, MOST, retry_after=1e9) == 3600


def test_three_denials_are_spread_over_the_time_that_is_asked_for():
    assert [pacing.missing_delay(denials, 3600, MOST) for denials in (1, 2)] == [1800, 1800]


def test_a_missing_job_is_probed_ever_more_rarely():
    delays = [pacing.missing_delay(denials, 3600, MOST) for denials in (3, 4, 5, 99)]
    assert delays == [3600, 7200, 14400, 86400]
    assert pacing.missing_delay(99, 7 * 86400, MOST) == 7 * 86400


@pytest.mark.parametrize(("attempt", "longest"), [(0, 5), (1, 10), (2, 20), (9, 2560), (10, 3600)])
def test_redelivery_goes_from_five_seconds_to_an_hour(attempt, longest):
    assert pacing.redelivery_delay(attempt, None, LEAST) == 0
    assert pacing.redelivery_delay(attempt, None, MOST) == longest


def test_who_denies_is_tried_every_five_minutes_at_least():
    assert pacing.redelivery_delay(0, None, MOST, denied=True) == 5
    assert pacing.redelivery_delay(30, None, MOST, denied=True) == 300
    assert pacing.redelivery_delay(30, 1e9, MOST, denied=True) == 3600


def test_redelivery_honours_the_receiver_for_up_to_an_hour():
    assert pacing.redelivery_delay(0, 120, MOST) == 120
    assert pacing.redelivery_delay(0, 1e9, MOST) == 3600


# Ends and sweeps


def test_a_final_job_is_finished():
    assert pacing.is_finished(snapshot("FAILED"), 1e9, at(0))


def test_an_open_job_is_not_finished():
    assert not pacing.is_finished(snapshot("RUNNING"), 0, at(1e9))


@pytest.mark.parametrize(("now", "finished"), [(99, False), (100, True)])
def test_an_ended_job_is_finished_after_its_grace(now, finished):
    ended = snapshot("RETURNING", ended_at=at(0))
    assert pacing.is_finished(ended, 100, at(now)) is finished


def test_sweeps_take_at_most_half_of_the_quota():
    assert pacing.sweep_period(30, 1, 2) == 30
    assert pacing.sweep_period(30, 400, 2) == 400
    assert pacing.page_gap(2) == 1


def test_few_jobs_are_looked_at_between_slow_sweeps():
    assert pacing.sweep_pace(30, period=600, jobs=3, rate=2) == 30
    assert pacing.patience(30) == 45


def test_many_jobs_are_left_to_the_sweeps():
    assert pacing.sweep_pace(30, period=60, jobs=1000, rate=2) == 60
    assert pacing.patience(60) == 90


# Blindness


@pytest.mark.parametrize(("now", "blind"), [(100, False), (250, False), (250.1, True)])
def test_a_job_is_blind_after_so_many_intervals_without_an_answer(now, blind):
    assert pacing.is_blind(100, interval=30, intervals=5, now=now) is blind


@pytest.mark.parametrize(("now", "blind"), [(160, False), (160.1, True)])
def test_no_job_is_blind_within_a_minute(now, blind):
    assert pacing.is_blind(100, interval=1, intervals=5, now=now) is blind


# Quota


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


# Health


def looks(health, *reasons, every=1.0, start=0.0):
    return [health.looked(reason, start + n * every) for n, reason in enumerate(reasons)]


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


def test_real_randomness_fits():
    assert 0 <= pacing.full_jitter(3, 1, 300, Random(1)) <= 8


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


# Tally


def test_a_tally_tells_how_often_something_happened_within_the_last_minute():
    tally = pacing.Tally(1000.0)
    assert tally.rate(1000.0) == 0
    for second in range(120):
        tally.add(1000.0 + second)
        tally.add(1000.0 + second)
    assert tally.rate(1119.0) == pytest.approx(2, rel=0.1)
    assert 0 < tally.rate(1150.0) < 1.2
    assert tally.rate(1119.0 + 61) == 0


def test_a_tally_that_has_just_begun_does_not_spread_one_event_over_a_minute():
    tally = pacing.Tally(1000.0)
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
