"""A look at a SQLite file before it is used: is it a store at all, and is it whole?

SQLite itself would change the journal of another program's database, wait at a FIFO, and pass in
silence over a damaged write-ahead log, whose commits would be lost. Nothing is changed here.
"""

from __future__ import annotations

import os
import sqlite3
import stat
import struct
import time
from contextlib import closing
from typing import TYPE_CHECKING
from urllib.parse import quote

from monitor import errors
from monitor.config import named_files
from monitor.stores import database

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import BinaryIO

LONGEST = 2.0
"""Seconds for the check of the pages; of a larger database a part is checked."""

_STEPS = 10_000
"""Instructions of SQLite between two looks at the time."""
_MAGIC = b"SQLite format 3\0"
_LOG_MAGIC = {0x377F0682: "<", 0x377F0683: ">"}
"""First word of a write-ahead log → the byte order of its checksums (sqlite.org/walformat.html)."""
_LOG_HEADER = struct.Struct(">8I")
_FRAME_HEADER = struct.Struct(">6I")
_MOST_FRAMES = 100_000
_INDEX_FRAMES = 16
"""Where the index beside the log says how many frames of it hold."""
_OTHER = "name another path; job-monitor makes the file itself"


def kind(path: Path) -> None:
    """Require that ``path`` names a regular file or nothing.

    Raises:
        StoreError: it names something else, which is told with a remedy.
    """
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        if path.is_symlink():
            remedy = "mount or restore what it leads to, or remove the link"
            raise _refusal(path, "it is a link to a file that does not exist", remedy) from None
        return
    except OSError as error:
        remedy = "remove the link, or name another path" if path.is_symlink() else _OTHER
        raise _refusal(path, named_files.reason(error), remedy) from None
    if stat.S_ISDIR(mode):
        raise _refusal(path, "it is a directory", f"name a file in it, such as {path}/state.db")
    if not stat.S_ISREG(mode):
        raise _refusal(path, "it is not a regular file", _OTHER)


def content(path: Path) -> None:
    """Require that a file is empty, or a database with the tables of a store or none at all.

    Raises:
        StoreError: it is something else, which is told with a remedy.
    """
    try:
        if not path.exists():
            return
        beginning = named_files.read(path, len(_MAGIC))
    except OSError as error:
        remedy = "let the user of job-monitor read and write it"
        raise _refusal(path, error.strerror or "cannot be read", remedy) from None
    if not beginning:
        return
    if beginning != _MAGIC:
        remedy = f"{_OTHER}; if it was the store, restore a backup"
        raise _refusal(path, "file is not a database of SQLite", remedy)
    try:
        # What is there of a log is left out, so that nothing at all is written.
        with closing(_reading(path, "immutable=1")) as connection:
            found = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
            names = {name for (name,) in found}
    except sqlite3.Error:
        return  # opening it will say why
    database.require_own(names, str(path), alone=True)


def whole(path: Path) -> None:
    """Require that the write-ahead log is intact, and so are the pages that can be checked soon.

    To be called while no other process uses the file.

    Raises:
        StoreError: something is damaged, which is told with a remedy.
    """
    if not path.exists() or not path.stat().st_size:
        return
    log = path.with_name(f"{path.name}-wal")
    frames = _Frames.of(log)
    if frames is None:
        raise _damaged_log(path)
    try:
        with closing(_reading(path, "mode=ro")) as connection:
            fault = _checked(connection)
            lost = frames.lost_after(_held(path))
    except sqlite3.Error as error:
        fault, lost = str(error), False
        if not database.is_damage(fault):
            return  # opening it will say why
    if lost:
        raise _damaged_log(path)
    if fault:
        raise errors.StoreError(f"store {path}: it is damaged: {fault} ({database.RECOVERY})")


def _refusal(path: Path, message: str, remedy: str) -> errors.StoreError:
    return errors.StoreError(f"store {path}: {message} ({remedy})")


def _damaged_log(path: Path) -> errors.StoreError:
    remedy = (
        f"restore a backup of both files; or move {path.name}-wal away and lose its last changes:"
        " jobs are polled again, but events may be sent twice, or not at all"
    )
    return _refusal(path, f"its write-ahead log {path.name}-wal is damaged", remedy)


def _reading(path: Path, mode: str) -> sqlite3.Connection:
    return sqlite3.connect(f"file:{quote(str(path))}?{mode}", uri=True)


def _checked(connection: sqlite3.Connection) -> str:
    """Return the first fault in the pages, if there is one that is found in time."""
    until = time.monotonic() + LONGEST
    connection.set_progress_handler(lambda: time.monotonic() > until, _STEPS)
    try:
        (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.OperationalError as error:
        if "interrupt" not in str(error):
            raise
        verdict = "ok"
    return "" if verdict == "ok" else " ".join(str(verdict).split())


def _held(path: Path) -> int | None:
    """Return how many frames of the log SQLite found to hold, as its index says."""
    try:
        index = named_files.read(path.with_name(f"{path.name}-shm"), _INDEX_FRAMES + 4)
    except OSError:
        return None
    if len(index) < _INDEX_FRAMES + 4:
        return None
    (held,) = struct.unpack_from("=I", index, _INDEX_FRAMES)
    return int(held)


class _Frames:
    """The frames of a log that were written since it began anew: which of them end a commit."""

    def __init__(self, commits: list[bool]) -> None:
        self._commits = commits

    @classmethod
    def of(cls, log: Path) -> _Frames | None:
        """Read the beginnings of all frames; ``None`` if even the log's own is garbage."""
        try:
            with log.open("rb") as file:
                header = file.read(_LOG_HEADER.size)
                if len(header) < _LOG_HEADER.size or not any(header):
                    return cls([])  # a power cut came before anything was in it
                if not _is_intact(header):
                    return None
                size, salts = _LOG_HEADER.unpack(header)[2], header[16:24]
                return cls(list(_read(file, size, salts)))
        except OSError:
            return cls([])

    def lost_after(self, held: int | None) -> bool:
        """Whether commits are lost behind the frames that hold.

        A power cut tears at most the last commit, which was confirmed to nobody. Where two
        ends of commits follow what is torn, the first was on the disk before the second began.
        """
        return held is not None and sum(self._commits[held:]) > 1


def _read(file: BinaryIO, size: int, salts: bytes) -> Iterator[bool]:
    for _ in range(_MOST_FRAMES):
        header = file.read(_FRAME_HEADER.size)
        if len(header) < _FRAME_HEADER.size:
            return
        yield header[8:16] == salts and _FRAME_HEADER.unpack(header)[1] > 0
        file.seek(size, os.SEEK_CUR)


def _is_intact(header: bytes) -> bool:
    """Whether magic number and checksum of the log's own beginning are right."""
    magic, *_, first, second = _LOG_HEADER.unpack(header)
    order = _LOG_MAGIC.get(magic)
    if order is None:
        return False
    one = two = 0
    for left, right in struct.iter_unpack(f"{order}2I", header[:24]):
        one = (one + left + two) & 0xFFFFFFFF
        two = (two + right + one) & 0xFFFFFFFF
    return (one, two) == (first, second)
