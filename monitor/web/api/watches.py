"""Endpoints for watches: those of the configuration, and run-time watches."""

from __future__ import annotations

from typing import TYPE_CHECKING

from monitor import config
from monitor.errors import ConfigurationError
from monitor.web import problems
from monitor.web.api import params, schemas
from monitor.web.api.endpoint import Endpoint, as_json
from monitor.web.problems import RefusedError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aiohttp import web

    from monitor.web import interfaces

PATH = "/api/v1/watches"


class WatchEndpoints:
    """The handlers."""

    def __init__(self, watches: interfaces.Watches) -> None:
        """Read from these, and change them."""
        self._watches = watches

    def endpoints(self) -> Sequence[Endpoint]:
        """Return the endpoints."""
        stopping = {503: "The monitor is stopping, or the store cannot be used."}
        taken = {409: "There is a watch of that name already."} | stopping
        gone = {
            404: "There is no such watch.",
            409: "It belongs to the configuration.",
            422: "The configuration can no longer be used; nothing is changed.",
        } | stopping
        one, added = f"{PATH}/{{name}}", schemas.FollowedWatch
        return (
            Endpoint("GET", PATH, self.list, schemas.FollowedWatches),
            Endpoint(
                *("POST", PATH, self.add, added),
                body=config.WatchRequest,
                status=201,
                problems=taken,
            ),
            Endpoint("DELETE", one, self.remove, schemas.Removed, problems=gone),
        )

    async def list(self, _request: web.Request) -> web.Response:
        """List the watches."""
        own = [schemas.FollowedWatch.of(watch) for watch in self._watches.own()]
        added = [schemas.FollowedWatch.of_added(watch) for watch in await self._watches.all()]
        return as_json(schemas.FollowedWatches(items=own + added))

    async def add(self, request: web.Request) -> web.Response:
        """Add a run-time watch, written as in the configuration; it stays after a restart.

        With `"expires": "final"` the daemon removes it by itself once its jobs have ended, and a
        watch of the same content, if there is one, is the answer.
        """
        value = await params.json(request)
        try:
            made = await self._watches.add(value)
        except ConfigurationError as error:
            errors = problems.of_configuration(error.problems)
            raise RefusedError(422, "this cannot be watched", errors=errors) from None
        if made is None:
            raise RefusedError(409, "there is a watch of that name already")
        return as_json(schemas.FollowedWatch.of_added(made), status=201)

    async def remove(self, request: web.Request) -> web.Response:
        """Remove a run-time watch; what is known of its jobs stays in the store."""
        name = request.match_info["name"]
        if any(watch.name == name for watch in self._watches.own()):
            raise RefusedError(409, "this watch is of the configuration; remove it there")
        if not await self._watches.remove(name):
            raise RefusedError(404, "no watch of that name was added")
        return as_json(schemas.Removed(removed=True))
