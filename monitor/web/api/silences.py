"""Endpoints for silences: list, add and expire them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self
from uuid import uuid4

from pydantic import BeforeValidator, Field, WithJsonSchema, model_validator

from monitor import model
from monitor.config import SilenceMatch  # noqa: TC001 -- pydantic reads the annotation
from monitor.web.api import params, schemas
from monitor.web.api.endpoint import Endpoint, as_json
from monitor.web.api.params import Form, Seconds, Text
from monitor.web.auth import USER
from monitor.web.problems import RefusedError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aiohttp import web

    from monitor.interfaces import Clock
    from monitor.web import interfaces

PATH = "/api/v1/silences"
MOST = 1000
"""Silences that may be pending or active at once: each transition is matched against all."""
LONGEST = timedelta(days=3650)
_KNOWN: dict[str, Sequence[str]] = {
    "kind": [kind.value for kind in model.Kind],
    "phase": [phase.value for phase in model.Phase],
    "severity": [severity.value for severity in model.Severity],
}


def _time(value: Any) -> datetime:
    """Read a time of RFC 3339."""
    try:
        # A plus sign that was not percent-encoded has become a space.
        at = datetime.fromisoformat(str(value).replace(" ", "+"))
        if at.tzinfo is not None:
            return at.astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    raise ValueError("is not a time, such as 2026-03-01T12:00:00Z")


Time = Annotated[
    datetime,
    BeforeValidator(_time),
    WithJsonSchema({"type": "string", "format": "date-time"}),
]


class SilenceQuery(Form):
    """Filters of silences."""

    status: Literal["pending", "active", "expired"] | None = None
    """The status of the silences."""


class NewSilence(Form):
    """A silence to add; it says its end, or how long it lasts."""

    match: Annotated[
        list[SilenceMatch],
        BeforeValidator(lambda value: [value] if isinstance(value, dict) else value),
    ] = Field(min_length=1, max_length=100)
    """What it holds, as the `match` of routes says it; `job` takes keys or ids of jobs."""
    starts_at: Time | None = None
    """By default now."""
    ends_at: Time | None = None
    duration: Seconds | None = None
    """Instead of `ends_at`."""
    author: Text | None = None
    """By default the user of basic auth."""
    comment: Text = ""

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        if (self.ends_at is None) == (self.duration is None):
            raise ValueError("needs either ends_at or duration")
        for number, match in enumerate(self.match):
            written = match.model_dump(exclude_defaults=True)
            if not written:
                raise ValueError(f'match.{number} is empty (to hold everything, write kind: "*")')
            for key, known in _KNOWN.items():
                for glob in written.get(key, ()):
                    if not any(fnmatchcase(value, glob) for value in known):
                        raise ValueError(f"match.{number}.{key}: a glob matches nothing")
        return self


class SilenceEndpoints:
    """The handlers."""

    def __init__(self, quiet: interfaces.Quieting, clock: Clock) -> None:
        """Read from ``quiet``, and change it."""
        self._quiet = quiet
        self._clock = clock

    def endpoints(self) -> Sequence[Endpoint]:
        """Return the endpoints."""
        view, full = schemas.SilenceView, {409: "There are too many silences."}
        unknown = {404: "There is no such silence."}
        return (
            Endpoint("GET", PATH, self.list, schemas.Silences, query=SilenceQuery),
            Endpoint("POST", PATH, self.add, view, body=NewSilence, status=201, problems=full),
            Endpoint("DELETE", f"{PATH}/{{id}}", self.expire, view, problems=unknown),
        )

    async def list(self, request: web.Request) -> web.Response:
        """List the silences, the one that ends last first; expired ones for some time."""
        asked, now = params.query(SilenceQuery, request), self._clock.now()
        found = [schemas.SilenceView.of(each, now) for each in self._quiet.silences()]
        items = [each for each in found if asked.status in {None, each.status}]
        return as_json(schemas.Silences(items=items))

    async def add(self, request: web.Request) -> web.Response:
        """Add a silence: what it matches is recorded, and not sent before it ends."""
        asked, now = await params.body(NewSilence, request), self._clock.now()
        starts_at = asked.starts_at or now
        lasts = timedelta(seconds=asked.duration or 0.0)
        ends_at = asked.ends_at or min(starts_at, now + LONGEST) + lasts
        if not max(starts_at, now) < ends_at <= now + LONGEST:
            raise RefusedError(422, "ends_at must be later than now and starts_at, within 10 years")
        if sum(each.ends_at > now for each in self._quiet.silences()) >= MOST:
            raise RefusedError(409, f"there are {MOST} silences already; expire some")
        silence = model.Silence(
            id=str(uuid4()),
            match=tuple(each.model_dump(exclude_defaults=True) for each in asked.match),
            starts_at=starts_at,
            ends_at=ends_at,
            author=author_of(request, asked.author),
            comment=asked.comment,
        )
        await self._quiet.add(silence)
        return as_json(schemas.SilenceView.of(silence, self._clock.now()), status=201)

    async def expire(self, request: web.Request) -> web.Response:
        """End a silence now; what it held and is still true is sent."""
        ended = await self._quiet.expire(request.match_info["id"])
        if ended is None:
            raise RefusedError(404, "there is no such silence")
        return as_json(schemas.SilenceView.of(ended, self._clock.now()))


def author_of(request: web.Request, named: str | None) -> str:
    """Return who does something: as named, or else the user of the request."""
    author = (named or request.get(USER) or "").strip()
    if not author:
        errors = [{"name": "author", "message": "is needed, as a token names no user"}]
        raise RefusedError(422, "author is needed, as a token names no user", errors=errors)
    return author
