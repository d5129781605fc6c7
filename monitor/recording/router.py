"""Which transitions go to which sinks; pure.

The first route that matches wins, unless it says to go on. Without routes,
everything goes to every sink. A job that is first seen at its end goes the way of any other
change; one that is first seen open is sent only where a route names ``job.discovered``. What a
baseline found is never sent.
"""

from __future__ import annotations

import re
from fnmatch import fnmatchcase, translate
from typing import TYPE_CHECKING

from monitor.model import TERMINAL, Job, Kind

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from monitor.config import Route, RouteMatch
    from monitor.model import Transition


class Router:
    """Names the sinks of a transition."""

    def __init__(self, routes: Sequence[Route], sinks: Sequence[str]) -> None:
        """Take the configured routes and the names of all sinks."""
        self._routes = tuple(routes)
        self._sinks = tuple(sinks)

    def sinks_for(self, transition: Transition) -> tuple[str, ...]:
        """Return the sinks, each once, in the order of the routes."""
        if transition.baseline:
            return ()
        if not self._routes:
            return () if _is_open_discovery(transition) else self._sinks
        return tuple(dict.fromkeys(self._routed(transition)))

    def _routed(self, transition: Transition) -> Iterator[str]:
        for route in self._routes:
            if matches(route.match, transition):
                yield from route.sinks
                if not route.continue_:
                    return


def matches(match: RouteMatch, transition: Transition) -> bool:
    """Whether every key that ``match`` gives fits ``transition``."""
    if _is_open_discovery(transition) and Kind.DISCOVERED not in match.kind:
        return False
    subject = transition.subject
    pairs = (
        (match.kind, transition.kind.value),
        (match.phase, transition.current.phase),
        (match.state, transition.current.state),
        (match.severity, transition.severity.value),
        (match.type, subject.type if isinstance(subject, Job) else ""),
        (match.account, subject.account),
        (match.region, subject.region),
        *((globs, transition.labels.get(label, "")) for label, globs in match.labels.items()),
    )
    return all(fits(globs, value) for globs, value in pairs)


def _is_open_discovery(transition: Transition) -> bool:
    return transition.kind is Kind.DISCOVERED and transition.current.phase not in TERMINAL


def fits(globs: Sequence[str], value: str) -> bool:
    """Whether one of ``globs`` matches ``value``; no globs match everything."""
    return not globs or any(fnmatchcase(value, glob) for glob in globs)


def matcher(globs: Sequence[str]) -> Callable[[str], bool]:
    """Return ``fits`` of globs that come from outside, and are many: none of them is kept.

    ``fnmatch`` would keep 32768 in its cache for as long as the process lives.
    """
    patterns = [re.compile(translate(glob)) for glob in globs]
    return lambda value: not patterns or any(each.match(value) for each in patterns)
