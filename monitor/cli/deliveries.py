"""``job-monitor deliveries``: what was, is and will be sent to the sinks."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import anyio
import orjson
import typer

from monitor.cli import late, options, selecting, tables
from monitor.cli.options import Format
from monitor.model import DeliveryStatus  # noqa: TC001 -- typer reads the annotation

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from monitor.config import Settings
    from monitor.model import StoredDelivery

commands = typer.Typer(
    help="Look at deliveries: one transition on its way to one sink.", no_args_is_help=True
)


@commands.command("list")
def list_(
    config: options.Config = None,
    sink: Annotated[str | None, typer.Option(help="Only those for one sink.")] = None,
    status: Annotated[DeliveryStatus | None, typer.Option(help="Only those that are so.")] = None,
    job: selecting.Job = None,
    limit: selecting.Limit = 100,
    output: options.Output = Format.TABLE,
) -> None:
    """List deliveries, the newest first."""
    settings = options.load_own(config)
    found = anyio.run(_list, settings, sink, status, limit, job)
    tables.show([_row(one) for one in found], output, "There are no such deliveries.")


async def _list(
    settings: Settings, sink: str | None, status: DeliveryStatus | None, limit: int, job: str | None
) -> Sequence[StoredDelivery]:
    async with late.app.open_ledger(settings) as store:
        if sink is not None:
            await selecting.require_known_sink(settings, store, sink)
        return await store.deliveries(sink, status, limit, job)


def _row(one: StoredDelivery) -> dict[str, Any]:
    return {
        "id": one.id,
        "sink": one.sink,
        "status": one.status.value,
        "attempts": one.attempts,
        "replayed": one.replayed,
        "kind": one.kind,
        "job": one.key,
        "created_at": one.created_at,
        "due_at": one.due_at,
        "settled_at": one.settled_at,
        "error": one.last_error,
    }


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
    one, event = found
    if output is Format.JSON:
        tables.show_json({**asdict(one), "event": event})
        return
    rows = _row(one) | {"event_id": one.event_id}
    width = max(map(len, rows))
    for name, value in rows.items():
        typer.echo(f"{name:<{width}}  {tables.text(value)}")
    typer.echo(orjson.dumps(event, option=orjson.OPT_INDENT_2).decode())


async def _show(settings: Settings, number: int) -> tuple[StoredDelivery, Mapping[str, Any]] | None:
    async with late.app.open_ledger(settings) as store:
        return await store.delivery(number)
