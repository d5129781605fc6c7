"""Standard output and error; their failures differ from all others.

A full disk behind ``> FILE`` or a closed pipe is neither a bug nor a failure of the command: the
program ends with one line and an exit code of its own.
"""

from __future__ import annotations

import errno
import io
import os
import select
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

import typer

from monitor.errors import MonitorError

if TYPE_CHECKING:
    from typing import TextIO

_OUT, _ERR = 1, 2


class OutputError(MonitorError):
    """The output of a command cannot be written; ``left`` if its reader has gone."""

    def __init__(self, name: str, error: OSError) -> None:
        """Take the name of the stream, for the message."""
        reason = (error.strerror or "it failed").lower()
        super().__init__(
            f"cannot write to {name}: {reason} (redirect it elsewhere, or free some space)"
        )
        self.left = error.errno == errno.EPIPE


def prepare() -> None:
    """Put streams that raise OutputError in place of the interpreter's own."""
    # A file opened later must not get the number of a closed stream, or output would end up in
    # it. So fill the gaps with a file that is open for reading only.
    while (descriptor := os.open(os.devnull, os.O_RDONLY)) <= _ERR:
        pass
    os.close(descriptor)
    sys.stdout = _stream(_OUT, "standard output", sys.stdout)
    sys.stderr = _stream(_ERR, "standard error", sys.stderr)


def finish() -> None:
    """Flush both streams.

    Raises:
        OutputError: a stream cannot be written.
    """
    sys.stdout.flush()
    sys.stderr.flush()


def say(text: str) -> None:
    """Print to standard error; where even that fails, the exit code must do."""
    with suppress(OutputError, ValueError):
        typer.echo(text, err=True)


def _stream(descriptor: int, name: str, former: TextIO | None) -> TextIO:
    errors = "backslashreplace" if descriptor == _ERR else getattr(former, "errors", "strict")
    return io.TextIOWrapper(
        io.BufferedWriter(_Raw(descriptor, name)),  # type: ignore[type-var]  # as its write
        encoding=getattr(former, "encoding", None) or "utf-8",
        errors=errors,
        line_buffering=getattr(former, "line_buffering", False) or descriptor == _ERR,
    )


class _Raw(io.RawIOBase):
    """A descriptor that raises its first failure; output that fails after it is lost.

    Standard output writes nothing from then on. Standard error goes on where it can: the log of a
    daemon must continue once its disk has room again.
    """

    def __init__(self, descriptor: int, name: str) -> None:
        super().__init__()
        self.name = name
        self._descriptor = descriptor
        self._failed = False
        self._torn = False
        self._end_line = False

    def write(self, data: bytes) -> int:  # type: ignore[override]  # any buffer
        while not self._failed or self._descriptor == _ERR:
            try:
                if self._end_line:
                    os.write(self._descriptor, b"\n")
                    self._end_line = self._torn = False
                done = os.write(self._descriptor, data)
            except BlockingIOError:  # another owner of the pipe made it non-blocking
                select.select([], [self._descriptor], [])
            except OSError as error:
                if self._failed:
                    self._end_line = self._torn  # the rest of that line is lost with ``data``
                    break
                self._failed = True
                raise OutputError(self.name, error) from None
            else:
                self._torn = bytes(data[:done])[-1:] != b"\n"
                return done
        return len(data)

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._descriptor

    def isatty(self) -> bool:
        return os.isatty(self._descriptor)
