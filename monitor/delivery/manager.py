"""All dispatchers, one per sink, each with the sink that it sends to."""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import anyio

from monitor import logs
from monitor.delivery.dispatcher import Dispatcher
from monitor.errors import ConfigurationError, Problem

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
    from contextlib import AbstractAsyncContextManager

    from anyio.abc import TaskGroup, TaskStatus

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
class _Post:
    """One sink that was opened. Sent to once it is placed and the one before it is closed."""

    name: str
    wanted: SinkSpec
    dispatcher: Dispatcher
    before: _Post | None = None
    placed: bool = False
    decided: anyio.Event = field(default_factory=anyio.Event)
    closed: anyio.Event = field(default_factory=anyio.Event)


class DeliveryManager:
    """Turns sinks into running dispatchers; never are there two that send for one name."""

    def __init__(
        self,
        store: Store,
        metrics: Metrics,
        clock: Clock,
        random: Random,
        open_sink: Callable[[str, config.Sink], AbstractAsyncContextManager[Sink]],
    ) -> None:
        """``open_sink(name, settings)`` opens a sink, for as long as it is sent to."""
        self._store = store
        self._metrics = metrics
        self._clock = clock
        self._random = random
        self._open_sink = open_sink
        self._posts: dict[str, _Post] = {}
        self._last: dict[str, _Post] = {}
        self._log = logs.get()
        self._tasks: TaskGroup

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run the dispatchers beside the body; then let the last deliveries end."""
        async with anyio.create_task_group() as self._tasks:
            yield
            for dispatcher in self.dispatchers():
                dispatcher.stop()
            self._tasks.cancel_scope.deadline = anyio.current_time() + FINISH_WITHIN

    @asynccontextmanager
    async def changing(self, sinks: Mapping[str, SinkSpec]) -> AsyncIterator[Callable[[], None]]:
        """Open what is new or differs, and give what puts it in place.

        That fails in nothing. Unless it is called, all stays as it was. Sinks that are the
        same are left alone; those that are no more finish the attempts under way and close.

        Raises:
            ConfigurationError: one of them cannot be opened.
        """
        opened: list[_Post] = []
        try:
            for name, wanted in sinks.items():
                if name not in self._posts or self._posts[name].wanted != wanted:
                    opened.append(await self._opened(name, wanted))
            yield lambda: self._place(sinks, opened)
        finally:
            for post in opened:
                post.decided.set()

    def dispatchers(self) -> Iterator[Dispatcher]:
        """Go through the dispatchers of the present sinks; from any thread."""
        for post in list(self._posts.values()):
            yield post.dispatcher

    def wake(self, names: Iterable[str]) -> None:
        """Say that there may be something new to send to the sinks of these ``names``."""
        for name in names:
            if name in self._posts:
                self._posts[name].dispatcher.wake()

    def _place(self, sinks: Mapping[str, SinkSpec], opened: Iterable[_Post]) -> None:
        for name in self._posts.keys() - sinks.keys():
            self._posts.pop(name).dispatcher.stop()
        for post in opened:
            if post.name in self._posts:
                self._posts[post.name].dispatcher.stop()
            post.before = self._last.get(post.name)
            self._posts[post.name] = self._last[post.name] = post
            self._metrics.expect_sink(post.name)
            post.placed = True

    async def _opened(self, name: str, wanted: SinkSpec) -> _Post:
        try:
            with anyio.fail_after(OPEN_WITHIN):
                post: _Post = await self._tasks.start(
                    self._keep, name, wanted, name=f"dispatch {name}"
                )
        except TimeoutError:
            message = f"could not be opened within {OPEN_WITHIN:.0f} s"
            raise ConfigurationError([Problem("", f"sinks.{name}", message)]) from None
        return post

    async def _keep(self, name: str, wanted: SinkSpec, *, task_status: TaskStatus[_Post]) -> None:
        """Open a sink, send to it if it is wanted, and close it: all in one task."""
        async with AsyncExitStack() as stack:
            sink = await stack.enter_async_context(self._open_sink(name, wanted.settings))
            post = _Post(name, wanted, self._dispatcher(name, wanted.settings, sink))
            task_status.started(post)
            try:
                await post.decided.wait()
                if post.placed:
                    await self._send(post)
            finally:
                await self._close(name, stack)
                post.closed.set()
        if self._last.get(name) is post:
            del self._last[name]
            if name not in self._posts:
                await self._take_leave(name)

    def _dispatcher(self, name: str, settings: config.Sink, sink: Sink) -> Dispatcher:
        return Dispatcher(
            name,
            sink,
            self._store,
            self._metrics,
            self._clock,
            self._random,
            timeout=settings.timeout,
            max_age=settings.max_age,
            concurrency=settings.concurrency,
        )

    async def _send(self, post: _Post) -> None:
        """Send, once the one before has nothing under way: else a job's order might be lost."""
        if post.before is not None:
            await post.before.closed.wait()
            post.before = None
        await post.dispatcher.run()

    async def _close(self, name: str, stack: AsyncExitStack) -> None:
        """Close a sink; what goes wrong in it then is nobody else's trouble."""
        try:
            await stack.aclose()
        except Exception:  # noqa: BLE001 -- another's code, which has done its work
            self._log.exception(logs.SINK_BROKEN, sink=name)

    async def _take_leave(self, name: str) -> None:
        """Say what a sink that is no more has left: the store keeps it for one of its name."""
        self._metrics.forget_sink(name)
        left = [each for each in await self._store.backlog() if each.sink == name]
        pending, dead = sum(each.pending for each in left), sum(each.dead for each in left)
        self._log.info(logs.SINK_REMOVED, sink=name, pending=pending, dead=dead)
