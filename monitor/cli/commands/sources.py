"""``job-monitor sources``: list the services that are polled, and whether they are reachable."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from monitor.cli import arguments, listings
from monitor.cli.groups import ListingGroup
from monitor.cli.listings import Found, Listed
from monitor.cli.tables import Column, Table

if TYPE_CHECKING:
    from monitor.config import Settings
    from monitor.stores.reader import LedgerReader
    from monitor.web.api.schemas import SourceView

AS_STORED = "As of the store, which knows outages alone. A daemon knows the rest: --server URL"

commands = typer.Typer(
    cls=ListingGroup, help="List the sources: one service of one account in one region each."
)


@listings.command(commands)
def list_(
    *,
    daemon: arguments.ServerOptions | None,
) -> Listed[Any]:
    """List the sources: whether AWS is reachable, and at which rate it is called.

    The store knows which sources were polled, and their outages. A daemon
    also knows rates, quotas and failures.
    """
    shown = table(stored=daemon is None)
    return Listed(shown, lambda client: listings.all_of(client.sources()), _of_store)


async def _of_store(settings: Settings, store: LedgerReader) -> Found[SourceView]:
    services = _services(settings.job_types_dir)
    # Only what once had an outage is recorded as a source; the others have jobs.
    available = {
        (services[type_], account, region): True
        for (type_, account, region), _ in await store.job_counts()
        if type_ in services
    }
    for each in await store.sources():
        source = each.source
        available[source.service, source.account, source.region] = each.available
    found = [_stored(place, known) for place, known in sorted(available.items())]
    return Found(found, (AS_STORED,) if found else ())


def _services(directory: str | Path | None) -> dict[str, str]:
    from monitor.sources import declarations

    found = declarations.declarations(Path(directory) if directory else None)
    return {one.name: one.service for one in found}


def _stored(place: tuple[str, str, str], available: bool) -> SourceView:  # noqa: FBT001
    from monitor.web.api.schemas import SourceView

    service, account, region = place
    known = {"service": service, "account": account, "region": region, "available": available}
    return SourceView.model_construct(**dict.fromkeys(SourceView.model_fields) | known)


def _status(one: SourceView) -> str:
    if not one.available:
        return "unavailable"
    return {True: "up", False: "failing", None: "available"}[one.up]


def _failure(one: SourceView) -> str | None:
    parts = (one.last_failure, one.last_failure_code, one.last_failure_hint)
    return ": ".join(filter(None, parts)) or None


def table(*, stored: bool = False) -> Table[SourceView]:
    """Return the way in which sources are listed; what a store does not know is null."""

    def data(one: SourceView) -> dict[str, Any]:
        if not stored:
            return one.model_dump(mode="json")
        return {name: getattr(one, name) for name in type(one).model_fields}

    return Table(
        columns=(
            Column("SERVICE", lambda one: one.service, least=8),
            Column("ACCOUNT", lambda one: one.account, least=7, spare=5, common=True),
            Column("REGION", lambda one: one.region, least=9, spare=4, common=True),
            Column(
                "STATUS",
                _status,
                colour=lambda one: {"unavailable": "red", "failing": "yellow"}.get(_status(one)),
            ),
            Column("JOBS", lambda one: one.jobs),
            Column("MODE", lambda one: one.mode, spare=7),
            Column("RATE", lambda one: one.request_rate, spare=8),
            Column("QUOTA", lambda one: one.rate, spare=9),
            Column("SUCCESS", lambda one: one.last_success_at, stamp="LAST SUCCESS", spare=6),
            Column("FAILURE", lambda one: one.last_failure_at, stamp="LAST FAILURE", spare=3),
            Column("REPLICA", lambda one: one.replica, wide=True, least=8, spare=10),
            Column("ERROR", _failure, least=14, spare=2),
        ),
        name=lambda one: one.name,
        data=data,
        empty="There are no sources.",
    )
