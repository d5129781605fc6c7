"""YAML files and directories of them → one tree, or every mistake in them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic_settings import InitSettingsSource

from monitor.config import named_files, yaml_document
from monitor.config.settings import Settings
from monitor.config.yaml_document import Node, dotted
from monitor.errors import Problem

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

LARGEST = 16 * 1024 * 1024
"""Bytes of one file."""
PIPE_WITHIN = 10.0
"""Seconds in which a pipe that stands for a file must have been written."""
_REMEDY = "check the path and its permissions"
_SUFFIXES = {".yaml", ".yml"}


class Files(InitSettingsSource):
    """The settings that files give.

    Later files add to earlier ones: maps are merged, lists joined, and no single value may
    stand in two. The library's own YAML source does neither of these, skips files that are
    not there, takes a key given twice, and knows no lines.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        """Read all files; ``whole`` tells whether all that they say is known."""
        self.tree, self.problems, self.whole = _merged(paths)
        super().__init__(Settings, yaml_document.plain(self.tree))


def files(paths: Sequence[Path]) -> list[Path]:
    """Name the files that ``load`` reads, in their order.

    Of a directory these are its ``*.yaml`` and ``*.yml``, sorted, without hidden ones
    (so without the ``..data`` of Kubernetes, whose links beside it are followed).

    Raises:
        OSError, ValueError: a directory cannot be read.
    """
    return [file for path in paths for file in (_inside(path) if path.is_dir() else [path])]


def _inside(directory: Path) -> list[Path]:
    return sorted(
        file
        for file in directory.iterdir()
        if file.suffix in _SUFFIXES and not file.name.startswith(".") and not file.is_dir()
    )


def _merged(paths: Sequence[Path]) -> tuple[Node, list[Problem], bool]:
    """Return all files as one tree, what is wrong, and whether nothing of them is missing."""
    tree, problems, whole = Node({}), list[Problem](), True
    for path in paths:
        listed = _listed(path, problems)
        whole = whole and bool(listed)
        for file in listed:
            found, more = _read(file)
            problems += more
            whole = whole and found is not None
            tree = _joined(tree, found, (), problems) if found else tree
    return tree, problems, whole


def _listed(path: Path, problems: list[Problem]) -> list[Path]:
    try:
        found = files([path])
    except (OSError, ValueError) as error:
        problems.append(_unreadable(path, error))
        return []
    if not found:
        problems.append(Problem(str(path), "", "holds no *.yaml or *.yml file", "add one"))
    return found


def _unreadable(path: Path, error: Exception) -> Problem:
    message = f"cannot be read: {named_files.reason(error)}"
    return Problem(yaml_document.shown(str(path), 300), "", message, _REMEDY)


def _read(path: Path) -> tuple[Node | None, list[Problem]]:
    try:
        content = named_files.read(path, LARGEST + 1, pipe_within=PIPE_WITHIN)
    except (OSError, ValueError) as error:
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
    tree, problems = yaml_document.parse(text, lambda line: f"{path}:{line}")
    if tree is None or isinstance(tree.value, dict):
        return tree, problems
    remedy = "begin with a key such as `watches:`"
    message = "the file is empty" if tree.value is None else "must be a map of keys to values"
    return None, [*problems, Problem(tree.place, "", message, remedy)]


def _joined(one: Node, two: Node, path: yaml_document.Path, problems: list[Problem]) -> Node:
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
