"""``job-monitor transitions``: what the ledger says."""

from __future__ import annotations

from datetime import datetime
from fnmatch import fnmatchcase
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from monitor.cli import arguments, completions, listings
from monitor.cli.groups import ListingGroup
from monitor.cli.listings import Found, Listed
from monitor.cli.tables import COLOURS, Column, Table
from monitor.model import Kind

if TYPE_CHECKING:
    from monitor.config import Settings
    from monitor.stores.reader import LedgerReader
    from monitor.tools.api_client import DaemonClient
    from monitor.web.api.ledger_schemas import TransitionView

MOST_OF_DAEMON = 500
"""Transitions that a daemon returns at once."""

commands = typer.Typer(cls=ListingGroup, help="List the transitions of the ledger.")


@listings.command(commands)
def list_(
    *,
    job: completions.Job = None,
    since: arguments.Since = None,
    kind: Annotated[
        str | None,
        typer.Option(
            metavar="GLOB",
            help="Such as job.state_changed, or source.*.",
            autocompletion=completions.kinds,
        ),
    ] = None,
    limit: arguments.Limit = 100,
    daemon: arguments.ServerOptions | None,
) -> Listed[Any]:
    """List the newest transitions, in the order in which they were recorded."""
    kinds = [each.value for each in Kind if kind is None or fnmatchcase(each.value, kind)]
    if not kinds:
        raise arguments.unknown("--kind", "kind", str(kind), Kind)
    chosen = None if kind is None else kinds
    arguments.moment(since)  # a mistake is one whoever is asked
    if daemon and limit > MOST_OF_DAEMON:
        remedy = f"write at most {MOST_OF_DAEMON}"
        raise arguments.mistake("--limit", "is more than a daemon returns at once", remedy)
    of_daemon = partial(_of_daemon, job, since, kind, limit)
    return Listed(TABLE, of_daemon, partial(_of_store, job, since, chosen, limit))


async def _of_store(
    job: str | None,
    since: str | None,
    kinds: list[str] | None,
    limit: int,
    _settings: Settings,
    store: LedgerReader,
) -> Found[TransitionView]:
    from monitor.web.api.ledger_schemas import TransitionView

    found = await store.history(job, arguments.moment(since), kinds, limit)
    return Found([TransitionView(position=at, event=event) for at, event in found])


async def _of_daemon(
    job: str | None, since: str | None, kind: str | None, limit: int, client: DaemonClient
) -> Found[TransitionView]:
    at = arguments.moment(since)
    asked = {"job": job, "since": at.isoformat() if at else None, "kind": kind}
    given = [(name, value) for name, value in asked.items() if value is not None]
    return Found(await client.transitions(given, limit))


def _data(one: TransitionView) -> dict[str, Any]:
    found: dict[str, Any] = one.event["data"]
    return found


def _state(one: TransitionView, which: str) -> dict[str, Any]:
    return _data(one)[which] or {}


def _colour(one: TransitionView) -> str | None:
    return COLOURS.get(_data(one)["severity"])


TABLE: Table[TransitionView] = Table(
    columns=(
        Column("POSITION", lambda one: one.position, spare=9),
        Column("AGE", lambda one: datetime.fromisoformat(one.event["time"]), stamp="TIME"),
        Column("KIND", lambda one: _data(one)["kind"], least=12),
        Column("JOB", lambda one: (_data(one).get("job") or _data(one)["source"])["key"], least=20),
        Column("SEQUENCE", lambda one: _data(one)["sequence"], spare=8),
        Column("PREVIOUS", lambda one: _state(one, "previous").get("state"), least=8, spare=4),
        Column("CURRENT", lambda one: _state(one, "current").get("state"), least=8, colour=_colour),
        Column("PHASE", lambda one: _state(one, "current").get("phase"), spare=6, colour=_colour),
        Column("SEVERITY", lambda one: _data(one)["severity"], spare=7, colour=_colour),
        Column("EVENT", lambda one: one.event["id"], wide=True),
        Column("REASON", lambda one: _data(one).get("reason"), wide=True, least=14, spare=2),
    ),
    name=lambda one: str(one.event["id"]),
    data=lambda one: one.model_dump(mode="json"),
    empty="There are no such transitions.",
)
