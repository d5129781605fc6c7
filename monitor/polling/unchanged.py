"""The poll that changes nothing: sent again as it is, and known by its answer's digest.

Most polls bring the answer of the last one. Reading such an answer would show the same state of
the same job, so it need not be read, if nothing else has a say in what a poll means. That is the
one rule of this module:

    The same answer to the same request, about a job of which the same is known, under the same
    options, changes nothing until a time limit of the job comes up.

- *The same answer*: its digest is that of the last one that was read whole, in which nothing was
  unreadable, stale or misdated, and which would change nothing if it came again
  (``ScheduledJob.steady``). Whatever else is read forgets it.
- *The same request*: the same jobs, from the same source. A reload prepares another one.
- *The same is known*: the recorder still has the same snapshots. A row of a listing, a denial or
  another writer puts others there.
- *The same options*: a job that is followed with others, or no longer, forgets its request.
- *Time limits*: the state is too long the same (stuck), or an ended job has had its grace. Both go
  by store time. Where the wall clock decides, the answer is read.

A page of a listing is held to the same rule, with all its rows. Its jobs wait with it.

What is read goes the whole way of every other poll; what is not read is counted like it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, ClassVar, Generic, NamedTuple, TypeVar

import anyio

from monitor import pacing
from monitor.model import Ending
from monitor.recording import diff

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from monitor.interfaces import PageResponse, PollResponse, PreparedPage, PreparedPoll
    from monitor.model import Job, Snapshot
    from monitor.polling.page_turn import PageTurn
    from monitor.polling.schedule import Schedule
    from monitor.polling.scheduled_job import ScheduledJob
    from monitor.recording.diff import TrackingOptions
    from monitor.recording.recorder import Recorder

T = TypeVar("T")

FAILURES = 3
"""Failures in a row of a request that is sent again, after which the SDK makes it once."""

MARGIN = 0.001
"""Seconds before a time limit from which answers are read: sums of times are not exact."""


def takes_plain_path(attempts: int) -> bool:
    """Return whether a poll that has failed so often in a row should not repeat its request.

    If the fault is in our own path, the SDK's has to find out.
    """
    return attempts % (FAILURES + 1) == FAILURES


class Arrival(Generic[T]):
    """The response to a prepared request, for a task that waits for it."""

    def __init__(self) -> None:
        """Wait for nothing yet."""
        self._arrived = anyio.Event()
        self._response: T | None = None

    def take(self, response: T) -> None:
        """Take what came."""
        self._response = response
        self._arrived.set()

    async def response(self) -> T:
        """Wait for the response, and return it."""
        await self._arrived.wait()
        assert self._response is not None  # noqa: S101 -- set with the event
        return self._response


@dataclass(frozen=True, slots=True)
class SentPoll:
    """The response to a request that was sent at ``sent_at`` (monotonic)."""

    response: PollResponse
    sent_at: float


class RepeatPlan(NamedTuple):
    """When a poll that changes nothing is sent again, and for how long it changes nothing.

    ``pause`` and ``phase`` give the next turn as in ``pacing.next_turn``, ``expires_at``
    (monotonic) is when the first time limit comes up.
    """

    pause: float
    phase: float
    expires_at: float


_NO_PLAN = RepeatPlan(0.0, 0.0, 0.0)


@lru_cache(maxsize=4096)
def _unlimited(pause: float, phase: float) -> RepeatPlan:
    """Return the plan that all jobs of a slot share, unless they have time limits."""
    return RepeatPlan(pause, phase, math.inf)


@dataclass(slots=True, eq=False)
class RepeatedPoll:
    """A request that is sent for the same job each time, and what its last answer showed.

    ``digest`` names that answer, ``known`` is what was known of the job after it; where the next
    answer must be read, there is no digest.
    ``plan`` says until when it may not be read, and when the next turn is.
    """

    request: PreparedPoll
    digest: bytes | None = None
    known: Snapshot | None = None
    plan: RepeatPlan = _NO_PLAN

    def is_for(self, turns: tuple[ScheduledJob, ...]) -> bool:
        """Return whether it is the request of these turns, and of each of them now."""
        return len(turns) == 1 and turns[0].repeat is self

    def expire(self) -> None:
        """Never send it again."""
        self.digest = self.known = None

    def note(
        self,
        turns: tuple[ScheduledJob, ...],
        shown: Sequence[Snapshot | None],
        digest: bytes | None,
        pauses: Sequence[float],
        now: float,
        recorder: Recorder,
    ) -> None:
        """Note what was just read for all turns, so that the same answer need not be read again.

        ``shown`` are the snapshots that the answers have led to: what another replica has recorded
        since, they do not show.
        ``pauses`` are the seconds between two polls of each job. Jobs that do not have the same
        will not have their turns together.
        """
        found = [recorder.snapshot(turn.job) for turn in turns]
        known = [each for each in found if each is not None]
        steady = all(turn.steady for turn in turns) and len(known) == len(turns)
        steady = steady and all(one is then for one, then in zip(found, shown, strict=True))
        if digest is None or not steady or len(set(pauses)) != 1:
            return
        # One that is dated ahead of our clock is read again until it is not: then only a clock that
        # is set back by more than the leeway makes a misdated one of it.
        if any(each.updated_at and each.updated_at > each.looked_at for each in known):
            return
        store_time = recorder.store.store_time()
        left = min(
            seconds_left(snapshot, turn.following, store_time)
            for turn, snapshot in zip(turns, known, strict=True)
        )
        self.digest = digest
        self._know(known, recorder)
        first = turns[0]
        # Jobs that share a describe have their turns together.
        key = first.key if first.share == 1 else first.request_key
        pause, phase = pauses[0], pacing.phase_of(key, pauses[0])
        if left < math.inf:
            self.plan = RepeatPlan(pause, phase, now + left - MARGIN)
        else:
            self.plan = _unlimited(pause, phase)

    def repeats(
        self, digest: bytes | None, recorder: Recorder, set_back_to: datetime | None
    ) -> bool:
        """Return whether an answer that came before the plan expires changes nothing.

        ``set_back_to`` is the time of the poll, if the wall clock was set back: that may make the
        same answer a misdated one.
        """
        known = self.known
        if digest is None or digest != self.digest or known is None:
            return False
        if set_back_to is not None and _is_ahead(known.updated_at, set_back_to):
            return False
        return recorder.snapshot(known.job) is known

    def _know(self, known: Sequence[Snapshot], _recorder: Recorder) -> None:
        self.known = known[0]


@dataclass(slots=True, eq=False)
class RepeatedBatch(RepeatedPoll):
    """A request that is sent for the same ``turns`` each time.

    ``all_known`` is what was known of each job, ``dated`` the latest update time in that.
    ``checked`` counts the changes of what is known up to which that is still true.
    """

    turns: tuple[ScheduledJob, ...] = ()
    all_known: Sequence[Snapshot] = ()
    dated: datetime | None = None
    checked: int = -1

    def is_for(self, turns: tuple[ScheduledJob, ...]) -> bool:
        """Return whether it is the request of these turns, and of each of them now."""
        # One that was polled alone meanwhile has another, and would not expire this one.
        return self.turns == turns and all(turn.repeat is self for turn in turns)

    def expire(self) -> None:
        """Never send it again."""
        self.turns, self.digest, self.all_known = (), None, ()

    def repeats(
        self, digest: bytes | None, recorder: Recorder, set_back_to: datetime | None
    ) -> bool:
        """Return whether an answer that came before the plan expires changes nothing."""
        if digest is None or digest != self.digest:
            return False
        if set_back_to is not None and _is_ahead(self.dated, set_back_to):
            return False
        if self.checked != recorder.changes:
            if any(recorder.snapshot(each.job) is not each for each in self.all_known):
                return False
            self.checked = recorder.changes
        return True

    def _know(self, known: Sequence[Snapshot], recorder: Recorder) -> None:
        self.all_known, self.checked = known, recorder.changes
        self.dated = max((each.updated_at for each in known if each.updated_at), default=None)


def _is_ahead(dated: datetime | None, moment: datetime) -> bool:
    """Return whether an answer is a misdated one at a time of the wall clock."""
    return dated is not None and dated - moment > diff.LEEWAY


@dataclass(slots=True, eq=False)
class SentPage:
    """A request for the page at ``token``, sent at ``sent_at`` (monotonic) and ``asked_at``.

    ``due`` (monotonic) is when it was due, ``ahead`` says that the page in front of it had not come
    by then. ``response`` is ``None`` until it comes. ``unused`` is set if the sweep has taken
    another way meanwhile: then the response shows nothing.
    """

    repeat: RepeatedPage
    token: str | None
    due: float
    sent_at: float
    asked_at: datetime
    response: PageResponse | None = None
    ahead: bool = False
    unused: bool = False


@dataclass(frozen=True, slots=True)
class RepeatedRow:
    """A row that shows what was known of a job, polled as ``turn`` with ``options``, if it is.

    ``known`` stands for that (``Recorder.mark``). ``counts`` says that it is a poll of the job, as
    it shows the whole state.
    """

    job: Job
    known: object
    turn: ScheduledJob | None
    options: TrackingOptions | None
    counts: bool


@dataclass(slots=True, eq=False)
class RepeatedPage:
    """The request for one page of a listing, and what its last answer showed.

    ``rows`` is ``None`` where the next answer must be read, and ``turn`` has the jobs that they
    show, if any. ``checked`` counts the changes of what is known, and of the schedule, up to which
    the rows are still true. The other fields are those of ``RepeatedPoll`` and of ``Page``.
    """

    request: PreparedPage
    digest: bytes | None = None
    rows: Sequence[RepeatedRow] | None = None
    turn: PageTurn | None = None
    checked: tuple[int, int] | None = None
    dated: datetime | None = None
    expires_at: float = 0.0
    next_token: str | None = None
    torn: ClassVar[bool] = False

    def repeats(self, digest: bytes | None, asked_at: datetime, seen_at: datetime) -> bool:
        """Return whether an answer is the last one, and no clock makes more of it."""
        if digest is None or digest != self.digest or self.rows is None:
            return False
        # A wall clock that was set back makes the same answer a misdated one.
        return not _is_ahead(self.dated, min(asked_at, seen_at))

    def is_true(self, recorder: Recorder, schedule: Schedule) -> bool:
        """Return whether its rows show what is known now, of jobs that are polled as they were."""
        changes = recorder.changes, schedule.changes
        if changes != self.checked:
            for row in self.rows or ():
                turn = row.turn
                if (
                    recorder.mark(row.job) is not row.known
                    or schedule.get(row.job) is not turn
                    or (turn is not None and turn.following is not row.options)
                ):
                    return False
            self.checked = changes
        return True


def seconds_left(known: Snapshot, options: TrackingOptions, store_time: datetime) -> float:
    """Return the seconds until time alone changes something about a job, by store time.

    What an earlier version recorded has no store times: there the wall clock decides, at any time.
    """
    limits: list[tuple[datetime | None, float]] = []
    reminder = diff.reminder_due_in(known, options, store_time)
    if not known.phase.terminal and not known.stuck:
        stuck_after = diff.stuck_limit(options.stuck_after, known.state, known.phase)
        if stuck_after is not None:
            limits.append((known.own_changed, stuck_after))
    if known.ending is not Ending.OPEN and not options.job_type.reopens:
        limits.append((known.own_ended, options.job_type.grace))
    return min(
        reminder,
        *(
            seconds - (store_time - began).total_seconds() if began else -math.inf
            for began, seconds in limits
        ),
        math.inf,
    )
