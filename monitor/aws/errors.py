"""The reasons for failed requests to AWS, in the monitor's own closed set.

No text of a response passes: only its error code, HTTP status and request id.
"""

from __future__ import annotations

import errno
import re
import socket
import ssl
import traceback
from http import HTTPStatus
from pathlib import PurePath
from traceback import walk_tb
from typing import TYPE_CHECKING, Any

from aiohttp import ClientConnectorCertificateError
from botocore import exceptions as sdk
from botocore.parsers import ResponseParserError

from monitor import retry_after
from monitor.aws.response_body import AnswerTooLargeError
from monitor.errors import PollError, PollReason

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

    from monitor.aws.clients import ResponseMeta

    Missing = Callable[[str, Mapping[str, Any]], bool]

_THROTTLE = frozenset({
    "bandwidthlimitexceeded", "ec2throttled", "limitexceeded", "priorrequestnotcomplete",
    "provisionedthroughputexceeded", "requestlimitexceeded", "requestthrottled", "slowdown",
    "throttled", "throttling", "toomanyrequests", "transactioninprogress",
})  # fmt: skip
_AUTH = frozenset({
    "accessdenied", "authfailure", "authorizationerror", "expiredtoken", "forbidden",
    "incompletesignature", "invalidaccesskeyid", "invalidclienttokenid", "invalididentitytoken",
    "invalidsignature", "invalidtoken", "missingauthenticationtoken", "notauthorized",
    "optinrequired", "requestexpired", "requesttimetooskewed", "signaturedoesnotmatch",
    "subscriptionrequired", "tokenrefreshrequired", "unauthorized", "unauthorizedaccess",
    "unauthorizedoperation", "unrecognizedclient",
})  # fmt: skip
STALE = frozenset({
    "authfailure", "expiredtoken", "invalidaccesskeyid", "invalidclienttokenid", "invalidtoken",
    "tokenrefreshrequired", "unrecognizedclient",
})  # fmt: skip
_UNAVAILABLE = frozenset({"invalidaction", "unknownoperation"})
_TRANSIENT = frozenset({
    "internalerror", "internalfailure", "internalserver", "internalservererror",
    "requesttimeout", "serviceunavailable",
})  # fmt: skip
_MISSING = frozenset({"resourcenotfound"})
REASONS = {
    code: reason
    for codes, reason in (
        (_THROTTLE, PollReason.THROTTLE),
        (_AUTH, PollReason.AUTH),
        (_UNAVAILABLE, PollReason.UNAVAILABLE),
        (_MISSING, PollReason.MISSING),
        (_TRANSIENT, PollReason.TRANSIENT),
    )
    for code in codes
}
"""Code (as ``normal_code`` gives it) → the reason that it has in every service."""

SIGNATURE = frozenset({
    "incompletesignature", "invalidsignature", "requestexpired", "requesttimetooskewed",
    "signaturedoesnotmatch",
})  # fmt: skip

HINTS = {
    "invalidaccesskeyid": "Import/Export wants the long-term key that the job's manifest names",
} | dict.fromkeys(
    ("invalidsignature", "requestexpired", "requesttimetooskewed", "signaturedoesnotmatch"),
    "often the clock: compare this machine's time with AWS",
) | dict.fromkeys(
    ("invalidparameter", "invalidparametervalue", "invalidrequest", "validation"),
    "AWS refuses the request: check the id, and the parameters of the job type",
)  # fmt: skip
_UNANSWERED = (
    ((sdk.HTTPClientError, sdk.ConnectionError, TimeoutError), PollReason.TRANSIENT, ""),
    (sdk.NoCredentialsError, PollReason.AUTH, "no AWS credentials were found"),
    (sdk.ProfileNotFound, PollReason.AUTH, "the AWS profile does not exist"),
    (
        (
            sdk.ConfigParseError,
            sdk.CredentialRetrievalError,
            sdk.InfiniteLoopConfigError,
            sdk.InvalidConfigError,
            sdk.LoginError,
            sdk.MetadataRetrievalError,
            sdk.NoAuthTokenError,
            sdk.PartialCredentialsError,
            sdk.RefreshWithMFAUnsupportedError,
            sdk.SSOError,
            sdk.TokenRetrievalError,
            sdk.UnknownCredentialError,
            OSError,  # a file with a token or an external id
        ),
        PollReason.AUTH,
        "the credentials could not be read",
    ),
    (sdk.UnknownServiceError, PollReason.CONFIG, "the SDK has no model of the service"),
    (
        (
            sdk.BaseEndpointResolverError,
            sdk.DataNotFoundError,
            sdk.EndpointProviderError,
            sdk.InvalidRegionError,
            sdk.NoRegionError,
            sdk.ParamValidationError,
            sdk.UnknownEndpointError,
            sdk.UnsupportedServiceProtocolsError,
        ),
        PollReason.CONFIG,
        "check the region and endpoint of the account",
    ),
)
"""Exceptions without an answer → reason and hint; the first that fits."""
_STATUSES: Mapping[int, PollReason] = {
    HTTPStatus.UNAUTHORIZED: PollReason.AUTH,
    HTTPStatus.FORBIDDEN: PollReason.AUTH,
    HTTPStatus.NOT_FOUND: PollReason.UNAVAILABLE,
    HTTPStatus.REQUEST_TIMEOUT: PollReason.TRANSIENT,
    HTTPStatus.CONFLICT: PollReason.TRANSIENT,
    HTTPStatus.GONE: PollReason.UNAVAILABLE,
    HTTPStatus.TOO_MANY_REQUESTS: PollReason.THROTTLE,
}
_CLASSES = {3: PollReason.UNAVAILABLE, 4: PollReason.CONFIG}
"""First digit of any other status → reason; the rest is transient."""
_NOT_SENT = (
    (
        (ssl.SSLError, FileNotFoundError, PermissionError, IsADirectoryError),
        "a file of this machine cannot be used; check AWS_CA_BUNDLE and the proxy's files",
    ),
    (
        (ValueError, TypeError, sdk.InvalidProxiesConfigError),
        "the request cannot be sent; check the endpoint and the proxy variables",
    ),
)
"""Exceptions before anything is sent → hint; the SDK wraps them as if AWS had not answered."""
_UNTRUSTED = (ClientConnectorCertificateError, ssl.SSLCertVerificationError)
"""A certificate that is not trusted, on the plain path and on the fast one."""
_CODE = re.compile(r"[A-Za-z0-9._-]{1,100}")
_NO_SUCH_HOST = {socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME)}


def normal_code(code: str) -> str:
    """Return the comparable form of an error code: ``ThrottlingException`` is ``throttling``."""
    return code.lower().removesuffix("exception")


def failure(
    error: Exception, exchange: ResponseMeta, operation: str, missing: Missing, now: datetime
) -> PollError:
    """Return why a request failed; the error itself may hold secrets and must end here.

    ``missing`` returns whether a code (as ``normal_code`` gives it) and a response say that the
    job or resource does not exist.
    """
    match cause(error):
        case AnswerTooLargeError() as found:
            exchange.status = exchange.status or found.status
            return malformed("AnswerTooLarge", found.hint, exchange)
    match error:
        case PollError():
            return error
        case sdk.ClientError() if error.operation_name != operation:
            code = shown_code(error.response.get("Error", {}).get("Code"))
            hint = f"from {shown_code(error.operation_name)}"
            return PollError(PollReason.AUTH, code, hint=hint, of_credentials=True)
        case sdk.ClientError():
            code = shown_code(error.response.get("Error", {}).get("Code"))
            status = exchange.status or error.response.get("ResponseMetadata", {}).get(
                "HTTPStatusCode", 0
            )
            normal = normal_code(code)
            if missing(normal, error.response):
                reason = PollReason.MISSING
            elif known := REASONS.get(normal):
                reason = known
            elif code and status == HTTPStatus.NOT_FOUND:
                reason = PollReason.MISSING
            else:
                reason = _of_status(status, exchange)
            return _answered(reason, code, exchange, now)
        case _ if is_from_parser(error):
            failed = (exchange.status or 0) >= HTTPStatus.MULTIPLE_CHOICES
            reason = _of_status(exchange.status or 0, exchange) if failed else PollReason.MALFORMED
            return _answered(reason, "", exchange, now)
    return unanswered(error)


def cause(error: Exception) -> object:
    """Return the error that the SDK's HTTP session wrapped, or else the error itself."""
    return (isinstance(error, sdk.HTTPClientError) and error.kwargs.get("error")) or error


def _answered(reason: PollReason, code: str, exchange: ResponseMeta, now: datetime) -> PollError:
    """An empty ``code`` is shown as the HTTP status."""
    shown = code or ("Unreadable" if reason is PollReason.MALFORMED else f"HTTP {exchange.status}")
    return PollError(
        reason,
        shown,
        status=exchange.status,
        request_id=_token(exchange.headers.get("x-amzn-requestid")),
        retry_after=retry_after.seconds(exchange.headers.get("retry-after"), now),
        hint=HINTS.get(normal_code(code), ""),
    )


def malformed(code: str, hint: str, exchange: ResponseMeta) -> PollError:
    """Return the error for a response that the SDK could read, but that fails a check."""
    request_id = _token(exchange.headers.get("x-amzn-requestid"))
    return PollError(
        PollReason.MALFORMED, code, status=exchange.status, request_id=request_id, hint=hint
    )


def _of_status(status: int, exchange: ResponseMeta) -> PollReason:
    """Return the reason for an error with no code, or an unknown one."""
    # A 404 without a request id is not from AWS: a proxy answers, or an endpoint was retired.
    if status == HTTPStatus.NOT_FOUND and "x-amzn-requestid" in exchange.headers:
        return PollReason.MISSING
    return _STATUSES.get(status) or _CLASSES.get(status // 100, PollReason.TRANSIENT)


def is_stale(error: sdk.ClientError, operation: str) -> bool:
    """Return whether AWS refuses the credentials themselves, so that others may help."""
    code = shown_code(error.response.get("Error", {}).get("Code"))
    return error.operation_name == operation and normal_code(code) in STALE


def unanswered(error: Exception) -> PollError:  # noqa: PLR0911 -- by kind
    """Return the failure of a request that got no response, or was never sent."""
    inner = getattr(error, "kwargs", {}).get("error")
    match error:
        case sdk.EndpointConnectionError():
            # A host that does not exist stays so; one that is unreachable may be back soon.
            system = getattr(inner, "os_error", None)
            number = getattr(inner, "errno", None) or getattr(system, "errno", 0)
            if number in _NO_SUCH_HOST:
                hint = "the endpoint has no address"
                return PollError(PollReason.UNAVAILABLE, "EAI_NONAME", hint=hint)
            hint = "name resolution failed" if number == socket.EAI_AGAIN else ""
            code = "EAI_AGAIN" if hint else errno.errorcode.get(number or 0, "EndpointConnection")
            return PollError(PollReason.TRANSIENT, code, hint=hint)
        case sdk.SSLError() if isinstance(inner, _UNTRUSTED):
            hint = (
                "the endpoint's certificate is not trusted; "
                "AWS_CA_BUNDLE can name another authority"
            )
            return PollError(PollReason.UNAVAILABLE, "CertificateError", hint=hint)
        case sdk.SSLError():
            return PollError(PollReason.TRANSIENT, "SSLError")
        case sdk.HTTPClientError() if isinstance(inner, UnicodeDecodeError):
            return PollError(PollReason.MALFORMED, "Unreadable")
    for classes, hint in _NOT_SENT if isinstance(error, sdk.HTTPClientError) else ():
        if isinstance(inner, classes):
            return PollError(PollReason.CONFIG, type(inner).__name__, hint=hint)
    name = type(error).__name__
    for kinds, reason, hint in _UNANSWERED:
        if isinstance(error, kinds):
            return PollError(reason, name, hint=hint)
    return PollError(PollReason.INTERNAL, name, where=where(error))


def where(error: Exception) -> str:
    """Return a traceback without messages, values or machine paths."""
    frames = traceback.extract_tb(error.__traceback__)
    lines = (f"{'/'.join(PurePath(f.filename).parts[-2:])}:{f.lineno} {f.name}" for f in frames)
    return "\n".join((*lines, type(error).__name__))


def is_from_parser(error: Exception) -> bool:
    """Return whether the SDK failed to read the response.

    A response that is nested too deeply may also fail later, where its values are read.
    """
    if isinstance(error, ResponseParserError | RecursionError):
        return True
    # KeyError, TypeError and others escape the parsers bare: only the traceback says from where.
    modules = (frame.f_globals.get("__name__", "") for frame, _ in walk_tb(error.__traceback__))
    return any(name.endswith("botocore.parsers") for name in modules)


def shown_code(value: object) -> str:
    """Return a well-formed error code, else an empty text."""
    # The SDK gives the HTTP status where the response has no code.
    text = str(value or "")
    return text if _CODE.fullmatch(text) and not text.isdigit() else ""


def _token(value: str | None) -> str | None:
    return value if value and _CODE.fullmatch(value) else None
