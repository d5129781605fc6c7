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
    from collections.abc import Collection

    from monitor.config import Settings
    from monitor.web.api.schemas import TransitionView

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
    kinds = None
    if kind is not None:
        kinds = [each.value for each in Kind if fnmatchcase(each.value, kind)]
        if not kinds:
            raise arguments.unknown("--kind", "kind", kind, Kind)
    found = anyio.run(_list, settings, job, arguments.moment(since), kinds, limit)
    if output is Format.JSON:
        tables.show_json([{"position": one.position, "event": one.event} for one in found])
        return
    rows = [_row(one) for one in found]
    tables.show(rows, output, "There are no such transitions.", aged=("time",))


async def _list(
    settings: Settings,
    job: str | None,
    since: datetime | None,
    kinds: Collection[str] | None,
    limit: int,
) -> list[TransitionView]:
    from monitor.app import open_ledger
    from monitor.web.api.schemas import TransitionView

    async with open_ledger(settings) as store:
        found = await store.history(job, since, kinds, limit)
    return [TransitionView(position=position, event=event) for position, event in found]


def _row(one: TransitionView) -> dict[str, Any]:
    data = one.event["data"]
    about = data.get("job") or data["source"]
    return {
        "position": one.position,
        "time": datetime.fromisoformat(one.event["time"]),
        "kind": data["kind"],
        "job": about["key"],
        "sequence": data["sequence"],
        "previous": (data["previous"] or {}).get("state"),
        "current": data["current"]["state"],
        "phase": data["current"].get("phase"),
        "severity": data["severity"],
    }
