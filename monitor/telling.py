"""All dispatchers, one per sink, each with the sink that it sends to."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import anyio

from monitor.dispatcher import Dispatcher

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
    from contextlib import AbstractAsyncContextManager

    from anyio.abc import TaskGroup, TaskStatus

    from monitor import config
    from monitor.interfaces import Clock, Random, Sink, Store
    from monitor.metrics import Metrics

FINISH_WITHIN = 3.0
"""Seconds that deliveries under way get to end when the daemon stops."""


class Telling:
    """Turns sinks into running dispatchers."""

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
        self._dispatchers: dict[str, Dispatcher] = {}
        self._tasks: TaskGroup

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run the dispatchers beside the body; then let the last deliveries end."""
        async with anyio.create_task_group() as self._tasks:
            yield
            for dispatcher in self._dispatchers.values():
                dispatcher.stop()
            self._tasks.cancel_scope.deadline = anyio.current_time() + FINISH_WITHIN

    async def begin(self, sinks: Mapping[str, config.Sink]) -> None:
        """Send to ``sinks`` from now on.

        Raises:
            ConfigurationError: one of them cannot be opened.
        """
        for name, settings in sinks.items():
            await self._tasks.start(self._send, name, settings, name=f"dispatch {name}")

    def dispatchers(self) -> Iterator[Dispatcher]:
        """Go through the dispatchers that run."""
        yield from self._dispatchers.values()

    def wake(self, names: Iterable[str]) -> None:
        """Say that there may be something new to send to the sinks of these ``names``."""
        for name in names:
            if name in self._dispatchers:
                self._dispatchers[name].wake()

    async def _send(
        self, name: str, settings: config.Sink, *, task_status: TaskStatus[None]
    ) -> None:
        async with self._open_sink(name, settings) as sink:
            self._metrics.expect_sink(name)
            dispatcher = self._dispatchers[name] = Dispatcher(
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
            task_status.started()
            await dispatcher.run()
