"""Whether files have changed: told by what is in them, not by their times."""

from __future__ import annotations

from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING

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
        name, content = str(path).encode(errors="surrogateescape"), _content(Path(path))
        found.update(f"{len(name)} {len(content)} ".encode() + name + content)
    return found.digest()


def _content(path: Path) -> bytes:
    """Return the content; only a regular file is opened, as a pipe would wait for a writer."""
    try:
        if not path.is_file():
            return b"absent"
        with path.open("rb") as file:
            return b"present" + file.read(LARGEST)
    except (OSError, ValueError):
        return b"unreadable"
