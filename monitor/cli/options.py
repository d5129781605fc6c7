"""Options that several commands share, and what they lead to."""

from __future__ import annotations

import os
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from monitor.cli import lazy
from monitor.errors import ConfigurationError, Problem

if TYPE_CHECKING:
    from monitor.config import Settings

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
    """How data is printed."""

    TABLE = "table"
    JSON = "json"


Profile = Annotated[
    str | None,
    typer.Option(help="A profile of the AWS files, in place of the account's own [AWS_PROFILE]."),
]
Region = Annotated[
    str | None,
    typer.Option(help="The AWS region; by default that of an ARN as ID, or else [AWS_REGION]."),
]
Output = Annotated[Format, typer.Option("--output", "-o", help="How to print.")]


def load(config: list[Path] | None) -> Settings:
    """Read the configuration that the options or the environment name.

    Raises:
        ConfigurationError: with every value that cannot be read.
    """
    with lazy.unforeseen.refused():
        return lazy.configuration.load(paths(config), os.environ)


def load_own(config: list[Path] | None) -> Settings:
    """Read the configuration, of which there must be some.

    Raises:
        ConfigurationError: nothing at all is configured, or values cannot be read.
    """
    settings = load(config)
    if config or settings != lazy.config.Settings():
        return settings
    remedy = f"name a file with --config or {CONFIG_VARIABLE}, or try job-monitor demo"
    raise ConfigurationError([Problem("", "", "there is no configuration", remedy)])


def paths(config: list[Path] | None) -> list[Path] | None:
    """Return the files and directories that the options or the environment name, if any."""
    named = os.environ.get(CONFIG_VARIABLE)
    return config or ([Path(named)] if named else None)
