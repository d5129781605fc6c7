"""By which names the monitor may be called.

A site can make a name of its own lead to any address. A browser then takes what answers there
for that site, and lets its scripts read it; but it says by which name it asks.
"""

from __future__ import annotations

from ipaddress import ip_address
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from aiohttp import hdrs, web

from monitor.web import problems
from monitor.web.problems import RefusedError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from aiohttp.typedefs import Handler

_REFUSED = RefusedError(421, "the monitor is not called so: server.hosts names what it is called")


class Hosts:
    """Answers only to names that are known."""

    def __init__(self, names: Iterable[str] = ()) -> None:
        """Without any, answer to every name."""
        self._names = frozenset(_plain(name) for name in names if name)

    @web.middleware
    async def middleware(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Answer nothing at all to who calls the monitor by another name."""
        if not self._names or all(map(self._are_mine, request.headers.getall(hdrs.HOST, ()))):
            return await handler(request)
        if problems.concerns(request):
            return problems.answer(_REFUSED)
        return web.Response(status=_REFUSED.status, text=f"{_REFUSED.detail}\n")

    def _are_mine(self, host: str) -> bool:
        """Whether ``Host`` is fine: an address is no name, and leads nowhere else."""
        try:
            name = _plain(urlsplit(f"//{host}").hostname or "")
        except ValueError:
            return False
        return name == "localhost" or name in self._names or _is_address(name)


def _plain(name: str) -> str:
    return name.lower().removesuffix(".")


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True
