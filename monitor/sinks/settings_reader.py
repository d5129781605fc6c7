"""Reads what the settings of one sink name, and collects what is wrong with it."""

from __future__ import annotations

from monitor.config import named_files
from monitor.errors import Problem
from monitor.redaction import HIDDEN

MAX_BYTES = 8190
"""Of a secret or header file: no server takes a longer header line."""


class SettingsReader:
    """Blocks on the file system; no problem repeats the content of a file."""

    def __init__(self, sink: str, *, secrets: bool = True) -> None:
        """``sink`` is the sink's name in the configuration.

        Without ``secrets`` no file is opened: each stands for ``***``.
        """
        self.problems: list[Problem] = []
        self._path = f"sinks.{sink}"
        self.reads_secrets = secrets

    def problem(self, key: str, message: str, remedy: str = "") -> None:
        """Add a problem of the setting ``key``."""
        self.problems.append(Problem("", f"{self._path}.{key}", message, remedy))

    def file(self, key: str, path: str) -> str | None:
        """Return the text of a small file without the white space around it."""
        if not self.reads_secrets:
            return HIDDEN
        data = self.content(key, path, MAX_BYTES)
        if data is None:
            return None
        try:
            text = data.decode().strip()
        except ValueError:
            message = f"{named_files.called(path)} is not a text file in UTF-8"
            self.problem(key, message, "check the path")
            return None
        if text and len(data) <= MAX_BYTES:
            return text
        message = f"{named_files.called(path)} is {'too long' if text else 'empty'}"
        self.problem(key, message, "check its content")
        return None

    def content(self, key: str, path: str, limit: int) -> bytes | None:
        """Return up to ``limit`` bytes of a file, and one more if there are more."""
        try:
            return named_files.read(path, limit + 1)
        except (OSError, ValueError) as error:
            holds = named_files.PEM if key.startswith("tls.") else "the secret"
            self.problem(key, *named_files.trouble(path, error, holds))
        return None
