"""Options that several commands share, and what they lead to."""

from __future__ import annotations

import os
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from monitor import settings_files

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


Output = Annotated[Format, typer.Option("--output", "-o", help="How to print.")]


def load(config: list[Path] | None) -> Settings:
    """Read the configuration that the options or the environment name.

    Raises:
        ConfigurationError: with everything that is wrong in it.
    """
    named = os.environ.get(CONFIG_VARIABLE)
    paths = config or ([Path(named)] if named else None)
    return settings_files.load(paths, os.environ)
