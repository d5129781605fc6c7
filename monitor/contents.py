"""Whether files have changed: told by what is in them, not by their times."""

from __future__ import annotations

import errno
import os
import select
import stat
import time
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

LARGEST = 16 * 1024 * 1024
"""Bytes of one file that are looked at."""


def digest(paths: Iterable[str | Path]) -> bytes:
    """Return what changes when a file of these does, comes or goes; blocks, and raises nothing.

    Says nothing of what the files hold, which may be secrets.
    """
    found = blake2b(digest_size=32)
    for path in paths:
        name, content = str(path).encode(errors="surrogateescape"), _content(Path(path))
        found.update(f"{len(name)} {len(content)} ".encode() + name + content)
    return found.digest()


class Reading:
    """What was read of some files, to be told from what is in them later.

    It is the very bytes that were used that are compared, so that a file that changes while it
    is read, or right after, differs from them. Only digests are kept of these.
    """

    def __init__(self) -> None:
        """Nothing has been read yet."""
        self._seen: dict[Path, bytes | None] = {}

    def of(self, path: Path) -> bytes:
        """Return what is in a file, up to LARGEST; blocks.

        Raises:
            OSError, ValueError: it cannot be read, which is remembered as well.
        """
        self._seen[path] = None
        content = _read(path)
        self._seen[path] = blake2b(content).digest()
        return content

    def is_current(self) -> bool:
        """Whether all files are as they were read; blocks, and raises nothing."""
        return all(_digest_of(path) == seen for path, seen in self._seen.items())


def _digest_of(path: Path) -> bytes | None:
    try:
        return blake2b(_read(path)).digest()
    except (OSError, ValueError):
        return None


def read_file(path: Path, most: int, *, pipe_within: float = 0.0) -> bytes:
    """Return up to ``most`` bytes of a regular file; blocks as long as its disk does.

    Of a pipe, as of a shell's ``<(command)``, it takes what comes ``pipe_within`` so many seconds,
    and refuses it if that is 0. Other kinds of file are refused, as they may never answer.

    Raises:
        OSError, ValueError: it cannot be read.
    """
    # Opening a pipe waits for its other end, unless told otherwise; for a file it means nothing.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    with open(descriptor, "rb", buffering=0) as file:  # noqa: PTH123 -- it is open already
        mode = os.fstat(descriptor).st_mode
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        if stat.S_ISFIFO(mode) and pipe_within:
            return _drained(descriptor, most, time.monotonic() + pipe_within)
        if not stat.S_ISREG(mode):
            raise OSError(errno.EINVAL, "not a regular file")
        return b"".join(_parts(lambda left: file.read(left) or b"", most))


def _parts(read: Callable[[int], bytes], most: int) -> Iterator[bytes]:
    """Yield what comes until its end, or until it is ``most`` bytes."""
    while most > 0 and (part := read(most)):
        most -= len(part)
        yield part


def _drained(pipe: int, most: int, until: float) -> bytes:
    waiting = select.poll()
    waiting.register(pipe, select.POLLIN)

    def read(left: int) -> bytes:
        # Before anybody has opened its other end, a pipe looks as if it had ended.
        if not waiting.poll(max(0.0, until - time.monotonic()) * 1000):
            raise OSError(errno.ETIMEDOUT, "nobody writes to this pipe, or its end does not come")
        return os.read(pipe, left)

    return b"".join(_parts(read, most))


def _read(path: Path) -> bytes:
    return read_file(path, LARGEST)


def _content(path: Path) -> bytes:
    """Return the content; only a regular file is opened, as a pipe would wait for a writer."""
    try:
        if not path.is_file():
            return b"absent"
        return b"present" + _read(path)
    except (OSError, ValueError):
        return b"unreadable"
