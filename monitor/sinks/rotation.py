"""A sink whose files are read again when they change, and once more when it is denied.

Tokens, keys and certificates are replaced while the monitor runs: by Kubernetes, which swaps a
link above them, by agents that rewrite the file, and by people. Nobody sends a signal then.
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


class _RereadFiles:
    """The last digest of files; used by one thread at a time, and blocks."""

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
        stats: list[object] = []
        now = time.monotonic()
        for path in self._paths:
            try:
                found = os.stat(path)  # noqa: PTH116  # a path with a null byte is refused by both
            except (OSError, ValueError):
                stats.append(None)
                continue
            # One of these differs when a file is written or replaced, by a link on its way too.
            times = found.st_mtime_ns, found.st_ctime_ns
            stats.append((found.st_dev, found.st_ino, found.st_size, *times))
        if stats != self._stats:
            self._stats, self._settled_at = stats, now + _SETTLED
        elif not thorough and now >= self._settled_at and not self.refused:
            return None
        return file_digest.digest(self._paths)


@dataclass(slots=True, eq=False)
class _OpenSink(Generic[T]):
    """An open sink, what it was made of, and its attempts under way."""

    made_of: T
    sink: Sink
    stack: AsyncExitStack
    users: int = 0


@dataclass(frozen=True, slots=True)
class _ReadResult(Generic[T]):
    """The outcome of reading files that changed: a value, problems, or the same as before."""

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
        self._files = _RereadFiles(paths)
        self._load = load
        self._opener = opener
        self._lock = asyncio.Lock()
        self._reading: asyncio.Future[_ReadResult[T] | None] | None = None
        self._stalled = False
        self._failing = False
        self._log = logs.get(sink=name)
        self._open: _OpenSink[T]

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
        # Before anything is read: what changes meanwhile then differs at the first attempt.
        digest = await asyncio.to_thread(self._files.digest, thorough=True)
        self._files.taken = digest or b""
        self._open = await self._opened(await asyncio.to_thread(self._load, None))

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

    async def _send(self, used: _OpenSink[T], events: Sequence[Mapping[str, Any]]) -> None:
        # Another attempt may replace the sink meanwhile; the last user of the old one closes it.
        used.users += 1
        try:
            await used.sink.send(events)
        finally:
            used.users -= 1
            await self._release(used)

    async def _release(self, used: _OpenSink[T]) -> None:
        """Close a sink that was replaced, once its last attempt has ended."""
        if used is not self._open and not used.users:
            await asyncio.shield(used.stack.aclose())

    async def _refresh(self, *, thorough: bool) -> None:
        """Take what is in the files now, if that can be used and they answer in time."""
        async with self._lock:
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
            # A disk that does not answer must hold up neither the loop nor the other sinks.
            self._reading = in_thread(lambda: self._read(thorough=thorough), "sink-files")
        try:
            async with asyncio.timeout(PATIENCE):
                # Shielded, so that a caller who gives up leaves it to the next one.
                result = await asyncio.shield(self._reading)
        except TimeoutError:
            self._stalled = True
            return False
        self._reading, self._stalled = None, False
        if result is None:
            return True
        if result.problems and not self._failing:
            # Once: they are read again before every attempt until somebody fixes them.
            shown = [logs.of_problem(problem) for problem in result.problems]
            self._log.warning(logs.SINK_FILES_REFUSED, problems=shown)
        if result.made_of is not None:
            before, self._open = self._open, await self._opened(result.made_of)
            await self._release(before)
        if result.made_of is not None or (self._failing and not result.problems):
            self._log.info(logs.SINK_FILES_RELOADED)
        self._failing = bool(result.problems)
        return True

    async def _opened(self, made_of: T) -> _OpenSink[T]:
        stack = AsyncExitStack()
        sink = await stack.enter_async_context(self._opener(made_of))
        return _OpenSink(made_of, sink, stack)

    def _read(self, *, thorough: bool) -> _ReadResult[T] | None:
        """Return what is new; blocks, and raises nothing."""
        files, now = self._files, time.monotonic()
        digest = files.digest(thorough=thorough)
        if digest is None or (digest == files.refused and now < files.refused_until):
            return None
        if digest == files.taken:
            files.refused = b""
            return _ReadResult()
        try:
            made_of = self._load(self._open.made_of)
        except ConfigurationError as error:
            problems = error.problems
        except Exception as error:  # noqa: BLE001 -- the attempt must go out all the same
            problems = (Problem("", f"sinks.{self._name}", type(error).__name__),)
        else:
            files.taken, files.refused = digest, b""
            return _ReadResult(made_of)
        files.refused, files.refused_until = digest, now + _REFUSED_FOR
        return _ReadResult(problems=problems)


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
