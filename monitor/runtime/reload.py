"""When the configuration is read again: on request, and when its files change.

``Reloader`` makes one reload of many requests; ``WatchedFiles`` notices changes. What a reload
does is the daemon's affair.
"""

from __future__ import annotations

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

LOOK_ROUND = 1000
"""Milliseconds after which it is seen whether other places are to be watched by now."""

REREAD = 10
"""Rounds after which the files are compared in any case: a network file system tells nothing of
changes that others make, and polling sees none within one second."""


@dataclass(slots=True, eq=False)
class _Round:
    """One reload, and what came of it."""

    done: anyio.Event = field(default_factory=anyio.Event)
    problems: Sequence[Problem] = ()
    broken_off: bool = False


class Reloader:
    """Takes the configuration anew when asked, one time after another.

    All that ask while one is under way share the next one: files may have changed since
    the present one read them.
    """

    def __init__(self, take: Callable[[], Awaitable[None]]) -> None:
        """``take`` reads and applies the configuration, or raises ConfigurationError."""
        self._take = take
        self._next = _Round()
        self._asked = anyio.Event()
        self.over = False
        """Whether nothing is taken any more."""
        self.problems: Sequence[Problem] = ()
        """What was wrong with the last configuration that was read; nothing if it was taken."""

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
        self._asked.set()
        await mine.done.wait()
        if mine.broken_off:
            raise StoppingError
        if mine.problems:
            raise ConfigurationError(mine.problems)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Do what is asked for beside the body; a reload under way at its end breaks off."""
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._run, name="reload")
                yield
                tasks.cancel_scope.cancel()
        finally:
            self.over = True
            _break_off(self._next)

    async def _run(self) -> None:
        while True:
            await self._asked.wait()
            present, self._next, self._asked = self._next, _Round(), anyio.Event()
            try:
                self.problems = await self._outcome()
            except BaseException:
                _break_off(present)
                raise
            present.problems = self.problems
            present.done.set()

    async def _outcome(self) -> Sequence[Problem]:
        try:
            await self._take()
        except ConfigurationError as error:
            return error.problems
        return ()


def _break_off(one: _Round) -> None:
    one.broken_off = True
    one.done.set()


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
        self._seen: dict[str, bytes] = {}

    def note(self, part: str) -> None:
        """Take what is there of ``part`` as known; to be called before it is read. Blocks."""
        self._seen[part] = self._content(part)

    async def watch(self, changed: Callable[[], Awaitable[None]], stop: anyio.Event) -> None:
        """Await ``changed``, which calls ``note``, within seconds of a change, until ``stop``."""
        polling = None
        while not stop.is_set():
            places = await anyio.to_thread.run_sync(self._places)
            await self._compare(changed)
            try:
                await self._follow(places, changed, stop, force_polling=polling)
            except FileNotFoundError:  # a directory is gone again
                await _pause(stop)
            except (OSError, RuntimeError):  # no inotify, or no more of it to be had
                polling = True
                await _pause(stop)

    async def _follow(
        self,
        places: frozenset[Path],
        changed: Callable[[], Awaitable[None]],
        stop: anyio.Event,
        *,
        force_polling: bool | None,
    ) -> None:
        """Watch ``places``, until others are to be watched."""
        if not places:
            await _pause(stop)
            return
        quiet = 0
        async for changes in watchfiles.awatch(
            *places,
            watch_filter=lambda _change, path: _may_matter(Path(path).name),
            debounce=SETTLE,
            step=STEP,
            stop_event=stop,
            rust_timeout=LOOK_ROUND,
            yield_on_timeout=True,
            force_polling=force_polling,
            recursive=False,
        ):
            quiet = 0 if changes else quiet + 1
            if quiet % REREAD == 0:
                await self._compare(changed)
            if places != await anyio.to_thread.run_sync(self._places):
                return

    async def _compare(self, changed: Callable[[], Awaitable[None]]) -> None:
        if await anyio.to_thread.run_sync(self._has_changed):
            await changed()

    def _has_changed(self) -> bool:
        return any(self._content(part) != seen for part, seen in self._seen.items())

    def _content(self, part: str) -> bytes:
        return file_digest.digest(sorted(self._present(part)))

    def _places(self) -> frozenset[Path]:
        """Return the directories in which a change may show: of names, of links, of their ends."""
        names = [path.absolute() for part in self._parts for path in self._present(part)]
        steps = {step for path in names for step in (path, *path.parents) if step.is_symlink()}
        ends = {_directory(path) for path in (*names, *map(_end, steps))}
        return frozenset(
            place for place in ends | {step.parent for step in steps} if _is_directory(place)
        )

    def _present(self, part: str) -> Iterator[Path]:
        with suppress(OSError, ValueError):
            yield from self._parts[part]()


async def _pause(stop: anyio.Event) -> None:
    with anyio.move_on_after(LOOK_ROUND / 1000):
        await stop.wait()


def _end(link: Path) -> Path:
    """Return where a link leads; one that leads to itself stays where it is."""
    try:
        return link.resolve()
    except (OSError, RuntimeError):
        return link


def _directory(path: Path) -> Path:
    return path if _is_directory(path) else path.parent


def _is_directory(path: Path) -> bool:
    """Whether it is one that can be reached; a name that is too long is none."""
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False


def _may_matter(name: str) -> bool:
    """Whether a change of this name is worth a look: a store in the same place changes always."""
    return not name.endswith((".db", "-wal", "-shm", "-journal", ".lock", ".jsonl", ".log"))
