"""Options that several commands share, and what they lead to."""

from __future__ import annotations

import os
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from monitor import configuration, examination
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
        ConfigurationError: with every value that cannot be read.
    """
    return configuration.load(paths(config), os.environ)


def load_own(config: list[Path] | None) -> Settings:
    """Read the configuration, of which there must be some.

    Raises:
        ConfigurationError: nothing at all is configured, or values cannot be read; then with
            everything that is wrong.
    """
    draft = read_own(config)
    if draft.problems:
        examination.refuse(examination.examine(draft)[1])
    return draft.settings


def read_own(config: list[Path] | None) -> configuration.Draft:
    """Read what can be read of the configuration, of which there must be some.

    Raises:
        ConfigurationError: nothing at all is configured.
    """
    draft = configuration.read(paths(config), os.environ)
    if config or draft.problems or draft.settings != Settings():
        return draft
    remedy = f"name a file with --config or {CONFIG_VARIABLE}, or try job-monitor demo"
    raise ConfigurationError([Problem("", "", "there is no configuration", remedy)])


def paths(config: list[Path] | None) -> list[Path] | None:
    """Return the files and directories that the options or the environment name, if any."""
    named = os.environ.get(CONFIG_VARIABLE)
    return config or ([Path(named)] if named else None)
