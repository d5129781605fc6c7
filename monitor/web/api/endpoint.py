"""What an endpoint is: from it come the route and its description."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from aiohttp import web

from monitor.web.api.schemas import unless_known

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from pydantic import BaseModel

    from monitor.web.api.params import Form
    from monitor.web.api.schemas import Answer
    from monitor.web.auth import Guard

    Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

KEY = ":.+"
"""A job's key takes the rest of a path: its id may hold slashes, percent-encoded or not."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One method of one path, as OpenAPI writes it; the docstring of ``handler`` tells what it is.

    ``ok`` is what ``status`` answers, as JSON or as events of a stream. ``problems`` maps the
    further statuses of its own to their meaning. All but GET writes, and needs credentials.
    """

    method: str
    path: str
    handler: Handler
    ok: type[Answer]
    query: type[Form] | None = None
    body: type[BaseModel] | None = None
    status: int = 200
    streams: bool = False
    problems: Mapping[int, str] = field(default_factory=dict)

    @property
    def writes(self) -> bool:
        """Whether it changes something."""
        return self.method != "GET"

    def route(self, guard: Guard) -> web.RouteDef:
        """Return the route that aiohttp wants."""
        path = self.path.replace("{key}", "{key" + KEY + "}")
        if self.method == "GET":
            return web.get(path, _conditional(self.handler))
        return web.route(self.method, path, _guarded(self.handler, guard))


def _conditional(handler: Handler) -> Handler:
    async def answer(request: web.Request) -> web.StreamResponse:
        response = await handler(request)
        return unless_known(request, response) if isinstance(response, web.Response) else response

    return answer


def _guarded(handler: Handler, guard: Guard) -> Handler:
    async def answer(request: web.Request) -> web.StreamResponse:
        await guard.admit_writer(request)
        return await handler(request)

    return answer
