"""The cheapest way to poll the jobs of a source: one by one, several at once, or by sweeps.

Everything here is arithmetic on counts: polled jobs, pages of the last sweep, and requests per
second. ``job-monitor plan`` uses it too.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING

from monitor import pacing

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from monitor.interfaces import JobType
    from monitor.polling.quota import Quota
    from monitor.polling.schedule import Schedule

HALF = 0.5
"""Part of the quota for sweeps while it suffices for all: new jobs are found, describes go on."""
MOST, LEAST = 0.95, 0.05
"""Parts for sweeps where these are the faster way to poll, and where describes are."""
CLEARLY = 0.9
"""A plan is changed for one that takes less than this part of the time."""
RECOUNT = 10.0
"""Seconds for which a count of the polled jobs is used."""


class Mode(StrEnum):
    """The way in which most polls are made."""

    SINGLE = "single"
    BATCH = "batch"
    SWEEP = "sweep"


@dataclass(frozen=True, slots=True)
class Load:
    """The jobs of one type that share an interval, and the pages of a sweep of them.

    ``requests`` are the describes for all of them. ``shows_states`` says that a sweep polls them.
    ``describe_limit`` is that of the operation, in requests per second. ``listed`` has the pages
    and the limit of each operation that lists, where that has a limit of its own.
    """

    interval: float
    jobs: int
    requests: int
    pages: int
    shows_states: bool
    describe_limit: float = math.inf
    listed: Mapping[str, tuple[int, float]] = field(default_factory=dict)


def own_period(loads: Iterable[Load]) -> float:
    """Return the seconds that one sweep of everything takes by the limits of single operations.

    They are spent side by side, so the slowest one decides; a slow listing slows down no other.
    """
    pages: Counter[str] = Counter()
    limits: dict[str, float] = {}
    for load in loads:
        for operation, (many, limit) in load.listed.items():
            pages[operation] += many
            limits[operation] = limit
    return max((pages[name] / limit for name, limit in limits.items()), default=0.0)


@dataclass(frozen=True, slots=True)
class Plan:
    """A decision; ``share`` is the part of the quota that sweeps may take."""

    mode: Mode
    share: float = HALF

    def page_gap(self, rate: float, limit: float = math.inf) -> float:
        """Return the seconds between two pages; ``limit`` is the operation's own."""
        return max(pacing.page_gap(rate, self.share), 1 / limit)

    def sweep_period(self, interval: float, pages: int, rate: float, own: float = 0.0) -> float:
        """Return the seconds between the starts of two sweeps of so many pages in all.

        ``own`` is what they take by limits of their own, see ``own_period``.
        """
        return max(pacing.sweep_period(interval, pages, rate, self.share), own)


def choose(loads: Iterable[Load], rate: float, before: Plan | None = None) -> Plan:
    """Choose how to poll; ``before`` is the plan until now, which small differences do not change.

    Where a half of the quota suffices for sweeps, they save describes at no cost. Otherwise what
    polls all jobs faster gets nearly all of the quota.
    """
    loads = list(loads)
    describing = Mode.BATCH if any(each.requests < each.jobs for each in loads) else Mode.SINGLE
    swept = [each for each in loads if each.shows_states and each.pages]
    pages = sum(each.pages for each in loads)
    interval = min((each.interval for each in loads if each.pages), default=0.0)
    own = own_period(swept)
    half = Plan(describing, HALF)
    if half.sweep_period(interval, pages, rate, own) <= interval:
        return replace(half, mode=Mode.SWEEP) if any(each.jobs for each in swept) else half
    if not swept:
        return half
    wanted = sum(min(each.requests / each.interval, each.describe_limit) for each in loads)
    left = min(HALF, max(LEAST, 1 - wanted / rate))
    # Others are described in any case.
    others = sum(
        min(each.requests / each.interval, each.describe_limit)
        for each in loads
        if not each.shows_states
    )
    most = max(HALF, MOST - others / rate)
    jobs = sum(each.requests for each in swept)
    sweeping = Plan(Mode.SWEEP, most)
    by_sweep = sweeping.sweep_period(interval, pages, rate, own)
    slowest = min(each.describe_limit for each in swept)
    by_describes = max(interval, jobs / min((1 - LEAST) * rate, slowest))
    sweeps = before is not None and before.mode is Mode.SWEEP
    if by_sweep < (by_describes / CLEARLY if sweeps else by_describes * CLEARLY):
        return sweeping
    return replace(half, share=left)


def polls_by_sweep(kind: JobType) -> bool:
    """Return whether a sweep shows the whole state of every open job of this kind."""
    listings = kind.listings
    return bool(listings) and all(one.lists_states and not one.windowed for one in listings)


class Planner:
    """Chooses again from time to time, from what a schedule holds now."""

    def __init__(self, schedule: Schedule, quota: Quota) -> None:
        """Count in ``schedule``, and plan for what ``quota`` permits."""
        self._schedule = schedule
        self._quota = quota
        self.plan = Plan(Mode.SINGLE)
        """The last decision."""
        self._counted_at = -math.inf
        self._counted_changes = -1
        self._counts: Counter[str] = Counter()
        self._kinds: dict[str, tuple[JobType, float]] = {}

    def choose(self, now: float, *, again: bool = False) -> Plan:
        """Return the plan for the present rate; decide ``again`` after a sweep."""
        if again or now - self._counted_at >= RECOUNT:
            self._counted_at = now
            self.plan = choose(self._loads(), self._quota.rate, self.plan)
        return self.plan

    def _loads(self) -> Iterable[Load]:
        if self._counted_changes != self._schedule.changes:
            # Jobs are many, and what is counted of them seldom changes.
            self._counted_changes, polled = self._schedule.changes, self._schedule.polled()
            self._counts = Counter(job.following.job_type.name for job in polled)
            self._kinds = {
                job.following.job_type.name: (job.following.job_type, job.interval)
                for job in polled
            }
        kinds = self._kinds.copy()
        pages: dict[str, Counter[str]] = {}
        for sweep in self._schedule.listings():
            kind = sweep.source.job_type
            kinds[kind.name] = (kind, sweep.interval)
            listed = pages.setdefault(kind.name, Counter())
            # The first sweep finds all jobs: until it has, nothing is known of their number.
            if sweep.complete is not None:
                listed[sweep.operation] += max(sweep.length, sweep.pages)
        for name, (kind, interval) in kinds.items():
            jobs = self._counts[name]
            shows = polls_by_sweep(kind)
            requests = math.ceil(jobs / kind.at_once)
            listed = pages.get(name, Counter())
            yield Load(
                interval,
                jobs,
                requests,
                listed.total(),
                shows,
                self._quota.limit(kind.describe_operation),
                {one: (many, self._quota.limit(one)) for one, many in listed.items()},
            )
