"""Every job type there is, checked against the model of its service."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from monitor.aws import service_models
from monitor.config import unforeseen
from monitor.errors import ConfigurationError, Problem
from monitor.sources import model_check
from monitor.sources.declarations import BUILT_IN, built_in, declarations, declared, own_files
from monitor.sources.job_type import JobType

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from botocore.loaders import Loader


__all__ = ["BUILT_IN", "JobTypes", "declarations", "load_job_type", "load_job_types"]


class JobTypes(Mapping[str, JobType]):
    """The built-in job types, and those of a user, by name.

    A built-in one is read when it is first asked for: a daemon should not hold the models of
    fifty services of which it watches two.
    """

    def __init__(self, own: Mapping[str, JobType], models: Loader) -> None:
        """Take the types of the user, which are read and checked already."""
        self._found = dict(own)
        self._names = tuple(sorted({*built_in(), *own}))
        self._models = models

    def __getitem__(self, name: str) -> JobType:
        """Return a job type; reads its file and the model of its service if it is built in."""
        if name not in self._found:
            if name not in self._names:
                raise KeyError(name)
            self._found[name] = load_job_type(built_in()[name], self._models)
        return self._found[name]

    def __contains__(self, name: object) -> bool:
        """Return whether there is a type of this name; reads nothing."""
        return name in self._names

    def __iter__(self) -> Iterator[str]:
        """Yield the names in order."""
        return iter(self._names)

    def __len__(self) -> int:
        """Return the number of job types."""
        return len(self._names)


def load_job_types(directory: Path | None, models: Loader | None = None) -> JobTypes:
    """Return the built-in job types, and those of the YAML files in ``directory``, by name.

    Reads the user's files, and the service models that they name.

    Raises:
        ConfigurationError: with every problem of every file.
    """
    models = models or service_models.loader()
    found: dict[str, JobType] = {}
    problems: list[Problem] = []
    for path in own_files(directory, problems):
        try:
            job_type = load_job_type(path, models)
        except ConfigurationError as error:
            problems.extend(error.problems)
            continue
        if job_type.name in found:
            message = f'"{job_type.name}" exists already'
            problems.append(Problem(str(path), "name", message, "choose another name"))
        elif job_type.name in built_in():
            # A later version may ship a type that a user has had for long: theirs goes on.
            message = f'"{job_type.name}" is used in place of the built-in type of this name'
            note = Problem(str(path), "name", message, "remove the file to use that", warning=True)
            found[job_type.name] = replace(job_type, warnings=(*job_type.warnings, note))
        else:
            found[job_type.name] = job_type
    if problems:
        raise ConfigurationError(problems)
    return JobTypes(found, models)


def load_job_type(path: Path, models: Loader | None = None) -> JobType:
    """Return the job type that one file declares.

    Raises:
        ConfigurationError: with every problem of the file.
    """
    with unforeseen.refused(str(path), what="the job type"):
        return _load(path, models or service_models.loader())


def _load(path: Path, models: Loader) -> JobType:
    form, tree, name = declared(path)

    def placed(found: Iterable[Problem]) -> Iterator[Problem]:
        # The check knows keys, and the tree the lines in which they were written.
        return (replace(one, place=tree.place_of(_path(one.path))) for one in found)

    try:
        made = model_check.checked(form, models, name, drifts=path.parent == BUILT_IN)
    except ConfigurationError as error:
        raise ConfigurationError(list(placed(error.problems))) from None
    return replace(made, warnings=tuple(placed(made.warnings)))


def _path(dotted: str) -> tuple[str | int, ...]:
    """Return the keys and indexes of ``final[0].status``."""
    # An index must be a number again, as the tree has no text key of that name.
    parts = re.findall(r"\[(\d+)\]|([^.\[]+)", dotted)
    return tuple(int(index) if index else key for index, key in parts)
