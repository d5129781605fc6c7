"""Options that several commands share, and what they lead to."""

from __future__ import annotations

import os
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from monitor import configuration
from monitor.config import Settings
from monitor.errors import ConfigurationError, Problem

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


Output = Annotated[Format, typer.Option("--output", "-o", help="How to print.")]


def load(config: list[Path] | None) -> Settings:
    """Read the configuration that the options or the environment name.

    Raises:
        ConfigurationError: with everything that is wrong in it.
    """
    named = os.environ.get(CONFIG_VARIABLE)
    paths = config or ([Path(named)] if named else None)
    return configuration.load(paths, os.environ)


def load_own(config: list[Path] | None) -> Settings:
    """Read the configuration, of which there must be some.

    Raises:
        ConfigurationError: as ``load``, or nothing at all is configured.
    """
    settings = load(config)
    if config or settings != Settings():
        return settings
    remedy = f"name a file with --config or {CONFIG_VARIABLE}, or try job-monitor demo"
    raise ConfigurationError([Problem("", "", "there is no configuration", remedy)])
