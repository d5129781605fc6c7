"""What a check finds in settings of the right shape."""

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
JOB_TYPES: tuple[Path, ...] = (("job_types_dir",),)
"""What it rests on that a job type or its service is unknown."""


@dataclass(frozen=True, slots=True)
class Finding:
    """A mistake at ``path``; a ``warning`` may be meant so.

    ``rests`` are the other values that it would not be one without: unless all are known, it
    may not be. An empty key in them stands for a name that may be missing.
    """

    path: Path
    message: str
    remedy: str = ""
    warning: bool = False
    rests: tuple[Path, ...] = ()


def unknown(
    path: Path, what: str, word: str, known: Iterable[str], rests: tuple[Path, ...] = ()
) -> Finding:
    """Say that ``word`` is no known ``what``, and which may have been meant."""
    message = f'unknown {what} "{shown(word)}"'
    return Finding(path, message, messages.one_of(word, known), rests=rests)


def unknown_name(path: Path, section: str, word: str, known: Iterable[str]) -> Finding:
    """Say that no ``accounts`` or ``sinks``, as ``section`` is, have the name ``word``."""
    rests = ((section, word), (section, ""))
    return unknown(path, section.removesuffix("s"), word, known, rests)


def bad_names(path: Path, names: Iterable[str]) -> Iterator[Finding]:
    """Refuse the bad ones among the keys of a map."""
    for name in names:
        yield from bad_name((*path, name), name)


def bad_name(path: Path, name: str) -> Iterator[Finding]:
    """Refuse the name at ``path`` if it could not stand in a job's key, a metric or a URL."""
    if not _NAME.fullmatch(name):
        remedy = "use up to 63 letters, digits, dots, dashes and underscores"
        yield Finding(path, "is no usable name", remedy)


def bad_globs(
    path: Path, globs: Sequence[str], known: Sequence[str] = (), rests: tuple[Path, ...] = ()
) -> Iterator[Finding]:
    """Refuse globs that are broken, or fit none of the ``known`` values, which are of ``rests``."""
    for index, glob in enumerate(globs):
        here = (*path, index)
        if broken := broken_glob(here, glob):
            yield broken
        elif known and not any(fnmatchcase(value, glob) for value in known):
            message = f'"{shown(glob)}" fits nothing'
            yield Finding(here, message, messages.one_of(glob, known), rests=rests)


def broken_glob(path: Path, glob: str) -> Finding | None:
    """Refuse a glob that is none."""
    if not glob:
        return Finding(path, "is empty", "write * to match everything")
    if "[" in re.sub(r"\[!?\]?[^\]]*\]", "", glob):
        return Finding(path, "has a [ without its ]", "write [[] for the sign itself")
    return None


def unreadable_secret(path: Path, name: str) -> Iterator[Finding]:
    """Report a secret's file that cannot be read or is empty.

    Neither its content is shown, nor its name where that may be the secret itself.
    """
    try:
        content = named_files.read(name, _ENOUGH)
    except (OSError, ValueError) as error:
        yield Finding(path, *named_files.trouble(name, error))
        return
    if not content.strip():
        yield Finding(path, f"{named_files.called(name)} is empty", "put the secret into it")
