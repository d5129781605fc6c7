"""Errors as RFC 9457 ``application/problem+json``; never a traceback, never a secret."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import orjson
from aiohttp import hdrs, web

from monitor import logs
from monitor.errors import ConfigurationError, StoppingError, StoreError
from monitor.web import prefix

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from aiohttp.typedefs import Handler

    from monitor.errors import Problem

CONTENT_TYPE = "application/problem+json"
PLACES = ("/api/", "/-/reload")
"""The paths with JSON errors; probes and pages answer plain text."""


BEGUN = web.RequestKey("begun", web.StreamResponse)
"""The answer whose head is on its way, after which there can be no other."""


class RefusedError(Exception):
    """A request that is not answered as wished: with which status, and why."""

    def __init__(
        self,
        status: int,
        detail: str,
        *,
        headers: Mapping[str, str] | None = None,
        errors: Sequence[Mapping[str, Any]] = (),
    ) -> None:
        """``errors`` names each single mistake; none of all this may hold a secret."""
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.headers = headers or {}
        self.errors = tuple(errors)


def concerns(request: web.Request) -> bool:
    """Return True if errors of this request are written as problems."""
    path = prefix.without(request)
    return path == "/api" or path.startswith(PLACES)


def answer(refused: RefusedError) -> web.Response:
    """Write a problem."""
    body: dict[str, Any] = {
        "type": "about:blank",
        "title": HTTPStatus(refused.status).phrase,
        "status": refused.status,
        "detail": refused.detail,
    }
    if refused.errors:
        body["errors"] = refused.errors
    response = web.Response(
        body=orjson.dumps(body), status=refused.status, content_type=CONTENT_TYPE
    )
    response.headers.update(refused.headers)
    if refused.headers.get(hdrs.CONNECTION) == "close":
        response.force_close()
    return response


def of_configuration(problems: Sequence[Problem]) -> list[dict[str, str]]:
    """Write each mistake of a configuration as a map."""
    return [
        {
            "place": problem.place,
            "path": problem.path,
            "message": problem.message,
            "remedy": problem.remedy,
        }
        for problem in problems
    ]


@web.middleware
async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn what a handler of the API raises into a problem.

    Whatever is raised behind the head of an answer, of the API or not, ends the connection.
    """
    try:
        return await handler(request)
    except Exception as error:
        begun: web.StreamResponse | None = request.get(BEGUN)
        if begun:
            # End the connection without the end of the answer: nobody may take it for whole.
            if isinstance(error, ConnectionError):
                logs.get().debug(logs.REQUEST_ABORTED, path=request.path)
            else:
                logs.get().error(logs.REQUEST_FAILED, path=request.path, exc_info=error)
            if request.transport is not None:
                request.transport.abort()
            return begun
        if isinstance(error, ConnectionError) and request.transport is None:
            # The client went away in the midst: its own affair, and nobody reads the answer.
            logs.get().debug(logs.REQUEST_ABORTED, path=request.path)
            return answer(RefusedError(400, "the connection was lost"))
        if not concerns(request):
            raise
        return answer(_refusal(request, error))


def _refusal(request: web.Request, error: Exception) -> RefusedError:
    match error:
        case RefusedError():
            return error
        case web.HTTPException():
            allowed = error.headers.get(hdrs.ALLOW)
            status = HTTPStatus(error.status)
            words = {
                HTTPStatus.NOT_FOUND: "there is nothing here",
                HTTPStatus.METHOD_NOT_ALLOWED: f"only {allowed} can be used here",
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "the body is too large",
            }
            # RFC 9110 wants Allow with a 405; aiohttp's other headers describe its own text.
            kept = {"Allow": allowed} if allowed else {}
            return RefusedError(error.status, words.get(status, status.description), headers=kept)
        case ConfigurationError():
            errors = of_configuration(error.problems)
            return RefusedError(422, "the configuration cannot be used", errors=errors)
        case StoppingError():
            return RefusedError(503, "the monitor is stopping", headers={"Retry-After": "10"})
    logs.get().error(logs.REQUEST_FAILED, path=request.path, exc_info=error)
    if isinstance(error, StoreError):
        return RefusedError(503, "the store cannot be used", headers={"Retry-After": "10"})
    return RefusedError(500, "the monitor failed; its log says more")
