"""HTTP servers on the running loop."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager

from aiohttp import web

from monitor.simulator import sockets

MAX_BODY = 16 * 2**20
# Handlers that hang on purpose are not worth waiting for.
_SHUTDOWN = 0.1


def application(
    handle: Callable[[web.Request], Awaitable[web.StreamResponse]],
    routes: Iterable[web.RouteDef] = (),
) -> web.Application:
    """Return an application that serves the routes, and everything else by `handle`."""
    app = web.Application(client_max_size=MAX_BODY)
    app.add_routes(routes)
    app.router.add_route("*", "/{tail:.*}", handle)
    app.on_response_prepare.append(sockets.hide_server)
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
        raise ValueError(f"{text!r} is no HOST:PORT")
    return host.removeprefix("[").removesuffix("]"), int(port)
