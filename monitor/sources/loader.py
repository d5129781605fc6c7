"""Every job type there is: the built-in ones and those of the user's directory."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError

from monitor.aws import service_models
from monitor.config import named_files, unforeseen, yaml_document, yaml_files
from monitor.errors import ConfigurationError, Problem
from monitor.sources import model_check
from monitor.sources.declaration import Declaration
from monitor.sources.jmespath_check import suggestion
from monitor.sources.job_type import JobType

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from botocore.loaders import Loader

    from monitor.config.yaml_document import Node

LARGEST = 1024 * 1024
"""Bytes of one file."""
BUILT_IN = Path(__file__).with_name("job_types")


class JobTypes(Mapping[str, JobType]):
    """The built-in job types, and those of a user, by name.

    A built-in one is read when it is first asked for: a daemon should not hold the models of
    fifty services of which it watches two.
    """

    def __init__(self, own: Mapping[str, JobType], models: Loader) -> None:
        """Take the types of the user, which are read and checked already."""
        self._found = dict(own)
        self._names = tuple(sorted({*_built_in(), *own}))
        self._models = models

    def __getitem__(self, name: str) -> JobType:
        """Return a job type; reads its file and the model of its service if it is built in."""
        if name not in self._found:
            if name not in self._names:
                raise KeyError(name)
            self._found[name] = load_job_type(_built_in()[name], self._models)
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
    for path in _own_files(directory, problems):
        try:
            job_type = load_job_type(path, models)
        except ConfigurationError as error:
            problems.extend(error.problems)
            continue
        if job_type.name in found:
            message = f'"{job_type.name}" exists already'
            problems.append(Problem(str(path), "name", message, "choose another name"))
        elif job_type.name in _built_in():
            # A later version may ship a type that a user has had for long: theirs goes on.
            message = f'"{job_type.name}" is used in place of the built-in type of this name'
            note = Problem(str(path), "name", message, "remove the file to use that", warning=True)
            found[job_type.name] = replace(job_type, warnings=(*job_type.warnings, note))
        else:
            found[job_type.name] = job_type
    if problems:
        raise ConfigurationError(problems)
    return JobTypes(found, models)


def declarations(directory: Path | None) -> Iterator[Declaration]:
    """Yield what the job types declare, unchecked against any model: for a list of them.

    Raises:
        ConfigurationError: with every problem of the first file that has any.
    """
    problems: list[Problem] = []
    own = [_declared(path)[0] for path in _own_files(directory, problems)]
    if problems:
        raise ConfigurationError(problems)
    replaced = {one.name for one in own}
    yield from own
    yield from (_declared(path)[0] for name, path in _built_in().items() if name not in replaced)


@cache
def _built_in() -> Mapping[str, Path]:
    """Return the files of the built-in types; each has the name of its type."""
    return {path.stem: path for path in yaml_files.yaml_in(BUILT_IN)}


def load_job_type(path: Path, models: Loader | None = None) -> JobType:
    """Return the job type that one file declares.

    Raises:
        ConfigurationError: with every problem of the file.
    """
    with unforeseen.refused(str(path), what="the job type"):
        return _load(path, models or service_models.loader())


def _own_files(directory: Path | None, problems: list[Problem]) -> list[Path]:
    if directory is None:
        return []
    try:
        return yaml_files.yaml_in(directory)
    except (OSError, ValueError) as error:
        message = f"{named_files.called(directory)} cannot be read: {named_files.reason(error)}"
        remedy = "name a directory of job type files, or leave job_types_dir out"
        problems.append(Problem("", "job_types_dir", message, remedy))
        return []


def _load(path: Path, models: Loader) -> JobType:
    form, tree, name = _declared(path)

    def placed(found: Iterable[Problem]) -> Iterator[Problem]:
        # The check knows keys, and the tree the lines in which they were written.
        return (replace(one, place=tree.place_of(_path(one.path))) for one in found)

    try:
        made = model_check.checked(form, models, name, drifts=path.parent == BUILT_IN)
    except ConfigurationError as error:
        raise ConfigurationError(list(placed(error.problems))) from None
    return replace(made, warnings=tuple(placed(made.warnings)))


def _declared(path: Path) -> tuple[Declaration, Node, str]:
    """Read a file; return what it declares, with the lines and the name of the file."""
    name = path.name if path.parent == BUILT_IN else str(path)
    tree, problems = yaml_document.read_file(path, LARGEST, name=name, too_large="split it")
    if tree is None or problems:
        raise ConfigurationError(problems)
    try:
        return Declaration.model_validate(tree.plain()), tree, name
    except ValidationError as error:
        raise ConfigurationError(list(_problems(error, tree))) from None


def _path(dotted: str) -> tuple[str | int, ...]:
    """Return the keys and indexes of ``final[0].status``."""
    # An index must be a number again, as the tree has no text key of that name.
    parts = re.findall(r"\[(\d+)\]|([^.\[]+)", dotted)
    return tuple(int(index) if index else key for index, key in parts)


def _problems(error: ValidationError, tree: Node) -> Iterator[Problem]:
    # Without the input: a declaration may hold a secret in the wrong place.
    for one in error.errors(include_input=False, include_url=False):
        location, remedy = one["loc"], ""
        if location[:2] == ("list", 0) and isinstance(tree.plain().get("list"), dict):
            # A single listing need not be a list, and is not called the first of one.
            location = ("list", *location[2:])
        match one["type"]:
            case "extra_forbidden":
                message = "no such key"
                if len(location) == 1:
                    fields = Declaration.model_fields.items()
                    names = (field.alias or name for name, field in fields)
                    remedy = suggestion(str(location[0]), names)
            case "model_type" if not location:
                message, remedy = "not a map of keys to values", "start with name: …"
            case "missing":
                message = "this key is required"
            case "string_type":
                message, remedy = "not a text", "put it in quotes"
            case _:
                message = one["msg"].removeprefix("Value error, ")
        text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location)
        yield Problem(tree.place_of(location), text.removeprefix("."), message, remedy)
