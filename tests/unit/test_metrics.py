"""What the metrics count, and that the document lists exactly what exists."""

import math
import os
import re
import shutil
import subprocess
import textwrap
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import anyio
import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as parse_openmetrics,
)
from prometheus_client.parser import text_string_to_metric_families

from monitor import config, events
from monitor import metrics as metrics_module
from monitor.metrics import OTHER, Metrics, watch_lag
from monitor.model import (
    Backlog,
    Ending,
    Entry,
    Job,
    Kind,
    Phase,
    Severity,
    Snapshot,
    SourceKey,
    StateAndPhase,
    Transition,
)
from monitor.polling.job_collector import JobCollector
from monitor.polling.planner import Mode, Plan
from monitor.polling.watch_pace import WatchCollector, WatchPace
from tests.builders import followed_job

DOCUMENT = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text()
NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
JOB = Job("panorama.package-import", "prod", "us-east-1", "j-1")
WATCH = {"type": JOB.type, "account": "prod", "region": "us-east-1"}
SOURCE = SourceKey("panorama", "prod", "us-east-1")
PLACE = {"service": "panorama", "account": "prod", "region": "us-east-1"}

needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None and "CI" not in os.environ, reason="promtool is not installed"
)


@pytest.fixture
def registry():
    return CollectorRegistry()


@pytest.fixture
def metrics(registry):
    made = Metrics(registry, version="1.2.3")
    made.expect_jobs(JOB.type, JOB.account, JOB.region)
    made.set_listing((JOB.type, JOB.account, JOB.region), [(None, None)])
    made.expect_source(SOURCE, ["DescribePackageImportJob"])
    made.expect_sink("ops")
    made.expect_hints("us-east-1/hints")
    made.set_account_ids([("prod", "123456789012")])
    registry.register(the_jobs(made.places))
    return made


WATCHED = (followed_job(),)


def the_jobs(places=(), watched=WATCHED):
    settings = config.MetricsSettings(per_job=True)
    return JobCollector(places, lambda: watched, settings, LoopClock(), LoopClock().now)


def registered(metrics: Metrics) -> dict[str, MetricWrapperBase]:
    return {
        name: value for name, value in vars(metrics).items() if isinstance(value, MetricWrapperBase)
    }


def exposed_name(metric: MetricWrapperBase) -> str:
    suffix = {"counter": "_total", "info": "_info"}.get(str(metric._type), "")
    return f"{metric._name}{suffix}"


def snapshot(state: str = "PENDING", phase: Phase = Phase.RUNNING, **more) -> Snapshot:
    known = Snapshot(
        job=JOB,
        parts={"Status": state},
        state=state,
        phase=phase,
        severity=Severity.INFO,
        ending=Ending.OPEN,
        fields={},
        reason=None,
        updated_at=None,
        sequence=1,
        first_seen_at=NOW,
        changed_at=NOW,
        looked_at=NOW,
    )
    return known.replace(**more)


def transition(subject=JOB, kind=Kind.STATE_CHANGED, state="SUCCEEDED", phase="succeeded", **more):
    made = Transition(
        subject=subject,
        service="panorama",
        sequence=2,
        kind=kind,
        previous=StateAndPhase("PENDING", "running"),
        current=StateAndPhase(state, phase),
        changes=(),
        after=NOW + timedelta(seconds=60),
        before=NOW + timedelta(seconds=90),
        severity=Severity.INFO,
        reason=None,
        occurred_at=None,
        fields={},
        labels={},
    )
    return replace(made, **more)


def entry(*transitions: Transition) -> Entry:
    return Entry(snapshot(), 1, transitions, ((),) * len(transitions))


def test_every_metric_exists_at_the_start_with_its_series(registry, metrics):
    families = {
        family.name: family
        for family in text_string_to_metric_families(generate_latest(registry).decode())
    }
    for metric in registered(metrics).values():
        # The text format's parser names a counter without its suffix.
        samples = families[exposed_name(metric).removesuffix("_total")].samples
        assert samples, f"{exposed_name(metric)} has no series before its first event"


@pytest.mark.parametrize(
    ("name", "labels"),
    [
        ("owned_quotas", {}),
        ("transitions_total", WATCH | {"kind": "job.state_changed", "phase": "failed"}),
        ("transitions_total", WATCH | {"kind": "job.missing", "phase": "running"}),
        (
            "transitions_total",
            WATCH | {"type": "panorama", "kind": "source.unavailable", "phase": ""},
        ),
        ("polls_total", WATCH | {"mode": "sweep", "outcome": "stale"}),
        ("polls_total", WATCH | {"mode": "describe", "outcome": "throttle"}),
        ("detection_window_seconds_count", {"type": JOB.type}),
        ("time_in_state_seconds_count", {"type": JOB.type, "state": "other"}),
        ("unclassified_states_total", {"type": JOB.type}),
        ("quota_wait_seconds_total", PLACE),
        (
            "aws_requests_total",
            PLACE | {"operation": "DescribePackageImportJob", "outcome": "auth"},
        ),
        ("deliveries_total", {"sink": "ops", "outcome": "dead"}),
        ("deliveries_total", {"sink": "ops", "outcome": "parked"}),
        ("outbox_pending", {"sink": "ops"}),
        ("dead_letters", {"sink": "ops"}),
        ("store_commit_duration_seconds_count", {}),
    ],
)
def test_what_has_not_happened_yet_is_zero(registry, metrics, name, labels):
    assert registry.get_sample_value(f"job_monitor_{name}", labels) == 0


@pytest.mark.parametrize(
    ("name", "labels"),
    [
        ("source_up", PLACE),
        ("source_last_success_timestamp_seconds", PLACE),
        ("outbox_oldest_timestamp_seconds", {"sink": "ops"}),
    ],
)
def test_what_is_not_known_yet_is_not_a_number(registry, metrics, name, labels):
    assert math.isnan(registry.get_sample_value(f"job_monitor_{name}", labels))


def test_two_registries_share_nothing(registry, metrics):
    other = CollectorRegistry()
    Metrics(other, version="1").poll_lateness.observe(1)
    assert registry.get_sample_value("job_monitor_poll_lateness_seconds_count") == 0
    assert other.get_sample_value("job_monitor_poll_lateness_seconds_count") == 1


def test_the_process_and_the_version_are_shown(registry, metrics):
    assert registry.get_sample_value("job_monitor_build_info", {"version": "1.2.3"}) == 1
    assert registry.get_sample_value("process_start_time_seconds") > 0
    assert registry.get_sample_value("python_gc_collections_total", {"generation": "0"}) >= 0


def test_a_scrape_costs_no_created_series(registry, metrics):
    assert b"_created" not in generate_latest(registry)


def test_a_state_change_is_counted_with_its_window_and_the_time_in_the_old_state(registry, metrics):
    metrics.record(entry(transition()), snapshot())
    labels = WATCH | {"kind": "job.state_changed", "phase": "succeeded"}
    assert registry.get_sample_value("job_monitor_transitions_total", labels) == 1
    window = {"type": JOB.type}
    assert registry.get_sample_value("job_monitor_detection_window_seconds_sum", window) == 30
    left = window | {"state": "PENDING"}
    assert registry.get_sample_value("job_monitor_time_in_state_seconds_sum", left) == 90


def exemplars(registry, name):
    families = parse_openmetrics(openmetrics.generate_latest(registry).decode())
    samples = (sample for family in families if family.name == name for sample in family.samples)
    return [sample.exemplar for sample in samples if sample.exemplar]


def test_the_window_of_a_change_leads_to_its_event(registry, metrics):
    metrics.ledger_id = "7d0b8b1c-1f7f-4d59-8a4e-4d0cb4a6bb6e"
    metrics.record(entry(transition()), snapshot())
    (found,) = exemplars(registry, "job_monitor_detection_window_seconds")
    told = events.cloud_event(transition(), metrics.ledger_id)
    assert (found.labels, found.value) == ({"transition_id": told["id"]}, 30)
    assert b"transition_id" not in generate_latest(registry)


def test_without_a_ledger_a_window_leads_nowhere(registry, metrics):
    metrics.record(entry(transition()), snapshot())
    assert exemplars(registry, "job_monitor_detection_window_seconds") == []


@pytest.mark.parametrize(("length", "there"), [(36, True), (115, True), (116, False)])
def test_an_exemplar_has_at_most_128_characters(registry, metrics, length, there):
    metrics.delivery_latency.labels("ops").observe(1, metrics_module.exemplar("x" * length))
    found = exemplars(registry, "job_monitor_delivery_latency_seconds")
    assert [len(one.labels["transition_id"]) for one in found] == [length] * there


def test_only_a_state_change_ends_the_time_in_a_state(registry, metrics):
    metrics.record(entry(transition(kind=Kind.STUCK), transition(kind=Kind.UPDATED)), snapshot())
    assert registry.get_sample_value(
        "job_monitor_detection_window_seconds_count", {"type": JOB.type}
    ) == 0  # fmt: skip
    left = {"type": JOB.type, "state": "PENDING"}
    assert registry.get_sample_value("job_monitor_time_in_state_seconds_count", left) is None


def test_an_unclassified_state_is_counted_and_gets_no_label_of_its_own(registry, metrics):
    new = transition(state="Weird", phase="unknown")
    metrics.record(entry(new), snapshot())
    metrics.record(entry(transition()), snapshot("Weird", Phase.UNKNOWN))
    assert registry.get_sample_value(
        "job_monitor_unclassified_states_total", {"type": JOB.type}
    ) == 1  # fmt: skip
    left = {"type": JOB.type, "state": OTHER}
    assert registry.get_sample_value("job_monitor_time_in_state_seconds_count", left) == 1
    assert b"Weird" not in generate_latest(registry)


def test_states_beyond_the_bound_share_one_label(registry, metrics):
    for number in range(metrics_module.MOST_STATES + 5):
        metrics.record(entry(transition()), snapshot(f"S{number}"))
    left = {"type": JOB.type, "state": OTHER}
    assert registry.get_sample_value("job_monitor_time_in_state_seconds_count", left) == 5


def test_a_lost_source_is_counted_under_its_service(registry, metrics):
    lost = transition(SOURCE, Kind.SOURCE_UNAVAILABLE, "unavailable", "")
    metrics.record(entry(lost), None)
    labels = WATCH | {"type": "panorama", "kind": "source.unavailable", "phase": ""}
    assert registry.get_sample_value("job_monitor_transitions_total", labels) == 1


def test_a_clock_that_jumped_back_gives_no_negative_time(registry, metrics):
    metrics.record(entry(transition()), snapshot(changed_at=NOW + timedelta(hours=1)))
    left = {"type": JOB.type, "state": "PENDING"}
    assert registry.get_sample_value("job_monitor_time_in_state_seconds_sum", left) == 0


def test_a_backlog_is_shown_and_a_sink_without_one_falls_to_zero(registry, metrics):
    metrics.set_backlogs([Backlog("ops", 7, NOW, 2), Backlog("removed", 0, None, 1)])
    shown = registry.get_sample_value
    assert shown("job_monitor_outbox_pending", {"sink": "ops"}) == 7
    assert shown("job_monitor_outbox_oldest_timestamp_seconds", {"sink": "ops"}) == NOW.timestamp()
    assert shown("job_monitor_dead_letters", {"sink": "removed"}) == 1
    metrics.set_backlogs([])
    assert shown("job_monitor_outbox_pending", {"sink": "ops"}) == 0
    assert shown("job_monitor_dead_letters", {"sink": "ops"}) == 0


class LoopClock:
    """The event loop's clock, which a blocked loop moves ahead by ``lost`` seconds."""

    def __init__(self):
        self.lost = 0.0

    def now(self):
        return NOW

    def monotonic(self):
        return anyio.current_time() + self.lost


@pytest.mark.looptime
async def test_the_event_loops_lag_is_sampled_at_the_interval(registry, metrics):
    clock = LoopClock()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(watch_lag, metrics, clock, 0.5)
        await anyio.sleep(2.25)
        clock.lost = 0.3
        await anyio.sleep(0.5)
        tasks.cancel_scope.cancel()
    assert registry.get_sample_value("job_monitor_event_loop_lag_seconds_count") == 5
    assert registry.get_sample_value("job_monitor_event_loop_lag_seconds_sum") == pytest.approx(0.3)


async def test_code_that_blocks_the_event_loop_shows_as_lag(registry, metrics):
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(watch_lag, metrics, LoopClock(), 0.05)
        await anyio.sleep(0.01)
        time.sleep(0.3)  # noqa: ASYNC251  # the very thing to be seen
        await anyio.sleep(0.1)
        tasks.cancel_scope.cancel()
    assert registry.get_sample_value("job_monitor_event_loop_lag_seconds_sum") > 0.2


def documented_metrics() -> dict[str, tuple[str, tuple[str, ...]]]:
    rows = re.findall(r"^\| `(job_monitor_\w+)` \| (\w+) \| ([^|]*)\|", DOCUMENT, re.MULTILINE)
    return {name: (kind, tuple(re.findall(r"`(\w+)`", labels))) for name, kind, labels in rows}


def test_the_document_lists_exactly_the_metrics_that_exist(metrics):
    existing = {
        exposed_name(metric): (metric._type, metric._labelnames)
        for metric in registered(metrics).values()
    }
    existing["job_monitor_build_info"] = ("info", ("version",))
    assert documented_metrics() == existing | of_the_jobs() | of_the_watches()


def of_the_jobs():
    """What a job brings, its optional labels left out; a state set's own label is its name."""
    samples = [(family.type, family.samples[0]) for family in the_jobs().collect()]
    return {sample.name: (kind, tuple(sample.labels)) for kind, sample in samples}


def of_the_watches():
    """What watches and pollers bring at a scrape."""
    pace = WatchPace("nightly", "prod", "us-east-1", 60.0, 61.0)
    poller = SimpleNamespace(
        key=SourceKey("panorama", "prod", "us-east-1"),
        plan=lambda: Plan(Mode.SWEEP),
        schedule=SimpleNamespace(listings=lambda: [None]),
    )
    collector = WatchCollector(lambda: [pace], lambda: [poller])  # type: ignore[list-item]
    return {
        family.name: (family.type, tuple(family.samples[0].labels))
        for family in collector.collect()
    }


def test_the_document_lists_every_label_value():
    values = DOCUMENT.split("## Label values")[1].split("## Examples")[0]
    expected = {
        *Phase,
        *Kind,
        *metrics_module.POLL_MODES,
        *metrics_module.POLL_OUTCOMES,
        *metrics_module.POLL_PATHS,
        *metrics_module.REQUEST_OUTCOMES,
        *metrics_module.DELIVERY_OUTCOMES,
        OTHER,
    }
    columns = "\n".join(line.split("|")[2] for line in values.splitlines() if line.startswith("|"))
    assert set(re.findall(r"`([\w.]+)`", columns)) == expected


def examples() -> list[str]:
    return re.findall(r"```promql\n(.*?)```", DOCUMENT, re.DOTALL)


def test_the_examples_use_series_that_exist(registry, metrics):
    series = {
        sample.name
        for family in text_string_to_metric_families(generate_latest(registry).decode())
        for sample in family.samples
    }
    used = {name for example in examples() for name in re.findall(r"job_monitor_\w+", example)}
    assert used
    assert used <= series


@needs_promtool
def test_promtool_accepts_the_examples(tmp_path):
    rules = [
        f"  - record: example:{number}\n    expr: |\n{textwrap.indent(example, ' ' * 6)}\n"
        for number, example in enumerate(examples())
    ]
    file = tmp_path / "rules.yml"
    file.write_text("groups:\n- name: examples\n  rules:\n" + "".join(rules))
    done = subprocess.run(["promtool", "check", "rules", file], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()


@needs_promtool
def test_promtool_finds_nothing_to_complain_of(registry, metrics):
    done = subprocess.run(
        ["promtool", "check", "metrics"],
        input=generate_latest(registry),
        capture_output=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_what_is_watched_no_more_leaves_no_series_behind():
    registry = CollectorRegistry()
    metrics = Metrics(registry, version="1.2.3")
    metrics.expect_jobs(JOB.type, JOB.account, JOB.region)
    metrics.expect_source(SOURCE, ["DescribePackageImportJob"])
    metrics.expect_sink("ops")
    registry.register(the_jobs(metrics.places, watched=()))
    others = Job("importexport.job", "prod", "us-east-1", "EX1")
    metrics.expect_jobs(others.type, others.account, others.region)
    metrics.forget_jobs(JOB.type, JOB.account, JOB.region)
    metrics.forget_source(SOURCE)
    metrics.forget_sink("ops")
    metrics.set_backlogs([])
    left = [sample.labels for metric in registry.collect() for sample in metric.samples]
    assert not any(labels.items() >= PLACE.items() for labels in left)
    assert {labels["type"] for labels in left if "account" in labels} == {others.type}
    assert not any("sink" in labels for labels in left)


def test_a_look_that_outlives_its_watch_brings_no_series_back(registry, metrics):
    def looks():
        labels = WATCH | {"mode": "describe", "outcome": "changed"}
        return registry.get_sample_value("job_monitor_polls_total", labels)

    metrics.count_poll(JOB, "describe", "changed")
    assert looks() == 1
    metrics.forget_jobs(JOB.type, JOB.account, JOB.region)
    metrics.count_poll(JOB, "describe", "changed")
    metrics.record(entry(transition(), transition(phase="unknown")), snapshot())
    for metric in (metrics.polls, metrics.transitions):
        labels = [sample.labels for family in metric.collect() for sample in family.samples]
        assert not any(each.items() >= WATCH.items() for each in labels)
    window = {"type": JOB.type}
    assert registry.get_sample_value("job_monitor_detection_window_seconds_sum", window) == 60
    metrics.expect_jobs(JOB.type, JOB.account, JOB.region)
    metrics.count_poll(JOB, "describe", "changed")
    assert looks() == 1
