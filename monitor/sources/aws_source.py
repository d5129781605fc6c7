"""The source that polls AWS: one request, a checked response, and a reason for each failure."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import anyio
import anyio.to_thread

from monitor.aws import errors
from monitor.aws.clients import ResponseMeta
from monitor.errors import PollError, PollReason
from monitor.model import Job, ListingRequest, Observation, Page, ParentPage, SourceKey
from monitor.sources.job_type import filled
from monitor.sources.prepared import PreparedDescribe, PreparedListing
from monitor.sources.response_parser import (
    JobError,
    MalformedError,
    MissingJobError,
    PollTimes,
    ResponseParser,
    UnprocessedJobError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from monitor.aws.credential_fetch import FetchedCredentials
    from monitor.aws.fast.connections import RawResponse
    from monitor.aws.fast.request import PreparedRequest
    from monitor.interfaces import Clock
    from monitor.sources.job_type import JobType, Paging
    from monitor.sources.prepared import SentRequest

T = TypeVar("T")

FIRST_LISTING = ListingRequest()
"""The only listing of most types, from the start of time."""

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
"""Older than any job."""


class AwsCalls(Protocol):
    """The clients of a source: ``aws.clients.Clients``, or answers that somebody gives."""

    async def ready(self, source: SourceKey) -> None:
        """Wait until there are credentials for ``source``."""
        ...

    async def ask(
        self, source: SourceKey, operation: str, params: Mapping[str, Any], exchange: ResponseMeta
    ) -> Mapping[str, Any]:
        """Send one request and return its parsed response, or raise what the SDK raises."""
        ...

    async def prepare(
        self, source: SourceKey, operation: str, params: Mapping[str, Any], job_id: str = ""
    ) -> PreparedRequest | None:
        """Serialise a request once; ``None`` if it can only be asked. Raises what the SDK does.

        One for the job ``job_id`` alone may be the same object for many jobs.
        """
        ...

    async def parse(
        self,
        source: SourceKey,
        request: PreparedRequest,
        response: RawResponse,
        exchange: ResponseMeta,
        used: FetchedCredentials,
        params: Callable[[], Mapping[str, Any]],
    ) -> Mapping[str, Any]:
        """Return the parsed response to a prepared request, or raise what the SDK raises."""
        ...


class AwsSource:
    """Jobs of one type in one account and region; fits ``interfaces.Source``.

    ``options`` are the watch's: ``include_tracking_number`` keeps it whole.
    ``timeout`` is the deadline of one request in seconds; credentials have their own.
    Every method raises PollError alone, which carries no text of any response.
    """

    def __init__(
        self,
        job_type: JobType,
        account: str,
        region: str,
        clients: AwsCalls,
        clock: Clock,
        *,
        options: frozenset[str] = frozenset(),
        timeout: float = 30.0,
    ) -> None:
        """``region`` does not matter for a type with one global endpoint."""
        region = job_type.region or region
        self._type = job_type
        self._key = SourceKey(job_type.service, account, region)
        self._parser = ResponseParser(job_type, account, region, options)
        self._clients = clients
        self.clock = clock
        """The source of the times in its observations."""
        self.timeout = timeout
        """Seconds that one request may take."""
        self._describe: PreparedDescribe | None = None

    @property
    def job_type(self) -> JobType:
        """The type of the jobs that it polls."""
        return self._type

    @property
    def key(self) -> SourceKey:
        """The service, account and region that it polls."""
        return self._key

    async def describe(self, job: Job) -> Observation:
        """Poll one job; an error that stands for a state gives an observation of it."""
        answer = (await self.describe_many([job]))[job]
        if isinstance(answer, PollError):
            raise answer
        return answer

    async def describe_many(self, jobs: Sequence[Job]) -> Mapping[Job, Observation | PollError]:
        """Poll jobs in one request, at most ``at_once`` of one ``request_key``.

        Each has its own answer; PollError is raised where the whole request fails.
        """
        if not all(self._type.accepts_id(job.id) for job in jobs):
            raise PollError(PollReason.CONFIG, "BadId", hint="this cannot be the id of such a job")
        return await self.described(jobs)

    async def described(
        self, jobs: Sequence[Job], sent: SentRequest[Any] | None = None
    ) -> Mapping[Job, Observation | PollError]:
        """Describe jobs, by what came of a prepared request if one is ``sent`` already."""
        asked_at = sent.asked_at if sent else self.clock.now()
        exchange = ResponseMeta()

        def parse(response: Mapping[str, Any]) -> dict[Job, Observation | PollError]:
            times = PollTimes(asked_at, self.clock.now())
            found = self._parser.observations(jobs, response, times)
            return {job: _failure(answer, exchange) for job, answer in found}

        def params() -> Mapping[str, Any]:
            return self._type.params(*(job.id for job in jobs))

        operation = self._type.describe.operation
        try:
            return await self._request(operation, params, parse, exchange, sent)
        except PollError as error:
            # One id may be at fault for the error of all, so it is the state of none of several.
            parts = self._type.parts_from_error(error.code) if len(jobs) == 1 else None
            if parts is None:
                raise
        seen_at = self.clock.now()
        return {job: Observation(job, asked_at, seen_at, parts, {}) for job in jobs}

    async def prepare(self, jobs: Sequence[Job]) -> PreparedDescribe | None:
        """Prepare the describe of such jobs; ``None`` if it cannot be prepared."""
        if not all(self._type.accepts_id(job.id) for job in jobs):
            return None
        params = self._type.params(*(job.id for job in jobs))
        job_id = jobs[0].id if len(jobs) == 1 else ""
        request = await self._prepared(self._type.describe.operation, params, job_id)
        if request is None:
            return None
        # As a rule, all jobs have the same request.
        if self._describe is None or self._describe.request is not request:
            self._describe = PreparedDescribe(self, request)
        return self._describe

    async def page(self, token: str | None, of: ListingRequest = FIRST_LISTING) -> Page:
        """Poll one page of a listing, the first if ``token`` is ``None``.

        The caller must stop at a token that repeats: AWS promises neither an order nor an end.
        """
        if of.number >= len(self._type.listings):
            raise PollError(PollReason.CONFIG, "NoListing", hint="this type cannot be listed")
        return await self.listed(token, of)

    async def listed(
        self, token: str | None, of: ListingRequest, sent: SentRequest[Any] | None = None
    ) -> Page:
        """Return a page, by what came of a prepared request if one is ``sent`` already."""
        listing = self._type.listings[of.number]
        asked_at = sent.asked_at if sent else self.clock.now()

        def parse(response: Mapping[str, Any]) -> Page:
            times = PollTimes(asked_at, self.clock.now())
            return self._parser.page(
                listing, response, times, first=token is None, parent=of.parent
            )

        def params() -> Mapping[str, Any]:
            return self._page_params(token, of)

        return await self._request(listing.operation, params, parse, ResponseMeta(), sent)

    async def prepare_page(
        self, token: str | None, of: ListingRequest = FIRST_LISTING
    ) -> PreparedListing | None:
        """Prepare one page of a listing; ``None`` if it cannot be prepared."""
        if of.number >= len(self._type.listings):
            return None
        operation = self._type.listings[of.number].operation
        request = await self._prepared(operation, self._page_params(token, of))
        return PreparedListing(self, token, of, request) if request else None

    def _page_params(self, token: str | None, of: ListingRequest) -> Mapping[str, Any]:
        listing = self._type.listings[of.number]
        since = of.since or EPOCH
        values = {
            "since": since.isoformat(timespec="seconds").replace("+00:00", "Z"),
            "since_ms": str(int(since.timestamp() * 1000)),
            **({listing.parent: of.parent} if listing.parent and of.parent else {}),
        }
        return {**filled(listing.params, values), **_token(listing.paging, token)}

    async def parents(self, token: str | None) -> ParentPage:
        """Poll one page of the parents of jobs, the first if ``token`` is ``None``."""
        form = self._type.parents
        if form is None:
            raise PollError(PollReason.CONFIG, "NoListing", hint="parents cannot be listed")

        def parse(response: Mapping[str, Any]) -> ParentPage:
            return self._parser.parents(form, response)

        def params() -> Mapping[str, Any]:
            return {**form.params, **_token(form.paging, token)}

        return await self._request(form.operation, params, parse, ResponseMeta())

    async def _prepared(
        self, operation: str, params: Mapping[str, Any], job_id: str = ""
    ) -> PreparedRequest | None:
        """Prepare a request; ``None`` where that fails, as the plain path then says why."""
        try:
            await self._clients.ready(self._key)
            return await self._clients.prepare(self._key, operation, params, job_id)
        except Exception:  # noqa: BLE001  # whatever the SDK raises, as in ``_request``
            return None

    async def _request(
        self,
        operation: str,
        params: Callable[[], Mapping[str, Any]],
        parse: Callable[[Mapping[str, Any]], T],
        exchange: ResponseMeta,
        sent: SentRequest[Any] | None = None,
    ) -> T:
        """Send one request, unless it is ``sent`` already, and parse its response."""
        try:
            if sent is None:
                # Credentials have a deadline of their own, so they are not part of the request's.
                await self._clients.ready(self._key)
            with anyio.fail_after(self.timeout):
                response: Mapping[str, Any]
                if sent is None:
                    response = await self._clients.ask(self._key, operation, params(), exchange)
                else:
                    response = await self._clients.parse(
                        self._key,
                        sent.prepared.request,
                        sent.response(),
                        exchange,
                        sent.used,
                        params,
                    )
                if not exchange.large:
                    return parse(response)
                return await anyio.to_thread.run_sync(parse, response)
        except MalformedError as error:
            failure = errors.malformed(error.code, error.hint, exchange)
        except Exception as error:  # noqa: BLE001  # whatever the SDK raises must end here
            now = self.clock.now()
            failure = errors.failure(error, exchange, operation, self._type.means_missing, now)
        # Not in the ``except`` block: the SDK's exception, which may hold the whole body, would
        # become the context of this one.
        raise failure


def _failure(answer: Observation | JobError, exchange: ResponseMeta) -> Observation | PollError:
    """Return what an answer about one job is to the loops."""
    match answer:
        case MissingJobError():
            return PollError(PollReason.MISSING, "Absent", status=exchange.status)
        case UnprocessedJobError():
            return PollError(PollReason.TRANSIENT, "Unprocessed", status=exchange.status)
        case MalformedError():
            return errors.malformed(answer.code, answer.hint, exchange)
    return answer


def _token(paging: Paging | None, token: str | None) -> dict[str, str]:
    return {paging.param: token} if paging and token is not None else {}
