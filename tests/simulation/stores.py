"""Stores of an event loop in virtual time, and the troubles between them and the monitor.

A real server answers when it does, and virtual time would run ahead of it. So whatever talks to
PostgreSQL runs in another thread, on a loop of its own in real time, and the loop of the test
stands still until the answer is there. How long a question and its answer take is drawn at random,
in virtual time: so one random seed makes one world here, too, however fast the machine is.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from math import inf
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar
from unittest.mock import patch

import anyio
import anyio.lowlevel
import asyncpg  # type: ignore[import-untyped]
from anyio.from_thread import start_blocking_portal

from monitor.errors import StoreLostError
from monitor.stores import postgresql
from monitor.stores.replicas import CHANNEL
from monitor.stores.store import SqlStore, open_store
from tests.builders import VirtualClock, at, ledger
from tests.contracts import postgresql_kit

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Sequence
    from contextlib import AbstractAsyncContextManager
    from datetime import datetime
    from pathlib import Path
    from random import Random

    import sqlalchemy as sa
    from anyio.from_thread import BlockingPortal

    from monitor.stores.database import Database

T = TypeVar("T")

LONGEST_LATENCY, LONGEST_OUTAGE = 0.1, 60.0
"""Seconds of virtual time."""
LISTEN_AGAIN = 1.0
"""Seconds after which a session that listens is replaced, as in ``monitor.stores.postgresql``."""


@dataclass(frozen=True)
class Chances:
    """How likely the server ends all sessions before a reading, before a commit, and after it.

    And how likely a link is cut off, alone, before any of these.
    """

    reading: float = 0.01
    commit: float = 0.05
    cut: float = 0.0


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
    a commit, and ``refused`` the questions to it meanwhile. ``troubles`` are the links' own.
    """

    def __init__(self, url: str, random: Random, portal: BlockingPortal, chances: Chances) -> None:
        self.url = url
        self.random = random
        self.ask = portal.call
        self.enter = portal.wrap_async_context_manager
        self.chances = chances
        self.lost = self.unanswered = self.refused = self.cuts = 0
        self.calm = True
        self.down_until = 0.0
        self.links: list[Link] = []
        self._session: Any = None
        self.troubles: list[Trouble] = []

    @asynccontextmanager
    async def store(self, clock: VirtualClock, *, calm: bool = True) -> AsyncIterator[SqlStore]:
        """Open the store; what happens to it later does so unless it is ``calm``."""
        async with open_store(self.url, LoopClock(clock)) as store:
            self.calm = calm
            try:
                yield store
            finally:
                self.calm = True

    @asynccontextmanager
    async def open(self, real: Callable[..., Any], *args: Any, **more: Any) -> AsyncIterator[Any]:
        """Open the database in the other thread; what is yielded is used in this one."""
        with self.enter(real(*args, **more)) as opened:
            link = Link(self, opened)
            self.links.append(link)
            try:
                yield link.database()
            finally:
                self.links.remove(link)
                link.end_trouble()

    def rows(self, query: str, *values: object) -> Sequence[Any]:
        """Return the rows of a query, by a session that nothing happens to."""
        if self._session is None:
            self._session = self.ask(asyncpg.connect, self.url)
        found: Sequence[Any] = self.ask(self._session.fetch, query, *values)
        return found

    def close(self) -> None:
        """End that session."""
        if self._session is not None:
            self.ask(self._session.close)

    def happens(self, chance: float) -> bool:
        return not self.calm and not self.is_down() and self.random.random() < chance

    def is_down(self) -> bool:
        return not self.calm and asyncio.get_running_loop().time() < self.down_until

    def go_away(self) -> None:
        """End all sessions; half of the times, the server stays away for a while."""
        self.ask(postgresql_kit.end_sessions, self.url)
        pause = self.random.choice([0.0, self.random.uniform(0, LONGEST_OUTAGE)])
        self.down_until = asyncio.get_running_loop().time() + pause
        for link in self.links:
            link.lose()


@dataclass
class Trouble:
    """A time during which a link could not store what was seen; it lasts while ``until`` is inf."""

    since: float
    until: float = inf


class Link:
    """What one process has of the database; its notices come after each commit of anybody."""

    def __init__(self, server: Server, opened: Database) -> None:
        self._server = server
        self._opened = opened
        self._cut_until = 0.0
        self._trouble: Trouble | None = None
        self._note_loss: Callable[[], None] = lambda: None
        self._listener: Any = None
        self._heard: list[str] = []
        self._deaf = anyio.Event()

    def database(self) -> Database:
        """Return the functions to use."""
        return replace(
            self._opened,
            read=self._read,
            transact=self._transact,
            reopen=self._reopen,
            enforce_references=anyio.lowlevel.checkpoint,
            watch_loss=self._watch_loss,
            listen=self._listen if self._opened.listen else None,
        )

    async def _read(self, work: Callable[..., T]) -> T:
        await self._reach(self._server.chances.reading)
        found = self._server.ask(self._opened.read, work)
        await self._travel()
        return found

    async def _transact(self, work: Callable[..., T]) -> T:
        server, now = self._server, at(asyncio.get_running_loop().time())

        def whole(connection: sa.Connection) -> T:
            connection.exec_driver_sql(f"SET LOCAL simulation.now = '{now.isoformat()}'")
            return work(connection)

        await self._reach(server.chances.commit)
        written = self._server.ask(self._opened.transact, whole)
        for link in server.links:
            link.hear()
        await self._travel()
        if server.happens(server.chances.commit):
            server.unanswered += 1
            server.go_away()
            raise StoreLostError("the server was lost before it could confirm the commit")
        self.end_trouble()
        return written

    async def _reopen(self) -> None:
        await self._travel()
        self._require()
        assert self._opened.reopen
        self._server.ask(self._opened.reopen)

    async def _reach(self, chance: float) -> None:
        server = self._server
        await self._travel()
        if server.happens(server.chances.cut):
            # Neither side notices: both wait for the other.
            server.cuts += 1
            self._cut_until = asyncio.get_running_loop().time() + server.random.uniform(1, 60)
            self.note_trouble()
            self._deaf.set()
            await self._travel()
        if server.happens(chance):
            server.lost += 1
            server.go_away()
        self._require()

    async def _travel(self) -> None:
        """Let time go by on the way to the server or back."""
        random, cut = self._server.random, self._cut_until - asyncio.get_running_loop().time()
        await anyio.sleep(max(cut, random.choice([0.0, random.uniform(0, LONGEST_LATENCY)])))

    def _require(self) -> None:
        if self._server.is_down():
            self._server.refused += 1
            self.note_trouble()
            raise StoreLostError("the server is down")

    def _is_cut(self) -> bool:
        return asyncio.get_running_loop().time() < self._cut_until

    def end_trouble(self) -> None:
        """Note that a commit was confirmed, or that none comes any more."""
        if self._trouble:
            self._trouble.until, self._trouble = asyncio.get_running_loop().time(), None

    def note_trouble(self) -> None:
        """Note that what is seen from now on may not be stored."""
        if self._trouble is None:
            self._trouble = Trouble(asyncio.get_running_loop().time())
            self._server.troubles.append(self._trouble)

    # Notices

    def _watch_loss(self, lost: Callable[[], None]) -> None:
        self._note_loss = lost

    def lose(self) -> None:
        """Note that the server has ended all sessions, unless that does not come through."""
        self.note_trouble()
        if not self._is_cut():
            self._deaf.set()
            self._note_loss()

    async def _listen(self, tell: Callable[[str | None], None]) -> NoReturn:
        """Do as the real one does, and time goes by only as the loop's."""
        while True:
            await self._travel()
            if not self._server.is_down():
                self._deaf = anyio.Event()
                session = self._server.ask(asyncpg.connect, self._server.url)
                try:
                    self._server.ask(self._subscribe, session)
                    self._listener, self._tell = session, tell
                    tell(None)
                    await self._deaf.wait()
                finally:
                    self._listener = None
                    self._server.ask(session.close)
            await anyio.sleep(LISTEN_AGAIN)

    async def _subscribe(self, session: Any) -> None:
        await session.add_listener(CHANNEL, lambda *about: self._heard.append(about[-1]))

    def hear(self) -> None:
        """Take the notices of what has been committed: they come before the next answer."""
        if self._listener and not self._is_cut():
            self._server.ask(self._listener.execute, "SELECT 1")
            for text in self._heard:
                asyncio.get_running_loop().call_soon(self._tell, text)
            self._heard.clear()


_CLOCK = """
    CREATE FUNCTION public.clock_timestamp() RETURNS timestamptz LANGUAGE sql VOLATILE AS $$
        SELECT current_setting('simulation.now')::timestamptz
    $$;
    DO $$ BEGIN
        EXECUTE format(
            'ALTER DATABASE %I SET search_path = public, pg_catalog', current_database()
        );
    END $$;
"""
"""The server's clock goes with the loop's: this function comes before that of the server."""


async def _set_clock(url: str) -> None:
    connection = await asyncpg.connect(url)
    await connection.execute(_CLOCK)
    await connection.close()


@contextmanager
def on_server(url: str, random: Random, chances: Chances = Chances()) -> Iterator[Server]:
    """Yield the database of a URL; the loop stands still whenever it is asked."""
    with start_blocking_portal() as portal:
        portal.call(_set_clock, url)
        server = Server(url, random, portal, chances)
        opening = partial(server.open, postgresql.open_postgresql)
        with patch.object(postgresql, "open_postgresql", opening):
            yield server
        server.close()
