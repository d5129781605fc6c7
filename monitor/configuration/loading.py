"""Files and environment → settings, or every mistake in them at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from monitor.config import Origin, Settings
from monitor.configuration import complaints
from monitor.configuration.environment import Environment
from monitor.configuration.layers import Layers
from monitor.configuration.yaml_files import Files
from monitor.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from monitor.errors import Problem


def load(paths: Sequence[Path] | None, environ: Mapping[str, str]) -> Settings:
    """Read the settings from files and directories of files, and from the environment.

    The environment wins over files. Without ``paths`` there is the environment alone.

    Raises:
        ConfigurationError: with every mistake in the shape of the settings.
    """
    files = Files(paths or ())
    problems = files.problems
    if files.whole:
        environment = Environment(environ, files.tree)
        settings, more = _settings(environment, files)
        problems = [*problems, *environment.problems, *more]
        if settings is not None and not problems:
            return settings
    raise ConfigurationError(complaints.tidy(problems))


def _settings(environment: Environment, files: Files) -> tuple[Settings | None, list[Problem]]:
    layers = Layers(environment.tree, files.tree)
    options: dict[str, Any] = {"_build_sources": ((environment, files), {})}  # the first wins
    try:
        settings = Settings(**options)
    except ValidationError as error:
        return None, complaints.complaints(error, layers)
    return settings.placed(Origin(layers.outline().place_of)), []
