"""Puts an application on a socket, and takes it off again."""

from __future__ import annotations

import asyncio
import errno
import socket
from contextlib import ExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any

import anyio
from aiohttp import web

from monitor import logs
from monitor.errors import ConfigurationError, Problem
from monitor.web.app import harden
from monitor.web.web_config import RECHECK

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Mapping

    from monitor.web.web_config import WebConfigFile

STOP_WITHIN = 3.0
"""Seconds that requests under way get to finish when the server stops."""
HANDSHAKE_WITHIN = 15.0
"""Seconds that a client may take to agree on TLS."""
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
async def serving(
    app: web.Application, host: str, port: int, web_config: WebConfigFile | None = None
) -> AsyncIterator[str]:
    """Serve ``app`` and yield the URL that is really bound (port 0: any free one).

    ``host`` is a name or an address, IPv6 with or without brackets; empty: every
    address of the machine. With ``web_config`` new connections follow its changes.

    Raises:
        ConfigurationError: the address cannot be listened on.
    """
    runner = web.AppRunner(app, handle_signals=False, shutdown_timeout=STOP_WITHIN)
    await runner.setup()
    try:
        listener = _Listener(runner, web_config)
        await listener.open(host.strip("[]"), port)
        try:
            async with _following(listener, web_config):
                yield listener.url
        finally:
            listener.close()
    finally:
        with anyio.CancelScope(shield=True):
            await runner.cleanup()


@asynccontextmanager
async def _following(listener: _Listener, web_config: WebConfigFile | None) -> AsyncIterator[None]:
    """Look for changes of the file beside the body, whose errors come out as they are."""
    if web_config is None:
        yield
        return
    task = asyncio.create_task(_follow(listener, web_config), name="follow web_config_file")
    try:
        yield
    finally:
        task.cancel()
        with anyio.CancelScope(shield=True):
            await asyncio.wait([task])


async def _follow(listener: _Listener, web_config: WebConfigFile) -> None:
    """Let each change take effect; what cannot be done now is tried again, for as long as it takes.

    The lack of a descriptor or a thread passes, and would otherwise end in an outdated certificate.
    """
    log = logs.get()
    behind = failing = False
    while True:
        await anyio.sleep(RECHECK)
        try:
            behind = await web_config.refresh() or behind
            if behind:
                await listener.renew()
        except Exception:  # the loop's net: nobody awaits this task
            if not failing:
                log.exception(logs.WEB_CONFIG_FAILING)
            failing = True
            continue
        if failing:
            log.info(logs.WEB_CONFIG_RECOVERED)
        behind = failing = False


class _Listener:
    """The listening sockets, and what they do with a new connection."""

    def __init__(self, runner: web.AppRunner, web_config: WebConfigFile | None) -> None:
        assert runner.server is not None  # noqa: S101  # the runner has been set up
        self._server = runner.server
        self._web_config = web_config
        self._listening: list[asyncio.Server] = []
        self.url = ""

    async def open(self, host: str, port: int) -> None:
        loop = asyncio.get_running_loop()
        try:
            listening = await loop.create_server(
                self._connect, host or None, port, **self._security()
            )
        except OSError as error:
            raise ConfigurationError([_problem(error, f"{host}:{port}")]) from None
        self._listening = [listening]
        self.url = _url(listening, secure=self._tls is not None)

    async def renew(self) -> None:
        """Let new connections have the present certificate; those there are go on.

        The sockets stay the same, so that no connection is refused meanwhile.

        Raises:
            OSError: it cannot be done now, and all is as before.
        """
        if self._tls is None:
            return
        before = self._listening
        with ExitStack() as undo:
            new = [
                await self._listen_too(each, undo) for server in before for each in server.sockets
            ]
            undo.pop_all()
        self._listening = new
        for server in before:
            server.close()

    async def _listen_too(self, bound: socket.socket, undo: ExitStack) -> asyncio.Server:
        """Listen once more where ``bound`` does; ``undo`` learns how to end that."""
        loop = asyncio.get_running_loop()
        own = bound.dup()
        undo.callback(own.close)
        server = await loop.create_server(self._connect, sock=own, **self._security())
        undo.callback(server.close)
        return server

    def close(self) -> None:
        for server in self._listening:
            server.close()

    @property
    def _tls(self) -> ssl.SSLContext | None:
        return self._web_config.loaded.tls if self._web_config else None

    def _security(self) -> dict[str, Any]:
        return {"ssl": self._tls, "ssl_handshake_timeout": HANDSHAKE_WITHIN} if self._tls else {}

    def _connect(self) -> _Connection:
        return _Connection(
            self._server,
            sans=self._web_config.loaded.sans if self._web_config else frozenset(),
            loop=asyncio.get_running_loop(),
            access_log=None,
            keepalive_timeout=IDLE_TIMEOUT,
            lingering_time=LINGER,
        )


class _Connection(web.RequestHandler):
    """One connection, which keeps quiet about itself and about what clients do wrong."""

    __slots__ = ("_sans",)

    def __init__(self, server: web.Server, *, sans: frozenset[str], **settings: Any) -> None:
        super().__init__(server, **settings)
        self._sans = sans

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Go on, unless the client's certificate is none of those that may come in."""
        super().connection_made(transport)
        if self._sans and not self._sans & _names(transport.get_extra_info("peercert")):
            self.force_close()

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


def _problem(error: OSError, address: str) -> Problem:
    if isinstance(error, socket.gaierror):
        why, remedy = "no address is known for this name", "use an address such as 127.0.0.1"
    else:
        why, remedy = _REMEDIES.get(error.errno or 0, ("cannot listen here", "use another address"))
    return Problem("", "server.listen", f"{address}: {why}", remedy)


def _names(certificate: Mapping[str, Any] | None) -> frozenset[str]:
    """Return the names in a certificate: DNS names, addresses, emails and URIs."""
    return frozenset(value for _, value in (certificate or {}).get("subjectAltName", ()))


def _url(listener: asyncio.Server, *, secure: bool) -> str:
    host, port = listener.sockets[0].getsockname()[:2]
    scheme = "https" if secure else "http"
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"
