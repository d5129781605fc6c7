"""Endpoints that act: replay deliveries, resume a sink, reload the configuration."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import anyio
from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from monitor.delivery import replay as replaying
from monitor.model import DeliveryStatus
from monitor.web.api import params, schemas
from monitor.web.api.endpoint import Endpoint, as_json
from monitor.web.api.params import Form, Position, Since, Text
from monitor.web.problems import RefusedError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from typing import Self

    from aiohttp import web

    from monitor.web import interfaces
    from monitor.web.interfaces import Ledger, Live

MOST_SHOWN = 1000
RESUME_WITHIN = 5.0
"""Seconds within which a resume is answered, even if the first attempt is not over."""
CHECK_EVERY = 0.1
"""Seconds between two checks of the result."""


def _key(text: str) -> str:
    if text in replaying.KEYS or text.startswith(replaying.LABEL):
        return text
    raise ValueError(f"must be one of {', '.join(replaying.KEYS)} or labels.NAME")


# Longer than those of a query: a glob may spell the whole key of a job.
_Glob = Annotated[Text, Field(max_length=512)]
Globs = Annotated[
    list[_Glob],
    BeforeValidator(lambda value: [value] if isinstance(value, str) else value),
    Field(max_length=32),
]


class Replay(Form):
    """Which deliveries of a sink to send again."""

    sink: Text
    """A configured sink."""
    since: Since | None = None
    """Observed at this time or later: an age, or a time."""
    match: dict[Annotated[str, AfterValidator(_key)], Globs] = Field(default={})
    """Kind, phase, state, severity, type, account, region, job or labels.NAME → globs, of which one
    must match for every key."""
    delivered: bool = False
    """Also deliveries that succeeded; needs ``since``."""
    silenced: bool = False
    """Also those that a silence or a maintenance window holds or held."""
    discarded: bool = False
    """Also those that were discarded."""
    dry_run: bool = False
    """Only show what would be sent."""

    @model_validator(mode="after")
    def _bounded(self) -> Self:
        if self.delivered and self.since is None:
            raise ValueError("delivered needs since")
        return self

    def selection(self) -> replaying.Selection:
        """Return it as the outbox understands it."""
        more = {
            DeliveryStatus.DELIVERED: self.delivered,
            DeliveryStatus.SILENCED: self.silenced,
            DeliveryStatus.DISCARDED: self.discarded,
        }
        return replaying.Selection(
            sink=self.sink,
            statuses=(DeliveryStatus.DEAD, *(status for status, wanted in more.items() if wanted)),
            since=self.since,
            match=tuple((key, tuple(globs)) for key, globs in self.match.items()),
        )


class Discard(Form):
    """Which dead deliveries of a sink need not be sent any more."""

    sink: Text
    """A configured sink."""
    ids: list[Position] = Field(default=[], max_length=1000)
    """Ids of deliveries."""
    job: Text | None = None
    """The key or the id of a job."""
    every: bool = Field(default=False, alias="all")
    """All that are dead."""

    @model_validator(mode="after")
    def _says_which(self) -> Self:
        if sum((bool(self.ids), self.job is not None, self.every)) != 1:
            raise ValueError("needs one of ids, job, and all: true")
        return self


class Changes:
    """The handlers."""

    def __init__(
        self, live: Live, ledger: Ledger, reload: Callable[[], Awaitable[None]] | None
    ) -> None:
        """Take ``reload``, which reads the configuration again; without it, omit its route."""
        self._live = live
        self._ledger = ledger
        self._reload = reload

    def endpoints(self) -> Sequence[Endpoint]:
        """Return the endpoints."""
        resume, unknown = "/api/v1/sinks/{name}/resume", {404: "There is no such sink."}
        refused = {
            422: "The configuration is refused; the old one stays in effect.",
            503: "The monitor is stopping, or the store cannot be used.",
        }
        reload = Endpoint("POST", "/-/reload", self.reload, schemas.Reloaded, problems=refused)
        return (
            Endpoint("POST", "/api/v1/replay", self.replay, schemas.Replayed, body=Replay),
            Endpoint(
                *("POST", "/api/v1/deliveries/discard", self.discard, schemas.Discarded),
                body=Discard,
            ),
            Endpoint("POST", resume, self.resume, schemas.Resumed, problems=unknown),
            *((reload,) if self._reload else ()),
        )

    async def replay(self, request: web.Request) -> web.Response:
        """Send dead, or successful, deliveries of a sink again, in order, after those that wait."""
        asked = await params.body(Replay, request)
        self._require(asked.sink, 422)
        count = 0
        first: list[str] = []
        pages = replaying.replay(self._ledger, asked.selection(), dry_run=asked.dry_run)
        async for page in pages:
            count += len(page)
            first += [event["id"] for event in page[: MOST_SHOWN - len(first)]]
        self._live.wake(asked.sink)
        replayed = schemas.Replayed(
            sink=asked.sink, count=count, dry_run=asked.dry_run, event_ids=first
        )
        return as_json(replayed)

    async def discard(self, request: web.Request) -> web.Response:
        """Mark dead deliveries of a sink as not to be sent any more; they can still be replayed."""
        asked = await params.body(Discard, request)
        self._require(asked.sink, 422)
        count = await replaying.discard(self._ledger, asked.sink, set(asked.ids), asked.job)
        self._live.count_discarded(asked.sink, count)
        return as_json(schemas.Discarded(sink=asked.sink, count=count))

    async def resume(self, request: web.Request) -> web.Response:
        """Resume a parked sink, with what waits first; return the result of the first attempt."""
        name = request.match_info["name"]
        self._require(name, 404)
        before = self._attempts(name)
        resumed = await self._ledger.resume(name)
        self._live.wake(name)
        outcome, error = await self._first_attempt(name, before) if resumed else (None, None)
        return as_json(schemas.Resumed(resumed=resumed, outcome=outcome, error=error))

    def _attempts(self, name: str) -> interfaces.SinkAttempts | None:
        return next((one for one in self._live.sinks() if one.name == name), None)

    async def _first_attempt(
        self, name: str, before: interfaces.SinkAttempts | None
    ) -> tuple[Any, str | None]:
        """Wait for some seconds for what becomes of the first attempt after a resume."""
        with anyio.move_on_after(RESUME_WITHIN):
            while True:
                for parking in await self._ledger.parkings():
                    if parking.sink == name:
                        return "parked", parking.reason
                now = self._attempts(name)
                if before and now and now.last_delivered_at != before.last_delivered_at:
                    return "delivered", None
                # A failure that parks the sink is recorded a moment after it shows here.
                if before and now and now.last_error_at != before.last_error_at:
                    await anyio.sleep(CHECK_EVERY)
                    again = [each for each in await self._ledger.parkings() if each.sink == name]
                    if again:
                        return "parked", again[0].reason
                    return "failing", now.last_error
                if not any(
                    each.sink == name and each.pending for each in await self._ledger.backlog()
                ):
                    return "idle", None
                await anyio.sleep(CHECK_EVERY)
        return "unknown", None

    async def reload(self, _request: web.Request) -> web.Response:
        """Reload the configuration: all of it takes effect, or nothing."""
        assert self._reload is not None  # noqa: S101 -- only then there is a route
        await self._reload()
        return as_json(schemas.Reloaded(reloaded=True))

    def _require(self, sink: str, status: int) -> None:
        known = [one.name for one in self._live.sinks()]
        if sink not in known:
            message = f"is none of the sinks: {', '.join(known) or 'there are none'}"
            errors = [{"name": "sink", "message": message}]
            raise RefusedError(status, f"sink {message}", errors=errors)
