"""The page that people look at: ``/`` for all jobs, ``/job?key=`` for one.

It is gathered and rendered in a thread, one page at a time: with ten thousand
jobs that takes a tenth of a second, for which no poll should wait.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar, TypeVarTuple, Unpack

import anyio
from aiohttp import hdrs, web

from monitor.web.page import filters, rows, summary, timeline, view
from monitor.web.page.render import Templates
from monitor.web.page.static_files import StaticFiles

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from monitor.interfaces import Clock, JobStatus
    from monitor.web import interfaces

Made = TypeVar("Made")
Values = TypeVarTuple("Values")

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
"""Nothing inline, nothing from elsewhere."""
TRANSITIONS = 50
"""Transitions that the page of one job shows at most."""


class StatusPage:
    """The handlers, each a method."""

    def __init__(self, live: interfaces.Live, ledger: interfaces.Ledger, clock: Clock) -> None:
        """Show ``live`` and ``ledger``; neither is read before a request."""
        self._live = live
        self._ledger = ledger
        self._clock = clock
        self._renderings = anyio.CapacityLimiter(1)

    def routes(self) -> list[web.RouteDef]:
        """Return the routes."""
        files = StaticFiles()
        return [
            web.get("/", self.index),
            web.get("/job", self.job),
            web.get("/static/{name}", files.get),
        ]

    async def index(self, request: web.Request) -> web.Response:
        """Show one page of all jobs."""
        here = filters.JobFilter.of(request.query)
        page = await self._view()
        since = page.now - summary.RECENT
        matches = await self._beside(filters.choose, page.jobs, here, since)
        sequences = {
            job.job.key: job.snapshot.sequence - timeline.LENGTH
            for job in matches.jobs
            if job.snapshot
        }
        # The last CloudEvents of each job, in order.
        histories: dict[str, list[Mapping[str, Any]]] = {}
        for _, event in await self._ledger.later(sequences):
            histories.setdefault(event["data"]["job"]["key"], []).append(event)
        return _html(await self._beside(self._index, page, here, matches, histories))

    async def job(self, request: web.Request) -> web.Response:
        """Show one job, its transitions and their deliveries."""
        key = request.query.get("key", "")
        page = await self._view()
        status = self._live.job(key)
        if status is None:
            text = await self._beside(lambda: self._templates.unknown(page, key))
            return _html(text, web.HTTPNotFound.status_code)
        sequence = status.snapshot.sequence if status.snapshot else 0
        events = await self._ledger.later({key: sequence - TRANSITIONS})
        deliveries = await self._ledger.deliveries_of([position for position, _ in events])
        return _html(await self._beside(self._job, page, status, events, deliveries))

    @cached_property
    def _templates(self) -> Templates:
        """Compile the templates with the first page: that takes a tenth of a start."""
        return Templates()

    async def _view(self) -> view.PageView:
        backlogs, parkings = await self._ledger.backlog(), await self._ledger.parkings()
        return await self._beside(view.gather, self._live, backlogs, parkings, self._clock.now())

    async def _beside(self, make: Callable[[Unpack[Values]], Made], *values: *Values) -> Made:
        """Do the work in a thread."""
        return await anyio.to_thread.run_sync(make, *values, limiter=self._renderings)

    def _index(
        self,
        page: view.PageView,
        here: filters.JobFilter,
        matches: filters.Matches,
        histories: Mapping[str, Sequence[Mapping[str, Any]]],
    ) -> str:
        shown = [
            rows.job_row(job, histories.get(job.job.key, ()), page.now) for job in matches.jobs
        ]
        return self._templates.index(page, here, matches, shown)

    def _job(
        self,
        page: view.PageView,
        status: JobStatus,
        events: Sequence[tuple[int, Mapping[str, Any]]],
        deliveries: Iterable[Any],
    ) -> str:
        by_position: dict[int, list[Any]] = {}
        for delivery in deliveries:
            by_position.setdefault(delivery.position, []).append(delivery)
        row = rows.job_row(status, [event for _, event in events], page.now)
        transitions = [
            rows.transition_row(position, event["data"], by_position.get(position, ()))
            for position, event in reversed(events)
        ]
        return self._templates.job(page, row, transitions)


def _html(text: str, status: int = 200) -> web.Response:
    headers = {"Content-Security-Policy": POLICY}
    response = web.Response(text=text, status=status, content_type="text/html", headers=headers)
    response.headers[hdrs.VARY] = hdrs.ACCEPT_ENCODING
    response.enable_compression()
    return response
