"""The HTTP API under ``/api/v1``, composed of its nouns."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio
import anyio.to_thread

from monitor.clock import SystemClock
from monitor.web import descriptors, prefix
from monitor.web.api import openapi
from monitor.web.api.acknowledge import AcknowledgeEndpoints
from monitor.web.api.actions import Changes
from monitor.web.api.endpoint import Endpoint, as_json
from monitor.web.api.history import History
from monitor.web.api.jobs import JobEndpoints
from monitor.web.api.silences import SilenceEndpoints
from monitor.web.api.status import StatusEndpoints
from monitor.web.api.stream import Events
from monitor.web.api.watches import WatchEndpoints
from monitor.web.notifier import News

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from aiohttp import web

    from monitor.interfaces import Clock
    from monitor.web import interfaces
    from monitor.web.auth import Guard
    from monitor.web.interfaces import Ledger, Live


@dataclass(frozen=True, slots=True)
class Parts:
    """What the API is made over."""

    live: Live
    ledger: Ledger
    news: News = field(default_factory=News)
    reload: Callable[[], Awaitable[None]] | None = None
    """Reads the configuration again, or raises ConfigurationError or StoppingError."""
    watches: interfaces.Watches | None = None
    clock: Clock = field(default_factory=SystemClock)
    connections: int = descriptors.MOST_CONNECTIONS
    """How many there may be at once, of which streams and waiters may take a share."""
    external_url: str | None = None
    """The URL at which users reach the monitor; its path is a prefix of all links."""
    dashboard_url: str | None = None
    """The URL of a dashboard that the page links to."""
    quiet: interfaces.Quieting | None = None


class Api:
    """All endpoints, and their description."""

    def __init__(self, parts: Parts, guard: Guard, version: str) -> None:
        """Answer from ``parts``; ``guard`` says who may write."""
        self._guard = guard
        self._news = parts.news
        # One at a time: whoever asks for all of ten thousand jobs shares the core with the loops.
        counting = anyio.CapacityLimiter(1)
        own = Endpoint("GET", "/api/v1/openapi.json", self.describe, openapi.Document)
        waited = parts.watches.waited if parts.watches else lambda _watch: None
        job_parts = (parts.live, parts.ledger, parts.news, counting, parts.connections, waited)
        jobs = JobEndpoints(*job_parts)
        self._endpoints = (
            *jobs.endpoints(),
            *History(parts.ledger).endpoints(),
            *Events(parts.ledger, parts.news, parts.connections).endpoints(),
            *StatusEndpoints(parts.live, parts.ledger, counting).endpoints(),
            *Changes(parts.live, parts.ledger, parts.reload).endpoints(),
            *(WatchEndpoints(parts.watches).endpoints() if parts.watches else ()),
            *(SilenceEndpoints(parts.quiet, parts.clock).endpoints() if parts.quiet else ()),
            *(AcknowledgeEndpoints(parts.quiet, jobs.view).endpoints() if parts.quiet else ()),
            own,
        )
        self._version = version
        self._prefix = prefix.of_url(parts.external_url)
        self._document: Mapping[str, Any] | None = None

    def routes(self) -> list[web.RouteDef]:
        """Return the routes."""
        return [endpoint.route(self._guard) for endpoint in self._endpoints]

    async def describe(self, _request: web.Request) -> web.Response:
        """Describe this API."""
        if self._document is None:
            # Not before somebody asks: it takes a tenth of a start.
            make = partial(openapi.document, self._endpoints, self._version, self._prefix)
            self._document = await anyio.to_thread.run_sync(make)
        return as_json(self._document)

    async def close(self, _app: web.Application) -> None:
        """Let streams and waiters end when the server stops."""
        self._news.close()
