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

commands = typer.Typer(help="Look at sinks, and resume parked ones.", no_args_is_help=True)


@commands.command("list")
def list_(config: options.Config = None, output: options.Output = Format.TABLE) -> None:
    """List the sinks: whether they are parked, and what they still have to tell."""
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
    return {
        "sink": name,
        "type": type_,
        "status": "parked" if parking else ("active" if type_ else "removed"),
        "pending": backlog.pending if backlog else 0,
        "dead": backlog.dead if backlog else 0,
        "oldest_at": backlog.oldest_at if backlog else None,
        "parked_at": parking.at if parking else None,
        "reason": parking.reason if parking else None,
    }


@commands.command("resume")
def resume(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The sink to resume.")],
    config: options.Config = None,
) -> None:
    """Let a parked sink be sent to again; a daemon that runs notices within seconds."""
    settings = options.load_own(config)
    selecting.require_sink(settings, name)
    resumed = anyio.run(_resume, settings, name)
    typer.echo(f"{name} is resumed." if resumed else f"{name} was not parked.")


async def _resume(settings: Settings, name: str) -> bool:
    async with late.app.open_ledger(settings) as store:
        return await store.resume(name)
