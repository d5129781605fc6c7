"""Puts an application on a socket, and takes it off again."""

from __future__ import annotations

import asyncio
import errno
import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import anyio
import anyio.lowlevel
from aiohttp import web

from monitor import logs
from monitor.errors import ConfigurationError, Problem
from monitor.web import listening
from monitor.web.app import harden
from monitor.web.connections import Connections
from monitor.web.web_config import RECHECK

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Coroutine

    from monitor.web.web_config import WebConfigFile

STOP_WITHIN = 3.0
"""Seconds that requests under way get to finish when the server stops."""
HANDSHAKE_WITHIN = 15.0
"""Seconds that a client may take to agree on TLS."""
HEAD_WITHIN = 10.0
"""Seconds that a client may take for the head of a request."""
IDLE_WITHIN = 60.0
"""Seconds after which a connection that asks for nothing is closed."""
TAKEN_WITHIN = 60.0
"""Seconds that a client may take to read an answer."""
SLOW_AFTER = 5.0
"""Seconds after which a client that does not read its answer makes room for others."""
CHECK_EVERY = 1.0
"""Seconds between two checks of these limits."""
ACCEPT_PAUSE = 0.2
"""Seconds until the next try where there was no descriptor for a connection."""
LINGER = 1.0
"""Seconds for which a body that nobody wants is read away, so that its sender gets the answer."""

_SHORT = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}
_REMEDIES = {
    errno.EADDRINUSE: ("the port is in use", "stop what uses it, or choose another port"),
    errno.EACCES: ("no permission for this port", "choose a port above 1023"),
    errno.EADDRNOTAVAIL: ("not an address of this machine", "choose one that it has"),
}
_NO_NAME = ("no address is known for this name", "use an address such as 127.0.0.1")
_NOT_HERE = ("cannot listen here", "use another address")


@asynccontextmanager
async def serving(
    app: web.Application,
    host: str,
    port: int,
    web_config: WebConfigFile | None = None,
    connections: Connections | None = None,
) -> AsyncIterator[str]:
    """Serve ``app`` and yield the URL that is really bound (port 0: any free one).

    ``host`` is a name or an address, IPv6 with or without brackets; empty or ``::``: every
    address of the machine. With ``web_config`` new connections follow its changes.

    Raises:
        ConfigurationError: the address cannot be listened on.
    """
    runner = web.AppRunner(app, handle_signals=False, shutdown_timeout=STOP_WITHIN)
    await runner.setup()
    try:
        listener = _Listener(runner, web_config, connections or Connections())
        await listener.open(host.strip("[]"), port)
        work = listener.tasks()
        # No task group: it would wrap the errors of the body, which come out as they are.
        tasks = [asyncio.create_task(each, name=name) for name, each in work.items()]
        try:
            yield listener.url
        finally:
            for task in tasks:
                task.cancel()
            with anyio.CancelScope(shield=True):
                await asyncio.wait(tasks)
            listener.close()
    finally:
        with anyio.CancelScope(shield=True):
            await runner.cleanup()


async def _follow(web_config: WebConfigFile) -> None:
    """Let each change take effect; what cannot be done now is tried again, for as long as it takes.

    The lack of a descriptor or a thread passes, and would otherwise end in an outdated certificate.
    """
    log = logs.get()
    failing = False
    while True:
        await anyio.sleep(RECHECK)
        try:
            await web_config.refresh()
        except Exception:  # the loop's net: nobody awaits this task
            if not failing:
                log.exception(logs.WEB_CONFIG_FAILING)
            failing = True
            continue
        if failing:
            log.info(logs.WEB_CONFIG_RECOVERED)
        failing = False


class _Listener:
    """The listening sockets, and what they do with a new connection."""

    def __init__(
        self, runner: web.AppRunner, web_config: WebConfigFile | None, connections: Connections
    ) -> None:
        assert runner.server is not None  # noqa: S101  # the runner has been set up
        self._server = runner.server
        self._web_config = web_config
        self._connections = connections
        self._listening: list[socket.socket] = []
        self._greetings: set[asyncio.Task[None]] = set()
        self._log = logs.get()
        self.url = ""

    async def open(self, host: str, port: int) -> None:
        try:
            self._listening = await listening.bind(host, port)
        except OSError as error:
            shown = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
            # A failed DNS lookup has numbers of its own, which mean other things as an errno.
            if isinstance(error, socket.gaierror):
                why, remedy = _NO_NAME
            else:
                why, remedy = _REMEDIES.get(error.errno or 0, _NOT_HERE)
            problem = Problem("", "server.listen", f"{shown}: {why}", remedy)
            raise ConfigurationError([problem]) from None
        # With port 0 the kernel has chosen one, so the URL comes from the socket.
        host, port = self._listening[0].getsockname()[:2]
        scheme = "http" if self._tls is None else "https"
        self.url = f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"

    def tasks(self) -> dict[str, Coroutine[Any, Any, None]]:
        """Return what is to be done while the server runs, by name."""
        work = {f"accept {at}": self._accept(each) for at, each in enumerate(self._listening)}
        work["close what is overdue"] = self._connections.close_overdue(CHECK_EVERY)
        if self._web_config is not None:
            work["follow web_config_file"] = _follow(self._web_config)
        return work

    def close(self) -> None:
        for each in self._listening:
            each.close()
        for greeting in self._greetings:
            greeting.cancel()

    async def _accept(self, bound: socket.socket) -> None:
        """Accept for ever; the lack of a descriptor takes one from who needs it least."""
        loop = asyncio.get_running_loop()
        failing = False
        while True:
            try:
                accepted, _ = await loop.sock_accept(bound)
            except OSError as error:
                if error.errno in _SHORT:
                    if not failing:
                        self._log.warning(logs.ACCEPT_FAILING, error=error.strerror)
                    failing = True
                    self._connections.drop_quietest()
                    await anyio.sleep(ACCEPT_PAUSE)
                continue  # else a client that has gone before it was accepted
            failing = False
            if self._connections.make_room():
                connection = _Connection(
                    self._server,
                    self._connections,
                    sans=self._web_config.loaded.sans if self._web_config else frozenset(),
                    loop=loop,
                    access_log=None,
                    keepalive_timeout=IDLE_WITHIN,
                    lingering_time=LINGER,
                )
                self._connections.add(connection)
                greeting = asyncio.create_task(
                    self._shake_hands(accepted, connection), name="greet"
                )
                connection.greeting = greeting
                # The loop holds tasks weakly: without this set one could vanish half-way.
                self._greetings.add(greeting)
                greeting.add_done_callback(self._greetings.discard)
            else:
                accepted.close()
            # An accept that need not wait does not let others run either.
            await anyio.lowlevel.checkpoint()

    async def _shake_hands(self, accepted: socket.socket, connection: _Connection) -> None:
        loop = asyncio.get_running_loop()
        # Read for each connection, so that a renewed certificate is used from the next one on.
        tls = self._tls
        within = HANDSHAKE_WITHIN if tls else None
        try:
            await loop.connect_accepted_socket(
                lambda: connection, accepted, ssl=tls, ssl_handshake_timeout=within
            )
        except (OSError, asyncio.CancelledError):
            # What is wrong with a handshake is its client's trouble. A cancelled greeting is
            # one that had to give way.
            self._connections.discard(connection)
            accepted.close()

    @property
    def _tls(self) -> ssl.SSLContext | None:
        return self._web_config.loaded.tls if self._web_config else None


class _Connection(web.RequestHandler):
    """One connection, which keeps quiet about itself and about what clients do wrong."""

    __slots__ = (
        "_answering",
        "_connections",
        "_head_since",
        "_sans",
        "_since",
        "_wire",
        "greeting",
    )

    def __init__(
        self,
        server: web.Server,
        connections: Connections,
        *,
        sans: frozenset[str],
        loop: asyncio.AbstractEventLoop,
        **settings: Any,
    ) -> None:
        super().__init__(server, loop=loop, **settings)
        self._connections = connections
        self._sans = sans
        self._since = loop.time()
        self._head_since: float | None = None
        self._answering = False
        self._wire: asyncio.Transport | None = None
        self.greeting: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Go on, unless the client's certificate is none of those that may come in."""
        super().connection_made(transport)
        self._wire = self.transport
        self._since = self._head_since = self._loop.time()
        # DNS names, addresses, emails and URIs alike: the list names any of them.
        certificate = transport.get_extra_info("peercert") or {}
        names = {value for _, value in certificate.get("subjectAltName", ())}
        if self._sans and not self._sans & names:
            self.force_close()

    def connection_lost(self, exc: BaseException | None) -> None:
        """Make room for another one."""
        self._connections.discard(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Note when the head of a request begins and ends."""
        before = self._request_count
        super().data_received(data)
        if self._request_count > before:
            self._since, self._head_since = self._loop.time(), None
        elif self._head_since is None and not self._request_in_progress:
            self._head_since = self._loop.time()

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        """Note since when it is the client that has to take the answer."""
        self._since, self._answering = self._loop.time(), True
        try:
            return await super().finish_response(request, resp, start_time)
        finally:
            self._since, self._answering = self._loop.time(), False

    @property
    def quiet_since(self) -> float | None:
        """Return since when the client sends nothing, or has not taken the answer for a while."""
        if self._answering:
            late = self._loop.time() - self._since > SLOW_AFTER
            return self._since if late else None
        return None if self._request_in_progress else self._since

    def overdue(self, now: float) -> str | None:
        """Return what takes the client too long: ``answer``, ``head`` or ``idle``."""
        if self._answering:
            return "answer" if now - self._since > TAKEN_WITHIN else None
        if self._request_in_progress or self._wire is None:
            return None  # a handler, or a handshake, that has a limit of its own
        if self._wire.is_closing():
            return "answer" if now - self._since > SLOW_AFTER else None
        if self._head_since is not None:
            return "head" if now - self._head_since > HEAD_WITHIN else None
        return "idle" if now - self._since > IDLE_WITHIN else None

    def abort(self) -> None:
        """End it now, without sending the rest."""
        if self._wire is not None:
            self._wire.abort()
        elif self.greeting is not None:
            self.greeting.cancel()

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
