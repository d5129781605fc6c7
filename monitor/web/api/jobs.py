"""Endpoints for jobs: list them, show one, wait for one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

import anyio
from pydantic import AfterValidator, Field

from monitor.web.api import archived_jobs, job_schemas, params
from monitor.web.api.endpoint import Endpoint, as_json
from monitor.web.api.forms import ODD
from monitor.web.api.job_filters import JobsQuery
from monitor.web.api.job_schemas import JobView
from monitor.web.api.params import Form, Position, Seconds
from monitor.web.problems import RefusedError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from aiohttp import web

    from monitor.web.interfaces import Ledger, Live
    from monitor.web.notifier import News

LONGEST_WAIT = 600.0
"""Seconds: proxies cut longer requests off; to wait longer, repeat the request."""
MOST_WAITERS = 5000
"""Requests that may wait at once; further ones get 503. They also may not take more than half of
all connections, so that some are left for others."""
POLL_WITHIN = 10.0
"""Seconds within which a poll that somebody asks for is answered, over or not."""
NOTICE_GONE = 5.0
"""Seconds within which a request ends whose client has disconnected."""

_LATEST = 253402300800.0
"""The first second of the year 10000."""
_RANK_TYPES: Mapping[str, list[type]] = {
    "key": [str],
    "phase": [str, str],
    "state": [str, str],
    **{name: [float, str] for name in ("changed_at", "first_seen_at", "last_look_at")},
}
"""What the rank in a cursor is made of, by the order of the list."""


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
            Endpoint("GET", "/api/v1/jobs", self.list, job_schemas.Jobs, query=JobsQuery),
            Endpoint(
                *("GET", f"{path}/wait", self.wait, job_schemas.JobWait),
                query=WaitQuery,
                problems=missing
                | {503: "Too many requests wait already, or the store cannot be used."},
            ),
            Endpoint(
                *("POST", f"{path}/poll", self.poll, job_schemas.JobPoll),
                problems={404: "No watch follows such a job.", 409: "It is no longer polled."},
            ),
            Endpoint("GET", path, self.show, job_schemas.JobDetail, problems=missing),
        )

    async def list(self, request: web.Request) -> web.Response:
        """List the followed jobs; those that have ended may come from the store.

        A search for text goes through a bounded number of those for each page: such a page may
        have fewer jobs than its limit, and a cursor all the same.
        """
        asked = params.query(JobsQuery, request)
        after = None if asked.cursor is None else rank_after(asked.cursor, asked.sort)
        # Ten thousand jobs take a tenth of a second, for which nothing else should wait.
        followed, total = await anyio.to_thread.run_sync(
            lambda: archived_jobs.followed(self._live.jobs(), asked, after), limiter=self._counting
        )
        items, last, total = await archived_jobs.merged(
            self._live, self._ledger.archive, asked, after, followed, total
        )
        page = job_schemas.Jobs(
            items=[JobView.of(one) for one in items],
            next_cursor=None if last is None else params.cursor_after(asked.sort, last),
            total=total,
        )
        return as_json(page)

    async def show(self, request: web.Request) -> web.Response:
        """Show one job, followed or remembered; slashes in its key may be percent-encoded."""
        key = request.match_info["key"]
        found = await self.view(key)
        change = await self._ledger.last_change(key)
        window = change["data"]["window"] if change else None
        return as_json(job_schemas.JobDetail(**dict(found), window=window))

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
            found = await self.view(key)
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
                    found = await self.view(key)
                    if not _is_done(found, asked.wait_for, after):
                        with anyio.move_on_after(NOTICE_GONE):
                            await changed.wait()
                        found = await self.view(key)
        finally:
            self._waiting -= 1
        if found.watch is not None:
            self._waited(found.watch)
        done = _is_done(found, asked.wait_for, after)
        return as_json(job_schemas.JobWait(done=done, job=found))

    async def poll(self, request: web.Request) -> web.Response:
        """Poll a job now, as far as its quota permits, and return the outcome."""
        key = request.match_info["key"]
        if self._live.job(key) is None:
            raise RefusedError(404, "no watch follows such a job")
        outcome = await self._live.poll(key, POLL_WITHIN)
        if outcome is None:
            raise RefusedError(409, "the job has ended and is no longer polled")
        return as_json(job_schemas.JobPoll(outcome=outcome, job=await self.view(key)))

    async def view(self, key: str) -> JobView:
        """Return a job, followed or remembered; raise RefusedError if it is unknown."""
        followed = self._live.job(key)
        if followed is not None:
            return JobView.of(followed)
        if "\x00" in key or (snapshot := await self._ledger.snapshot(key)) is None:
            raise RefusedError(404, "no such job is known")
        archived = self._live.remembered(snapshot) if snapshot.phase.terminal else None
        if archived:
            return JobView.of(archived)
        return JobView.of_snapshot(snapshot, self._live.acknowledgement(key))


def rank_after(cursor: str, sort: str) -> tuple[Any, ...]:
    """Return the rank after which a page of jobs begins.

    Whoever makes a cursor up may write anything: the store can compare with what is returned.
    Times are of years with four digits.

    Raises:
        RefusedError: the cursor is none, or is of another order.
    """
    rank = params.rank_of(cursor, sort)
    if list(map(type, rank)) == _RANK_TYPES[sort.strip("-")] and all(
        0 <= each < _LATEST if isinstance(each, float) else not ODD.search(each) for each in rank
    ):
        return rank
    raise params.no_cursor()


def _is_done(found: JobView, wait_for: str, after: int) -> bool:
    return found.sequence > after if wait_for == "change" else found.terminal
