"""Problems of single settings, and the checks that several sections share."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from monitor.config import messages, named_files
from monitor.config.yaml_document import Path, shown

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_ENOUGH = 65536
"""Bytes of a secret's file; no secret is longer."""


@dataclass(frozen=True, slots=True)
class SettingProblem:
    """A problem of the setting at ``path``; a ``warning`` may be what the user wants."""

    path: Path
    message: str
    remedy: str = ""
    warning: bool = False


def unknown(path: Path, what: str, word: str, known: Iterable[str]) -> SettingProblem:
    """Say that ``word`` is not a known ``what``, and which may have been meant."""
    return SettingProblem(path, f'unknown {what} "{shown(word)}"', messages.one_of(word, known))


def check_name(path: Path, name: str) -> Iterator[SettingProblem]:
    """Refuse a name that could not stand in a job's key, a metric or a URL."""
    if not _NAME.fullmatch(name):
        remedy = "use up to 63 letters, digits, dots, dashes and underscores"
        yield SettingProblem(path, "is not a valid name", remedy)


def check_globs(
    path: Path, globs: Sequence[str], known: Sequence[str] = ()
) -> Iterator[SettingProblem]:
    """Refuse globs that are malformed, or match none of the ``known`` values."""
    for index, glob in enumerate(globs):
        here = (*path, index)
        if malformed := malformed_glob(here, glob):
            yield malformed
        elif known and not any(fnmatchcase(value, glob) for value in known):
            message = f'"{shown(glob)}" matches nothing'
            yield SettingProblem(here, message, messages.one_of(glob, known))


def malformed_glob(path: Path, glob: str) -> SettingProblem | None:
    """Return the problem of a glob that is malformed."""
    if not glob:
        return SettingProblem(path, "is empty", "write * to match everything")
    if "[" in re.sub(r"\[!?\]?[^\]]*\]", "", glob):
        return SettingProblem(path, "has a [ without a ]", "write [[] for the sign itself")
    return None


def check_secret(path: Path, name: str, shortest: int = 0) -> Iterator[SettingProblem]:
    """Refuse a secret's file that cannot be read, is empty, or holds less than ``shortest`` bytes.

    Show neither its content nor its name, where that may be the secret itself.
    """
    try:
        content = named_files.read(name, _ENOUGH).strip()
    except (OSError, ValueError) as error:
        yield SettingProblem(path, *named_files.trouble(name, error))
        return
    if not content:
        yield SettingProblem(path, f"{named_files.called(name)} is empty", "put the secret into it")
    elif len(content) < shortest:
        message = f"holds a token of fewer than {shortest} characters, which can be guessed"
        yield SettingProblem(path, message, "make one: openssl rand -hex 32")
