"""The files of job types: the built-in ones and those of the user's directory.

Nothing here needs the models of AWS, so that a list of the types can do without.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError

from monitor.config import named_files, yaml_document, yaml_files
from monitor.errors import ConfigurationError, Problem
from monitor.sources.declaration import Declaration
from monitor.sources.jmespath_check import suggestion

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from monitor.config.yaml_document import Node

LARGEST = 1024 * 1024
"""Bytes of one file."""
BUILT_IN = Path(__file__).with_name("job_types")


def declarations(directory: Path | None) -> Iterator[Declaration]:
    """Yield what the job types declare, unchecked against any model: for a list of them.

    Raises:
        ConfigurationError: with every problem of the first file that has any.
    """
    problems: list[Problem] = []
    own = [declared(path)[0] for path in own_files(directory, problems)]
    if problems:
        raise ConfigurationError(problems)
    replaced = {one.name for one in own}
    yield from own
    yield from (declared(path)[0] for name, path in built_in().items() if name not in replaced)


@cache
def built_in() -> Mapping[str, Path]:
    """Return the files of the built-in types; each has the name of its type."""
    return {path.stem: path for path in yaml_files.yaml_in(BUILT_IN)}


def own_files(directory: Path | None, problems: list[Problem]) -> list[Path]:
    """Return the files of the user's directory; adds to ``problems`` if it cannot be read."""
    if directory is None:
        return []
    try:
        return yaml_files.yaml_in(directory)
    except (OSError, ValueError) as error:
        message = f"{named_files.called(directory)} cannot be read: {named_files.reason(error)}"
        remedy = "name a directory of job type files, or leave job_types_dir out"
        problems.append(Problem("", "job_types_dir", message, remedy))
        return []


def declared(path: Path) -> tuple[Declaration, Node, str]:
    """Read a file; return what it declares, with the lines and the name of the file."""
    name = path.name if path.parent == BUILT_IN else str(path)
    tree, problems = yaml_document.read_file(path, LARGEST, name=name, too_large="split it")
    if tree is None or problems:
        raise ConfigurationError(problems)
    try:
        return Declaration.model_validate(tree.plain()), tree, name
    except ValidationError as error:
        raise ConfigurationError(list(_problems(error, tree))) from None


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


def own_names(directory: Path) -> list[str]:
    """Return the names of the user's types; a file with a problem has none."""
    found = []
    for path in own_files(directory, []):
        try:
            found.append(declared(path)[0].name)
        except ConfigurationError:
            continue
    return found
