"""``job-monitor watches``: list what is watched."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import typer

from monitor import config
from monitor.cli import arguments, completions, listings
from monitor.cli.groups import ListingGroup
from monitor.cli.listings import Found, Listed
from monitor.cli.tables import Column, Table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from monitor.config import Settings
    from monitor.stores.reader import LedgerReader
    from monitor.tools.api_client import DaemonClient
    from monitor.web.api.schemas import FollowedWatch

commands = typer.Typer(
    cls=ListingGroup, help="List the watches of the configuration, and those added at run time."
)


@listings.command(commands)
def list_(
    *,
    label: completions.Labels = None,
    daemon: arguments.ServerOptions | None,  # noqa: ARG001 -- every listing takes it
) -> Listed[Any]:
    """List the watches: those of the configuration come first, as they are written."""
    labels = arguments.labels(label or ())
    return Listed(TABLE, partial(_of_daemon, labels), partial(_of_store, labels))


async def _of_daemon(labels: arguments.Labels, client: DaemonClient) -> Found[FollowedWatch]:
    return _listing(await client.followed_watches(), labels)


async def _of_store(
    labels: arguments.Labels, settings: Settings, store: LedgerReader
) -> Found[FollowedWatch]:
    from monitor.web.api.schemas import FollowedWatch

    own = [FollowedWatch.of(one) for one in settings.watches]
    added = [FollowedWatch.of_added(one) for one in await store.watches()]
    return _listing([*own, *added], labels)


def _listing(found: Sequence[FollowedWatch], labels: arguments.Labels) -> Found[FollowedWatch]:
    return Found([one for one in found if labels <= _labels(one).items()])


def _labels(one: FollowedWatch) -> dict[str, str]:
    found: dict[str, str] = one.watch.get("labels") or {}
    return found


def _jobs(one: FollowedWatch) -> str:
    named = len(one.watch.get("jobs") or ())
    parts = [f"{named} named"] if named else []
    return ", ".join([*parts, *(["discovered"] if one.watch.get("discover") else [])])


TABLE: Table[FollowedWatch] = Table(
    columns=(
        Column("NAME", lambda one: one.name, least=10),
        Column("TYPE", lambda one: one.watch.get("type"), least=10),
        Column("ACCOUNT", lambda one: one.watch.get("account", "default"), spare=4, common=True),
        Column("REGIONS", lambda one: ",".join(one.watch.get("regions") or ()), least=9, spare=3),
        Column("JOBS", _jobs, spare=6),
        Column(
            "INTERVAL",
            lambda one: (
                config.format_duration(every)
                if isinstance(every := one.watch.get("interval"), int | float)
                else every
            ),
            spare=5,
        ),
        Column(
            "LABELS",
            lambda one: ",".join(f"{name}={value}" for name, value in _labels(one).items()),
            least=12,
            spare=2,
        ),
        Column("ADDED", lambda one: one.added_at, spare=7),
    ),
    name=lambda one: one.name,
    data=lambda one: one.model_dump(mode="json"),
    empty="There are no watches.",
)
