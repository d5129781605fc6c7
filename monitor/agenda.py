"""What one poller has to look at, and when."""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING

from monitor.baselines import accepts
from monitor.pacing import ANSWERS, BLIND_AFTER, NEVER

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from datetime import datetime

    from monitor.config import Discover
    from monitor.errors import LookReason
    from monitor.interfaces import Clock, Source
    from monitor.model import Job, Observation
    from monitor.recorder import Following


@dataclass(slots=True, eq=False)
class Tracked:
    """A job that is looked at until it is final.

    ``interval`` and ``missing_after`` are in seconds, ``due`` is on the monotonic
    clock. ``attempts`` counts failed looks in a row, ``denials`` how often in a row AWS
    said that there is no such job. ``heard_at`` (monotonic) and ``looked_at`` are when a
    look was last answered, in either way; before the first, ``heard_at`` is when the first was
    due. ``pace`` is the seconds between two looks where they are planned to
    be more than the interval. After ``blind_after`` intervals unheard the job is blind.
    """

    job: Job
    source: Source
    following: Following
    interval: float
    missing_after: float
    blind_after: int = BLIND_AFTER
    due: float = 0.0
    busy: bool = False
    attempts: int = 0
    denials: int = 0
    failing: LookReason | None = None
    heard_at: float = 0.0
    looked_at: datetime | None = None
    pace: float = 0.0

    def hear(self, clock: Clock, pace: float = 0.0) -> None:
        """Note that a look was answered just now."""
        self.heard_at, self.looked_at, self.pace = clock.monotonic(), clock.now(), pace

    def take_over(self, other: Tracked) -> None:
        """Follow the same job as ``other`` would, keeping what is known of the looks at it."""
        self.source = other.source
        self.following = other.following
        self.interval = other.interval
        self.missing_after = other.missing_after
        self.blind_after = other.blind_after


@dataclass(slots=True, eq=False)
class Discovery:
    """A listing that is swept for jobs, one page at a time; ``tokens`` are those already met.

    ``started`` is when the present sweep was due, ``period`` the seconds from one sweep to
    the next (0 until the first is done), ``torn`` whether the last sweep could not be finished.
    ``begun`` says that a sweep has begun before, ``again`` that the present one is not the first
    attempt at the baseline.
    """

    source: Source
    discover: Discover
    interval: float
    track: Callable[[Job], Tracked]
    due: float = 0.0
    busy: bool = False
    attempts: int = 0
    token: str | None = None
    tokens: set[str] = field(default_factory=set)
    pages: int = 0
    started: float = 0.0
    period: float = 0.0
    torn: bool = False
    begun: bool = False
    again: bool = False

    def accepts(self, row: Observation) -> bool:
        """Whether the watch wants to follow the job of ``row``."""
        return accepts(self.discover, row)


class Agenda:
    """A heap of turns by the time at which they are due, with the jobs behind them.

    A turn that is put to another time leaves its old entry behind in the heap; it is
    dropped when it comes up.
    """

    def __init__(self) -> None:
        """Begin with nothing to do."""
        self._heap: list[tuple[float, int, Tracked | Discovery]] = []
        self._order = count()
        self._tracked: dict[str, Tracked] = {}
        self._everyone: dict[str, Tracked] = {}
        self._discoveries: dict[Discovery, None] = {}

    def __len__(self) -> int:
        """Return how many jobs are looked at."""
        return len(self._tracked)

    def failing(self) -> Iterator[Tracked | Discovery]:
        """Go through the turns, none of them under way, that wait because their source failed."""
        for tracked in self._tracked.values():
            if tracked.failing not in {None, *ANSWERS} and not tracked.busy:
                yield tracked
        for discovery in self._discoveries:
            if discovery.attempts and not discovery.busy:
                yield discovery

    def everyone(self) -> Sequence[Tracked]:
        """Return every job, those that are looked at no more as well.

        May be called from another thread: they are copied in one piece.
        """
        return list(self._everyone.values())

    def known(self, key: str) -> Tracked | None:
        """Return the job with ``key``, if it is looked at, or was until it was final."""
        return self._everyone.get(key)

    def get(self, key: str) -> Tracked | None:
        """Return the job with ``key``, if it is looked at."""
        return self._tracked.get(key)

    def put(self, turn: Tracked | Discovery, due: float) -> None:
        """Give ``turn`` its next time, in place of any that it had."""
        if isinstance(turn, Tracked):
            self._track(turn, due)
        else:
            self._discoveries[turn] = None
        turn.due = due
        heapq.heappush(self._heap, (due, next(self._order), turn))

    def _track(self, tracked: Tracked, due: float) -> None:
        key = tracked.job.key
        if key not in self._tracked:
            tracked.heard_at = due
        self._tracked[key] = self._everyone[key] = tracked

    def finish(self, tracked: Tracked) -> None:
        """Look at a job no more: it is final, and still counted."""
        # It stands in the list all the while, and once: a scrape may come between two steps.
        self._everyone[tracked.job.key] = tracked
        self._tracked.pop(tracked.job.key, None)
        tracked.due = NEVER

    def drop(self, turn: Tracked | Discovery) -> None:
        """Look at a job, or sweep a listing, no more; what is under way must not put it back."""
        if isinstance(turn, Tracked):
            self._tracked.pop(turn.job.key, None)
            self._everyone.pop(turn.job.key, None)
        else:
            self._discoveries.pop(turn, None)
        turn.due = NEVER

    def holds(self, turn: Tracked | Discovery) -> bool:
        """Whether ``turn`` was put here and not dropped since."""
        if isinstance(turn, Tracked):
            return self._tracked.get(turn.job.key) is turn
        return turn in self._discoveries

    def first(self) -> Tracked | Discovery | None:
        """Return the turn that is due first; one that is under way has no turn."""
        while self._heap:
            due, _, turn = self._heap[0]
            if due == turn.due and not turn.busy:
                return turn
            heapq.heappop(self._heap)
        return None

    def begin(self) -> None:
        """Take out the first turn, which is now under way."""
        _, _, turn = heapq.heappop(self._heap)
        turn.busy = True
