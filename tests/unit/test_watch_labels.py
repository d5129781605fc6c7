"""The labels of watches on metrics: bounded, present from the start, and changed by a reload."""

import pytest
from prometheus_client import CollectorRegistry

from monitor.config import MetricsSettings
from monitor.metrics import Metrics
from monitor.model import MOST_LABEL_VALUES, OTHER_VALUE, Phase, WatchLabels, label_column
from monitor.polling.job_collector import JobCollector
from monitor.polling.watch_pace import WatchCollector, WatchPace
from tests.builders import followed_job
from tests.unit.test_metrics import JOB, NOW

PLACE = (JOB.type, JOB.account, JOB.region)
VISION, DATA = {"team": "vision", "x": "1"}, {"team": "data"}


def of(*labels, names=("team",)):
    return WatchLabels.of(names, [(PLACE, each) for each in labels])


@pytest.mark.parametrize(
    ("label", "name"),
    [("team", "team"), ("cost-center", "cost_center"), ("1st", "_1st"), ("größe", "gr__e")],
)
def test_a_label_becomes_a_name_that_prometheus_allows(label, name):
    assert label_column(label) == name


def test_values_are_bounded():
    every = [{"team": f"t{n}"} for n in range(MOST_LABEL_VALUES + 10)]
    labels = of(*every)
    assert labels.values({"team": "t0"}) == ("t0",)
    assert labels.values({"team": f"t{MOST_LABEL_VALUES}"}) == (OTHER_VALUE,)
    assert labels.values({"team": "never configured"}) == (OTHER_VALUE,)
    assert labels.values({}) == ("",)
    assert len(labels.at(PLACE)) == MOST_LABEL_VALUES + 1


def test_without_names_there_are_no_columns():
    assert of(VISION, names=()) == WatchLabels()
    assert WatchLabels().values(VISION) == ()
    assert WatchLabels().at(PLACE) == {()}


@pytest.fixture
def registry():
    return CollectorRegistry()


@pytest.fixture
def metrics(registry):
    return Metrics(registry, "0")


def series(registry, name):
    """Return the sum of each team, of waiting jobs where there are phases."""
    found: dict[str | None, float] = {}
    for family in registry.collect():
        for sample in family.samples:
            if sample.name == name and sample.labels.get("phase", "waiting") == "waiting":
                team = sample.labels.get("team")
                found[team] = found.get(team, 0.0) + sample.value
    return found


def test_totals_of_jobs_are_told_apart_by_owner(registry, metrics):
    metrics.use_watch_labels(of(VISION, DATA))
    metrics.expect_jobs(*PLACE)
    watched = [
        followed_job(labels=VISION),
        followed_job(labels=VISION),
        followed_job(labels={"team": "of an old watch"}, blind=True),
    ]
    clock = type("Clock", (), {"now": lambda _: NOW})()
    owned = lambda: metrics.watch_labels  # noqa: E731
    settings = MetricsSettings()
    registry.register(
        JobCollector(metrics.places, lambda: watched, settings, clock, lambda: NOW, owned)
    )
    (phase,) = {each.snapshot.phase for each in watched if each.snapshot}
    assert phase is Phase.WAITING
    assert series(registry, "job_monitor_jobs") == {"vision": 2, "data": 0, OTHER_VALUE: 1}
    assert series(registry, "job_monitor_blind_jobs") == {"vision": 0, "data": 0, OTHER_VALUE: 1}


def test_the_paces_of_watches_carry_their_labels(registry, metrics):
    metrics.use_watch_labels(of(VISION, DATA))
    pace = WatchPace("all", "prod", "us-east-1", 30.0, 45.0, VISION)
    registry.register(WatchCollector(lambda: [pace], list, lambda: metrics.watch_labels))
    assert series(registry, "job_monitor_watch_achieved_interval_seconds") == {"vision": 45.0}


def test_counters_exist_for_each_owner_and_end_with_them(registry, metrics):
    metrics.expect_jobs(*PLACE)
    assert series(registry, "job_monitor_transitions_total") == {None: 0}
    assert metrics.use_watch_labels(of(VISION, DATA))
    assert series(registry, "job_monitor_transitions_total") == {"vision": 0, "data": 0}
    metrics.transitions.labels(*PLACE, "job.updated", "waiting", "vision").inc()
    assert not metrics.use_watch_labels(of(VISION, {"team": "disks"}))
    assert series(registry, "job_monitor_transitions_total") == {"vision": 1, "disks": 0}
    assert metrics.use_watch_labels(of(VISION, names=()))
    assert series(registry, "job_monitor_transitions_total") == {None: 0}
