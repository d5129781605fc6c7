"""``job-monitor replicas``: list the daemons that share a store, and what each of them owns."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import typer

from monitor.cli import arguments, listings
from monitor.cli.groups import ListingGroup
from monitor.cli.listings import Found, Listed
from monitor.cli.tables import Column, Table

if TYPE_CHECKING:
    from collections.abc import Awaitable, Sequence

    from monitor.config import Settings
    from monitor.stores.reader import LedgerReader
    from monitor.web.api.schemas import ReplicaView

ALONE = "The store cannot be shared, so there are no replicas: that needs PostgreSQL."

commands = typer.Typer(cls=ListingGroup, help="List the replicas: the daemons that share a store.")


@listings.command(commands)
def list_(
    *,
    daemon: arguments.ServerOptions | None,  # noqa: ARG001 -- every listing takes it
) -> Listed[Any]:
    """List the daemons that share a PostgreSQL, and what each of them owns.

    An alive one polls its sources and delivers to its sinks. A stale one is
    silent, and a gone one has lost the database: others take what it owned.
    """
    return Listed(TABLE, lambda client: _of_daemon(client.replicas()), _of_store)


async def _of_daemon(asked: Awaitable[Sequence[ReplicaView]]) -> Found[ReplicaView]:
    return _found(await asked)


async def _of_store(_settings: Settings, store: LedgerReader) -> Found[ReplicaView]:
    members = await store.members()
    if members is None:
        return Found((), empty=ALONE)
    from monitor.stores.replicas import STALE
    from monitor.web.api.schemas import ReplicaView

    found = [
        ReplicaView.of(one, alive=one.connected and silent < STALE, own=False)
        for one, silent in members
    ]
    return _found(sorted(found, key=lambda one: (one.name, one.id)))


def _found(items: Sequence[ReplicaView]) -> Found[ReplicaView]:
    generations = Counter(one.generation for one in items if one.alive)
    if len(generations) < 2:  # noqa: PLR2004 -- two differ
        return Found(items)
    shown = ", ".join(f"{name or 'none yet'} ({many})" for name, many in generations.most_common())
    return Found(items, (f"The replicas have different configurations: {shown}",))


TABLE: Table[ReplicaView] = Table(
    columns=(
        Column("NAME", lambda one: one.name, least=8),
        Column(
            "STATE",
            lambda one: one.state,
            colour=lambda one: {"stale": "yellow", "gone": "red"}.get(one.state),
        ),
        Column("AGE", lambda one: one.started_at, stamp="STARTED", spare=4),
        Column("VERSION", lambda one: one.version, spare=5, common=True),
        Column("CONFIG", lambda one: one.generation, spare=3, common=True),
        Column("SOURCES", lambda one: len(one.owned_sources)),
        Column("SINKS", lambda one: len(one.owned_sinks)),
        Column("UPKEEP", lambda one: "yes" if one.upkeep else None, spare=6),
        Column("SEEN", lambda one: one.seen_at, stamp="LAST SEEN", wide=True, spare=7),
        Column("OWNED SINKS", lambda one: ", ".join(one.owned_sinks), wide=True, least=14, spare=8),
        Column(
            "OWNED SOURCES", lambda one: ", ".join(one.owned_sources), wide=True, least=14, spare=9
        ),
    ),
    name=lambda one: one.name,
    data=lambda one: one.model_dump(mode="json"),
    empty="There are no replicas: none is running, or the store cannot be shared.",
)
