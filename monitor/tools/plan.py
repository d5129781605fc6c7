"""What a configuration will cost, and how late it will tell: reckoned before it runs.

By the rules of ``pacing``, for as many jobs as are said to be under way, with an AWS that answers
and does not throttle. A change comes at any moment between two looks with the same likelihood, so
that it is seen after half the time between them in the mean, and after all of it at worst.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from monitor import pacing
from monitor.polling import manager

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from monitor import config
    from monitor.sources.job_type import JobType

DAY = 86400
_PAGE = 100
"""Rows of a page of a listing that is not asked for any number: what most services give."""


@dataclass(frozen=True, slots=True)
class WatchPlan:
    """One watch in one region; calls are per day, ``every`` and the delays in seconds.

    ``every`` is the time between two looks at a job: the ``interval``, or more where the quota
    does not permit so many. ``ended_every`` is the time between two polls of a job that has ended
    and may still change; ``None`` where such jobs are not polled.
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

    @property
    def mean_delay(self) -> float:
        """From a change to the look that sees it, in the mean."""
        return self.every / 2

    @property
    def worst_delay(self) -> float:
        """From a change to the look that sees it, at worst."""
        return self.every


@dataclass(frozen=True, slots=True)
class QuotaPlan:
    """The budget of one service in one account and region, in calls a second.

    ``wanted`` is what the intervals ask for; with more than ``rate`` looks come later.
    """

    service: str
    account: str
    region: str
    rate: float
    wanted: float

    @property
    def share(self) -> float:
        """Which part of the budget is wanted."""
        return self.wanted / self.rate


@dataclass(frozen=True, slots=True)
class _Part:
    """One watch in one region: pages of a listing, and jobs ``looked`` at one by one."""

    watch: config.Watch
    region: str
    kind: JobType
    jobs: int
    interval: float
    pages: int
    looked: int

    def period(self, rate: float) -> float:
        """Seconds between two sweeps of the listing."""
        return pacing.sweep_period(self.interval, self.pages, rate)


def plan(
    settings: config.Settings, types: Mapping[str, JobType], running: int
) -> tuple[Sequence[WatchPlan], Sequence[QuotaPlan]]:
    """Reckon every watch, and every quota that they share.

    ``running`` is how many jobs are under way in each region of a watch that discovers.
    """
    shared: dict[tuple[str, str, str], list[_Part]] = {}
    for watch in settings.watches:
        kind = types[watch.type]
        for region in [kind.region] if kind.region else watch.regions:
            key = (kind.service, watch.account, region)
            shared.setdefault(key, []).append(_part(watch, region, kind, running))
    budgets = manager.budgets(settings, types)
    watches: list[WatchPlan] = []
    quotas: list[QuotaPlan] = []
    for key, parts in shared.items():
        rate, _ = budgets[key[0]]
        quotas.append(QuotaPlan(*key, rate, sum(map(_wanted, parts))))
        watches += _planned(parts, rate)
    return watches, quotas


def _part(watch: config.Watch, region: str, kind: JobType, running: int) -> _Part:
    interval = watch.interval or kind.interval
    if not (watch.discover and kind.listing):
        return _Part(watch, region, kind, len(watch.jobs), interval, 0, len(watch.jobs))
    jobs = max(running, len(watch.jobs))
    pages = max(1, math.ceil(jobs / (kind.listing.page_size or _PAGE)))
    # A listing that shows states is a look at every job on it.
    return _Part(watch, region, kind, jobs, interval, pages, 0 if kind.lists_states else jobs)


def _wanted(part: _Part) -> float:
    return (part.pages + part.looked) / part.interval


def _planned(parts: Sequence[_Part], rate: float) -> Sequence[WatchPlan]:
    left = rate - sum(part.pages / part.period(rate) for part in parts)
    late = _lateness(parts, max(left, rate / 2))
    return [_planned_one(part, rate, late) for part in parts]


def _planned_one(part: _Part, rate: float, late: float) -> WatchPlan:
    kind = manager.type_of(part.watch, {part.kind.name: part.kind})
    looks = part.interval + late
    period = part.period(rate)
    return WatchPlan(
        watch=part.watch.name,
        account=part.watch.account,
        region=part.region,
        jobs=part.jobs,
        lists=DAY * part.pages / period if part.pages else 0.0,
        describes=DAY * part.looked / looks,
        interval=part.interval,
        every=looks if part.looked or not part.pages else period,
        ended_every=pacing.ended_interval(part.interval, kind.grace_interval)
        if kind.final
        else None,
    )


def _lateness(parts: Sequence[_Part], rate: float) -> float:
    """Return how many seconds after its interval each look comes, where all share a rate.

    Who is due first is looked at first, so that all are late by the same time.
    """
    looked = [(part.looked, part.interval) for part in parts if part.looked]
    if sum(jobs / interval for jobs, interval in looked) <= rate:
        return 0.0
    low, high = 0.0, sum(jobs for jobs, _ in looked) / rate
    for _ in range(60):
        middle = (low + high) / 2
        asked = sum(jobs / (interval + middle) for jobs, interval in looked)
        low, high = (middle, high) if asked > rate else (low, middle)
    return high
