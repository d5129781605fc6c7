"""The path in ``server.external_url``: where users find the monitor behind a reverse proxy.

A proxy may strip it from requests or not, so every path is served with it and without it. What the
page, the API's description and the scripts point to always has it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from aiohttp import web

if TYPE_CHECKING:
    from collections.abc import Iterable

KEY = web.AppKey("prefix", str)
"""The prefix of an application: empty, or a path without a slash at its end."""


def of_url(external_url: str | None) -> str:
    """Return the path of a validated URL, without a slash at its end."""
    return urlsplit(external_url or "").path.rstrip("/")


def served(prefix: str, routes: Iterable[web.RouteDef]) -> list[web.RouteDef]:
    """Return the routes, and each of them behind the prefix."""
    plain = list(routes)
    if not prefix:
        return plain
    behind = [(prefix + each.path, each) for each in plain]
    # Whoever types the address leaves out the last slash.
    behind += [(prefix, each) for each in plain if each.path == "/"]
    again = [web.RouteDef(each.method, path, each.handler, each.kwargs) for path, each in behind]
    return [*plain, *again]


def without(request: web.Request) -> str:
    """Return the path of a request as if there were no prefix."""
    prefix = request.config_dict.get(KEY, "")
    if prefix and request.path.startswith(f"{prefix}/"):
        return request.path.removeprefix(prefix)
    return request.path
