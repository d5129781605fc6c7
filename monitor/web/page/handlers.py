"""The page that people look at: ``/`` for all jobs, ``/job?key=`` for one."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from aiohttp import web

from monitor.model import ArchivedFilter, Phase
from monitor.web.api import archived_jobs, params
from monitor.web.page import filters, rows, summary, timeline
from monitor.web.page.rendering import Renderings, html, rank_after
from monitor.web.page.silence_handlers import SilencePage
from monitor.web.page.static_files import StaticFiles
from monitor.web.page.watch_handlers import WatchPages

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from monitor.interfaces import JobStatus
    from monitor.model import StoreOutage
    from monitor.web.api.routes import Parts
    from monitor.web.auth import Guard
    from monitor.web.page.view import PageView

TRANSITIONS = 50
"""Transitions that the page of one job shows at most."""


class StatusPage:
    """The handlers, each a method."""

    def __init__(self, parts: Parts, guard: Guard) -> None:
        """Show ``parts``, of which nothing is read before a request; ``guard`` says who may act."""
        self._live = parts.live
        self._ledger = parts.ledger
        self._renderings = Renderings(parts, guard)
        self._watches = WatchPages(self._renderings)
        self._silences = SilencePage(self._renderings)

    def routes(self) -> list[web.RouteDef]:
        """Return the routes."""
        return [
            web.get("/", self.index),
            web.get("/job", self.job),
            *self._watches.routes(),
            web.get("/silences", self._silences.list),
            web.get("/static/{name}", StaticFiles().get),
        ]

    async def index(self, request: web.Request) -> web.Response:
        """Show one page of all jobs."""
        here = filters.JobFilter.of(request.query)
        page = await self._renderings.view()
        since = page.now - summary.RECENT
        archived, many, older = await self._archived(here)
        if here.after:
            matches = filters.Matches(archived, many, 0, 1, 1, older)
        else:
            matches = await self._renderings.beside(
                filters.choose, page.jobs, here, since, archived, many, older
            )
        sequences = {
            job.job.key: job.snapshot.sequence - timeline.LENGTH
            for job in matches.jobs
            if job.snapshot
        }
        # The last CloudEvents of each job, in order.
        histories: dict[str, list[Mapping[str, Any]]] = {}
        for _, event in await self._ledger.later(sequences):
            histories.setdefault(event["data"]["job"]["key"], []).append(event)
        return html(await self._renderings.beside(self._index, page, here, matches, histories))

    async def job(self, request: web.Request) -> web.Response:
        """Show one job, its transitions and their deliveries."""
        key = request.query.get("key", "")
        page = await self._renderings.view()
        status = self._live.job(key)
        if status is None and "\x00" not in key:
            known = await self._ledger.snapshot(key)
            status = self._live.remembered(known) if known and known.phase.terminal else None
        if status is None:
            templates = self._renderings.templates
            text = await self._renderings.beside(templates.unknown, page, "job", key)
            return html(text, web.HTTPNotFound.status_code)
        sequence = status.snapshot.sequence if status.snapshot else 0
        events = await self._ledger.later({key: sequence - TRANSITIONS})
        deliveries = await self._ledger.deliveries_of([position for position, _ in events])
        return html(await self._renderings.beside(self._job, page, status, events, deliveries))

    async def without_store(self, outage: StoreOutage) -> web.Response:
        """Show that the server of the store cannot be reached; nothing else can be shown."""
        page = await self._renderings.view_without_store()
        templates = self._renderings.templates
        text = await self._renderings.beside(templates.without_store, page, outage)
        return html(text, web.HTTPServiceUnavailable.status_code)

    async def _archived(self, here: filters.JobFilter) -> tuple[Sequence[JobStatus], int, str]:
        """Return archived jobs that match, how many there are, and the cursor of the rest.

        Of those that must be compared one by one, a bounded number is searched for each page.
        """
        if here.flag:
            return [], 0, ""
        label = here.label if "=" in here.label or ":" in here.label else ""
        selection = archived_jobs.select(
            self._live,
            here.includes,
            [Phase(here.phase)] if here.phase else [],
            [label] if label else [],
            here.watch or None,
            ArchivedFilter(text=here.text or None),
            by_watch=True,
        )
        if not selection.total:
            return [], 0, ""
        archive, matches = self._ledger.archive, here.matches
        exact = selection.exact and label == here.label
        selection = replace(selection, exact=exact)
        order = filters.ARCHIVE_ORDERS.get((here.sort, here.order))
        sort, many = order or "-changed_at", here.page * filters.PAGE_SIZE
        if not here.after and (order is None or not exact or many > filters.MOST_ARCHIVED):
            many = filters.MOST_ARCHIVED
        found = await archived_jobs.page(
            *(archive, self._live, selection, matches),
            sort=sort,
            after=rank_after(here.after, sort),
            limit=many,
        )
        ranked, last = found.ranked[:many], found.last
        if len(ranked) < len(found.ranked):
            last = ranked[-1][0]
        text = "" if here.after else here.text
        named = await archived_jobs.named(archive, self._live, text, matches)
        every = {one.job.key: one for one in (*named, *(one for _, one in ranked))}
        if last is None or order is None or (exact and many >= selection.total):
            return list(every.values()), selection.total if exact else len(every), ""
        older = params.cursor_after(sort, last)
        return list(every.values()), selection.total if exact else len(every), older

    def _index(
        self,
        page: PageView,
        here: filters.JobFilter,
        matches: filters.Matches,
        histories: Mapping[str, Sequence[Mapping[str, Any]]],
    ) -> str:
        shown = [
            rows.job_row(job, histories.get(job.job.key, ()), page.now) for job in matches.jobs
        ]
        return self._renderings.templates.index(page, here, matches, shown)

    def _job(
        self,
        page: PageView,
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
        snapshot = status.snapshot
        console = self._live.console(status.job, snapshot.fields) if snapshot else None
        return self._renderings.templates.job(page, row, transitions, console)
