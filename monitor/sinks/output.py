"""Where the sink ``log`` writes: blocking, one line after the other, never two mixed."""

from __future__ import annotations

import os
import select
import stat
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_MODE = 0o640
_FLAGS = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOCTTY

Written: TypeAlias = tuple[int, OSError | None]
"""How many lines were written whole, and what stopped the rest."""


class Output(Protocol):
    """Where lines go."""

    @property
    def name(self) -> str:
        """As messages call it."""
        ...

    def write(self, lines: Sequence[bytes]) -> Written:
        """Write ``lines`` in order until one fails; blocks as long as the other side does."""
        ...


class Stream:
    """An open file descriptor, such as standard output."""

    def __init__(self, name: str, descriptor: int, *, torn: bool = False) -> None:
        """``torn``: the last line has no end. The descriptor is not ours to close."""
        self.name = name
        self._descriptor = descriptor
        self._torn = torn

    def write(self, lines: Sequence[bytes]) -> Written:
        """Write ``lines``, the first on a new line if the one before it was torn."""
        for number, line in enumerate(lines):
            data = b"\n" + line if self._torn else line
            done, error = _write(self._descriptor, data)
            if done:
                self._torn = not data[:done].endswith(b"\n")
            if error:
                return number, error
        return len(lines), None


class File:
    """A file by its name, opened for each write, so that it may be rotated at any time."""

    def __init__(self, path: str) -> None:
        """Leave the file alone until there is something to write."""
        self.name = path

    def write(self, lines: Sequence[bytes]) -> Written:
        """Append ``lines`` and have them on the disk; if that fails, none counts."""
        try:
            with _opened(self.name) as descriptor:
                stream = Stream(self.name, descriptor, torn=_is_torn(self.name, descriptor))
                written = stream.write(lines)
                if _is_regular(descriptor):
                    os.fdatasync(descriptor)
                return written
        except OSError as error:
            return 0, error


@contextmanager
def _opened(path: str) -> Iterator[int]:
    descriptor = os.open(path, _FLAGS, _MODE)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _write(descriptor: int, data: bytes) -> tuple[int, OSError | None]:
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


def _is_regular(descriptor: int) -> bool:
    return stat.S_ISREG(os.fstat(descriptor).st_mode)


def _is_torn(path: str, descriptor: int) -> bool:
    """Whether a crash or a full disk left the last line without its end."""
    if _is_regular(descriptor) and os.fstat(descriptor).st_size:
        with suppress(PermissionError), Path(path).open("rb") as file:
            file.seek(-1, os.SEEK_END)
            return file.read(1) != b"\n"
    return False
