"""When to ask, and how often."""

import math
from dataclasses import dataclass
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor import pacing
from monitor.errors import PollReason
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


@given(st.floats(0, 1e7), st.floats(0, pacing.TICK / 2))
def test_what_is_due_within_a_tick_is_due_together_and_at_most_a_tick_early(time, later):
    moment = pacing.common_moment(time)
    assert -1e-8 <= time - moment <= pacing.TICK + 1e-8
    others = {moment, moment + pacing.TICK}
    assert any(math.isclose(pacing.common_moment(time + later), one) for one in others)


def test_phases_spread_evenly():
    count = 10_000
    phases = sorted(pacing.phase_of(f"job/{number}", 30.0) for number in range(count))
    assert phases[0] >= 0
    assert phases[-1] < 30
    farthest = max(abs(phase / 30 - rank / count) for rank, phase in enumerate(phases))
    assert farthest < 1.95 / math.sqrt(count)  # Kolmogorov-Smirnov, one in a thousand


def test_a_phase_is_the_same_tomorrow():
    job = "panorama.package-import/prod/us-east-1/j-1"
    assert pacing.phase_of(job, 60.0) == pytest.approx(475 / 10, abs=1e-4)
    assert pacing.phase_of(job, 1.0) == pytest.approx(39 / 50, abs=1e-4)


def test_jobs_share_a_few_hundred_moments_of_an_interval():
    keys = [f"job/{number}" for number in range(10_000)]
    for interval, slots in ((60.0, 600), (300.0, 3000), (45.0, 600), (6.0, 300), (1.0, 50)):
        phases = [pacing.phase_of(key, interval) for key in keys]
        places = [phase * slots / interval for phase in phases]
        assert all(abs(each - round(each)) < 1e-6 for each in places)
        assert min(phases) >= 0
        assert max(phases) < interval


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


# Stale jobs


@pytest.mark.parametrize(("now", "blind"), [(100, False), (250, False), (250.1, True)])
def test_a_job_is_blind_after_so_many_intervals_without_an_answer(now, blind):
    assert pacing.is_stale(100, interval=30, intervals=5, now=now) is blind


@pytest.mark.parametrize(("now", "blind"), [(160, False), (160.1, True)])
def test_no_job_is_blind_within_a_minute(now, blind):
    assert pacing.is_stale(100, interval=1, intervals=5, now=now) is blind


def test_real_randomness_fits():
    assert 0 <= pacing.full_jitter(3, 1, 300, Random(1)) <= 8
