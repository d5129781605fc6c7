"""Check that AWS permits what this configuration watches: one call of each kind, and a verdict.

Nothing is recorded or sent. A describe needs a job: one that the watch names, or one of the
listing. Without one, it describes a job that cannot exist: the answer "no such job" shows that the
call is permitted.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import anyio

from monitor.aws import credential_source, queues, service_models
from monitor.aws.clients import Clients
from monitor.clock import SystemClock
from monitor.config import Discover
from monitor.errors import PollError, PollReason
from monitor.model import Job, ListingRequest, SourceKey
from monitor.sources.aws_source import AwsSource

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from monitor import config
    from monitor.model import Page, ParentPage
    from monitor.sources.job_type import JobType

T = TypeVar("T")

LOGIN = f"to get AWS credentials: {credential_source.LOGIN}; for one account, accounts.NAME.profile"
ALLOW = "to see what must be allowed: job-monitor iam-policy"
MAKE_QUEUE = "to make the queue: job-monitor hints rule prints a CloudFormation template"
_CALLS_AT_ONCE = 8
_INVENTED = ("job-monitor-doctor", "0", "00000000-0000-0000-0000-000000000000")
"""Ids that no job has; the first that the job type accepts is described."""


class CallOutcome(StrEnum):
    """The outcome of one call; ``unclear`` neither shows nor rules out that it is permitted."""

    OK = "ok"
    FAILED = "failed"
    UNCLEAR = "unclear"


@dataclass(frozen=True, slots=True)
class CheckedCall:
    """One operation in one account and region; ``said`` is one line.

    ``seconds`` is how long the call took, ``None`` where none was made. ``remedy`` says what to do
    where a permission or credentials are missing. The names are those of ``doctor -o json``.
    """

    account: str
    region: str
    operation: str
    outcome: CallOutcome
    said: str
    seconds: float | None = None
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class _Place:
    """The jobs of one type in one account and region; ``job_id`` is one that a watch names."""

    kind: JobType
    account: str
    region: str
    job_id: str | None
    parent: str | None = None


async def check(settings: config.Settings, types: Mapping[str, JobType]) -> Sequence[CheckedCall]:
    """Call each operation that the watches use once, in each account and region.

    Ask each queue of hints for its attributes; that takes no message.
    """
    named: dict[tuple[str, str, str], str | None] = {}
    parents: dict[tuple[str, str, str], str] = {}
    for watch in settings.watches:
        regions = [types[watch.type].region] if types[watch.type].region else watch.regions
        for region in regions:
            key = (watch.type, watch.account, region or "")
            named[key] = named.get(key) or next(iter(watch.jobs), None)
            of = watch.discover.of if isinstance(watch.discover, Discover) else None
            if isinstance(of, list) and of:
                parents.setdefault(key, of[0])
    places = [
        _Place(types[key[0]], key[1], key[2], job, parents.get(key)) for key, job in named.items()
    ]
    calls: list[list[CheckedCall]] = [[] for _ in (*places, *settings.hints)]
    limiter = anyio.CapacityLimiter(_CALLS_AT_ONCE)
    async with Clients(settings.accounts, models=service_models.loader(), patience=None) as clients:

        async def one(place: _Place, found: list[CheckedCall]) -> None:
            async with limiter:
                found += await _check_place(place, clients)

        async with anyio.create_task_group() as tasks:
            for place, found in zip(places, calls, strict=False):
                tasks.start_soon(one, place, found)
            for hint, found in zip(settings.hints, calls[len(places) :], strict=True):
                tasks.start_soon(_check_queue, hint, clients, found)
    return [call for found in calls for call in found]


async def _check_place(place: _Place, clients: Clients) -> Sequence[CheckedCall]:
    source = AwsSource(place.kind, place.account, place.region, clients, SystemClock())
    tried = partial(clients.tried, source.key)
    calls: list[CheckedCall] = []
    job_id = place.job_id
    parent, kind = place.parent, place.kind
    at = (place.account, place.region)
    if kind.parents:
        shown, call = await _call(at, kind.parents.operation, partial(source.parents, None), tried)
        if shown is not None:
            parent = parent or next(iter(shown.names), None)
            call = replace(call, said=_counted(len(shown.names), kind.parent or "parent", shown))
        calls.append(call)
    # Two listings of one operation differ in a filter, which needs no other permission.
    listings = {one.operation: (number, one) for number, one in enumerate(kind.listings)}
    for number, listing in listings.values():
        if listing.parent and parent is None:
            said = f"no {listing.parent} is known here, so no jobs can be listed"
            call = CheckedCall(
                place.account, place.region, listing.operation, CallOutcome.UNCLEAR, said
            )
        else:
            request = ListingRequest(number, parent if listing.parent else None)
            page, call = await _call(
                at, listing.operation, partial(source.page, None, request), tried
            )
            if page is not None:
                call = replace(call, said=_counted(len(page.rows), "job", page))
                job_id = job_id or (page.rows[0].job.id if page.rows else None)
        calls.append(call)
    operation = place.kind.describe_operation
    described = job_id or next(filter(place.kind.accepts_id, _INVENTED), None)
    if described is None:
        said = "no job's id is known here; name one in the watch"
        unclear = CallOutcome.UNCLEAR
        return [*calls, CheckedCall(place.account, place.region, operation, unclear, said)]
    job = Job(place.kind.name, place.account, place.region, described)
    describe = partial(source.describe, job)
    _, call = await _call(at, operation, describe, tried, invented=job_id is None)
    return [*calls, call if call.said else replace(call, said=f"found job {described}")]


async def _check_queue(hint: config.Hint, clients: Clients, found: list[CheckedCall]) -> None:
    at = queues.address(hint.queue_url, hint.region)
    if at is None:
        return  # validation has reported it
    queue = queues.AwsQueue(hint.account, at, clients, SystemClock().now)
    tried = partial(clients.tried, SourceKey("sqs", hint.account, at.region))
    place = (hint.account, at.region)
    waiting, call = await _call(place, "GetQueueAttributes", queue.waiting, tried)
    if waiting is not None:
        call = replace(call, said=f"queue {at.name} has about {waiting} hints")
    elif call.said.startswith(_WORDS[PollReason.MISSING]):
        call = replace(call, said=f"there is no queue {at.name}", remedy=MAKE_QUEUE)
    found.append(call)


def _counted(count: int, what: str, page: Page | ParentPage) -> str:
    more = " on the first page" if page.next_token is not None or page.torn else ""
    return f"{count} {what}{'' if count == 1 else 's'}{more}"


async def _call(
    place: tuple[str, str],
    operation: str,
    send: Callable[[], Awaitable[T]],
    tried: Callable[[], credential_source.CredentialSearch | None],
    *,
    invented: bool = False,
) -> tuple[T | None, CheckedCall]:
    """Call once; return the answer, if there is one, and the outcome."""
    began, remedy, answer = time.monotonic(), "", None
    outcome, said = CallOutcome.OK, ""
    try:
        answer = await send()
    except PollError as error:
        outcome, said = _judge(error, invented=invented)
        if outcome is CallOutcome.FAILED and error.of_credentials:
            remedy = LOGIN
        elif outcome is CallOutcome.FAILED:
            searched = tried()
            remedy = (searched and credential_source.remedy(error.code, searched)) or ALLOW
    took = round(time.monotonic() - began, 3)
    return answer, CheckedCall(*place, operation, outcome, said, took, remedy)


_WORDS = {
    PollReason.AUTH: "denied",
    PollReason.CONFIG: "refused",
    PollReason.INTERNAL: "a fault of this program",
    PollReason.MALFORMED: "unreadable answer",
    PollReason.MISSING: "AWS knows no job of this name",
    PollReason.THROTTLE: "throttled just now",
    PollReason.TRANSIENT: "no answer",
    PollReason.UNAVAILABLE: "unavailable",
}
# Some services check the request before they check who sends it.
_UNCLEAR_WHERE_INVENTED = frozenset({PollReason.CONFIG, PollReason.THROTTLE})


def _judge(error: PollError, *, invented: bool) -> tuple[CallOutcome, str]:
    if invented and error.reason is PollReason.MISSING:
        return CallOutcome.OK, "AWS answers that an invented job does not exist"
    shown = ": ".join(filter(None, (error.code, error.hint)))
    said = f"{_WORDS[error.reason]} ({shown})" if shown else _WORDS[error.reason]
    unclear = _UNCLEAR_WHERE_INVENTED if invented else {PollReason.THROTTLE}
    return (CallOutcome.UNCLEAR if error.reason in unclear else CallOutcome.FAILED), said
