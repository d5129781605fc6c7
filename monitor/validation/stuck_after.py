"""Checks of when jobs count as stuck, by the states of their type."""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from monitor.config.findings import JOB_TYPES, Finding, broken_glob, unknown
from monitor.model import Phase
from monitor.recording.diff import DEFAULT, is_glob

if TYPE_CHECKING:
    from collections.abc import Iterator

    from monitor.config.yaml_document import Path
    from monitor.recording.diff import Limits

_PHASES = frozenset(phase.value for phase in Phase)


def findings(
    watch: Path, limits: Limits, interval: float, states: Mapping[str, Phase]
) -> Iterator[Finding]:
    """Check ``stuck_after`` of a watch whose jobs are looked at every ``interval`` seconds.

    ``states`` are globs of all the states that its type declares, with their phases.
    """
    path = (*watch, "stuck_after")
    if not isinstance(limits, Mapping):
        yield from _short(path, limits, interval, watch)
        return
    for key, seconds in limits.items():
        here = (*path, key)
        yield from _short(here, seconds, interval, watch)
        yield from _unfit(here, key, states, watch)
    yield from _hidden(path, list(limits))


def _short(path: Path, seconds: float | None, interval: float, watch: Path) -> Iterator[Finding]:
    if seconds is not None and seconds <= interval:
        message = "is no longer than the interval, so that every job looks stuck"
        rests = ((*watch, "interval"),)
        yield Finding(path, message, "raise it", warning=True, rests=rests)


def _unfit(path: Path, key: str, states: Mapping[str, Phase], watch: Path) -> Iterator[Finding]:
    """Find keys that no job that may be stuck can take."""
    if broken := broken_glob(path, key):
        yield broken
        return
    phases = {phase for state, phase in states.items() if _meet(key, state)}
    phases |= {Phase(key)} if key in _PHASES else set()
    if key == DEFAULT or any(not phase.terminal for phase in phases):
        return
    rests = ((*watch, "type"), *JOB_TYPES)
    if phases:
        message = "is no limit: a job that has ended is never stuck"
        yield Finding(path, message, "remove it", warning=True, rests=rests)
    else:
        yield unknown(path, "state", key, [*states, *_PHASES, DEFAULT], rests)


def _meet(key: str, state: str) -> bool:
    """Whether there may be a state that both globs match; parts are told apart by slashes."""
    if fnmatchcase(key, state) or not is_glob(key):
        return fnmatchcase(key, state)
    wanted, told = key.split("/"), state.split("/")
    if len(wanted) != len(told):
        return "*" in key and len(told) > 1
    return all(fnmatchcase(b, a) or fnmatchcase(a, b) for a, b in zip(wanted, told, strict=True))


def _hidden(path: Path, keys: list[str]) -> Iterator[Finding]:
    """Find what the glob for everything leaves nothing to: later globs, phases and the default."""
    if "*" not in keys:
        return
    place = keys.index("*")
    for number, key in enumerate(keys):
        if key in {*_PHASES, DEFAULT} or (is_glob(key) and number > place):
            message = 'is never used, as "*" takes every state before it'
            remedy = f'write {DEFAULT} instead of "*"'
            yield Finding((*path, key), message, remedy, warning=True, rests=((*path, "*"),))
