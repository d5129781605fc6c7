"""The pages ``/watches``, for all watches, and ``/watch?name=``, for the jobs of one over time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aiohttp import web

from monitor.web.api import archived_jobs, params
from monitor.web.api.job_filters import JobsQuery
from monitor.web.page import strips, watch_rows
from monitor.web.page.rendering import Renderings, html, rank_after
from monitor.web.page.rows import JobRow, job_row

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from monitor.interfaces import JobStatus
    from monitor.web.page.view import PageView
    from monitor.web.page.watch_rows import WatchRow

MOST_JOBS = 25
"""Jobs on one page of strips."""


class WatchPages:
    """The handlers, each a method."""

    def __init__(self, renderings: Renderings) -> None:
        """Render with ``renderings``."""
        self._renderings = renderings
        self._parts = renderings.parts

    def routes(self) -> list[web.RouteDef]:
        """Return the routes."""
        return [web.get("/watches", self.list), web.get("/watch", self.show)]

    async def list(self, request: web.Request) -> web.Response:
        """Show one page of the watches, and the configuration."""
        page = await self._renderings.view()
        shown, onward = watch_rows.page_of(await self._rows(page), request.query.get("after", ""))
        status = self._parts.live.status()
        render = self._renderings.templates.watches
        return html(await self._renderings.beside(render, page, status, shown, onward))

    async def show(self, request: web.Request) -> web.Response:
        """Show one page of the jobs of a watch, with their states over a span of time."""
        name, span = request.query.get("name", ""), request.query.get("span", "")
        span = span if span in strips.SPANS else strips.DEFAULT
        page = await self._renderings.view()
        watch = next((row for row in await self._rows(page) if row.name == name), None)
        if watch is None:
            unknown = self._renderings.templates.unknown
            text = await self._renderings.beside(unknown, page, "watch", name)
            return html(text, web.HTTPNotFound.status_code)
        after = request.query.get("after", "")
        asked = JobsQuery(
            watch=name,
            type=watch.type,
            account=watch.account,
            region=watch.regions[0] if len(watch.regions) == 1 else None,
            sort="-changed_at",
            limit=MOST_JOBS,
        )
        rank = rank_after(after, asked.sort)
        found, many = await self._renderings.beside(archived_jobs.followed, page.jobs, asked, rank)
        archive = self._parts.ledger.archive
        jobs, last, _ = await archived_jobs.merged(
            self._parts.live, archive, asked, rank, found, many
        )
        onward = "" if last is None else params.cursor_after(asked.sort, last)
        sequences = {
            job.job.key: job.snapshot.sequence - strips.MOST for job in jobs if job.snapshot
        }
        # The newest CloudEvents of each job, in order, over the index of jobs and sequences.
        histories: dict[str, list[Mapping[str, Any]]] = {}
        for _, event in await self._parts.ledger.later(sequences):
            histories.setdefault(event["data"]["job"]["key"], []).append(event)
        start = page.now - strips.SPANS[span]
        shown = await self._renderings.beside(self._strips, page, start, jobs, histories)
        render = self._renderings.templates.watch
        text = await self._renderings.beside(render, page, watch, span, after, onward, shown)
        return html(text)

    async def _rows(self, page: PageView) -> Sequence[WatchRow]:
        watches = self._parts.watches
        own, added = (watches.own(), await watches.all()) if watches else ((), ())
        return await self._renderings.beside(
            watch_rows.watch_rows, own, added, page.jobs, self._parts.live
        )

    def _strips(
        self,
        page: PageView,
        start: datetime,
        jobs: Sequence[JobStatus],
        histories: Mapping[str, Sequence[Mapping[str, Any]]],
    ) -> Sequence[tuple[JobRow, Sequence[strips.Stretch]]]:
        return [
            (
                job_row(job, (), page.now),
                strips.draw(histories.get(job.job.key, ()), start, page.now),
            )
            for job in jobs
        ]
