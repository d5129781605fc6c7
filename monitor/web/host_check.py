"""The names by which the monitor may be called.

A site can make a name of its own lead to any address. A browser then takes what answers there
for that site, and lets its scripts read it; but it says by which name it asks.
"""

from __future__ import annotations

import re
from ipaddress import ip_address
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from aiohttp import hdrs, web

from monitor.web import problems
from monitor.web.problems import RefusedError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from aiohttp.typedefs import Handler

_HOST = re.compile(
    r"(?:\[(?P<address>[0-9A-Fa-f:.]+)\]|(?P<name>[0-9A-Za-z._-]+))(?::(?P<port>[0-9]{0,5}))?",
    re.ASCII,
)
"""A name or an address, and a port: nobody's user name, as in ``user@host``."""
_LAST_PORT = 65535
_REFUSED = RefusedError(
    421, "the monitor does not answer to this Host; add the name to server.hosts"
)


class Hosts:
    """Answers only to names that are known."""

    def __init__(self, names: Iterable[str] = ()) -> None:
        """Without any, answer to every name."""
        self._names = frozenset(_plain(name) for name in names if name)

    @web.middleware
    async def middleware(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Answer nothing at all to who calls the monitor by another name."""
        if not self._names or all(map(self._are_mine, _called(request))):
            return await handler(request)
        if problems.concerns(request):
            return problems.answer(_REFUSED)
        return web.Response(status=_REFUSED.status, text=f"{_REFUSED.detail}\n")

    def _are_mine(self, host: str) -> bool:
        """Return True if ``Host`` is fine: an address cannot be rebound to another host."""
        found = _HOST.fullmatch(host)
        if found is None or int(found["port"] or 0) > _LAST_PORT:
            return False
        name = _plain(found["address"] or found["name"])
        if name == "localhost" or name in self._names:
            return True
        try:
            ip_address(name)
        except ValueError:
            return False
        return True


def _called(request: web.Request) -> list[str]:
    """Return every name that a request calls the monitor by.

    A target such as ``http://name/path`` names it too. Of several ``Host`` headers, which no
    client sends, another program on the way may have gone by another one than we would.
    """
    hosts = request.headers.getall(hdrs.HOST, [])
    target = request.raw_path
    if target.startswith("/") or target == "*":
        return hosts if len(hosts) <= 1 else [""]
    try:
        return [urlsplit(target).netloc, *hosts]
    except ValueError:
        return [""]


def _plain(name: str) -> str:
    return name.lower().removesuffix(".")
