"""What a receiver's HTTP reply means for a delivery."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

from monitor.errors import SendError, SendReason

if TYPE_CHECKING:
    from collections.abc import Iterable

_EXCERPT = 200
_SCANNED = 8192
_YEAR = 366 * 86400.0
_WORD = re.compile(r"[0-9A-Za-z]{4,}")
_SPECIAL = {
    408: SendReason.TIMEOUT,
    410: SendReason.GONE,
    425: SendReason.RATE_LIMITED,
    429: SendReason.RATE_LIMITED,
}


@dataclass(frozen=True, slots=True)
class Reply:
    """A complete reply; ``body`` is cut at the most that is read of one."""

    status: int
    retry_after: str | None
    body: bytes


def failure(origin: str, reply: Reply, now: datetime, secrets: Iterable[str]) -> SendError | None:
    """Return why a reply is no yes; ``None`` if it is one.

    ``origin`` and an excerpt of the reply without any of ``secrets`` make the message.
    """
    reason = reason_of(reply.status)
    if reason is None:
        return None
    text = excerpt(reply.body, secrets)
    message = f"{origin} answered {reply.status}" + (f": {text}" if text else "")
    return SendError(reason, message, retry_after=retry_after(reply.retry_after, now))


def reason_of(status: int) -> SendReason | None:
    """Return why a status is no yes; ``None`` for 2xx, the only ones that are."""
    if 200 <= status < 300:  # noqa: PLR2004  # the class of successes
        return None
    if status >= 500:  # noqa: PLR2004  # the class of server errors
        return SendReason.SERVER_ERROR
    if status < 200:  # noqa: PLR2004  # an interim reply is none: the receiver is confused
        return SendReason.CONNECTION
    return _SPECIAL.get(status, SendReason.REJECTED)


def retry_after(value: str | None, now: datetime) -> float | None:
    """Return the seconds that a Retry-After header (seconds or a date) asks for.

    Never negative, at most a year; ``None`` where there is no such header or it says nothing.
    """
    if value is None:
        return None
    if re.fullmatch(r"[0-9]+", value.strip()):
        return min(float(value), _YEAR)
    try:
        moment = parsedate_to_datetime(value)
    except ValueError:
        return None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return min(max((moment - now).total_seconds(), 0.0), _YEAR)


def excerpt(body: bytes, secrets: Iterable[str]) -> str:
    """Return the start of a reply as one line of at most 200 printable characters.

    A receiver may echo what it was sent, in whatever quoting: so every word of a secret
    goes, not only the secret as it was sent.
    """
    if b"\0" in body or body.startswith(b"\x1f\x8b"):
        return ""
    text = body[:_SCANNED].decode(errors="replace")
    text = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    if len(body) > _SCANNED:  # its last word may be a torn secret
        text = text.rpartition(" ")[0]
    words = {word for secret in secrets for word in (secret, *_WORD.findall(secret)) if word}
    pattern = "|".join(re.escape(word) for word in sorted(words, key=len, reverse=True))
    return (re.sub(pattern, "***", text, flags=re.IGNORECASE) if pattern else text)[:_EXCERPT]
