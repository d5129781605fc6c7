"""Reads what the settings of one sink name, and collects what is wrong with it."""

from __future__ import annotations

from pathlib import Path

from monitor.errors import Problem

MAX_BYTES = 8190
"""Of a secret or header file: no server takes a longer header line."""


class Reader:
    """Blocks on the file system; no problem that it tells repeats the content of a file."""

    def __init__(self, sink: str) -> None:
        """``sink`` is the sink's name in the configuration."""
        self.problems: list[Problem] = []
        self._path = f"sinks.{sink}"

    def problem(self, key: str, message: str, remedy: str = "") -> None:
        """Tell what is wrong with the setting ``key``."""
        self.problems.append(Problem("", f"{self._path}.{key}", message, remedy))

    def file(self, key: str, path: str) -> str | None:
        """Return the text of a small file without the white space around it."""
        data = self.content(key, path, MAX_BYTES)
        if data is None:
            return None
        try:
            text = data.decode().strip()
        except ValueError:
            self.problem(key, f"{path} is no text file in UTF-8", "check the path")
            return None
        if text and len(data) <= MAX_BYTES:
            return text
        self.problem(key, f"{path} is {'too long' if text else 'empty'}", "check its content")
        return None

    def content(self, key: str, path: str, limit: int) -> bytes | None:
        """Return up to ``limit`` bytes of a file, and one more if there are more."""
        try:
            if Path(path).is_fifo():  # to open it would wait for a writer
                self.problem(key, f"{path} is no file", "name a file")
                return None
            with Path(path).open("rb") as file:
                return file.read(limit + 1)
        except ValueError:
            self.problem(key, "is no path", "name a file")
        except OSError as error:
            self.problem(key, f"cannot read {path}: {error.strerror}", "check its permissions")
        return None
