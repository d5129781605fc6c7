"""``job-monitor replay``: send dead or lost deliveries of a sink again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import anyio
import typer

from monitor.cli import arguments, completions, options
from monitor.cli import output as tables
from monitor.cli.options import Format
from monitor.delivery import replay as replaying
from monitor.model import DeliveryStatus

if TYPE_CHECKING:
    from monitor.cli.arguments import ServerOptions
    from monitor.config import Settings

_MOST_SHOWN = 1000


def replay(  # noqa: PLR0913 -- each is an option
    *,
    sink: Annotated[
        str, typer.Option(help="The sink to send to.", autocompletion=completions.sinks)
    ],
    config: options.Config = None,
    since: arguments.Since = None,
    match: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=GLOB", help="Only these, such as job=PKG-7, phase=failed; repeatable."
        ),
    ] = None,
    delivered: Annotated[
        bool, typer.Option("--delivered", help="Also what the sink accepted; needs --since.")
    ] = False,
    silenced: Annotated[
        bool, typer.Option("--silenced", help="Also what a silence or a maintenance window held.")
    ] = False,
    discarded: Annotated[
        bool, typer.Option("--discarded", help="Also what was discarded.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only print what would be sent.")
    ] = False,
    server: arguments.ServerUrl = None,
    token_file: arguments.TokenFile = None,
    ca_file: arguments.CaFile = None,
    output: options.Output = Format.TABLE,
) -> None:
    """Queue dead deliveries again, in order, behind pending ones; the daemon sends them."""
    if delivered and since is None:
        raise arguments.mistake("--delivered", "needs --since", "add --since 2h or the like")
    more = {
        DeliveryStatus.DELIVERED: delivered,
        DeliveryStatus.SILENCED: silenced,
        DeliveryStatus.DISCARDED: discarded,
    }
    selection = replaying.Selection(
        sink=sink,
        statuses=(DeliveryStatus.DEAD, *(status for status, wanted in more.items() if wanted)),
        since=arguments.moment(since),
        match=arguments.matches(match or ()),
    )
    daemon = arguments.server(server, token_file, ca_file, local=config)
    if daemon:
        found = anyio.run(_replay_at, daemon, selection, dry_run)
        count, rows = found["count"], [{"id": each} for each in found["event_ids"]]
    else:
        count, rows = anyio.run(_replay, options.load_own(config), selection, dry_run)
        found = {"sink": sink, "count": count, "dry_run": dry_run}
        found |= {"event_ids": [row["id"] for row in rows], "events": rows}
    if output is not Format.TABLE:
        tables.show_data(found, output)
        return
    for row in rows if dry_run else ():
        typer.echo("  ".join(map(tables.text, row.values())))
    verb = "would be" if dry_run else "will be"
    typer.echo(f"{count} transition{'' if count == 1 else 's'} {verb} sent to {sink} again.")


async def _replay_at(
    daemon: ServerOptions,
    selection: replaying.Selection,
    dry_run: bool,  # noqa: FBT001
) -> dict[str, Any]:
    """Let a daemon select and queue; return its answer."""
    match = {key: list(globs) for key, globs in selection.match}
    if len(match) < len(selection.match):
        remedy = "write the globs of one key together: KEY=GLOB,GLOB"
        raise arguments.mistake("--match", "names a key twice", remedy)
    asked = {
        "sink": selection.sink,
        "match": match,
        "dry_run": dry_run,
        # The parameters have the names of the statuses; an older daemon does not know all.
        **{status.value: True for status in selection.statuses[1:]},
    }
    if selection.since is not None:
        asked["since"] = selection.since.isoformat()
    async with daemon.opened() as client:
        from monitor.web.api.schemas import Replayed

        known = [one.name for one in await client.sinks()]
        arguments.require_name("--sink", "sink", selection.sink, known)
        return (await client.ask("POST", Replayed, "replay", body=asked)).model_dump(mode="json")


async def _replay(
    settings: Settings,
    selection: replaying.Selection,
    dry_run: bool,  # noqa: FBT001
) -> tuple[int, list[dict[str, Any]]]:
    """Return how many were selected, and the first of them."""
    from monitor.tools.ledger import open_ledger

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
