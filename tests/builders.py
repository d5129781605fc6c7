"""Values and scripted plug-ins for the tests of the core; time in them is the event loop's."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import anyio
import anyio.lowlevel
import pytest

from monitor.errors import PollError, PollReason
from monitor.interfaces import JobStatus
from monitor.model import (
    Ending,
    Job,
    ListingRequest,
    Observation,
    Page,
    ParentPage,
    Phase,
    Severity,
    Snapshot,
    SourceKey,
    Verdict,
)
from monitor.recording.diff import TrackingOptions
from monitor.stores import sqlite, sqlite_threads
from monitor.stores.connect import open_database
from monitor.stores.store import SqlStore, open_store
from tests.contracts.sink_kit import check

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from monitor.delivery.dispatcher import Dispatcher
    from monitor.polling.poller import Poller

VIRTUAL = pytest.mark.looptime(noop_cycles=1)
"""Loop time moves as soon as nothing is ready: whatever works beside the loop holds it."""

START = datetime(2026, 3, 1, 12, tzinfo=UTC)
SOURCE = SourceKey("panorama", "prod", "us-east-1")

PHASES: Mapping[str, Phase] = {
    "PENDING": Phase.WAITING,
    "RUNNING": Phase.RUNNING,
    "SUCCEEDED": Phase.SUCCEEDED,
    "RETURNING": Phase.SUCCEEDED,
    "FAILED": Phase.FAILED,
    "CANCELED": Phase.CANCELED,
    "EXPIRED": Phase.EXPIRED,
}
SEVERITIES = {
    Phase.FAILED: Severity.ERROR,
    Phase.EXPIRED: Severity.ERROR,
    Phase.CANCELED: Severity.WARNING,
}


def at(seconds: float) -> datetime:
    """The wall time ``seconds`` after the tests' start."""
    return START + timedelta(seconds=seconds)


def job(job_id: str = "j-1") -> Job:
    return Job("panorama.package-import", "prod", "us-east-1", job_id)


class VirtualClock:
    """Wall time that goes with the event loop's; ``jump`` is how far somebody has set it."""

    def __init__(self) -> None:
        self.jump = 0.0

    def now(self) -> datetime:
        return at(self.monotonic() + self.jump)

    def monotonic(self) -> float:
        # As ``anyio.current_time()``, at a third of its cost: this is asked for very often.
        return asyncio.get_running_loop().time()


@dataclass(frozen=True)
class FakeListing:
    """A listing of a kind of job."""

    operation: str
    listed: str
    lists_states: bool = True
    parent: str | None = None
    windowed: bool = False


@dataclass(frozen=True)
class FakeType:
    """A kind of job whose ``Status`` decides; ``RETURNING`` has ended, but may still change."""

    name: str = "panorama.package-import"
    service: str = "panorama"
    describe_operation: str = "DescribePackageImportJob"
    listed: str = "ListPackageImportJobs"
    parent: str | None = None
    parent_operation: str | None = None
    at_once: int = 1
    windowed: bool = False
    grace: float = 3600.0
    grace_interval: float = 600.0
    lists_states: bool = True
    reopens: bool = False
    irrevocable: frozenset[Phase] = frozenset()
    quiet: frozenset[str] = frozenset()

    @property
    def listings(self) -> Sequence[FakeListing]:
        operation = "ListPackageImportJobs"
        return (FakeListing(operation, self.listed, self.lists_states, self.parent, self.windowed),)

    @property
    def list_operations(self) -> Sequence[str]:
        return ("ListPackageImportJobs",)

    def request_key(self, job_id: str) -> str:
        return job_id.partition("/")[0] if "/" in job_id else ""

    def judge(self, parts: Mapping[str, str | None], before: Phase | None) -> Verdict | None:
        phase = PHASES.get(parts.get("Status") or "", Phase.UNKNOWN)
        if before in self.irrevocable and phase is not before:
            return None
        state = "/".join(value for value in parts.values() if value)
        ending = Ending.FINAL if phase.terminal and not self.reopens else Ending.OPEN
        if parts.get("Status") == "RETURNING":
            ending = Ending.GRACE
        severity = SEVERITIES.get(phase, Severity.INFO)
        return Verdict(state, phase, severity, ending, phase is not Phase.UNKNOWN)

    def unwatched(self) -> frozenset[str]:
        return self.quiet


TYPE = FakeType()


def following(
    job_type: FakeType = TYPE,
    stuck_after: float | None = None,
    labels: Mapping[str, str] | None = None,
    watch: str = "w",
    *,
    learned: bool = False,
) -> TrackingOptions:
    return TrackingOptions(job_type, labels or {}, stuck_after, watch, learned)


def observation(
    state: str | None = "PENDING",
    *,
    of: Job | None = None,
    asked: float = 0.0,
    seen: float | None = None,
    updated: float | None = None,
    **more: Any,
) -> Observation:
    """A look at ``of``, asked and answered so many seconds after the start."""
    return Observation(
        job=of or job(),
        asked_at=at(asked),
        seen_at=at(asked + 0.1 if seen is None else seen),
        parts=more.pop("parts", {"Status": state}),
        fields=more.pop("fields", {}),
        updated_at=None if updated is None else at(updated),
        **more,
    )


def snapshot(state: str = "PENDING", **more: Any) -> Snapshot:
    """A job as first seen at the start."""
    verdict = TYPE.judge({"Status": state}, None)
    assert verdict is not None
    values: dict[str, Any] = {
        "job": job(),
        "parts": {"Status": state},
        "state": verdict.state,
        "phase": verdict.phase,
        "severity": verdict.severity,
        "ending": verdict.ending,
        "fields": {},
        "reason": None,
        "updated_at": None,
        "sequence": 1,
        "first_seen_at": START,
        "changed_at": START,
        "looked_at": START,
    }
    return Snapshot(**values | more)


def followed_job(known: Snapshot | None = None, **more: Any) -> JobStatus:
    """A job that was polled just now; ``known`` is its snapshot."""
    values: dict[str, Any] = {
        "job": known.job if known else job(),
        "watch": "w",
        "labels": {},
        "snapshot": known or snapshot(),
        "interval": 30.0,
        "polled_at": START,
        "at": START,
        "next_in": 30.0,
        "failing": None,
        "finished": False,
        "blind": False,
    }
    return JobStatus(**values | more)


@dataclass
class Answer:
    """What a scripted source tells of one job."""

    state: str
    fields: Mapping[str, Any] = field(default_factory=dict)
    updated_at: datetime | None = None
    created_at: datetime | None = None


class ScriptedSource:
    """Answers as it is told: ``answers`` by job id, ``trouble`` for every question.

    ``looks`` and ``pages`` are what was asked, with the time. ``listing`` makes the
    pages; by default they show ``answers`` in order, ``page_size`` rows each.
    """

    prepares = False
    """Whether requests can be sent that were prepared before."""

    def __init__(self, clock: VirtualClock, job_type: FakeType = TYPE) -> None:
        self.clock = clock
        self.job_type = job_type
        self.answers: dict[str, str | Answer | BaseException] = {}
        self.trouble: BaseException | None = None
        self.page_trouble: BaseException | None = None
        self.latency = 0.0
        self.page_latency = 0.0
        self.page_size = 25
        self.looks: list[tuple[float, str]] = []
        self.pages: list[tuple[float, str | None]] = []
        self.batches: list[list[str]] = []
        self.asked: list[ListingRequest] = []
        self.parent_names: list[str] = []
        self.parent_pages: list[tuple[float, str | None]] = []
        self.parent_trouble: BaseException | None = None
        self.under_way = 0
        self.most_under_way = 0
        self.listing: Callable[[str | None], Page] = self.slice
        self.prepared = 0
        self.page_reads = 0
        self.tasks: list[asyncio.Future[None]] = []
        self.reads = 0

    async def describe(self, wanted: Job) -> Observation:
        asked_at = self.clock.now()
        self.looks.append((self.clock.monotonic(), wanted.id))
        missing = PollError(PollReason.MISSING, "ResourceNotFound")
        with self._under_way():
            await anyio.sleep(self.latency)
        answer = self.trouble or self.answers.get(wanted.id, missing)
        if isinstance(answer, BaseException):
            raise answer
        return self._observation(wanted, answer, asked_at)

    async def describe_many(self, jobs: Sequence[Job]) -> Mapping[Job, Observation | PollError]:
        asked_at = self.clock.now()
        self.batches.append([one.id for one in jobs])
        await anyio.sleep(self.latency)
        if self.trouble:
            raise self.trouble
        found: dict[Job, Observation | PollError] = {}
        for one in jobs:
            self.looks.append((self.clock.monotonic(), one.id))
            answer = self.answers.get(one.id, PollError(PollReason.MISSING, "Absent"))
            if isinstance(answer, PollError) and answer.reason is PollReason.CONFIG:
                raise answer  # one bad id spoils the request for all
            if isinstance(answer, PollError):
                found[one] = answer
            elif not isinstance(answer, BaseException):
                found[one] = self._observation(one, answer, asked_at)
        return found

    async def prepare(self, jobs: Sequence[Job]) -> ScriptedPoll | None:
        return ScriptedPoll(self, jobs) if self.prepares else None

    async def prepare_page(self, token: str | None, of: ListingRequest) -> ScriptedPage | None:
        return ScriptedPage(self, token, of) if self.prepares else None

    async def parents(self, token: str | None) -> ParentPage:
        self.parent_pages.append((self.clock.monotonic(), token))
        if trouble := self.trouble or self.parent_trouble:
            raise trouble
        return ParentPage(tuple(self.parent_names), None)

    async def page(
        self,
        token: str | None,
        of: ListingRequest = ListingRequest(),  # noqa: B008 -- immutable
    ) -> Page:
        self.asked.append(of)
        if of.parent is not None:
            return await self._page_of(of.parent)
        self.pages.append((self.clock.monotonic(), token))
        await anyio.sleep(self.page_latency)
        if trouble := self.trouble or self.page_trouble:
            raise trouble
        return self.listing(token)

    async def _page_of(self, parent: str) -> Page:
        """Show the jobs whose id begins with the name of a parent."""
        self.pages.append((self.clock.monotonic(), parent))
        await anyio.sleep(self.page_latency)
        if trouble := self.trouble or self.page_trouble:
            raise trouble
        rows = self.rows(*(one for one in self.answers if one.startswith(f"{parent}/")))
        return Page(tuple(replace(row, parent=parent) for row in rows), None)

    def slice(self, token: str | None) -> Page:
        start = int(token or 0)
        ids = list(self.answers)[start : start + self.page_size]
        more = start + self.page_size < len(self.answers)
        return Page(self.rows(*ids), str(start + self.page_size) if more else None)

    def rows(self, *ids: str) -> tuple[Observation, ...]:
        answers = ((job_id, self.answers[job_id]) for job_id in ids)
        return tuple(
            self._observation(job(job_id), answer, self.clock.now())
            for job_id, answer in answers
            if not isinstance(answer, BaseException)
        )

    def asked_for(self, job_id: str) -> list[float]:
        """When ``job_id`` was looked at."""
        return [moment for moment, asked in self.looks if asked == job_id]

    @contextmanager
    def _under_way(self) -> Iterator[None]:
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            yield
        finally:
            self.under_way -= 1

    def _observation(self, of: Job, answer: str | Answer, asked_at: datetime) -> Observation:
        told = Answer(answer) if isinstance(answer, str) else answer
        return Observation(
            job=of,
            asked_at=asked_at,
            seen_at=self.clock.now(),
            parts={"Status": told.state},
            fields=told.fields,
            updated_at=told.updated_at,
            created_at=told.created_at,
        )


class ScriptedPoll:
    """A prepared describe of a scripted source; counted there like any other.

    ``reads`` of the source counts the answers that were read.
    """

    def __init__(self, source: ScriptedSource, jobs: Sequence[Job]) -> None:
        self.source, self.jobs = source, jobs
        source.prepared += 1

    def send(self, jobs: Sequence[Job], done: Callable[[ScriptedResponse], None]) -> bool:
        assert list(jobs) == list(self.jobs)
        source, asked_at = self.source, self.source.clock.now()
        single = source.job_type.at_once == 1
        if single:
            source.looks.append((source.clock.monotonic(), self.jobs[0].id))
            source.under_way += 1
            source.most_under_way = max(source.most_under_way, source.under_way)
        else:
            source.batches.append([one.id for one in self.jobs])

        def arrive() -> None:
            source.under_way -= single
            answers = {one: source.answers.get(one.id) for one in self.jobs}
            if not single and not source.trouble:
                source.looks += [(source.clock.monotonic(), one.id) for one in self.jobs]
            done(ScriptedResponse(source, answers, source.trouble, asked_at))

        asyncio.get_running_loop().call_later(source.latency, arrive)
        return True


@dataclass
class ScriptedResponse:
    """What a scripted source answers to a prepared poll."""

    source: ScriptedSource
    answers: Mapping[Job, Any]
    trouble: BaseException | None
    asked_at: datetime

    @property
    def digest(self) -> bytes | None:
        good = not self.trouble and all(
            isinstance(answer, str | Answer) for answer in self.answers.values()
        )
        return repr([*self.answers.values()]).encode() if good else None

    async def read(self) -> Mapping[Job, Observation | PollError]:
        self.source.reads += 1
        if self.trouble:
            raise self.trouble
        found: dict[Job, Observation | PollError] = {}
        for one, answer in self.answers.items():
            given = PollError(PollReason.MISSING, "Absent") if answer is None else answer
            if isinstance(given, PollError):
                if given.reason is PollReason.CONFIG and len(self.answers) > 1:
                    raise given
                found[one] = given
            elif isinstance(given, BaseException):
                raise given
            else:
                found[one] = self.source._observation(one, given, self.asked_at)
        return found


@dataclass
class ScriptedPage:
    """A prepared page of a scripted source; ``page_reads`` counts those that were read."""

    source: ScriptedSource
    token: str | None
    of: ListingRequest
    answer: Page | BaseException | None = None

    def send(self, done: Callable[[ScriptedPage], None]) -> bool:
        async def ask() -> None:
            try:
                answer: Page | BaseException = await self.source.page(self.token, self.of)
            except Exception as error:  # noqa: BLE001 -- whatever the test wants
                answer = error
            done(replace(self, answer=answer))

        self.source.tasks.append(asyncio.ensure_future(ask()))
        return True

    @property
    def digest(self) -> bytes | None:
        if not isinstance(self.answer, Page):
            return None
        rows = [replace(row, asked_at=START, seen_at=START) for row in self.answer.rows]
        return repr(replace(self.answer, rows=tuple(rows))).encode()

    async def read(self) -> Page:
        self.source.page_reads += 1
        if isinstance(self.answer, Page):
            return self.answer
        assert self.answer is not None
        raise self.answer


async def take_all(_events: Sequence[Mapping[str, Any]]) -> None:
    """Behave as a receiver that takes everything."""


def _check(events: Sequence[Mapping[str, Any]]) -> None:
    try:
        for event in events:
            check(event)
    except Exception as error:  # noqa: BLE001 -- whatever the schema or a library says
        pytest.fail(f"a sink was given what is no event: {error}")


class ScriptedSink:
    """Behaves as it is told; ``attempts`` is what was sent when, ``taken`` what it took.

    An event that is none fails the test, past every net for the faults of sinks.
    ``checks`` can be turned off where something else is measured.
    """

    def __init__(
        self,
        behave: Callable[[Sequence[Mapping[str, Any]]], Awaitable[None]] = take_all,
        batch_size: int = 1,
        *,
        checks: bool = True,
    ) -> None:
        self.behave = behave
        self.checks = checks
        self.batch_size = batch_size
        self.attempts: list[tuple[float, list[Mapping[str, Any]]]] = []
        self.taken: list[Mapping[str, Any]] = []

    async def send(self, events: Sequence[Mapping[str, Any]]) -> None:
        self.attempts.append((anyio.current_time(), list(events)))
        if self.checks:
            _check(events)
        await self.behave(events)
        self.taken.extend(events)


async def _in_this_thread(_: object, work: Callable[[], Any], _interrupt: object = None) -> Any:
    """Do the work of a connection to SQLite here.

    The loop stands still meanwhile, and virtual time with it; the answer comes in the loop's
    next round. So one random seed makes one world, however fast the machine is.
    """
    result = work()
    await anyio.lowlevel.checkpoint()
    return result


_EMPTY: list[bytes] = []
"""The file of a store without jobs, once one was made."""


async def _at_once(function: Callable[..., Any], *values: Any) -> Any:
    """Do what is for another thread here, so that the loop stands still meanwhile."""
    return function(*values)


@asynccontextmanager
async def ledger(directory: Path, clock: VirtualClock) -> AsyncIterator[SqlStore]:
    """A real SQLite store; while its threads work, virtual time stands still.

    Nothing waits for the disk: what crashes here is never the machine. A new one is a copy: to make
    its tables takes half of the time of a short test.
    """
    beside = SimpleNamespace(run_sync=_at_once)
    pragmas = (*sqlite._PRAGMAS, "PRAGMA synchronous = OFF")
    with (
        patch.object(sqlite, "_PRAGMAS", pragmas),
        patch.object(sqlite_threads.WorkerThread, "run", _in_this_thread),
        patch.object(sqlite, "to_thread", beside),
    ):
        file = directory / "state.db"
        if not file.exists():
            if not _EMPTY:
                async with open_database(f"sqlite://{file}"):
                    pass
                _EMPTY.append(file.read_bytes())
            else:
                file.write_bytes(_EMPTY[0])
        async with open_store(f"sqlite://{file}", clock) as store:
            yield store


@asynccontextmanager
async def running(*loops: Poller | Dispatcher) -> AsyncIterator[None]:
    """Run ``loops`` beside the body, and stop them after it."""
    async with anyio.create_task_group() as tasks:
        for one in loops:
            tasks.start_soon(one.run)
        yield
        for one in loops:
            one.stop()


async def until(condition: Callable[[], object], within: float = 600.0) -> None:
    """Wait for ``condition``, looking every 50 ms of the loop's time."""
    with anyio.fail_after(within):
        while not condition():  # noqa: ASYNC110 -- loop time, which costs nothing
            await anyio.sleep(0.05)
