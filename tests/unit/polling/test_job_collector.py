"""What a scrape shows of the followed jobs."""

import os
import shutil
import subprocess
import sys
import threading
from dataclasses import replace

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as parse_openmetrics,
)

from monitor import config
from monitor.metrics import Metrics
from monitor.model import Phase
from monitor.polling.job_collector import JobCollector
from monitor.polling.schedule import Schedule
from monitor.polling.scheduled_job import PollOptions, ScheduledJob
from tests.builders import (
    ScriptedSource,
    VirtualClock,
    at,
    followed_job,
    following,
    job,
    snapshot,
)

PLACE = {"type": job().type, "account": "prod", "region": "us-east-1"}
needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None and "CI" not in os.environ, reason="promtool is not installed"
)


class Clock:
    """Stands still at so many seconds after the start."""

    def __init__(self, seconds=0.0):
        self.seconds = seconds

    def now(self):
        return at(self.seconds)

    def monotonic(self):
        return self.seconds


class Scrape:
    """A registry with the collector alone, for one place and these ``jobs``."""

    def __init__(self, jobs=(), now=0.0, own=None, **settings):
        self.registry = CollectorRegistry()
        self.jobs = list(jobs)
        places = [(PLACE["type"], PLACE["account"], PLACE["region"])]
        given = config.MetricsSettings.model_validate(settings)
        self.clock, self.own = Clock(now), Clock(now if own is None else own)
        every = (places, lambda: self.jobs, given, self.clock, self.own.now)
        self.registry.register(JobCollector(*every))

    def value(self, name, **labels):
        return self.registry.get_sample_value(f"job_monitor_{name}", labels)

    def series(self, name):
        return [
            sample
            for family in self.registry.collect()
            for sample in family.samples
            if sample.name == f"job_monitor_{name}"
        ]

    def ids(self, name):
        return {sample.labels["id"] for sample in self.series(name)}


def one(job_id="j-1", state="PENDING", **more):
    """A followed job of its own id; what a snapshot has goes there."""
    of_snapshot = {"stuck", "missing", "changed_at", "ended_at"} & more.keys()
    known = snapshot(state, job=job(job_id), **{name: more.pop(name) for name in of_snapshot})
    return followed_job(known, **more)


def test_jobs_that_ended_within_the_hour_are_counted_without_those_of_a_baseline():
    old = snapshot("FAILED", job=job("old"), ended_at=at(0), baseline=True)
    jobs = [
        followed_job(old),
        one("now", "FAILED", ended_at=at(3590)),
        one("edge", "FAILED", ended_at=at(1)),
        one("past", "FAILED", ended_at=at(0)),
        one("well", "SUCCEEDED", ended_at=at(3000)),
        one("open", "RUNNING"),
    ]
    scrape = Scrape(jobs, now=3600.0)
    found = {phase: scrape.value("recently_ended_jobs", **PLACE, phase=phase) for phase in Phase}
    ended = {Phase.FAILED: 2, Phase.SUCCEEDED: 1, Phase.CANCELED: 0, Phase.EXPIRED: 0}
    assert found == dict.fromkeys(Phase) | ended


@pytest.mark.parametrize("step", [86400.0, -86400.0])
def test_a_wall_clock_that_is_set_makes_no_end_recent_and_none_old(step):
    """Neither may an alert go on for a day, nor end before anybody was paged."""
    ended = {"ended_at": at(7200), "own_ended": at(5000)}
    earlier = {"ended_at": at(7000), "own_ended": at(4000)}
    jobs = [
        followed_job(snapshot("FAILED", job=job("now"), **ended)),
        followed_job(snapshot("EXPIRED", job=job("earlier"), **earlier)),
    ]
    scrape = Scrape(jobs, now=7100.0, own=4900.0)
    scrape.clock.seconds, scrape.own.seconds = 7300.0 + step, 5100.0
    assert scrape.value("recently_ended_jobs", **PLACE, phase="failed") == 1
    scrape.clock.seconds, scrape.own.seconds = 10_900.0 + step, 8700.0
    assert scrape.value("recently_ended_jobs", **PLACE, phase="failed") == 0
    assert scrape.value("recently_ended_jobs", **PLACE, phase="expired") == 0


def test_an_end_of_an_earlier_run_is_no_longer_recent_though_store_time_stood_still():
    old = snapshot("FAILED", ended_at=at(0), own_ended=at(0))
    scrape = Scrape([followed_job(old)], now=86400.0, own=60.0)
    assert scrape.value("recently_ended_jobs", **PLACE, phase="failed") == 0


def test_a_place_without_jobs_shows_zeros():
    scrape = Scrape()
    for phase in Phase:
        assert scrape.value("jobs", **PLACE, phase=phase) == 0
    for trait in ("stuck", "missing", "blind"):
        assert scrape.value(f"{trait}_jobs", **PLACE) == 0


def test_jobs_are_counted_by_place_and_phase():
    elsewhere = followed_job(snapshot("FAILED", job=replace(job("x"), region="eu-west-1")))
    scrape = Scrape([one("a"), one("b"), one("c", "RUNNING"), elsewhere])
    assert scrape.value("jobs", **PLACE, phase="waiting") == 2
    assert scrape.value("jobs", **PLACE, phase="running") == 1
    assert scrape.value("jobs", **PLACE, phase="failed") == 0
    assert scrape.value("jobs", **{**PLACE, "region": "eu-west-1"}, phase="failed") == 1


def test_each_scrape_counts_anew():
    scrape = Scrape([one("a", "RUNNING", stuck=True)])
    scrape.jobs = [one("a", "FAILED")]
    assert scrape.value("jobs", **PLACE, phase="running") == 0
    assert scrape.value("jobs", **PLACE, phase="failed") == 1
    assert scrape.value("stuck_jobs", **PLACE) == 0


def test_stuck_missing_and_blind_are_counted_each_by_itself():
    jobs = [
        *(one(f"s{n}", stuck=True) for n in range(3)),
        *(one(f"m{n}", missing=True) for n in range(2)),
        one("b", blind=True),
        one("all", stuck=True, missing=True, blind=True),
        one("done", "FAILED", stuck=True, finished=True),
        one("fine"),
    ]
    scrape = Scrape(jobs)
    shown = [scrape.value(f"{trait}_jobs", **PLACE) for trait in ("stuck", "missing", "blind")]
    assert shown == [4, 3, 2]


def test_a_job_that_was_never_seen_has_no_phase_but_may_be_blind():
    scrape = Scrape([followed_job()._replace(snapshot=None, blind=True)], per_job=True)
    assert sum(sample.value for sample in scrape.series("jobs")) == 0
    assert scrape.value("blind_jobs", **PLACE) == 1
    assert scrape.ids("job_info") == {"j-1"}
    assert scrape.series("job_state") == []


def test_no_job_is_shown_by_itself_unless_that_is_wanted():
    text = generate_latest(Scrape([one("a-secret-id")]).registry).decode()
    assert "a-secret-id" not in text
    assert "job_monitor_job_" not in text


def test_a_job_has_one_series_for_each_phase_of_which_one_is_true():
    scrape = Scrape([one("a", "RUNNING")], per_job=True)
    states = {s.labels["job_monitor_job_state"]: s.value for s in scrape.series("job_state")}
    assert states == dict.fromkeys(Phase, 0) | {Phase.RUNNING: 1}
    assert {s.labels["id"] for s in scrape.series("job_state")} == {"a"}


def test_a_job_shows_when_it_last_changed():
    scrape = Scrape([one("a", changed_at=at(7.5))], per_job=True)
    shown = scrape.value("job_last_change_timestamp_seconds", **PLACE, id="a")
    assert shown == at(7.5).timestamp()


def test_only_the_labels_that_are_named_are_shown():
    told = one("a", labels={"team": "vision", "cost-center": "7", "free": "text"})
    bare = one("b")
    scrape = Scrape([told, bare], per_job=True, job_labels=["team", "cost-center"])
    found = {s.labels["id"]: s.labels for s in scrape.series("job_info")}
    assert found["a"] == PLACE | {
        "id": "a",
        "watch": "w",
        "label_team": "vision",
        "label_cost_center": "7",
    }
    assert found["b"] == PLACE | {
        "id": "b",
        "watch": "w",
        "label_team": "",
        "label_cost_center": "",
    }


def test_of_too_many_jobs_those_that_ended_and_then_the_quietest_are_cut_and_counted():
    jobs = [
        one("ended-now", "FAILED", changed_at=at(90), ended_at=at(90)),
        one("quiet", changed_at=at(1)),
        one("lively", changed_at=at(80)),
        one("calm", changed_at=at(40)),
    ]
    scrape = Scrape(jobs, now=100, per_job=True, max_jobs=2)
    for name in ("job_info", "job_state", "job_last_change_timestamp_seconds"):
        assert scrape.ids(name) == {"lively", "calm"}
    assert scrape.value("job_series_cut") == 2
    assert scrape.value("jobs", **PLACE, phase="waiting") == 3
    assert Scrape(jobs, now=100, per_job=True, max_jobs=4).value("job_series_cut") == 0


@pytest.mark.parametrize(("now", "shown"), [(3700, {"a"}), (3700.1, set())])
def test_a_job_that_ended_is_shown_for_a_while(now, shown):
    scrape = Scrape([one("a", "FAILED", ended_at=at(100))], now=now, per_job=True)
    assert scrape.ids("job_state") == scrape.ids("job_info") == shown
    assert scrape.value("job_series_cut") == 0
    assert scrape.value("jobs", **PLACE, phase="failed") == 1


def test_what_has_a_name_full_of_quotes_is_still_read_back():
    odd = 'a"b\\c\nd'
    scrape = Scrape([one(odd)], per_job=True)
    text = openmetrics.generate_latest(scrape.registry).decode()
    families = {family.name: family for family in parse_openmetrics(text)}
    assert families["job_monitor_job"].samples[0].labels["id"] == odd
    assert families["job_monitor_job_state"].type == "stateset"


@needs_promtool
def test_promtool_finds_nothing_to_complain_of():
    registry = Scrape([one("a"), one("b", stuck=True)], per_job=True, job_labels=["team"]).registry
    done = subprocess.run(
        ["promtool", "check", "metrics"],
        input=generate_latest(registry),
        capture_output=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_no_name_stands_twice_beside_the_other_metrics():
    scrape = Scrape([one("a")], per_job=True)
    Metrics(scrape.registry, "0")
    names = [family.name for family in scrape.registry.collect()]
    assert len(names) == len(set(names)) > 30


def test_jobs_can_be_listed_in_a_thread_while_others_come_and_go():
    agenda, source, errors = Schedule(), ScriptedSource(VirtualClock()), []
    options = PollOptions(source, following(), 30.0, 3600.0)
    tracked = [ScheduledJob(job(f"j-{n}"), options) for n in range(2000)]
    done = threading.Event()

    def scrape():
        try:
            while not done.is_set():
                assert all(each.job for each in agenda.everyone())
        except BaseException as error:  # noqa: BLE001 -- told to the test's own thread
            errors.append(error)

    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    thread = threading.Thread(target=scrape)
    thread.start()
    try:
        for _ in range(30):
            for each in tracked:
                agenda.put(each, 0.0)
            for each in tracked:
                agenda.drop(each)
    finally:
        done.set()
        thread.join(30)
        sys.setswitchinterval(usual)
    assert errors == []
