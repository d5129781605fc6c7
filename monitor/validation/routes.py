"""Checks of sinks and routes."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING

from monitor.config.findings import (
    JOB_TYPES,
    Finding,
    bad_globs,
    bad_names,
    unknown_name,
    unreadable_secret,
)
from monitor.config.settings import AwsSinkSettings, WebhookSink
from monitor.model import TERMINAL, Kind, Phase, Severity
from monitor.recording.router import fits
from monitor.validation.route_table import ways

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from monitor.config.settings import RouteMatch, Settings
    from monitor.config.yaml_document import Path

_CREDENTIALS = frozenset({"authorization", "proxy-authorization", "cookie", "x-api-key"})


def findings(settings: Settings, job_types: Sequence[str]) -> Iterator[Finding]:
    """Check where transitions go; ``job_types`` are all known names."""
    yield from bad_names(("sinks",), settings.sinks)
    for name, sink in settings.sinks.items():
        if isinstance(sink, WebhookSink):
            yield from _webhook(("sinks", name), sink)
        if isinstance(sink, AwsSinkSettings):
            yield from _account(("sinks", name, "account"), sink.account, settings)
    yield from _routes(settings, job_types)
    yield from _unreachable(settings)
    yield from _idle(settings)
    yield from _shadowed(settings)
    yield from _unused(settings)
    yield from _late(settings)


def _webhook(path: Path, sink: WebhookSink) -> Iterator[Finding]:
    for index, name in enumerate(sink.secret_files):
        yield from unreadable_secret((*path, "secret_files", index), name)
    for header, name in sink.header_files.items():
        yield from unreadable_secret((*path, "header_files", header), name)
    for header in sink.headers:
        if header.lower() in _CREDENTIALS:
            remedy = "move it to header_files"
            yield Finding((*path, "headers", header), "holds a secret", remedy, warning=True)


def _account(path: Path, name: str, settings: Settings) -> Iterator[Finding]:
    known = {"default", *settings.accounts}
    if name not in known:
        yield unknown_name(path, "accounts", name, known)


def _routes(settings: Settings, job_types: Sequence[str]) -> Iterator[Finding]:
    for index, route in enumerate(settings.routes):
        path = ("routes", index)
        for number, sink in enumerate(route.sinks):
            if sink not in settings.sinks:
                yield unknown_name((*path, "sinks", number), "sinks", sink, settings.sinks)
        yield from _match((*path, "match"), route.match, settings, job_types)


def _match(
    path: Path, match: RouteMatch, settings: Settings, job_types: Sequence[str]
) -> Iterator[Finding]:
    accounts = ["default", *settings.accounts]
    yield from bad_globs((*path, "kind"), match.kind, [kind.value for kind in Kind])
    yield from bad_globs((*path, "phase"), match.phase, [phase.value for phase in Phase])
    yield from bad_globs((*path, "state"), match.state)
    yield from bad_globs((*path, "severity"), match.severity, [item.value for item in Severity])
    yield from bad_globs((*path, "type"), match.type, job_types, JOB_TYPES)
    yield from bad_globs((*path, "account"), match.account, accounts, (("accounts", ""),))
    yield from bad_globs((*path, "region"), match.region)
    for label, globs in match.labels.items():
        # The empty glob is what fits a watch without the label.
        yield from bad_globs((*path, "labels", label), [glob or "*" for glob in globs])


def _unreachable(settings: Settings) -> Iterator[Finding]:
    """Find routes behind one that takes everything and does not go on."""
    catcher: int | None = None
    for index, route in enumerate(settings.routes):
        # The first sight of a job passes by every route that does not name it.
        if catcher is not None and Kind.DISCOVERED not in route.match.kind:
            message = f"is never reached: routes[{catcher}] takes everything before it"
            remedy = f"move it up, or give routes[{catcher}] continue: true"
            rests = (("routes", catcher), ("routes", index))
            yield Finding(("routes", index), message, remedy, warning=True, rests=rests)
        if catcher is None and not route.continue_ and _takes_all(route.match):
            catcher = index


def _takes_all(match: RouteMatch) -> bool:
    globs = [getattr(match, name) for name in type(match).model_fields if name != "labels"]
    return all(not given or "*" in given for given in [*globs, *match.labels.values()])


def _idle(settings: Settings) -> Iterator[Finding]:
    """Find routes that no event of any watch can take, whatever stands before them."""
    for index, route in enumerate(settings.routes):
        alone = [ways(watch, [route], ()) for watch in settings.watches]
        if alone and not any(way.routes for way in chain.from_iterable(alone)):
            message = "matches nothing that any watch can tell"
            here, rests = ("routes", index), (("watches",), ("routes", index))
            yield Finding(here, message, "correct its match", warning=True, rests=rests)


def _shadowed(settings: Settings) -> Iterator[Finding]:
    """Find routes to which the ones before them, none of which takes everything, leave nothing."""
    blamed = {finding.path for finding in (*_unreachable(settings), *_idle(settings))}
    every = (ways(watch, settings.routes, ()) for watch in settings.watches)
    reached = {index for way in chain.from_iterable(every) for index in way.routes}
    for index in range(len(settings.routes)) if settings.watches else ():
        if index not in reached and ("routes", index) not in blamed:
            message = "is never reached: the routes before it take all that it matches"
            rests = (("watches",), ("routes",))
            remedy = "move it up, or give them continue: true"
            yield Finding(("routes", index), message, remedy, warning=True, rests=rests)


def _late(settings: Settings) -> Iterator[Finding]:
    """Find routes that take the ends of jobs, but not of those that end before their first poll."""
    suspects = {
        index
        for index, route in enumerate(settings.routes)
        if route.match.kind and not fits(route.match.kind, Kind.DISCOVERED.value)
    }
    found: set[int] = set()
    for watch in settings.watches if suspects else ():
        every = {(way.kind, way.phase): way for way in ways(watch, settings.routes, ())}
        for phase in TERMINAL:
            reached = every[Kind.DISCOVERED, phase].sinks.keys()
            for index in suspects.intersection(every[Kind.STATE_CHANGED, phase].routes):
                if set(settings.routes[index].sinks) - reached:
                    found.add(index)
    for index in sorted(found):
        here, rests = ("routes", index, "match", "kind"), (("watches",), ("routes",))
        message = "misses jobs that ended before their first poll"
        yield Finding(here, message, "add job.discovered", warning=True, rests=rests)


def _unused(settings: Settings) -> Iterator[Finding]:
    used = {sink for route in settings.routes for sink in route.sinks}
    for name in settings.sinks:
        if settings.routes and name not in used:
            remedy = "name it in a route, or remove it"
            yield Finding(
                ("sinks", name),
                "no route uses this sink",
                remedy,
                warning=True,
                rests=(("routes",),),
            )
