"""What other replicas own: shown from what they have reported to the store, and asked of them.

They talk through the database, by LISTEN and NOTIFY. A message may be lost, so each question has a
time limit, and nothing relies on an answer: what a hint asks for comes back to its queue.
"""

from __future__ import annotations

from contextlib import asynccontextmanager, suppress
from datetime import datetime
from itertools import count
from typing import TYPE_CHECKING, Any, NoReturn

import anyio
import orjson
from pydantic import ValidationError

from monitor.errors import StoreError
from monitor.model import Job
from monitor.polling.scheduled_job import HintOutcome, HintTicket
from monitor.runtime import sharing
from monitor.runtime.remote_jobs import RemoteJobs
from monitor.web.api.schemas import SourceView
from monitor.web.interfaces import SinkAttempts

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence

    from anyio.abc import TaskGroup

    from monitor.interfaces import Clock
    from monitor.model import Replica
    from monitor.polling.manager import PollManager
    from monitor.runtime.reconfigure import ConfigState
    from monitor.stores.replicas import ReplicaStore
    from monitor.stores.store import SqlStore

REFRESH = 5.0
"""Seconds between two readings of what other replicas have reported."""
REFRESH_JOBS = 60.0
"""Seconds between two readings of when their jobs were polled."""
ANSWER_WITHIN = 55.0
"""Seconds that a replica has to answer; a hint waits a little longer."""

_OUTCOMES = frozenset(HintOutcome)
_ATTEMPT_TIMES = ("last_delivered_at", "last_error_at", "failing_since")


class OtherReplicas:
    """The others, as far as this replica knows."""

    def __init__(
        self,
        store: SqlStore,
        replica: ReplicaStore,
        polls: PollManager,
        state: ConfigState,
        clock: Clock,
        own_name: str,
    ) -> None:
        """Know nothing of them; ``run`` reads what they report."""
        self.own_name = own_name
        """The name of this replica."""
        self.jobs = RemoteJobs(store, polls, clock)
        """The jobs that they poll."""
        self._replica = replica
        self._polls = polls
        self._state = state
        self._clock = clock
        self._states: Mapping[str, tuple[str, str]] = {}
        self._members: Callable[[], Iterable[Replica]] = lambda: ()
        self._asked: dict[int, HintTicket] = {}
        self._numbers = count(1)
        self._tasks: TaskGroup | None = None
        self._changed = anyio.Event()
        self.note_wait: Callable[[str], None] = lambda _watch: None
        """Called with a watch that somebody waits for at another replica."""
        polls.elsewhere = self.jobs.job
        polls.hint_elsewhere = self.hint

    def note_share(self) -> None:
        """Read again what others own: it is something else than before."""
        self._changed.set()

    def know(self, members: Callable[[], Iterable[Replica]]) -> None:
        """Take a function that returns all replicas."""
        self._members = members

    async def run(self) -> NoReturn:
        """Read what others report, again and again, until cancelled."""
        jobs_at = float("-inf")
        async with anyio.create_task_group() as tasks, self._asking(tasks):
            while True:
                changed = self._changed.is_set()
                self._changed = anyio.Event() if changed else self._changed
                with suppress(StoreError):
                    self._states = await self._replica.states()
                    if changed or self._clock.monotonic() - jobs_at >= REFRESH_JOBS:
                        jobs_at = self._clock.monotonic()
                        await self.jobs.refresh()
                with anyio.move_on_after(REFRESH):
                    await self._changed.wait()
        raise AssertionError("it runs until it is cancelled")

    @asynccontextmanager
    async def _asking(self, tasks: TaskGroup) -> AsyncIterator[None]:
        """Let others be asked beside the body."""
        self._tasks = tasks
        try:
            yield
        finally:
            self._tasks = None

    # What they own

    def sources(self) -> Sequence[SourceView]:
        """Return every source that is watched, and that another replica polls or should poll."""
        names = {one.id: one.name for one in self._members()}
        owned = self._state.owned.sources if self._state.owned else {}
        found = []
        for key in self._polls.sources():
            if key in owned:
                continue
            replica, text = self._states.get(key, ("", ""))
            view = _source_view(key, text)
            found.append(view.model_copy(update={"replica": names.get(replica)}))
        return found

    def sink(self, name: str, kind: str) -> SinkAttempts:
        """Return a sink that another replica delivers to, or should."""
        names = {one.id: one.name for one in self._members()}
        replica, text = self._states.get(sharing.SINK + name, ("", ""))
        reported = (orjson.loads(text).get("view") if text else None) or {}
        times = {field: _time(reported.get(field)) for field in _ATTEMPT_TIMES}
        return SinkAttempts(
            name=name,
            type=kind,
            last_error=reported.get("last_error"),
            replica=names.get(replica),
            **times,
        )

    # What they are asked

    def hint(self, job: Job, parent: str | None = None) -> HintTicket | None:
        """Have the owner of a job poll it soon; the ticket tells what came of it."""
        if self._tasks is None:
            return None
        number, ticket = next(self._numbers), HintTicket()
        self._asked[number] = ticket
        about = {"hint": [job.type, job.account, job.region, job.id], "parent": parent}
        self._tasks.start_soon(self._ask, number, about)
        return ticket

    def awaited(self, key: str, seconds: float) -> None:
        """Tell the owner of a job that somebody waits for it."""
        if self._tasks is not None:
            self._tasks.start_soon(self._send, {"await": key, "seconds": seconds})

    def waited(self, watch: str) -> None:
        """Tell all others that somebody waits for a job of a watch, which must not expire."""
        if self._tasks is not None:
            self._tasks.start_soon(self._send, {"waited": watch})

    async def _ask(self, number: int, about: Mapping[str, Any]) -> None:
        await self._send({**about, "ask": number})
        await anyio.sleep(ANSWER_WITHIN)
        if ticket := self._asked.pop(number, None):
            ticket.settle(HintOutcome.FAILED)

    async def _send(self, message: Mapping[str, Any]) -> None:
        with suppress(StoreError):  # whoever asked finds that there is no answer
            await self._replica.send(message)

    def receive(self, message: Mapping[str, Any]) -> None:
        """Do what another replica asks for, or take its answer."""
        if self._tasks is None or message["from"] == self._replica.id:
            return
        match message:
            case {"answer": int(number), "to": self._replica.id, "outcome": str(outcome)}:
                if outcome in _OUTCOMES and (ticket := self._asked.pop(number, None)):
                    ticket.settle(HintOutcome(outcome))
            case {"waited": str(watch)}:
                self.note_wait(watch)
            case {"await": str(key), "seconds": float(seconds)}:
                self._polls.awaited(key, seconds)
            case {
                "hint": [str(), str(), str(), str()] as parts,
                "parent": str() | None as parent,
                "ask": int(number),
                "from": str(asker),
            }:
                self._tasks.start_soon(self._answer, Job(*parts), parent, number, asker)

    async def _answer(self, job: Job, parent: str | None, number: int, asker: str) -> None:
        if self._polls.target_elsewhere(job, parent) is not None:
            return  # it is another one that is asked
        await self._polls.recall(job)
        ticket = self._polls.hint(job, parent)
        outcome = HintOutcome.USELESS
        if ticket is not None:
            outcome = HintOutcome.FAILED
            with anyio.move_on_after(ANSWER_WITHIN - REFRESH) as waiting:
                outcome = await ticket.settled()
            if waiting.cancelled_caught:
                self._polls.withdraw(job)
        await self._send({"answer": number, "to": asker, "outcome": outcome.value})


def _source_view(key: str, text: str) -> SourceView:
    """Return what the owner of a source has reported, or that nothing is known."""
    reported = orjson.loads(text).get("view") if text else None
    if reported:
        with suppress(ValidationError):  # of another version
            return SourceView.model_validate(reported)
    service, account, region = key.removeprefix(sharing.SOURCE).split("/", 2)
    return SourceView(
        service=service,
        account=account,
        region=region,
        available=True,
        up=None,
        last_success_at=None,
        last_failure_at=None,
        last_failure=None,
        last_failure_code=None,
        last_failure_hint=None,
        rate=0.0,
        configured_rate=0.0,
        request_rate=0.0,
        jobs=0,
        listings=[],
    )


def _time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None
