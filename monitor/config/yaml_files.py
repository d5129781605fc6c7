"""YAML files and directories of them → one tree, and every problem in them."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from monitor.config import named_files, yaml_document
from monitor.config.yaml_document import Node, dotted, shown
from monitor.errors import Problem

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

LARGEST = 16 * 1024 * 1024
"""Bytes of one file."""
PIPE_WITHIN = 10.0
"""Seconds in which a pipe that stands for a file must have been written."""


def files(paths: Sequence[Path]) -> list[Path]:
    """Return the files that ``load`` reads, in their order.

    Of a directory these are its ``*.yaml`` and ``*.yml``, sorted, without hidden ones
    (so without the ``..data`` of Kubernetes, whose links beside it are followed).

    Raises:
        OSError, ValueError: a directory cannot be read.
    """
    return [file for path in paths for file in (yaml_in(path) if path.is_dir() else [path])]


def yaml_in(directory: Path) -> list[Path]:
    """Return the YAML files of a directory, sorted; hidden ones belong to others (an editor).

    Raises:
        OSError, ValueError: it cannot be read.
    """
    return sorted(
        file
        for file in directory.iterdir()
        if file.suffix in {".yaml", ".yml"} and not file.name.startswith(".") and not file.is_dir()
    )


def read_files(paths: Sequence[Path]) -> tuple[Node, list[Problem], bool]:
    """Return all files as one tree, every problem, and whether all of them could be read.

    Later files add to earlier ones: maps are merged, lists joined, and a single value may stand
    in one file only.
    """
    tree, problems, complete = Node({}), list[Problem](), True

    def clash(one: Node, two: Node, path: yaml_document.Path) -> None:
        remedy = f"it is also given at {one.place}; keep one"
        problems.append(Problem(two.place, dotted(path), "is given in two files", remedy))

    for path in paths:
        try:
            listed = files([path])
        except (OSError, ValueError) as error:
            message = f"cannot be read: {named_files.reason(error)}"
            remedy = "check the path and its permissions"
            problems.append(Problem(shown(str(path), 300), "", message, remedy))
            complete = False
            continue
        if not listed:
            problems.append(Problem(str(path), "", "holds no *.yaml or *.yml file", "add one"))
            complete = False
        # A file that cannot be read does not hide the problems of the others.
        for file in listed:
            found = _read(file, problems)
            complete = complete and found is not None
            tree = yaml_document.joined(tree, found, clash=clash) if found else tree
    return tree, problems, complete


def _read(path: Path, problems: list[Problem]) -> Node | None:
    read = partial(named_files.read, limit=LARGEST + 1, pipe_within=PIPE_WITHIN)
    tree, found = yaml_document.read_file(path, LARGEST, read=read)
    problems += found
    if tree is None or isinstance(tree.value, dict):
        return tree
    remedy = "begin with a key such as `watches:`"
    message = "the file is empty" if tree.value is None else "must be a map of keys to values"
    problems.append(Problem(tree.place, "", message, remedy))
    return None
