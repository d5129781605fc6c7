"""Poll times that are learned from how long jobs were in a state before; pure.

Where a state ends at much the same age, most polls before that age are wasted. With so many polls
per job as there are, changes are seen soonest if the rate of the polls follows the square root of
the hazard: the chance that the state ends now, where it has not ended yet. A state that ends at
any age alike has a constant hazard, and nothing is to be gained.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, Any

from monitor.model import Kind

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

ENOUGH = 200
"""Times in a state that must be known before anything is learned of it."""
MOST = 2000
"""Times in a state that are kept, the newest ones."""
FLOOR, CEILING = 0.25, 8.0
"""Polls per interval, at least and at most: a surprise is seen within four intervals."""
WINS = 0.9
"""A learned schedule is used if its mean delay is at most this part of the fixed interval's."""
_BIN = 20
_SHRINKAGE = 2.0
"""Ends at the mean hazard that are added to those of each bin."""
_PHASES = 8

KINDS = frozenset({Kind.DISCOVERED, Kind.STATE_CHANGED, Kind.MISSING, Kind.REAPPEARED})
"""The transitions that ``Durations`` reads."""

Key = tuple[str, str, str]
"""Type, account and state."""

CurveKey = tuple[str, str, str, float]
"""Type, account, state and interval: a curve that wins at one interval need not at another."""


@dataclass(frozen=True, slots=True)
class Curve:
    """The polls per interval at each age; ``edges`` are ages in seconds, from 0.

    ``rates`` has one entry for each part, the last one of no end. ``counts`` are the polls until
    each edge, for an interval of one second.
    """

    edges: tuple[float, ...]
    rates: tuple[float, ...]
    counts: tuple[float, ...]

    @classmethod
    def of(cls, edges: Sequence[float], rates: Sequence[float]) -> Curve:
        """Return the curve with these rates from each edge on."""
        # The last part has no end.
        ends = zip(rates, pairwise(edges), strict=False)
        parts = (rate * (end - start) for rate, (start, end) in ends)
        return cls(tuple(edges), tuple(rates), tuple(accumulate(parts, initial=0.0)))

    def count(self, age: float) -> float:
        """Return the polls until ``age``, for an interval of one second."""
        part = bisect_right(self.edges, age) - 1
        return self.counts[part] + self.rates[part] * (age - self.edges[part])

    def age(self, count: float) -> float:
        """Return the age with so many polls before it."""
        part = bisect_right(self.counts, count) - 1
        return self.edges[part] + (count - self.counts[part]) / self.rates[part]

    def next_poll(self, age: float, interval: float, phase: float) -> float:
        """Return the seconds from ``age`` to the next poll; ``phase`` (0 to 1) spreads jobs."""
        done = self.count(age) / interval
        # As with a fixed interval, the next turn is never right away.
        turn = math.floor(done + 0.1 - phase) + 1 + phase
        return self.age(turn * interval) - age


FIXED = Curve.of((0.0,), (1.0,))
"""One poll per interval at any age."""


def fit(durations: Sequence[float]) -> Curve:
    """Return the curve for states that ended at these ages, at as many polls as ``FIXED``."""
    ages = sorted(max(0.001, each) for each in durations)
    bins = len(ages) // _BIN
    ends = [ages[len(ages) * number // bins] for number in range(1, bins)]
    # Nothing ended before the first: that must not be spread over the first part.
    edges = sorted({0.0, 0.9 * ages[0], *ends})
    exposure = [
        sum(min(each, end) - start for each in ages if each > start)
        for start, end in pairwise([*edges, math.inf])
    ]
    mean = len(ages) / sum(ages)
    ended = [0] * len(edges)
    for each in ages:
        ended[bisect_right(edges, each) - 1] += 1
    roots = [
        math.sqrt((many + _SHRINKAGE) / (time + _SHRINKAGE / mean))
        for many, time in zip(ended, exposure, strict=True)
    ]

    def rates(scale: float) -> list[float]:
        return [min(CEILING, max(FLOOR, scale * root)) for root in roots]

    low, high = 0.0, CEILING / min(roots)
    for _ in range(60):  # bisection: as many polls as with one for each interval
        middle = (low + high) / 2
        polls = sum(rate * time for rate, time in zip(rates(middle), exposure, strict=True))
        low, high = (middle, high) if polls < sum(ages) else (low, middle)
    return Curve.of(edges, rates(low))


@dataclass(frozen=True, slots=True)
class ScheduleCost:
    """The outcome of polling states that are over: mean delay in seconds, and polls in all."""

    delay: float
    polls: int


def replay(durations: Sequence[float], curve: Curve, interval: float) -> ScheduleCost:
    """Poll states that ended at these ages by ``curve``, from several phases each."""
    delay, polls = 0.0, 0
    for each in durations:
        done = curve.count(each) / interval
        for number in range(_PHASES):
            phase = (number + 0.5) / _PHASES
            turn = max(0, math.ceil(done - phase))
            delay += curve.age((turn + phase) * interval) - each
            polls += turn + 1
    return ScheduleCost(delay / (_PHASES * len(durations)), polls)


@dataclass(frozen=True, slots=True)
class LearningResult:
    """What learning would gain for one state.

    ``ratio`` is the mean delay of the learned schedule to that of the fixed interval, at equal
    polls, on states that it was not learned from. ``curve`` is set where it is used.
    """

    samples: int
    ratio: float | None
    curve: Curve | None


def judge(durations: Sequence[float], interval: float) -> LearningResult:
    """Learn from every other state, replay the rest under both schedules, and decide."""
    samples = len(durations)
    if samples < ENOUGH:
        return LearningResult(samples, None, None)
    learned = replay(durations[1::2], fit(durations[::2]), interval)
    fixed = replay(durations[1::2], FIXED, interval)
    # The delay falls as the polls grow: what a poll more would gain is taken away again.
    ratio = learned.delay * learned.polls / (fixed.delay * fixed.polls)
    return LearningResult(samples, ratio, fit(durations) if ratio <= WINS else None)


class Durations:
    """Collects from the events of a ledger, oldest first, how long jobs were in each state."""

    def __init__(self) -> None:
        """Start with none."""
        self.found: defaultdict[Key, list[float]] = defaultdict(list)
        """The seconds, oldest first, from when a state was first seen to its end."""
        self._entered: dict[str, tuple[str, datetime]] = {}

    def add(self, event: Mapping[str, Any]) -> None:
        """Read one CloudEvent."""
        data = event["data"]
        if data["kind"] not in KINDS or "job" not in data:
            return
        job, seen = data["job"], datetime.fromisoformat(event["time"])
        state, since = self._entered.pop(job["key"], (None, None))
        after = (data.get("window") or {}).get("after")
        if data["kind"] == Kind.STATE_CHANGED and since is not None and after:
            # The change was somewhere between the two polls.
            last = max(since, datetime.fromisoformat(after))
            took = (last - since + (seen - last) / 2).total_seconds()
            found = self.found[job["type"], job["account"], state or ""]
            found.append(took)
            del found[:-MOST]
        if data["kind"] == Kind.STATE_CHANGED or (
            data["kind"] == Kind.DISCOVERED and not data.get("baseline")
        ):
            # A state that was there before the watch is older than it seems.
            self._entered[job["key"]] = (data["current"]["state"], seen)


class LearnedSchedules:
    """The curves that are in use, by type, account, state and interval."""

    def __init__(self) -> None:
        """Start with none: every poll is at its fixed interval."""
        self._curves: Mapping[CurveKey, Curve] = {}

    def use(self, curves: Mapping[CurveKey, Curve]) -> None:
        """Use these from the next poll of each job on."""
        self._curves = curves

    def get(self, key: CurveKey) -> Curve | None:
        """Return the curve of a state at an interval, if one is in use."""
        return self._curves.get(key)
