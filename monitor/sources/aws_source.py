"""The source that polls AWS: one request, a checked response, and a reason for each failure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import anyio
import anyio.to_thread

from monitor.aws import errors
from monitor.aws.clients import Clients, ResponseMeta
from monitor.errors import PollError, PollReason
from monitor.model import Job, Observation, Page, SourceKey
from monitor.sources.response_parser import (
    MalformedError,
    MissingJobError,
    PollTimes,
    ResponseParser,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from monitor.interfaces import Clock
    from monitor.sources.job_type import JobType

T = TypeVar("T")


class AwsSource:
    """Jobs of one type in one account and region; fits ``interfaces.Source``.

    ``options`` are the watch's: ``include_tracking_number`` keeps it whole.
    ``timeout`` is the deadline of one request in seconds; credentials have their own.
    Both methods raise PollError alone, which carries no text of any response.
    """

    def __init__(
        self,
        job_type: JobType,
        account: str,
        region: str,
        clients: Clients,
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
        self._clock = clock
        self._timeout = timeout

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
        if not self._type.accepts_id(job.id):
            raise PollError(PollReason.CONFIG, "BadId", hint="this cannot be the id of such a job")
        asked_at = self._clock.now()
        describe = self._type.describe

        def parse(response: Mapping[str, Any]) -> Observation:
            times = PollTimes(asked_at, self._clock.now())
            return self._parser.observation(job, response, times)

        try:
            return await self._request(describe.operation, self._type.params(job.id), parse)
        except PollError as error:
            parts = self._type.parts_from_error(error.code)
            if parts is None:
                raise
        return Observation(job, asked_at, self._clock.now(), parts, {})

    async def page(self, token: str | None) -> Page:
        """Poll one page of the listing, the first if ``token`` is ``None``.

        The caller must stop at a token that repeats: AWS promises neither an order nor an end.
        """
        listing = self._type.listing
        if listing is None:
            raise PollError(PollReason.CONFIG, "NoListing", hint="this type cannot be listed")
        asked_at = self._clock.now()
        more = {listing.paging.param: token} if listing.paging and token is not None else {}

        def parse(response: Mapping[str, Any]) -> Page:
            times = PollTimes(asked_at, self._clock.now())
            return self._parser.page(listing, response, times, first=token is None)

        return await self._request(listing.operation, {**listing.params, **more}, parse)

    async def _request(
        self, operation: str, params: Mapping[str, Any], parse: Callable[[Mapping[str, Any]], T]
    ) -> T:
        """Send one request and parse its response."""
        exchange = ResponseMeta()
        try:
            # Credentials have a deadline of their own, so they are not part of the request's.
            await self._clients.ready(self._key)
            with anyio.fail_after(self._timeout):
                response = await self._clients.ask(self._key, operation, params, exchange)
                if not exchange.large:
                    return parse(response)
                return await anyio.to_thread.run_sync(parse, response)
        except MissingJobError:
            failure = PollError(PollReason.MISSING, "Absent", status=exchange.status)
        except MalformedError as error:
            failure = errors.malformed(error.code, error.hint, exchange)
        except Exception as error:  # noqa: BLE001  # whatever the SDK raises must end here
            now = self._clock.now()
            failure = errors.failure(error, exchange, operation, self._type.means_missing, now)
        # Not in the ``except`` block: the SDK's exception, which may hold the whole body, would
        # become the context of this one.
        raise failure
