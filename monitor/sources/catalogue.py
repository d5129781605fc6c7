"""Every job type there is: the built-in ones and those of the user's directory."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from pydantic import ValidationError

from monitor.aws import service_models
from monitor.errors import ConfigurationError, Problem
from monitor.sources import checking
from monitor.sources.declaration import Declaration
from monitor.sources.expressions import suggestion

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from botocore.loaders import Loader

    from monitor.sources.job_type import JobType

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
    for path in (*_files(BUILT_IN), *_own_files(directory, problems)):
        try:
            _add(found, _load(path, models), path)
        except ConfigurationError as error:
            problems.extend(error.problems)
    if problems:
        raise ConfigurationError(problems)
    return found


def load_job_type(path: Path, models: Loader | None = None) -> JobType:
    """Return the job type that one file declares.

    Raises:
        ConfigurationError: with every problem of the file.
    """
    return _load(path, models or service_models.loader())


def _files(directory: Path) -> list[Path]:
    """Return the YAML files, in order; hidden ones are somebody else's (an editor, Kubernetes)."""
    files = (path for path in directory.iterdir() if path.suffix in {".yaml", ".yml"})
    return sorted(path for path in files if not path.name.startswith("."))


def _own_files(directory: Path | None, problems: list[Problem]) -> list[Path]:
    if directory is None:
        return []
    try:
        return _files(directory)
    except OSError as error:
        message = f"{directory} cannot be read: {error.strerror}"
        problems.append(Problem("", "job_types_dir", message))
        return []


def _add(found: dict[str, JobType], job_type: JobType, path: Path) -> None:
    if job_type.name in found:
        message = f'"{job_type.name}" exists already'
        raise ConfigurationError([Problem(str(path), "name", message, "choose another name")])
    found[job_type.name] = job_type


def _load(path: Path, models: Loader) -> JobType:
    place = path.name if path.parent == BUILT_IN else str(path)
    try:
        form = Declaration.model_validate(_read(path, place))
    except ValidationError as error:
        problems = list(_problems(error, place))
    else:
        return checking.checked(form, models, place)
    raise ConfigurationError(problems)


def _read(path: Path, place: str) -> Any:
    try:
        return yaml.load(path.read_text("utf-8"), _Strict)  # noqa: S506  # a safe loader's subclass
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = f"{place}:{mark.line + 1}" if mark else place
        problem = Problem(place, "", f"not YAML: {error.problem or error.context}")
    except OSError as error:
        problem = Problem(place, "", f"cannot be read: {error.strerror}")
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        problem = Problem(place, "", f"cannot be read: {type(error).__name__}")
    raise ConfigurationError([problem])


class _Strict(yaml.SafeLoader):
    """PyYAML lets the last of two equal keys win, which would lose half of a declaration."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:  # noqa: FBT001, FBT002  # PyYAML's own signature
        seen = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                continue
            if key.value in seen:
                raise yaml.MarkedYAMLError(
                    problem=f'the key "{key.value}" stands twice', problem_mark=key.start_mark
                )
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def _problems(error: ValidationError, place: str) -> Iterator[Problem]:
    for one in error.errors(include_input=False, include_url=False):
        message, remedy = _wording(one["type"], one["msg"], one["loc"])
        yield Problem(place, _key_path(one["loc"]), message, remedy)


def _wording(kind: str, message: str, location: tuple[int | str, ...]) -> tuple[str, str]:
    match kind:
        case "extra_forbidden":
            return "no such key", _nearest(str(location[-1]), location[:-1])
        case "model_type" if not location:
            return "not a mapping", "start with name: …"
        case "missing":
            return "this key is required", ""
        case "string_type":
            return "not a text", "put it in quotes: YAML reads a bare yes, no, on, off as a truth"
    return message.removeprefix("Value error, "), ""


def _nearest(key: str, parents: tuple[int | str, ...]) -> str:
    """Suggest a key of the form's own for a misspelled one at the top level."""
    names = (field.alias or name for name, field in Declaration.model_fields.items())
    return "" if parents else suggestion(key, names)


def _key_path(location: Iterable[int | str]) -> str:
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location)
    return text.removeprefix(".")
