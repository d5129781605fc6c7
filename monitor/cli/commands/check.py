"""``job-monitor check``: validate and lint the configuration."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, Annotated, Any

import typer

from monitor.cli import options
from monitor.cli import output as tables
from monitor.cli.options import Format
from monitor.model import Phase

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from monitor.config import Settings
    from monitor.errors import Problem
    from monitor.sources.job_type import JobType
    from monitor.validation.route_table import Way

FIRST_SIGHT = (
    "first sight: jobs that the first complete sweep finds are recorded, not sent;"
    " a job that has already ended when a later poll finds it is sent like any other change"
)
"""The note that is printed where a watch discovers jobs."""


def check(
    config: options.Config = None,
    output: options.Output = Format.TABLE,
    strict: Annotated[  # noqa: FBT002 -- the form of a typer option
        bool, typer.Option("--strict", help="Exit with code 1 where there are warnings.")
    ] = False,
) -> None:
    """Print the problems of the configuration, or what it watches; makes no call to AWS."""
    from monitor.config import report
    from monitor.validation import everything, route_table

    settings = options.load_own(config)
    types, found = everything.validate(settings)
    warnings = [problem for problem in found if problem.warning]
    if warnings and len(warnings) < len(found):
        typer.echo(report(warnings), err=True)
    everything.raise_errors(found)
    warnings += everything.check_store(settings)
    if output is not Format.TABLE:
        shown: dict[str, Any] = {
            "configuration": settings.redacted(),
            "routes": [
                {
                    "watch": way.watch,
                    "kind": way.kind.value,
                    "phase": way.phase,
                    # A sink is not certain where more matchers decide.
                    "sinks": [{"sink": name, "certain": sure} for name, sure in way.sinks.items()],
                }
                for watch in settings.watches
                for way in route_table.ways(watch, settings.routes, tuple(settings.sinks))
            ],
            "warnings": [str(problem) for problem in warnings],
        }
        tables.show_data(shown, output)
    else:
        typer.echo("\n".join(_lines(settings, types, warnings)))
    if strict and warnings:
        count = f"{len(warnings)} warning{'' if len(warnings) == 1 else 's'}"
        typer.echo(f"error: {count}, and --strict allows none", err=True)
        raise typer.Exit(1)


def _lines(
    settings: Settings, types: Mapping[str, JobType], warnings: Sequence[Problem]
) -> Iterator[str]:
    from monitor.config import format_duration
    from monitor.validation import route_table

    yield from (f"warning: {problem}" for problem in warnings)
    for watch in settings.watches:
        count = len(watch.jobs)
        jobs = [f"{count} named job{'s' if count > 1 else ''}"] if count else []
        jobs += ["what it discovers"] if watch.discover else []
        regions = f" in {', '.join(watch.regions)}" if watch.regions else ""
        place = f"account {watch.account}{regions}"
        yield f"watch {watch.name}: {watch.type}, {' and '.join(jobs)}, {place}"
        kind = types[watch.type]
        interval = watch.interval or kind.interval
        ended = max(interval, watch.ended_interval or kind.grace_interval)
        after = f"; every {format_duration(ended)} once ended, while it may still change"
        yield f"  polled every {format_duration(interval)}{after if kind.final else ''}"
        if kind.revealed:
            # The type has opted in; who runs it should know what may be kept and sent.
            yield f"  keeps {', '.join(kind.revealed)}, which AWS marks as sensitive"
    yield from (f"sink {name}: {sink.type}" for name, sink in settings.sinks.items())
    if any(watch.discover for watch in settings.watches):
        yield FIRST_SIGHT
    for watch in settings.watches:
        yield f"routes of {watch.name}:"
        lines = _merged(route_table.ways(watch, settings.routes, tuple(settings.sinks)))
        widths = [max(len(line[column]) for line in lines) for column in (0, 1)]
        for kinds, phases, sinks in lines:
            yield f"  {kinds:<{widths[0]}}  {phases:<{widths[1]}}  -> {sinks}"
    yield "The configuration is valid."


def _merged(ways: Iterator[Way]) -> list[tuple[str, str, str]]:
    """Join the phases of a kind that take the same route, then the kinds that look the same."""
    kinds: dict[tuple[tuple[str, str], ...], list[str]] = {}
    for kind, found in groupby(ways, key=lambda way: way.kind):
        phases: dict[str, list[str]] = {}
        for way in found:
            # A name in brackets: the sink gets some of these events, by a matcher on more.
            names = [name if sure else f"({name})" for name, sure in way.sinks.items()]
            phases.setdefault(", ".join(names) or "no sink", []).append(way.phase)
        named = tuple(
            ("any phase" if len(same) == len(Phase) else ", ".join(same) or "-", sinks)
            for sinks, same in phases.items()
        )
        kinds.setdefault(named, []).append(kind)
    return [
        (", ".join(same), phases, sinks) for named, same in kinds.items() for phases, sinks in named
    ]
