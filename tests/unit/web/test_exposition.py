"""Our text of the metrics is that of the library, byte for byte."""

import gc
import math

import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge, exposition
from prometheus_client.core import GaugeMetricFamily, InfoMetricFamily, StateSetMetricFamily
from prometheus_client.openmetrics import exposition as openmetrics

from monitor.metrics import Metrics
from monitor.model import SourceKey
from monitor.web.exposition import MetricsRenderer


class _Jobs:
    def __init__(self):
        self.many = 1

    def collect(self):
        family = GaugeMetricFamily("own_jobs", "Ours.", labels=("b", "a"))
        for number in range(self.many):
            family.add_metric((f"{number}", "x"), number)
        yield family
        yield GaugeMetricFamily("own_none", "None.", labels=("a",))
        yield GaugeMetricFamily("own_plain", "One.", 7)
        info = InfoMetricFamily("own_info", "Info.", labels=("a",))
        info.add_metric(("1",), {"version": "2"})
        yield info
        state = StateSetMetricFamily("own_state", "State.", labels=("a",))
        state.add_metric(("1",), {"on": True, "off": False})
        yield state


@pytest.fixture
def registry():
    registry = CollectorRegistry()
    metrics = Metrics(registry, "1.0")
    metrics.expect_jobs("panorama.package-import", "prod", "us-east-1")
    metrics.expect_source(SourceKey("panorama", "prod", "us-east-1"), ["Describe"])
    metrics.expect_sink("ops")
    metrics.poll_lateness.observe(0.5)
    return registry


def _assert_same(renderer, registry):
    for ours, theirs in (
        (renderer.plain(), exposition.generate_latest(registry)),
        (renderer.openmetrics(), openmetrics.generate_latest(registry)),
    ):
        assert _lasting(ours) == _lasting(theirs)


def _lasting(text):
    """Leave out what the process uses, which moves on meanwhile."""
    return [line for line in text.split(b"\n") if not line.startswith((b"process_", b"python_"))]


def test_the_text_is_the_librarys_for_all_that_the_daemon_has(registry):
    renderer, jobs = MetricsRenderer(registry), _Jobs()
    registry.register(jobs)
    _assert_same(renderer, registry)
    jobs.many = 3
    _assert_same(renderer, registry)
    jobs.many = 0
    _assert_same(renderer, registry)


def test_values_and_labels_of_every_kind_are_written_alike(registry):
    renderer = MetricsRenderer(registry)
    counter = Counter(
        "own", 'Help with \\ and\nnewline and "quotes".', ("z", "a"), registry=registry
    )
    gauge = Gauge("own_level", "Level.", ("z",), unit="bytes", registry=registry)
    for value in ('"', "\\", "\n", "ü", "a,b={}", ""):
        counter.labels(value, "x").inc(1e9)
        gauge.labels(value).set(-0.5)
    for name, level in {"nan": math.nan, "inf": math.inf, "big": 1.5e22, "small": 1e-9}.items():
        gauge.labels(name).set(level)
    _assert_same(renderer, registry)
    counter.labels("\\", "x").inc()
    counter.remove("\n", "x")
    gauge.clear()
    _assert_same(renderer, registry)


def test_what_a_function_fills_or_an_exemplar_follows_is_left_to_the_library(registry):
    renderer = MetricsRenderer(registry)
    gauge = Gauge("own_live", "Live.", ("z",), registry=registry)
    gauge.labels("1").set_function(lambda: 5)
    counter = Counter("own_seen", "Seen.", ("z",), registry=registry)
    counter.labels("1").inc(1, {"event_id": "e"})
    _assert_same(renderer, registry)


def test_the_labels_of_series_that_are_gone_are_not_kept(registry):
    renderer = MetricsRenderer(registry)
    gauge = Gauge("own_live", "Live.", ("z",), registry=registry)
    for number in range(100):
        gauge.labels(str(number))
    jobs = _Jobs()
    jobs.many = 100
    registry.register(jobs)
    renderer.plain()
    assert len(renderer._kept[gauge].lines) == len(renderer._families["own_jobs"]) == 100
    gauge.clear()
    jobs.many = 1
    renderer.plain()
    assert renderer._kept[gauge].lines == renderer._kept[gauge]._children == []
    assert len(renderer._families["own_jobs"]) == 1


def test_series_that_come_go_and_change_between_scrapes_are_written_alike(registry):
    renderer = MetricsRenderer(registry)
    counter = Counter("own_moved", "Moved.", ("z",), registry=registry)
    counter.labels("1").inc()
    _assert_same(renderer, registry)
    counter.labels("2")
    counter.labels("1").inc()
    _assert_same(renderer, registry)
    counter.remove("1")
    counter.labels("3").inc(7)
    _assert_same(renderer, registry)
    counter.remove("2")
    counter.labels("2").inc(2)  # the same labels, and another child
    _assert_same(renderer, registry)
    for _ in range(2):
        counter.labels("3").inc()
        _assert_same(renderer, registry)


@pytest.mark.parametrize("enabled", [True, False])
def test_a_scrape_looks_for_no_garbage(registry, enabled):
    meanwhile, before = [], gc.isenabled()

    class Collector:
        def collect(self):
            meanwhile.append(gc.isenabled())
            return []

    registry.register(Collector())
    (gc.enable if enabled else gc.disable)()
    try:
        MetricsRenderer(registry).plain()
        MetricsRenderer(registry).openmetrics()
        assert (meanwhile[-2:], gc.isenabled()) == ([False, False], enabled)
    finally:
        (gc.enable if before else gc.disable)()
