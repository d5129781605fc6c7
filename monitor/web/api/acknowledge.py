"""Endpoints for acknowledgements: somebody takes care of a job in trouble."""

from __future__ import annotations

from typing import TYPE_CHECKING

from monitor.web.api import params
from monitor.web.api.endpoint import Endpoint, as_json
from monitor.web.api.job_schemas import JobView
from monitor.web.api.params import Form, Text
from monitor.web.api.silences import author_of
from monitor.web.problems import RefusedError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from aiohttp import web

    from monitor.web import interfaces

_ATTEMPTS = 3


class NewAcknowledgement(Form):
    """Who takes care of the job."""

    author: Text | None = None
    """By default the user of basic auth."""
    comment: Text = ""


class AcknowledgeEndpoints:
    """The handlers."""

    def __init__(
        self, quiet: interfaces.Quieting, view: Callable[[str], Awaitable[JobView]]
    ) -> None:
        """``view`` returns a job, or raises RefusedError."""
        self._quiet = quiet
        self._view = view

    def endpoints(self) -> Sequence[Endpoint]:
        """Return the endpoints."""
        path, unknown = "/api/v1/jobs/{key}/acknowledge", {404: "No such job is known."}
        fine = unknown | {409: "The job is neither failed nor stuck nor missing."}
        add = ("POST", path, self.acknowledge, JobView)
        return (
            Endpoint(*add, body=NewAcknowledgement, problems=fine),
            Endpoint("DELETE", path, self.withdraw, JobView, problems=unknown),
        )

    async def acknowledge(self, request: web.Request) -> web.Response:
        """Acknowledge a job that has failed, is stuck or is missing, until its state changes."""
        key = request.match_info["key"]
        asked = await params.body(NewAcknowledgement, request)
        author = author_of(request, asked.author)
        await self._view(key)
        # A job that changes at this moment may still be in trouble.
        for _ in range(_ATTEMPTS):
            made = await self._quiet.acknowledge(key, author, asked.comment)
            if made:
                return as_json(await self._view(key))
            if made is None:
                break
        raise RefusedError(409, "the job is neither failed nor stuck nor missing")

    async def withdraw(self, request: web.Request) -> web.Response:
        """Withdraw an acknowledgement; nothing happens if there is none."""
        key = request.match_info["key"]
        await self._view(key)
        await self._quiet.withdraw(key)
        return as_json(await self._view(key))
