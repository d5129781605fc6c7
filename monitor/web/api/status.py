"""How the daemon stands: sources, sinks, configuration, itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio

from monitor.web import sink_health
from monitor.web.api import job_view, schemas
from monitor.web.api.endpoint import Endpoint
from monitor.web.api.schemas import as_json

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from aiohttp import web

    from monitor import model
    from monitor.web.interfaces import Ledger, Listing, Live, Sink, Source


class Standing:
    """The handlers, each a method."""

    def __init__(self, live: Live, ledger: Ledger, counting: anyio.CapacityLimiter) -> None:
        """Answer from these; ``counting`` limits how many go through all jobs at once."""
        self._counting = counting
        self._live = live
        self._ledger = ledger

    def endpoints(self) -> Sequence[Endpoint]:
        """Return what is offered."""
        return (
            Endpoint("GET", "/api/v1/sources", self.sources, schemas.Sources),
            Endpoint("GET", "/api/v1/sinks", self.sinks, schemas.Sinks),
            Endpoint("GET", "/api/v1/config", self.config, schemas.Config),
            Endpoint("GET", "/api/v1/status", self.status, schemas.Status),
        )

    async def sources(self, _request: web.Request) -> web.Response:
        """List the sources: whether AWS can be seen, and at what rate it is asked."""
        found = sorted(self._live.sources(), key=lambda one: one.source.key)
        return as_json(schemas.Sources(items=[_source(one) for one in found]))

    async def sinks(self, _request: web.Request) -> web.Response:
        """List the configured sinks: what they still have to be told, and whether that works."""
        backlogs = {one.sink: one for one in await self._ledger.backlog()}
        parkings = {one.sink: one for one in await self._ledger.parkings()}
        items = [_sink(one, backlogs, parkings) for one in self._live.sinks()]
        return as_json(schemas.Sinks(items=items))

    async def config(self, _request: web.Request) -> web.Response:
        """Show the configuration in effect, without secrets."""
        return as_json(self._live.config())

    async def status(self, _request: web.Request) -> web.Response:
        """Show how the daemon stands."""
        status = self._live.status()
        totals = await anyio.to_thread.run_sync(
            lambda: job_view.totals([*self._live.jobs()]), limiter=self._counting
        )
        return as_json(
            schemas.Status(
                version=status.version,
                started_at=status.started_at,
                config_loaded_at=status.config_loaded_at,
                config_last_reload_successful=not status.config_refused,
                config_problems=list(status.config_refused),
                last_pass_age=round(status.last_pass_age, 3),
                position=await self._ledger.position(),
                **totals,
            )
        )


def _source(one: Source) -> schemas.Source:
    return schemas.Source(
        service=one.source.service,
        account=one.source.account,
        region=one.source.region,
        available=one.available,
        up=one.up,
        last_success_at=one.last_success_at,
        last_failure_at=one.last_failure_at,
        last_failure=one.reason,
        last_failure_code=one.code,
        last_failure_hint=one.hint,
        rate=round(one.rate, 3),
        configured_rate=one.configured_rate,
        request_rate=round(one.request_rate, 3),
        jobs=one.jobs,
        listings=[_listing(listing) for listing in one.listings],
    )


def _listing(one: Listing) -> schemas.Listing:
    return schemas.Listing(
        type=one.type,
        complete=one.complete,
        last_complete_at=one.last_complete_at,
        last_failure=one.reason,
        last_failure_code=one.code,
        last_failure_hint=one.hint,
    )


def _sink(
    one: Sink, backlogs: Mapping[str, model.Backlog], parkings: Mapping[str, model.Parking]
) -> schemas.Sink:
    backlog, parking = backlogs.get(one.name), parkings.get(one.name)
    health = sink_health.judge(one, backlog, parking)
    return schemas.Sink(
        name=one.name,
        type=one.type,
        pending=backlog.pending if backlog else 0,
        oldest_pending_at=backlog.oldest_at if backlog else None,
        dead=backlog.dead if backlog else 0,
        parked=parking is not None,
        parked_at=parking.at if parking else None,
        parked_reason=parking.reason if parking else None,
        health=health.status,
        failing_since=health.failing_since,
        last_error=health.last_error,
        last_error_at=one.last_error_at,
        last_delivered_at=one.last_delivered_at,
    )
