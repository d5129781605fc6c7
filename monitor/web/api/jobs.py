"""Endpoints for jobs: list them, show one, wait for one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import anyio
from pydantic import AfterValidator, Field

from monitor.web.api import params, schemas
from monitor.web.api.endpoint import Endpoint, as_json
from monitor.web.api.job_filters import RANKS, JobsQuery, fits
from monitor.web.api.params import Form, Position, Seconds
from monitor.web.api.schemas import JobView
from monitor.web.problems import RefusedError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from aiohttp import web

    from monitor.web.interfaces import Ledger, Live
    from monitor.web.notifier import News

LONGEST_WAIT = 600.0
"""Seconds: proxies cut longer requests off; to wait longer, repeat the request."""
MOST_WAITERS = 5000
"""Requests that may wait at once; further ones get 503. They also may not take more than half of
all connections, so that some are left for others."""
NOTICE_GONE = 5.0
"""Seconds within which a request ends whose client has disconnected."""


def _known_wait(seconds: float) -> float:
    if seconds > LONGEST_WAIT:
        raise ValueError(f"must be at most {LONGEST_WAIT:.0f}s; ask again to wait longer")
    return seconds


class WaitQuery(Form):
    """Parameters of a wait."""

    timeout: Annotated[Seconds, AfterValidator(_known_wait)] = 60.0
    """At most 10 minutes."""
    wait_for: Literal["final", "change"] = Field(default="final", alias="for")
    """``final``: until the job has ended; ``change``: until it has a transition after ``after``."""
    after: Position | None = None
    """The last known ``sequence``; by default the present one."""


class JobEndpoints:
    """The handlers."""

    def __init__(
        self,
        live: Live,
        ledger: Ledger,
        news: News,
        counting: anyio.CapacityLimiter,
        connections: int,
        waited: Callable[[str], None] = lambda _watch: None,
    ) -> None:
        """Read from these; ``counting`` limits how many requests go through all jobs at once.

        ``connections`` is the most that there may be; half of them may wait. ``waited`` is called
        with the watch of a job that somebody waits for.
        """
        self._share = max(1, connections // 2)
        self._counting = counting
        self._live = live
        self._ledger = ledger
        self._news = news
        self._waiting = 0
        self._waited = waited

    def endpoints(self) -> Sequence[Endpoint]:
        """Return the endpoints; the first that matches a path is used."""
        missing = {404: "No such job is known."}
        path = "/api/v1/jobs/{key}"
        return (
            Endpoint("GET", "/api/v1/jobs", self.list, schemas.Jobs, query=JobsQuery),
            Endpoint(
                *("GET", f"{path}/wait", self.wait, schemas.JobWait),
                query=WaitQuery,
                problems=missing
                | {503: "Too many requests wait already, or the store cannot be used."},
            ),
            Endpoint("GET", path, self.show, schemas.JobDetail, problems=missing),
        )

    async def list(self, request: web.Request) -> web.Response:
        """List the followed jobs."""
        asked = params.query(JobsQuery, request)
        # Ten thousand jobs take a tenth of a second, for which nothing else should wait.
        return await anyio.to_thread.run_sync(self._page, asked, limiter=self._counting)

    def _page(self, asked: JobsQuery) -> web.Response:
        fitting = [job for job in self._live.jobs() if fits(job, asked)]
        rank = RANKS[asked.sort.removeprefix("-")]
        found, cursor = params.page(
            fitting,
            lambda one: (*rank(one), one.job.key),
            sort=asked.sort,
            limit=asked.limit,
            cursor=asked.cursor,
        )
        items = [JobView.of(one) for one in found]
        return as_json(schemas.Jobs(items=items, next_cursor=cursor, total=len(fitting)))

    async def show(self, request: web.Request) -> web.Response:
        """Show one job, followed or remembered; slashes in its key may be percent-encoded."""
        key = request.match_info["key"]
        found = await self._view(key)
        change = await self._ledger.last_change(key)
        window = change["data"]["window"] if change else None
        return as_json(schemas.JobDetail(**dict(found), window=window))

    async def wait(self, request: web.Request) -> web.Response:
        """Wait until a job has ended or changed; return at once if it has already.

        Waiting costs no poll of AWS, however many requests wait.
        """
        asked = params.query(WaitQuery, request)
        key = request.match_info["key"]
        if self._waiting >= min(MOST_WAITERS, self._share):
            raise RefusedError(503, "too many wait already", headers={"Retry-After": "10"})
        self._waiting += 1
        try:
            found = await self._view(key)
            if found.watch is not None:
                self._waited(found.watch)
            after = found.sequence if asked.after is None else asked.after
            with anyio.move_on_after(min(asked.timeout, LONGEST_WAIT)):
                while not (
                    _is_done(found, asked.wait_for, after)
                    or self._news.closed
                    or request.transport is None
                ):
                    # Take the event first, then read: a change in between sets it.
                    changed = self._news.of(key)
                    self._live.awaited(key, 2 * NOTICE_GONE)
                    found = await self._view(key)
                    if not _is_done(found, asked.wait_for, after):
                        with anyio.move_on_after(NOTICE_GONE):
                            await changed.wait()
                        found = await self._view(key)
        finally:
            self._waiting -= 1
        if found.watch is not None:
            self._waited(found.watch)
        done = _is_done(found, asked.wait_for, after)
        return as_json(schemas.JobWait(done=done, job=found))

    async def _view(self, key: str) -> JobView:
        """Return a job, followed or remembered; raise RefusedError if it is unknown."""
        followed = self._live.job(key)
        if followed is not None:
            return JobView.of(followed)
        if "\x00" in key or (snapshot := await self._ledger.snapshot(key)) is None:
            raise RefusedError(404, "no such job is known")
        return JobView.of_snapshot(snapshot)


def _is_done(found: JobView, wait_for: str, after: int) -> bool:
    return found.sequence > after if wait_for == "change" else found.terminal
