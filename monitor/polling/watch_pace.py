"""How often the jobs of each watch are polled, against how often they should be.

Nothing is counted while jobs are polled: each keeps the time between its last two answers, and
this goes through a part of the jobs when somebody wants to know.
"""

from __future__ import annotations

import math
from collections import defaultdict
from typing import TYPE_CHECKING, NamedTuple

from prometheus_client.core import GaugeMetricFamily

from monitor.config import WatchRequest
from monitor.errors import PollReason
from monitor.model import WatchLabels

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping

    from prometheus_client import Metric

    from monitor.polling.poller import Poller
    from monitor.polling.watch import WatchTarget

SAMPLE = 2000
"""Jobs of one poller that are gone through, at most."""

PATIENCE = 1.5
"""A watch is starved if its jobs are polled at more than so many times its interval."""

_OF_QUOTA = frozenset({None, PollReason.THROTTLE})
"""Values of ``failing`` that count: other failures say nothing about the quota."""


class WatchPace(NamedTuple):
    """The seconds between two polls of a job of one watch in one region.

    ``achieved`` is the mean over its jobs, NaN if none of them is polled.
    """

    watch: str
    account: str
    region: str
    wanted: float
    achieved: float
    labels: Mapping[str, str] = {}
    """Those of the watch."""

    @property
    def starved(self) -> bool:
        """True if polls come much too late."""
        return self.achieved > PATIENCE * self.wanted


def paces(targets: Iterable[WatchTarget], now: float) -> Iterator[WatchPace]:
    """Yield the pace of each target; from any thread. ``now`` is on the monotonic clock."""
    targets = list(targets)
    late = {}
    for poller in {id(each.poller): each.poller for each in targets}.values():
        late.update(_lateness(poller, now))
    for each in targets:
        achieved = late.get(id(each.following), math.nan) * each.interval
        if math.isnan(achieved):
            # Where no job is polled, new ones are found at the pace of the sweeps.
            periods = [sweep.period for sweep in each.sweeps if sweep.period]
            achieved = max(periods, default=math.nan)
        yield WatchPace(
            each.watch.name, *each.place[1:], each.interval, achieved, each.watch.labels
        )


def _lateness(poller: Poller, now: float) -> dict[int, float]:
    """Return the mean of achieved to wanted interval by the identity of the tracking options."""
    jobs = poller.schedule.polled()
    found: defaultdict[int, list[float]] = defaultdict(list)
    for job in jobs[:: max(1, math.ceil(len(jobs) / SAMPLE))]:
        interval, age = poller.interval(job), now - job.answered_at
        if job.following.learned:
            interval = max(interval, job.pace)
        if job.failing in _OF_QUOTA and (job.gap or age > interval):
            found[id(job.following)].append(max(job.gap, age) / interval)
    return {options: sum(ratios) / len(ratios) for options, ratios in found.items()}


class WatchCollector:
    """Shows the paces of the configured watches, and the plans of the pollers, at each scrape.

    Run-time watches are left out: their names come from outside, and are ever new ones.
    """

    def __init__(
        self,
        found: Callable[[], Iterable[WatchPace]],
        pollers: Callable[[], Iterable[Poller]],
        watch_labels: Callable[[], WatchLabels] = WatchLabels,
    ) -> None:
        """Call each of them at each scrape, from any thread."""
        self._found = found
        self._pollers = pollers
        self._watch_labels = watch_labels

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics as they are now."""
        owned = self._watch_labels()
        labels = ("watch", "account", "region", *owned.columns)
        text = "Seconds between two polls of a job that a watch wants."
        wanted = GaugeMetricFamily("job_monitor_watch_wanted_interval_seconds", text, labels=labels)
        text = "Seconds between two polls of a job of a watch, on average; NaN if it has none."
        name = "job_monitor_watch_achieved_interval_seconds"
        achieved = GaugeMetricFamily(name, text, labels=labels)
        for pace in self._found():
            values = (pace.watch, pace.account, pace.region, *owned.values(pace.labels))
            wanted.add_metric(values, pace.wanted)
            achieved.add_metric(values, pace.achieved)
        yield from (wanted, achieved)
        text = "1 for the way in which most jobs of a source are polled now."
        place = ("service", "account", "region")
        modes = GaugeMetricFamily("job_monitor_poll_mode", text, labels=(*place, "mode"))
        text = "Part of the quota that sweeps may take now."
        shares = GaugeMetricFamily("job_monitor_sweep_share_ratio", text, labels=place)
        for poller in self._pollers():
            plan, source = poller.plan(), poller.key
            where = (source.service, source.account, source.region)
            modes.add_metric((*where, plan.mode), 1)
            if poller.schedule.listings():
                shares.add_metric(where, plan.share)
        yield from (modes, shares)


def configured(targets: Collection[WatchTarget]) -> Iterator[WatchTarget]:
    """Yield the targets of watches that are configured, not added at run time."""
    yield from (each for each in targets if not isinstance(each.watch, WatchRequest))
