"""Endpoints for what is recorded: transitions and deliveries."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeAlias

from pydantic import Field

from monitor.model import DeliveryStatus, Kind
from monitor.recording.router import matcher
from monitor.web.api import ledger_schemas, params
from monitor.web.api.endpoint import Endpoint, as_json
from monitor.web.api.params import Form, Glob, Limit, Position, Since, Text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aiohttp import web

    from monitor.web.interfaces import Ledger


Stored: TypeAlias = tuple[int, dict[str, Any]]
"""The position of a transition, and its CloudEvent."""


class Filter(Form):
    """Filters of transitions."""

    job: Text | None = None
    """The key of a job, or of a source."""
    kind: list[Glob] = Field(default=[], max_length=32)
    """A kind, or a glob on kinds, such as ``job.*``; may be repeated."""
    since: Since | None = None
    """Observed at this time or later: an age, or a time."""

    @cached_property
    def kinds(self) -> Sequence[str] | None:
        """The kinds that match; ``None`` for all. A stream reads this ten times a second."""
        fits = matcher(self.kind)
        return [kind.value for kind in Kind if fits(kind)] if self.kind else None


class TransitionsQuery(Filter):
    """Filters of transitions, and the position to start from."""

    after: Position = 0
    """Only transitions after this position of the ledger."""
    newest: bool = False
    """The newest ones instead of the first, in the order of the ledger; ``job`` may be an id."""
    limit: Limit = 100
    """The most transitions in one response."""


class DeliveriesQuery(Form):
    """Filters of deliveries."""

    sink: Text | None = None
    """The name of a sink."""
    status: DeliveryStatus | None = None
    """The status of the deliveries."""
    job: Text | None = None
    """A job's key, or its id."""
    limit: Limit = 100
    """The most deliveries on a page."""
    cursor: Text | None = None
    """The ``next_cursor`` of the page before."""


class History:
    """The handlers."""

    def __init__(self, ledger: Ledger) -> None:
        """Read from the store."""
        self._ledger = ledger

    def endpoints(self) -> Sequence[Endpoint]:
        """Return the endpoints."""
        transitions, deliveries = "/api/v1/transitions", "/api/v1/deliveries"
        return (
            Endpoint(
                *("GET", transitions, self.transitions, ledger_schemas.Transitions),
                query=TransitionsQuery,
            ),
            Endpoint(
                *("GET", deliveries, self.deliveries, ledger_schemas.Deliveries),
                query=DeliveriesQuery,
            ),
        )

    async def transitions(self, request: web.Request) -> web.Response:
        """List transitions in the order of the ledger."""
        asked = params.query(TransitionsQuery, request)
        if asked.newest:
            found, onward = await self._newest(asked)
        else:
            found, onward = await read(self._ledger, asked, asked.after, asked.limit)
        items = [ledger_schemas.TransitionView(position=at, event=event) for at, event in found]
        return as_json(ledger_schemas.Transitions(items=items, next_after=onward))

    async def _newest(self, asked: TransitionsQuery) -> tuple[Sequence[Stored], int]:
        until = await self._ledger.position()
        if asked.kinds is not None and not asked.kinds:
            return [], max(asked.after, until)
        found = await self._ledger.history(asked.job, asked.since, asked.kinds, asked.limit)
        last = found[-1][0] if found else until
        return [one for one in found if one[0] > asked.after], max(asked.after, until, last)

    async def deliveries(self, request: web.Request) -> web.Response:
        """List deliveries, the newest first."""
        asked = params.query(DeliveriesQuery, request)
        if asked.cursor is not None and not params.is_position(asked.cursor):
            raise params.no_cursor()
        before = None if asked.cursor is None else int(asked.cursor)
        # One more than is shown, which tells whether there is another page.
        found = await self._ledger.deliveries(
            *(asked.sink, asked.status, asked.limit + 1, asked.job), before=before
        )
        shown = found[: asked.limit]
        cursor = str(shown[-1].id) if len(found) > asked.limit else None
        items = [ledger_schemas.DeliveryView.as_json(one) for one in shown]
        return as_json({"items": items, "next_cursor": cursor})


async def read(
    ledger: Ledger, asked: Filter, after: int, limit: int
) -> tuple[Sequence[Stored], int]:
    """Return the matching transitions after a position, and the position to go on from.

    If few match, that is the end of the ledger as searched, so nothing is searched twice.
    """
    # Read before the search: what is recorded meanwhile is left for the next one.
    until = await ledger.position()
    if asked.kinds is not None and not asked.kinds:
        return [], max(after, until)
    found = await ledger.transitions(
        after=after,
        limit=limit,
        key=asked.job,
        kinds=asked.kinds,
        since=asked.since,
        until=until,
    )
    return found, found[-1][0] if len(found) == limit else max(after, until)
