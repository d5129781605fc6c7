"""An endpoint, from which come its route and its description, and JSON responses."""

from __future__ import annotations

from dataclasses import dataclass, field
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

import orjson
from aiohttp import ETag, hdrs, web

from monitor.web.api.schema_base import View

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from pydantic import BaseModel

    from monitor.web.api.params import Form
    from monitor.web.auth import Guard

    Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

KEY = ":.+"
"""A job's key takes the rest of a path: its id may hold slashes, percent-encoded or not."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One method of one path; the docstring of ``handler`` describes it in OpenAPI.

    ``ok`` is the body that comes with ``status``, as JSON or as events of a stream. ``problems``
    maps further statuses to their meaning. All methods but GET write, and need credentials.
    """

    method: str
    path: str
    handler: Handler
    ok: type[View]
    query: type[Form] | None = None
    body: type[BaseModel] | None = None
    status: int = 200
    streams: bool = False
    problems: Mapping[int, str] = field(default_factory=dict)

    @property
    def writes(self) -> bool:
        """True if it changes something."""
        return self.method != "GET"

    def route(self, guard: Guard) -> web.RouteDef:
        """Return the route for aiohttp."""

        async def respond(request: web.Request) -> web.StreamResponse:
            if self.writes:
                await guard.admit_writer(request)
                return await self.handler(request)
            response = await self.handler(request)
            # A stream has no ETag: nothing of it is known before it ends.
            tag = response.etag if isinstance(response, web.Response) else None
            known = {each.value for each in request.if_none_match or ()}
            if tag is None or not known & {tag.value, "*"}:
                return response
            same = web.Response(status=304)
            same.etag = tag
            same.headers[hdrs.CACHE_CONTROL] = response.headers[hdrs.CACHE_CONTROL]
            return same

        path = self.path.replace("{key}", "{key" + KEY + "}")
        if self.writes:
            return web.route(self.method, path, respond)
        return web.get(path, respond)  # and HEAD


def as_json(value: View | Mapping[str, Any], status: int = 200) -> web.Response:
    """Make a JSON response with its ETag."""
    content = value.model_dump(mode="json") if isinstance(value, View) else value
    body = orjson.dumps(content)
    response = web.Response(body=body, status=status, content_type="application/json")
    response.etag = ETag(blake2b(body, digest_size=12).hexdigest())
    response.headers[hdrs.CACHE_CONTROL] = "no-cache"
    return response
