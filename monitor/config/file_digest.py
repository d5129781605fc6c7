"""Digests of files: whether one has changed is decided by its content, not by its times."""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING

from monitor.config import named_files

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

LARGEST = 16 * 1024 * 1024
"""Bytes of one file that are read."""


def digest(paths: Iterable[str | Path]) -> bytes:
    """Return what changes when one of these files does, comes or goes; block, and raise nothing.

    It reveals nothing of the content, which may be secrets.
    """
    found = blake2b(digest_size=32)
    for path in paths:
        try:
            content = b"present" + named_files.read(path, LARGEST)
        except (FileNotFoundError, named_files.NotRegularError):
            content = b"missing"
        except (OSError, ValueError):
            content = b"unreadable"
        name = str(path).encode(errors="surrogatepass")
        # The lengths keep two files from looking like one with both contents.
        found.update(f"{len(name)} {len(content)} ".encode() + name + content)
    return found.digest()


class FileDigest:
    """What was read of some files, to be compared with their content later.

    The very bytes that were used are compared. So a file that changes while it is read, or right
    after, differs from them. Only digests are kept.
    """

    def __init__(self) -> None:
        """Begin without any file."""
        self._digests: dict[Path, bytes | None] = {}

    def of(self, path: Path) -> bytes:
        """Return the content of a file, up to LARGEST bytes; block.

        Raises:
            OSError, ValueError: it cannot be read, which is remembered as well.
        """
        self._digests[path] = None
        content = named_files.read(path, LARGEST)
        self._digests[path] = blake2b(content).digest()
        return content

    def is_current(self) -> bool:
        """Return whether all files are as they were read; block, and raise nothing."""
        for path, before in self._digests.items():
            try:
                now = blake2b(named_files.read(path, LARGEST)).digest()
            except (OSError, ValueError):
                now = None
            if now != before:
                return False
        return True
