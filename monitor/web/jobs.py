"""Jobs: the list, one of them, and waiting for one."""

from __future__ import annotations

from collections import Counter
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Annotated, Any, Literal

import anyio
from pydantic import AfterValidator, Field

from monitor.events import timestamp
from monitor.model import Phase, Severity
from monitor.web import answers, asking
from monitor.web.answers import as_json
from monitor.web.asking import Form, Limit, Position, Seconds, Text
from monitor.web.endpoints import Endpoint
from monitor.web.problems import RefusedError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from datetime import datetime

    from aiohttp import web

    from monitor import model
    from monitor.web.asked import FollowedJob, Ledger, Live
    from monitor.web.news import News

LONGEST_WAIT = 600.0
"""Seconds: proxies cut longer requests off; who wants to wait longer asks again."""
MOST_WAITERS = 5000
"""Requests that may wait at once; the next is asked to come again."""


def _label(text: str) -> str:
    if ":" not in text:
        raise ValueError("must be written NAME:VALUE")
    return text


def _known_wait(seconds: float) -> float:
    if seconds > LONGEST_WAIT:
        raise ValueError(f"must be at most {LONGEST_WAIT:.0f}s; ask again to wait longer")
    return seconds


class JobsQuery(Form):
    """Which jobs, in which order; every filter given must fit."""

    q: Text | None = None
    """Text that is in the key, the state, the reason or a label, whatever its case."""
    type: Text | None = None
    """A job type, or a glob on it, such as ``panorama.*``."""
    account: Text | None = None
    """The name of an account."""
    region: Text | None = None
    """An AWS region."""
    phase: list[Phase] = Field(default=[])
    """One of these phases; may be repeated."""
    label: list[Annotated[Text, AfterValidator(_label)]] = Field(default=[])
    """``NAME:VALUE``; may be repeated, and then each must fit."""
    stuck: bool | None = None
    """Those whose state has not changed for too long, or the others."""
    missing: bool | None = None
    """Those that AWS says do not exist any more, or the others."""
    blind: bool | None = None
    """Those of which nothing has been heard for too long, or the others."""
    sort: Literal[
        "key",
        "-key",
        "changed_at",
        "-changed_at",
        "first_seen_at",
        "-first_seen_at",
        "last_look_at",
        "-last_look_at",
        "state",
        "-state",
        "phase",
        "-phase",
    ] = "key"
    """Ascending, or descending with a dash before it."""
    limit: Limit = 100
    """The most jobs on a page."""
    cursor: Text | None = None
    """The ``next_cursor`` of the page before, asked for with the same ``sort``."""


class WaitQuery(Form):
    """What to wait for, and how long."""

    timeout: Annotated[Seconds, AfterValidator(_known_wait)] = 60.0
    """At most 10 minutes."""
    wait_for: Literal["final", "change"] = Field(default="final", alias="for")
    """``final``: it has ended and is looked at no more; ``change``: it has a transition later
    than ``after``."""
    after: Position | None = None
    """The ``sequence`` last known; by default that of the moment of asking."""


class Jobs:
    """The handlers, each a method."""

    def __init__(self, live: Live, ledger: Ledger, news: News) -> None:
        """Answer from these."""
        self._live = live
        self._ledger = ledger
        self._news = news
        self._waiting = 0

    def endpoints(self) -> Sequence[Endpoint]:
        """Return what is offered; the first that fits a path is taken."""
        missing = {404: "No such job is known."}
        path = "/api/v1/jobs/{key}"
        return (
            Endpoint("GET", "/api/v1/jobs", self.list, answers.Jobs, query=JobsQuery),
            Endpoint(
                *("GET", f"{path}/wait", self.wait, answers.JobWait),
                query=WaitQuery,
                problems=missing | {503: "Too many wait already, or the store cannot be used."},
            ),
            Endpoint("GET", path, self.show, answers.JobDetail, problems=missing),
        )

    async def list(self, request: web.Request) -> web.Response:
        """List the followed jobs."""
        asked = asking.query(JobsQuery, request)
        # Ten thousand jobs take a tenth of a second, for which nothing else should wait.
        return await anyio.to_thread.run_sync(self._page, asked)

    def _page(self, asked: JobsQuery) -> web.Response:
        fitting = [job for job in self._live.jobs() if _fits(job, asked)]
        rank = _RANKS[asked.sort.removeprefix("-")]
        found, cursor = asking.page(
            fitting,
            lambda one: (*rank(one), one.job.key),
            sort=asked.sort,
            limit=asked.limit,
            cursor=asked.cursor,
        )
        items = [answers.Job(**facts(one)) for one in found]
        return as_json(answers.Jobs(items=items, next_cursor=cursor, total=len(fitting)))

    async def show(self, request: web.Request) -> web.Response:
        """Show one job, followed or remembered; slashes in its key may be percent-encoded."""
        key = request.match_info["key"]
        found = await self._facts(key)
        change = await self._ledger.last_change(key)
        window = change["data"]["window"] if change else None
        return as_json(answers.JobDetail(**found, window=window))

    async def wait(self, request: web.Request) -> web.Response:
        """Wait until a job has ended, or has changed; answered at once if it is already so.

        Costs no look at AWS, however many wait.
        """
        asked = asking.query(WaitQuery, request)
        key = request.match_info["key"]
        if self._waiting >= MOST_WAITERS:
            raise RefusedError(503, "too many wait already", headers={"Retry-After": "10"})
        self._waiting += 1
        try:
            done, found = await self._wait(key, asked)
        finally:
            self._waiting -= 1
        return as_json(answers.JobWait(done=done, job=answers.Job(**found)))

    async def _wait(self, key: str, asked: WaitQuery) -> tuple[bool, dict[str, Any]]:
        found = await self._facts(key)
        after = found["sequence"] if asked.after is None else asked.after
        with anyio.move_on_after(min(asked.timeout, LONGEST_WAIT)):
            while not _is_done(found, asked.wait_for, after) and not self._news.closed:
                changed = self._news.of(key)
                found = await self._facts(key)
                if not _is_done(found, asked.wait_for, after):
                    await changed.wait()
                    found = await self._facts(key)
        return _is_done(found, asked.wait_for, after), found

    async def _facts(self, key: str) -> dict[str, Any]:
        """Return what is known of a job; raise RefusedError if that is nothing."""
        followed = self._live.job(key)
        if followed is not None:
            return facts(followed)
        if "\x00" in key or (snapshot := await self._ledger.snapshot(key)) is None:
            raise RefusedError(404, "no such job is known")
        return remembered(snapshot)


def totals(jobs: Sequence[FollowedJob]) -> dict[str, Any]:
    """Count jobs by how they stand."""
    phases = Counter(_phase(job) for job in jobs)
    return {
        "jobs": len(jobs),
        "phases": {phase: phases[phase] for phase in Phase},
        "stuck": sum(job.stuck for job in jobs),
        "missing": sum(job.missing for job in jobs),
        "blind": sum(job.blind for job in jobs),
    }


def facts(followed: FollowedJob) -> dict[str, Any]:
    """Return what ``answers.Job`` says of a followed job."""
    return {
        **_named(followed.job),
        **_known(followed.snapshot),
        "watch": followed.watch,
        "labels": dict(followed.labels),
        "interval": followed.interval,
        "last_look_at": followed.looked_at,
        "next_look_at": followed.next_look_at,
        "failing": followed.failing.value if followed.failing else None,
        "finished": followed.finished,
        "stuck": followed.stuck,
        "missing": followed.missing,
        "blind": followed.blind,
    }


def remembered(snapshot: model.Snapshot) -> dict[str, Any]:
    """Return what ``answers.Job`` says of a job that no watch follows any more."""
    return {
        **_named(snapshot.job),
        **_known(snapshot),
        "watch": None,
        "labels": {},
        "interval": None,
        "last_look_at": snapshot.looked_at,
        "next_look_at": None,
        "failing": None,
        "finished": True,
        "stuck": False,
        "missing": snapshot.missing,
        "blind": False,
    }


def _named(job: model.Job) -> dict[str, str]:
    return {
        "key": job.key,
        "type": job.type,
        "account": job.account,
        "region": job.region,
        "id": job.id,
    }


_OF_SNAPSHOT = (
    *("state", "reason", "ending"),
    *("first_seen_at", "changed_at", "updated_at", "ended_at"),
)


def _known(snapshot: model.Snapshot | None) -> dict[str, Any]:
    return {
        **{name: getattr(snapshot, name, None) for name in _OF_SNAPSHOT},
        "sequence": snapshot.sequence if snapshot else 0,
        "phase": snapshot.phase if snapshot else Phase.UNKNOWN,
        "severity": snapshot.severity if snapshot else Severity.INFO,
        "fields": dict(snapshot.fields) if snapshot else {},
    }


def _is_done(found: Mapping[str, Any], wanted: str, after: int) -> bool:
    if wanted == "change":
        return bool(found["sequence"] > after)
    return bool(found["finished"] or found["phase"].terminal)


def _phase(job: FollowedJob) -> Phase:
    return job.snapshot.phase if job.snapshot else Phase.UNKNOWN


def _fits(one: FollowedJob, asked: JobsQuery) -> bool:
    flags = ((asked.stuck, one.stuck), (asked.missing, one.missing), (asked.blind, one.blind))
    return (
        (asked.type is None or fnmatchcase(one.job.type, asked.type))
        and asked.account in {None, one.job.account}
        and asked.region in {None, one.job.region}
        and (not asked.phase or _phase(one) in asked.phase)
        and all(wanted in {None, has} for wanted, has in flags)
        and all(_has(one, label) for label in asked.label)
        and (asked.q is None or _mentions(one, asked.q.casefold()))
    )


def _has(one: FollowedJob, label: str) -> bool:
    name, _, value = label.partition(":")
    return one.labels.get(name) == value


def _mentions(one: FollowedJob, text: str) -> bool:
    return any(text in each.casefold() for each in _texts(one))


def _texts(one: FollowedJob) -> Iterator[str]:
    yield one.job.key
    yield from (f"{name}:{value}" for name, value in one.labels.items())
    if one.snapshot:
        yield one.snapshot.state
        yield one.snapshot.reason or ""


def _by_time(read: Callable[[FollowedJob], datetime | None]) -> Callable[[FollowedJob], Any]:
    def rank(one: FollowedJob) -> tuple[str]:
        moment = read(one)
        return (timestamp(moment) if moment else "",)

    return rank


_RANKS: Mapping[str, Callable[[FollowedJob], tuple[Any, ...]]] = {
    "key": lambda _: (),
    "state": lambda one: (one.snapshot.state if one.snapshot else "",),
    "phase": lambda one: (_phase(one).value,),
    "changed_at": _by_time(lambda one: one.snapshot.changed_at if one.snapshot else None),
    "first_seen_at": _by_time(lambda one: one.snapshot.first_seen_at if one.snapshot else None),
    "last_look_at": _by_time(lambda one: one.looked_at),
}
