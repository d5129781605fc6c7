"""Waiters of the SDK, and of files in its form, read for the states and errors that they know."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from botocore import xform_name
from botocore.exceptions import DataNotFoundError, UnknownServiceError
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from monitor.aws import service_models
from monitor.config import similar
from monitor.errors import ConfigurationError, Problem
from monitor.model import Phase
from monitor.sources.drafts import words
from monitor.sources.drafts.state import Verdicts

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from botocore.loaders import Loader

_LARGEST = 4 * 1024 * 1024
"""Bytes of a file of waiters."""
_PLAIN_PATH = re.compile(r"\w+(?:\[\])?(?:\.\w+(?:\[\])?)*")
_SHOWN = 60


class Acceptor(BaseModel):
    """One rule of a waiter: what a poll must bring for it to end, or to go on."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    matcher: str
    expected: Any
    state: str
    argument: str | None = None


class Waiter(BaseModel):
    """One waiter."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    operation: str
    acceptors: list[Acceptor]


class _WaiterFile(BaseModel):
    """A file of waiters, as the SDK and Airflow ship them."""

    model_config = ConfigDict(extra="ignore")

    waiters: dict[str, Waiter] = Field(default={})


@dataclass(frozen=True, slots=True)
class Waiters:
    """The waiters of one service."""

    service: str
    known: Mapping[str, Waiter]

    def find(self, name: str) -> Waiter:
        """Return a waiter, by its name in the SDK or in the CLI.

        Raises:
            ConfigurationError: there is none; it names the nearest.
        """
        if name in self.known:
            return self.known[name]
        for one, waiter in self.known.items():
            if xform_name(one, "-").replace("_", "-") == name.replace("_", "-"):
                return waiter
        message = f'unknown waiter of {self.service} "{name[:80]}"'
        remedy = similar(name, self.known) or f"list them: types import-waiter {self.service}"
        raise ConfigurationError([Problem("", "WAITER", message, remedy)])


def of_service(models: Loader, service: str) -> Waiters:
    """Return the waiters that the SDK ships for a service that it has; there may be none."""
    try:
        version = service_models.api_version(service)
        found = models.load_service_model(service, "waiters-2", api_version=version)
    except (DataNotFoundError, UnknownServiceError):
        found = {}
    return Waiters(service, _WaiterFile.model_validate(found).waiters)


def of_file(file: Path, service: str) -> Waiters:
    """Return the waiters of a JSON file.

    Raises:
        ConfigurationError: it cannot be read, or does not hold waiters.
    """
    try:
        if file.stat().st_size > _LARGEST:
            raise ConfigurationError([Problem(str(file), "", "is too large for a file of waiters")])
        return Waiters(service, _WaiterFile.model_validate_json(file.read_bytes()).waiters)
    except OSError as error:
        reason = (error.strerror or "unknown reason").lower()
        remedy = "check the path and its permissions"
        problem = Problem(str(file), "", f"cannot be read: {reason}", remedy)
        raise ConfigurationError([problem]) from None
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        path = ".".join(map(str, first["loc"]))
        remedy = 'a file of waiters is {"version": 2, "waiters": {…}}'
        problem = Problem(str(file), path, first["msg"], remedy)
        raise ConfigurationError([problem]) from None


def verdicts(waiter: Waiter) -> Verdicts:
    """Return the phases of states, and the errors for ``missing``, that a waiter knows.

    What else its acceptors say stands in the notes.
    """
    states: dict[str, tuple[Phase, str]] = {}
    missing: list[str] = []
    notes: list[str] = []
    paths: dict[str, None] = {}
    for one in waiter.acceptors:
        text = one.expected if isinstance(one.expected, str) else None
        ends = f"→ {one.state}"
        if one.matcher == "error" and text and words.is_not_found(text):
            missing.append(text)
        elif one.matcher == "error" and text:
            notes.append(
                f"the waiter also knows the error {text} {ends}; if it means a missing job,"
            )
            notes.append(f"write it into missing: {{code: {text}, where: CONDITION}}")
        elif one.matcher in ("path", "pathAll", "pathAny") and text and one.argument:
            path = one.argument.replace(" ", "")
            if _PLAIN_PATH.fullmatch(path) and not (paths and path not in paths):
                paths[path] = None
                states.setdefault(text, _phase(text, one.state))
            else:
                notes.append(f'left out: {one.argument[:_SHOWN]} is "{text}" {ends}')
        elif one.matcher in ("path", "pathAll", "pathAny") and one.argument:
            notes.append(f"left out: {one.argument[:_SHOWN]} {ends}")
    path = next(iter(paths), "").replace("[]", "")
    return Verdicts(
        path=tuple(path.split(".")) if path else (),
        states=states,
        missing=tuple(dict.fromkeys(missing)),
        notes=tuple(dict.fromkeys(notes)),
    )


def _phase(state: str, verdict: str) -> tuple[Phase, str]:
    """Return the phase of a state that a waiter judges, and a mark if its name contradicts.

    A waiter waits for one change alone: of a deletion, "available" is a failure. So a name that
    says something else counts more, and has to be confirmed.
    """
    phase, sure = words.guess(state)
    match verdict:
        case "success":
            found, agrees = Phase.SUCCEEDED, phase in (Phase.SUCCEEDED, Phase.CANCELED)
        case "failure":
            found, agrees = Phase.FAILED, phase is Phase.FAILED
        case _:
            found, agrees = Phase.RUNNING, not phase.terminal
            found = phase if agrees else found
    if agrees or not sure:
        return found, ""
    return phase, f"confirm: the waiter counts it as {verdict}"
