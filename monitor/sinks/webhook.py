"""The sink ``webhook``: one HTTP POST per event, signed after Standard Webhooks."""

from __future__ import annotations

import asyncio
import base64
import socket
import ssl
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import aiohttp
from aiohttp.resolver import ThreadedResolver

from monitor import __version__
from monitor.errors import SendError, SendReason
from monitor.sinks import addresses, reply, signature
from monitor.sinks.encoding import encode

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence
    from datetime import datetime

    from aiohttp.abc import AbstractResolver

    from monitor.sinks.endpoint import Endpoint

_REPLY_LIMIT = 64 * 1024
_IDLE = 4.0
"""Seconds that a connection is kept: less than common servers do (5), so that a POST, which
HTTP forbids to repeat blindly, does not run into their closing it."""

_CAUSES = {
    aiohttp.ClientConnectorCertificateError: "its certificate cannot be trusted",
    aiohttp.ClientConnectorDNSError: "its name cannot be resolved",
    aiohttp.ClientSSLError: "no TLS connection could be made",
    aiohttp.ClientResponseError: "the reply is not proper HTTP",
    aiohttp.ClientPayloadError: "the reply broke off",
}


class _ForbiddenAddressError(OSError):
    """The name led to an address that must not be connected to."""


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

    async def send(self, events: Sequence[Mapping[str, Any]]) -> None:
        """Post the one event in ``events``; return once it was answered with a whole 2xx reply.

        Raises:
            SendError: anything else happened; without a trace of what went to the receiver.
        """
        (event,) = events
        body = encode(event)
        headers = self._headers(event["id"], body)
        failure = await self._attempt(headers, body)
        if failure is not None:
            raise failure

    async def _attempt(self, headers: dict[str, str], body: bytes) -> SendError | None:
        """Post once; an error is returned, so that none of aiohttp's becomes its context."""
        origin = self._target.origin
        try:
            async with asyncio.timeout(self._target.timeout):
                answer = await self._post(headers, body)
        except TimeoutError:
            message = f"{origin} did not answer within {self._target.timeout:g} s"
            return SendError(SendReason.TIMEOUT, message)
        except (aiohttp.ClientError, OSError) as error:
            return _unreachable(origin, error)
        secrets = (*self._secrets, headers.get("webhook-signature", ""))
        return reply.failure(origin, answer, self._now(), secrets)

    async def _post(self, headers: dict[str, str], body: bytes) -> reply.Reply:
        async with self._session.post(
            self._target.url, data=body, headers=headers, allow_redirects=False
        ) as response:
            start = await _read(response.content)
            if not response.content.at_eof():
                response.close()
            return reply.Reply(response.status, response.headers.get("Retry-After"), start)

    def _headers(self, event_id: str, body: bytes) -> dict[str, str]:
        seconds = int(self._now().timestamp())
        own = {
            "Content-Type": "application/cloudevents+json; charset=utf-8",
            "Accept-Encoding": "identity",
            "webhook-id": event_id,
            "webhook-timestamp": str(seconds),
        }
        if self._target.keys:
            own["webhook-signature"] = signature.sign(self._target.keys, event_id, seconds, body)
        return {**dict(self._target.headers), **own}


@asynccontextmanager
async def open_webhook(
    target: Endpoint, now: Callable[[], datetime], resolver: AbstractResolver | None = None
) -> AsyncIterator[Webhook]:
    """Build a webhook for ``target``, and close its connections at the end."""
    context = await asyncio.to_thread(ssl.create_default_context)

    def guarded(info: aiohttp.AddrInfoType) -> socket.socket:
        """Make the socket for one address: the last step before connecting to it."""
        family, kind, protocol, _, address = info
        if refusal := addresses.refusal(str(address[0]), target.allowed):
            raise _ForbiddenAddressError(refusal)
        return socket.socket(family, kind, protocol)

    connector = aiohttp.TCPConnector(
        ssl=context,
        resolver=resolver or ThreadedResolver(),
        socket_factory=guarded,
        limit=0,
        keepalive_timeout=_IDLE,
    )
    async with aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={"User-Agent": f"aws-job-monitor/{__version__}"},
        timeout=aiohttp.ClientTimeout(),
        auto_decompress=False,
        trust_env=False,
        read_bufsize=_REPLY_LIMIT,
    ) as session:
        yield Webhook(target, session, now)


async def _read(stream: aiohttp.StreamReader) -> bytes:
    """Read to the end, or to the most that is worth reading."""
    data = bytearray()
    while len(data) < _REPLY_LIMIT and (chunk := await stream.read(_REPLY_LIMIT - len(data))):
        data += chunk
    return bytes(data)


def _secrets(target: Endpoint) -> tuple[str, ...]:
    """All that goes to the receiver, or signs it, and that no message may repeat."""
    url = target.url
    keys = (base64.b64encode(key).decode() for key in target.keys)
    sent = (value for _, value in target.headers)
    return tuple(filter(None, (url.raw_path_qs.strip("/"), url.path_qs.strip("/"), *keys, *sent)))


def _unreachable(origin: str, error: aiohttp.ClientError | OSError) -> SendError:
    cause = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error
    if isinstance(cause, _ForbiddenAddressError):
        message = f"{origin} leads to {cause}"
        return SendError(SendReason.FORBIDDEN_ADDRESS, message)
    return SendError(SendReason.CONNECTION, f"{origin}: {_cause(error, cause)}")


def _cause(error: Exception, cause: Exception) -> str:
    """Name what went wrong in words that hold nothing of the request or the reply."""
    for kind, text in _CAUSES.items():
        if isinstance(error, kind):
            return text
    return getattr(cause, "strerror", None) or "the connection was closed before the reply"
