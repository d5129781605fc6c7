"""The cheapest way to poll the jobs of a source: one by one, several at once, or by sweeps.

Everything here is arithmetic on counts: polled jobs, pages of the last sweep, and requests per
second. ``job-monitor plan`` uses it too.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING

from monitor import pacing

if TYPE_CHECKING:
    from collections.abc import Iterable

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
    The limits are those of the operations, in requests per second.
    """

    interval: float
    jobs: int
    requests: int
    pages: int
    shows_states: bool
    describe_limit: float = math.inf
    page_limit: float = math.inf


@dataclass(frozen=True, slots=True)
class Plan:
    """A decision; ``share`` is the part of the quota that sweeps may take.

    ``page_limit`` is the limit of the operation that lists, in requests per second.
    """

    mode: Mode
    share: float = HALF
    page_limit: float = math.inf

    def page_gap(self, rate: float) -> float:
        """Return the seconds between two pages."""
        return max(pacing.page_gap(rate, self.share), 1 / self.page_limit)

    def sweep_period(self, interval: float, pages: int, rate: float) -> float:
        """Return the seconds between the starts of two sweeps of so many pages in all."""
        return max(interval, pages * self.page_gap(rate))


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
    limit = min((each.page_limit for each in loads if each.pages), default=math.inf)
    half = Plan(describing, HALF, limit)
    if half.sweep_period(interval, pages, rate) <= interval:
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
    sweeping = Plan(Mode.SWEEP, most, limit)
    by_sweep = sweeping.sweep_period(interval, pages, rate)
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

    def choose(self, now: float, *, again: bool = False) -> Plan:
        """Return the plan for the present rate; decide ``again`` after a sweep."""
        if again or now - self._counted_at >= RECOUNT:
            self._counted_at = now
            self.plan = choose(self._loads(), self._quota.rate, self.plan)
        return self.plan

    def _loads(self) -> Iterable[Load]:
        counts: dict[str, int] = {}
        kinds = {}
        for job in self._schedule.polled():
            kind = job.following.job_type
            counts[kind.name] = counts.get(kind.name, 0) + 1
            kinds[kind.name] = (kind, job.interval)
        pages: dict[str, int] = {}
        for sweep in self._schedule.listings():
            kind = sweep.source.job_type
            kinds[kind.name] = (kind, sweep.interval)
            # The first sweep finds all jobs: until it has, nothing is known of their number.
            known = sweep.complete is not None
            pages[kind.name] = pages.get(kind.name, 0) + (
                max(sweep.length, sweep.pages) if known else 0
            )
        for name, (kind, interval) in kinds.items():
            jobs = counts.get(name, 0)
            shows = polls_by_sweep(kind)
            requests = math.ceil(jobs / kind.at_once)
            limits = (
                self._quota.limit(kind.describe_operation),
                min((self._quota.limit(one.operation) for one in kind.listings), default=math.inf),
            )
            yield Load(interval, jobs, requests, pages.get(name, 0), shows, *limits)
