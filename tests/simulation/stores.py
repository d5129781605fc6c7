"""Stores of an event loop in virtual time, and the troubles between them and the monitor.

A real server answers when it does, and virtual time would run ahead of it. So whatever talks to
PostgreSQL runs in another thread, on a loop of its own in real time, and the loop of the test
stands still until the answer is there. How long a question and its answer take is drawn at random,
in virtual time: so one random seed makes one world here, too, however fast the machine is.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar
from unittest.mock import patch

import anyio
import anyio.lowlevel
from anyio.from_thread import start_blocking_portal

from monitor.errors import StoreLostError
from monitor.stores import postgresql
from monitor.stores.store import SqlStore, open_store
from tests.builders import VirtualClock, at, ledger
from tests.contracts import postgresql_kit

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from contextlib import AbstractAsyncContextManager
    from datetime import datetime
    from pathlib import Path
    from random import Random

    from anyio.from_thread import BlockingPortal

    from monitor.stores.database import Database

T = TypeVar("T")

LOSS, LOSS_OF_COMMIT = 0.01, 0.05
"""The chances that the server ends all sessions: before each reading, before each commit, and again
after it."""
LONGEST_LATENCY, LONGEST_OUTAGE = 0.1, 60.0
"""Seconds of virtual time."""


class File:
    """A store in SQLite, which nothing happens to."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(exist_ok=True)
        self._directory = directory

    def store(
        self, clock: VirtualClock, *, calm: bool = True
    ) -> AbstractAsyncContextManager[SqlStore]:
        """Open the store."""
        del calm
        return ledger(self._directory, clock)


class LoopClock(VirtualClock):
    """The clock of one loop, which may be read in another thread while the loop stands still."""

    def __init__(self, clock: VirtualClock) -> None:
        self._clock = clock
        self._loop = asyncio.get_running_loop()

    def now(self) -> datetime:
        return at(self.monotonic() + self._clock.jump)

    def monotonic(self) -> float:
        return self._loop.time()


class Server:
    """A database of a real server, which goes away now and then.

    ``lost`` counts the times it did so before it was asked, ``unanswered`` those it did so after
    a commit, and ``refused`` the questions to it meanwhile.
    """

    def __init__(self, url: str, random: Random, portal: BlockingPortal) -> None:
        self.url = url
        self.lost = self.unanswered = self.refused = 0
        self._random = random
        self._portal = portal
        self._calm = True
        self._down_until = 0.0

    @asynccontextmanager
    async def store(self, clock: VirtualClock, *, calm: bool = True) -> AsyncIterator[SqlStore]:
        """Open the store; what happens to it later does so unless it is ``calm``."""
        async with open_store(self.url, LoopClock(clock)) as store:
            self._calm = calm
            try:
                yield store
            finally:
                self._calm = True

    @asynccontextmanager
    async def open(self, real: Callable[..., Any], *args: Any, **more: Any) -> AsyncIterator[Any]:
        """Open the database in the other thread; what is yielded is used in this one."""
        with self._portal.wrap_async_context_manager(real(*args, **more)) as opened:
            yield replace(
                opened,
                read=partial(self._read, opened),
                transact=partial(self._transact, opened),
                reopen=partial(self._reopen, opened),
                enforce_references=anyio.lowlevel.checkpoint,
            )

    async def _read(self, opened: Database, work: Callable[..., T]) -> T:
        await self._reach(LOSS)
        found = self._portal.call(opened.read, work)
        await self._travel()
        return found

    async def _transact(self, opened: Database, work: Callable[..., T]) -> T:
        await self._reach(LOSS_OF_COMMIT)
        written = self._portal.call(opened.transact, work)
        await self._travel()
        if self._happens(LOSS_OF_COMMIT):
            self.unanswered += 1
            self._go_away()
            raise StoreLostError("the server was lost before it could confirm the commit")
        return written

    async def _reopen(self, opened: Database) -> None:
        await self._travel()
        self._require()
        assert opened.reopen
        self._portal.call(opened.reopen)

    async def _reach(self, chance: float) -> None:
        await self._travel()
        if self._happens(chance):
            self.lost += 1
            self._go_away()
        self._require()

    async def _travel(self) -> None:
        """Let time go by on the way to the server or back."""
        await anyio.sleep(self._random.choice([0.0, self._random.uniform(0, LONGEST_LATENCY)]))

    def _require(self) -> None:
        if self._is_down():
            self.refused += 1
            raise StoreLostError("the server is down")

    def _happens(self, chance: float) -> bool:
        return not self._calm and not self._is_down() and self._random.random() < chance

    def _is_down(self) -> bool:
        return not self._calm and asyncio.get_running_loop().time() < self._down_until

    def _go_away(self) -> None:
        """End all sessions; half of the times, the server stays away for a while."""
        self._portal.call(postgresql_kit.end_sessions, self.url)
        pause = self._random.choice([0.0, self._random.uniform(0, LONGEST_OUTAGE)])
        self._down_until = asyncio.get_running_loop().time() + pause


@contextmanager
def on_server(url: str, random: Random) -> Iterator[Server]:
    """Yield the database of a URL; the loop stands still whenever it is asked."""
    with start_blocking_portal() as portal:
        server = Server(url, random, portal)
        opening = partial(server.open, postgresql.open_postgresql)
        with patch.object(postgresql, "open_postgresql", opening):
            yield server
