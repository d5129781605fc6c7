"""``job-monitor sinks``: how they stand, and how a parked one is set going again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import anyio
import typer

from monitor.cli import late, options, selecting, tables
from monitor.cli.options import Format

if TYPE_CHECKING:
    from monitor.config import Settings
    from monitor.model import Backlog, Parking
    from monitor.stores.sql import SqlStore

WATCH_FOR = 5.0
"""Seconds for which what comes of a resume is watched."""

commands = typer.Typer(help="Look at sinks, and resume parked ones.", no_args_is_help=True)


@commands.command("list")
def list_(config: options.Config = None, output: options.Output = Format.TABLE) -> None:
    """List the sinks: whether they fail or are parked, and what they still have to deliver."""
    settings = options.load_own(config)
    tables.show(anyio.run(_list, settings), output, "There are no sinks.")


async def _list(settings: Settings) -> list[dict[str, Any]]:
    async with late.app.open_ledger(settings) as store:
        backlogs = {each.sink: each for each in await store.backlog()}
        parked = {each.sink: each for each in await store.parkings()}
    names = dict.fromkeys((*settings.sinks, *sorted(backlogs.keys() | parked.keys())))
    types = {name: sink.type for name, sink in settings.sinks.items()}
    return [_row(name, types.get(name), backlogs.get(name), parked.get(name)) for name in names]


def _row(
    name: str, type_: str | None, backlog: Backlog | None, parking: Parking | None
) -> dict[str, Any]:
    """Describe one sink; one that is in the store alone has no type."""
    failing_since = backlog.failing_since if backlog and type_ else None
    error = backlog.last_error if backlog and failing_since else None
    status = "parked" if parking else "removed" if not type_ else "active"
    return {
        "sink": name,
        "type": type_,
        "status": "failing" if status == "active" and failing_since else status,
        "pending": backlog.pending if backlog else 0,
        "dead": backlog.dead if backlog else 0,
        "oldest_at": backlog.oldest_at if backlog else None,
        "failing_since": failing_since,
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
    selecting.require_sink(settings, name)
    resumed, again = anyio.run(_resume, settings, name)
    if again is not None:
        typer.echo(f"{name} was resumed, and is parked again: {again.reason}", err=True)
        raise typer.Exit(1)
    typer.echo(f"{name} is resumed." if resumed else f"{name} was not parked.")


async def _resume(settings: Settings, name: str) -> tuple[bool, Parking | None]:
    async with late.app.open_ledger(settings) as store:
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
