"""The choice of the sinks of a transition; pure.

The first route that matches wins, unless it has ``continue``. Without routes, every sink gets
everything. A job that has ended by its first poll is sent like any other change; one that is still
open then is sent only where a route names ``job.discovered``. A baseline is never sent.
"""

from __future__ import annotations

import re
from fnmatch import fnmatchcase, translate
from typing import TYPE_CHECKING, Any, NamedTuple

from monitor.model import TERMINAL, Job, Kind

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from monitor.config import Route, RouteMatch
    from monitor.model import Snapshot, Transition


class Facts(NamedTuple):
    """What is matched of a transition; ``job`` has the key and the id of its job or source."""

    kind: str
    phase: str
    state: str
    severity: str
    type: str
    account: str
    region: str
    job: tuple[str, str]
    labels: Mapping[str, str]

    @property
    def is_job(self) -> bool:
        """False for a transition of a source, which has no type."""
        return bool(self.type)

    @classmethod
    def of(cls, transition: Transition) -> Facts:
        """Return the facts of a transition."""
        subject, current = transition.subject, transition.current
        type_, job_id = (subject.type, subject.id) if isinstance(subject, Job) else ("", "")
        return cls(
            kind=transition.kind.value,
            phase=current.phase,
            state=current.state,
            severity=transition.severity.value,
            type=type_,
            account=subject.account,
            region=subject.region,
            job=(subject.key, job_id),
            labels=transition.labels,
        )

    @classmethod
    def of_snapshot(cls, known: Snapshot, labels: Mapping[str, str]) -> Facts:
        """Return the facts of a job in its present state; there is no kind."""
        job = known.job
        return cls(
            kind="",
            phase=known.phase.value,
            state=known.state,
            severity=known.severity.value,
            type=job.type,
            account=job.account,
            region=job.region,
            job=(job.key, job.id),
            labels=labels,
        )

    @classmethod
    def of_event(cls, event: Mapping[str, Any]) -> Facts:
        """Return the facts of a transition that is written as a CloudEvent."""
        data = event["data"]
        about, current = data.get("job") or data["source"], data["current"]
        return cls(
            kind=data["kind"],
            phase=current.get("phase", ""),
            state=current["state"],
            severity=data["severity"],
            type=about.get("type", ""),
            account=about["account"],
            region=about["region"],
            job=(about["key"], about.get("id", "")),
            labels=about.get("labels", {}),
        )


def matches(match: RouteMatch, about: Facts) -> bool:
    """Return whether every key of ``match`` fits; one that is left out fits everything."""
    pairs = (
        (match.kind, about.kind),
        (match.phase, about.phase),
        (match.state, about.state),
        (match.severity, about.severity),
        (match.type, about.type),
        (match.account, about.account),
        (match.region, about.region),
        *((globs, about.labels.get(label, "")) for label, globs in match.labels.items()),
    )
    if not all(fits(globs, value) for globs, value in pairs):
        return False
    named: Sequence[str] = getattr(match, "job", ())
    return any(fits(named, value) for value in about.job)


class Router:
    """Chooses the sinks of a transition."""

    def __init__(self, routes: Sequence[Route], sinks: Sequence[str]) -> None:
        """Use the configured routes and the names of all sinks."""
        self._routes = tuple(routes)
        self._sinks = tuple(sinks)

    def sinks_for(self, transition: Transition) -> tuple[str, ...]:
        """Return the sinks, each once, in the order of the routes."""
        if transition.baseline:
            return ()
        # A job that is open at its first poll goes only where a route names ``job.discovered``.
        is_open = transition.kind is Kind.DISCOVERED and transition.current.phase not in TERMINAL
        if not self._routes:
            return () if is_open else self._sinks
        about, sinks = Facts.of(transition), dict[str, None]()
        for route in self._routes:
            if is_open and Kind.DISCOVERED not in route.match.kind:
                continue
            if matches(route.match, about):
                sinks.update(dict.fromkeys(route.sinks))
                if not route.continue_:
                    break
        return tuple(sinks)


def fits(globs: Sequence[str], value: str) -> bool:
    """Match ``value`` against ``globs``; without any, everything matches."""
    return not globs or any(fnmatchcase(value, glob) for glob in globs)


def matcher(globs: Sequence[str]) -> Callable[[str], bool]:
    """Return ``fits`` for ``globs`` as a function of the value.

    The globs come from outside, and there may be many: ``fnmatch`` would keep 32768 of them in
    its cache for as long as the process lives.
    """
    patterns = [re.compile(translate(glob)) for glob in globs]
    return lambda value: not patterns or any(each.match(value) for each in patterns)
