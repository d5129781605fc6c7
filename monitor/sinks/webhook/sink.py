"""The sink ``webhook``: one HTTP POST per event, signed after Standard Webhooks."""

from __future__ import annotations

import asyncio
import base64
import socket
from contextlib import aclosing, asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any, TypeVar

import aiohttp
from aiohttp.resolver import ThreadedResolver

from monitor import __version__
from monitor.config import WebhookSink
from monitor.errors import SendError, SendReason
from monitor.redaction import HIDDEN
from monitor.sinks import template
from monitor.sinks.kind import Preview, SinkKind
from monitor.sinks.webhook import addresses, response, signature
from monitor.sinks.webhook.target import WebhookTarget, files, load, sample

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence
    from datetime import datetime

    from aiohttp.abc import AbstractResolver, AbstractStreamWriter
    from aiohttp.connector import Connection

_REPLY_LIMIT = 64 * 1024
_IDLE = 4.0
"""Seconds that a connection is kept: less than common servers do (5), so that a POST, which
HTTP forbids to repeat blindly, does not run into their closing it."""

_PROXY_DENIES = 407

S = TypeVar("S")


class _ForbiddenAddressError(OSError):
    """The name led to an address that must not be connected to."""


class _HastyReplyError(aiohttp.ClientConnectionError):
    """The receiver answered before it had the request."""


_CAUSES: dict[type[Exception], str] = {
    _HastyReplyError: "it answered before it was asked",
    aiohttp.ClientConnectorCertificateError: "its certificate cannot be trusted",
    aiohttp.ClientConnectorDNSError: "its name cannot be resolved",
    aiohttp.ClientSSLError: "no TLS connection could be made",
    aiohttp.ClientHttpProxyError: "the proxy refused to connect to it",
    aiohttp.ClientProxyConnectionError: "the proxy cannot be reached",
    aiohttp.ClientResponseError: "the reply is not proper HTTP",
    aiohttp.ClientPayloadError: "the reply broke off",
}
"""The first that fits names the cause."""


class _Request(aiohttp.ClientRequest):
    """Refuses a connection on which something lies already: it would pass for the reply."""

    async def send(self, conn: Connection) -> aiohttp.ClientResponse:
        # True as well once data has come, which only a reply to somebody else could be.
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


class WebhookSender:
    """Posts each event to one endpoint."""

    batch_size = 1

    def __init__(
        self, target: WebhookTarget, session: aiohttp.ClientSession, now: Callable[[], datetime]
    ) -> None:
        """Take over no ownership of ``session``; ``now`` tells the UTC time."""
        self._target = target
        self._session = session
        self._now = now
        self._secrets = _secrets(target)
        self._proxy_headers: dict[str, str] | None = None
        if target.proxy and target.proxy.credentials:
            # For the proxy alone: aiohttp turns it into ``Proxy-Authorization``.
            encoded = base64.b64encode(target.proxy.credentials.encode()).decode()
            self._proxy_headers = {"Authorization": f"Basic {encoded}"}
        self._renderer: template.Renderer | None = None
        self.reply = ""
        """The status and the start of the last reply, cleaned."""
        if target.template:
            self._renderer = template.Renderer(target.template, target.template_secrets)

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
                if self._renderer is None:
                    body = self._target.encode(event)
                else:
                    body = (await self._renderer.render(event)).encode(errors="replace")
                sent = headers(self._target, event["id"], int(self._now().timestamp()), body)
                # After rendering, which takes longest: the answer of a resolver ages.
                await self._check_host()
                answer = await self._post(sent, body)
        except TimeoutError:
            message = f"{origin} did not answer within {self._target.timeout:g} s"
            return SendError(SendReason.TIMEOUT, message)
        except (aiohttp.ClientError, OSError) as error:
            return _unreachable(origin, error)
        # A receiver may echo what it was sent, in a reply that people will read.
        secrets = (*self._secrets, sent.get("webhook-signature", ""))
        self.reply = response.summary(answer, secrets)
        return response.failure(origin, answer, self._now(), secrets, self._target.success)

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

    async def _post(self, sent: dict[str, str], body: bytes) -> response.WebhookResponse:
        proxy = self._target.proxy
        payload = _Body(body)
        async with self._session.post(
            self._target.url,
            data=payload,
            headers=sent,
            # A redirect would lead past the checks of the URL, and turn the POST into a GET.
            allow_redirects=False,
            server_hostname=self._target.server_name,
            proxy=proxy.url if proxy else None,
            proxy_headers=self._proxy_headers,
        ) as received:
            start = bytearray()
            while len(start) < _REPLY_LIMIT:
                chunk = await received.content.read(_REPLY_LIMIT - len(start))
                if not chunk:
                    break
                start += chunk
            # Checked only now: a receiver may answer while the body is still on its way.
            if not payload.sent:
                raise _HastyReplyError
            if not received.content.at_eof():
                received.close()
            # Of a header that comes several times, all values.
            lowered: dict[str, str] = {}
            for name, value in received.headers.items():
                known = lowered.get(name.lower())
                lowered[name.lower()] = value if known is None else f"{known}, {value}"
            return response.WebhookResponse(received.status, lowered, bytes(start))


def headers(target: WebhookTarget, event_id: str, seconds: int, body: bytes) -> dict[str, str]:
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
    target: WebhookTarget, now: Callable[[], datetime], resolver: AbstractResolver | None = None
) -> AsyncIterator[WebhookSender]:
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
        limit=0,  # the dispatcher bounds the attempts of a sink
        keepalive_timeout=_IDLE,
    )
    async with (
        aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"User-Agent": f"aws-job-monitor/{__version__}"},
            # ``send`` has the one deadline; aiohttp's own would overrule a longer one.
            timeout=aiohttp.ClientTimeout(),
            # A small reply could unpack to gigabytes.
            auto_decompress=False,
            # A proxy or .netrc of the environment must not get what goes to a receiver.
            trust_env=False,
            read_bufsize=_REPLY_LIMIT,
            request_class=_Request,
        ) as session,
        aclosing(WebhookSender(target, session, now)) as sink,
    ):
        yield sink


def _secrets(target: WebhookTarget) -> tuple[str, ...]:
    """Return all that goes to the receiver, or signs it, and that no message may repeat."""
    url = target.url
    sent = [*(value for _, value in target.headers), *target.template_secrets.values()]
    for key in target.keys:
        sent.append(base64.b64encode(key).decode())
        with suppress(UnicodeDecodeError):  # somebody may have made the key from a text
            sent.append(key.decode())
    if target.proxy and target.proxy.credentials:
        sent.append(target.proxy.credentials)
    return tuple(filter(None, (url.raw_path_qs.strip("/"), url.path_qs.strip("/"), *sent)))


def _unreachable(origin: str, error: aiohttp.ClientError | OSError) -> SendError:
    # aiohttp wraps what the socket factory raises.
    cause = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error
    if isinstance(cause, _ForbiddenAddressError):
        message = f"{origin} leads to {cause}"
        return SendError(SendReason.FORBIDDEN_ADDRESS, message)
    if isinstance(error, aiohttp.ClientHttpProxyError) and error.status == _PROXY_DENIES:
        message = f"{origin}: the proxy asks for other credentials (407)"
        return SendError(SendReason.DENIED, message)
    # Only words that hold nothing of the request or the reply.
    words = next((text for kind, text in _CAUSES.items() if isinstance(error, kind)), None)
    words = (
        words or getattr(cause, "strerror", None) or "the connection was closed before the reply"
    )
    return SendError(SendReason.CONNECTION, f"{origin}: {words}")


def http_kind(
    settings: type[S],
    load: Callable[[str, S, WebhookTarget | None], WebhookTarget],
    files: Callable[[S], list[str]],
    sample: Callable[[str, S], WebhookTarget] | None = None,
) -> SinkKind[S, WebhookTarget]:
    """Return the kind of a sink that posts to the target that ``load`` makes."""
    return SinkKind(
        settings,
        load,
        lambda target, tools: open_webhook(target, tools.now),
        files,
        sample=sample,
        preview=preview,
    )


def preview(target: WebhookTarget, events: Sequence[Mapping[str, Any]]) -> list[Preview]:
    """Show posts; blocks where there is a template."""
    if target.template:
        hidden = dict.fromkeys(target.template_secrets, HIDDEN)
        bodies = template.attempt(target.template, events, hidden)
    else:
        bodies = [target.encode(event).decode() for event in events]
    secret = {"webhook-signature", *(name for name, _ in target.headers)}
    previews = []
    for event, body in zip(events, bodies, strict=True):
        sent = headers(target, event["id"], 0, b"") | {"webhook-timestamp": "(now)"}
        shown = {name: HIDDEN if name in secret else value for name, value in sent.items()}
        previews.append(Preview({"POST": target.origin, **shown}, body))
    return previews


KIND = http_kind(WebhookSink, load, files, sample)
