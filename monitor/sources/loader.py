"""The loader of job types: the built-in ones and those of the user's directory."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from pydantic import ValidationError

from monitor.aws import service_models
from monitor.config import named_files, unforeseen
from monitor.errors import ConfigurationError, Problem
from monitor.sources import model_check
from monitor.sources.declaration import Declaration
from monitor.sources.jmespath_check import suggestion

if TYPE_CHECKING:
    from botocore.loaders import Loader

    from monitor.sources.job_type import JobType

LARGEST = 1024 * 1024
"""Characters of one file."""
MOST_VALUES = 50_000
"""Values of one file."""
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
            with unforeseen.refused(str(path), what="the job type"):
                job_type = _load(path, models)
                if job_type.name in found:
                    message = f'"{job_type.name}" exists already'
                    problem = Problem(str(path), "name", message, "choose another name")
                    raise ConfigurationError([problem])  # noqa: TRY301 -- gathered with the rest
                found[job_type.name] = job_type
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
    with unforeseen.refused(str(path), what="the job type"):
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
    except (OSError, ValueError) as error:
        message = f"{named_files.called(directory)} cannot be read: {named_files.reason(error)}"
        remedy = "name a directory of job type files, or leave job_types_dir out"
        problems.append(Problem("", "job_types_dir", message, remedy))
        return []


def _load(path: Path, models: Loader) -> JobType:
    place = path.name if path.parent == BUILT_IN else str(path)
    try:
        form = Declaration.model_validate(_read(path, place))
    except ValidationError as error:
        errors = error.errors(include_input=False, include_url=False)
        problems = [_problem(place, one["type"], one["msg"], one["loc"]) for one in errors]
    else:
        return model_check.checked(form, models, place)
    raise ConfigurationError(problems)


def _read(path: Path, place: str) -> Any:
    try:
        text = named_files.read(path, LARGEST + 1).decode("utf-8")
        if len(text) > LARGEST:
            raise ConfigurationError([Problem(place, "", "is larger than 1 MiB", "split it")])
        return yaml.load(text, _Strict)  # noqa: S506  # a safe loader's subclass
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = f"{place}:{mark.line + 1}" if mark else place
        words = str(error.problem or error.context)
        refused = isinstance(error, _RefusedError)
        key = error.key if isinstance(error, _RefusedError) else ""
        problem = Problem(place, key, words if refused else f"not YAML: {words}", error.note or "")
    except OSError as error:
        remedy = "check the file and its permissions, or remove it"
        problem = Problem(place, "", f"cannot be read: {named_files.reason(error)}", remedy)
    except UnicodeDecodeError:
        problem = Problem(place, "", "is not text in UTF-8", "save it as UTF-8")
    except RecursionError:
        problem = Problem(place, "", "is nested too deep", "write it flatter")
    except (yaml.YAMLError, ValueError, TypeError, OverflowError) as error:
        # Its own words may repeat the text: an impossible date, a key that is a list.
        message = f"holds a value that YAML cannot read ({type(error).__name__})"
        problem = Problem(place, "", message, "put texts in quotes")
    raise ConfigurationError([problem])


class _RefusedError(yaml.MarkedYAMLError):
    """Valid YAML that a declaration may not hold; ``note`` is the fix."""

    def __init__(self, problem: str, node: yaml.Node, note: str = "", key: str = "") -> None:
        super().__init__(problem=problem, problem_mark=node.start_mark, note=note)
        self.key = key


_KINDS = {
    "bool": "true or false",
    "int": "a whole number",
    "float": "a number",
    "timestamp": "a date",
    "binary": "base64",
}
"""Names for the values of YAML's own tags."""


class _Strict(yaml.SafeLoader):
    """Refuse what would lose half of a declaration, or cost more than a file may.

    PyYAML lets the last of two equal keys win, writes aliases out without end, and takes half of
    a surrogate pair, which is no text that could be sent or printed.
    """

    def get_single_node(self) -> yaml.Node | None:
        root: yaml.Node | None = super().get_single_node()
        if root is not None:
            _size(root, {}, ())
        self._root = root
        return root

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:  # noqa: FBT001, FBT002  # PyYAML's own signature
        try:
            return super().construct_object(node, deep)
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError):
            # PyYAML makes what a tag or the look of a text promises, and checks nothing before.
            kind = _KINDS.get(node.tag.rpartition(":")[2], "what its tag says")
            remedy = "put it in quotes if it is text, and remove a tag such as !!bool"
            raise _RefusedError(
                f"cannot be read as {kind}", node, remedy, _key_of(node, self._root)
            ) from None

    def construct_scalar(self, node: yaml.ScalarNode | yaml.MappingNode) -> Any:
        if any("\ud800" <= letter <= "\udfff" for letter in str(node.value)):
            words = "a text holds half of a surrogate pair"
            raise _RefusedError(words, node, "write the whole character")
        return super().construct_scalar(node)

    def construct_mapping(  # PyYAML calls it for a text with the tag !!map as well
        self,
        node: yaml.MappingNode | yaml.ScalarNode,
        deep: bool = False,  # noqa: FBT001, FBT002
    ) -> dict[Any, Any]:
        if not isinstance(node, yaml.MappingNode):
            words = "expected a mapping node, but found scalar"
            raise yaml.MarkedYAMLError(problem=words, problem_mark=node.start_mark)
        keys = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                continue
            if key.value in keys:
                raise yaml.MarkedYAMLError(
                    problem=f'the key "{key.value}" is written twice', problem_mark=key.start_mark
                )
            keys.add(key.value)
        return super().construct_mapping(node, deep)


def _key_of(wanted: yaml.Node, holder: yaml.Node | None) -> str:
    """Return where in the declaration a value stands, as ``describe.params``."""
    pairs: list[tuple[str, yaml.Node]] = []
    if isinstance(holder, yaml.MappingNode):
        pairs = [(f".{key.value}", child) for key, child in holder.value]
    elif isinstance(holder, yaml.SequenceNode):
        pairs = [(f"[{number}]", child) for number, child in enumerate(holder.value)]
    for step, child in pairs:
        below = "" if child is wanted else _key_of(wanted, child)
        if below or child is wanted:
            return f"{step}.{below}".rstrip(".").removeprefix(".").replace(".[", "[")
    return ""


def _size(node: yaml.Node, known: dict[int, int], above: tuple[int, ...]) -> int:
    """Return the number of values with all aliases written out, if it is not too many."""
    if id(node) in known:
        return known[id(node)]
    if id(node) in above:
        raise _RefusedError("an alias names what holds it", node, "write it without the alias")
    children: list[yaml.Node] = []
    if isinstance(node, yaml.SequenceNode):
        children = node.value
    elif isinstance(node, yaml.MappingNode):
        children = [child for pair in node.value for child in pair]
    found = 1 + sum(_size(child, known, (*above, id(node))) for child in children)
    if found > MOST_VALUES:
        words = f"more than {MOST_VALUES:,} values with all aliases written out"
        raise _RefusedError(words, node, "use fewer aliases")
    known[id(node)] = found
    return found


def _problem(place: str, kind: str, message: str, location: tuple[int | str, ...]) -> Problem:
    """Say in plain words what pydantic found at a location."""
    keys = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location)
    message, remedy = message.removeprefix("Value error, "), ""
    match kind:
        case "extra_forbidden":
            message = "no such key"
            if len(location) == 1:
                fields = Declaration.model_fields.items()
                known = (field.alias or name for name, field in fields)
                remedy = suggestion(str(location[0]), known)
        case "model_type" if not location:
            message, remedy = "not a mapping", "start with name: …"
        case "missing":
            message = "this key is required"
        case "invalid_key":
            message, remedy = "a key that is not text", "put the key in quotes"
        case "string_type":
            message = "not a text"
            remedy = "put it in quotes: YAML reads a bare yes, no, on, off as a boolean"
    return Problem(place, keys.removeprefix("."), message, remedy)
