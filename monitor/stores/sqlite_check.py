"""The check of a SQLite file before it is used: it must be a store, and intact.

SQLite itself would change the journal of another program's database and wait at a FIFO. It would
skip a damaged write-ahead log without an error, and lose its commits. Nothing is changed here.
"""

from __future__ import annotations

import os
import sqlite3
import stat
import struct
import threading
from contextlib import closing
from typing import TYPE_CHECKING
from urllib.parse import quote

from monitor import errors
from monitor.config import named_files
from monitor.stores import database

if TYPE_CHECKING:
    from pathlib import Path

LONGEST = 0.5
"""Seconds for the check of the pages; a larger database is checked in part.

A start with years of history takes less than twice as long as one without.
"""

_MAGIC = b"SQLite format 3\0"
_LOG_MAGIC = {0x377F0682: "<", 0x377F0683: ">"}
"""First word of a write-ahead log → the byte order of its checksums (sqlite.org/walformat.html)."""
_LOG_HEADER = struct.Struct(">8I")
_FRAME_HEADER = struct.Struct(">6I")
_MOST_FRAMES = 100_000
_INDEX_FRAMES = 16
"""Offset, in the index beside the log, of the number of frames that SQLite found valid."""
_OTHER = "name another path; job-monitor makes the file itself"


def require_kind(path: Path) -> None:
    """Require that ``path`` names a regular file or nothing.

    Raises:
        StoreError: it names something else; the message has the remedy.
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


def require_content(path: Path) -> None:
    """Require that a file is empty, or a database with the tables of a store or none at all.

    Raises:
        StoreError: it is something else; the message has the remedy.
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
        # Without ``immutable``, SQLite would recover the log, and so write.
        uri = f"file:{quote(str(path))}?immutable=1"
        with closing(sqlite3.connect(uri, uri=True)) as connection:
            found = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
            names = {name for (name,) in found}
    except sqlite3.Error:
        return  # opening it will say why
    database.require_ours(names, str(path), alone=True)


def require_intact(path: Path) -> None:
    """Require that the write-ahead log is intact, and all pages that can be checked in time.

    No other process may use the file meanwhile.

    Raises:
        StoreError: something is damaged; the message has the remedy.
    """
    if not path.exists() or not path.stat().st_size:
        return
    commits = _commits(path.with_name(f"{path.name}-wal"))
    damaged_log = commits is None
    fault = ""
    if commits is not None:
        try:
            uri = f"file:{quote(str(path))}?mode=ro"
            with closing(sqlite3.connect(uri, uri=True)) as connection:
                fault = _fault(connection)
                # Only now, while the connection is open, the index beside the log is up to date.
                valid = _valid_frames(path)
                # A power cut tears at most the last commit, which nobody saw confirmed. If two
                # commits end behind the torn frame, the first was on disk before the second began.
                damaged_log = valid is not None and sum(commits[valid:]) > 1
        except sqlite3.Error as error:
            fault = str(error)
            if not database.is_damage(fault):
                return  # opening it will say why
    if damaged_log:
        remedy = (
            f"restore a backup of both files; or move {path.name}-wal away and lose its last"
            " changes: jobs are polled again, but events may be sent twice, or not at all"
        )
        raise _refusal(path, f"its write-ahead log {path.name}-wal is damaged", remedy)
    if fault:
        raise _refusal(path, f"it is damaged: {fault}", database.RECOVERY)


def _refusal(path: Path, message: str, remedy: str) -> errors.StoreError:
    return errors.StoreError(f"store {path}: {message} ({remedy})")


def _fault(connection: sqlite3.Connection) -> str:
    """Return the first fault in the pages that is found in time, or an empty text."""
    # Not by a progress handler: to SQLite, the check of a whole table is one step.
    alarm = threading.Timer(LONGEST, connection.interrupt)
    alarm.start()
    try:
        (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.OperationalError as error:
        if "interrupt" not in str(error):
            raise
        verdict = "ok"
    finally:
        alarm.cancel()
        alarm.join()
    return "" if verdict == "ok" else " ".join(str(verdict).split())


def _valid_frames(path: Path) -> int | None:
    """Return how many frames of the log SQLite found valid, from the index beside it."""
    try:
        index = named_files.read(path.with_name(f"{path.name}-shm"), _INDEX_FRAMES + 4)
        (valid,) = struct.unpack_from("=I", index, _INDEX_FRAMES)
    except (OSError, struct.error):
        return None
    return int(valid)


def _commits(log: Path) -> list[bool] | None:
    """Return, for each frame since the log was restarted, if it ends a commit.

    ``None`` means that the header of the log is damaged.
    """
    commits: list[bool] = []
    try:
        with log.open("rb") as file:
            header = file.read(_LOG_HEADER.size)
            if len(header) < _LOG_HEADER.size or not any(header):
                return []  # a power cut came before the header was written
            magic, _version, size, *_, first, second = _LOG_HEADER.unpack(header)
            if magic not in _LOG_MAGIC:
                return None
            # The log's own checksum, see sqlite.org/fileformat2.html#walformat.
            one = two = 0
            for left, right in struct.iter_unpack(f"{_LOG_MAGIC[magic]}2I", header[:24]):
                one = (one + left + two) & 0xFFFFFFFF
                two = (two + right + one) & 0xFFFFFFFF
            if (one, two) != (first, second):
                return None
            while len(commits) < _MOST_FRAMES:
                frame = file.read(_FRAME_HEADER.size)
                if len(frame) < _FRAME_HEADER.size:
                    break
                # Frames with other salts are left from before the log was restarted.
                commits.append(frame[8:16] == header[16:24] and _FRAME_HEADER.unpack(frame)[1] > 0)
                file.seek(size, os.SEEK_CUR)
    except OSError:
        return []
    return commits
