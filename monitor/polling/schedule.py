"""The turns of one poller: what is polled, and when."""

from __future__ import annotations

import heapq
import math
from collections import deque
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING, ClassVar

from monitor.model import JobMap, ListingRequest
from monitor.pacing import EARLIEST
from monitor.polling.scheduled_job import FIRST, ScheduledJob
from monitor.polling.source_health import ANSWERS
from monitor.polling.turn_queue import State, TurnQueue
from monitor.polling.unchanged import RepeatedPoll
from monitor.recording.baselines import Discovery

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from datetime import datetime

    from monitor.config import Discover
    from monitor.errors import PollError, PollReason
    from monitor.interfaces import Listing, Source
    from monitor.model import Job, Observation
    from monitor.polling.page_turn import PageTurn
    from monitor.polling.unchanged import RepeatedPage, SentPage

_WAITING = State.WAITING

PARENTS = "parents"
"""Stands for the listing of parents in the name of its baseline."""

NO_OUTAGE: frozenset[PollReason | None] = frozenset({None, *ANSWERS})
"""The values of ``failing`` that do not count as a failure of the source."""


@dataclass(slots=True, eq=False)
class ListingSweep:
    """A listing that is swept for jobs, one page at a time; ``tokens`` are those already met.

    ``started`` is when the present sweep was due, ``length`` the pages of the last one, ``period``
    the seconds from one sweep to the next (0 until the first is done), ``torn`` whether the last
    sweep could not be finished.
    ``sent_at`` (monotonic) is when the last page was requested, ``rests`` says that a sweep was
    given up and the next one is due at its own time. ``complete`` says whether the
    last sweep was complete, ``None`` before the first; ``completed_at`` is when one last did,
    ``trouble`` why a page failed since. The other fields are those of ``ScheduledJob``.
    ``readable`` says whether the present sweep has met a row that could be read, ``None`` if it
    has met no row at all.
    ``request`` says which listing of the type it is, and for which parent. ``since`` is the
    creation time before which the present sweep need not go, ``swept_at`` when the last complete
    one began, ``began`` the present one. A sweep of the parents themselves has ``child``, which
    makes the sweeps of one parent; ``children`` are those under way, ``names`` the parents met so
    far. ``last`` is set for one whose parent is gone: it ends with the next sweep, which
    is ``ending``.
    ``repeats`` are the requests for its pages that are sent again, by token, ``repeatable`` the
    tokens of the last sweep: some services never hand out the same again.
    ``under_way`` are the pages that were requested and are not processed yet, in their order: the
    first is that of ``token``. ``steady`` says that the last sweep was complete, and met the
    tokens of the one before: then pages are requested before those in front of them have come.
    ``in_order`` forbids that, as the service has refused such a token.
    ``begun`` says that a sweep has begun before, ``again`` that the present one is not the first
    attempt at the baseline.
    """

    lists: ClassVar[bool] = True

    source: Source
    discover: Discover
    interval: float
    track: Callable[[Observation], ScheduledJob]
    request: ListingRequest = field(default_factory=ListingRequest)
    child: Callable[[str], Sequence[ListingSweep]] | None = None
    due: float = 0.0
    state: State = State.WAITING
    attempts: int = 0
    token: str | None = None
    tokens: set[str] = field(default_factory=set)
    repeatable: set[str] = field(default_factory=set)
    repeats: dict[str | None, RepeatedPage] = field(default_factory=dict)
    under_way: deque[SentPage] = field(default_factory=deque)
    steady: bool = False
    in_order: bool = False
    pages: int = 0
    started: float = 0.0
    period: float = 0.0
    torn: bool = False
    readable: bool | None = None
    length: int = 0
    since: datetime | None = None
    swept_at: datetime | None = None
    began: datetime | None = None
    names: set[str] = field(default_factory=set)
    children: dict[ListingRequest, ListingSweep] = field(default_factory=dict)
    last: bool = False
    ending: bool = False
    begun: bool = False
    again: bool = False
    sent_at: float = 0.0
    rests: bool = False
    complete: bool | None = None
    completed_at: datetime | None = None
    trouble: PollError | None = None
    failing_since: float | None = None
    began_at: float = 0.0
    hold_until: float = 0.0
    forgiven: int = 0

    discovery: Discovery = field(init=False)

    def __post_init__(self) -> None:
        """Name its baseline."""
        listed = PARENTS if self.child else self.listing.listed
        self.discovery = Discovery(self.discover, listed, self.request.parent)

    @property
    def own_due(self) -> float:
        """When its next page is due."""
        return self.due

    @property
    def listing(self) -> Listing:
        """What it asks for, unless it is a sweep of the parents."""
        return self.source.job_type.listings[self.request.number]

    @property
    def operation(self) -> str:
        """The operation that a page calls."""
        return self.source.job_type.parent_operation or "" if self.child else self.listing.operation

    def slack(self, _now: float) -> float:
        """Return the least: its rows save describes, and it takes no more than its share."""
        return FIRST

    @property
    def prepared(self) -> RepeatedPage | None:
        """The request for the next page, if that may be sent again and its response compared."""
        if self.child or self.last or self.attempts or self.trouble:
            return None
        # Any page that was not noted has to be read in any case.
        repeat = self.repeats.get(self.token)
        return None if repeat is None or repeat.rows is None else repeat

    @property
    def failing(self) -> PollReason | None:
        """The reason why the last page failed, if it did."""
        return self.trouble.reason if self.trouble and self.attempts else None


class Schedule:
    """A queue of turns, with the jobs behind them."""

    def __init__(self) -> None:
        """Start with nothing to do."""
        self._queue: TurnQueue[ScheduledJob | ListingSweep] = TurnQueue()
        self._everyone: JobMap[ScheduledJob] = JobMap()
        self._finished: JobMap[ScheduledJob] = JobMap()
        self._sweeps: dict[ListingSweep, None] = {}
        self._failing: dict[ScheduledJob | ListingSweep, None] = {}
        # The pages with which jobs wait, by the time at which they must have come again.
        self._pages: list[tuple[float, int, PageTurn]] = []
        self._order = count()
        self.changes = 0
        """Counts the changes of the jobs that are polled, and of their options."""
        self.first = self._queue.first
        """Return the turn that comes next; see ``TurnQueue``."""
        self.next_due = self._queue.next_due
        """Return when the next turn is due that is not ranked."""

    def __len__(self) -> int:
        """Return the number of jobs that are polled."""
        return len(self._everyone) - len(self._finished)

    def failing(self) -> Iterator[ScheduledJob | ListingSweep]:
        """Yield the turns, none of them under way, that wait because their source failed.

        Listings come first: one page of them may show many of the jobs.
        """
        for turn in sorted(self._failing, key=lambda one: isinstance(one, ScheduledJob)):
            if turn.state is not State.BUSY:
                yield turn

    def mark(self, turn: ScheduledJob | ListingSweep) -> None:
        """Note whether the last poll of ``turn`` failed for a reason of its source."""
        if turn.failing not in NO_OUTAGE and self.holds(turn):
            self._failing[turn] = None
        else:
            self._failing.pop(turn, None)

    def listings(self) -> Sequence[ListingSweep]:
        """Return every listing that is swept; from any thread."""
        return list(self._sweeps)

    def everyone(self) -> Sequence[ScheduledJob]:
        """Return every job, including those that are no longer polled.

        May be called from another thread: it is a copy.
        """
        return self._everyone.values()

    def finished(self) -> Sequence[ScheduledJob]:
        """Return every job that is no longer polled."""
        return self._finished.values()

    def polled(self) -> Sequence[ScheduledJob]:
        """Return every job that is polled; from any thread."""
        return [each for each in self.everyone() if each.state is not State.FINISHED]

    def known(self, job: Job) -> ScheduledJob | None:
        """Return a job, if it is polled, or was until it was final."""
        return self._everyone.get(job)

    def get(self, job: Job) -> ScheduledJob | None:
        """Return a job, if it is polled."""
        return None if job in self._finished else self._everyone.get(job)

    def put(self, turn: ScheduledJob | ListingSweep, due: float) -> None:
        """Give ``turn`` its next time, in place of any that it had."""
        if isinstance(turn, ScheduledJob):
            self.leave(turn)
            before = self.get(turn.job)
            if before is not turn:
                self.changes += 1
                if before is None:
                    turn.own_answered_at = due
                    self._finished.pop(turn.job)
                self._everyone[turn.job] = turn
        else:
            self._sweeps[turn] = None
        # One that is busy stays so: whoever is at work on it gives it its next time at the end.
        if turn.state is not State.BUSY:
            turn.state = State.WAITING
        due = self._queue.push(turn, due)
        if isinstance(turn, ScheduledJob):
            turn.own_due = due
        else:
            turn.due = due

    def put_back(self, turns: Sequence[ScheduledJob], due: float) -> None:
        """Give jobs that were begun, and have kept their places, their next time."""
        for turn in turns:
            turn.state = _WAITING
            turn.own_due = self._queue.push(turn, due)

    def go_on(self, sweep: ListingSweep, due: float) -> None:
        """Give a sweep that was begun, and has kept its place, its next page."""
        sweep.state, sweep.due = _WAITING, self._queue.push(sweep, due)

    def wait_on(self, sweep: ListingSweep) -> None:
        """Keep a sweep out of the queue while its next page is under way."""
        if sweep.state is State.WAITING:
            sweep.state = State.BUSY

    def awaits_pages(self) -> bool:
        """Return whether pages that were requested are not processed yet."""
        return any(sweep.under_way for sweep in self._sweeps)

    def join(self, turn: ScheduledJob, page: PageTurn) -> None:
        """Let a job that has its turn wait with a page that has just shown it."""
        if not page.guarded:
            heapq.heappush(self._pages, (page.due, next(self._order), page))
            page.guarded = True
        page.take(turn)
        turn.state = State.LISTED

    def leave(self, turn: ScheduledJob) -> None:
        """Let a job wait no longer with its page, if it does; ``put`` gives it its next turn."""
        if turn.page is not None:
            turn.page.give_back(turn)
            turn.state = State.WAITING

    def dissolve(self, page: PageTurn) -> None:
        """Give each job that waits with a page a turn of its own."""
        for turn in page.jobs:
            self.put(turn, turn.due)

    def release(self, now: float) -> float:
        """Poll the jobs of pages that have not come in time; return when the next must have."""
        pages = self._pages
        while pages and pages[0][0] <= now:
            _, order, page = heapq.heappop(pages)
            if len(page) and page.due > now:
                heapq.heappush(pages, (page.due, order, page))
            else:
                page.guarded = False
                self.dissolve(page)
        return pages[0][0] if pages else math.inf

    def finish(self, tracked: ScheduledJob) -> None:
        """Stop polling a job: it is final, and still counted."""
        self.leave(tracked)
        self.changes += 1
        # It stands in the list all the while, and once: a scrape may come between two steps.
        self._everyone[tracked.job] = self._finished[tracked.job] = tracked
        self._failing.pop(tracked, None)
        tracked.state = State.FINISHED
        tracked.forget_repeat()

    def drop(self, turn: ScheduledJob | ListingSweep) -> None:
        """Stop polling a job, or sweeping a listing; a poll under way must not put it back."""
        if isinstance(turn, ScheduledJob):
            self.leave(turn)
            self.changes += 1
            self._everyone.pop(turn.job)
            self._finished.pop(turn.job)
            turn.forget_repeat()
        else:
            self._sweeps.pop(turn, None)
        self._failing.pop(turn, None)
        turn.state = State.DROPPED

    def holds(self, turn: ScheduledJob | ListingSweep) -> bool:
        """Return whether ``turn`` was put here and not dropped since."""
        if isinstance(turn, ScheduledJob):
            return self.get(turn.job) is turn
        return turn in self._sweeps

    def rank(self, now: float) -> float:
        """Order the turns that are due by rank, not by time; return when the next is due."""
        self._queue.rank(now)
        return self.next_due()

    def put_listings_last(self, *, last: bool) -> None:
        """Let listings come after jobs, or before them again, while turns are ranked."""
        self._queue.listings_last = last

    def begin(self, now: float) -> tuple[ScheduledJob, ...] | ListingSweep:
        """Take out the first turn, with jobs that share its describe, and mark all busy.

        Those jobs may be due a little later, but not before a Retry-After has passed. ``busy``
        ends it. They are busy at once, and not when their task first runs: until then a sweep
        could take them as well.
        """
        turn = self._queue.take()
        if not isinstance(turn, ScheduledJob):
            turn.began_at = now
            return turn
        begun = (turn,) if turn.options.share == 1 else self._together(turn, now)
        for each in begun:
            # One whose request is split has its answer still to come.
            if each.rare is not None and each.hint is not None and each.answering is None:
                each.answering, each.hint = each.hint, None
        return begun

    def begin_repeats(self, now: float, most: int) -> Sequence[ScheduledJob]:
        """Take out and mark busy what is due first, while each is a job that sends again.

        That is one with a prepared request of its own, which has not failed, and which no hint asks
        for. There may be none, as while turns are ranked.
        """
        return self._queue.take_due(now, most, _sends_again)  # type: ignore[return-value]

    def _together(self, turn: ScheduledJob, now: float) -> tuple[ScheduledJob, ...]:
        """Take out the jobs that share the describe of ``turn``."""

        def shares(other: ScheduledJob | ListingSweep) -> bool:
            if not isinstance(other, ScheduledJob) or other.hold_until > now:
                return False
            return may_share(turn, other)

        until = now + EARLIEST * turn.interval
        more = self._queue.take_more(turn.operation, until, turn.share - 1, shares)
        return (turn, *(each for each in more if isinstance(each, ScheduledJob)))

    @contextmanager
    def busy(self, turn: ScheduledJob | ListingSweep) -> Iterator[None]:
        """Keep others from a turn meanwhile; put it again afterwards, if it is still held.

        It may be dropped meanwhile by a reload. That state stays, so that it is not revived.
        """
        if isinstance(turn, ScheduledJob):
            self.leave(turn)
        if turn.state is State.WAITING:
            turn.state = State.BUSY
        yield
        if turn.state is State.BUSY:
            turn.state = State.WAITING


def _sends_again(turn: ScheduledJob | ListingSweep) -> bool:
    return (
        isinstance(turn, ScheduledJob)
        and type(turn.repeat) is RepeatedPoll  # of a batch, a reload may leave one to a single job
        and turn.options.share == 1
        and (turn.rare is None or not (turn.attempts or turn.hint))
    )


def may_share(one: ScheduledJob, other: ScheduledJob) -> bool:
    """Return whether two jobs may share a describe."""
    return one.share > 1 and (one.source, one.request_key, one.share) == (
        other.source,
        other.request_key,
        other.share,
    )
