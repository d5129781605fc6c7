"""The two paths to AWS: the same source, polled by the SDK or by prepared requests."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from monitor.errors import PollError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from monitor.interfaces import PageResponse, PollResponse
    from monitor.model import Job, ListingRequest, Observation, Page
    from monitor.sources.aws_source import AwsSource

PATHS = ("plain", "fast")


async def sent(prepared: Any, *jobs: Sequence[Job]) -> Any:
    """Send a prepared poll of jobs, or a page, and return its response."""
    outcome: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    assert prepared.send(*jobs, outcome.set_result)
    return await outcome


class FastSource:
    """A source whose every poll is prepared anew, and which never takes the plain path."""

    def __init__(self, source: AwsSource) -> None:
        self.source = source
        self.plain = 0
        """Polls that could not be prepared."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self.source, name)

    async def describe(self, job: Job) -> Observation:
        answer = (await self.describe_many([job]))[job]
        if isinstance(answer, PollError):
            raise answer
        return answer

    async def describe_many(self, jobs: Sequence[Job]) -> Mapping[Job, Observation | PollError]:
        prepared = await self.source.prepare(jobs)
        if prepared is None:
            self.plain += 1
            return await self.source.describe_many(jobs)
        response: PollResponse = await sent(prepared, jobs)
        return await response.read()

    async def page(self, token: str | None, *of: ListingRequest) -> Page:
        prepared = await self.source.prepare_page(token, *of)
        if prepared is None:
            self.plain += 1
            return await self.source.page(token, *of)
        response: PageResponse = await sent(prepared)
        return await response.read()
