"""Prepared polls of a source: requests that are sent again and again, and what comes of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime

    from monitor.aws.credential_fetch import FetchedCredentials
    from monitor.aws.fast.connections import RawResponse
    from monitor.aws.fast.request import PreparedRequest
    from monitor.errors import PollError
    from monitor.model import Job, ListingRequest, Observation, Page
    from monitor.sources.aws_source import AwsSource

T = TypeVar("T")


class SentRequest(Generic[T]):
    """A prepared request that was sent at ``asked_at``; has its outcome once ``done`` is called."""

    __slots__ = ("_done", "_outcome", "asked_at", "jobs", "prepared", "used")

    used: FetchedCredentials
    """The credentials that signed it."""
    _outcome: RawResponse | Exception

    def __init__(
        self,
        prepared: Prepared[T],
        asked_at: datetime,
        done: Callable[[SentRequest[T]], None],
        jobs: Sequence[Job] = (),
    ) -> None:
        """``done`` gets this object; ``prepared`` was sent, and describes ``jobs``, if it does."""
        self.prepared = prepared
        self._done = done
        self.asked_at = asked_at
        self.jobs = jobs

    @property
    def digest(self) -> bytes | None:
        """A digest of a plain success without the request id; ``None`` if it must be read."""
        outcome = self._outcome
        if isinstance(outcome, Exception):
            return None
        return self.prepared.request.form.digester.digest(outcome)

    def response(self) -> RawResponse:
        """Return the response, or raise the error that came in place of it."""
        if isinstance(self._outcome, Exception):
            raise self._outcome
        return self._outcome

    async def read(self) -> T:
        """Parse the response; raises PollError alone."""
        return await self.prepared.read(self)

    def arrive(self, outcome: RawResponse | Exception) -> None:
        """Take the outcome."""
        self._outcome = outcome
        self._done(self)


class Prepared(Generic[T]):
    """A request of a source that can be sent at any time."""

    __slots__ = ("_source", "request")

    def __init__(self, source: AwsSource, request: PreparedRequest) -> None:
        """Take a request that shares all that it can with others of the source."""
        self._source = source
        self.request = request

    async def read(self, sent: SentRequest[T]) -> T:
        """Return what came of it."""
        raise NotImplementedError


class PreparedDescribe(Prepared["Mapping[Job, Observation | PollError]"]):
    """The describe of one job, or of a batch; fits ``interfaces.PreparedPoll``."""

    __slots__ = ()

    def send(self, jobs: Sequence[Job], done: Callable[[Any], None]) -> bool:
        """Send it now; ``done`` gets the ``SentRequest``. ``False`` if nothing was sent."""
        source = self._source
        sent = SentRequest(self, source.clock.now(), done, jobs)
        used = self.request.send(source.timeout, sent.arrive, jobs[0].id if len(jobs) == 1 else "")
        if used is None:
            return False
        sent.used = used
        return True

    async def read(
        self, sent: SentRequest[Mapping[Job, Observation | PollError]]
    ) -> Mapping[Job, Observation | PollError]:
        """Return the answer for each job."""
        return await self._source.described(sent.jobs, sent)


class PreparedListing(Prepared["Page"]):
    """One page of a listing; fits ``interfaces.PreparedPage``."""

    __slots__ = ("_of", "_token")

    def __init__(
        self, source: AwsSource, token: str | None, of: ListingRequest, request: PreparedRequest
    ) -> None:
        """``request`` asks for just this page."""
        super().__init__(source, request)
        self._token = token
        self._of = of

    def send(self, done: Callable[[Any], None]) -> bool:
        """Send it now; ``done`` gets the ``SentRequest``. ``False`` if nothing was sent."""
        source = self._source
        sent = SentRequest(self, source.clock.now(), done)
        used = self.request.send(source.timeout, sent.arrive)
        if used is None:
            return False
        sent.used = used
        return True

    async def read(self, sent: SentRequest[Page]) -> Page:
        """Return the page."""
        return await self._source.listed(self._token, self._of, sent)
