"""Files that a configuration names: read without waiting, and named without showing a secret.

A secret pasted in the place of its file's name must appear in no message, and it looks like a
misspelled name. So a message repeats only what names an existing file.
"""

from __future__ import annotations

import errno
import os
import re
import select
import stat
import time
from typing import TYPE_CHECKING

from monitor.errors import printable

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_PATH = re.compile(r"[./~]|.*\.[A-Za-z]{2,5}$")
PEM = "certificates or a key in PEM form"
"""The content of a file for TLS."""
_LONGEST = 200


class NotRegularError(OSError):
    """It is a directory, a FIFO, a socket or a device."""

    def __init__(self) -> None:
        """Carry words as the system's errors do."""
        super().__init__(errno.EINVAL, "not a regular file")


def read(path: str | Path, limit: int, *, pipe_within: float = 0.0) -> bytes:
    """Return up to ``limit`` bytes of a regular file; blocks as long as its disk does.

    Of a pipe, as of a shell's ``<(command)``, it takes what comes within ``pipe_within`` seconds,
    and refuses it if that is 0. Other kinds of file are refused, as they may never answer.

    Raises:
        NotRegularError: it is not a regular file.
        OSError: it cannot be read.
        ValueError: it is not even a path.
    """
    # Opening and closing a pipe would lose what its writer has to say, so look before opening.
    if not pipe_within and not stat.S_ISREG(os.stat(path).st_mode):  # noqa: PTH116 -- any text
        raise NotRegularError
    # Opening a pipe waits for its other end, unless non-blocking; for a file it means nothing.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    with open(descriptor, "rb", buffering=0) as file:  # noqa: PTH123 -- it is open already
        # Look again: between look and opening, another file may have taken the name.
        mode = os.fstat(descriptor).st_mode
        if stat.S_ISFIFO(mode) and pipe_within:
            return _drain(_pipe_reader(descriptor, time.monotonic() + pipe_within), limit)
        if not stat.S_ISREG(mode):
            raise NotRegularError
        return _drain(lambda left: file.read(left) or b"", limit)


def _pipe_reader(pipe: int, until: float) -> Callable[[int], bytes]:
    waiting = select.poll()
    waiting.register(pipe, select.POLLIN)

    def read(left: int) -> bytes:
        # Before anybody has opened its other end, a pipe looks as if it had ended.
        if not waiting.poll(max(0.0, until - time.monotonic()) * 1000):
            raise OSError(errno.ETIMEDOUT, "nobody writes to this pipe, or its end does not come")
        return os.read(pipe, left)

    return read


def _drain(read: Callable[[int], bytes], limit: int) -> bytes:
    """Return what comes until its end, or until it is ``limit`` bytes."""
    parts = []
    while limit > 0 and (part := read(limit)):
        limit -= len(part)
        parts.append(part)
    return b"".join(parts)


def called(name: str | Path) -> str:
    """Return what a message may call the file: its name if it exists, else only its length."""
    text = str(name)
    if not os.path.lexists(text):
        return f"the value ({len(text)} characters)"
    cut = text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
    return printable(cut)


def trouble(name: str | Path, error: Exception, holds: str = "the secret") -> tuple[str, str]:
    """Return message and remedy for a file that ``read`` could not read."""
    text, file = str(name), f"a file that holds {holds}"
    if not os.path.lexists(text) and not isinstance(error, PermissionError):
        if _PATH.match(text) or holds != "the secret":
            return f"{called(text)} does not name an existing file", f"write the path of {file}"
        message = f"{called(text)} looks like a secret, not the name of a file"
        return message, "put the secret into a file and write the path of that file here"
    if isinstance(error, FileNotFoundError):
        return f"{called(text)} is a link to a file that does not exist", f"name {file}"
    if isinstance(error, (NotRegularError, IsADirectoryError)):
        return f"{called(text)} is not a regular file", f"name {file}"
    return f"{called(text)} cannot be read: {reason(error)}", "let the daemon's user read it"


def reason(error: Exception) -> str:
    """Return the system's words for an error, which never repeat a name."""
    if isinstance(error, OSError):
        return (error.strerror or "it cannot be read").lower()
    return "it is not a path"
