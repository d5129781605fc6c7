"""Every job type there is: the built-in ones and those of the user's directory."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError

from monitor.aws import service_models
from monitor.config import named_files, unforeseen, yaml_document, yaml_files
from monitor.errors import ConfigurationError, Problem
from monitor.sources import model_check
from monitor.sources.declaration import Declaration
from monitor.sources.jmespath_check import suggestion

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from botocore.loaders import Loader

    from monitor.config.yaml_document import Node
    from monitor.sources.job_type import JobType

LARGEST = 1024 * 1024
"""Bytes of one file."""
BUILT_IN = Path(__file__).with_name("job_types")


def load_job_types(directory: Path | None, models: Loader | None = None) -> dict[str, JobType]:
    """Return the built-in job types, and those of the YAML files in ``directory``, by name.

    Reads files, and the service models that the types name.

    Raises:
        ConfigurationError: with every problem of every file.
    """
    models = models or service_models.loader()
    found: dict[str, JobType] = {}
    problems: list[Problem] = []
    for path in (*yaml_files.yaml_in(BUILT_IN), *_own_files(directory, problems)):
        try:
            with unforeseen.refused(str(path), what="the job type"):
                job_type = _load(path, models)
        except ConfigurationError as error:
            problems.extend(error.problems)
            continue
        if job_type.name in found:
            message = f'"{job_type.name}" exists already'
            problems.append(Problem(str(path), "name", message, "choose another name"))
        else:
            found[job_type.name] = job_type
    if problems:
        raise ConfigurationError(problems)
    return found


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
    name = path.name if path.parent == BUILT_IN else str(path)
    tree, problems = yaml_document.read_file(path, LARGEST, name=name, too_large="split it")
    if tree is None or problems:
        raise ConfigurationError(problems)

    def placed(found: Iterable[Problem]) -> Iterator[Problem]:
        # The check knows keys, and the tree the lines in which they were written.
        return (replace(one, place=tree.place_of(_path(one.path))) for one in found)

    try:
        form = Declaration.model_validate(tree.plain())
        made = model_check.checked(form, models, name)
    except ValidationError as error:
        raise ConfigurationError(list(_problems(error, tree))) from None
    except ConfigurationError as error:
        raise ConfigurationError(list(placed(error.problems))) from None
    return replace(made, warnings=tuple(placed(made.warnings)))


def _path(dotted: str) -> tuple[str | int, ...]:
    """Return the keys and indexes of ``final[0].status``."""
    # An index must be a number again, as the tree has no text key of that name.
    parts = re.findall(r"\[(\d+)\]|([^.\[]+)", dotted)
    return tuple(int(index) if index else key for index, key in parts)


def _problems(error: ValidationError, tree: Node) -> Iterator[Problem]:
    # Without the input: a declaration may hold a secret in the wrong place.
    for one in error.errors(include_input=False, include_url=False):
        location, remedy = one["loc"], ""
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
