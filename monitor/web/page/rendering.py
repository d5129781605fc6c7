"""What the handlers of all pages share: the status at one moment, and the work in a thread.

A page is gathered and rendered in a thread, one at a time: with ten thousand jobs that takes a
tenth of a second, for which no poll should wait.
"""

from __future__ import annotations

from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, TypeVar, TypeVarTuple, Unpack

import anyio
from aiohttp import hdrs, web

from monitor.web import prefix
from monitor.web.api import jobs
from monitor.web.page import view
from monitor.web.page.render import Templates
from monitor.web.problems import RefusedError

if TYPE_CHECKING:
    from collections.abc import Callable

    from monitor.web.api.routes import Parts
    from monitor.web.auth import Guard

Made = TypeVar("Made")
Values = TypeVarTuple("Values")

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
"""Nothing inline, nothing from elsewhere."""


class Renderings:
    """Gathers and renders, one page at a time."""

    def __init__(self, parts: Parts, guard: Guard) -> None:
        """Show ``parts``, of which nothing is read before a request; ``guard`` says who may act."""
        self.parts = parts
        self._guard = guard
        self._turn = anyio.CapacityLimiter(1)

    @cached_property
    def templates(self) -> Templates:
        """Compile the templates with the first page: that takes a tenth of a start."""
        parts = self.parts
        return Templates(
            prefix.of_url(parts.external_url),
            parts.dashboard_url,
            reloads=parts.reload is not None,
            silencing=parts.quiet is not None,
        )

    async def view_without_store(self) -> view.PageView:
        """Gather what is known without the store."""
        return await self.beside(view.gather, self.parts.live, [], [], self.parts.clock.now())

    async def view(self) -> view.PageView:
        """Gather the status at this moment."""
        ledger = self.parts.ledger
        backlogs, parkings = await ledger.backlog(), await ledger.parkings()
        gather = partial(view.gather, writable=self._guard.can_admit_writers)
        return await self.beside(
            gather, self.parts.live, backlogs, parkings, self.parts.clock.now()
        )

    async def beside(self, make: Callable[[Unpack[Values]], Made], *values: *Values) -> Made:
        """Do the work in a thread."""
        return await anyio.to_thread.run_sync(make, *values, limiter=self._turn)


def rank_after(cursor: str, sort: str) -> tuple[Any, ...] | None:
    """Return the rank after which a page of jobs begins; without a cursor of ours, none.

    Only the API refuses it: a page that somebody kept for long is worth more than an error.
    """
    try:
        return jobs.rank_after(cursor, sort)
    except RefusedError:
        return None


def html(text: str, status: int = 200) -> web.Response:
    """Answer with a page."""
    headers = {"Content-Security-Policy": POLICY}
    response = web.Response(text=text, status=status, content_type="text/html", headers=headers)
    response.headers[hdrs.VARY] = hdrs.ACCEPT_ENCODING
    response.enable_compression()
    return response
