"""The endpoint for server-sent events: the ledger as it grows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio
import orjson
from aiohttp import hdrs, web

from monitor.web.api import history, ledger_schemas, params
from monitor.web.api.endpoint import Endpoint
from monitor.web.api.history import Filter
from monitor.web.api.params import Position  # noqa: TC001 -- pydantic reads the annotation
from monitor.web.problems import RefusedError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from monitor.web.interfaces import Ledger
    from monitor.web.notifier import News

HEARTBEAT = 15.0
"""Seconds without an event after which a stream sends a heartbeat."""
PACE = 0.1
"""Seconds between two readings of the store by one stream, so that many commits are one reading."""
PAGE = 50
"""Events that are read, and written, at once."""
WRITE_WITHIN = 60.0
"""Seconds that a client may take for that; then it is left."""
MOST_STREAMS = 100
"""Streams at once; the next is asked to come again. Nor may they be more than a quarter of all
connections, so that there are some for others."""
LONGEST = 3600.0
"""Seconds after which a stream ends, to be resumed by who may still read."""
RETRY = 2000
"""Milliseconds after which a browser asks again."""


class EventsQuery(Filter):
    """Filters of transitions, and the position to start from."""

    after: Position | None = None
    """Start after this position of the ledger; by default with new transitions. The header
    ``Last-Event-ID`` takes precedence."""


class Events:
    """The handler of the stream."""

    def __init__(self, ledger: Ledger, news: News, connections: int) -> None:
        """Read the store whenever there is news; ``connections`` is how many there may be."""
        self._share = max(1, connections // 4)
        self._ledger = ledger
        self._news = news
        self._streams = 0

    def endpoints(self) -> Sequence[Endpoint]:
        """Return the endpoints."""
        busy = {503: "Too many streams are open, or the store cannot be used."}
        path = "/api/v1/events"
        return (
            Endpoint(
                *("GET", path, self.stream, ledger_schemas.StreamedEvent),
                streams=True,
                query=EventsQuery,
                problems=busy,
            ),
        )

    async def stream(self, request: web.Request) -> web.StreamResponse:
        """Stream transitions: `id` is the position, `event` the kind, `data` the CloudEvent."""
        asked = params.query(EventsQuery, request)
        # A browser that reconnects repeats its first URL: the header says how far it came.
        last = request.headers.get("Last-Event-ID")
        if last is not None:
            if not params.is_position(last):
                raise RefusedError(400, "Last-Event-ID is not a position of the ledger")
            after = int(last)
        else:
            after = await self._ledger.position() if asked.after is None else asked.after
        if self._streams >= min(MOST_STREAMS, self._share) or self._news.closed:
            raise RefusedError(503, "too many streams are open", headers={"Retry-After": "10"})
        response = web.StreamResponse(headers={"X-Accel-Buffering": "no"})
        response.content_type = "text/event-stream"
        response.charset = "utf-8"
        self._streams += 1
        try:
            await response.prepare(request)
            if request.method != hdrs.METH_HEAD:
                with anyio.move_on_after(LONGEST):
                    await self._follow(response, asked, after)
        except (ConnectionError, TimeoutError):
            pass  # the client disconnected, or reads nothing: it may resume
        finally:
            self._streams -= 1
        return response

    async def _follow(self, response: web.StreamResponse, asked: EventsQuery, after: int) -> None:
        await self._write(response, f"retry: {RETRY}\n\n".encode())
        while not self._news.closed:
            # Take the event first, then read: a commit in between sets it, and is not missed.
            changed = self._news.any()
            found, after = await history.read(self._ledger, asked, after, PAGE)
            if found:
                frames = (
                    b"id: %d\nevent: %b\ndata: %b\n\n"
                    % (position, event["data"]["kind"].encode(), orjson.dumps(event))
                    for position, event in found
                )
                await self._write(response, b"".join(frames))
            if len(found) == PAGE:
                continue
            await anyio.sleep(PACE)
            with anyio.move_on_after(HEARTBEAT) as quiet:
                await changed.wait()
            if quiet.cancelled_caught:
                # An id without data moves the client on: what fits nothing is searched once.
                await self._write(response, f": heartbeat\nid: {after}\n\n".encode())

    async def _write(self, response: web.StreamResponse, data: bytes) -> None:
        with anyio.fail_after(WRITE_WITHIN):
            await response.write(data)
