"""Endpoints for the status of sources, sinks, configuration and daemon."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import anyio

from monitor.model import Phase
from monitor.web.api import schemas
from monitor.web.api.endpoint import Endpoint, as_json
from monitor.web.api.job_filters import phase_of
from monitor.web.api.schemas import SinkView

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from aiohttp import web

    from monitor.interfaces import JobStatus
    from monitor.web.interfaces import Ledger, Live


class StatusEndpoints:
    """The handlers."""

    def __init__(self, live: Live, ledger: Ledger, counting: anyio.CapacityLimiter) -> None:
        """Read from these; ``counting`` limits how many requests go through all jobs at once."""
        self._counting = counting
        self._live = live
        self._ledger = ledger

    def endpoints(self) -> Sequence[Endpoint]:
        """Return the endpoints."""
        return (
            Endpoint("GET", "/api/v1/sources", self.sources, schemas.Sources),
            Endpoint("GET", "/api/v1/sinks", self.sinks, schemas.Sinks),
            Endpoint("GET", "/api/v1/replicas", self.replicas, schemas.Replicas),
            Endpoint("GET", "/api/v1/config", self.config, schemas.Config),
            Endpoint("GET", "/api/v1/status", self.status, schemas.Status),
        )

    async def sources(self, _request: web.Request) -> web.Response:
        """List the sources: whether AWS is reachable, and the rate of requests."""
        found = sorted(self._live.sources(), key=lambda one: one.name)
        return as_json(schemas.Sources(items=found))

    async def sinks(self, _request: web.Request) -> web.Response:
        """List the configured sinks: what waits to be delivered, and whether delivery works."""
        backlogs = {one.sink: one for one in await self._ledger.backlog()}
        parkings = {one.sink: one for one in await self._ledger.parkings()}
        items = [
            SinkView.of(one, backlogs.get(one.name), parkings.get(one.name))
            for one in self._live.sinks()
        ]
        return as_json(schemas.Sinks(items=items))

    async def replicas(self, _request: web.Request) -> web.Response:
        """List the replicas that share the store, and what each of them owns."""
        return as_json(schemas.Replicas(items=list(self._live.replicas())))

    async def config(self, _request: web.Request) -> web.Response:
        """Show the configuration in effect, without secrets."""
        return as_json(self._live.config())

    async def status(self, _request: web.Request) -> web.Response:
        """Show the status of the daemon."""
        status = self._live.status()
        counts = await anyio.to_thread.run_sync(
            lambda: totals([*self._live.jobs()], self._live.archived()), limiter=self._counting
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
                replica=status.replica,
                generation=status.generation,
                **counts,
            )
        )


def totals(
    jobs: Sequence[JobStatus], archived: Mapping[tuple[tuple[str, str, str], Phase], int]
) -> dict[str, Any]:
    """Count jobs by phase and by flag; archived ones have no flags."""
    phases = Counter(phase_of(job) for job in jobs)
    for (_, phase), many in archived.items():
        phases[phase] += many
    return {
        "jobs": phases.total(),
        "phases": {each: phases[each] for each in Phase},
        "stuck": sum(job.stuck for job in jobs),
        "missing": sum(job.missing for job in jobs),
        "blind": sum(job.blind for job in jobs),
    }
