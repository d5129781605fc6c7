"""``job-monitor acknowledge``: say that somebody takes care of a job in trouble."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import quote

import anyio
import typer

from monitor.cli import arguments, completions


def acknowledge(
    *,
    key: completions.Key,
    author: arguments.Author = None,
    comment: arguments.Comment = "",
    withdraw: Annotated[
        bool, typer.Option("--withdraw", help="Withdraw the acknowledgement.")
    ] = False,
    server: arguments.ServerUrl = None,
    token_file: arguments.TokenFile = None,
    ca_file: arguments.CaFile = None,
) -> None:
    """Acknowledge a job that failed, is stuck or is missing, until its state changes."""
    at = arguments.required_server(server, token_file, ca_file)
    body = None if withdraw else {"author": arguments.author(author), "comment": comment}

    from monitor.web.api.job_schemas import JobView

    async def ask() -> None:
        async with at.opened() as daemon:
            path = f"jobs/{quote(key, safe='')}/acknowledge"
            await daemon.ask("POST" if body else "DELETE", JobView, path, body=body)

    anyio.run(ask)
    typer.echo(f"{key} is {'no longer ' if withdraw else ''}acknowledged.")
