"""Signals: the first one stops the daemon, a second one ends it at once.

A thread of its own receives them and keeps the deadline, so that neither needs the event loop or
the main thread: these may wait for a disk, a pipe or a file that never answers.
"""

from __future__ import annotations

import asyncio
import os
import select
import signal
import sys
import threading
import time
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import anyio

from monitor.errors import StopRequested

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator, Mapping
    from types import FrameType

    from anyio.abc import TaskStatus

AT_ONCE, NOT_IN_TIME = 130, 74
"""Exit codes."""

LONGEST_STOP = 9.5
"""Seconds after the first signal in which all must end, so that the whole takes 10 s at most."""

LONGEST_LEAVING = 3.0
"""Seconds for which threads may run once everything is closed: they can do no harm."""

_PROBE = 0.3
"""Seconds within which an event loop answers unless it is blocked."""

_INNERMOST = 6
"""How many of our innermost frames are searched for the file that they wait for."""

_STOPPING = (signal.SIGTERM, signal.SIGINT)
_PACKAGE = __name__.partition(".")[0]


class SignalReceiver:
    """Receives the signals of the process in a thread, and ends the process at the deadline.

    Python's own handlers run in the main thread, and only between two of its instructions; the
    byte that is written for each signal reaches this thread whatever the main thread does.
    """

    def __init__(self, last: Callable[[], None] = lambda: None) -> None:
        """Receive nothing yet; ``last`` runs just before the process is ended at once.

        It must not wait for anything.
        """
        self._last = last
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._writer, False)
        self._lock = threading.Lock()
        self._stop_by: float | None = None
        self._left_by: float | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._calls: Mapping[int, Callable[[], object]] = {}

    def start(self) -> None:
        """Start to receive; call this in the main thread only."""
        signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        threading.Thread(target=self._run, name="signals", daemon=True).start()

    @contextmanager
    def calling(self, calls: Mapping[signal.Signals, Callable[[], object]]) -> Iterator[None]:
        """Call these in the present event loop for their signals, while the body runs.

        A stop signal that came earlier is passed on at once.
        """
        # An event loop may have put its own there, as uvloop does.
        signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        before = {number: signal.signal(number, lambda *_: None) for number in calls}
        with self._lock:
            self._loop = asyncio.get_running_loop()
            self._calls = {**self._calls, **{int(number): call for number, call in calls.items()}}
            late = self._stop_by is not None
        try:
            if late and signal.SIGTERM in calls:
                calls[signal.SIGTERM]()
            yield
        finally:
            with self._lock:
                kept = self._calls.items()
                self._calls = {number: call for number, call in kept if number not in calls}
            for number, handler in before.items():
                signal.signal(number, handler)

    def leaving(self) -> None:
        """Note that everything is closed, so that nothing needs more time."""
        self._left_by = time.monotonic() + LONGEST_LEAVING
        os.write(self._writer, b"\0")  # the thread waits for another time now

    def _run(self) -> None:
        while True:
            deadlines = [each for each in (self._stop_by, self._left_by) if each is not None]
            left = max(0.0, min(deadlines) - time.monotonic()) if deadlines else None
            ready, _, _ = select.select([self._reader], [], [], left)
            for number in os.read(self._reader, 64) if ready else ():
                self._received(number)
            now = time.monotonic()
            left_late = self._left_by is not None and now >= self._left_by
            if (left_late and _lingering()) or (self._stop_by is not None and now >= self._stop_by):
                self._end_now()
            if left_late:
                self._left_by = None

    def _received(self, number: int) -> None:
        with self._lock:
            loop, call = self._loop, self._calls.get(number)
            if number in _STOPPING:
                if self._stop_by is not None:
                    # Safe at any time: nothing is sent before it is durable.
                    self._exit(AT_ONCE)
                self._stop_by = time.monotonic() + LONGEST_STOP
        if loop is not None and call is not None:
            with suppress(RuntimeError):  # the loop has closed meanwhile
                loop.call_soon_threadsafe(call)

    def _end_now(self) -> None:
        try:
            culprit = self._culprit()
        except Exception:  # noqa: BLE001 -- other threads go on while we look into them
            culprit = "what does not answer"
        _write_last(
            f"error: ended without waiting any longer for {culprit}"
            " (nothing is lost; what is missing is polled again after the next start)\n"
        )
        self._exit(NOT_IN_TIME)

    def _exit(self, code: int) -> None:
        try:
            self._last()
        finally:
            os._exit(code)

    def _culprit(self) -> str:
        """Name what has not ended, as far as other threads' frames show it."""
        frames = sys._current_frames()  # noqa: SLF001 -- the only way to see another thread's
        main = frames.get(threading.main_thread().ident or 0)
        blocked = [main] if self._is_blocked() else []
        for frame in (*blocked, *(frames.get(each.ident or 0) for each in _lingering())):
            if path := _path_in(frame):
                return f"{path}, which does not answer"
        if blocked and (own := next(_own_frames(main), None)):
            return f"{own.f_globals['__name__']}.{own.f_code.co_name}, which blocks all else"
        if blocked:
            return "a library, which blocks all else"
        return "what does not answer, such as the store"

    def _is_blocked(self) -> bool:
        """Return whether the main thread does not run its event loop, or has none yet."""
        if self._loop is None or self._loop.is_closed():
            return self._loop is None
        answered = threading.Event()
        self._loop.call_soon_threadsafe(answered.set)
        return not answered.wait(_PROBE)


def _leave(_number: int, _frame: FrameType | None) -> NoReturn:
    raise StopRequested(0)


def prepare(last: Callable[[], None] = lambda: None) -> SignalReceiver:
    """Handle signals from the start, while nothing is open that would have to be closed.

    ``last`` runs just before the process is ended at once.

    As the first process of a container there is no default for SIGTERM at all. SIGHUP
    would end the daemon by default; while it starts there is nothing to reload.
    """
    signal.signal(signal.SIGTERM, _leave)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    receiver = SignalReceiver(last)
    receiver.start()
    return receiver


async def stop_on_signal(
    stop: anyio.Event,
    receiver: SignalReceiver | None = None,
    *,
    task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED,
) -> None:
    """Set ``stop`` at the first SIGTERM or SIGINT, until cancelled.

    The process ends at once at the second one, or if it has not ended in time.
    """
    if receiver is None:
        receiver = SignalReceiver()
        receiver.start()
    with receiver.calling(dict.fromkeys(_STOPPING, stop.set)):
        task_status.started()
        await anyio.sleep_forever()


async def reload_on_signal(
    reload: Callable[[], Coroutine[Any, Any, None]],
    receiver: SignalReceiver,
    *,
    task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED,
) -> None:
    """Run ``reload`` at each SIGHUP, until cancelled; signals that come meanwhile share the next.

    Tools that rotate logs send it too, which does no harm: a log sink opens its file again
    for every write.
    """
    async with anyio.create_task_group() as tasks:
        with receiver.calling({signal.SIGHUP: lambda: tasks.start_soon(reload)}):
            task_status.started()
            await anyio.sleep_forever()


def _lingering() -> list[threading.Thread]:
    """Return the threads that the interpreter waits for before it ends."""
    main = threading.main_thread()
    return [each for each in threading.enumerate() if not each.daemon and each is not main]


def _own_frames(frame: FrameType | None) -> Iterator[FrameType]:
    while frame is not None:
        if str(frame.f_globals.get("__name__", "")).startswith(f"{_PACKAGE}."):
            yield frame
        frame = frame.f_back


def _path_in(frame: FrameType | None) -> Path | None:
    """Return the path that our innermost functions work on."""
    for own in islice(_own_frames(frame), _INNERMOST):
        for value in own.f_locals.values():
            if isinstance(value, Path):
                return value
    return None


def _write_last(line: str) -> None:
    """Write to standard error unless that would block: its reader may not read."""
    poll = select.poll()
    try:
        poll.register(2, select.POLLOUT)
        if any(event & select.POLLOUT for _, event in poll.poll(0)):
            os.write(2, line.encode(errors="replace")[: select.PIPE_BUF])
    except OSError:
        return
