"""Checks of sinks and routes."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING

from monitor.config.settings import AwsSinkSettings, WebhookSink
from monitor.model import TERMINAL, Kind, Phase, Severity
from monitor.recording.router import fits
from monitor.validation.problems import (
    SettingProblem,
    check_globs,
    check_name,
    check_secret,
    unknown,
)
from monitor.validation.route_table import ways

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from monitor.config.settings import RouteMatch, Settings
    from monitor.config.yaml_document import Path

_CREDENTIALS = frozenset({"authorization", "proxy-authorization", "cookie", "x-api-key"})


def check(settings: Settings, job_types: Sequence[str]) -> Iterator[SettingProblem]:
    """Check where transitions are delivered; ``job_types`` are all known names."""
    accounts = ["default", *settings.accounts]
    used = {sink for route in settings.routes for sink in route.sinks}
    for name, sink in settings.sinks.items():
        path = ("sinks", name)
        yield from check_name(path, name)
        if isinstance(sink, WebhookSink):
            yield from _webhook(path, sink)
        if isinstance(sink, AwsSinkSettings) and sink.account not in accounts:
            yield unknown((*path, "account"), "account", sink.account, accounts)
        if settings.routes and name not in used:
            remedy = "name it in a route, or remove it"
            yield SettingProblem(path, "no route uses this sink", remedy, warning=True)
    for index, route in enumerate(settings.routes):
        for number, name in enumerate(route.sinks):
            if name not in settings.sinks:
                yield unknown(("routes", index, "sinks", number), "sink", name, settings.sinks)
        yield from _match(("routes", index, "match"), route.match, accounts, job_types)
    yield from _never_reached(settings)
    yield from _late(settings)


def _webhook(path: Path, sink: WebhookSink) -> Iterator[SettingProblem]:
    for index, name in enumerate(sink.secret_files):
        yield from check_secret((*path, "secret_files", index), name)
    for header, name in sink.header_files.items():
        yield from check_secret((*path, "header_files", header), name)
    for header in sink.headers:
        if header.lower() in _CREDENTIALS:
            here, remedy = (*path, "headers", header), "move it to header_files"
            yield SettingProblem(here, "holds a secret", remedy, warning=True)


def _match(
    path: Path, match: RouteMatch, accounts: Sequence[str], job_types: Sequence[str]
) -> Iterator[SettingProblem]:
    known: dict[str, Sequence[str]] = {
        "kind": [kind.value for kind in Kind],
        "phase": [phase.value for phase in Phase],
        "severity": [severity.value for severity in Severity],
        "type": job_types,
        "account": accounts,
    }
    for key in type(match).model_fields:
        if key != "labels":
            yield from check_globs((*path, key), getattr(match, key), known.get(key, ()))
    for label, globs in match.labels.items():
        # The empty glob is allowed here: it matches a watch without the label.
        yield from check_globs((*path, "labels", label), [glob or "*" for glob in globs])


def _never_reached(settings: Settings) -> Iterator[SettingProblem]:
    """Find routes that take nothing; of several reasons, report the first one for each."""
    reported: set[int] = set()
    catcher: int | None = None
    for index, route in enumerate(settings.routes):
        # The discovery of an open job passes by every route that does not name it.
        if catcher is not None and Kind.DISCOVERED not in route.match.kind:
            message = f"is never reached: routes[{catcher}] takes everything before it"
            remedy = f"move it up, or give routes[{catcher}] continue: true"
            yield SettingProblem(("routes", index), message, remedy, warning=True)
            reported.add(index)
        keys = [name for name in type(route.match).model_fields if name != "labels"]
        every_glob = [getattr(route.match, key) for key in keys]
        every_glob += route.match.labels.values()
        takes_all = all(not globs or "*" in globs for globs in every_glob)
        if catcher is None and not route.continue_ and takes_all:
            catcher = index
    # Without watches there are no events, and every route would look idle.
    if not settings.watches:
        return
    every = (ways(watch, settings.routes, ()) for watch in settings.watches)
    reached = {index for way in chain.from_iterable(every) for index in way.routes}
    for index, route in enumerate(settings.routes):
        here = ("routes", index)
        alone = chain.from_iterable(ways(watch, [route], ()) for watch in settings.watches)
        if not any(way.routes for way in alone):
            message = "matches no event of any watch"
            yield SettingProblem(here, message, "correct its match", warning=True)
        elif index not in reached | reported:
            message = "is never reached: the routes before it take all that it matches"
            remedy = "move it up, or give them continue: true"
            yield SettingProblem(here, message, remedy, warning=True)


def _late(settings: Settings) -> Iterator[SettingProblem]:
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
            # A job that is first polled when it has ended is discovered, and no longer changes.
            reached = every[Kind.DISCOVERED, phase].sinks.keys()
            for index in suspects.intersection(every[Kind.STATE_CHANGED, phase].routes):
                if set(settings.routes[index].sinks) - reached:
                    found.add(index)
    for index in sorted(found):
        message = "misses jobs that ended before their first poll"
        here = ("routes", index, "match", "kind")
        yield SettingProblem(here, message, "add job.discovered", warning=True)
