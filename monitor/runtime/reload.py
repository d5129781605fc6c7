"""Decides when the configuration is read again: on request, and when its files change.

``Reloader`` makes one reload of many requests; ``WatchedFiles`` notices changes. What a reload
does is in ``reconfigure``.
"""

from __future__ import annotations

import os
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread
import watchfiles

from monitor.config import file_digest
from monitor.errors import ConfigurationError, StoppingError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence

    from monitor.errors import Problem

SETTLE, STEP = 1000, 200
"""Milliseconds: a burst of changes is waited for at most so long, and ends after such a pause."""

ROUND = 5000
"""Milliseconds between two comparisons of the files, whether a change was noticed or not: a network
file system tells nothing of what others change, and other directories may have to be watched."""

AGAIN = 1.0
"""Seconds until directories that cannot be watched are tried again."""

_IGNORED = (".db", "-wal", "-shm", "-journal", ".lock", ".jsonl", ".log")


@dataclass(slots=True, eq=False)
class _Round:
    """One reload, and what came of it."""

    done: anyio.Event = field(default_factory=anyio.Event)
    problems: Sequence[Problem] = ()
    interrupted: bool = False


class Reloader:
    """Reloads the configuration on request, one reload at a time.

    All requests that arrive during a reload share the next one: files may have changed since
    the present one read them.
    """

    def __init__(self) -> None:
        """Begin with nothing requested; requests wait for ``running``."""
        self._present, self._next = _Round(), _Round()
        self._requested = anyio.Event()
        self.over = False
        """Whether no further reload or change is accepted."""
        self.problems: Sequence[Problem] = ()
        """What was wrong with the last configuration that was read; empty if it took effect."""

    async def reload(self) -> None:
        """Return once the configuration, as it is now or later, has taken effect.

        Before the monitor has started, it waits for that.

        Raises:
            ConfigurationError: it was refused, and all is as before.
            StoppingError: the monitor ends, or has ended.
        """
        if self.over:
            raise StoppingError
        mine = self._next
        self._requested.set()
        await mine.done.wait()
        if mine.interrupted:
            raise StoppingError
        if mine.problems:
            raise ConfigurationError(mine.problems)

    @asynccontextmanager
    async def running(self, reload: Callable[[], Awaitable[None]]) -> AsyncIterator[None]:
        """Reload on request beside the body; a reload under way at its end is interrupted.

        ``reload`` reads and applies the configuration, or raises ConfigurationError.
        """
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._run, reload, name="reload")
                yield
                tasks.cancel_scope.cancel()
        finally:
            self.over = True
            # Whoever still waits: for the reload that was interrupted, or for one after it.
            for one in (self._present, self._next):
                one.interrupted = not one.done.is_set()
                one.done.set()

    async def _run(self, reload: Callable[[], Awaitable[None]]) -> None:
        while True:
            await self._requested.wait()
            # Replaced before the files are read: whoever asks from here on shares the next round.
            self._present, self._next, self._requested = self._next, _Round(), anyio.Event()
            try:
                await reload()
                self.problems = ()
            except ConfigurationError as error:
                self.problems = error.problems
            self._present.problems = self.problems
            self._present.done.set()


class WatchedFiles:
    """Notices when files have another content than when they were last read.

    Kubernetes replaces the files of a ConfigMap by renaming a link beside them, and editors
    replace a file by another: so the directories are watched, and the contents compared.
    """

    def __init__(self, **parts: Callable[[], Iterable[Path]]) -> None:
        """Each of ``parts`` names the files there are, and directories that may hold more.

        It blocks, and may raise OSError.
        """
        self._parts = parts
        self._known: dict[str, bytes] = {}

    def note(self, part: str) -> None:
        """Take what is there of ``part`` as known; to be called before it is read. Blocks."""
        self._known[part] = self._content(part)

    async def watch(self, changed: Callable[[], Awaitable[None]], stop: anyio.Event) -> None:
        """Await ``changed``, which calls ``note``, within seconds of a change, until ``stop``."""
        polling = None
        while not stop.is_set():
            places = await anyio.to_thread.run_sync(self._places)
            await self._compare(changed)
            try:
                if places:
                    await self._follow(places, changed, stop, force_polling=polling)
                    continue
            # A watcher that breaks while it waits does so in a task group.
            except* FileNotFoundError:  # a directory is gone again
                pass
            except* (OSError, RuntimeError):  # no inotify, or its limit is reached
                polling = True
            with anyio.move_on_after(AGAIN):
                await stop.wait()

    async def _follow(
        self,
        places: frozenset[Path],
        changed: Callable[[], Awaitable[None]],
        stop: anyio.Event,
        *,
        force_polling: bool | None,
    ) -> None:
        """Watch ``places``, until others are to be watched."""
        compared = anyio.current_time()
        async for changes in watchfiles.awatch(
            *places,
            watch_filter=None,
            debounce=SETTLE,
            step=STEP,
            stop_event=stop,
            rust_timeout=ROUND,
            yield_on_timeout=True,
            force_polling=force_polling,
            recursive=False,
        ):
            # A store in the same directory changes all the time: that must neither be taken for a
            # change of the files, nor keep them from being compared.
            noticed = any(not path.endswith(_IGNORED) for _change, path in changes)
            if not noticed and anyio.current_time() - compared < ROUND / 1000:
                continue
            await self._compare(changed)
            if places != await anyio.to_thread.run_sync(self._places):
                return
            compared = anyio.current_time()

    async def _compare(self, changed: Callable[[], Awaitable[None]]) -> None:
        if await anyio.to_thread.run_sync(
            lambda: any(self._content(part) != known for part, known in self._known.items())
        ):
            await changed()

    def _content(self, part: str) -> bytes:
        return file_digest.digest(sorted(self._present(part)))

    def _places(self) -> frozenset[Path]:
        """Return the directories in which a change may show: of names, of links, of their ends."""
        names = [path.absolute() for part in self._parts for path in self._present(part)]
        steps = {step for path in names for step in (path, *path.parents) if step.is_symlink()}
        # The functions of ``os.path`` raise nothing, though a link may lead to itself, a name be
        # too long, or a directory be closed to this user.
        ends = (*names, *(Path(os.path.realpath(step)) for step in steps))
        is_directory = os.path.isdir
        places = {path if is_directory(path) else path.parent for path in ends}
        return frozenset(filter(is_directory, places | {step.parent for step in steps}))

    def _present(self, part: str) -> Iterator[Path]:
        with suppress(OSError, ValueError):
            yield from self._parts[part]()
