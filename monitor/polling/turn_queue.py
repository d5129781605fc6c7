"""The order of the turns: by the time at which they are due, or by rank where many are overdue.

A turn that is overdue has a deadline: its due time and its slack, which is none for jobs that
somebody waits for, and some intervals for those that have been quiet. The earliest deadline comes
first. So every turn comes first in the end, however many others are due.

Among listings, that comes first whose last page was the longest ago. By their due times, a few long
ones that are late would keep out all others.
"""

from __future__ import annotations

import heapq
import math
from enum import Enum, auto
from itertools import count, islice
from operator import itemgetter
from typing import TYPE_CHECKING, Generic, NamedTuple, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence


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

    @property
    def lists(self) -> bool:
        """Whether it is the turn of a listing."""
        ...

    @property
    def began_at(self) -> float:
        """When its last poll began."""
        ...

    def slack(self, now: float, /) -> float:
        """Return the seconds that it may be overdue before it comes first."""
        ...


AnyTurn = TypeVar("AnyTurn", bound=Turn)

_WAITING = State.WAITING

MOST_PASSED_OVER = 200
"""Turns of other kinds that may stand between jobs that share a describe."""


class _Slot(Generic[AnyTurn]):
    """The turns of one moment, in the order in which they were put; ``taken`` of them are gone."""

    __slots__ = ("due", "taken", "turns")

    def __init__(self, due: float, turn: AnyTurn) -> None:
        self.due = due
        self.turns = [turn]
        self.taken = 0


class _Ranked(NamedTuple, Generic[AnyTurn]):
    """A turn in its heap, ordered by ``rank``; ``order`` is that in which they were ranked."""

    rank: float
    order: int
    turn: AnyTurn
    due: float
    deadline: float


class TurnQueue(Generic[AnyTurn]):
    """Two stages: turns in slots by due time, and ranked ones in heaps by operation and kind.

    Jobs have their turns at common moments: a slot keeps those of one as a bare list, so that a
    turn costs no more than its place there. A turn that is put to another time leaves its old entry
    behind; it is dropped when it comes up. Turns are ranked only while more are due than the quota
    permits, or than the places are enough for.
    """

    def __init__(self) -> None:
        """Start empty."""
        self._slots: dict[float, _Slot[AnyTurn]] = {}
        self._times: list[float] = []
        """A heap of the keys of the slots."""
        self._ranked: dict[tuple[str, bool], list[_Ranked[AnyTurn]]] = {}
        """The heaps by operation, and whether their turns are those of listings."""
        self._order = count()
        self._next: tuple[str, bool] | None = None
        """The heap whose turn ``first`` has returned; ``None`` for one of a slot."""
        self.listings_last = False
        """Whether ranked turns of listings come after those of jobs."""

    def push(self, turn: AnyTurn, due: float) -> float:
        """Add a turn at its time; return that, as the one object for all turns of the moment."""
        slot = self._slots.get(due)
        if slot is None:
            self._slots[due] = _Slot(due, turn)
            heapq.heappush(self._times, due)
            return due
        slot.turns.append(turn)
        return slot.due

    def first(self, now: float = -math.inf, blocked: Collection[str] = ()) -> AnyTurn | None:
        """Return the turn that comes next; it may be due later than ``now``.

        Operations in ``blocked`` may not be called now: turns of others go before theirs.
        """
        self._next = None
        if self._ranked or blocked:
            self.rank(now)
            tops = []
            for lists in (False, True):
                heaps = [
                    (kind[0] in blocked, heap[0], kind)
                    for kind, heap in self._ranked.items()
                    if kind[1] is lists and _has_turn(heap)
                ]
                if heaps:
                    barred, top, kind = min(heaps, key=itemgetter(0, 1))
                    last = lists and self.listings_last
                    tops.append((barred, last, top.deadline, kind, top.turn))
            if tops:
                *_, self._next, turn = min(tops, key=itemgetter(0, 1, 2))
                return turn
            self._ranked.clear()
        return self._first_waiting()

    def _first_waiting(self) -> AnyTurn | None:
        """Drop the old entries at the top; return the turn that is left there."""
        times = self._times
        while times:
            due = times[0]
            slot = self._slots[due]
            turns = slot.turns
            while slot.taken < len(turns):
                turn = turns[slot.taken]
                if turn.state is _WAITING and turn.own_due == due:
                    return turn
                slot.taken += 1
            del self._slots[heapq.heappop(times)]
        return None

    def next_due(self) -> float:
        """Return when the next turn is due that is not ranked."""
        return math.inf if self._first_waiting() is None else self._times[0]

    def rank(self, now: float) -> None:
        """Order the turns that are due by their deadlines."""
        while self._times and self._times[0] <= now:
            due = heapq.heappop(self._times)
            slot = self._slots.pop(due)
            for turn in slot.turns[slot.taken :]:
                if turn.state is _WAITING and turn.own_due == due:
                    heap = self._ranked.setdefault((turn.operation, turn.lists), [])
                    deadline = due + turn.slack(now)
                    rank = turn.began_at if turn.lists else deadline
                    heapq.heappush(heap, _Ranked(rank, next(self._order), turn, due, deadline))

    def take(self) -> AnyTurn:
        """Take out the turn that ``first`` has just returned; it is busy from now on."""
        if self._next is None:
            slot = self._slots[self._times[0]]
            turn = slot.turns[slot.taken]
            slot.taken += 1
        else:
            turn = heapq.heappop(self._ranked[self._next]).turn
        turn.state = State.BUSY
        return turn

    def take_due(self, now: float, most: int, fits: Callable[[AnyTurn], bool]) -> list[AnyTurn]:
        """Take out at most ``most`` turns that are due, in order, until one does not fit.

        None while turns are ranked.
        """
        found: list[AnyTurn] = []
        while not self._ranked and self._first_waiting() is not None:
            due = self._times[0]
            if due > now:
                break
            slot = self._slots[due]
            for turn in islice(slot.turns, slot.taken, None):
                if turn.state is _WAITING and turn.own_due == due:
                    if len(found) >= most or not fits(turn):
                        return found
                    turn.state = State.BUSY
                    found.append(turn)
                slot.taken += 1
        return found

    def take_more(
        self, operation: str, until: float, most: int, fits: Callable[[AnyTurn], bool]
    ) -> Sequence[AnyTurn]:
        """Take out at most ``most`` turns that fit, and are due at ``until`` at the latest.

        None is that of a listing.
        """
        found: list[AnyTurn] = []
        heap = self._ranked.get((operation, False), [])
        others: list[_Ranked[AnyTurn]] = []
        while len(found) < most and len(others) < MOST_PASSED_OVER and _has_turn(heap):
            if heap[0].due > until:
                break
            entry = heapq.heappop(heap)
            if fits(entry.turn):
                entry.turn.state = State.BUSY
                found.append(entry.turn)
            else:
                others.append(entry)
        for entry in others:
            heapq.heappush(heap, entry)
        self._take_waiting(found, until, most, fits)
        return found

    def _take_waiting(
        self, found: list[AnyTurn], until: float, most: int, fits: Callable[[AnyTurn], bool]
    ) -> None:
        """Move turns of slots to ``found``, as ``take_more`` does."""
        passed_over = 0
        gone_through: list[float] = []
        while len(found) < most and passed_over < MOST_PASSED_OVER:
            if self._first_waiting() is None or self._times[0] > until:
                break
            due = heapq.heappop(self._times)
            gone_through.append(due)
            slot = self._slots[due]
            left: list[AnyTurn] = []
            for turn in islice(slot.turns, slot.taken, None):
                if len(found) == most or passed_over + len(left) == MOST_PASSED_OVER:
                    break
                slot.taken += 1
                if turn.state is not _WAITING or turn.own_due != due:
                    continue
                if fits(turn):
                    turn.state = State.BUSY
                    found.append(turn)
                else:
                    left.append(turn)
            passed_over += len(left)
            end, slot.taken = slot.taken, slot.taken - len(left)
            slot.turns[slot.taken : end] = left
        for due in gone_through:
            heapq.heappush(self._times, due)


def _has_turn(heap: list[_Ranked[AnyTurn]]) -> bool:
    """Drop the old entries at the top of a heap; return whether a turn is left."""
    while heap:
        top = heap[0]
        if top.due == top.turn.own_due and top.turn.state is _WAITING:
            return True
        heapq.heappop(heap)
    return False
