"""``job-monitor health``: whether the daemon beside it lives, as a health check asks."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated

import typer

from monitor.cli import lazy, options

if TYPE_CHECKING:
    from pathlib import Path

    from monitor.tools.healthcheck import Door


def health(
    config: options.Config = None,
    url: Annotated[
        str | None,
        typer.Option(
            metavar="URL", help="Where the daemon listens; by default, what the settings say."
        ),
    ] = None,
) -> None:
    """Ask a running daemon whether its scheduler goes round; exit code 0 if it does, 1 if not."""
    verdict = lazy.health.ask(_door(config, url))
    typer.echo(verdict.why, err=not verdict.healthy)
    if not verdict.healthy:
        raise typer.Exit(1)


def _door(config: list[Path] | None, url: str | None) -> Door:
    if url is not None:
        return lazy.health.door_of_url(url)
    # A problem elsewhere in a file that has just been changed says nothing about the daemon,
    # which still runs with what it read before.
    return lazy.health.own_door(lazy.configuration.load_server(options.paths(config), os.environ))
