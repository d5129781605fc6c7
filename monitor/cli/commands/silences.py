"""``job-monitor silences``: list, add and expire the silences of a daemon."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import quote

import anyio
import typer

from monitor.cli import arguments, listings
from monitor.cli.groups import ListingGroup
from monitor.cli.listings import Found, Listed
from monitor.cli.tables import Column, Table
from monitor.delivery import replay

if TYPE_CHECKING:
    from monitor.tools.api_client import DaemonClient
    from monitor.web.api.schemas import SilenceView

commands = typer.Typer(
    cls=ListingGroup,
    help="List, add and expire silences: what they match is recorded and not sent.",
)


@listings.command(commands, stored=False)
def list_(
    *,
    expired: Annotated[
        bool, typer.Option("--expired", help="Also those that have expired.")
    ] = False,
    daemon: arguments.ServerOptions | None,  # noqa: ARG001 -- every listing takes it
) -> Listed[Any]:
    """List the silences, the one that ends last first."""

    async def ask(daemon: DaemonClient) -> Found[SilenceView]:
        found = await daemon.silences()
        return Found([one for one in found if expired or one.status != "expired"])

    return Listed(TABLE, ask)


def _text(match: dict[str, Any]) -> str:
    """Write a match as ``--match`` takes it."""
    flat = {key: globs for key, globs in match.items() if key != "labels"}
    labels = match.get("labels") or {}
    flat |= {f"{replay.LABEL}{name}": globs for name, globs in labels.items()}
    return " ".join(f"{key}={','.join(globs)}" for key, globs in flat.items())


TABLE: Table[SilenceView] = Table(
    columns=(
        Column("ID", lambda one: one.id, least=8),
        Column("STATUS", lambda one: one.status),
        Column("MATCH", lambda one: " or ".join(map(_text, one.match)), least=16),
        Column("STARTED", lambda one: one.starts_at, stamp="STARTS AT", spare=6),
        Column("ENDS", lambda one: one.ends_at, stamp="ENDS AT"),
        Column("AUTHOR", lambda one: one.author, spare=4),
        Column("COMMENT", lambda one: one.comment, least=14, spare=2),
    ),
    name=lambda one: str(one.id),
    data=lambda one: one.model_dump(mode="json"),
    empty="There are no silences.",
)


@commands.command("add")
def add(
    *,
    match: Annotated[
        list[str],
        typer.Option(
            metavar="KEY=GLOB",
            help="Such as phase=failed, labels.team=vision, job=PKG-7; repeated, all must fit.",
        ),
    ],
    duration: Annotated[
        str | None, typer.Option(metavar="AGE", help="How long it lasts, such as 2h.")
    ] = None,
    start: Annotated[
        str | None, typer.Option(metavar="TIME", help="By default now; 2026-03-01T12:00:00Z.")
    ] = None,
    end: Annotated[str | None, typer.Option(metavar="TIME", help="In place of --duration.")] = None,
    author: arguments.Author = None,
    comment: arguments.Comment = "",
    server: arguments.ServerUrl = None,
    token_file: arguments.TokenFile = None,
    ca_file: arguments.CaFile = None,
) -> None:
    """Add a silence and print its id."""
    if (duration is None) == (end is None):
        raise arguments.mistake("--duration", "or --end must say the end", "add --duration 2h")
    body: dict[str, Any] = {
        "match": [_match(match)],
        "author": arguments.author(author),
        "comment": comment,
    }
    times = {"duration": duration, "starts_at": start, "ends_at": end}
    body |= {name: value for name, value in times.items() if value is not None}
    at = arguments.required_server(server, token_file, ca_file)

    from monitor.web.api.schemas import SilenceView

    async def ask() -> SilenceView:
        async with at.opened() as daemon:
            return await daemon.ask("POST", SilenceView, "silences", body=body)

    typer.echo(anyio.run(ask).id)


def _match(given: list[str]) -> dict[str, Any]:
    match: dict[str, Any] = {}
    for key, globs in arguments.matches(given):
        if key.startswith(replay.LABEL):
            match.setdefault("labels", {})[key.removeprefix(replay.LABEL)] = list(globs)
        else:
            match[key] = list(globs)
    return match


@commands.command("expire")
def expire(
    *,
    ids: Annotated[list[str], typer.Argument(metavar="ID...", help="As silences list prints.")],
    server: arguments.ServerUrl = None,
    token_file: arguments.TokenFile = None,
    ca_file: arguments.CaFile = None,
) -> None:
    """End silences now; what they held and is still true is sent."""
    at = arguments.required_server(server, token_file, ca_file)

    from monitor.web.api.schemas import SilenceView

    async def ask() -> None:
        async with at.opened() as daemon:
            for each in ids:
                await daemon.ask("DELETE", SilenceView, f"silences/{quote(each, safe='')}")

    anyio.run(ask)
