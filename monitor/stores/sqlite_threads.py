"""Connections to SQLite, each in a thread of its own: it blocks whoever uses it.

Work is a plain function of a connection, and is done in one turn of the thread: a statement at a
time would take several turns of the event loop each, which are long while that is busy.
"""

from __future__ import annotations

import asyncio
import threading
from contextlib import ExitStack, asynccontextmanager, suppress
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, TypeVar

import anyio

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    import sqlalchemy as sa

T = TypeVar("T")

_BETWEEN_INTERRUPTIONS = 0.01
_LONGEST_INTERRUPTION = 5.0
"""Seconds after which a thread is given up: its disk does not answer."""


class WorkerThread:
    """A thread that does one piece of work after another."""

    def __init__(self) -> None:
        """Start it; it lasts until ``end``."""
        self._work: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        # A daemon: the process must be able to end while a disk does not answer.
        threading.Thread(target=self._serve, name="store.sqlite", daemon=True).start()

    def _serve(self) -> None:
        while (work := self._work.get()) is not None:
            work()

    def end(self, last: Callable[[], None] = lambda: None) -> None:
        """Let it end after the work that it has, and ``last``."""
        self._work.put(last)
        self._work.put(None)

    async def run(self, work: Callable[[], T], interrupt: Callable[[], None] = lambda: None) -> T:
        """Return the result of ``work``, or raise its error.

        A caller that is cancelled calls ``interrupt`` until the work has ended, and waits for that.
        """
        loop = asyncio.get_running_loop()
        done: asyncio.Future[T] = loop.create_future()

        def whole() -> None:
            try:
                settle, outcome = done.set_result, work()
            except BaseException as error:  # noqa: BLE001 -- raised where it is awaited
                settle, outcome = done.set_exception, error  # type: ignore[assignment]
            with suppress(RuntimeError):  # the loop is closed: nobody waits any longer
                loop.call_soon_threadsafe(settle, outcome)

        self._work.put(whole)
        try:
            return await asyncio.shield(done)
        except asyncio.CancelledError:
            # Nobody asks for its error any longer, and asyncio would log that with a traceback.
            done.add_done_callback(asyncio.Future.exception)
            # Again and again: an interruption ends the statement that runs, and not the next one.
            with anyio.move_on_after(_LONGEST_INTERRUPTION, shield=True):
                while not done.done():
                    interrupt()
                    await asyncio.wait((done,), timeout=_BETWEEN_INTERRUPTIONS)
            raise


class ThreadConnection:
    """A connection and the thread in which it was opened, is used and will be closed."""

    def __init__(self, thread: WorkerThread, connection: sa.Connection) -> None:
        """Take what ``connect`` opened."""
        self._thread = thread
        self._connection = connection
        driver: Any = connection.connection.driver_connection
        self._interrupt: Callable[[], None] = driver.interrupt

    async def run(self, work: Callable[[sa.Connection], T]) -> T:
        """Run ``work``, in no transaction of ours, and return its result."""
        return await self._thread.run(lambda: work(self._connection), self._interrupt)

    async def transact(self, work: Callable[[sa.Connection], T]) -> T:
        """Run ``work`` in a transaction, and return its result after the commit."""

        def whole(connection: sa.Connection) -> T:
            with connection.begin():
                return work(connection)

        return await self.run(whole)

    async def close(self) -> None:
        """Close the connection, and end the thread."""
        with anyio.move_on_after(_LONGEST_INTERRUPTION, shield=True):
            await self._thread.run(self._connection.close)
        self._thread.end()


async def connect(engine: sa.Engine) -> ThreadConnection:
    """Open a connection in a thread of its own; raise what the driver says if that fails."""
    thread, opened = WorkerThread(), ExitStack()
    try:
        return ThreadConnection(
            thread, await thread.run(lambda: opened.enter_context(engine.connect()))
        )
    except BaseException:
        # A caller that was cancelled has not got what is opened meanwhile.
        thread.end(opened.close)
        raise


class Readers:
    """Some connections that read, opened as they are needed."""

    def __init__(self, engine: sa.Engine, most: int) -> None:
        """At most ``most`` are open."""
        self._engine = engine
        self._places = anyio.Semaphore(most)
        self._free: list[ThreadConnection] = []
        self._all: list[ThreadConnection] = []

    async def read(self, work: Callable[[sa.Connection], T]) -> T:
        """Run ``work`` on one of them, and return its result; wait for one if all are in use."""
        async with self._lent() as connection:
            return await connection.transact(work)

    @asynccontextmanager
    async def _lent(self) -> AsyncGenerator[ThreadConnection]:
        async with self._places:
            if not self._free:
                self._free.append(await connect(self._engine))
                self._all.append(self._free[-1])
            connection = self._free.pop()
            try:
                yield connection
            finally:
                self._free.append(connection)

    async def close(self) -> None:
        """Close all of them, which nobody may use any longer."""
        for connection in self._all:
            await connection.close()
