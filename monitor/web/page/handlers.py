"""The page that people look at: ``/`` for all jobs, ``/job?key=`` for one.

What is shown is gathered and rendered in a thread, one page at a time: with ten thousand
jobs that takes a tenth of a second, for which no look at a job should wait.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar, TypeVarTuple, Unpack

import anyio
from aiohttp import hdrs, web

from monitor.web.page import filters, rows, summary, timeline, view
from monitor.web.page.render import Templates
from monitor.web.page.static_files import StaticFiles

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from monitor.interfaces import Clock
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
        """Show ``live`` and ``ledger``; nothing is asked of them before a request."""
        self._live = live
        self._ledger = ledger
        self._clock = clock
        self._templates = Templates()
        self._renderings = anyio.CapacityLimiter(1)

    def routes(self) -> list[web.RouteDef]:
        """Where each handler stands."""
        files = StaticFiles()
        return [
            web.get("/", self.index),
            web.get("/job", self.job),
            web.get("/static/{name}", files.get),
        ]

    async def index(self, request: web.Request) -> web.Response:
        """All jobs, of which one page is shown."""
        here = filters.Selection.of(request.query)
        seen = await self._scene()
        since = seen.now - summary.RECENT
        chosen = await self._beside(filters.choose, seen.jobs, here, since)
        histories = await self._histories(chosen.jobs)
        return _html(await self._beside(self._index, seen, here, chosen, histories))

    async def job(self, request: web.Request) -> web.Response:
        """One job, with its transitions and who has been told of them."""
        key = request.query.get("key", "")
        seen = await self._scene()
        followed = self._live.job(key)
        if followed is None:
            return _html(self._templates.unknown(seen, key), web.HTTPNotFound.status_code)
        sequence = followed.snapshot.sequence if followed.snapshot else 0
        events = await self._ledger.later({key: sequence - TRANSITIONS})
        deliveries = await self._ledger.deliveries_of([position for position, _ in events])
        return _html(await self._beside(self._job, seen, followed, events, deliveries))

    async def _scene(self) -> view.Scene:
        backlogs, parkings = await self._ledger.backlog(), await self._ledger.parkings()
        return await self._beside(view.gather, self._live, backlogs, parkings, self._clock.now())

    async def _histories(
        self, jobs: Iterable[interfaces.JobStatus]
    ) -> Mapping[str, Sequence[Mapping[str, Any]]]:
        """Return the last CloudEvents of each job, in order."""
        sequences = {
            job.job.key: job.snapshot.sequence - timeline.LENGTH for job in jobs if job.snapshot
        }
        found: dict[str, list[Mapping[str, Any]]] = {}
        for _, event in await self._ledger.later(sequences):
            found.setdefault(event["data"]["job"]["key"], []).append(event)
        return found

    async def _beside(self, make: Callable[[Unpack[Values]], Made], *values: *Values) -> Made:
        """Do the work in a thread."""
        return await anyio.to_thread.run_sync(make, *values, limiter=self._renderings)

    def _index(
        self,
        seen: view.Scene,
        here: filters.Selection,
        chosen: filters.Chosen,
        histories: Mapping[str, Sequence[Mapping[str, Any]]],
    ) -> str:
        shown = [
            rows.job_line(job, histories.get(job.job.key, ()), seen.now) for job in chosen.jobs
        ]
        return self._templates.index(seen, here, chosen, shown)

    def _job(
        self,
        seen: view.Scene,
        followed: interfaces.JobStatus,
        events: Sequence[tuple[int, Mapping[str, Any]]],
        deliveries: Iterable[Any],
    ) -> str:
        told: dict[int, list[Any]] = {}
        for delivery in deliveries:
            told.setdefault(delivery.position, []).append(delivery)
        line = rows.job_line(followed, [event for _, event in events], seen.now)
        transitions = [
            rows.transition_line(position, event["data"], told.get(position, ()))
            for position, event in reversed(events)
        ]
        return self._templates.job(seen, line, transitions)


def _html(text: str, status: int = 200) -> web.Response:
    headers = {"Content-Security-Policy": POLICY}
    response = web.Response(text=text, status=status, content_type="text/html", headers=headers)
    response.headers[hdrs.VARY] = hdrs.ACCEPT_ENCODING
    response.enable_compression()
    return response
