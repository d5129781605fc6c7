"""Requests while the server of the store cannot be reached: refused at once, instead of waiting."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from aiohttp import web

from monitor.web import prefix, problems

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from aiohttp.typedefs import Handler, Middleware

    from monitor.model import StoreOutage

RETRY_AFTER = {"Retry-After": "5"}
_WITHOUT_STORE = frozenset(
    {"/metrics", "/healthz", "/readyz", "/-/healthy", "/-/ready", "/api/v1/openapi.json"}
    | {f"/api/v1/{name}" for name in ("config", "replicas", "sources")}
)
"""Paths that are answered without the store."""


class StoreWithOutages(Protocol):
    """A store whose server may be lost for a while."""

    @property
    def outage(self) -> StoreOutage | None:
        """The outage that lasts now, if one does."""
        ...


def refusing(
    store: StoreWithOutages,
    page: Callable[[StoreOutage], Awaitable[web.Response]] | None,
) -> Middleware:
    """Return the middleware; ``page`` makes what people see instead of a page."""

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        outage, path = store.outage, prefix.without(request)
        if outage is None or path in _WITHOUT_STORE or path.startswith("/static/"):
            return await handler(request)
        if page is None or problems.concerns(request):
            since = outage.since.strftime("%Y-%m-%dT%H:%M:%SZ")
            detail = f"the store cannot be reached since {since}; nothing is lost"
            raise problems.RefusedError(503, detail, headers=RETRY_AFTER)
        response = await page(outage)
        response.headers.update(RETRY_AFTER)
        return response

    return middleware
