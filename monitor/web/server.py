"""Puts an application on a socket, and takes it off again."""

from __future__ import annotations

import asyncio
import errno
import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import anyio
from aiohttp import web

from monitor.errors import ConfigurationError, Problem
from monitor.web.app import harden

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

STOP_WITHIN = 3.0
"""Seconds that requests under way get to finish when the server stops."""
IDLE_TIMEOUT = 75.0
"""Seconds after which a connection that asks nothing is closed."""
LINGER = 1.0
"""Seconds for which a body that nobody wants is read away, so that its sender gets the answer."""

_REMEDIES = {
    errno.EADDRINUSE: ("the port is in use", "stop what uses it, or choose another port"),
    errno.EACCES: ("no permission for this port", "choose a port above 1023"),
    errno.EADDRNOTAVAIL: ("not an address of this machine", "choose one that it has"),
}


@asynccontextmanager
async def serving(app: web.Application, host: str, port: int) -> AsyncIterator[str]:
    """Serve ``app`` and yield the URL that is really bound (port 0: any free one).

    ``host`` is a name or an address, IPv6 with or without brackets; empty: every
    address of the machine.

    Raises:
        ConfigurationError: the address cannot be listened on.
    """
    runner = web.AppRunner(app, handle_signals=False, shutdown_timeout=STOP_WITHIN)
    await runner.setup()
    try:
        listener = await _listen(runner, host.strip("[]"), port)
        try:
            yield _url(listener)
        finally:
            listener.close()
    finally:
        with anyio.CancelScope(shield=True):
            await runner.cleanup()


class _Connection(web.RequestHandler):
    """One connection, which keeps quiet about itself and about what clients do wrong."""

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer what could not be handled; only our own failures are logged."""
        if status < web.HTTPInternalServerError.status_code:
            response: web.StreamResponse = web.Response(status=status, text="Bad request\n")
            response.force_close()
        else:
            response = super().handle_error(request, status, exc, message)
        harden(response)
        return response


async def _listen(runner: web.AppRunner, host: str, port: int) -> asyncio.Server:
    loop = asyncio.get_running_loop()
    server = runner.server
    assert server is not None  # noqa: S101  # the runner has been set up

    def connect() -> _Connection:
        return _Connection(
            server,
            loop=loop,
            access_log=None,  # type: ignore[arg-type]  # None is how to have none
            keepalive_timeout=IDLE_TIMEOUT,
            lingering_time=LINGER,
        )

    try:
        return await loop.create_server(connect, host or None, port)
    except OSError as error:
        raise ConfigurationError([_problem(error, f"{host}:{port}")]) from None


def _problem(error: OSError, address: str) -> Problem:
    if isinstance(error, socket.gaierror):
        why, remedy = "no address is known for this name", "use an address such as 127.0.0.1"
    else:
        why, remedy = _REMEDIES.get(error.errno or 0, ("cannot listen here", "use another address"))
    return Problem("", "server.listen", f"{address}: {why}", remedy)


def _url(listener: asyncio.Server) -> str:
    host, port = listener.sockets[0].getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
