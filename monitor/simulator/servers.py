"""HTTP servers on the running loop."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager

from aiohttp import web

MAX_BODY = 16 * 2**20
# Handlers that hang on purpose are not worth waiting for.
_SHUTDOWN = 0.1


# With a linger time of zero, closing sends RST instead of FIN.
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


def reset(request: web.Request) -> web.Response:
    """Reset the request's connection; the response returned goes nowhere."""
    transport = request.transport
    if transport is not None:
        connection = transport.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        transport.abort()
    return web.Response()


async def hang() -> web.Response:
    """Wait until the client leaves or the server stops, both of which cancel the handler."""
    await asyncio.Event().wait()
    raise AssertionError("nobody sets the event")


async def cut(request: web.Request, response: web.Response) -> web.StreamResponse:
    """Send the head of a response and half of its body, then close the connection."""
    body = response.body if isinstance(response.body, bytes) else b""
    broken = web.StreamResponse(status=response.status, headers=response.headers)
    broken.content_length = len(body)
    await broken.prepare(request)
    await broken.write(body[: len(body) // 2])
    if request.transport is not None:
        request.transport.close()
    return broken


async def _hide_server(_request: web.Request, response: web.StreamResponse) -> None:
    """Leave out the header that names the library; to be put on `on_response_prepare`."""
    response.headers.popall("Server", None)


def application(
    handle: Callable[[web.Request], Awaitable[web.StreamResponse]],
    routes: Iterable[web.RouteDef] = (),
) -> web.Application:
    """Return an application that serves the routes, and everything else by `handle`."""
    app = web.Application(client_max_size=MAX_BODY)
    app.add_routes(routes)
    app.router.add_route("*", "/{tail:.*}", handle)
    app.on_response_prepare.append(_hide_server)
    return app


@asynccontextmanager
async def serving(app: web.Application, host: str, port: int) -> AsyncIterator[str]:
    """Serve the application and give its URL; port 0 takes a free one."""
    runner = web.AppRunner(
        app,
        access_log=None,
        # A handler ends when its client leaves: hanging ones would pile up otherwise.
        handler_cancellation=True,
        shutdown_timeout=_SHUTDOWN,
    )
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
        bound = runner.addresses[0][1]
        yield f"http://{f'[{host}]' if ':' in host else host}:{bound}"
    finally:
        await runner.cleanup()


def address(text: str) -> tuple[str, int]:
    """Read HOST:PORT; an IPv6 host stands in brackets.

    Raises:
        ValueError: it is none.
    """
    host, colon, port = text.rpartition(":")
    if not (colon and host and port.isdecimal() and int(port) < 2**16):
        raise ValueError(f"{text!r} is not HOST:PORT")
    return host.removeprefix("[").removesuffix("]"), int(port)
