"""The order of the turns: by the time at which they are due, or where the quota is short, by rank.

A turn that is overdue has a deadline: its due time and its slack, which is none for jobs that
somebody waits for, and some intervals for those that have been quiet. The earliest deadline comes
first. So every turn comes first in the end, however many others are due.
"""

from __future__ import annotations

import heapq
import math
from enum import Enum, auto
from itertools import count
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence


class State(Enum):
    """The state of a turn; only ``Schedule`` changes it, and the time at which a turn is due."""

    WAITING = auto()
    BUSY = auto()
    """It is being polled, or a sweep is recording its row: nothing else may start."""
    LISTED = auto()
    """It waits with the page of a listing that shows it, and not in the queue."""
    FINISHED = auto()
    DROPPED = auto()


class Turn(Protocol):
    """Something that is polled at a time."""

    state: State

    @property
    def own_due(self) -> float:
        """When it is due, if it waits for a turn; another time takes another ``push``."""
        ...

    @property
    def operation(self) -> str:
        """The operation that its poll calls."""
        ...

    def slack(self, now: float, /) -> float:
        """Return the seconds that it may be overdue before it comes first."""
        ...


AnyTurn = TypeVar("AnyTurn", bound=Turn)

_WAITING = State.WAITING

MOST_PASSED_OVER = 200
"""Turns of other kinds that may stand between jobs that share a describe."""


class TurnQueue(Generic[AnyTurn]):
    """Two stages of heaps: turns by due time, and ranked ones by operation and deadline.

    A turn that is put to another time leaves its old entry behind; it is dropped when it comes
    up. Turns are ranked only while more are due than the quota permits.
    """

    def __init__(self) -> None:
        """Start empty."""
        # Time, order, turn, and its due time when it was put.
        self._waiting: list[tuple[float, int, AnyTurn, float]] = []
        self._ranked: dict[str, list[tuple[float, int, AnyTurn, float]]] = {}
        self._order = count()
        self._next = self._waiting  # the heap with the turn that ``first`` has returned

    def push(self, turn: AnyTurn, due: float) -> None:
        """Add a turn; ``due`` is its time."""
        heapq.heappush(self._waiting, (due, next(self._order), turn, due))

    def put_back(self, turns: Iterable[AnyTurn], due: float) -> None:
        """Add turns that were taken; ``due`` is their next time."""
        waiting, order = self._waiting, self._order
        for turn in turns:
            turn.state = _WAITING
            heapq.heappush(waiting, (due, next(order), turn, due))

    def first(self, now: float = -math.inf, blocked: Collection[str] = ()) -> AnyTurn | None:
        """Return the turn that comes next; it may be due later than ``now``.

        Operations in ``blocked`` may not be called now: turns of others go before theirs.
        """
        if self._ranked or blocked:
            self.rank(now)
            tops = [
                (operation in blocked, heap[0], heap)
                for operation, heap in self._ranked.items()
                if _has_turn(heap)
            ]
            if tops:
                _, top, self._next = min(tops, key=lambda each: each[:2])
                return top[2]
            self._ranked.clear()
        self._next = heap = self._waiting
        if heap:
            # So it is nearly always; a call for each poll would cost as much as all of this.
            _, _, turn, due = heap[0]
            if due == turn.own_due and turn.state is _WAITING:
                return turn
        return heap[0][2] if _has_turn(heap) else None

    def next_due(self) -> float:
        """Return when the next turn is due that is not ranked."""
        return self._waiting[0][0] if _has_turn(self._waiting) else math.inf

    def rank(self, now: float) -> None:
        """Order the turns that are due by their deadlines."""
        while self._waiting and self._waiting[0][0] <= now:
            due, order, turn, _ = heapq.heappop(self._waiting)
            if due == turn.own_due and turn.state is _WAITING:
                heap = self._ranked.setdefault(turn.operation, [])
                heapq.heappush(heap, (due + turn.slack(now), order, turn, due))

    def take(self) -> AnyTurn:
        """Take out the turn that ``first`` has just returned; it is busy from now on."""
        turn = heapq.heappop(self._next)[2]
        turn.state = State.BUSY
        return turn

    def take_more(
        self, operation: str, until: float, most: int, fits: Callable[[AnyTurn], bool]
    ) -> Sequence[AnyTurn]:
        """Take out at most ``most`` turns that fit, and are due at ``until`` at the latest."""
        found: list[AnyTurn] = []
        for heap in (self._ranked.get(operation, []), self._waiting):
            others: list[tuple[float, int, AnyTurn, float]] = []
            while len(found) < most and len(others) < MOST_PASSED_OVER and _has_turn(heap):
                if heap[0][3] > until:
                    break
                entry = heapq.heappop(heap)
                if fits(entry[2]):
                    entry[2].state = State.BUSY
                    found.append(entry[2])
                else:
                    others.append(entry)
            for entry in others:
                heapq.heappush(heap, entry)
        return found


def _has_turn(heap: list[tuple[float, int, AnyTurn, float]]) -> bool:
    """Drop the old entries at the top of a heap; return whether a turn is left."""
    while heap:
        _, _, turn, due = heap[0]
        if due == turn.own_due and turn.state is _WAITING:
            return True
        heapq.heappop(heap)
    return False
