"""Keep-alive connections to one endpoint, on which a request costs one write and one callback.

A pool makes no task and no timer for a request: one sweep, while anything is under way, ends what
is late. Failures are the SDK's own exceptions, so that they get the reasons of the plain path.
"""

from __future__ import annotations

import asyncio
import math
import re
import socket
import ssl
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import ip_address
from typing import TYPE_CHECKING, NamedTuple, cast

import aiohappyeyeballs
import httptools
from botocore.exceptions import (
    ConnectionClosedError,
    ConnectTimeoutError,
    EndpointConnectionError,
    HTTPClientError,
    ProxyConnectionError,
    ReadTimeoutError,
    SSLError,
)

from monitor.aws import response_body

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

LARGEST_HEAD = 64 * 1024
"""The most bytes of a head that are read."""
IDLE = 12.0
"""Seconds after which a connection without a request is closed, as the SDK does."""
SWEEP = 0.25
"""Seconds between two sweeps for requests that are late."""
MOST_WAITING = 1024
"""Requests that may wait for a connection."""
_HAPPY_EYEBALLS = 0.25
_TUNNELED = re.compile(rb"HTTP/1\.[01] 2[0-9]{2}[ \r]")
_new = tuple.__new__  # two tuples for each poll: their own constructors are functions of Python
_FINAL = 200
"""The least status of a response that is not followed by another."""


class RawResponse(NamedTuple):
    """A response as it came; nobody reads the head of one that shows nothing new."""

    status: int
    head: bytes
    body: bytes

    def __repr__(self) -> str:
        """Show nothing of what came; it may hold secrets."""
        return f"<response {self.status}>"

    def headers(self) -> list[tuple[bytes, bytes]]:
        """Return the names and values of its headers, as they were sent."""
        return _headers(self.head)


if TYPE_CHECKING:
    Done = Callable[[RawResponse | Exception], None]


@dataclass(frozen=True, slots=True)
class TunnelProxy:
    """An HTTP proxy; ``shown`` is its URL without a password."""

    host: str
    port: int
    headers: Mapping[str, str]
    shown: str


@dataclass(frozen=True, slots=True)
class PoolTarget:
    """The place that a pool connects to; times are in seconds."""

    url: str
    host: str
    port: int
    tls: ssl.SSLContext | None
    connect_timeout: float
    read_timeout: float
    proxy: TunnelProxy | None = None
    """Opens a tunnel to the place, for TLS alone."""


class _Call(NamedTuple):
    """A request that has no answer yet; ``again`` if a connection was lost over it before."""

    raw: bytes
    done: Done
    deadline: float
    again: bool = False

    def __repr__(self) -> str:
        """Show nothing of the request; it holds a signature, and maybe a session token."""
        return f"<request due {self.deadline}>"


class Pool:
    """Up to ``most`` connections to one endpoint; requests beyond them wait in order."""

    def __init__(self, endpoint: PoolTarget, most: int) -> None:
        """Connect to nothing yet; the running loop is the pool's."""
        self.endpoint = endpoint
        self._most = most
        self._loop = asyncio.get_running_loop()
        self._idle: list[_KeepAlive] = []
        self._busy: set[_KeepAlive] = set()
        self._waiting: deque[_Call] = deque()
        self._connecting: set[asyncio.Task[None]] = set()
        self._sweep: asyncio.TimerHandle | None = None
        self._sweep_due = math.inf
        self._retired = False

    @property
    def under_way(self) -> int:
        """Requests that have no answer yet."""
        return len(self._busy) + len(self._waiting)

    def send(self, raw: bytes, timeout: float, done: Done) -> bool:
        """Send a request; ``done`` follows later, exactly once. ``False`` if nothing is sent."""
        if self._retired or len(self._waiting) >= MOST_WAITING:
            return False
        now = self._loop.time()
        call = _new(_Call, (raw, done, now + timeout, False))
        if self._idle:
            connection = self._idle.pop()
            connection.call, connection.heard = call, now
            self._busy.add(connection)
            connection.transport.write(raw)
        else:
            self._waiting.append(call)
            self._connect()
        if self._sweep_due > now + SWEEP:
            self._sweep_at(now + SWEEP)
        return True

    def retire(self) -> None:
        """Refuse further requests; each connection closes when its answer is there."""
        self._retired = True
        while self._idle:
            self._idle.pop().transport.close()

    async def aclose(self) -> None:
        """Close every connection; what is under way fails."""
        self.retire()
        error = ConnectionClosedError(endpoint_url=self.endpoint.url)
        for connection in tuple(self._busy):
            self.fail(connection, error)
        while self._waiting:
            self._loop.call_soon(self._waiting.popleft().done, error)
        if self._sweep:
            self._sweep.cancel()
        tasks = tuple(self._connecting)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _connect(self) -> None:
        """Open a connection for what waits, unless enough are open or about to be."""
        opening = len(self._connecting)
        if opening < len(self._waiting) and len(self._busy) + opening < self._most:
            task = self._loop.create_task(self._open(), name=f"connect {self.endpoint.host}")
            self._connecting.add(task)
            task.add_done_callback(self._connecting.discard)

    async def _open(self) -> None:
        """Open a connection; one that fails fails the first request that waits."""
        try:
            connection = await self._opened()
        except Exception as error:  # noqa: BLE001 -- a loop's connect raises much more than OSError
            self._connecting.discard(cast("asyncio.Task[None]", asyncio.current_task()))
            if self._waiting:
                self._loop.call_soon(self._waiting.popleft().done, self._of_connect(error))
            self._connect()
            return
        self._connecting.discard(cast("asyncio.Task[None]", asyncio.current_task()))
        self.released(connection)

    async def _opened(self) -> _KeepAlive:
        at = self.endpoint
        async with asyncio.timeout(None) as limit:
            try:
                sock = await self._dialled(at.proxy or at, limit)
            except OSError as error:
                if at.proxy is None:
                    raise
                raise ProxyConnectionError(proxy_url=at.proxy.shown, error=error) from None
            try:
                if at.proxy:
                    await self._tunnel(sock, at.proxy)
                _, connection = await self._loop.create_connection(
                    lambda: _KeepAlive(self),
                    sock=sock,
                    ssl=at.tls,
                    server_hostname=at.host if at.tls else None,
                )
            except BaseException:
                sock.close()
                raise
        return connection

    async def _dialled(self, to: PoolTarget | TunnelProxy, limit: asyncio.Timeout) -> socket.socket:
        """Return a connected socket; ``limit`` begins once the name is resolved."""
        flags = 0
        try:
            ip_address(to.host)
        except ValueError:
            # No address family that this machine has no address of; never for a literal address.
            flags = socket.AI_ADDRCONFIG
        found = await self._loop.getaddrinfo(to.host, to.port, type=socket.SOCK_STREAM, flags=flags)
        limit.reschedule(self._loop.time() + self.endpoint.connect_timeout)
        # The loops' own connect tries one address after the other, for minutes each.
        sock = await aiohappyeyeballs.start_connection(
            found, happy_eyeballs_delay=_HAPPY_EYEBALLS, interleave=1
        )
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return sock

    async def _tunnel(self, sock: socket.socket, proxy: TunnelProxy) -> None:
        """Let a proxy connect a socket with the endpoint."""
        place = f"[{self.endpoint.host}]" if ":" in self.endpoint.host else self.endpoint.host
        place = f"{place}:{self.endpoint.port}"
        lines = [f"CONNECT {place} HTTP/1.1", f"Host: {place}"]
        lines += [f"{name}: {value}" for name, value in proxy.headers.items()]
        await self._loop.sock_sendall(sock, "\r\n".join([*lines, "", ""]).encode())
        head = b""
        # The endpoint says nothing before it has had the first bytes of TLS.
        while b"\r\n\r\n" not in head and len(head) < LARGEST_HEAD:
            piece = await self._loop.sock_recv(sock, 4096)
            if not piece:
                break
            head += piece
        if not _TUNNELED.match(head):
            error = ConnectionRefusedError("the proxy opens no tunnel")
            raise ProxyConnectionError(proxy_url=proxy.shown, error=error)

    def _of_connect(self, error: Exception) -> Exception:
        """Return the SDK's error for a connection that could not be made."""
        found: Exception
        url = self.endpoint.url
        if isinstance(error, ProxyConnectionError):
            found = error
        elif isinstance(error, TimeoutError) and error.errno is None:
            found = ConnectTimeoutError(endpoint_url=url, error=error)
        elif isinstance(error, ssl.SSLError):
            found = SSLError(endpoint_url=url, error=error)
        elif isinstance(error, OSError):
            found = EndpointConnectionError(endpoint_url=url, error=error)
        else:
            found = HTTPClientError(error=error)
        return found

    def released(self, connection: _KeepAlive) -> None:
        """Use a connection that has nothing to do for the next request, or keep it."""
        connection.heard = now = self._loop.time()
        if connection.transport.is_closing() or (self._retired and not self._waiting):
            self._busy.discard(connection)
            connection.transport.close()
            self._connect()
        elif self._waiting:
            connection.call = self._waiting.popleft()
            self._busy.add(connection)
            connection.transport.write(connection.call.raw)
        else:
            self._busy.discard(connection)
            self._idle.append(connection)
            if self._sweep_due > now + IDLE:
                self._sweep_at(now + IDLE)

    def lost(self, connection: _KeepAlive, error: Exception | None) -> None:
        """Forget a connection; a request that it leaves behind is sent again, or fails."""
        if connection in self._idle:
            self._idle.remove(connection)
        call = connection.call
        if call is None:
            return
        connection.call = None
        self._busy.discard(connection)
        url = self.endpoint.url
        failure: Exception | None = None
        # A server may close an idle connection while a request is on its way to it: as it has
        # said nothing of it, nothing is known against sending it again.
        if connection.used and not connection.answering and not call.again and not self._retired:
            self._waiting.appendleft(call._replace(again=True))
        elif isinstance(error, ssl.SSLError):
            failure = SSLError(endpoint_url=url, error=error)
        elif isinstance(error, OSError):
            failure = EndpointConnectionError(endpoint_url=url, error=error)
        else:
            failure = ConnectionClosedError(endpoint_url=url, error=error)
        if failure:
            self._loop.call_soon(call.done, failure)
        self._connect()

    def fail(self, connection: _KeepAlive, error: Exception) -> None:
        """End the request of a connection with an error; the connection cannot be used again."""
        call, connection.call = connection.call, None
        self._busy.discard(connection)
        connection.transport.abort()
        if call:
            self._loop.call_soon(call.done, error)
        self._connect()

    def _sweep_at(self, due: float) -> None:
        if self._sweep:
            self._sweep.cancel()
        self._sweep_due = due
        self._sweep = self._loop.call_at(due, self._sweep_once)

    def _sweep_once(self) -> None:
        """End requests that are late, and close connections that are idle for too long."""
        now, url = self._loop.time(), self.endpoint.url
        self._sweep, self._sweep_due = None, math.inf
        for connection in tuple(self._busy):
            call = connection.call
            if call and now >= call.deadline:
                self.fail(connection, TimeoutError())
            elif now - connection.heard >= self.endpoint.read_timeout:
                self.fail(connection, ReadTimeoutError(endpoint_url=url))
        for call in [one for one in self._waiting if now >= one.deadline]:
            self._waiting.remove(call)
            self._loop.call_soon(call.done, TimeoutError())
        # The last used stand at the end and are used first, so those in front are the oldest.
        while self._idle and now - self._idle[0].heard >= IDLE:
            self._idle.pop(0).transport.close()
        if self._busy or self._waiting:
            self._sweep_at(now + SWEEP)
        elif self._idle:
            self._sweep_at(max(self._idle[0].heard + IDLE, now + SWEEP))


class _KeepAlive(asyncio.Protocol):
    """One connection: at most one request is under way on it."""

    __slots__ = (
        "_body", "_complete", "_framed", "_head", "_in_body", "_keep", "_parser", "_pool", "_size",
        "_time", "_too_large", "answering", "call", "heard", "transport", "used",
    )  # fmt: skip

    transport: asyncio.Transport

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._time = asyncio.get_running_loop().time
        self._parser = _parser(self)
        self.call: _Call | None = None
        self.heard = 0.0
        """The loop's time of the last byte, or of the last request."""
        self.used = False
        """An answer has come on it before."""
        self._fresh()

    def _fresh(self) -> None:
        """Expect the first byte of an answer."""
        self.answering = False
        """A byte of the present answer has come."""
        self._head = b""
        self._body: bytes | bytearray = b""
        self._size = 0
        self._in_body = self._framed = self._complete = self._keep = False
        self._too_large: response_body.AnswerTooLargeError | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport."""
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Parse what came; give the answer on once it is whole."""
        if self.call is None:
            # Nobody has asked for anything: it can be nothing that the next request wants.
            self.transport.abort()
            return
        failed: Exception | None = None
        if not self._in_body:
            self._head = self._head + data if self._head else data
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            failed = error
        if self._complete:
            self._answer(keep=self._keep and failed is None)
            return
        self.answering, self.heard = True, self._time()
        if self._in_body and not self._framed:
            self._look_at_head()
        if self._too_large:
            self._pool.fail(self, HTTPClientError(error=self._too_large))
        elif failed or (not self._in_body and len(self._head) > LARGEST_HEAD):
            failed = failed or httptools.HttpParserError("the head is too long")
            self._pool.fail(self, HTTPClientError(error=failed))

    def connection_lost(self, error: Exception | None) -> None:
        """End an answer without a length, which only now is whole; any other is lost."""
        if self.call and error is None and self._in_body and not self._framed:
            self._answer(keep=False)
        # It holds this connection, which holds it: only a collection would free both.
        del self._parser
        self._pool.lost(self, error)

    def on_message_begin(self) -> None:
        """Refuse a second answer to one request."""
        if self._complete:
            raise ValueError("more than one response to a request")

    def on_headers_complete(self) -> None:
        """Begin the body."""
        # The parser lets it pass, as the SDK's does, whose caller refuses it. A body may have one.
        if 0 in self._head and any(0 in value for _, value in _headers(self._head)):
            raise ValueError("a header with a NUL")
        self._in_body = True

    def on_body(self, piece: bytes) -> None:
        """Keep a piece of the body, within its bound."""
        if not self._size:
            self._body = piece
        elif self._size + len(piece) <= response_body.LARGEST:
            if not isinstance(self._body, bytearray):
                self._body = bytearray(self._body)
            self._body += piece
        self._size += len(piece)
        if self._size > response_body.LARGEST:
            self._refuse_body()

    def on_message_complete(self) -> None:
        """Note the end of the answer; one that only announces another is dropped."""
        if self._parser.get_status_code() < _FINAL:
            self._in_body = False
        else:
            self._complete, self._keep = not self._too_large, self._parser.should_keep_alive()

    def _look_at_head(self) -> None:
        """Read what the head says of a body that is not whole yet."""
        for name, value in _headers(self._head):
            key = name.lower()
            if key in {b"content-length", b"transfer-encoding"}:
                self._framed = True
                if key == b"content-length" and int(value) > response_body.LARGEST:
                    self._refuse_body()

    def _refuse_body(self) -> None:
        hint = f"the response is longer than {response_body.LARGEST // 1024**2} MiB"
        status = self._parser.get_status_code()
        self._too_large = response_body.AnswerTooLargeError(hint, status)

    def _answer(self, *, keep: bool) -> None:
        call, self.call = self.call, None
        assert call is not None  # noqa: S101 -- both callers have looked
        status = self._parser.get_status_code()
        response = _new(RawResponse, (status, self._head, bytes(self._body)))
        self.used = True
        self._fresh()
        if not keep:
            self.transport.close()
        # Before ``done``, which may well send the next request.
        self._pool.released(self)
        call.done(response)


def _parser(protocol: object) -> httptools.HttpResponseParser:
    """Return a parser that accepts the responses that the SDK's accepts."""
    parser = httptools.HttpResponseParser(protocol)
    parser.set_dangerous_leniencies(
        lenient_headers=True,
        lenient_optional_cr_before_lf=True,
        lenient_spaces_after_chunk_size=True,
    )
    return parser


class _Head:
    """The headers of the last head that a parser meets."""

    def __init__(self) -> None:
        self.headers: list[tuple[bytes, bytes]] = []
        self.parser = _parser(self)

    def on_message_begin(self) -> None:
        self.headers.clear()  # the one before only announced another

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name, value.strip(b" \t")))


def _headers(data: bytes) -> list[tuple[bytes, bytes]]:
    """Return the headers of a head that the parser has found well-formed, with what follows it."""
    head = _Head()
    with suppress(httptools.HttpParserError, httptools.HttpParserUpgrade):
        head.parser.feed_data(data)
    return head.headers
