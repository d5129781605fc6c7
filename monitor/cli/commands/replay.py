"""``job-monitor replay``: send dead or lost deliveries of a sink again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import anyio
import typer

from monitor.cli import arguments, options
from monitor.cli import output as tables
from monitor.cli.options import Format
from monitor.delivery import replay as replaying
from monitor.model import DeliveryStatus

if TYPE_CHECKING:
    from monitor.config import Settings

_MOST_SHOWN = 1000


def replay(
    sink: Annotated[str, typer.Option(help="The sink to send to.")],
    config: options.Config = None,
    since: arguments.Since = None,
    match: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=GLOB", help="Only these, such as job=PKG-7, phase=failed; repeatable."
        ),
    ] = None,
    delivered: Annotated[  # noqa: FBT002 -- the form of a typer option
        bool, typer.Option("--delivered", help="Also what the sink accepted; needs --since.")
    ] = False,
    dry_run: Annotated[  # noqa: FBT002
        bool, typer.Option("--dry-run", help="Only print what would be sent.")
    ] = False,
    output: options.Output = Format.TABLE,
) -> None:
    """Queue dead deliveries again, in order, behind pending ones; the daemon sends them."""
    if delivered and since is None:
        raise arguments.mistake("--delivered", "needs --since", "add --since 2h or the like")
    settings = options.load_own(config)
    dead, taken = DeliveryStatus.DEAD, DeliveryStatus.DELIVERED
    selection = replaying.Selection(
        sink=sink,
        statuses=(dead, taken) if delivered else (dead,),
        since=arguments.moment(since),
        match=arguments.matches(match or ()),
    )
    count, first = anyio.run(_replay, settings, selection, dry_run)
    if output is Format.JSON:
        tables.show_json({"sink": sink, "count": count, "dry_run": dry_run, "events": first})
        return
    for row in first if dry_run else ():
        typer.echo("  ".join(map(tables.text, row.values())))
    verb = "would be" if dry_run else "will be"
    typer.echo(f"{count} transition{'' if count == 1 else 's'} {verb} sent to {sink} again.")


async def _replay(
    settings: Settings,
    selection: replaying.Selection,
    dry_run: bool,  # noqa: FBT001
) -> tuple[int, list[dict[str, Any]]]:
    """Return how many were selected, and the first of them."""
    from monitor.app import open_ledger

    count = 0
    first: list[dict[str, Any]] = []
    async with open_ledger(settings) as store:
        await arguments.require_known_sink(settings, store, selection.sink)
        if selection.sink not in settings.sinks and not dry_run:
            message = f'"{selection.sink}" is no longer configured, so nothing would send to it'
            raise arguments.mistake("--sink", message, "configure it again, or use --dry-run")
        await arguments.require_places(selection.match, settings, store)
        async for page in replaying.replay(store, selection, dry_run=dry_run):
            count += len(page)
            for event in page[: _MOST_SHOWN - len(first)]:
                data = event["data"]
                about = data.get("job") or data["source"]
                row = {"id": event["id"], "time": event["time"], "kind": data["kind"]}
                row |= {"job": about["key"], "sequence": data["sequence"]}
                first.append({**row, "state": data["current"]["state"]})
    return count, first
