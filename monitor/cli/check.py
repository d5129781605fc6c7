"""``job-monitor check``: validate and lint the configuration."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
import typer

from monitor import app, validation
from monitor.cli import options
from monitor.cli.options import Format
from monitor.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from monitor.config import Settings
    from monitor.errors import Problem


def check(config: options.Config = None, output: options.Output = Format.TABLE) -> None:
    """Say what is wrong with the configuration, or what it would watch; ask nothing of AWS."""
    settings = options.load(config)
    found = validation.problems(settings, app.job_types(settings))
    mistakes = [problem for problem in found if not problem.warning]
    if mistakes:
        raise ConfigurationError(mistakes)
    warnings = [problem for problem in found if problem.warning]
    typer.echo(_json(settings, warnings) if output is Format.JSON else _table(settings, warnings))


def _json(settings: Settings, warnings: Sequence[Problem]) -> str:
    told: dict[str, Any] = {
        "configuration": settings.redacted(),
        "warnings": [str(problem) for problem in warnings],
    }
    return orjson.dumps(told, option=orjson.OPT_INDENT_2).decode()


def _table(settings: Settings, warnings: Sequence[Problem]) -> str:
    lines = [f"warning: {problem}" for problem in warnings]
    for watch in settings.watches:
        jobs = f"{len(watch.jobs)} jobs" if watch.jobs else "no named jobs"
        found = " and discovery" if watch.discover else ""
        regions = f" in {', '.join(watch.regions)}" if watch.regions else ""
        lines.append(f"watch {watch.name}: {watch.type}, {jobs}{found}, {watch.account}{regions}")
    lines.extend(f"sink {name}: {sink.type}" for name, sink in settings.sinks.items())
    return "\n".join([*lines, "The configuration is valid."])
