"""The base of everything a scenario or the control API may say, and how mistakes are told."""

import difflib
from collections.abc import Iterable, Sequence

from pydantic import BaseModel, ConfigDict, ValidationError


class Strict(BaseModel):
    """A frozen value that refuses unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class ScenarioError(Exception):
    """The scenario cannot be used; the message has one line per problem."""


def problems(error: ValidationError) -> list[str]:
    """Write each problem as `key.path: what is wrong`, without echoing the input."""
    return [
        f"{_path(problem['loc'])}: {problem['msg'].removeprefix('Value error, ')}"
        for problem in error.errors(include_url=False, include_input=False)
    ]


def check_names(names: Iterable[str], known: Sequence[str], what: str) -> None:
    """Raise ValueError at the first unknown name, with the nearest known one as a suggestion."""
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(known)}"
            raise ValueError(f"{name!r} is no {what}: {hint}")


def _path(location: tuple[int | str, ...]) -> str:
    text = ""
    for part in location:
        text += f"[{part}]" if isinstance(part, int) else f".{part}"
    return text.lstrip(".") or "(top)"
