"""``job-monitor sinks``: list the sinks and their status, and resume parked ones."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import anyio
import typer

from monitor.cli import arguments, options
from monitor.cli import output as tables
from monitor.cli.options import Format

if TYPE_CHECKING:
    from datetime import datetime

    from monitor.config import Settings
    from monitor.model import Backlog, Parking

WATCH_FOR = 5.0
"""Seconds for which what comes of a resume is watched."""

AS_STORED = (
    "As of the store, which keeps no time of a failed attempt."
    " A daemon's page and GET /api/v1/sinks show what its last attempts met."
)
_TIMES = ("oldest_at", "failing_since", "parked_at")

commands = typer.Typer(help="List the sinks, and resume parked ones.", no_args_is_help=True)


@commands.command("list")
def list_(config: options.Config = None, output: options.Output = Format.TABLE) -> None:
    """List the sinks with their status and their pending deliveries.

    The store counts a sink as failing if it accepted nothing after the
    newest change sent to it. A daemon knows each attempt: its page and
    GET /api/v1/sinks are exact.
    """
    settings = options.load_own(config)
    found = anyio.run(_list, settings)
    tables.show(found, output, "There are no sinks.", aged=_TIMES)
    if output is Format.TABLE and any(row["pending"] for row in found):
        typer.echo(AS_STORED, err=True)


async def _list(settings: Settings) -> list[dict[str, Any]]:
    from monitor.app import open_ledger
    from monitor.web.api.schemas import SinkView
    from monitor.web.interfaces import SinkAttempts

    async with open_ledger(settings) as store:
        backlogs = {each.sink: each for each in await store.backlog()}
        parked = {each.sink: each for each in await store.parkings()}
        taken = await store.taken()
    rows = []
    for name in dict.fromkeys((*settings.sinks, *sorted(backlogs.keys() | parked.keys()))):
        sink, backlog = settings.sinks.get(name), backlogs.get(name)
        if backlog:
            # What is in the store alone fails no longer: nothing sends to it.
            since = _failing_since(backlog, taken.get(name)) if sink else None
            error = backlog.last_error if sink else None
            backlog = replace(backlog, failing_since=since, last_error=error)
        attempts = SinkAttempts(name, sink.type if sink else "", None, None, None)
        one = SinkView.of(attempts, backlog, parked.get(name))
        healthy = "active" if sink else "removed"
        rows.append(
            {
                "sink": one.name,
                "type": one.type or None,
                "status": healthy if one.health == "ok" else one.health,
                "pending": one.pending,
                "dead": one.dead,
                "oldest_at": one.oldest_pending_at,
                "failing_since": one.failing_since,
                "parked_at": one.parked_at,
                "reason": one.parked_reason if one.parked else one.last_error,
            }
        )
    return rows


def _failing_since(backlog: Backlog, taken: datetime | None) -> datetime | None:
    """Return since when a sink fails, as far as the store knows; ``None`` if it does not.

    The store keeps when a change was recorded and when it was taken, but not when an attempt
    failed. So what was recorded after the sink last took something, and was tried, proves that
    it fails; an older change that is retried beside others that are taken does not.
    """
    if backlog.failing_since is None or backlog.tried_at is None:
        return None
    if taken is None:
        return backlog.failing_since
    return max(backlog.failing_since, taken) if backlog.tried_at > taken else None


@commands.command("resume")
def resume(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The sink to resume.")],
    config: options.Config = None,
) -> None:
    """Let a parked sink be sent to again; a daemon that runs notices within seconds.

    What waits for it is watched for some seconds; exit code 1 if the sink is parked again.
    """
    settings = options.load_own(config)
    arguments.require_sink(settings, name)
    resumed, again = anyio.run(_resume, settings, name)
    if again is not None:
        typer.echo(f"{name} was resumed, and is parked again: {again.reason}", err=True)
        raise typer.Exit(1)
    typer.echo(f"{name} is resumed." if resumed else f"{name} was not parked.")


async def _resume(settings: Settings, name: str) -> tuple[bool, Parking | None]:
    """Resume it, and watch until it takes something, parks again, or nothing has happened."""
    from monitor.app import open_ledger

    async with open_ledger(settings) as store:
        if not await store.resume(name):
            return False, None
        backlog = next((each for each in await store.backlog() if each.sink == name), None)
        # What is refused waits no longer, but is dead: only what is neither was taken.
        before = now = backlog.pending + backlog.dead if backlog and backlog.pending else 0
        with anyio.move_on_after(WATCH_FOR):
            while before and now >= before:
                await anyio.sleep(0.2)
                for parking in await store.parkings():
                    if parking.sink == name:
                        return True, parking
                left = (each for each in await store.backlog() if each.sink == name)
                now = sum(each.pending + each.dead for each in left)
    return True, None
