"""Files and environment → settings, or every mistake in them at once."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from pydantic import ValidationError

from monitor import complaints, documents, settings_environment
from monitor.config import Origin, Settings
from monitor.documents import Node, dotted
from monitor.errors import ConfigurationError, Problem

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

LARGEST = 16 * 1024 * 1024
"""Bytes of one file."""
_SUFFIXES = {".yaml", ".yml"}


def load(paths: Sequence[Path] | None, environ: Mapping[str, str]) -> Settings:
    """Read the settings from files and directories of files, then from the environment.

    Later files add to earlier ones: maps are merged, lists joined, and no single value
    may stand in two. The environment wins over files. Without ``paths`` there is the
    environment alone.

    Raises:
        ConfigurationError: with every mistake in the shape of the settings.
    """
    tree, problems = _merged(paths or ())
    if tree is not None:
        tree, more = settings_environment.overlaid(tree, environ)
        settings, still_more = _settings(tree)
        problems += [*more, *still_more]
        if settings is not None and not problems:
            return settings
    raise ConfigurationError(complaints.tidy(problems))


def files(paths: Sequence[Path]) -> list[Path]:
    """Name the files that ``load`` reads, in their order.

    Of a directory these are its ``*.yaml`` and ``*.yml``, sorted, without hidden ones
    (so without the ``..data`` of Kubernetes, whose links beside it are followed).

    Raises:
        OSError: a directory cannot be read.
    """
    return [file for path in paths for file in (_inside(path) if path.is_dir() else [path])]


def _inside(directory: Path) -> list[Path]:
    return sorted(
        file
        for file in directory.iterdir()
        if file.suffix in _SUFFIXES and not file.name.startswith(".") and not file.is_dir()
    )


def _merged(paths: Sequence[Path]) -> tuple[Node | None, list[Problem]]:
    """Return all files as one tree; ``None`` if what one of them says is not known."""
    tree, problems, whole = Node({}), list[Problem](), True
    for path in paths:
        listed = _listed(path, problems)
        whole = whole and bool(listed)
        for file in listed:
            found, more = _read(file)
            problems += more
            whole = whole and found is not None
            tree = _joined(tree, found, (), problems) if found else tree
    return tree if whole else None, problems


def _listed(path: Path, problems: list[Problem]) -> list[Path]:
    try:
        found = files([path])
    except OSError as error:
        problems.append(_unreadable(path, error))
        return []
    if not found:
        problems.append(Problem(str(path), "", "holds no *.yaml or *.yml file", "add one"))
    return found


def _unreadable(path: Path, error: OSError) -> Problem:
    reason = (error.strerror or "cannot be read").lower()
    return Problem(str(path), "", f"cannot be read: {reason}", "check the path and its permissions")


def _read(path: Path) -> tuple[Node | None, list[Problem]]:
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST + 1)
    except OSError as error:
        return None, [_unreadable(path, error)]
    if len(content) > LARGEST:
        message = f"is larger than {LARGEST // 1024**2} MiB"
        return None, [Problem(str(path), "", message, "split it into several files")]
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        return None, [Problem(f"{path}:{line}", "", "is not text in UTF-8", "save it as UTF-8")]
    return _parsed(path, text)


def _parsed(path: Path, text: str) -> tuple[Node | None, list[Problem]]:
    tree, problems = documents.parse(text, lambda line: f"{path}:{line}")
    if tree is None or isinstance(tree.value, dict):
        return tree, problems
    remedy = "begin with a key such as `watches:`"
    message = "the file is empty" if tree.value is None else "must be a map of keys to values"
    return None, [*problems, Problem(tree.place, "", message, remedy)]


def _joined(one: Node, two: Node, path: documents.Path, problems: list[Problem]) -> Node:
    """Add the second tree to the first."""
    if two.value is None:
        return one
    if one.value is None:
        return two
    if isinstance(one.value, dict) and isinstance(two.value, dict):
        children = dict(one.value)
        for key, child in two.value.items():
            known = children.get(key)
            children[key] = _joined(known, child, (*path, key), problems) if known else child
        return Node(children, one.place or two.place)
    if isinstance(one.value, list) and isinstance(two.value, list):
        return Node([*one.value, *two.value], one.place)
    remedy = f"it is also given at {one.place}; keep one"
    problems.append(Problem(two.place, dotted(path), "is given in two files", remedy))
    return one


def _settings(tree: Node) -> tuple[Settings | None, list[Problem]]:
    try:
        settings = Settings.model_validate(documents.plain(tree))
    except ValidationError as error:
        return None, complaints.complaints(error, tree)
    find = partial(documents.place_of, documents.outline(tree))
    return settings.placed(Origin(find)), []
