"""``job-monitor check``: validate and lint the configuration."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import orjson
import typer

from monitor.cli import lazy, options, ways
from monitor.cli.options import Format

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from monitor.config import Settings, Watch
    from monitor.errors import Problem
    from monitor.sources.job_type import JobType

FIRST_SIGHT = (
    "first sight: jobs that the first complete sweep finds are recorded, not sent;"
    " a job that has ended when it is first seen later is sent like any other change"
)
"""Printed where a watch discovers jobs."""


def check(
    config: options.Config = None,
    output: options.Output = Format.TABLE,
    strict: Annotated[  # noqa: FBT002 -- the form of a typer option
        bool, typer.Option("--strict", help="Exit with code 1 where there are warnings.")
    ] = False,
) -> None:
    """Say what is wrong with the configuration, or what it would watch; ask nothing of AWS."""
    settings = options.load_own(config)
    types, found = lazy.examination.validate(settings)
    warnings = [problem for problem in found if problem.warning]
    if warnings and len(warnings) < len(found):
        typer.echo(lazy.configuration.report(warnings), err=True)
    lazy.examination.raise_errors(found)
    warnings += lazy.examination.check_store(settings)
    if output is Format.JSON:
        typer.echo(_json(settings, warnings))
    else:
        typer.echo(_table(settings, types, warnings))
    if strict and warnings:
        count = f"{len(warnings)} warning{'' if len(warnings) == 1 else 's'}"
        typer.echo(f"error: {count}, none of which --strict allows", err=True)
        raise typer.Exit(1)


def _json(settings: Settings, warnings: Sequence[Problem]) -> str:
    told: dict[str, Any] = {
        "configuration": settings.redacted(),
        "routes": ways.rows(settings),
        "warnings": [str(problem) for problem in warnings],
    }
    return orjson.dumps(told, option=orjson.OPT_INDENT_2).decode()


def _table(settings: Settings, types: Mapping[str, JobType], warnings: Sequence[Problem]) -> str:
    lines = [f"warning: {problem}" for problem in warnings]
    for watch in settings.watches:
        regions = f" in {', '.join(watch.regions)}" if watch.regions else ""
        place = f"account {watch.account}{regions}"
        lines.append(f"watch {watch.name}: {watch.type}, {_jobs(watch)}, {place}")
        lines.append(f"  {_paces(watch, types[watch.type])}")
    lines.extend(f"sink {name}: {sink.type}" for name, sink in settings.sinks.items())
    if any(watch.discover for watch in settings.watches):
        lines.append(FIRST_SIGHT)
    return "\n".join([*lines, *ways.lines(settings), "The configuration is valid."])


def _paces(watch: Watch, job_type: JobType) -> str:
    """Say how often the jobs of a watch are polled, before and after they ended."""
    interval = watch.interval or job_type.interval
    before = f"polled every {lazy.config.format_duration(interval)}"
    if not job_type.final:
        return before
    ended = max(interval, watch.ended_interval or job_type.grace_interval)
    after = lazy.config.format_duration(ended)
    return f"{before}; every {after} once ended, while it may still change"


def _jobs(watch: Watch) -> str:
    """Say which jobs a watch follows."""
    count = len(watch.jobs)
    named = [f"{count} named job{'s' if count > 1 else ''}"] if count else []
    return " and ".join([*named, *(["what it discovers"] if watch.discover else [])])
