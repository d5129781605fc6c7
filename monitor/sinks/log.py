"""The sink ``log``: one line of JSON per event, to standard output or appended to a file."""

from __future__ import annotations

import asyncio
import os
import select
import stat
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from monitor.config import LogSink, named_files
from monitor.errors import ConfigurationError, PartialSendError, Problem, SendError, SendReason
from monitor.sinks.format import encode
from monitor.sinks.kind import SinkKind
from monitor.sinks.threads import in_thread

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_STDOUT = 1
_MODE = 0o640
_FLAGS = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOCTTY

Written: TypeAlias = tuple[int, OSError | None]
"""How many lines were written whole, and what stopped the rest."""


class LogStream:
    """An open file descriptor, such as standard output; blocks as long as the other side does."""

    def __init__(self, name: str, descriptor: int, *, torn: bool = False) -> None:
        """``torn``: the last line has no end. The caller closes the descriptor."""
        self.name = name
        self._descriptor = descriptor
        self._torn = torn

    def write(self, lines: Sequence[bytes]) -> Written:
        """Write ``lines``, the first on a new line if the one before it was torn.

        Each in a call of its own, so that a short line does not mix with those of another
        writer of the same pipe.
        """
        for number, line in enumerate(lines):
            data = b"\n" + line if self._torn else line
            done, error = _write_all(self._descriptor, data)
            if done:
                self._torn = not data[:done].endswith(b"\n")
            if error:
                return number, error
        return len(lines), None


class LogFile:
    """A file by its name, opened for each write, so that it may be rotated at any time."""

    def __init__(self, path: str) -> None:
        """Leave the file alone until there is something to write."""
        self.name = path

    def write(self, lines: Sequence[bytes]) -> Written:
        """Append ``lines`` and flush them to the disk; if that fails, none counts."""
        try:
            descriptor = os.open(self.name, _FLAGS, _MODE)
            try:
                status = os.fstat(descriptor)
                regular = stat.S_ISREG(status.st_mode)
                torn = False
                # A crash or a full disk may have left the last line without its end.
                if regular and status.st_size:
                    with suppress(PermissionError), Path(self.name).open("rb") as file:
                        file.seek(-1, os.SEEK_END)
                        torn = file.read(1) != b"\n"
                if not regular:
                    return LogStream(self.name, descriptor).write(lines)
                data = b"".join([b"\n", *lines] if torn else lines)
                done, cause = _write_all(descriptor, data)
                os.fdatasync(descriptor)
            finally:
                os.close(descriptor)
        except OSError as error:
            return 0, error
        # Only whole lines count; the end of one that was torn before is none of them.
        return data[:done].count(b"\n") - int(torn and done > 0), cause


Output: TypeAlias = LogStream | LogFile
"""A place for lines, with a name for messages; one thread at a time writes to it."""


@dataclass(frozen=True, slots=True)
class LogTarget:
    """Where a log is written."""

    output: Output
    timeout: float
    """Seconds for one attempt."""


class LogWriter:
    """Writes each event as one line."""

    batch_size = 500

    def __init__(self, output: Output, timeout: float) -> None:
        """``timeout`` is in seconds, for one ``send``."""
        self._output = output
        self._timeout = timeout
        self._lock = asyncio.Lock()
        self._last: asyncio.Future[Written] | None = None

    async def send(self, events: Sequence[Mapping[str, Any]]) -> None:
        """Write ``events`` in order; return once all of them are written.

        An attempt that is given up, for time or by cancellation, may still write its lines
        later, whole; the next attempt waits for it, so that lines never mix.

        Raises:
            SendError: none was written.
            PartialSendError: only the first ones were written.
        """
        lines = [encode(event) + b"\n" for event in events]
        name = self._output.name
        try:
            async with asyncio.timeout(self._timeout):
                async with self._lock:
                    # A write that was given up may still be under way in its thread.
                    if self._last:
                        await asyncio.wait([self._last])
                    self._last = in_thread(lambda: self._output.write(lines), "log-sink")
                    # Shielded, so that the next attempt can wait for it.
                    written, cause = await asyncio.shield(self._last)
        except TimeoutError:
            message = f"{name} took no line within {self._timeout:g} s"
            raise SendError(SendReason.TIMEOUT, message) from None
        if cause is None:
            return
        failure = SendError(SendReason.CONNECTION, f"cannot write to {name}: {cause.strerror}")
        if not written:
            raise failure
        raise PartialSendError({event["id"]: failure for event in events[written:]})


def load(name: str, settings: LogSink, _before: LogTarget | None = None) -> LogTarget:
    """Check the path; the file is created when there is something to write.

    Blocks on the file system.

    Raises:
        ConfigurationError: the path cannot be written.
    """
    if settings.path is None:
        return LogTarget(LogStream("standard output", _STDOUT), settings.timeout)
    try:
        fault = _fault(Path(settings.path))
    except OSError as error:  # a name too long, or a link to itself
        fault = f"cannot be used: {named_files.reason(error)}"
    if fault:
        remedy = "name a file in a directory that the monitor may write to"
        raise ConfigurationError([Problem("", f"sinks.{name}.path", fault, remedy)])
    return LogTarget(LogFile(settings.path), settings.timeout)


def _fault(path: Path) -> str | None:
    if "\0" in str(path) or path.is_dir():
        return "is not a file"
    if not path.parent.is_dir():
        shown = named_files.called(path.parent)
        return f"{shown} is not a directory" if path.parent.exists() else "its directory is missing"
    if path.is_symlink():
        with suppress(FileNotFoundError):  # it is made when there is something to write
            path.stat()
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        return f"{named_files.called(path)} may not be written"
    return None


def _write_all(descriptor: int, data: bytes) -> Written:
    """Write all of ``data`` in one call, or in more where the system takes only a part."""
    done = 0
    while done < len(data):
        try:
            done += os.write(descriptor, data[done:])
        except BlockingIOError:  # another owner of the pipe made it non-blocking
            waiting = select.poll()
            waiting.register(descriptor, select.POLLOUT)
            waiting.poll()
        except OSError as error:
            return done, error
    return done, None


KIND = SinkKind(
    LogSink,
    load,
    lambda target, _: nullcontext(LogWriter(target.output, target.timeout)),
    # The directory of the log is on the machine of the daemon.
    sample=lambda name, settings: load(name, settings.model_copy(update={"path": None})),
)
