"""The cheapest way to poll the jobs of a source: one by one, several at once, or by sweeps.

Everything here is arithmetic on counts: polled jobs, pages of the last sweep, and requests per
second. ``job-monitor plan`` uses it too.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from monitor import pacing

if TYPE_CHECKING:
    from collections.abc import Iterable

    from monitor.interfaces import JobType
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
    """

    interval: float
    jobs: int
    requests: int
    pages: int
    shows_states: bool


@dataclass(frozen=True, slots=True)
class Plan:
    """A decision; ``share`` is the part of the quota that sweeps may take."""

    mode: Mode
    share: float = HALF

    def page_gap(self, rate: float) -> float:
        """Return the seconds between two pages."""
        return pacing.page_gap(rate, self.share)

    def sweep_period(self, interval: float, pages: int, rate: float) -> float:
        """Return the seconds between the starts of two sweeps of so many pages in all."""
        return pacing.sweep_period(interval, pages, rate, self.share)


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
    if pages * pacing.page_gap(rate, HALF) <= interval:
        return Plan(Mode.SWEEP if any(each.jobs for each in swept) else describing)
    wanted = sum(each.requests / each.interval for each in loads)
    left = min(HALF, max(LEAST, 1 - wanted / rate))
    if not swept:
        return Plan(describing, HALF if pages else left)
    # Others are described in any case.
    others = sum(each.requests / each.interval for each in loads if not each.shows_states)
    most = max(HALF, MOST - others / rate)
    jobs = sum(each.requests for each in swept)
    by_sweep = max(interval, pages / (most * rate))
    by_describes = max(interval, jobs / ((1 - LEAST) * rate))
    sweeps = before is not None and before.mode is Mode.SWEEP
    if by_sweep < (by_describes / CLEARLY if sweeps else by_describes * CLEARLY):
        return Plan(Mode.SWEEP, most)
    return Plan(describing, left)


def polls_by_sweep(kind: JobType) -> bool:
    """Return whether a sweep shows the whole state of every open job of this kind."""
    listings = kind.listings
    return bool(listings) and all(one.lists_states and not one.windowed for one in listings)


class Planner:
    """Chooses anew from time to time, from what a schedule holds now."""

    def __init__(self, schedule: Schedule) -> None:
        """Count in ``schedule``."""
        self._schedule = schedule
        self.plan = Plan(Mode.SINGLE)
        """The last decision."""
        self._counted_at = -math.inf

    def choose(self, rate: float, now: float, *, anew: bool = False) -> Plan:
        """Return the plan for ``rate`` requests per second; decide ``anew`` after a sweep."""
        if anew or now - self._counted_at >= RECOUNT:
            self._counted_at = now
            self.plan = choose(self._loads(), rate, self.plan)
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
            yield Load(interval, jobs, requests, pages.get(name, 0), shows)
