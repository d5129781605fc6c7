"""Looks at AWS: asks once, checks the answer, and names every failure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import anyio
import anyio.to_thread

from monitor.aws import errors
from monitor.aws.clients import Clients, ResponseMeta
from monitor.errors import PollError, PollReason
from monitor.model import Job, Observation, Page, SourceKey
from monitor.sources.response_parser import MalformedError, MissingJobError, Moment, Reader

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from monitor.interfaces import Clock
    from monitor.sources.job_type import JobType

T = TypeVar("T")


class AwsSource:
    """Jobs of one type in one account and region; fits ``interfaces.Source``.

    ``options`` are the watch's: ``include_tracking_number`` keeps it whole.
    ``timeout`` is the deadline of one request in seconds; credentials have their own.
    Both methods raise PollError alone, which carries no text of any answer.
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
        self._reader = Reader(job_type, account, region, options)
        self._clients = clients
        self._clock = clock
        self._timeout = timeout

    @property
    def job_type(self) -> JobType:
        """The type of the jobs it can see."""
        return self._type

    @property
    def key(self) -> SourceKey:
        """The service, account and region that are asked."""
        return self._key

    async def describe(self, job: Job) -> Observation:
        """Ask for one job; an error that is a state is an observation of that part alone."""
        if not self._type.accepts_id(job.id):
            raise PollError(PollReason.CONFIG, "BadId", hint="this cannot be the id of such a job")
        asked_at = self._clock.now()
        describe = self._type.describe

        def read(answer: Mapping[str, Any]) -> Observation:
            return self._reader.observation(job, answer, Moment(asked_at, self._clock.now()))

        try:
            return await self._ask(describe.operation, self._type.params(job.id), read)
        except PollError as error:
            parts = self._type.parts_told_by(error.code)
            if parts is None:
                raise
        return Observation(job, asked_at, self._clock.now(), parts, {})

    async def page(self, token: str | None) -> Page:
        """Ask for one page of the listing, from the start if ``token`` is ``None``.

        The caller must stop at a token that it has had before: AWS promises neither
        an order nor an end.
        """
        listing = self._type.listing
        if listing is None:
            raise PollError(PollReason.CONFIG, "NoListing", hint="this type cannot be listed")
        asked_at = self._clock.now()
        more = {listing.paging.param: token} if listing.paging and token is not None else {}

        def read(answer: Mapping[str, Any]) -> Page:
            moment = Moment(asked_at, self._clock.now())
            return self._reader.page(listing, answer, moment, first=token is None)

        return await self._ask(listing.operation, {**listing.params, **more}, read)

    async def _ask(
        self, operation: str, params: Mapping[str, Any], read: Callable[[Mapping[str, Any]], T]
    ) -> T:
        """Ask once and read the answer.

        The failure is raised outside of the ``except`` block, so that it does not
        carry the SDK's exception as its context: that one may hold the whole body.
        """
        exchange = ResponseMeta()
        try:
            await self._clients.ready(self._key)
            with anyio.fail_after(self._timeout):
                answer = await self._clients.ask(self._key, operation, params, exchange)
                if not exchange.large:
                    return read(answer)
                return await anyio.to_thread.run_sync(read, answer)
        except MissingJobError:
            failure = PollError(PollReason.MISSING, "Absent", status=exchange.status)
        except MalformedError as error:
            failure = errors.malformed(error.code, error.hint, exchange)
        except Exception as error:  # noqa: BLE001  # whatever the SDK raises must end here
            now = self._clock.now()
            failure = errors.failure(error, exchange, operation, self._type.denies, now)
        raise failure
