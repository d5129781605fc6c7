"""A sink whose files are read again when they change, and once more when it is denied.

Tokens, keys and certificates are replaced while the monitor runs: by Kubernetes, which swaps a
link above them, by agents that write the file anew, and by people. Nobody sends a signal then.
"""

from __future__ import annotations

import asyncio
import os
import time
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from monitor import logs
from monitor.config import file_digest
from monitor.errors import ConfigurationError, Problem, SendError, SendReason
from monitor.sinks.threads import in_thread

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence
    from contextlib import AbstractAsyncContextManager

    from monitor.interfaces import Sink

PATIENCE = 2.0
"""Seconds that an attempt waits for its files; then it goes out with what was last read."""
_SETTLED = 2.0
"""Seconds after a change for which contents are compared: a second change within one tick of
the file system's clock leaves its times as they were."""
_REFUSED_FOR = 30.0
"""Seconds after which files that could not be used, and are the same, are tried again."""

T = TypeVar("T")


class _Files:
    """Knows whether files are as they were; used by one thread at a time, and blocks."""

    def __init__(self, paths: Sequence[str]) -> None:
        self._paths = tuple(paths)
        self._stats: Sequence[object] = ()
        self._settled_at = 0.0
        self.taken = b""
        """The digest of what is in use."""
        self.refused = b""
        """The digest of what could not be used, if that came last."""
        self.refused_until = 0.0

    def digest(self, *, thorough: bool) -> bytes | None:
        """Return the digest of all; ``None`` where no file seems to have been touched."""
        stats, now = [_stat(path) for path in self._paths], time.monotonic()
        if stats != self._stats:
            self._stats, self._settled_at = stats, now + _SETTLED
        elif not thorough and now >= self._settled_at and not self.refused:
            return None
        return file_digest.digest(self._paths)


@dataclass(slots=True, eq=False)
class _Open(Generic[T]):
    """A sink, what it was made of, and how many attempts it has under way."""

    made_of: T
    sink: Sink
    stack: AsyncExitStack
    users: int = 0


@dataclass(frozen=True, slots=True)
class _News(Generic[T]):
    """What came of reading files that were touched: a value, problems, or what there was."""

    made_of: T | None = None
    problems: Sequence[Problem] = ()


class Rotating(Generic[T]):
    """Sends through the sink that its files make, as they are now.

    Where they cannot be used (empty, half written, not there, a key that does not fit its
    certificate), what was last read stays in use, and that is logged once.
    """

    def __init__(
        self,
        name: str,
        paths: Sequence[str],
        load: Callable[[T | None], T],
        opener: Callable[[T], AbstractAsyncContextManager[Sink]],
    ) -> None:
        """``load`` reads the files, given what they came to before, and blocks."""
        self._name = name
        self._files = _Files(paths)
        self._load = load
        self._opener = opener
        self._turn = asyncio.Lock()
        self._reading: asyncio.Future[_News[T] | None] | None = None
        self._stalled = False
        self._failing = False
        self._log = logs.get(sink=name)
        self._open: _Open[T]

    @property
    def current(self) -> Sink:
        """The sink in use."""
        return self._open.sink

    @property
    def batch_size(self) -> int:
        """That of the sink in use."""
        return self.current.batch_size

    @property
    def reply(self) -> str:
        """The start of the last reply; see ``interfaces.Replying``."""
        return str(getattr(self.current, "reply", ""))

    async def start(self) -> None:
        """Read the files and open the first sink.

        Raises:
            ConfigurationError: they cannot be used.
        """
        self._open = await self._opened(await asyncio.to_thread(self._first))

    async def aclose(self) -> None:
        """Close the sink in use."""
        await self._open.stack.aclose()

    async def send(self, events: Sequence[Mapping[str, Any]]) -> None:
        """Send once; where that is denied and the files have changed since, once more.

        Raises:
            SendError, PartialSendError: as the sink's own ``send``.
        """
        await self._refresh(thorough=False)
        used = self._open
        try:
            await self._send(used, events)
        except SendError as error:
            if error.reason is not SendReason.DENIED:
                raise
            await self._refresh(thorough=True)
            if self._open is used:
                raise
        else:
            return
        await self._send(self._open, events)

    async def _send(self, used: _Open[T], events: Sequence[Mapping[str, Any]]) -> None:
        used.users += 1
        try:
            await used.sink.send(events)
        finally:
            used.users -= 1
            await self._release(used)

    async def _release(self, used: _Open[T]) -> None:
        """Close a sink that was replaced, once its last attempt has ended."""
        if used is not self._open and not used.users:
            await asyncio.shield(used.stack.aclose())

    async def _refresh(self, *, thorough: bool) -> None:
        """Take what is in the files now, if that can be used and they answer in time."""
        async with self._turn:
            earlier = self._reading
            if earlier and self._stalled and not (thorough or earlier.done()):
                return
            answered = await self._read_and_take(thorough=thorough)
            if answered and earlier and thorough:
                # What was waited for had begun before the denial.
                await self._read_and_take(thorough=True)

    async def _read_and_take(self, *, thorough: bool) -> bool:
        """Await the reading under way, or a new one; return whether it ended in time."""
        if self._reading is None:
            self._reading = in_thread(lambda: self._read(thorough=thorough), "sink-files")
        try:
            async with asyncio.timeout(PATIENCE):
                # Shielded, so that a caller who gives up leaves it to the next one.
                news = await asyncio.shield(self._reading)
        except TimeoutError:
            self._stalled = True
            return False
        self._reading, self._stalled = None, False
        if news is not None:
            await self._take(news)
        return True

    async def _take(self, news: _News[T]) -> None:
        if news.problems:
            if not self._failing:
                told = [logs.of_problem(problem) for problem in news.problems]
                self._log.warning(logs.SINK_FILES_REFUSED, problems=told)
            self._failing = True
            return
        if news.made_of is not None:
            before, self._open = self._open, await self._opened(news.made_of)
            await self._release(before)
        if news.made_of is not None or self._failing:
            self._log.info(logs.SINK_FILES_RELOADED)
        self._failing = False

    async def _opened(self, made_of: T) -> _Open[T]:
        stack = AsyncExitStack()
        sink = await stack.enter_async_context(self._opener(made_of))
        return _Open(made_of, sink, stack)

    def _first(self) -> T:
        # Before anything is read: what changes meanwhile then differs at the first attempt.
        self._files.taken = self._files.digest(thorough=True) or b""
        return self._load(None)

    def _read(self, *, thorough: bool) -> _News[T] | None:
        """Return what is new; blocks, and raises nothing."""
        files, now = self._files, time.monotonic()
        digest = files.digest(thorough=thorough)
        if digest is None or (digest == files.refused and now < files.refused_until):
            return None
        if digest == files.taken:
            files.refused = b""
            return _News()
        try:
            made_of = self._load(self._open.made_of)
        except ConfigurationError as error:
            problems = error.problems
        except Exception as error:  # noqa: BLE001 -- the attempt must go out all the same
            problems = (Problem("", f"sinks.{self._name}", type(error).__name__),)
        else:
            files.taken, files.refused = digest, b""
            return _News(made_of)
        files.refused, files.refused_until = digest, now + _REFUSED_FOR
        return _News(problems=problems)


@asynccontextmanager
async def open_rotating(
    name: str,
    paths: Sequence[str],
    load: Callable[[T | None], T],
    opener: Callable[[T], AbstractAsyncContextManager[Sink]],
) -> AsyncIterator[Sink]:
    """Open a sink that is made of files; one that is made of none is opened as it is.

    Raises:
        ConfigurationError: the files cannot be used.
    """
    if not paths:
        async with opener(await asyncio.to_thread(load, None)) as sink:
            yield sink
        return
    rotating = Rotating(name, paths, load, opener)
    await rotating.start()
    try:
        yield rotating
    finally:
        await rotating.aclose()


def _stat(path: str) -> object:
    """Return what differs when a file is written or replaced, by a link on its way too."""
    try:
        found = os.stat(path)  # noqa: PTH116  # a path with a null byte is refused by both
    except (OSError, ValueError):
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
