"""Ways of leaving a client without a proper answer."""

import asyncio
import socket
import struct

from aiohttp import web

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


async def hide_server(_request: web.Request, response: web.StreamResponse) -> None:
    """Leave out the header that names the library; to be put on `on_response_prepare`."""
    response.headers.popall("Server", None)
