"""The sink ``log``: one line of JSON per event, to standard output or appended to a file."""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from monitor.config import named_files
from monitor.errors import ConfigurationError, PartialSendError, Problem, SendError, SendReason
from monitor.sinks.encoding import encode
from monitor.sinks.output import File, Stream
from monitor.sinks.threads import in_thread

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from monitor.config import LogSink
    from monitor.sinks.output import Output, Written

_STDOUT = 1


class Log:
    """Writes each event as one line."""

    batch_size = 100

    def __init__(self, output: Output, timeout: float) -> None:
        """``timeout`` is in seconds, for one ``send``."""
        self._output = output
        self._timeout = timeout
        self._turn = asyncio.Lock()
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
                written, cause = await self._write(lines)
        except TimeoutError:
            message = f"{name} took no line within {self._timeout:g} s"
            raise SendError(SendReason.TIMEOUT, message) from None
        if cause is None:
            return
        failure = SendError(SendReason.CONNECTION, f"cannot write to {name}: {cause.strerror}")
        if not written:
            raise failure
        raise PartialSendError({event["id"]: failure for event in events[written:]})

    async def _write(self, lines: Sequence[bytes]) -> Written:
        async with self._turn:
            if self._last:
                await asyncio.wait([self._last])
            self._last = in_thread(lambda: self._output.write(lines), "log-sink")
            return await asyncio.shield(self._last)


def open_log(name: str, settings: LogSink) -> Log:
    """Build a log; its file is made when there is something to write.

    Raises:
        ConfigurationError: with all that ``problems`` tells.
    """
    if found := problems(name, settings):
        raise ConfigurationError(found)
    output = File(settings.path) if settings.path else Stream("standard output", _STDOUT)
    return Log(output, settings.timeout)


def problems(name: str, settings: LogSink) -> list[Problem]:
    """Return what is wrong with ``settings``; blocks on the file system."""
    if settings.path is None:
        return []
    try:
        fault = _fault(Path(settings.path))
    except OSError as error:  # a name too long, or a link to itself
        fault = f"cannot be used: {named_files.reason(error)}"
    remedy = "name a file in a directory that the monitor may write to"
    return [Problem("", f"sinks.{name}.path", fault, remedy)] if fault else []


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
