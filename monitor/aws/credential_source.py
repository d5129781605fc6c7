"""Where credentials come from, why they did not come, and what to do about it.

Every failure on the way to credentials is ``auth``: none says anything of the watched service.
No text of an answer, of a file or of a helper passes.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from botocore import exceptions as sdk

from monitor.aws import errors
from monitor.aws.response_body import AnswerTooLargeError
from monitor.aws.unreadable import UnreadableAnswerError
from monitor.config import named_files
from monitor.errors import PollError, PollReason

if TYPE_CHECKING:
    from collections.abc import Iterable

    from botocore.credentials import ReadOnlyCredentials

ROLE = "role"
"""The origin of credentials of an account's own ``role_arn``."""
KEPT = frozenset(
    {"env", "shared-credentials-file", "config-file", "ec2-credentials-file", "boto-config"}
)
"""Origins that give the same credentials until somebody writes others there."""
LOGIN = "set AWS_PROFILE, run `aws sso login`, or give this machine or pod a role"
"""What to do where there are no credentials at all."""
_CLOCK = "compare this machine's clock with AWS"
_PROCESS = "custom-process"
_SOURCES = {
    "env": ("the environment", "check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"),
    "assume-role": ("AssumeRole of {profile}", "check role_arn and source_profile of the profile"),
    "assume-role-with-web-identity": (
        "AssumeRoleWithWebIdentity",
        "check AWS_ROLE_ARN, AWS_WEB_IDENTITY_TOKEN_FILE and the trust policy of the role",
    ),
    "sso": ("the SSO session of {profile}", "run `aws sso login --profile {name}`"),
    "login": ("the login session of {profile}", "run `aws login --profile {name}`"),
    "shared-credentials-file": ("{profile}", "check the keys of the profile"),
    "config-file": ("{profile}", "check the keys of the profile"),
    _PROCESS: (
        "the credential process of {profile}",
        "run the command by hand: it must print one JSON object with Version 1",
    ),
    "container-role": (
        "the container credentials endpoint",
        "check AWS_CONTAINER_CREDENTIALS_FULL_URI and the pod's identity association",
    ),
    "iam-role": (
        "the instance metadata service (IMDS)",
        "check the instance profile and the IMDS hop limit",
    ),
    ROLE: (
        "AssumeRole of the account's role_arn",
        "check role_arn, the trust policy of the role and the way to STS",
    ),
}
_OPERATIONS = {
    "AssumeRoleWithWebIdentity": "assume-role-with-web-identity",
    "GetRoleCredentials": "sso",
    "CreateToken": "sso",
    "CreateOAuth2Token": "login",
}
"""SDK operations that tell which origin failed, even one behind another."""
_STS = frozenset({ROLE, "assume-role", "assume-role-with-web-identity"})
_ANSWERING = dict.fromkeys(_STS, "STS") | {
    "sso": "SSO",
    "login": "the sign-in service",
    "container-role": "the endpoint",
    "iam-role": "the service",
}
"""Who answers where credentials come over the wire."""

_WHAT: tuple[tuple[type[Exception], str], ...] = (
    (sdk.PartialCredentialsError, "a key is missing"),
    (sdk.MetadataRetrievalError, "no credentials came"),
    (sdk.CredentialRetrievalError, "no credentials came"),
    (sdk.ConfigParseError, "the file is not valid"),
    (OSError, "a file cannot be read"),
    (UnicodeDecodeError, "a file is not UTF-8"),
)
_OF_PROCESS: tuple[tuple[type[Exception], str], ...] = (
    (OSError, "it cannot be started"),
    (UnicodeDecodeError, "what it prints is not UTF-8"),
    (sdk.CredentialRetrievalError, "it failed, or what it prints lacks a key or Version 1"),
    (ValueError, "Expiration is not an ISO 8601 time"),
    (OverflowError, "Expiration is not an ISO 8601 time"),
)


@dataclass(slots=True)
class Tried:
    """How far the search for credentials came.

    ``origin`` is the SDK's name of what was tried last; ``started`` says that a helper was
    started.
    """

    profile: str = "default"
    region: str = ""
    origin: str = ""
    started: bool = False
    printed_too_much: bool = False

    def named(self, origin: str | None = None) -> tuple[str, str]:
        """Return what an origin is called, and what to do where it fails."""
        words = _SOURCES.get(origin or self.origin, ("the AWS files", "check the AWS files"))
        values = {"profile": f'profile "{self.profile}"', "name": self.profile}
        return words[0].format(**values), words[1].format(**values)


def renewal(tried: Tried) -> str:
    """Say what to do about credentials that AWS refuses as they are."""
    source, usual = tried.named()
    return f"renew the credentials: AWS refuses those of {source}; {usual}"


def signature(tried: Tried) -> str:
    """Say what to do where AWS finds that a request was not signed right, or not at that time."""
    source, usual = tried.named()
    return f"{_CLOCK}; if it is right, the secret access key of {source} is not: {usual}"


def none_found(tried: Tried) -> PollError:
    """Return the error for a search that has found nothing, with all that was tried."""
    imds = os.environ.get("AWS_EC2_METADATA_DISABLED", "").lower() == "true"
    places = (
        "the environment",
        f'profile "{tried.profile}"',
        "container credentials",
        "IMDS (switched off)" if imds else "IMDS",
    )
    hint = f"no AWS credentials were found in {', '.join(places)}, region {tried.region}; {LOGIN}"
    return _auth("NoCredentialsError", hint)


def refuse_mfa(tried: Tried) -> PollError:
    """Return the error for a profile that needs a person."""
    hint = (
        f'profile "{tried.profile}" asks for an MFA code, which cannot be given here; '
        "remove mfa_serial, or use a role or `aws sso login` instead"
    )
    return _auth("MfaRequired", hint)


def refuse_odd(frozen: ReadOnlyCredentials, tried: Tried) -> None:
    """Raise PollError where a key cannot be sent in a header.

    A Secret made with ``echo`` ends in a line break; signed as it stands, the SDK fails to send
    it, and stripped it would hide what everyone else who reads the Secret meets.
    """
    parts = {
        "access key id": frozen.access_key,
        "secret access key": frozen.secret_key,
        "session token": frozen.token,
    }
    for name, value in parts.items():
        if value is None and name == "session token":
            continue
        if not isinstance(value, str) or not value:
            raise _told("MissingKey", f"the {name} is missing", tried)
        if "\n" in value or "\r" in value:
            raise _told("BadKey", f"the {name} holds a line break", tried, "write it without")
        if not value.isascii() or not value.isprintable() or " " in value:
            raise _told("BadKey", f"the {name} holds blanks or odd characters", tried)


def late(tried: Tried, seconds: float) -> PollError:
    """Return the error for credentials that did not come in time."""
    origin = _PROCESS if tried.started else tried.origin
    what = (
        f"it did not end within {seconds:g} s"
        if tried.started
        else f"none came within {seconds:g} s"
    )
    if origin in _STS:
        what = f"STS did not answer within {seconds:g} s"
    return _told("Timeout", what, tried, origin=origin)


def expired(tried: Tried) -> PollError:
    """Return the error for credentials that are too old when they come."""
    origin = _PROCESS if tried.started else None
    return _told("Expired", "they have expired already", tried, _CLOCK, origin=origin)


def pending(tried: Tried, seconds: float) -> PollError:
    """Return the error for a poll that need not wait for credentials any longer."""
    origin = _PROCESS if tried.started else None
    what = f"none came within {seconds:.0f} s; still waiting"
    return _told("CredentialsPending", what, tried, origin=origin)


def no_external_id(name: str, error: Exception) -> PollError:
    """Return the error for an ``external_id_file`` that cannot be read."""
    if isinstance(error, UnicodeDecodeError):
        message, remedy = (
            f"{named_files.called(name)} is not UTF-8",
            "write the external id as text",
        )
    else:
        message, remedy = named_files.trouble(name, error, "the external id")
    return _told(type(error).__name__, f"external_id_file: {message}", Tried(origin=ROLE), remedy)


def awaited(tried: Tried, seconds: float) -> str:
    """Say which credentials are still waited for, and what to do if they never come."""
    source, usual = tried.named(_PROCESS if tried.started else None)
    return f"the credentials were still waited for after {seconds:.0f} s: {source}; {usual}"


def failure(error: Exception, tried: Tried) -> PollError:
    """Return why credentials did not come; the error itself may hold secrets and must end here."""
    origin = _origin(error, tried)
    match errors.cause(error):
        case AnswerTooLargeError() as cause:
            what = f"{_ANSWERING.get(origin, 'whoever answers')}: {cause.hint}"
            return _told("AnswerTooLarge", what, tried, origin=origin, status=cause.status)
    match error:
        case sdk.ClientError():
            return _refused(error, origin, tried)
        case sdk.ProfileNotFound():
            name = error.kwargs.get("profile", tried.profile)
            hint = (
                f'the AWS profile "{name}" does not exist; check AWS_CONFIG_FILE and its sections'
            )
            return _auth("ProfileNotFound", hint)
        case sdk.SSOError() | sdk.TokenRetrievalError() | sdk.NoAuthTokenError():
            return _told(type(error).__name__, "no valid token", tried, origin="sso")
        case sdk.EndpointConnectionError() | sdk.SSLError() | sdk.HTTPClientError():
            found = errors.unanswered(error)
            what = " ".join(filter(None, (_host(origin), found.hint or "did not answer")))
            return _told(found.code, what, tried, origin=origin)
    return _unread(error, origin, tried)


def _unread(error: Exception, origin: str, tried: Tried) -> PollError:
    if isinstance(error, RuntimeError) and "expired" in str(error):
        return expired(tried)
    return _told(type(error).__name__, _what(error, origin, tried), tried, origin=origin)


def _origin(error: Exception, tried: Tried) -> str:
    if isinstance(error, sdk.ClientError):
        return _OPERATIONS.get(error.operation_name, tried.origin)
    provider = getattr(error, "kwargs", {}).get("provider")
    if provider == _PROCESS or (
        tried.started and not isinstance(error, sdk.HTTPClientError | RuntimeError)
    ):
        return _PROCESS
    return tried.origin


def _refused(error: sdk.ClientError, origin: str, tried: Tried) -> PollError:
    """Judge what STS or SSO said when it was asked for credentials; the service was not asked."""
    code = errors.shown_code(error.response.get("Error", {}).get("Code"))
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    what = f"from {errors.shown_code(error.operation_name)}: refused"
    clock = errors.hint_of(code)
    return _told(code or f"HTTP {status}", what, tried, clock, origin=origin, status=status)


def _what(error: Exception, origin: str, tried: Tried) -> str:
    """Say in a few words what is wrong, without a word of what was read."""
    if origin == _PROCESS:
        return _of_process(error, tried)
    who = _ANSWERING.get(origin)
    if who and isinstance(error, UnreadableAnswerError):
        return f"{error.name} in the answer of {who} cannot be read"
    if who and errors.is_from_parser(error):
        return f"the answer of {who} cannot be read"
    return _first(error, _WHAT, "what came cannot be read")


def _of_process(error: Exception, tried: Tried) -> str:
    if tried.printed_too_much:
        return "it prints too much"
    if type(error).__name__ == "JSONDecodeError":
        return "what it prints is not JSON"
    return _first(error, _OF_PROCESS, "what it prints is not the JSON object that the SDK expects")


def _first(error: Exception, words: Iterable[tuple[type[Exception], str]], otherwise: str) -> str:
    return next((said for kind, said in words if isinstance(error, kind)), otherwise)


def _host(origin: str) -> str:
    return "STS:" if origin in _STS else ""


def _told(
    code: str,
    what: str,
    tried: Tried,
    remedy: str = "",
    *,
    origin: str | None = None,
    status: int | None = None,
) -> PollError:
    source, usual = tried.named(origin)
    hint = f"the credentials could not be read: {source}: {what}; {remedy or usual}"
    return _auth(code, hint, status=status)


def _auth(code: str, hint: str, **more: Any) -> PollError:
    return PollError(PollReason.AUTH, code, hint=hint, of_credentials=True, **more)
