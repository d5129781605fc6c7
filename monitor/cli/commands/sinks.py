"""``job-monitor sinks``: list the sinks and their status, and resume parked ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import anyio
import typer

from monitor.cli import arguments, options
from monitor.cli import output as tables
from monitor.cli.options import Format

if TYPE_CHECKING:
    from datetime import datetime

    from monitor.config import Settings
    from monitor.model import Backlog, Parking
    from monitor.stores.store import SqlStore

WATCH_FOR = 5.0
"""Seconds for which what comes of a resume is watched."""

AS_STORED = (
    "As of the store, which keeps no time of a failed attempt."
    " A daemon's page and GET /api/v1/sinks show what its last attempts met."
)
_TIMES = ("oldest_at", "failing_since", "parked_at")

commands = typer.Typer(help="List the sinks, and resume parked ones.", no_args_is_help=True)


@commands.command("list")
def list_(config: options.Config = None, output: options.Output = Format.TABLE) -> None:
    """List the sinks with their status and their pending deliveries.

    The store counts a sink as failing if it accepted nothing after the
    newest change sent to it. A daemon knows each attempt: its page and
    GET /api/v1/sinks are exact.
    """
    settings = options.load_own(config)
    found = anyio.run(_list, settings)
    tables.show(found, output, "There are no sinks.", aged=_TIMES)
    if output is Format.TABLE and any(row["pending"] for row in found):
        typer.echo(AS_STORED, err=True)


async def _list(settings: Settings) -> list[dict[str, Any]]:
    from monitor.app import open_ledger

    async with open_ledger(settings) as store:
        backlogs = {each.sink: each for each in await store.backlog()}
        parked = {each.sink: each for each in await store.parkings()}
        taken = await store.taken()
    names = dict.fromkeys((*settings.sinks, *sorted(backlogs.keys() | parked.keys())))
    types = {name: sink.type for name, sink in settings.sinks.items()}
    return [
        _row(name, types.get(name), backlogs.get(name), parked.get(name), taken.get(name))
        for name in names
    ]


def failing_since(backlog: Backlog | None, taken: datetime | None) -> datetime | None:
    """Return since when a sink fails, as far as the store knows; ``None`` if it does not.

    The store keeps when a change was recorded and when it was taken, but not when an attempt
    failed. So what was recorded after the sink last took something, and was tried, proves that
    it fails; an older change that is retried beside others that are taken does not.
    """
    if backlog is None or backlog.failing_since is None or backlog.tried_at is None:
        return None
    if taken is None:
        return backlog.failing_since
    return max(backlog.failing_since, taken) if backlog.tried_at > taken else None


def _row(
    name: str,
    type_: str | None,
    backlog: Backlog | None,
    parking: Parking | None,
    taken: datetime | None,
) -> dict[str, Any]:
    """Describe one sink; one that is in the store alone has no type."""
    since = failing_since(backlog, taken) if type_ else None
    error = backlog.last_error if backlog and type_ else None
    status = "parked" if parking else "removed" if not type_ else "active"
    return {
        "sink": name,
        "type": type_,
        "status": "failing" if status == "active" and since else status,
        "pending": backlog.pending if backlog else 0,
        "dead": backlog.dead if backlog else 0,
        "oldest_at": backlog.oldest_at if backlog else None,
        "failing_since": since,
        "parked_at": parking.at if parking else None,
        "reason": parking.reason if parking else error,
    }


@commands.command("resume")
def resume(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The sink to resume.")],
    config: options.Config = None,
) -> None:
    """Let a parked sink be sent to again; a daemon that runs notices within seconds.

    What waits for it is watched for some seconds; exit code 1 if the sink is parked again.
    """
    settings = options.load_own(config)
    arguments.require_sink(settings, name)
    resumed, again = anyio.run(_resume, settings, name)
    if again is not None:
        typer.echo(f"{name} was resumed, and is parked again: {again.reason}", err=True)
        raise typer.Exit(1)
    typer.echo(f"{name} is resumed." if resumed else f"{name} was not parked.")


async def _resume(settings: Settings, name: str) -> tuple[bool, Parking | None]:
    from monitor.app import open_ledger

    async with open_ledger(settings) as store:
        resumed = await store.resume(name)
        return resumed, await _parked_again(store, name) if resumed else None


async def _parked_again(store: SqlStore, name: str) -> Parking | None:
    """Watch what waits until some of it is taken, or the sink parks again, or nothing happens."""
    before = await _backlog(store, name)
    with anyio.move_on_after(WATCH_FOR):
        while before and before.pending and not _took(before, await _backlog(store, name)):
            await anyio.sleep(0.2)
            for each in await store.parkings():
                if each.sink == name:
                    return each
    return None


async def _backlog(store: SqlStore, name: str) -> Backlog | None:
    return next((each for each in await store.backlog() if each.sink == name), None)


def _took(before: Backlog, now: Backlog | None) -> bool:
    """Return whether the sink took something: what is refused waits no longer, but is dead."""
    pending, dead = (now.pending, now.dead) if now else (0, 0)
    return pending + dead < before.pending + before.dead
