"""What a receiver's HTTP reply means for a delivery."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from monitor import retry_after
from monitor.errors import SendError, SendReason
from monitor.redaction import clean_text, one_line

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime

    from monitor.sinks.webhook.success import Success

_EXCERPT = 200
_SCANNED = 8192
_WORD = re.compile(r"[0-9A-Za-z]{4,}")
_SPECIAL = {
    401: SendReason.DENIED,
    403: SendReason.DENIED,
    407: SendReason.DENIED,
    408: SendReason.TIMEOUT,
    410: SendReason.GONE,
    425: SendReason.RATE_LIMITED,
    429: SendReason.RATE_LIMITED,
}
_STATUS = re.compile(
    r"(?:\A\W*|\b(?:https?|status|code|error|answered|returned|responded|response|replied|got)"
    r"(?:[ _-]?(?:error|status|code|with|was|is|of))*[\s\"':=(]{0,4})"
    r"([45][0-9]{2})(?![\w-]|\.[0-9])",
    re.IGNORECASE,
)
"""A status of HTTP that a text names, and no other number."""
_RATE = r"rate.{0,3}limit|too.{0,3}many.{0,3}(?:requests|messages)|throttl|quota.{0,3}exceeded"
_DENIAL = (
    r"unauthori[sz]ed|forbidden|access.{0,3}denied|not_authed|invalid_auth|account_inactive"
    r"|(?:invalid|expired|revoked).{0,3}token|token.{0,4}(?:expired|revoked)"
    r"|missing_scope|not_allowed_token_type|ekm_access_denied|two_factor_setup_required"
)
_FAULT = (
    r"internal.{0,3}error|server.{0,3}error|fatal_error|bad.gateway|time.{0,3}out"
    r"|(?:temporarily|service).{0,3}unavailable|try.{0,3}again.{0,3}later"
)
_SPOKEN = (
    (SendReason.RATE_LIMITED, re.compile(_RATE, re.IGNORECASE)),
    (SendReason.DENIED, re.compile(_DENIAL, re.IGNORECASE)),
    (SendReason.SERVER_ERROR, re.compile(_FAULT, re.IGNORECASE)),
)
"""What a text that names no status may speak of; the first that fits."""


@dataclass(frozen=True, slots=True)
class WebhookResponse:
    """A complete response; ``headers`` have lower-case names, ``body`` is cut at 64 KiB."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)


def failure(
    origin: str,
    reply: WebhookResponse,
    now: datetime,
    secrets: Iterable[str],
    success: Success | None = None,
) -> SendError | None:
    """Return why a reply is not a success; ``None`` if it is one.

    A success has a status of 2xx, and fulfils ``success`` where there is such a condition.
    ``origin`` and an excerpt of the reply without any of ``secrets`` make the message.
    """
    reason = reason_of(reply.status)
    verdict = f"{origin} answered {reply.status}"
    if reason is None:
        if success is None or success.holds(reply.status, reply.headers, reply.body):
            return None
        reason = reason_in(reply.body)
        verdict += ", but did not take the event"
    text = excerpt(reply.body, secrets)
    message = verdict + (f": {text}" if text else "")
    wait = retry_after.seconds(reply.headers.get("retry-after"), now)
    return SendError(reason, message, retry_after=wait)


def summary(reply: WebhookResponse, secrets: Iterable[str]) -> str:
    """Return status and start of a reply in one line, without any of ``secrets``."""
    text = excerpt(reply.body, secrets)
    return f"{reply.status}: {text}" if text else f"{reply.status}"


def reason_of(status: int) -> SendReason | None:
    """Return why a status is not a success; ``None`` for 2xx, the only ones that are."""
    if 200 <= status < 300:  # noqa: PLR2004  # the class of successes
        return None
    if status >= 500:  # noqa: PLR2004  # the class of server errors
        return SendReason.SERVER_ERROR
    if status < 200:  # noqa: PLR2004  # an interim reply is none: the receiver is confused
        return SendReason.CONNECTION
    return _SPECIAL.get(status, SendReason.REJECTED)


def reason_in(body: bytes) -> SendReason:
    """Return why a reply of 2xx is a no, from the status or the words in its text.

    One that asks to park is not believed: the sink is still there. A text without a temporary
    cause refuses the event.
    """
    text = body[:_SCANNED].decode(errors="replace")
    if found := _STATUS.search(text):
        reason = reason_of(int(found[1])) or SendReason.REJECTED
        return SendReason.REJECTED if reason.parks else reason
    spoken = (reason for reason, words in _SPOKEN if words.search(text))
    return next(spoken, SendReason.REJECTED)


def excerpt(body: bytes, secrets: Iterable[str]) -> str:
    """Return the start of a reply as one line of at most 200 printable characters.

    A receiver may echo what it was sent, in whatever quoting: so every word of a secret
    goes, not only the secret as it was sent.
    """
    # Binary or compressed: no text that helps anybody.
    if b"\0" in body or body.startswith(b"\x1f\x8b"):
        return ""
    text = one_line(body[:_SCANNED].decode(errors="replace"))
    if len(body) > _SCANNED:  # its last word may be a torn secret
        text = text.rpartition(" ")[0]
    words = {word for secret in secrets for word in (secret, *_WORD.findall(secret)) if word}
    pattern = "|".join(re.escape(word) for word in sorted(words, key=len, reverse=True))
    shown = re.sub(pattern, "***", text, flags=re.IGNORECASE) if pattern else text
    return clean_text(shown)[:_EXCERPT]
