"""``job-monitor sinks``: list the sinks and their status, and resume parked ones."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import quote

import anyio
import typer

from monitor.cli import arguments, completions, listings, options
from monitor.cli.groups import ListingGroup
from monitor.cli.listings import Found, Listed
from monitor.cli.tables import Column, Table

if TYPE_CHECKING:
    from datetime import datetime

    from monitor.cli.arguments import ServerOptions
    from monitor.config import Settings
    from monitor.model import Backlog
    from monitor.stores.reader import LedgerReader
    from monitor.web.api.schemas import SinkView

WATCH_FOR = 5.0
"""Seconds for which what comes of a resume is watched."""

AS_STORED = (
    "As of the store, which keeps no time of a failed attempt."
    " A daemon knows what its last attempts met: --server URL"
)

commands = typer.Typer(cls=ListingGroup, help="List the sinks, and resume parked ones.")


@listings.command(commands)
def list_(
    *,
    daemon: arguments.ServerOptions | None,  # noqa: ARG001 -- every listing takes it
) -> Listed[Any]:
    """List the sinks with their status and their pending deliveries.

    The store counts a sink as failing if it accepted nothing after the
    newest change sent to it. A daemon knows each attempt.
    """
    return Listed(TABLE, lambda client: listings.all_of(client.sinks()), _of_store)


async def _of_store(settings: Settings, store: LedgerReader) -> Found[SinkView]:
    found = await _stored(settings, store)
    return Found(found, (AS_STORED,) if any(one.pending for one in found) else ())


async def _stored(settings: Settings, store: LedgerReader) -> list[SinkView]:
    from monitor.web.api.schemas import SinkView
    from monitor.web.interfaces import SinkAttempts

    backlogs = {each.sink: each for each in await store.backlog()}
    parked = {each.sink: each for each in await store.parkings()}
    taken = await store.taken()
    found = []
    for name in dict.fromkeys((*settings.sinks, *sorted(backlogs.keys() | parked.keys()))):
        sink, backlog = settings.sinks.get(name), backlogs.get(name)
        if backlog:
            # What is in the store alone fails no longer: nothing sends to it.
            since = _failing_since(backlog, taken.get(name)) if sink else None
            error = backlog.last_error if sink else None
            backlog = replace(backlog, failing_since=since, last_error=error)
        attempts = SinkAttempts(name, sink.type if sink else "", None, None, None)
        found.append(SinkView.of(attempts, backlog, parked.get(name)))
    return found


def _status(one: SinkView) -> str:
    if one.health != "ok":
        return one.health
    return "active" if one.type else "removed"


TABLE: Table[SinkView] = Table(
    columns=(
        Column("SINK", lambda one: one.name, least=8),
        Column("TYPE", lambda one: one.type, spare=3),
        Column(
            "STATUS",
            _status,
            colour=lambda one: {"failing": "red", "parked": "yellow"}.get(_status(one)),
        ),
        Column("PENDING", lambda one: one.pending),
        Column("DEAD", lambda one: one.dead, colour=lambda one: "red" if one.dead else None),
        Column("OLDEST", lambda one: one.oldest_pending_at, spare=4),
        Column("FAILING", lambda one: one.failing_since, stamp="FAILING SINCE", spare=5),
        Column("PARKED", lambda one: one.parked_at, stamp="PARKED AT", spare=6),
        Column("DELIVERED", lambda one: one.last_delivered_at, wide=True),
        Column("REPLICA", lambda one: one.replica, wide=True, least=8, spare=7),
        Column(
            "REASON",
            lambda one: one.parked_reason if one.parked else one.last_error,
            least=14,
            spare=2,
        ),
    ),
    name=lambda one: one.name,
    data=lambda one: one.model_dump(mode="json"),
    empty="There are no sinks.",
)


def _failing_since(backlog: Backlog, taken: datetime | None) -> datetime | None:
    """Return since when a sink fails, as far as the store knows; ``None`` if it does not.

    The store keeps when a change was recorded and when it was taken, but not when an attempt
    failed. So what was recorded after the sink last took something, and was tried, proves that
    it fails; an older change that is retried beside others that are taken does not.
    """
    if backlog.failing_since is None or backlog.tried_at is None:
        return None
    if taken is None:
        return backlog.failing_since
    return max(backlog.failing_since, taken) if backlog.tried_at > taken else None


@commands.command("resume")
def resume(
    *,
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME", help="The sink to resume.", autocompletion=completions.sinks
        ),
    ],
    config: options.Config = None,
    server: arguments.ServerUrl = None,
    token_file: arguments.TokenFile = None,
    ca_file: arguments.CaFile = None,
) -> None:
    """Let a parked sink be sent to again; a daemon that runs notices within seconds.

    What waits for it is watched for some seconds; exit code 1 if the sink is parked again.
    """
    daemon = arguments.server(server, token_file, ca_file, local=config)
    if daemon:
        resumed, again = anyio.run(_resume_at, daemon, name)
    else:
        settings = options.load_own(config)
        arguments.require_sink(settings, name)
        resumed, again = anyio.run(_resume, settings, name)
    if again is not None:
        typer.echo(f"{name} was resumed, and is parked again: {again}", err=True)
        raise typer.Exit(1)
    typer.echo(f"{name} is resumed." if resumed else f"{name} was not parked.")


async def _resume_at(daemon: ServerOptions, name: str) -> tuple[bool, str | None]:
    from monitor.web.api.schemas import Resumed

    async with daemon.opened() as client:
        known = [one.name for one in await client.sinks()]
        arguments.require_name("", "sink", name, known)
        path = f"sinks/{quote(name, safe='')}/resume"
        found = await client.ask("POST", Resumed, path, body={})
    return found.resumed, (found.error or "unknown") if found.outcome == "parked" else None


async def _resume(settings: Settings, name: str) -> tuple[bool, str | None]:
    """Resume it, and watch until it takes something, parks again, or nothing has happened."""
    from monitor.tools.ledger import open_ledger

    async with open_ledger(settings) as store:
        if not await store.resume(name):
            return False, None
        backlog = next((each for each in await store.backlog() if each.sink == name), None)
        # What is refused waits no longer, but is dead: only what is neither was taken.
        before = now = backlog.pending + backlog.dead if backlog and backlog.pending else 0
        with anyio.move_on_after(WATCH_FOR):
            while before and now >= before:
                await anyio.sleep(0.2)
                for parking in await store.parkings():
                    if parking.sink == name:
                        return True, parking.reason
                left = (each for each in await store.backlog() if each.sink == name)
                now = sum(each.pending + each.dead for each in left)
    return True, None
