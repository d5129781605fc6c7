"""``job-monitor deliveries``: what was, is and will be sent to the sinks."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import anyio
import orjson
import typer

from monitor.cli import arguments, options
from monitor.cli import output as tables
from monitor.cli.options import Format
from monitor.model import DeliveryStatus

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from monitor.config import Settings
    from monitor.model import StoredDelivery
    from monitor.stores.store import SqlStore

commands = typer.Typer(
    help="List and show deliveries: one transition for one sink each.", no_args_is_help=True
)


@commands.command("list")
def list_(
    config: options.Config = None,
    sink: Annotated[str | None, typer.Option(help="Only those for one sink.")] = None,
    status: Annotated[
        DeliveryStatus | None, typer.Option(help="Only those with this status.")
    ] = None,
    job: arguments.Job = None,
    limit: arguments.Limit = 100,
    output: options.Output = Format.TABLE,
) -> None:
    """List deliveries, the newest first."""
    settings = options.load_own(config)
    found, parked = anyio.run(_list, settings, sink, status, limit, job)
    shown = [_row(one, parked=one.sink in parked) for one in found]
    if output is Format.TABLE:
        shown = [_waiting(row) for row in shown]
    aged = ("created_at", "due_at")
    tables.show(shown, output, "There are no such deliveries.", aged=aged)


async def _list(
    settings: Settings, sink: str | None, status: DeliveryStatus | None, limit: int, job: str | None
) -> tuple[Sequence[StoredDelivery], Collection[str]]:
    from monitor.app import open_ledger

    async with open_ledger(settings) as store:
        if sink is not None:
            await arguments.require_known_sink(settings, store, sink)
        return await store.deliveries(sink, status, limit, job), await _parked(store)


async def _parked(store: SqlStore) -> Collection[str]:
    return {each.sink for each in await store.parkings()}


def _row(one: StoredDelivery, *, parked: bool) -> dict[str, Any]:
    """Describe a delivery; what waits for a parked sink is due at no time that is known."""
    waits = parked and one.status is DeliveryStatus.PENDING
    return {
        "id": one.id,
        "sink": one.sink,
        "status": one.status.value,
        "attempts": one.attempts,
        "replayed": one.replayed,
        "kind": one.kind,
        "job": one.key,
        "created_at": one.created_at,
        "due_at": None if waits else one.due_at,
        "waits": "sink is parked" if waits else None,
        "settled_at": one.settled_at,
        "error": one.last_error,
    }


def _waiting(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row for a table: what a delivery waits for stands in the place of its due time."""
    shown = dict(row)
    if waits := shown.pop("waits"):
        shown["due_at"] = f"waits: {waits}"
    return shown


@commands.command("show")
def show(
    number: Annotated[int, typer.Argument(metavar="ID", help="As deliveries list prints it.")],
    config: options.Config = None,
    output: options.Output = Format.TABLE,
) -> None:
    """Show one delivery and its event; exit code 1 if there is none of that id."""
    settings = options.load_own(config)
    found = anyio.run(_show, settings, number)
    if found is None:
        typer.echo(f"error: there is no delivery {number}", err=True)
        raise typer.Exit(1)
    one, event, parked = found
    row = _row(one, parked=parked)
    if output is Format.JSON:
        known = {"due_at": row["due_at"], "waits": row["waits"]}
        tables.show_json({**asdict(one), **known, "event": event})
        return
    rows = _waiting(row) | {"event_id": one.event_id}
    width = max(map(len, rows))
    for name, value in rows.items():
        typer.echo(f"{name:<{width}}  {tables.text(value)}")
    typer.echo(orjson.dumps(event, option=orjson.OPT_INDENT_2).decode())


async def _show(
    settings: Settings, number: int
) -> tuple[StoredDelivery, Mapping[str, Any], bool] | None:
    from monitor.app import open_ledger

    async with open_ledger(settings) as store:
        found = await store.delivery(number)
        return found and (*found, found[0].sink in await _parked(store))
