"""The application: metrics, health, readiness and an index, with the API and the status page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import anyio
from aiohttp import hdrs, web
from prometheus_client import exposition
from prometheus_client.openmetrics import exposition as openmetrics

from monitor.errors import StoreError
from monitor.web import prefix, problems, store_outage
from monitor.web.api.routes import Api
from monitor.web.auth import Guard
from monitor.web.exposition import MetricsRenderer
from monitor.web.host_check import Hosts
from monitor.web.page.handlers import StatusPage
from monitor.web.store_outage import StoreWithOutages

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from prometheus_client import CollectorRegistry

    from monitor.web.api.routes import Parts

STALE_AFTER = 60.0
"""Seconds without a pass of the scheduler after which the process counts as ill."""
LARGEST_BODY = 64 * 1024
"""Bytes of a request that are read."""
PING_WITHIN = 5.0
"""Seconds that the store may take to prove that it can be written."""

_HEADERS = {
    hdrs.SERVER: "job-monitor",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
_UNLESS_SAID = {
    hdrs.CACHE_CONTROL: "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
}
_INDEX = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>AWS job monitor</title>
<h1>AWS job monitor</h1>
<p>Version {version}</p>
<ul>
<li><a href="/metrics">Metrics</a>
<li><a href="/-/healthy">Health</a>
<li><a href="/-/ready">Readiness</a>
</ul>
</html>
"""


class Health(Protocol):
    """The age of the scheduler's last pass; what AWS answers plays no part."""

    def last_pass_age(self) -> float | None:
        """Return seconds since its last pass, or else its start; ``None``: not started."""
        ...


class Writable(StoreWithOutages, Protocol):
    """What a store must show to be ready."""

    async def ping(self) -> None:
        """Prove that it can be written, or raise StoreError."""
        ...


class Pages:
    """The handlers, each a method."""

    def __init__(
        self,
        registry: CollectorRegistry,
        health: Health,
        store: Writable,
        configured: Callable[[], bool],
        version: str,
    ) -> None:
        """Answer from these; nothing is asked of them before a request."""
        self._renderer = MetricsRenderer(registry)
        self._health = health
        self._store = store
        self._configured = configured
        self._version = version
        self._scrapes = anyio.CapacityLimiter(1)

    async def index(self, _request: web.Request) -> web.Response:
        """Link to the other pages."""
        return web.Response(text=_INDEX.format(version=self._version), content_type="text/html")

    async def metrics(self, request: web.Request) -> web.Response:
        """Return every metric, as OpenMetrics where the client accepts it.

        Rendered in a thread, one scrape at a time: fifty thousand series take 0.1 s, for
        which no poll of a job should wait.
        """
        # Only who accepts OpenMetrics by name gets it: older scrapers cannot parse it.
        if "application/openmetrics-text" in ",".join(request.headers.getall(hdrs.ACCEPT, [])):
            render, kind = self._renderer.openmetrics, openmetrics.CONTENT_TYPE_LATEST
        else:
            render, kind = self._renderer.plain, exposition.CONTENT_TYPE_PLAIN_0_0_4
        body = await anyio.to_thread.run_sync(render, limiter=self._scrapes)
        response = web.Response(body=body, headers={hdrs.CONTENT_TYPE: kind})
        if "gzip" in request.headers.get(hdrs.ACCEPT_ENCODING, ""):
            response.enable_compression(web.ContentCoding.gzip)
        return response

    async def healthy(self, _request: web.Request) -> web.Response:
        """Answer 200 while the scheduler's last pass is recent."""
        age = self._health.last_pass_age()
        if age is None:
            return _unavailable("the scheduler has not started")
        if age > STALE_AFTER:
            return _unavailable(f"the scheduler's last pass was {age:.0f} s ago")
        return web.Response(text="healthy\n")

    async def ready(self, _request: web.Request) -> web.Response:
        """Answer 200 while the configuration is loaded and the store can be written."""
        if not self._configured():
            return _unavailable("no configuration is loaded")
        if outage := self._store.outage:
            return _unavailable(f"the store cannot be reached since {outage.since:%H:%M:%S} UTC")
        try:
            with anyio.fail_after(PING_WITHIN):
                await self._store.ping()
        except StoreError:
            return _unavailable("the store cannot be written")
        except TimeoutError:
            return _unavailable(f"the store did not answer within {PING_WITHIN:.0f} s")
        return web.Response(text="ready\n")


def create_app(
    *,
    registry: CollectorRegistry,
    health: Health,
    store: Writable,
    configured: Callable[[], bool],
    version: str,
    api: Parts | None = None,
    guard: Guard | None = None,
    hosts: Iterable[str] = (),
) -> web.Application:
    """Build the application; ``web.server.serving`` puts it on a socket.

    Without ``api`` there are metrics and probes alone; without ``guard`` nobody may write.
    ``hosts`` are the names that are answered; without any, all are.
    """
    pages = Pages(registry, health, store, configured, version)
    guard = guard or Guard()
    shown = StatusPage(api, guard) if api else None
    lost = store_outage.refusing(store, shown.without_store if shown else None)
    middlewares = [Hosts(hosts).middleware, guard.middleware, problems.middleware, lost]
    app = web.Application(client_max_size=LARGEST_BODY, middlewares=middlewares)
    routes = [
        web.get("/metrics", pages.metrics),
        *(web.get(path, pages.healthy) for path in ("/-/healthy", "/healthz")),
        *(web.get(path, pages.ready) for path in ("/-/ready", "/readyz")),
    ]
    if api is None or shown is None:
        routes.append(web.get("/", pages.index))
    else:
        served = Api(api, guard, version)
        app.on_shutdown.append(served.close)
        routes += served.routes()
        routes += shown.routes()
    base = app[prefix.KEY] = prefix.of_url(api.external_url if api else None)
    app.add_routes(prefix.served(base, routes))

    async def prepare(request: web.Request, response: web.StreamResponse) -> None:
        harden(response, guard.headers)
        request[problems.BEGUN] = response

    app.on_response_prepare.append(prepare)
    return app


def harden(response: web.StreamResponse, more: Mapping[str, str] | None = None) -> None:
    """Set the headers that every answer carries; two of them only where it has none of its own."""
    response.headers.update(_HEADERS)
    for name, value in _UNLESS_SAID.items():
        response.headers.setdefault(name, value)
    response.headers.update(more or {})


def _unavailable(why: str) -> web.Response:
    return web.Response(status=web.HTTPServiceUnavailable.status_code, text=f"{why}\n")
