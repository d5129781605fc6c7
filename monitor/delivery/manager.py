"""All dispatchers, one per sink, each with the sink that it sends to."""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import anyio

from monitor import logs
from monitor.clock import Lease
from monitor.delivery.dispatcher import Dispatcher
from monitor.errors import ConfigurationError, Problem

if TYPE_CHECKING:
    from collections.abc import (
        AsyncIterator,
        Callable,
        Collection,
        Iterable,
        Iterator,
        Mapping,
        Sequence,
    )
    from contextlib import AbstractAsyncContextManager

    from anyio.abc import TaskStatus

    from monitor import config
    from monitor.interfaces import Clock, Random, Sink, Store
    from monitor.metrics import Metrics

FINISH_WITHIN = 3.0
"""Seconds that deliveries under way get to end when the daemon stops."""

OPEN_WITHIN = 30.0
"""Seconds that a sink may take to open."""


@dataclass(frozen=True, slots=True)
class SinkSpec:
    """A sink as configured; ``contents`` differ when the files that it reads do."""

    settings: config.Sink
    contents: bytes = b""


@dataclass(slots=True, eq=False)
class _RunningSink:
    """A sink that was opened. Sent to once it is applied and the one before it is closed."""

    name: str
    spec: SinkSpec
    dispatcher: Dispatcher
    before: _RunningSink | None = None
    applied: bool = False
    decided: anyio.Event = field(default_factory=anyio.Event)
    closed: anyio.Event = field(default_factory=anyio.Event)


@dataclass(frozen=True, slots=True)
class PreparedSinks:
    """The sinks of a configuration, with those that had to be opened for it, or ``failed``."""

    names: Collection[str]
    opened: Sequence[_RunningSink]
    failed: Collection[str] = ()


class DeliveryManager:
    """Turns sinks into running dispatchers; never are there two that send for one name."""

    def __init__(
        self,
        store: Store,
        metrics: Metrics,
        clock: Clock,
        random: Random,
        open_sink: Callable[[str, config.Sink], AbstractAsyncContextManager[Sink]],
        complete: Callable[[Mapping[str, Any]], Mapping[str, Any]] = lambda event: event,
        lease: Lease | None = None,
    ) -> None:
        """``open_sink(name, settings)`` opens a sink, for as long as it is sent to.

        ``complete`` adds to an event what is not stored with it, at each attempt.
        """
        self._store = store
        self._metrics = metrics
        self._clock = clock
        self._random = random
        self._open_sink = open_sink
        self._complete = complete
        self._lease = lease or Lease()
        self._present: dict[str, _RunningSink] = {}
        self._configured: Collection[str] = ()
        # The last one of each name, until it is closed: the next one has to wait for that.
        self._last: dict[str, _RunningSink] = {}
        self._log = logs.get()
        self._tasks = anyio.create_task_group()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run the dispatchers beside the body; then let the last deliveries end."""
        async with self._tasks:
            yield
            for dispatcher in self.dispatchers():
                dispatcher.stop()
            self._tasks.cancel_scope.deadline = anyio.current_time() + FINISH_WITHIN

    @asynccontextmanager
    async def prepare(
        self, sinks: Mapping[str, SinkSpec], only: Collection[str] | None = None
    ) -> AsyncIterator[PreparedSinks]:
        """Open the sinks that are new or differ; close them after the body if not applied.

        If ``only`` some are, those that cannot be are left out.

        Raises:
            ConfigurationError: one of them all cannot be opened.
        """
        opened: list[_RunningSink] = []
        failed: set[str] = set()
        try:
            for name, spec in sinks.items():
                known = name in self._present and self._present[name].spec == spec
                if known or (only is not None and name not in only):
                    continue
                try:
                    opened.append(await self._open(name, spec))
                except Exception as error:
                    if only is None:
                        raise
                    # Another replica may be able to.
                    failed.add(name)
                    problems = getattr(error, "problems", ()) or (type(error).__name__,)
                    for problem in problems:
                        self._log.error(logs.SINK_BROKEN, sink=name, error=str(problem))
            yield PreparedSinks(frozenset(sinks), opened, failed)
        finally:
            for each in opened:
                each.decided.set()

    async def _open(self, name: str, spec: SinkSpec) -> _RunningSink:
        try:
            with anyio.fail_after(OPEN_WITHIN):
                found: _RunningSink
                found = await self._tasks.start(self._run, name, spec, name=f"dispatch {name}")
                return found
        except TimeoutError:
            message = f"could not be opened within {OPEN_WITHIN:.0f} s"
            raise ConfigurationError([Problem("", f"sinks.{name}", message)]) from None

    def apply(self, prepared: PreparedSinks, owned: Collection[str] | None = None) -> None:
        """Send to the prepared sinks from now on; those that are the same go on undisturbed.

        A sink that is replaced or removed finishes the attempts under way and closes. Only sinks
        in ``owned`` are sent to; all of them if it is ``None``.
        """
        ours = prepared.names if owned is None else {*owned}.intersection(prepared.names)
        self._configured = prepared.names
        for name in self._present.keys() - ours:
            self._present.pop(name).dispatcher.stop()
        for each in prepared.opened:
            if each.name not in ours:
                continue  # it is closed again, and was opened to see that it can be
            if each.name in self._present:
                self._present[each.name].dispatcher.stop()
            each.before = self._last.get(each.name)
            self._present[each.name] = self._last[each.name] = each
            self._metrics.expect_sink(each.name)
            each.applied = True

    async def release(self, names: Collection[str]) -> None:
        """Stop sending to some sinks, and return once the attempts under way have ended."""
        gone = [self._present[name] for name in names if name in self._present]
        for each in gone:
            each.dispatcher.stop()
        for each in gone:
            await each.closed.wait()

    def dispatchers(self) -> Iterator[Dispatcher]:
        """Go through the dispatchers of the present sinks; from any thread."""
        for each in list(self._present.values()):
            yield each.dispatcher

    def wake(self, names: Iterable[str]) -> None:
        """Say that there may be something new to send to the sinks of these ``names``."""
        for name in names:
            if name in self._present:
                self._present[name].dispatcher.wake()

    async def _run(
        self, name: str, spec: SinkSpec, *, task_status: TaskStatus[_RunningSink]
    ) -> None:
        """Open a sink, send to it if it is applied, and close it.

        All in one task: a plug-in may hold a cancel scope, which its own task must leave.
        """
        async with AsyncExitStack() as stack:
            sink = await stack.enter_async_context(self._open_sink(name, spec.settings))
            dispatcher = Dispatcher(
                name,
                sink,
                self._store,
                self._metrics,
                self._clock,
                self._random,
                timeout=spec.settings.timeout,
                max_age=spec.settings.max_age,
                concurrency=spec.settings.concurrency,
                complete=self._complete,
            )
            dispatcher.lease = self._lease
            own = _RunningSink(name, spec, dispatcher)
            task_status.started(own)
            try:
                await own.decided.wait()
                if own.applied:
                    if own.before is not None:
                        # With something of the former one under way a job's order might be lost.
                        await own.before.closed.wait()
                        own.before = None
                    await dispatcher.run()
            finally:
                try:
                    await stack.aclose()
                except Exception:  # noqa: BLE001 -- another's code, which has done its work
                    self._log.exception(logs.SINK_BROKEN, sink=name)
                own.closed.set()
        if self._last.get(name) is own:
            del self._last[name]
            if name not in self._present:
                self._metrics.forget_sink(name)
                if name in self._configured:
                    return  # another replica goes on with it
                # The store keeps what is left, for a later sink of this name.
                left = [each for each in await self._store.backlog() if each.sink == name]
                pending, dead = sum(each.pending for each in left), sum(each.dead for each in left)
                self._log.info(logs.SINK_REMOVED, sink=name, pending=pending, dead=dead)
