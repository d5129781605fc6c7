"""Files and environment → settings, or every problem of their shape.

A configuration is read in two stages. Here is the first: do the texts fit the schema? Only what
does is validated, by ``monitor.validation``: does it make sense? Each stage reports all of its
problems at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import ValidationError
from pydantic_settings import InitSettingsSource

from monitor.config import environment, messages, yaml_files
from monitor.config.settings import Origin, ServerSettings, Settings
from monitor.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from monitor.config.yaml_document import Node
    from monitor.errors import Problem


def load(paths: Sequence[Path] | None, environ: Mapping[str, str]) -> Settings:
    """Read the settings from files and directories of files, and from the environment.

    The environment wins over files. Without ``paths`` there is the environment alone.

    Raises:
        ConfigurationError: with every problem of the shape of the settings.
    """
    tree, problems, complete = _read(paths, environ)
    # Settings handed over as a source cannot collide with the parameters of the library.
    options: dict[str, Any] = {
        "_build_sources": ((InitSettingsSource(Settings, tree.plain()),), {})
    }
    try:
        settings = Settings(**options)
    except ValidationError as error:
        # What is missing may stand in the part that could not be read.
        problems += messages.of_shape(error, tree, missing=complete)
    if problems:
        raise ConfigurationError(messages.tidy(problems))
    return settings.placed(Origin(tree.outline().place_of))


def load_server(paths: Sequence[Path] | None, environ: Mapping[str, str]) -> ServerSettings:
    """Read the section ``server`` alone, whatever is wrong in the others.

    Where it has problems of its own, the keys that fit are kept, and defaults stand for the rest.
    """
    tree, _, _ = _read(paths, environ)
    section = tree.get("server")
    plain = section.plain() if section else None
    good: dict[str, Any] = {}
    for key, value in plain.items() if isinstance(plain, dict) else ():
        try:
            ServerSettings.model_validate({key: value})
        except ValidationError:
            continue
        good[key] = value
    return ServerSettings.model_validate(good)


def _read(
    paths: Sequence[Path] | None, environ: Mapping[str, str]
) -> tuple[Node, list[Problem], bool]:
    """Return all as one tree, every problem, and whether all files could be read."""
    files, problems, complete = yaml_files.read_files(paths or ())
    tree, more = environment.overlay(environ, files)
    # A variable may name what an unread file gives: it may be unknown for that reason alone.
    return tree, problems + more if complete else problems, complete
