"""Options of several commands, and the configuration that they name."""

from __future__ import annotations

import os
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from monitor.errors import ConfigurationError, Problem

if TYPE_CHECKING:
    from collections.abc import Mapping

    from monitor.config import Settings
    from monitor.sources.job_type import JobType

CONFIG_VARIABLE = "JOB_MONITOR_CONFIG"

Config = Annotated[
    list[Path] | None,
    typer.Option(
        "--config",
        "-c",
        metavar="FILE|DIR",
        help=f"Configuration file, or directory of files; may be repeated [{CONFIG_VARIABLE}].",
    ),
]


class Format(StrEnum):
    """The form in which data is printed."""

    TABLE = "table"
    JSON = "json"
    YAML = "yaml"


Profile = Annotated[
    str | None,
    typer.Option(help="A profile of the AWS files, in place of the account's own [AWS_PROFILE]."),
]
Region = Annotated[
    str | None,
    typer.Option(help="The AWS region; by default that of an ARN as ID, or else [AWS_REGION]."),
]
TypeFile = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE", help="Declares the job type; then no configuration needs to know it."
    ),
]
Output = Annotated[Format, typer.Option("--output", "-o", help="How to print.")]


def load(config: list[Path] | None) -> Settings:
    """Read the configuration that the options or the environment name; there may be none.

    Raises:
        ConfigurationError: with every problem.
    """
    from monitor.config import loader, unforeseen

    with unforeseen.refused():
        return loader.load(paths(config), os.environ)


def load_own(config: list[Path] | None) -> Settings:
    """Read the configuration, which must exist.

    Raises:
        ConfigurationError: there is no configuration, or with every problem of its shape.
    """
    from monitor.config import Settings

    settings = load(config)
    if config or settings != Settings():
        return settings
    remedy = f"name a file with --config or {CONFIG_VARIABLE}, or try job-monitor demo"
    raise ConfigurationError([Problem("", "", "there is no configuration", remedy)])


def paths(config: list[Path] | None) -> list[Path] | None:
    """Return the files and directories that the options or the environment name, if any."""
    named = os.environ.get(CONFIG_VARIABLE)
    return config or ([Path(named)] if named else None)


def load_parts(config: list[Path] | None, *parts: str) -> tuple[Settings, Mapping[str, JobType]]:
    """Return the settings and the job types, for a command that needs only parts of them.

    ``parts`` are the first or last keys of paths whose problems matter.

    Raises:
        ConfigurationError: with every problem of these parts.
    """
    from monitor import validation
    from monitor.validation import everything

    settings = load_own(config)
    types, wrong = everything.load_job_types(settings, None)
    found = [
        one
        for one in validation.problems(settings, types)
        if one.path.startswith(parts) or one.path.endswith(parts)
    ]
    everything.raise_errors([*wrong, *found])
    return settings, types
