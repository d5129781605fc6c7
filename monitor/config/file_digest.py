"""Whether files have changed: told by what is in them, not by their times."""

from __future__ import annotations

from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING

from monitor.config import named_files

if TYPE_CHECKING:
    from collections.abc import Iterable

LARGEST = 16 * 1024 * 1024
"""Bytes of one file that are looked at."""


def digest(paths: Iterable[str | Path]) -> bytes:
    """Return what changes when a file of these does, comes or goes; blocks, and raises nothing.

    Says nothing of what the files hold, which may be secrets.
    """
    found = blake2b(digest_size=32)
    for path in paths:
        name, content = str(path).encode(errors="surrogatepass"), _content(Path(path))
        found.update(f"{len(name)} {len(content)} ".encode() + name + content)
    return found.digest()


class FileDigest:
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


def _read(path: Path) -> bytes:
    return named_files.read(path, LARGEST)


def _content(path: Path) -> bytes:
    try:
        return b"present" + _read(path)
    except (FileNotFoundError, named_files.NotRegularError):
        return b"absent"
    except (OSError, ValueError):
        return b"unreadable"
