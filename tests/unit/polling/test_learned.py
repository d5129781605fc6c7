"""Poll times that are learned from the ledger, and the lab that compares them."""

import math
from random import Random

import anyio
import pytest

from monitor.config import Watch
from monitor.polling import history, learned
from monitor.polling.learned import FIXED, Curve, Durations, LearnedSchedules
from monitor.sources import loader
from tests.builders import TYPE, VIRTUAL, at, following
from tests.polling import polling, run_for

pytestmark = VIRTUAL
MEDIAN = 600.0


def lognormal(many, seed=1, sigma=0.25):
    random = Random(seed)
    return [MEDIAN * random.lognormvariate(0, sigma) for _ in range(many)]


def memoryless(many, seed=1):
    random = Random(seed)
    return [random.expovariate(1 / MEDIAN) for _ in range(many)]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("interval", [10.0, 60.0, 120.0])
@pytest.mark.parametrize("samples", [200, 2000])
def test_lognormal_durations_are_seen_in_three_fifths_of_the_delay(samples, interval, seed):
    verdict = learned.judge(lognormal(samples, seed), interval)
    assert verdict.curve is not None
    assert verdict.ratio is not None
    assert verdict.ratio <= 0.6
    # On states that it has never met, too, and at as many polls.
    fresh = lognormal(1000, seed + 100)
    new = learned.replay(fresh, verdict.curve, interval)
    old = learned.replay(fresh, FIXED, interval)
    assert new.delay * new.polls <= 0.6 * old.delay * old.polls
    assert new.polls == pytest.approx(old.polls, rel=0.1)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("samples", [200, 2000])
def test_memoryless_durations_are_declined(samples, seed):
    verdict = learned.judge(memoryless(samples, seed), 60.0)
    assert verdict.curve is None
    assert verdict.ratio is not None
    assert verdict.ratio > 0.9


def test_too_few_samples_teach_nothing():
    assert learned.judge(lognormal(199), 60.0) == learned.LearningResult(199, None, None)


def test_equal_durations_and_very_short_ones_are_no_trouble():
    for durations in ([MEDIAN] * 300, [0.0] * 300, [0.0] * 150 + [1e6] * 150):
        verdict = learned.judge(durations, 60.0)
        assert verdict.ratio is not None


def test_no_age_goes_unpolled_for_more_than_four_intervals_nor_is_polled_too_often():
    curve = learned.fit(lognormal(1000))
    age = 0.0
    while age < 10 * MEDIAN:
        delay = curve.next_poll(age, 60.0, 0.3)
        assert 0.1 * 60 / 8 - 1e-6 <= delay <= 1.1 * 4 * 60 + 1e-6
        age += delay
    assert max(curve.rates) <= 8
    assert min(curve.rates) >= 0.25


def test_counts_and_ages_of_a_curve_are_inverse():
    curve = Curve.of((0.0, 10.0, 20.0), (0.5, 2.0, 1.0))
    assert [curve.count(age) for age in (0, 10, 20, 25)] == [0, 5, 25, 30]
    assert [curve.age(count) for count in (0, 5, 25, 30)] == [0, 10, 20, 25]


def event(kind, key, state, seen, after=None, **more):
    data = {
        "kind": kind,
        "job": {"key": key, "type": TYPE.name, "account": "prod"},
        "current": {"state": state},
        "window": {"after": at(after).isoformat()} if after is not None else None,
    }
    return {"time": at(seen).isoformat(), "data": data | more}


def test_the_ledger_tells_how_long_a_state_lasted():
    found = Durations()
    for each in (
        event("job.discovered", "a", "PENDING", 0),
        event("job.state_changed", "a", "RUNNING", 130, after=110),
        event("job.state_changed", "a", "SUCCEEDED", 730, after=700),
        # Older than its watch, gone meanwhile, and no job at all.
        event("job.discovered", "b", "RUNNING", 0, baseline=True),
        event("job.state_changed", "b", "SUCCEEDED", 50, after=40),
        event("job.discovered", "c", "RUNNING", 0),
        event("job.missing", "c", "RUNNING", 30),
        event("job.state_changed", "c", "SUCCEEDED", 90, after=80),
        {"time": at(5).isoformat(), "data": {"kind": "source.unavailable"}},
    ):
        found.add(each)
    assert found.found == {
        (TYPE.name, "prod", "PENDING"): [120.0],
        (TYPE.name, "prod", "RUNNING"): [585.0],
    }


async def live(b, options, durations):
    """Let jobs run for so long each, one beside the other; return the delays and the polls."""
    delays: list[float] = []
    ended: dict[str, float] = {}

    def seen(entry, _before):
        name, state = entry.snapshot.job.id, entry.snapshot.state
        if state == "SUCCEEDED":
            delays.append(b.clock.monotonic() - ended[name])

    b.recorder._announce = seen

    async def one(number, duration):
        name = f"j-{number}"
        await anyio.sleep(7.3 * number)
        b.source.answers[name] = "RUNNING"
        b.follow(name, interval=60.0, follow=options)
        await anyio.sleep(duration)
        ended[name] = b.clock.monotonic()
        b.source.answers[name] = "SUCCEEDED"

    async with anyio.create_task_group() as tasks:
        for number, duration in enumerate(durations):
            tasks.start_soon(one, number, duration)
        await run_for(b, 7.3 * len(durations) + 4 * MEDIAN)
    return delays, len(b.source.looks)


async def test_a_poller_sees_changes_sooner_at_as_many_polls(tmp_path):
    (tmp_path / "fixed").mkdir()
    (tmp_path / "learned").mkdir()
    durations = lognormal(200, seed=9)
    async with polling(tmp_path / "fixed") as b:
        fixed, polls = await live(b, following(), durations)
        found = await history.durations(b.store)
    times = found[TYPE.name, "prod", "RUNNING"]
    assert len(times) == 200
    async with polling(tmp_path / "learned") as b:
        curve = learned.judge(times, 60.0).curve
        assert curve is not None
        b.poller._job_poller.learned.use({(TYPE.name, "prod", "RUNNING", 60.0): curve})
        options = following(learned=True)
        sooner, as_many = await live(b, options, durations)
    assert len(fixed) == len(sooner) == 200
    assert as_many <= 1.05 * polls
    assert math.fsum(sooner) <= 0.6 * math.fsum(fixed)


async def test_jobs_that_began_together_are_polled_at_times_of_their_own(tmp_path):
    ids = [f"job-{number}" for number in range(300)]
    async with polling(tmp_path, rate=1000.0, burst=1000, concurrency=400) as b:
        b.poller._job_poller.learned.use({(TYPE.name, "prod", "RUNNING", 60.0): FIXED})
        b.source.answers |= dict.fromkeys(ids, "RUNNING")
        b.follow(*ids, interval=60.0, follow=following(learned=True))
        await run_for(b, 130)
        assert len({round(b.source.asked_for(one)[-1], 2) for one in ids}) > 150


async def test_watches_that_do_not_want_it_keep_their_interval(tmp_path):
    async with polling(tmp_path) as b:
        b.poller._job_poller.learned.use(
            {(TYPE.name, "prod", "RUNNING", 30.0): Curve.of((0.0,), (0.25,))}
        )
        b.source.answers |= {"a": "RUNNING", "b": "RUNNING", "c": "PENDING"}
        b.follow("a")
        b.follow("b", "c", follow=following(learned=True))
        # What was judged at one interval says nothing of another.
        b.source.answers["d"] = "RUNNING"
        b.follow("d", interval=40.0, follow=following(learned=True))
        await run_for(b, 1200)
        counts = [len(b.source.asked_for(name)) for name in ("a", "b", "c", "d")]
        assert counts == pytest.approx([41, 11, 41, 31], abs=1)
        # The job that is polled more rarely is not stale.
        assert not any(each.blind for each in b.poller.watched())


def test_a_schedule_that_is_not_known_has_no_curve():
    assert LearnedSchedules().get((TYPE.name, "prod", "RUNNING", 60.0)) is None


def test_two_watches_of_one_type_are_judged_each_at_its_own_interval():
    """States that differ so much in length are learned for short intervals alone."""
    kind = loader.load_job_types(None)[TYPE.name]
    times = {(TYPE.name, "prod", "RUNNING"): lognormal(600, sigma=0.7)}
    watches = [
        Watch.model_validate(
            {"name": name, "type": TYPE.name, "account": "prod", "jobs": ["j"], **intervals}
        )
        for name, intervals in (
            ("often", {"interval": "10m", "interval_with_hints": "1d"}),
            ("rarely", {"interval": "1d"}),
        )
    ]
    found = list(history.compare(watches, {TYPE.name: kind}, times, hinted=True))
    curves = {one.curve_key: one.verdict.curve is not None for one in found}
    assert curves == {
        (TYPE.name, "prod", "RUNNING", 600.0): True,
        (TYPE.name, "prod", "RUNNING", 86400.0): False,
    }
    assert [one.interval for one in history.compare(watches, {TYPE.name: kind}, times)] == [
        600.0,
        86400.0,
    ]
