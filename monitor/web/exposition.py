"""The text of ``/metrics``, as prometheus_client writes it, in a tenth of its time.

Most of many series are counters and gauges of which only the value may change. Their lines
are kept until it does; all else is left to the library. What it keeps inside is read
here without its help: tests/unit/web/test_exposition.py holds both texts to each other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from prometheus_client import Counter, Gauge, exposition
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.utils import floatToGoString

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from prometheus_client import CollectorRegistry

_END = "# EOF\n"


class MetricsRenderer:
    """Renders a registry; may be used by one thread at a time."""

    def __init__(self, registry: CollectorRegistry) -> None:
        """Keep nothing before the first scrape."""
        self._registry = registry
        self._known: dict[str, dict[tuple[str, ...], tuple[float, str]]] = {}

    def plain(self) -> bytes:
        """Return the text format 0.0.4."""
        return "".join(self._lines(_plain)).encode()

    def openmetrics(self) -> bytes:
        """Return OpenMetrics."""
        return ("".join(self._lines(_open)) + _END).encode()

    def _lines(self, render: Any) -> Iterator[str]:
        # A copy, made in one step: a metric may be registered meanwhile.
        collectors: list[Any] = list(self._registry._collector_to_names)  # noqa: SLF001 -- the library has no other way
        for collector in collectors:
            direct = self._direct(collector)
            if direct is not None:
                yield from self._family(collector.describe()[0], direct, render)
                continue
            for metric in collector.collect():
                if type(metric) is GaugeMetricFamily and metric.samples:
                    values = [(tuple(each.labels.values()), each.value) for each in metric.samples]
                    names = tuple(metric.samples[0].labels)
                    yield from self._family(metric, (metric.name, names, values), render)
                else:
                    yield render(_One(metric))

    def _direct(
        self, collector: Any
    ) -> tuple[str, Sequence[str], Iterable[tuple[tuple[str, ...], float]]] | None:
        """Return name, labels and values of a plain counter or gauge with labels."""
        if type(collector) not in {Counter, Gauge} or not collector._labelnames:  # noqa: SLF001 -- see above
            return None
        with collector._lock:  # noqa: SLF001 -- see above
            children = list(collector._metrics.items())  # noqa: SLF001 -- see above
        name = collector.describe()[0].name + ("_total" if type(collector) is Counter else "")
        values = []
        for labels, child in children:
            held = child._value  # noqa: SLF001 -- see above
            # One that a function fills, or that has an exemplar, is written by the library.
            if "_child_samples" in child.__dict__ or held._exemplar:  # noqa: SLF001 -- see above
                return None
            values.append((labels, held._value))  # noqa: SLF001 -- see above
        return name, collector._labelnames, values  # noqa: SLF001 -- see above

    def _family(
        self,
        metric: Metric,
        found: tuple[str, Sequence[str], Iterable[tuple[tuple[str, ...], float]]],
        render: Any,
    ) -> Iterator[str]:
        """Yield the lines of one metric; the library writes what stands above them."""
        name, names, values = found
        head = Metric(metric.name, metric.documentation, metric.type)
        head.unit = metric.unit
        yield render(_One(head))
        before = self._known.get(name, {})
        # Made again, so that the labels of series that are gone are not kept.
        known = self._known[name] = {}
        for labels, value in values:
            line = before.get(labels)
            if line is None or line[0] != value:
                text = floatToGoString(value)  # type: ignore[no-untyped-call]
                line = value, f"{_begin(name, names, labels)}{text}\n"
            known[labels] = line
        yield "".join([line for _, line in known.values()])


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


def _plain(one: Any) -> str:
    text: bytes = exposition.generate_latest(one)
    return text.decode()


def _open(one: Any) -> str:
    text: bytes = openmetrics.generate_latest(one)  # type: ignore[no-untyped-call]
    return text.decode().removesuffix(_END)
