"""The text of ``/metrics``, as prometheus_client writes it, in a tenth of its time.

Most of many series are counters and gauges of which only the value may change. Their lines
are kept until it does; all else is left to the library. What it keeps inside is read
here without its help: tests/unit/web/test_exposition.py holds both texts to each other.
"""

from __future__ import annotations

import gc
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from prometheus_client import Counter, Gauge, exposition
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.utils import floatToGoString

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from prometheus_client import CollectorRegistry

_END = "# EOF\n"


class MetricsRenderer:
    """Renders a registry; may be used by one thread at a time."""

    def __init__(self, registry: CollectorRegistry) -> None:
        """Keep nothing before the first scrape."""
        self._registry = registry
        self._families: dict[str, dict[tuple[str, ...], tuple[float, str]]] = {}
        self._kept: dict[Any, _Lines] = {}

    def plain(self) -> bytes:
        """Return the text format 0.0.4."""
        with _no_collection():
            return "".join(self._lines(_plain)).encode()

    def openmetrics(self) -> bytes:
        """Return OpenMetrics."""
        with _no_collection():
            return ("".join(self._lines(_open)) + _END).encode()

    def _lines(self, render: Any) -> Iterator[str]:
        # A copy, made in one step: a metric may be registered meanwhile.
        collectors: list[Any] = list(self._registry._collector_to_names)  # noqa: SLF001 -- the library has no other way
        for collector in collectors:
            if type(collector) in {Counter, Gauge} and collector._labelnames:  # noqa: SLF001 -- see above
                kept = self._kept.setdefault(collector, _Lines())
                if kept.take(collector):
                    yield _head(collector.describe()[0], render)
                    yield "".join(kept.lines)
                    continue
            for metric in collector.collect():
                if type(metric) is GaugeMetricFamily and metric.samples:
                    yield _head(metric, render)
                    yield self._family(metric)
                else:
                    yield render(_One(metric))

    def _family(self, metric: GaugeMetricFamily) -> str:
        """Return the lines of a metric that is made for each scrape."""
        names = tuple(metric.samples[0].labels)
        before = self._families.get(metric.name, {})
        # Made again, so that the labels of series that are gone are not kept.
        known = self._families[metric.name] = {}
        for sample in metric.samples:
            labels, value = tuple(sample.labels.values()), sample.value
            line = before.get(labels)
            if line is None or line[0] != value:
                line = value, _begin(metric.name, names, labels) + _end(value)
            known[labels] = line
        return "".join([line for _, line in known.values()])


class _Lines:
    """The lines of a counter or a gauge with labels, as they were last written."""

    __slots__ = ("_children", "_values", "lines")

    def __init__(self) -> None:
        self._children: list[Any] = []
        self._values: list[float] = []
        self.lines: list[str] = []

    def take(self, collector: Any) -> bool:
        """Write what has changed; return whether these are all its lines.

        One that a function fills, or that has an exemplar, is written by the library.
        """
        with collector._lock:  # noqa: SLF001 -- the library has no other way
            labels = collector._metrics  # noqa: SLF001 -- see above
            children = list(labels.values())
            labels = list(labels) if children != self._children else None
        held = [child._value for child in children]  # noqa: SLF001 -- see above
        if any("_child_samples" in child.__dict__ for child in children) or any(
            one._exemplar  # noqa: SLF001 -- see above
            for one in held
        ):
            return False
        values = [one._value for one in held]  # noqa: SLF001 -- see above
        if labels is not None:
            self._arrange(collector, labels, children, values)
        elif values != self._values:
            changed = zip(self._values, values, strict=True)
            for place, (before, now) in enumerate(changed):
                if before != now:
                    line = self.lines[place]
                    self.lines[place] = line[: line.rindex(" ") + 1] + _end(now)
        self._values = values
        return True

    def _arrange(
        self, collector: Any, labels: list[Any], children: list[Any], values: list[float]
    ) -> None:
        """Write the lines of new children, and forget those that are gone."""
        known = zip(self._children, self._values, self.lines, strict=True)
        before = {child: (value, line) for child, value, line in known}
        name = collector.describe()[0].name + ("_total" if type(collector) is Counter else "")
        names = collector._labelnames  # noqa: SLF001 -- see above
        self.lines = []
        for child, of_child, now in zip(children, labels, values, strict=True):
            value, line = before.get(child, (None, ""))
            if value is None or value != now:
                line = _begin(name, names, of_child) + _end(now)
            self.lines.append(line)
        self._children = children


def _head(metric: Metric, render: Any) -> str:
    """Return what the library writes above the lines of a metric."""
    head = Metric(metric.name, metric.documentation, metric.type)
    head.unit = metric.unit
    text: str = render(_One(head))
    return text


@contextmanager
def _no_collection() -> Iterator[None]:
    """Keep Python from looking for garbage meanwhile.

    A scrape of many series makes so many tuples that it would go through the whole heap, which
    takes longer than the scrape. None of them is in a cycle: they are freed without that.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


class _One:
    """A registry of one metric."""

    def __init__(self, metric: Metric) -> None:
        self._metric = metric

    def collect(self) -> Iterator[Metric]:
        yield self._metric


def _begin(name: str, names: Sequence[str], labels: Sequence[str]) -> str:
    """Write a sample up to its value."""
    if not names:
        return f"{name} "
    escaped = (
        (key, value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\""))
        for key, value in sorted(zip(names, labels, strict=True))
    )
    pairs = ",".join(f'{key}="{value}"' for key, value in escaped)
    return f"{name}{{{pairs}}} "


def _end(value: float) -> str:
    """Write the value of a sample."""
    return f"{floatToGoString(value)}\n"  # type: ignore[no-untyped-call]


def _plain(one: Any) -> str:
    text: bytes = exposition.generate_latest(one)
    return text.decode()


def _open(one: Any) -> str:
    text: bytes = openmetrics.generate_latest(one)  # type: ignore[no-untyped-call]
    return text.decode().removesuffix(_END)
