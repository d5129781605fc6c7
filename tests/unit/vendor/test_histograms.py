"""What ``metrics.observe_all`` relies on in the metrics library: where a histogram counts."""

import pytest
from prometheus_client import CollectorRegistry, Histogram

from monitor.metrics import observe_all

BUCKETS = (0.1, 0.5, 1.0)


def samples(observe, values):
    """Return what a histogram exposes after ``values``."""
    registry = CollectorRegistry()
    made = Histogram("h", "Test.", ["of"], buckets=BUCKETS, registry=registry)
    observe(made.labels("a"), values)
    [family] = registry.collect()
    return {
        (one.name, one.labels.get("le")): one.value
        for one in family.samples
        if not one.name.endswith("_created")
    }


def one_by_one(histogram, values):
    for value in values:
        histogram.observe(value)


@pytest.mark.parametrize("values", [[], [0.1], [7.0, -1.0, 0.1, 0.11, 0.5, 1.0, 1.0, 0.02]])
def test_many_values_at_once_count_as_each_alone(values):
    assert samples(observe_all, values) == pytest.approx(samples(one_by_one, values))
    assert samples(observe_all, values)[("h_count", None)] == len(values)
