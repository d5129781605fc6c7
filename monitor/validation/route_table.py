"""The routes and sinks that every kind of event of a watch would reach; pure.

Some values, such as the state, are known only when the event happens: they make a way possible
but not certain. Jobs that a baseline found are left out: their discovery is never sent.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING

from monitor.model import TERMINAL, Kind, Phase, Severity
from monitor.recording import diff
from monitor.recording.router import fits

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from monitor.config import Route, RouteMatch, Watch

# What a phase usually means; where it may mean more than one thing, it is left open.
_SEVERITIES: Mapping[str, Collection[str]] = {
    Phase.FAILED: (Severity.ERROR,),
    Phase.EXPIRED: (Severity.ERROR,),
    Phase.WAITING: (Severity.INFO,),
    Phase.RUNNING: (Severity.INFO,),
}
_OWN_SEVERITY = {
    **diff.OWN_SEVERITY,
    Kind.SOURCE_UNAVAILABLE: Severity.WARNING,
    Kind.SOURCE_RECOVERED: Severity.INFO,
}
_STATES = {Kind.SOURCE_UNAVAILABLE: "unavailable", Kind.SOURCE_RECOVERED: "available"}


@dataclass(frozen=True, slots=True)
class Way:
    """The way of events of one kind and phase of a watch; source events have no phase.

    ``sinks`` maps each name to whether every such event gets there; ``routes`` are the
    numbers of the routes that may take one.
    """

    watch: str
    kind: Kind
    phase: str
    sinks: Mapping[str, bool]
    routes: Collection[int]


@dataclass(frozen=True, slots=True)
class _Event:
    """The possible values of each key of an event; ``None`` if any is possible."""

    kind: Kind
    values: Mapping[str, Collection[str] | None]
    labels: Mapping[str, str]
    open_discovery: bool


def ways(watch: Watch, routes: Sequence[Route], sinks: Sequence[str]) -> Iterator[Way]:
    """Yield the way of every kind and phase of event of ``watch``."""
    for kind in Kind:
        for phase in ("",) if kind in _STATES else Phase:
            event = _event(watch, kind, phase)
            if routes:
                yield _routed(watch, event, phase, routes)
            else:
                reached = () if event.open_discovery else sinks
                yield Way(watch.name, kind, phase, dict.fromkeys(reached, True), ())


def _event(watch: Watch, kind: Kind, phase: str) -> _Event:
    of_source = kind in _STATES
    values: dict[str, Collection[str] | None] = {
        "kind": (kind.value,),
        "phase": (phase,),
        "state": (_STATES[kind],) if of_source else None,
        "severity": _SEVERITIES.get(phase, tuple(Severity)),
        "type": ("" if of_source else watch.type,),
        "account": (watch.account,),
        "region": tuple(watch.regions) or None,
    }
    if kind in _OWN_SEVERITY:
        values["severity"] = (_OWN_SEVERITY[kind].value,)
    labels = {} if of_source else watch.labels
    return _Event(kind, values, labels, kind is Kind.DISCOVERED and phase not in TERMINAL)


def _routed(watch: Watch, event: _Event, phase: str, routes: Sequence[Route]) -> Way:
    found: dict[str, bool] = {}
    taken: list[int] = []
    certain = True
    for number, route in enumerate(routes):
        may, must = _fit(route.match, event)
        if may:
            taken.append(number)
            for sink in route.sinks:
                found[sink] = found.get(sink, False) or (must and certain)
        if may and not route.continue_:
            if must:
                break
            # Some of these events end here, so no later route is certain to get them.
            certain = False
    return Way(watch.name, event.kind, phase, found, taken)


def _fit(match: RouteMatch, event: _Event) -> tuple[bool, bool]:
    """Return whether ``match`` may take such an event, and whether it takes every one."""
    # The router sends the discovery of an open job only where a route names that kind.
    if event.open_discovery and Kind.DISCOVERED not in match.kind:
        return False, False
    pairs = chain(
        ((getattr(match, key), values) for key, values in event.values.items()),
        ((globs, (event.labels.get(name, ""),)) for name, globs in match.labels.items()),
    )
    may = must = True
    for globs, values in pairs:
        if values is None:
            must = must and (not globs or "*" in globs)
        else:
            hits = [fits(globs, value) for value in values]
            may, must = may and any(hits), must and all(hits)
    return may, must
