"""AWS errors → the outcome of a delivery; no text of an answer passes, only its code."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from botocore.exceptions import ConnectTimeoutError, ReadTimeoutError

from monitor.aws import errors
from monitor.errors import PollReason, SendError, SendReason

if TYPE_CHECKING:
    from datetime import datetime

    from monitor.aws.clients import ResponseMeta
    from monitor.sinks.aws.target import AwsTarget

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
_UNREACHED = frozenset({PollReason.TRANSIENT, PollReason.UNAVAILABLE, PollReason.CONFIG})
"""Without an answer these say that nothing was reached, and not that the event is bad."""


@dataclass(frozen=True, slots=True)
class EntryRefusal:
    """A service's refusal of one entry; ``sender`` where it blames the entry itself."""

    code: str
    sender: bool


UNANSWERED = EntryRefusal("", sender=False)
"""The answer leaves the entry out."""


def of_request(
    target: AwsTarget, operation: str, error: Exception, meta: ResponseMeta, now: datetime
) -> SendError:
    """Return why a whole request failed; ``error`` may hold secrets and must end here."""
    if isinstance(error, _TIMEOUTS):
        message = f"{target.address} did not answer within {target.timeout:g} s"
        return SendError(SendReason.TIMEOUT, message)
    failed = errors.failure(error, meta, operation, lambda code, _: code in _GONE, now)
    hint = f" ({failed.hint})" if failed.hint else ""
    # Only the code: the text may quote the event, or credentials.
    message = f"{target.address}: {failed.code}{hint}"
    if failed.status is None and failed.reason in _UNREACHED:
        reason = SendReason.CONNECTION
    else:
        reason = _of_key(failed.code) or _REASONS[failed.reason]
    return SendError(reason, message, retry_after=failed.retry_after)


def of_entry(address: str, refusal: EntryRefusal) -> SendError:
    """Return why one entry of a request was not taken."""
    code = errors.shown_code(refusal.code)
    message = f"{address}: {code or 'the answer leaves it out'}"
    reason, normal = _of_key(code), errors.normal_code(code)
    if reason is None and normal in _GONE:
        reason = SendReason.GONE
    if reason is None and (known := errors.REASONS.get(normal)):
        reason = _REASONS[known]
    blamed = SendReason.REJECTED if refusal.sender else SendReason.SERVER_ERROR
    return SendError(reason or blamed, message)


def _of_key(code: str) -> SendReason | None:
    """Judge the codes of an encrypted topic or queue whose key cannot be used."""
    lowered = code.lower()
    if not lowered.startswith("kms"):
        return None
    return SendReason.RATE_LIMITED if "throttl" in lowered else SendReason.DENIED
