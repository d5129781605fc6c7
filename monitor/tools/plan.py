"""Estimate what a configuration will cost, and how late it will report, before it runs.

The estimate follows the rules of ``pacing`` and the decisions of ``polling.planner``, for given
numbers of running and finished jobs and an AWS that answers and does not throttle. A change is
equally likely at any moment between two polls: it is observed after half that time on average, and
after all of it at worst.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from monitor import pacing
from monitor.config import Discover
from monitor.polling import manager, planner

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from monitor import config
    from monitor.sources.job_type import JobType

DAY = 86400
_PAGE = 100
"""Rows of a page where the request names no size: what most services return."""


@dataclass(frozen=True, slots=True)
class WatchPlan:
    """The estimate for one watch in one region; calls are per day, the rest in seconds.

    ``every`` is the time between two polls of a job: the ``interval``, or more where the quota
    permits fewer. ``ended_every`` is the same for a job that has ended and may still change;
    ``None`` where such jobs are not polled.
    """

    watch: str
    account: str
    region: str
    jobs: int
    lists: float
    describes: float
    interval: float
    every: float
    ended_every: float | None


@dataclass(frozen=True, slots=True)
class QuotaPlan:
    """The estimate for one service in one account and region, in calls per second.

    ``wanted`` is what the intervals need; where it exceeds ``rate``, polls come later. ``mode`` is
    the way in which most jobs are polled.
    """

    service: str
    account: str
    region: str
    rate: float
    wanted: float
    mode: planner.Mode


@dataclass(frozen=True, slots=True)
class _Load:
    """One watch in one region: pages to list by operation, and describes of one job or several.

    ``shown`` says that the listing polls the jobs, so that they are described only where that is
    cheaper.
    """

    watch: config.Watch
    region: str
    kind: JobType
    jobs: int
    interval: float
    listed: Mapping[str, int]
    described: int
    shown: bool

    @property
    def pages(self) -> int:
        """The pages of one sweep."""
        return sum(self.listed.values())


def plan(
    settings: config.Settings,
    types: Mapping[str, JobType],
    running: int,
    parents: int = 1,
    finished: int = 0,
) -> tuple[Sequence[WatchPlan], Sequence[QuotaPlan]]:
    """Estimate every watch, and every quota that watches share.

    ``running`` is the number of running jobs in each region of a watch that discovers, ``finished``
    that of ended ones that AWS still lists, and ``parents`` that of clusters and the like where it
    discovers the jobs of all of them.
    """
    shared: dict[tuple[str, str, str], list[_Load]] = {}
    for watch in settings.watches:
        kind = types[watch.type]
        for region in [kind.region] if kind.region else watch.regions:
            key = (kind.service, watch.account, region)
            shared.setdefault(key, []).append(
                _load(watch, region, kind, running, parents, finished)
            )
    budgets = manager.budgets(settings, types)
    watches: list[WatchPlan] = []
    quotas: list[QuotaPlan] = []
    for key, loads in shared.items():
        budget = budgets[key[0]]
        rate = budget.rate
        planned = [
            planner.Load(
                each.interval,
                each.jobs,
                each.described,
                each.pages,
                each.shown,
                budget.limit(each.kind.describe_operation),
                {name: (many, budget.limit(name)) for name, many in each.listed.items()},
            )
            for each in loads
        ]
        chosen = planner.choose(planned, rate)
        pages = sum(load.pages for load in loads)
        periods = [
            chosen.sweep_period(load.interval, pages, rate, _own_period(load, planned))
            for load in loads
        ]
        # Where sweeps poll all jobs in time, the only describes are those of jobs they do not show.
        sweeps = chosen.mode is planner.Mode.SWEEP
        described = [0 if sweeps and load.shown else load.described for load in loads]
        wanted = sum(
            (load.pages + many) / load.interval for load, many in zip(loads, described, strict=True)
        )
        quotas.append(QuotaPlan(*key, rate, wanted, chosen.mode))
        describing = {load.kind.describe_operation for load in loads}
        left = rate - sum(load.pages / every for load, every in zip(loads, periods, strict=True))
        late = _lateness(
            [(many, load.interval) for load, many in zip(loads, described, strict=True)],
            min(
                max(left, rate * (1 - chosen.share)),
                sum({name: budget.limit(name) for name in describing}.values()),
            ),
        )
        watches += [
            _watch(load, many, every, late)
            for load, many, every in zip(loads, described, periods, strict=True)
        ]
    return watches, quotas


def _own_period(load: _Load, planned: Sequence[planner.Load]) -> float:
    """Return the period that the operations of one load need, with all others that call them."""
    alike = [
        replace(each, listed={name: each.listed[name] for name in each.listed.keys() & load.listed})
        for each in planned
    ]
    return planner.own_period(alike)


def _load(
    watch: config.Watch, region: str, kind: JobType, running: int, parents: int, finished: int
) -> _Load:
    interval = watch.interval or kind.interval
    jobs = max(running, len(watch.jobs)) if watch.discover else len(watch.jobs)
    # Jobs of one type share a describe as far as it takes several.
    describes = math.ceil(jobs / kind.at_once)
    if not (watch.discover and kind.listings):
        return _Load(watch, region, kind, jobs, interval, {}, describes, shown=False)
    of = watch.discover.of if isinstance(watch.discover, Discover) else None
    given = len(of) if isinstance(of, list) else parents
    listed: Counter[str] = Counter()
    if of == "all" and kind.parent_operation:
        listed[kind.parent_operation] = math.ceil(given / _PAGE)
    for listing in kind.listings:
        # Each parent has a listing of its own, with its share of the jobs.
        lists = given if listing.parent else 1
        rows = (jobs + finished) / lists
        listed[listing.operation] += lists * max(1, math.ceil(rows / (listing.page_size or _PAGE)))
    return _Load(watch, region, kind, jobs, interval, listed, describes, kind.polls_by_sweep)


def _watch(load: _Load, described: int, period: float, late: float) -> WatchPlan:
    kind = manager.type_of(load.watch, {load.kind.name: load.kind})
    ended = pacing.ended_interval(load.interval, kind.grace_interval) if kind.final else None
    every = load.interval + late
    describes = described / every
    if load.shown and described and not late:
        # A row that shows a job puts its describe off.
        describes = described * pacing.describes_between(period, every) / period
    return WatchPlan(
        watch=load.watch.name,
        account=load.watch.account,
        region=load.region,
        jobs=load.jobs,
        lists=DAY * load.pages / period if load.pages else 0.0,
        describes=DAY * describes,
        interval=load.interval,
        every=every if described or not load.pages else period,
        ended_every=ended,
    )


def _lateness(described: Sequence[tuple[int, float]], rate: float) -> float:
    """Return by how many seconds each describe is late, where all share ``rate``.

    ``described`` are numbers and their intervals. The job that is due first is polled first, so
    all are late by the same time.
    """
    if sum(jobs / interval for jobs, interval in described) <= rate:
        return 0.0
    low, high = 0.0, sum(jobs for jobs, _ in described) / rate
    for _ in range(60):  # bisection, to the last bit of a float
        middle = (low + high) / 2
        needed = sum(jobs / (interval + middle) for jobs, interval in described)
        low, high = (middle, high) if needed > rate else (low, middle)
    return high
