"""Files and environment → settings, as far as they can be read, and every mistake in them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from monitor.config import messages
from monitor.config.environment import Environment
from monitor.config.gaps import NO_GAPS, Gaps
from monitor.config.layers import Layers
from monitor.config.recovery import mended
from monitor.config.settings import Origin, Settings
from monitor.config.yaml_files import Files
from monitor.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from monitor.errors import Problem


@dataclass(frozen=True, slots=True)
class Draft:
    """Settings as far as they can be read, the mistakes in their shape, and what is lost by them.

    Only without ``problems`` do the settings say what was meant.
    """

    settings: Settings
    problems: tuple[Problem, ...] = ()
    gaps: Gaps = NO_GAPS


def load(paths: Sequence[Path] | None, environ: Mapping[str, str]) -> Settings:
    """Read the settings from files and directories of files, and from the environment.

    The environment wins over files. Without ``paths`` there is the environment alone.

    Raises:
        ConfigurationError: with every mistake in the shape of the settings.
    """
    draft = read(paths, environ)
    if draft.problems:
        raise ConfigurationError(draft.problems)
    return draft.settings


def read(paths: Sequence[Path] | None, environ: Mapping[str, str]) -> Draft:
    """Read the settings as ``load`` does, but keep what is right in them beside the mistakes.

    Of a file that cannot be read, nothing is known. What it may have said counts as neither
    missing nor wrong.
    """
    files = Files(paths or ())
    environment = Environment(environ, files.tree)
    layers = Layers(environment.tree, files.tree)
    settings, gaps, problems = _settings(environment, files, layers)
    if files.whole:
        problems = [*environment.problems, *problems]
    gaps = replace(gaps.also(*environment.gaps), whole=files.whole and environment.whole)
    placed = settings.placed(Origin(layers.outline().place_of))
    return Draft(placed, tuple(messages.tidy([*files.problems, *problems])), gaps)


def _settings(
    environment: Environment, files: Files, layers: Layers
) -> tuple[Settings, Gaps, list[Problem]]:
    options: dict[str, Any] = {"_build_sources": ((environment, files), {})}  # the first wins
    try:
        return Settings(**options), NO_GAPS, []
    except ValidationError as error:
        problems = messages.complaints(error, layers, whole=files.whole)
    return *mended(layers), problems
