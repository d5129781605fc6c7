"""Checks of ``stuck_after``, by the states of the job type."""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from monitor.model import Phase
from monitor.recording.diff import DEFAULT, is_glob
from monitor.validation.problems import SettingProblem, malformed_glob, unknown

if TYPE_CHECKING:
    from collections.abc import Iterator

    from monitor.config.yaml_document import Path
    from monitor.recording.diff import Limits

_PHASES = frozenset(phase.value for phase in Phase)


def check(
    watch: Path, limits: Limits, interval: float, states: Mapping[str, Phase]
) -> Iterator[SettingProblem]:
    """Check ``stuck_after`` of a watch whose jobs are polled every ``interval`` seconds.

    ``states`` are globs of all the states that its type declares, with their phases.
    """
    path = (*watch, "stuck_after")
    each = (
        {(*path, key): seconds for key, seconds in limits.items()}
        if isinstance(limits, Mapping)
        else {path: limits}
    )
    for here, seconds in each.items():
        if seconds is not None and seconds <= interval:
            message = "is not longer than the interval, so every job looks stuck"
            yield SettingProblem(here, message, "raise it", warning=True)
    if not isinstance(limits, Mapping):
        return
    keys = list(limits)
    for key in keys:
        yield from _no_such_state((*path, key), key, states)
    # A glob for everything leaves nothing to later globs, to phases and to the default.
    place = keys.index("*") if "*" in keys else len(keys)
    for number, key in enumerate(keys):
        if place < len(keys) and (key in {*_PHASES, DEFAULT} or (is_glob(key) and number > place)):
            message = 'is never used: "*" takes every state before it'
            remedy = f'write {DEFAULT} instead of "*"'
            yield SettingProblem((*path, key), message, remedy, warning=True)


def _no_such_state(path: Path, key: str, states: Mapping[str, Phase]) -> Iterator[SettingProblem]:
    """Refuse a key that matches no job that may be stuck."""
    if malformed := malformed_glob(path, key):
        yield malformed
        return
    phases = {phase for state, phase in states.items() if _overlap(key, state)}
    phases |= {Phase(key)} if key in _PHASES else set()
    if key == DEFAULT or any(not phase.terminal for phase in phases):
        return
    if phases:
        message = "has no effect: a job that has ended is never stuck"
        yield SettingProblem(path, message, "remove it", warning=True)
    else:
        yield unknown(path, "state", key, [*states, *_PHASES, DEFAULT])


def _overlap(key: str, state: str) -> bool:
    """Return whether both globs can match one state; slashes separate its parts."""
    if fnmatchcase(key, state) or not is_glob(key):
        return fnmatchcase(key, state)
    ours, theirs = key.split("/"), state.split("/")
    if len(ours) != len(theirs):
        return "*" in key and len(theirs) > 1
    # Either side may be the wider one: "At*" covers "AtAWS", and a declared "*" covers all.
    return all(fnmatchcase(b, a) or fnmatchcase(a, b) for a, b in zip(ours, theirs, strict=True))
