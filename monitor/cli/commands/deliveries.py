"""``job-monitor deliveries``: what was, is and will be sent to the sinks."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import anyio
import orjson
import typer

from monitor.cli import arguments, completions, listings, options
from monitor.cli import output as tables
from monitor.cli.groups import ListingGroup
from monitor.cli.listings import Found, Listed
from monitor.cli.options import Format
from monitor.cli.tables import Column, Table
from monitor.model import DeliveryStatus

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from pathlib import Path

    from monitor.cli.arguments import ServerOptions
    from monitor.config import Settings
    from monitor.stores.reader import LedgerReader
    from monitor.tools.api_client import DaemonClient
    from monitor.web.api.ledger_schemas import DeliveryView

    Shown = tuple[DeliveryView, Mapping[str, Any], bool]
    """A delivery, its event, and whether its sink is parked."""

commands = typer.Typer(
    cls=ListingGroup, help="List and show deliveries: one transition for one sink each."
)
_WAITS = "sink is parked"


@listings.command(commands)
def list_(
    *,
    sink: Annotated[
        str | None,
        typer.Option(help="Only those for one sink.", autocompletion=completions.sinks),
    ] = None,
    status: Annotated[
        DeliveryStatus | None, typer.Option(help="Only those with this status.")
    ] = None,
    job: completions.Job = None,
    limit: arguments.Limit = 100,
    daemon: arguments.ServerOptions | None,  # noqa: ARG001 -- every listing takes it
) -> Listed[Any]:
    """List deliveries, the newest first."""
    parked: set[str] = set()
    asked = (sink, status, job, limit, parked)
    return Listed(_table(parked), partial(_of_daemon, *asked), partial(_of_store, *asked))


async def _of_store(
    sink: str | None,
    status: DeliveryStatus | None,
    job: str | None,
    limit: int,
    parked: set[str],
    settings: Settings,
    store: LedgerReader,
) -> Found[DeliveryView]:
    from monitor.web.api.ledger_schemas import DeliveryView

    if sink is not None:
        await arguments.require_known_sink(settings, store, sink)
    found = await store.deliveries(sink, status, limit, job)
    parked.clear()
    parked |= {each.sink for each in await store.parkings()}
    return Found([DeliveryView.of(one) for one in found])


async def _of_daemon(
    sink: str | None,
    status: DeliveryStatus | None,
    job: str | None,
    limit: int,
    parked: set[str],
    client: DaemonClient,
) -> Found[DeliveryView]:
    asked = {"sink": sink, "status": status.value if status else None, "job": job}
    given = [(name, value) for name, value in asked.items() if value is not None]
    found = await client.deliveries(given, limit)
    known = await client.sinks()
    if sink is not None and not found:
        # Of a removed sink there may be deliveries still.
        arguments.require_name("--sink", "sink", sink, [one.name for one in known])
    parked.clear()
    parked |= {one.name for one in known if one.parked}
    return Found(found)


def _waits(one: DeliveryView, parked: Collection[str]) -> bool:
    return one.status is DeliveryStatus.PENDING and one.sink in parked


def _table(parked: Collection[str]) -> Table[DeliveryView]:
    """Return the way in which deliveries are listed; what a parked sink is sent has no due time."""

    def due(one: DeliveryView) -> Any:
        return f"waits: {_WAITS}" if _waits(one, parked) else one.due_at

    return Table(
        columns=(
            Column("ID", lambda one: one.id),
            Column("SINK", lambda one: one.sink, least=8, spare=2, common=True),
            Column(
                "STATUS", lambda one: one.status.value, colour=lambda one: _COLOURS.get(one.status)
            ),
            Column("ATTEMPTS", lambda one: one.attempts, spare=5),
            Column("REPLAYED", lambda one: "yes" if one.replayed else None, wide=True),
            Column("KIND", lambda one: one.kind.value, least=12, spare=4),
            Column("JOB", lambda one: one.job, least=20),
            Column("AGE", lambda one: one.created_at, stamp="CREATED"),
            Column("DUE", due, spare=6),
            Column("SETTLED", lambda one: one.settled_at, spare=15),
            Column("EVENT", lambda one: one.event_id, wide=True),
            Column("ERROR", _error, least=14, spare=3),
        ),
        name=lambda one: str(one.id),
        data=lambda one: one.model_dump(mode="json"),
        empty="There are no such deliveries.",
    )


_COLOURS = {DeliveryStatus.DEAD: "red", DeliveryStatus.PENDING: "yellow"}


def _error(one: DeliveryView) -> str | None:
    return one.last_error or (one.silenced_by and f"silenced by {one.silenced_by}")


@commands.command("show")
def show(
    *,
    number: Annotated[int, typer.Argument(metavar="ID", help="As deliveries list prints it.")],
    config: options.Config = None,
    server: arguments.ServerUrl = None,
    token_file: arguments.TokenFile = None,
    ca_file: arguments.CaFile = None,
    output: options.Output = Format.TABLE,
) -> None:
    """Show one delivery and its event; exit code 1 if there is none of that id."""
    daemon = arguments.server(server, token_file, ca_file, local=config)
    if daemon:
        found = anyio.run(_from_daemon, daemon, number)
    else:
        found = anyio.run(_from_store, config, number)
    if found is None:
        typer.echo(f"error: there is no delivery {number}", err=True)
        raise typer.Exit(1)
    one, event, parked = found
    waits = _WAITS if _waits(one, {one.sink} if parked else ()) else None
    if output is not Format.TABLE:
        # Scripts read the key of the job as ``key`` here, as the store has it.
        facts = {"key" if name == "job" else name: value for name, value in one}
        waiting = {"due_at": None if waits else one.due_at, "waits": waits}
        tables.show_data({**facts, **waiting, "event": event}, output)
        return
    rows = {
        "id": one.id,
        "sink": one.sink,
        "status": one.status.value,
        "attempts": one.attempts,
        "replayed": one.replayed,
        "kind": one.kind.value,
        "job": one.job,
        "created_at": one.created_at,
        "due_at": f"waits: {waits}" if waits else one.due_at,
        "settled_at": one.settled_at,
        "error": _error(one),
        "event_id": one.event_id,
    }
    width = max(map(len, rows))
    for name, value in rows.items():
        typer.echo(f"{name:<{width}}  {tables.text(value)}")
    typer.echo(orjson.dumps(event, option=orjson.OPT_INDENT_2).decode())


async def _from_store(config: list[Path] | None, number: int) -> Shown | None:
    from monitor.tools.ledger import read_ledger
    from monitor.web.api.ledger_schemas import DeliveryView

    async with read_ledger(options.load_own(config)) as store:
        found = await store.delivery(number)
        if found is None:
            return None
        one, event = found
        parked = any(each.sink == one.sink for each in await store.parkings())
    return DeliveryView.of(one), event, parked


async def _from_daemon(daemon: ServerOptions, number: int) -> Shown | None:
    async with daemon.opened() as client:
        one = await client.delivery(number)
        transition = await client.transition(one.position) if one else None
        if one is None or transition is None:
            return None
        parked = any(each.name == one.sink and each.parked for each in await client.sinks())
    return one, transition.event, parked


@commands.command("discard")
def discard(
    *,
    sink: Annotated[
        str, typer.Option(help="The sink that they are for.", autocompletion=completions.sinks)
    ],
    ids: Annotated[
        list[int] | None, typer.Argument(metavar="[ID]...", help="As deliveries list prints them.")
    ] = None,
    job: completions.Job = None,
    every: Annotated[bool, typer.Option("--all", help="All dead deliveries of the sink.")] = False,
    server: arguments.ServerUrl = None,
    token_file: arguments.TokenFile = None,
    ca_file: arguments.CaFile = None,
) -> None:
    """Mark dead deliveries as not to be sent any more, so that their alert ends.

    They are kept and listed, and replay can still send them.
    """
    if sum((bool(ids), job is not None, every)) != 1:
        raise arguments.mistake("", "needs one of ID, --job and --all", "name what to discard")
    body = {"sink": sink, "ids": ids or None, "job": job, "all": every or None}
    body = {name: value for name, value in body.items() if value is not None}
    at = arguments.required_server(server, token_file, ca_file)

    from monitor.web.api.schemas import Discarded

    async def ask() -> int:
        async with at.opened() as daemon:
            return (await daemon.ask("POST", Discarded, "deliveries/discard", body=body)).count

    count = anyio.run(ask)
    typer.echo(f"{count} dead {'delivery' if count == 1 else 'deliveries'} of {sink} discarded.")
