"""A job that is polled: what of it is its own, and what it shares with others.

There may be a hundred thousand of them, so a job keeps little. Its options are one object for all
jobs of a watch. What only a job in trouble has takes memory only there. Its times are numbers side
by side, each without an object of its own.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from operator import attrgetter
from struct import Struct
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

import anyio

from monitor.errors import PollReason
from monitor.pacing import STALE_AFTER
from monitor.polling.turn_queue import State

if TYPE_CHECKING:
    from collections.abc import Callable

    from monitor.interfaces import Clock, Source
    from monitor.model import Job, Observation
    from monitor.polling.page_turn import PageTurn
    from monitor.polling.unchanged import RepeatedPoll
    from monitor.recording.diff import TrackingOptions

T = TypeVar("T")

NEVER = -math.inf
"""The time of what has not happened yet."""

YOUNG = 10
"""Intervals for which a job whose state has changed counts as young: more often follows soon."""

SLACK_YOUNG, SLACK = 1, 4
"""Intervals that a job may be overdue, where many are, before it comes first.

Nothing is more overdue than by so much more than a job that somebody waits for: a job that is
polled in five intervals is not stale yet.
"""

FIRST = -1e9
"""The slack of pages, and of describes of changed rows: before all that is overdue otherwise."""


class HintOutcome(StrEnum):
    """What came of a hint; the values are those of a metric.

    ``failed`` means that the poll brought no answer, so that the hint is still needed.
    """

    USED = "used"
    USELESS = "useless"
    UNREADABLE = "unreadable"
    FAILED = "failed"


class HintTicket:
    """Stands for the poll that a hint asks for; all hints that come before it share it."""

    def __init__(self) -> None:
        """Start unsettled."""
        self._settled = anyio.Event()
        self._outcome = HintOutcome.FAILED

    def settle(self, outcome: HintOutcome) -> None:
        """Note what came of the poll, once its answer is durable."""
        self._outcome = outcome
        self._settled.set()

    async def settled(self) -> HintOutcome:
        """Wait for the poll; return what came of it."""
        await self._settled.wait()
        return self._outcome


@dataclass(frozen=True, slots=True, eq=False)
class PollOptions:
    """The options that all jobs share that one target follows.

    ``interval`` and ``missing_after`` are in seconds. After ``blind_after`` intervals without a
    response a job is stale. A poll calls ``operation``, and at most ``share`` jobs share it.
    ``kind`` is how polls of one job are counted (``SourceClient.note_unchanged``).
    """

    source: Source
    following: TrackingOptions
    interval: float
    missing_after: float
    blind_after: int = STALE_AFTER
    operation: str = field(init=False)
    share: int = field(init=False)
    kind: tuple[str, str, str, int] = field(init=False)

    def __post_init__(self) -> None:
        """Read from the type of the jobs how they are polled."""
        job_type = self.following.job_type
        operation = job_type.describe_operation
        object.__setattr__(self, "operation", operation)
        object.__setattr__(self, "share", job_type.at_once)
        object.__setattr__(self, "kind", (job_type.name, operation, "describe", 1))


@dataclass(eq=False)
class Rare(Generic[T]):
    """A field of a job that hardly any job has set: it takes memory only while it is."""

    default: T

    def __set_name__(self, owner: type, name: str) -> None:
        """Take the name under which it is kept."""
        self._name = name

    def __get__(self, job: ScheduledJob, owner: type) -> T:
        """Return the value of a job."""
        rare = job.rare
        found: T = self.default if rare is None else rare.get(self._name, self.default)
        return found

    def __set__(self, job: ScheduledJob, value: T) -> None:
        """Set the value of a job."""
        rare = job.rare
        if value is not self.default and value != self.default:
            if rare is None:
                # A scrape, in its own thread, finds it whole or not at all.
                job.rare = {self._name: value}
            else:
                rare[self._name] = value
        elif rare is not None:
            rare.pop(self._name, None)
            if not rare:
                job.rare = None


_TIMES = Struct("7d")
_NO_TIMES = _TIMES.pack(0.0, 0.0, NEVER, 0.0, NEVER, 0.0, NEVER)
_ONE = Struct("d")


@dataclass(frozen=True)
class JobTime:
    """One of the numbers that a job keeps side by side; bytes are replaced as a whole."""

    number: int

    def __get__(self, job: ScheduledJob, owner: type) -> float:
        """Return the time of a job."""
        found: float = _ONE.unpack_from(job.times, self.number * _ONE.size)[0]
        return found

    def __set__(self, job: ScheduledJob, value: float) -> None:
        """Set the time of a job."""
        times = [*_TIMES.unpack(job.times)]
        times[self.number] = value
        job.times = _TIMES.pack(*times)


class ScheduledJob:
    """A job that is polled until it is final.

    ``due`` is on the monotonic clock. ``attempts`` counts failed polls in a row, ``denials`` how
    often in a row AWS said that there is no such job. ``answered_at`` (monotonic) and ``polled_at``
    are the time of the last poll with a response, good or bad; before the first, ``answered_at`` is
    when the first was due; ``gap`` is the seconds between the last two responses, 0 before there
    are two. ``pace`` is the seconds between two polls where they are planned to be more than the
    interval.

    ``failing_since`` (monotonic) is when its polls began to fail for a reason of the source,
    ``began_at`` when the last poll was sent. ``hold_until`` is what a Retry-After asks for;
    ``forgiven`` are the attempts that an outage has cost, and that no backoff counts any more.
    ``row`` is what a listing shows of it, until the next poll has said more; ``row_sent_at``
    (monotonic) is when that was requested, ``shown_at`` when the last answer about the job came.
    ``partial`` says that its last state came from a row alone, so that a describe is still owed;
    ``stale_since`` (monotonic) is since when its describes date it before what is known;
    ``misdated`` says that the log has named its impossible update time.
    ``parent`` is the one for which a listing has shown it. At most ``share`` jobs of one
    ``request_key`` share a poll: fewer than usual while one of several has failed.

    ``hint`` asks for a poll that begins from now on, ``answering`` for the one under way.
    ``admit`` is set for a job that a hint alone has named: it says whether the first answer counts.

    ``steady`` says that its last poll was read whole, and would show nothing new if it came again;
    ``repeat`` is the request that its next poll sends again, if it is the same. While it waits with
    the ``page`` that shows it, that has its times: those of ``own_due`` and so on that are later.
    Somebody waits for the job until ``awaited_until``, and its state was new at ``changed_at``
    (both monotonic).
    """

    __slots__ = (
        "job", "options", "own_due", "page", "rare", "repeat", "request_key", "state", "steady",
        "times",
    )  # fmt: skip

    lists: ClassVar[bool] = False

    own_answered_at = JobTime(0)
    own_gap = JobTime(1)
    own_shown_at = JobTime(2)
    began_at = JobTime(3)
    changed_at = JobTime(4)
    own_pace = JobTime(5)
    _own_polled = JobTime(6)

    attempts = Rare(0)
    denials = Rare(0)
    failing = Rare[PollReason | None](None)
    failing_since = Rare[float | None](None)
    hold_until = Rare(0.0)
    forgiven = Rare(0)
    row: Rare[Observation | None] = Rare(None)
    row_sent_at = Rare(0.0)
    partial = Rare(default=False)
    stale_since = Rare[float | None](None)
    misdated = Rare(default=False)
    parent = Rare[str | None](None)
    hint = Rare[HintTicket | None](None)
    answering = Rare[HintTicket | None](None)
    admit: Rare[Callable[[Observation], bool] | None] = Rare(None)
    awaited_until = Rare(NEVER)
    lowered_share = Rare(0)

    key: str = property(attrgetter("job.key"))  # type: ignore[assignment]
    source: Source = property(attrgetter("options.source"))  # type: ignore[assignment]
    following: TrackingOptions = property(attrgetter("options.following"))  # type: ignore[assignment]
    interval: float = property(attrgetter("options.interval"))  # type: ignore[assignment]
    operation: str = property(attrgetter("options.operation"))  # type: ignore[assignment]

    def __init__(self, job: Job, options: PollOptions) -> None:
        """Have no turn yet."""
        self.job = job
        self.options = options
        self.own_due = 0.0
        self.state = State.WAITING
        self.page: PageTurn | None = None
        self.rare: dict[str, Any] | None = None
        self.repeat: RepeatedPoll | None = None
        self.steady = False
        self.times = _NO_TIMES
        self.request_key = ""
        self.follow(options)

    def follow(self, options: PollOptions) -> None:
        """Take other options; the history of its polls stays."""
        self.options, self.lowered_share = options, 0
        job_type = options.following.job_type
        self.request_key = job_type.request_key(self.job.id) if options.share > 1 else ""

    @property
    def share(self) -> int:
        """The most jobs that share a poll with it now, itself included."""
        return self.lowered_share or self.options.share

    @property
    def due(self) -> float:
        """When its next poll is due; of a job that waits with a page, unless that shows it."""
        page = self.page
        return self.own_due if page is None else max(self.own_due, page.due)

    @property
    def answered_at(self) -> float:
        """When the last poll had a response."""
        page = self.page
        return self.own_answered_at if page is None else max(self.own_answered_at, page.answered_at)

    @property
    def polled_at(self) -> datetime | None:
        """When the last poll had a response, by the wall clock."""
        return self.last_poll()[1]

    @property
    def gap(self) -> float:
        """The seconds between the last two responses."""
        page = self._later_page()
        return self.own_gap if page is None else page.gap

    @property
    def pace(self) -> float:
        """The seconds between two polls as planned."""
        return self.last_poll()[2]

    @property
    def shown_at(self) -> float:
        """When the last answer about the job came."""
        page = self.page
        return self.own_shown_at if page is None else max(self.own_shown_at, page.answered_at)

    def last_poll(self) -> tuple[float, datetime | None, float]:
        """Return ``answered_at``, ``polled_at`` and ``pace``: a scrape reads those of all jobs."""
        page = self._later_page()
        if page is not None:
            return page.answered_at, page.polled_at, page.pace
        answered_at, _, _, _, _, pace, polled = _TIMES.unpack(self.times)
        polled_at = None if polled == NEVER else datetime.fromtimestamp(polled, UTC)
        return answered_at, polled_at, pace

    def _later_page(self) -> PageTurn | None:
        """Return the page with which it waits, if that was polled since its own last poll."""
        # Read once, as a scrape in its own thread does this too.
        page = self.page
        return page if page is not None and page.answered_at > self.own_answered_at else None

    def forget_repeat(self) -> None:
        """Let the next request be prepared again: the options are no longer the same."""
        if self.repeat is not None:
            self.repeat.expire()
            self.repeat = None

    def doubt(self) -> None:
        """Let the next answer be read, unless this one shows that it need not be."""
        self.steady = False
        if self.repeat is not None:
            self.repeat.digest = None

    def slack(self, now: float) -> float:
        """Return the seconds that it may be overdue, where many are, before it comes first."""
        if self.row is not None:
            # It has shown a change. New jobs must not hold up the sweep that finds them all.
            return FIRST if self.polled_at is None else 2 * FIRST
        if self.hint is not None or self.awaited_until > now:
            return 0.0
        young = now - self.changed_at < YOUNG * self.interval
        return (SLACK_YOUNG if young else SLACK) * self.interval

    def settle_hint(self) -> None:
        """Tell those who asked for the poll that has just ended what came of it."""
        if self.answering is not None:
            outcomes = {None: HintOutcome.USED, PollReason.MISSING: HintOutcome.USELESS}
            self.answering.settle(outcomes.get(self.failing, HintOutcome.FAILED))
            self.answering = None

    def answered(self, clock: Clock, pace: float = 0.0) -> None:
        """Note that a poll had a response just now."""
        self.note_poll(clock.monotonic(), clock.now(), pace)

    def note_poll(
        self, now: float, seen_at: datetime, pace: float = 0.0, began_at: float | None = None
    ) -> None:
        """Note that a poll of it alone had a response at ``now``, by both clocks.

        ``began_at`` is when it was sent, if that was not noted before.
        """
        answered_at, _, _, began, changed_at, _, polled = _TIMES.unpack(self.times)
        gap = 0.0 if polled == NEVER else now - answered_at
        began = began if began_at is None else began_at
        self.times = _TIMES.pack(now, gap, now, began, changed_at, pace, seen_at.timestamp())
        if self.rare is not None:
            self.row = None

    def take_times(self, page: PageTurn) -> None:
        """Have as its own last poll that of the page with which it waits."""
        _, _, _, began, changed_at, _, polled = _TIMES.unpack(self.times)
        polled = page.polled_at.timestamp() if page.polled_at else polled
        at = page.answered_at
        self.times = _TIMES.pack(at, page.gap, at, began, changed_at, page.pace, polled)
