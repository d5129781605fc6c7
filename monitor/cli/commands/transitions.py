"""``job-monitor transitions``: what the ledger says."""

from __future__ import annotations

from datetime import datetime
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Annotated, Any

import anyio
import typer

from monitor.cli import arguments, options
from monitor.cli import output as tables
from monitor.cli.options import Format
from monitor.model import Kind

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from monitor.config import Settings

commands = typer.Typer(help="List the transitions of the ledger.", no_args_is_help=True)


@commands.command("list")
def list_(
    config: options.Config = None,
    job: arguments.Job = None,
    since: arguments.Since = None,
    kind: Annotated[
        str | None, typer.Option(metavar="GLOB", help="Such as job.state_changed, or source.*.")
    ] = None,
    limit: arguments.Limit = 100,
    output: options.Output = Format.TABLE,
) -> None:
    """List the newest transitions, in the order in which they were recorded."""
    settings = options.load_own(config)
    found = anyio.run(_list, settings, job, arguments.moment(since), _kinds(kind), limit)
    if output is Format.JSON:
        tables.show_json([{"position": position, "event": event} for position, event in found])
        return
    shown = [_row(*one) for one in found]
    tables.show(shown, output, "There are no such transitions.", aged=("time",))


def _kinds(glob: str | None) -> Collection[str] | None:
    if glob is None:
        return None
    found = [kind.value for kind in Kind if fnmatchcase(kind.value, glob)]
    if not found:
        raise arguments.unknown("--kind", "kind", glob, Kind)
    return found


async def _list(
    settings: Settings,
    job: str | None,
    since: datetime | None,
    kinds: Collection[str] | None,
    limit: int,
) -> Sequence[tuple[int, Mapping[str, Any]]]:
    from monitor.app import open_ledger

    async with open_ledger(settings) as store:
        return await store.history(job, since, kinds, limit)


def _row(position: int, event: Mapping[str, Any]) -> dict[str, Any]:
    data = event["data"]
    about = data.get("job") or data["source"]
    return {
        "position": position,
        "time": datetime.fromisoformat(event["time"]),
        "kind": data["kind"],
        "job": about["key"],
        "sequence": data["sequence"],
        "previous": (data["previous"] or {}).get("state"),
        "current": data["current"]["state"],
        "phase": data["current"].get("phase"),
        "severity": data["severity"],
    }
