"""What both services refuse for the same reason and say in different words."""

from monitor.simulator import fault_rules, signing
from monitor.simulator.members import Service
from monitor.simulator.replies import ServiceError
from monitor.simulator.signing import Refusal

_FORBIDDEN = 403
_INVALID_TOKEN = "The security token included in the request is invalid."  # noqa: S105 - a message
_EXPIRED = "The security token included in the request is expired"
_CODES: dict[Service, dict[Refusal, tuple[str, str]]] = {
    "panorama": {
        Refusal.MISSING: ("MissingAuthenticationTokenException", "Missing Authentication Token"),
        Refusal.UNKNOWN_KEY: ("UnrecognizedClientException", _INVALID_TOKEN),
        Refusal.BAD_TOKEN: ("UnrecognizedClientException", _INVALID_TOKEN),
        Refusal.EXPIRED: ("ExpiredTokenException", _EXPIRED),
    },
    "importexport": {
        Refusal.MISSING: ("MissingAuthenticationToken", "Request is missing Authentication Token"),
        Refusal.UNKNOWN_KEY: (
            "InvalidClientTokenIdException",
            "The AWS Access Key ID does not exist.",
        ),
        Refusal.BAD_TOKEN: ("InvalidClientTokenId", _INVALID_TOKEN),
        Refusal.EXPIRED: ("ExpiredTokenException", _EXPIRED),
    },
}
_COMMON = {
    Refusal.SKEWED: ("RequestExpired", "The request's time is more than 15 minutes from now."),
    Refusal.WRONG_SCOPE: (
        "SignatureDoesNotMatch",
        "Credential should be scoped to a valid region.",
    ),
    Refusal.MISMATCH: (
        "SignatureDoesNotMatch",
        "The request signature we calculated does not match the signature you provided.",
    ),
}
_DENIED: dict[Service, str] = {
    "panorama": "AccessDeniedException",
    "importexport": "AccessDenied",
}


def not_let_in(service: Service, refusal: signing.Refusal) -> ServiceError:
    """Return the error for a request that failed verification."""
    code, message = _CODES[service].get(refusal) or _COMMON[refusal]
    return ServiceError(code, message, _FORBIDDEN)


def denied(service: Service, operation: str | None) -> ServiceError:
    """Return the error for a caller without permission."""
    user = "arn:aws:iam::123456789012:user/job-monitor"
    message = f"User: {user} is not authorized to perform: {service}:{operation}"
    return ServiceError(_DENIED[service], message, _FORBIDDEN)


def throttled(service: Service, rule: fault_rules.Throttle) -> ServiceError:
    """Return the error for a request over the rate."""
    panorama = service == "panorama"
    return ServiceError(
        rule.code or ("ThrottlingException" if panorama else "Throttling"),
        "Rate exceeded",
        rule.status or (429 if panorama else 400),
        retry_after=rule.retry_after,
    )


def scripted(rule: fault_rules.Error) -> ServiceError:
    """Return the error that a rule spells out."""
    return ServiceError(
        rule.code,
        rule.message,
        rule.status,
        members=rule.members,
        retry_after=rule.retry_after,
        code_in=rule.code_in,
    )
