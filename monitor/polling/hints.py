"""Hints: EventBridge events that say which job to poll next.

An event is never a state. It may be late, repeated, out of order or forged: all it can bring about
is a poll. Its message is deleted once the answer of that poll is durable, so a crash loses nothing.
"""

from __future__ import annotations

import re
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import anyio
import orjson

from monitor import logs, pacing
from monitor.errors import PollError, PollReason
from monitor.model import Job
from monitor.polling.scheduled_job import HintOutcome
from monitor.polling.source_client import facts

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence

    from monitor.config import Hint, Settings
    from monitor.interfaces import Clock, HintMessage, HintQueue, Random
    from monitor.metrics import Metrics
    from monitor.polling.manager import PollManager
    from monitor.sources.job_type import JobType

LARGEST = 256 * 1024
"""Bytes of an event; EventBridge sends no larger one."""

MOST_WAITING = 500
"""Messages of one queue whose polls may be awaited at once; others stay in it until then."""

WAITS_FOR = 60.0
"""Seconds for which a poll is awaited; then the message goes back to the queue."""

FIRST_RETURN, LAST_RETURN = 15, 900
"""Seconds until a message comes back whose poll had no answer: first, and at most."""

LONGEST_PAUSE = 60.0
"""Seconds between two attempts to read a queue, however long it has failed."""

TRUSTED_FOR = 60.0
"""Seconds without an answer from a queue after which sweeps no longer rely on it."""

_ROLE_ACCOUNT = re.compile(r"arn:[a-z-]+:iam::([0-9]{12}):role/.+")


@dataclass(frozen=True, slots=True)
class HintedJob:
    """A job that an event names, and the parent that it is listed for, if the event says so."""

    job: Job
    parent: str | None


class HintMatcher:
    """Finds the jobs that an event concerns, by the event rules of the watched job types."""

    def __init__(self, settings: Settings, types: Mapping[str, JobType]) -> None:
        """Take a configuration; only its watches count."""
        ids = {
            name: found[1]
            for name, account in settings.accounts.items()
            if (found := _ROLE_ACCOUNT.fullmatch(account.role_arn or ""))
        }
        self._places: dict[tuple[str, str], dict[tuple[str, str, str], JobType]] = {}
        for watch in settings.watches:
            kind = types[watch.type]
            if kind.events is None:
                continue
            places = self._places.setdefault((kind.events.source, kind.events.detail_type), {})
            for region in [kind.region] if kind.region else watch.regions:
                places[kind.name, watch.account, region] = kind
        self._account_ids = ids

    def jobs(self, event: Mapping[str, Any]) -> Sequence[HintedJob]:
        """Return the jobs that an event, as ``parse_event`` reads it, may be about.

        The account counts only where the configuration says which one an alias stands for: with
        other credentials it cannot be known, and the poll will tell.
        """
        places = self._places.get((event["source"], event["detail-type"]), {})
        found: list[HintedJob] = []
        for (name, account, region), kind in places.items():
            known = self._account_ids.get(account)
            if known is not None and event.get("account") != known:
                continue
            # A global type has one region for its requests, and its events may have any.
            if kind.region is None and event.get("region") != region:
                continue
            if (read := _read(kind, event)) is not None:
                job_id, parent = read
                found.append(HintedJob(Job(name, account, region, job_id), parent))
        return found


def _read(kind: JobType, event: Mapping[str, Any]) -> tuple[str, str | None] | None:
    """Read the id of a job and its parent, if it has one, from an event."""
    if kind.events is None:
        return None
    parts = {name: read(event) for name, read in kind.events.id.items()}
    job_id = kind.join(parts)
    parent = parts.get(kind.parent) if kind.parent else None
    return None if job_id is None else (job_id, parent if isinstance(parent, str) else None)


def parse_event(body: str) -> Mapping[str, Any] | None:
    """Read a message; ``None`` if it is not an event."""
    if len(body) > LARGEST:
        return None
    try:
        event = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    wanted = ("source", "detail-type", "account", "region")
    is_event = isinstance(event, dict) and all(isinstance(event.get(each), str) for each in wanted)
    return event if is_event else None


def _trouble(error: Exception) -> PollError:
    """Return the failure that an error means; one that no queue should raise is our fault."""
    if isinstance(error, PollError):
        return error
    return PollError(PollReason.INTERNAL, type(error).__name__)


class HintReader:
    """Reads one queue: a task for the queue, and one for each message until it is settled."""

    def __init__(
        self,
        name: str,
        queue: HintQueue[Any],
        polls: PollManager,
        matcher: Callable[[], HintMatcher],
        metrics: Metrics,
        clock: Clock,
        random: Random,
        trust: Callable[[bool], None] = lambda _trusted: None,
    ) -> None:
        """``trust`` is called when the queue becomes reliable, and when it no longer is."""
        self.name = name
        self._queue = queue
        self._polls = polls
        self._matcher = matcher
        self._metrics = metrics
        self._clock = clock
        self._random = random
        self._trust = trust
        self._room = anyio.Semaphore(MOST_WAITING)
        self._log = logs.get(queue=name)
        self._scope = anyio.CancelScope()
        self._keeps_failing = False

    def stop(self) -> None:
        """Stop reading; messages that are not settled come back to whoever reads next."""
        self._scope.cancel()

    async def run(self) -> None:
        """Read until stopped."""
        failures, answered_at = 0, self._clock.monotonic()
        up = self._metrics.hint_queue_up.labels(self.name)
        with self._scope:
            async with anyio.create_task_group() as tasks:
                while True:
                    # Never more than there is room for: what is taken is hidden from others.
                    async with self._room:
                        pass
                    try:
                        messages = await self._queue.receive()
                    except Exception as error:  # noqa: BLE001 -- no queue may end the daemon
                        up.set(0)
                        trouble = _trouble(error)
                        if not failures:
                            self._log.warning(logs.HINTS_FAILING, **facts(trouble))
                        if self._clock.monotonic() - answered_at >= TRUSTED_FOR:
                            self._trust(False)  # noqa: FBT003 -- what it says
                        delay = pacing.retry_delay(
                            trouble.reason, failures, self._random, retry_after=trouble.retry_after
                        )
                        failures += 1
                        await anyio.sleep(min(max(delay, 1.0), LONGEST_PAUSE))
                        continue
                    if failures:
                        self._log.info(logs.HINTS_RECOVERED)
                    failures, answered_at = 0, self._clock.monotonic()
                    up.set(1)
                    self._trust(True)  # noqa: FBT003
                    for message in messages:
                        await self._room.acquire()
                        tasks.start_soon(self._settle, message, name=f"hint {self.name}")
                    # An emulator may answer at once however long it was asked to wait.
                    await anyio.sleep(pacing.TICK if messages else 10 * pacing.TICK)

    async def _settle(self, message: HintMessage) -> None:
        """Have the jobs of a message polled, and delete it once that is durable."""
        try:
            try:
                outcome = await self.outcome_of(message.body)
            except Exception:  # noqa: BLE001 -- no message may end the daemon
                self._log.exception(logs.HINT_BROKEN)
                outcome = HintOutcome.UNREADABLE
            self._metrics.hints.labels(self.name, outcome).inc()
            if outcome is HintOutcome.FAILED:
                doubled = FIRST_RETURN * 2 ** min(message.receives - 1, 10)
                await self._queue.release(message, min(doubled, LAST_RETURN))
            else:
                await self._queue.delete(message)
            self._keeps_failing = False
        except Exception as error:  # noqa: BLE001 -- it comes back, and costs one more poll
            if not self._keeps_failing:
                self._log.warning(logs.HINTS_FAILING, **facts(_trouble(error)))
            self._keeps_failing = True
        finally:
            self._room.release()

    async def outcome_of(self, body: str) -> HintOutcome:
        """Have the jobs that a message names polled; return what came of it."""
        event = parse_event(body)
        if event is None:
            return HintOutcome.UNREADABLE
        named = self._matcher().jobs(event)
        for one in named:
            await self._polls.recall(one.job)
        found = [self._polls.hint(one.job, one.parent) for one in named]
        tickets = [ticket for ticket in found if ticket is not None]
        with anyio.move_on_after(WAITS_FOR) as waiting:
            outcomes = [await ticket.settled() for ticket in tickets]
        if waiting.cancelled_caught:
            for one in named:
                # However many ids somebody makes up, few of them wait at a time.
                self._polls.withdraw(one.job)
            return HintOutcome.FAILED
        if HintOutcome.FAILED in outcomes:
            return HintOutcome.FAILED
        return HintOutcome.USED if HintOutcome.USED in outcomes else HintOutcome.USELESS


class HintManager:
    """Reads the queues of a configuration, and no others."""

    def __init__(
        self,
        polls: PollManager,
        metrics: Metrics,
        clock: Clock,
        random: Random,
        queue_of: Callable[[Hint], tuple[str, str, HintQueue[Any]]],
    ) -> None:
        """``queue_of`` opens a queue, and returns its name and region with it."""
        self._polls = polls
        self._metrics = metrics
        self._clock = clock
        self._random = random
        self._queue_of = queue_of
        self._matcher: HintMatcher | None = None
        self._readers: dict[Hint, HintReader] = {}
        self._regions: dict[Hint, str] = {}
        self._trusted: set[Hint] = set()
        self._tasks = anyio.create_task_group()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Read beside the body; then stop at once, as every message comes back."""
        async with self._tasks:
            yield
            self._tasks.cancel_scope.cancel()

    def apply(self, settings: Settings, types: Mapping[str, JobType]) -> None:
        """Read the queues of ``settings`` from now on, for its watches."""
        self._matcher = HintMatcher(settings, types)
        for hint in self._readers.keys() - set(settings.hints):
            self._readers.pop(hint).stop()
            self._trust(hint, trusted=False)
        for hint in settings.hints:
            if hint not in self._readers:
                self._start(hint)

    def _start(self, hint: Hint) -> None:
        name, self._regions[hint], queue = self._queue_of(hint)
        self._metrics.expect_hints(name)
        shared = (self._metrics, self._clock, self._random)

        def trust(trusted: bool) -> None:  # noqa: FBT001 -- what it is about
            if self._readers.get(hint) is reader:
                self._trust(hint, trusted=trusted)

        reader = HintReader(name, queue, self._polls, self._match, *shared, trust)
        self._readers[hint] = reader
        self._tasks.start_soon(self._read, reader, name=f"hints {name}")

    def _trust(self, hint: Hint, *, trusted: bool) -> None:
        """Let polls rely on a queue that can be read, or no longer."""
        if trusted is (hint in self._trusted):
            return
        self._trusted ^= {hint}
        places = frozenset((each.account, self._regions[each]) for each in self._trusted)
        self._polls.rely_on_hints(places)

    def _match(self) -> HintMatcher:
        if self._matcher is None:
            raise ValueError("no configuration has been applied")
        return self._matcher

    async def _read(self, reader: HintReader) -> None:
        await reader.run()
        if all(each.name != reader.name for each in self._readers.values()):
            self._metrics.hint_queue_up.remove(reader.name)
            self._metrics.hints.remove_by_labels({"queue": reader.name})
