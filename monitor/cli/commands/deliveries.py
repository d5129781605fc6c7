"""``job-monitor deliveries``: what was, is and will be sent to the sinks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import anyio
import orjson
import typer

from monitor.cli import arguments, options
from monitor.cli import output as tables
from monitor.cli.options import Format
from monitor.model import DeliveryStatus

if TYPE_CHECKING:
    from collections.abc import Mapping

    from monitor.config import Settings
    from monitor.web.api.schemas import DeliveryView

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
    rows = [_row(one, one.sink in parked, output) for one in found]
    tables.show(rows, output, "There are no such deliveries.", aged=("created_at", "due_at"))


async def _list(
    settings: Settings, sink: str | None, status: DeliveryStatus | None, limit: int, job: str | None
) -> tuple[list[DeliveryView], set[str]]:
    from monitor.app import open_ledger
    from monitor.web.api.schemas import DeliveryView

    async with open_ledger(settings) as store:
        if sink is not None:
            await arguments.require_known_sink(settings, store, sink)
        found = await store.deliveries(sink, status, limit, job)
        parked = {each.sink for each in await store.parkings()}
    return [DeliveryView.of(one) for one in found], parked


def _row(one: DeliveryView, parked: bool, output: Format) -> dict[str, Any]:  # noqa: FBT001
    """Describe a delivery; what waits for a parked sink is due at no time that is known.

    In a table, what it waits for stands in the place of its due time.
    """
    waits = "sink is parked" if parked and one.status is DeliveryStatus.PENDING else None
    due: dict[str, Any] = {"due_at": None if waits else one.due_at, "waits": waits}
    if output is Format.TABLE:
        due = {"due_at": f"waits: {waits}" if waits else one.due_at}
    return {
        "id": one.id,
        "sink": one.sink,
        "status": one.status.value,
        "attempts": one.attempts,
        "replayed": one.replayed,
        "kind": one.kind,
        "job": one.job,
        "created_at": one.created_at,
        **due,
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
    one, event, parked = found
    row = _row(one, parked, output)
    if output is Format.JSON:
        # Scripts read the key of the job as ``key`` here, as the store has it.
        facts = {"key" if name == "job" else name: value for name, value in one}
        waiting = {"due_at": row["due_at"], "waits": row["waits"]}
        tables.show_json({**facts, **waiting, "event": event})
        return
    rows = row | {"event_id": one.event_id}
    width = max(map(len, rows))
    for name, value in rows.items():
        typer.echo(f"{name:<{width}}  {tables.text(value)}")
    typer.echo(orjson.dumps(event, option=orjson.OPT_INDENT_2).decode())


async def _show(
    settings: Settings, number: int
) -> tuple[DeliveryView, Mapping[str, Any], bool] | None:
    from monitor.app import open_ledger
    from monitor.web.api.schemas import DeliveryView

    async with open_ledger(settings) as store:
        found = await store.delivery(number)
        if found is None:
            return None
        one, event = found
        parked = any(each.sink == one.sink for each in await store.parkings())
    return DeliveryView.of(one), event, parked
