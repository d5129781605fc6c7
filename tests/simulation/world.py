"""A random world with a true history, and the troubles between it and the monitor."""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import anyio

from monitor.errors import PartialSendError, PollError, PollReason, SendError, SendReason
from monitor.model import Job, ListingRequest, Observation, Page, ParentPage
from tests.builders import TYPE, VirtualClock, at, job

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence
    from random import Random

T = TypeVar("T")

PAGE = 10
ENDS = ("SUCCEEDED", "FAILED", "CANCELED")
LOOK_TROUBLES = (
    lambda: PollError(PollReason.THROTTLE, "Throttling", retry_after=3),
    lambda: PollError(PollReason.TRANSIENT, "InternalServerException"),
    lambda: PollError(PollReason.AUTH, "ExpiredToken"),
    lambda: PollError(PollReason.MALFORMED, "no state"),
    lambda: PollError(PollReason.MISSING, "ResourceNotFound"),
    lambda: ValueError("a mistake in the plug-in"),
)


class World:
    """What really happens: each job's states and when it came into them."""

    def __init__(
        self, random: Random, jobs: int, span: float, name: str = "j", ends: Sequence[str] = ENDS
    ) -> None:
        self.histories = {
            f"{name}-{number}": _history(random, span, ends) for number in range(jobs)
        }
        self.outages = [_interval(random, span, 900) for _ in range(2)]
        self.calm = False

    def state(self, job_id: str, moment: float) -> str | None:
        """The state at ``moment``; ``None`` before the job exists."""
        times = [begun for begun, _ in self.histories[job_id]]
        entry = bisect_right(times, moment) - 1
        return self.histories[job_id][entry][1] if entry >= 0 else None

    def listed(self, moment: float) -> list[str]:
        return [job_id for job_id in self.histories if self.state(job_id, moment)]

    def is_away(self, moment: float) -> bool:
        return not self.calm and any(start <= moment < end for start, end in self.outages)

    def states(self, job_id: str) -> list[str]:
        return [state for _, state in self.histories[job_id]]


def _interval(random: Random, span: float, longest: float) -> tuple[float, float]:
    start = random.uniform(0, span)
    return start, start + random.uniform(60, longest)


def _history(random: Random, span: float, ends: Sequence[str]) -> list[tuple[float, str]]:
    """Waiting and running in turn, some of it too short to be seen, and then an end."""
    moment = random.choice([-1.0, random.uniform(0, span / 2)])
    states = ["PENDING", "RUNNING"] * random.choice([1, 1, 2, 3]) + [random.choice(ends)]
    history = []
    for state in states:
        history.append((moment, state))
        moment += random.choice([random.uniform(1, 20), random.uniform(20, span / 6)])
    return history


class WorldSource:
    """Shows the world as it is at one moment of each look, or fails; ``shown`` is what it told."""

    job_type = TYPE

    def __init__(self, world: World, clock: VirtualClock, random: Random) -> None:
        self.world = world
        self.clock = clock
        self.random = random
        self.shown: list[tuple[float, str, str]] = []
        self.failures: Counter[str] = Counter()
        self.unread = 0
        self.poll = WorldPoll(self)
        self._under_way: set[asyncio.Task[None]] = set()

    async def prepare(self, _jobs: Sequence[Job]) -> WorldPoll:
        return self.poll

    async def prepare_page(self, token: str | None, of: ListingRequest) -> WorldRequest[Page]:
        return WorldRequest(self, lambda: self.page(token, of))

    def send(
        self, ask: Callable[[], Awaitable[T]], done: Callable[[WorldResponse[T]], None]
    ) -> bool:
        """Ask beside the monitor, as a prepared request does; now and then refuse to."""
        if self.random.random() < 0.1:
            return False
        asked_at = self.clock.now()

        async def come() -> None:
            try:
                found = await ask()
            except Exception as error:  # noqa: BLE001 -- whatever the world comes up with
                done(WorldResponse(self, None, error, asked_at))
            else:
                self.unread += 1
                done(WorldResponse(self, found, None, asked_at))

        task = asyncio.ensure_future(come())
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)
        return True

    def cut_off(self) -> None:
        """Lose the requests under way, as a crash does."""
        for task in self._under_way:
            task.cancel()

    async def describe(self, wanted: Job) -> Observation:
        asked_at = self.clock.now()
        moment = await self._reach()
        state = self.world.state(wanted.id, moment)
        if state is None:
            raise PollError(PollReason.MISSING, "ResourceNotFound")
        await self._linger()
        self.shown.append((self.clock.monotonic(), wanted.id, state))
        return self._observation(wanted.id, asked_at, state)

    async def describe_many(self, jobs: Sequence[Job]) -> Mapping[Job, Observation | PollError]:
        return {one: await self.describe(one) for one in jobs}

    async def parents(self, token: str | None) -> ParentPage:
        raise NotImplementedError

    async def page(self, token: str | None, of: ListingRequest) -> Page:
        asked_at = self.clock.now()
        moment = await self._reach()
        ids = self.world.listed(moment)
        start = int(token or 0)
        rows = tuple(
            self._observation(job_id, asked_at, str(self.world.state(job_id, moment)))
            for job_id in ids[start : start + PAGE]
        )
        await self._linger()
        return Page(rows, str(start + PAGE) if start + PAGE < len(ids) else None)

    async def _reach(self) -> float:
        """Travel to the service; the moment at which it looks."""
        await self._linger()
        if self.world.is_away(self.clock.monotonic()):
            self._fail(PollError(PollReason.UNAVAILABLE, "NoSuchHost"))
        if not self.world.calm and self.random.random() < 0.1:
            self._fail(self.random.choice(LOOK_TROUBLES)())
        return self.clock.monotonic()

    def _fail(self, error: Exception) -> None:
        self.failures[type(error).__name__] += 1
        raise error

    async def _linger(self) -> None:
        await anyio.sleep(self.random.choice([0.0, 0.05, self.random.uniform(0, 3)]))

    def _observation(self, job_id: str, asked_at: datetime, state: str) -> Observation:
        return Observation(job(job_id), asked_at, self.clock.now(), {"Status": state}, {})


@dataclass
class WorldPoll:
    """The describe that all jobs have in common."""

    source: WorldSource

    def send(
        self,
        jobs: Sequence[Job],
        done: Callable[[WorldResponse[Mapping[Job, Observation | PollError]]], None],
    ) -> bool:
        return self.source.send(lambda: self.source.describe_many(jobs), done)


@dataclass
class WorldRequest(Generic[T]):
    """A request that is prepared once."""

    source: WorldSource
    ask: Callable[[], Awaitable[T]]

    def send(self, done: Callable[[WorldResponse[T]], None]) -> bool:
        return self.source.send(self.ask, done)


@dataclass
class WorldResponse(Generic[T]):
    """What came of it; whoever does not read it has seen the state before."""

    source: WorldSource
    found: T | None
    error: Exception | None
    asked_at: datetime

    @property
    def digest(self) -> bytes | None:
        match self.found:
            case None:
                return None
            case Page(rows=rows, next_token=token):
                return repr([token, *((row.job.id, row.parts) for row in rows)]).encode()
            case dict(answers):
                return repr([seen.parts for seen in answers.values()]).encode()
        raise AssertionError

    async def read(self) -> T:
        if self.found is None:
            raise self.error or AssertionError
        self.source.unread -= 1
        return self.found


class WorldSink:
    """Takes what comes, or fails before or after having taken it; ``taken`` survives restarts."""

    def __init__(self, world: World, random: Random, batch_size: int) -> None:
        self.world = world
        self.random = random
        self.batch_size = batch_size
        self.taken: list[Mapping[str, Any]] = []
        self.failures: Counter[str] = Counter()

    async def send(self, events: Sequence[Mapping[str, Any]]) -> None:
        await anyio.sleep(self.random.choice([0.0, self.random.uniform(0, 8)]))
        chance = 1.0 if self.world.calm else self.random.random()
        if chance < 0.15:
            self._fail(SendError(SendReason.CONNECTION, "refused"))
        if chance < 0.25:
            self._take_some(events)
        self.taken.extend(events)
        if chance < 0.35:
            self._fail(SendError(SendReason.TIMEOUT, "taken, but the answer was lost"))

    def _take_some(self, events: Sequence[Mapping[str, Any]]) -> None:
        kept = [event for event in events if self.random.random() < 0.5]
        self.taken.extend(kept)
        ids = {event["id"] for event in events} - {event["id"] for event in kept}
        error = SendError(SendReason.SERVER_ERROR, "503")
        self._fail(PartialSendError(dict.fromkeys(ids, error)))

    def _fail(self, error: Exception) -> None:
        self.failures[type(error).__name__] += 1
        raise error


def wall(text: str) -> float:
    """Seconds since the tests' start of a time in an event."""
    return (datetime.fromisoformat(text) - at(0)).total_seconds()
