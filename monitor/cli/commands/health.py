"""``job-monitor health``: check the daemon on this machine, as a container's health check."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from monitor.cli import options


def health(
    config: options.Config = None,
    url: Annotated[
        str | None,
        typer.Option(
            metavar="URL", help="Where the daemon listens; by default, what the settings say."
        ),
    ] = None,
) -> None:
    """Ask a running daemon whether its scheduler runs; exit code 0 if it does, 1 if not."""
    from monitor.config import loader
    from monitor.tools import healthcheck

    if url is None:
        # A mistake in a file that has just been edited says nothing about the daemon: it still
        # runs with what it read before.
        server = loader.load_server(options.paths(config), os.environ)
        address = healthcheck.own_address(server)
    else:
        address = healthcheck.address_of_url(url)
    answer = healthcheck.ask(address)
    typer.echo(answer.why, err=not answer.healthy)
    if not answer.healthy:
        raise typer.Exit(1)
