"""What AWS' refusals mean for a delivery; no text of an answer passes, only its code."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ConnectTimeoutError, ReadTimeoutError

from monitor.aws import errors
from monitor.errors import PollReason, SendError, SendReason

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from monitor.aws.clients import ResponseMeta
    from monitor.errors import PollError
    from monitor.sinks.aws.target import Target

_GONE = frozenset({
    "aws.simplequeueservice.nonexistentqueue", "notfound", "queuedoesnotexist",
    "resourcenotfound",
})  # fmt: skip
_REASONS = {
    PollReason.THROTTLE: SendReason.RATE_LIMITED,
    PollReason.TRANSIENT: SendReason.SERVER_ERROR,
    PollReason.UNAVAILABLE: SendReason.CONNECTION,
    PollReason.AUTH: SendReason.DENIED,
    PollReason.MISSING: SendReason.GONE,
    PollReason.CONFIG: SendReason.REJECTED,
    PollReason.MALFORMED: SendReason.SERVER_ERROR,
    PollReason.INTERNAL: SendReason.INTERNAL,
}
"""What an answered request's failure means."""
_TIMEOUTS = (TimeoutError, ConnectTimeoutError, ReadTimeoutError)
_UNANSWERED = frozenset({PollReason.TRANSIENT, PollReason.UNAVAILABLE, PollReason.CONFIG})
"""Without an answer these say that nothing was reached, and not that the event is bad."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """What a service said of one entry; ``sender`` where it blames the entry itself."""

    code: str
    sender: bool


UNTOLD = Refusal("", sender=False)
"""An entry of which the answer says nothing."""


def of_request(
    target: Target, operation: str, error: Exception, exchange: ResponseMeta, now: datetime
) -> SendError:
    """Return why a whole request failed; ``error`` may hold secrets and must end here."""
    if isinstance(error, _TIMEOUTS):
        message = f"{target.address} did not answer within {target.timeout:g} s"
        return SendError(SendReason.TIMEOUT, message)
    failed = errors.failure(error, exchange, operation, _denies, now)
    hint = f" ({failed.hint})" if failed.hint else ""
    message = f"{target.address}: {failed.code}{hint}"
    return SendError(_reason(failed), message, retry_after=failed.retry_after)


def of_entry(address: str, refusal: Refusal) -> SendError:
    """Return why one entry of a request was not taken."""
    code = errors.shown_code(refusal.code)
    message = f"{address}: {code or 'the answer leaves it out'}"
    known = _of_key(code) or _known(code)
    blamed = SendReason.REJECTED if refusal.sender else SendReason.SERVER_ERROR
    return SendError(known or blamed, message)


def _reason(failed: PollError) -> SendReason:
    if failed.status is None and failed.reason in _UNANSWERED:
        return SendReason.CONNECTION
    return _of_key(failed.code) or _REASONS[failed.reason]


def _known(code: str) -> SendReason | None:
    normal = errors.normal_code(code)
    if normal in _GONE:
        return SendReason.GONE
    reason = errors.reason_of_code(normal)
    return _REASONS[reason] if reason else None


def _of_key(code: str) -> SendReason | None:
    """Judge the codes of an encrypted topic or queue whose key cannot be used."""
    lowered = code.lower()
    if not lowered.startswith("kms"):
        return None
    return SendReason.RATE_LIMITED if "throttl" in lowered else SendReason.DENIED


def _denies(code: str, _answer: Mapping[str, Any]) -> bool:
    """Whether an error says that there is no such topic, queue or event bus."""
    return code in _GONE
