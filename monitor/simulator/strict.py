"""The base of everything a scenario or the control API may say, and the texts of its mistakes."""

import difflib
import re
from collections.abc import Iterable, Sequence
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError


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
            raise ValueError(f"{name!r} is not a {what}: {hint}")


def _path(location: tuple[int | str, ...]) -> str:
    text = ""
    for part in location:
        text += f"[{part}]" if isinstance(part, int) else f".{part}"
    return text.lstrip(".") or "(top)"


_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_WHOLE = re.compile(rf"(?:{_PART.pattern})+")


def seconds(value: object) -> float:
    """Read `250ms`, `5s`, `1m30s`, `2h`, `3d` or a bare number of seconds.

    Raises:
        ValueError: it is none of these, or negative.
    """
    if isinstance(value, int | float) and not isinstance(value, bool) and value >= 0:
        return float(value)
    if isinstance(value, str) and _WHOLE.fullmatch(value):
        return sum(float(number) * _SECONDS[unit] for number, unit in _PART.findall(value))
    raise ValueError(f"{value!r} is not a duration: write 250ms, 5s, 1m30s, 2h or 3d")


Duration = Annotated[float, BeforeValidator(seconds)]
