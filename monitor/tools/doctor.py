"""Whether AWS lets this configuration see what it watches: one call of each kind, and a verdict.

Nothing is recorded or sent. A look needs a job: one that the watch names, or one of the listing.
Where there is none it asks for a job that cannot be there; that AWS says so shows that it may ask.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import anyio

from monitor.aws import credential_source, errors, service_models
from monitor.aws.clients import Clients
from monitor.clock import SystemClock
from monitor.errors import PollError, PollReason
from monitor.model import Job
from monitor.sources.aws_source import AwsSource

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from monitor import config
    from monitor.model import Page
    from monitor.sources.job_type import JobType

T = TypeVar("T")

LOGIN = f"to get AWS credentials: {credential_source.LOGIN}; for one account, accounts.NAME.profile"
ALLOW = "what must be allowed: job-monitor iam-policy"
_AT_ONCE = 8
_NOWHERE = ("job-monitor-doctor", "0", "00000000-0000-0000-0000-000000000000")
"""Ids that no job has; the first that the job type accepts is asked for."""


class Outcome(StrEnum):
    """What came of one call; ``unclear`` is neither a yes nor a no."""

    OK = "ok"
    FAILED = "failed"
    UNCLEAR = "unclear"


@dataclass(frozen=True, slots=True)
class Finding:
    """One operation in one account and region; ``said`` is one line.

    ``seconds`` is how long the call took, and absent where none was made. ``remedy`` says what to
    do where the call failed for want of a permission, or of credentials to make it with.
    """

    account: str
    region: str
    operation: str
    outcome: Outcome
    said: str
    seconds: float | None = None
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class _Place:
    """What is asked together: jobs of one type in one account and region."""

    kind: JobType
    account: str
    region: str
    job_id: str | None


async def examine(settings: config.Settings, types: Mapping[str, JobType]) -> Sequence[Finding]:
    """Ask once for each operation that the watches use, in each account and region."""
    found: list[list[Finding]] = []
    limiter = anyio.CapacityLimiter(_AT_ONCE)
    async with Clients(settings.accounts, models=service_models.loader(), patience=None) as clients:

        async def one(place: _Place, findings: list[Finding]) -> None:
            async with limiter:
                findings += await _examined(place, clients)

        async with anyio.create_task_group() as tasks:
            for place in _places(settings, types):
                found.append([])
                tasks.start_soon(one, place, found[-1])
    return [finding for findings in found for finding in findings]


def _places(settings: config.Settings, types: Mapping[str, JobType]) -> Sequence[_Place]:
    """Return each place once, with a job of the first watch there that names any."""
    named: dict[tuple[str, str, str], str | None] = {}
    for watch in settings.watches:
        regions = [types[watch.type].region] if types[watch.type].region else watch.regions
        for region in regions:
            key = (watch.type, watch.account, region or "")
            named[key] = named.get(key) or next(iter(watch.jobs), None)
    return [_Place(types[key[0]], key[1], key[2], job) for key, job in named.items()]


async def _examined(place: _Place, clients: Clients) -> Sequence[Finding]:
    source = AwsSource(place.kind, place.account, place.region, clients, SystemClock())
    tried = partial(clients.tried, source.key)
    findings: list[Finding] = []
    job_id = place.job_id
    if place.kind.list_operation:
        page, finding = await _asked(
            place, place.kind.list_operation, partial(source.page, None), tried
        )
        findings.append(finding if page is None else replace(finding, said=_counted(page)))
        if page is not None and page.rows:
            job_id = job_id or page.rows[0].job.id
    findings.append(await _looked(place, source, job_id, tried))
    return findings


async def _looked(
    place: _Place,
    source: AwsSource,
    job_id: str | None,
    tried: Callable[[], credential_source.Tried | None],
) -> Finding:
    operation = place.kind.describe_operation
    asked = job_id or next(filter(place.kind.accepts_id, _NOWHERE), None)
    if asked is None:
        said = "no job's id is known here; name one in the watch"
        return Finding(place.account, place.region, operation, Outcome.UNCLEAR, said)
    job = Job(place.kind.name, place.account, place.region, asked)
    _, finding = await _asked(
        place, operation, partial(source.describe, job), tried, invented=job_id is None
    )
    return replace(finding, said=f"saw job {asked}") if finding.said == "" else finding


def _remedy(error: PollError, tried: credential_source.Tried | None) -> str:
    if error.of_credentials:
        return LOGIN
    if tried and errors.refuses_credentials(error.code):
        return credential_source.renewal(tried)
    if tried and errors.doubts_signature(error.code):
        return credential_source.signature(tried)
    return ALLOW


async def _asked(
    place: _Place,
    operation: str,
    ask: Callable[[], Awaitable[T]],
    tried: Callable[[], credential_source.Tried | None],
    *,
    invented: bool = False,
) -> tuple[T | None, Finding]:
    """Ask once; return the answer, if there is one, and the finding, which then says nothing."""
    began, remedy = time.monotonic(), ""
    try:
        answer, outcome, said = await ask(), Outcome.OK, ""
    except PollError as error:
        answer, (outcome, said) = None, _judged(error, invented=invented)
        if outcome is Outcome.FAILED:
            remedy = _remedy(error, tried())
    took = round(time.monotonic() - began, 3)
    return answer, Finding(place.account, place.region, operation, outcome, said, took, remedy)


_WORDS = {
    PollReason.AUTH: "denied",
    PollReason.CONFIG: "refused",
    PollReason.INTERNAL: "a fault of this program",
    PollReason.MALFORMED: "unreadable answer",
    PollReason.MISSING: "AWS knows no job of this name",
    PollReason.THROTTLE: "throttled just now",
    PollReason.TRANSIENT: "no answer",
    PollReason.UNAVAILABLE: "not there",
}
# Some services look at what is asked before they look at who asks.
_UNCLEAR_WHERE_INVENTED = frozenset({PollReason.CONFIG, PollReason.THROTTLE})


def _judged(error: PollError, *, invented: bool) -> tuple[Outcome, str]:
    if invented and error.reason is PollReason.MISSING:
        return Outcome.OK, "AWS says that an invented job is not there"
    shown = ": ".join(filter(None, (error.code, error.hint)))
    said = f"{_WORDS[error.reason]} ({shown})" if shown else _WORDS[error.reason]
    unclear = _UNCLEAR_WHERE_INVENTED if invented else {PollReason.THROTTLE}
    return (Outcome.UNCLEAR if error.reason in unclear else Outcome.FAILED), said


def _counted(page: Page) -> str:
    count = len(page.rows)
    more = " on the first page" if page.next_token is not None or page.torn else ""
    return f"{count} job{'' if count == 1 else 's'}{more}"
