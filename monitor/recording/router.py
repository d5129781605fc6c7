"""The choice of the sinks of a transition; pure.

The first route that matches wins, unless it has ``continue``. Without routes, every sink gets
everything. A job that has ended by its first poll is sent like any other change; one that is still
open then is sent only where a route names ``job.discovered``. A baseline is never sent.
"""

from __future__ import annotations

import re
from fnmatch import fnmatchcase, translate
from typing import TYPE_CHECKING

from monitor.model import TERMINAL, Job, Kind

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from monitor.config import Route
    from monitor.model import Transition


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
        subject, labels, sinks = transition.subject, transition.labels, dict[str, None]()
        for route in self._routes:
            match = route.match
            if is_open and Kind.DISCOVERED not in match.kind:
                continue
            pairs = (
                (match.kind, transition.kind.value),
                (match.phase, transition.current.phase),
                (match.state, transition.current.state),
                (match.severity, transition.severity.value),
                (match.type, subject.type if isinstance(subject, Job) else ""),
                (match.account, subject.account),
                (match.region, subject.region),
                *((globs, labels.get(label, "")) for label, globs in match.labels.items()),
            )
            # A key that the route leaves out has no globs, and matches everything.
            if all(fits(globs, value) for globs, value in pairs):
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
