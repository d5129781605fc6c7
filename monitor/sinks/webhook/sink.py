"""The sink ``webhook``: one HTTP POST per event, signed after Standard Webhooks."""

from __future__ import annotations

import asyncio
import base64
import socket
from contextlib import aclosing, asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

import aiohttp
from aiohttp.resolver import ThreadedResolver

from monitor import __version__
from monitor.errors import SendError, SendReason
from monitor.sinks.encoding import encode
from monitor.sinks.template import Renderer
from monitor.sinks.webhook import addresses, signature
from monitor.sinks.webhook import response as reply

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence
    from datetime import datetime

    from aiohttp.abc import AbstractResolver, AbstractStreamWriter
    from aiohttp.connector import Connection

    from monitor.sinks.webhook.target import Endpoint

_REPLY_LIMIT = 64 * 1024
_IDLE = 4.0
"""Seconds that a connection is kept: less than common servers do (5), so that a POST, which
HTTP forbids to repeat blindly, does not run into their closing it."""

_PROXY_DENIES = 407
_CAUSES = {
    aiohttp.ClientConnectorCertificateError: "its certificate cannot be trusted",
    aiohttp.ClientConnectorDNSError: "its name cannot be resolved",
    aiohttp.ClientSSLError: "no TLS connection could be made",
    aiohttp.ClientHttpProxyError: "the proxy refused to connect to it",
    aiohttp.ClientProxyConnectionError: "the proxy cannot be reached",
    aiohttp.ClientResponseError: "the reply is not proper HTTP",
    aiohttp.ClientPayloadError: "the reply broke off",
}


class _ForbiddenAddressError(OSError):
    """The name led to an address that must not be connected to."""


class _HastyReplyError(aiohttp.ClientConnectionError):
    """There was an answer before the question."""


class _Request(aiohttp.ClientRequest):
    """Refuses a connection on which something lies already: it would pass for the reply."""

    async def send(self, conn: Connection) -> aiohttp.ClientResponse:
        if conn.protocol is None or conn.protocol.should_close:
            raise _HastyReplyError
        return await super().send(conn)


class _Body(aiohttp.BytesPayload):
    """Knows whether all of it has gone out."""

    sent = False

    async def write_with_length(
        self, writer: AbstractStreamWriter, content_length: int | None
    ) -> None:
        await super().write_with_length(writer, content_length)
        self.sent = True


class Webhook:
    """Posts each event to one endpoint."""

    batch_size = 1

    def __init__(
        self, target: Endpoint, session: aiohttp.ClientSession, now: Callable[[], datetime]
    ) -> None:
        """Take over no ownership of ``session``; ``now`` tells the UTC time."""
        self._target = target
        self._session = session
        self._now = now
        self._secrets = _secrets(target)
        self._proxy_headers = _proxy_headers(target)
        self._renderer: Renderer | None = None
        self.reply = ""
        """The status and the start of the last reply, cleaned."""
        if target.template:
            self._renderer = Renderer(target.template, target.template_secrets)

    async def aclose(self) -> None:
        """End the process that renders, if there is one."""
        if self._renderer:
            await self._renderer.aclose()

    async def send(self, events: Sequence[Mapping[str, Any]]) -> None:
        """Post the one event in ``events``; return once it was answered with a whole 2xx reply.

        Raises:
            SendError: anything else happened; without a trace of what went to the receiver.
        """
        (event,) = events
        failure = await self._attempt(event)
        if failure is not None:
            raise failure

    async def _attempt(self, event: Mapping[str, Any]) -> SendError | None:
        """Post once; an error is returned, so that none of aiohttp's becomes its context."""
        origin = self._target.origin
        try:
            async with asyncio.timeout(self._target.timeout):
                body = await self._body(event)
                sent = headers(self._target, event["id"], int(self._now().timestamp()), body)
                await self._check_host()
                answer = await self._post(sent, body)
        except TimeoutError:
            message = f"{origin} did not answer within {self._target.timeout:g} s"
            return SendError(SendReason.TIMEOUT, message)
        except (aiohttp.ClientError, OSError) as error:
            return _unreachable(origin, error)
        secrets = (*self._secrets, sent.get("webhook-signature", ""))
        self.reply = reply.summary(answer, secrets)
        return reply.failure(origin, answer, self._now(), secrets, self._target.success)

    async def _body(self, event: Mapping[str, Any]) -> bytes:
        if self._renderer is None:
            return encode(event)
        return (await self._renderer.render(event)).encode(errors="replace")

    async def _check_host(self) -> None:
        """Refuse a forbidden receiver before a proxy, which knows no such rules, is asked.

        A name that only the proxy can resolve passes.
        """
        url = self._target.url
        if self._target.proxy is None or url.host is None:
            return
        loop = asyncio.get_running_loop()
        with suppress(socket.gaierror):
            for *_, address in await loop.getaddrinfo(url.host, url.port, type=socket.SOCK_STREAM):
                if refusal := addresses.refusal(str(address[0]), self._target.allowed):
                    raise _ForbiddenAddressError(refusal)

    async def _post(self, sent: dict[str, str], body: bytes) -> reply.Reply:
        proxy = self._target.proxy
        payload = _Body(body)
        async with self._session.post(
            self._target.url,
            data=payload,
            headers=sent,
            allow_redirects=False,
            server_hostname=self._target.server_name,
            proxy=proxy.url if proxy else None,
            proxy_headers=self._proxy_headers,
        ) as response:
            start = await _read(response.content)
            if not payload.sent:
                raise _HastyReplyError
            if not response.content.at_eof():
                response.close()
            return reply.Reply(response.status, _lowered(response.headers), start)


def headers(target: Endpoint, event_id: str, seconds: int, body: bytes) -> dict[str, str]:
    """Return what goes with ``body`` at this time, in seconds since 1970."""
    own = {
        "Content-Type": target.content_type,
        "Accept-Encoding": "identity",
        "webhook-id": event_id,
        "webhook-timestamp": str(seconds),
    }
    if target.keys:
        own["webhook-signature"] = signature.sign(target.keys, event_id, seconds, body)
    return {**dict(target.headers), **own}


@asynccontextmanager
async def open_webhook(
    target: Endpoint, now: Callable[[], datetime], resolver: AbstractResolver | None = None
) -> AsyncIterator[Webhook]:
    """Build a webhook for ``target``, and close its connections at the end."""

    def guarded(info: aiohttp.AddrInfoType) -> socket.socket:
        """Make the socket for one address: the last step before connecting to it."""
        family, kind, protocol, _, address = info
        if refusal := addresses.refusal(str(address[0]), target.allowed):
            raise _ForbiddenAddressError(refusal)
        return socket.socket(family, kind, protocol)

    connector = aiohttp.TCPConnector(
        ssl=target.context,
        resolver=resolver or ThreadedResolver(),
        socket_factory=guarded,
        limit=0,
        keepalive_timeout=_IDLE,
    )
    async with (
        aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"User-Agent": f"aws-job-monitor/{__version__}"},
            timeout=aiohttp.ClientTimeout(),
            auto_decompress=False,
            trust_env=False,
            read_bufsize=_REPLY_LIMIT,
            request_class=_Request,
        ) as session,
        aclosing(Webhook(target, session, now)) as sink,
    ):
        yield sink


async def _read(stream: aiohttp.StreamReader) -> bytes:
    """Read to the end, or to the most that is worth reading."""
    data = bytearray()
    while len(data) < _REPLY_LIMIT and (chunk := await stream.read(_REPLY_LIMIT - len(data))):
        data += chunk
    return bytes(data)


def _lowered(headers: Mapping[str, str]) -> dict[str, str]:
    """Return headers by their lower-case names; of one that comes several times, all values."""
    found: dict[str, str] = {}
    for name, value in headers.items():
        lowered = name.lower()
        found[lowered] = f"{found[lowered]}, {value}" if lowered in found else value
    return found


def _proxy_headers(target: Endpoint) -> dict[str, str] | None:
    """Return what goes to the proxy alone; aiohttp turns it into ``Proxy-Authorization``."""
    if target.proxy is None or target.proxy.credentials is None:
        return None
    encoded = base64.b64encode(target.proxy.credentials.encode()).decode()
    return {"Authorization": f"Basic {encoded}"}


def _secrets(target: Endpoint) -> tuple[str, ...]:
    """All that goes to the receiver, or signs it, and that no message may repeat."""
    url = target.url
    keys = [text for key in target.keys for text in (base64.b64encode(key).decode(), _plain(key))]
    sent = [*(value for _, value in target.headers), *target.template_secrets.values()]
    if target.proxy and target.proxy.credentials:
        sent.append(target.proxy.credentials)
    return tuple(filter(None, (url.raw_path_qs.strip("/"), url.path_qs.strip("/"), *keys, *sent)))


def _plain(key: bytes) -> str:
    """Return a key as the text that somebody may have made it from, if it is one."""
    try:
        return key.decode()
    except UnicodeDecodeError:
        return ""


def _unreachable(origin: str, error: aiohttp.ClientError | OSError) -> SendError:
    cause = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error
    if isinstance(cause, _ForbiddenAddressError):
        message = f"{origin} leads to {cause}"
        return SendError(SendReason.FORBIDDEN_ADDRESS, message)
    if isinstance(error, aiohttp.ClientHttpProxyError) and error.status == _PROXY_DENIES:
        message = f"{origin}: the proxy asks for other credentials (407)"
        return SendError(SendReason.DENIED, message)
    return SendError(SendReason.CONNECTION, f"{origin}: {_cause(error, cause)}")


def _cause(error: Exception, cause: Exception) -> str:
    """Name what went wrong in words that hold nothing of the request or the reply."""
    if isinstance(error, _HastyReplyError):
        return "it answered before it was asked"
    for kind, text in _CAUSES.items():
        if isinstance(error, kind):
            return text
    return getattr(cause, "strerror", None) or "the connection was closed before the reply"
