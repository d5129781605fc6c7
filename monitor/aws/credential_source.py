"""The sources of credentials, the reasons why they fail, and the fix for each.

Every such failure is ``auth``: none says anything about the watched service.
No text of a response, of a file or of a helper passes.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from botocore import exceptions as sdk

from monitor.aws import errors
from monitor.aws.response_body import AnswerTooLargeError
from monitor.aws.unreadable_answer import UnreadableAnswerError
from monitor.config import named_files
from monitor.errors import PollError, PollReason

if TYPE_CHECKING:
    from botocore.credentials import ReadOnlyCredentials

ROLE = "role"
"""The origin of credentials of an account's own ``role_arn``."""
KEPT = frozenset(
    {"env", "shared-credentials-file", "config-file", "ec2-credentials-file", "boto-config"}
)
"""Origins that give the same credentials until somebody writes others there."""
LOGIN = "set AWS_PROFILE, run `aws sso login`, or give this machine or pod a role"
"""The fix where there are no credentials at all."""
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
"""SDK operations that name the origin that failed, even one behind another."""
_STS = frozenset({ROLE, "assume-role", "assume-role-with-web-identity"})
_ANSWERING = dict.fromkeys(_STS, "STS") | {
    "sso": "SSO",
    "login": "the sign-in service",
    "container-role": "the endpoint",
    "iam-role": "the service",
}
"""Origin → the server that its credentials come from over the network."""

_WHAT: tuple[tuple[type[Exception], str], ...] = (
    (sdk.PartialCredentialsError, "a key is missing"),
    (sdk.MetadataRetrievalError, "no credentials were returned"),
    (sdk.CredentialRetrievalError, "no credentials were returned"),
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
_auth = partial(PollError, PollReason.AUTH, of_credentials=True)


@dataclass(slots=True)
class CredentialSearch:
    """The progress of one search for credentials.

    ``origin`` is the SDK's name of the source tried last; ``started`` says that a helper was
    started.
    """

    profile: str = "default"
    region: str = ""
    origin: str = ""
    started: bool = False
    printed_too_much: bool = False

    def named(self, origin: str | None = None) -> tuple[str, str]:
        """Return the name of an origin, and the fix where it fails."""
        words = _SOURCES.get(origin or self.origin, ("the AWS files", "check the AWS files"))
        values = {"profile": f'profile "{self.profile}"', "name": self.profile}
        return words[0].format(**values), words[1].format(**values)


def remedy(code: str, tried: CredentialSearch) -> str:
    """Return the fix where AWS refuses credentials, or a signature; else an empty text."""
    normal, (source, usual) = errors.normal_code(code), tried.named()
    if normal in errors.STALE:
        return f"renew the credentials: AWS refuses those of {source}; {usual}"
    if normal in errors.SIGNATURE:
        return f"{_CLOCK}; if it is right, the secret access key of {source} is not: {usual}"
    return ""


def none_found(tried: CredentialSearch) -> PollError:
    """Return the error for a search that found nothing, with every place it tried."""
    imds = os.environ.get("AWS_EC2_METADATA_DISABLED", "").lower() == "true"
    places = (
        "the environment",
        f'profile "{tried.profile}"',
        "container credentials",
        "IMDS (switched off)" if imds else "IMDS",
    )
    hint = f"no AWS credentials were found in {', '.join(places)}, region {tried.region}; {LOGIN}"
    return _auth("NoCredentialsError", hint=hint)


def refuse_mfa(tried: CredentialSearch) -> PollError:
    """Return the error for a profile that needs a person."""
    hint = (
        f'profile "{tried.profile}" asks for an MFA code, which cannot be given here; '
        "remove mfa_serial, or use a role or `aws sso login` instead"
    )
    return _auth("MfaRequired", hint=hint)


def refuse_odd(frozen: ReadOnlyCredentials, tried: CredentialSearch) -> None:
    """Raise PollError where a key cannot be sent in a header."""
    # A Secret made with ``echo`` ends in a line break. The SDK fails to send it as it is;
    # stripping it here would hide the fault from everyone else who reads the Secret.
    parts = {
        "access key id": frozen.access_key,
        "secret access key": frozen.secret_key,
        "session token": frozen.token,
    }
    for name, value in parts.items():
        if value is None and name == "session token":
            continue
        if not isinstance(value, str) or not value:
            raise _source_error("MissingKey", f"the {name} is missing", tried)
        if "\n" in value or "\r" in value:
            raise _source_error(
                "BadKey", f"the {name} holds a line break", tried, "write it without"
            )
        if not value.isascii() or not value.isprintable() or " " in value:
            raise _source_error("BadKey", f"the {name} holds blanks or odd characters", tried)


def late(tried: CredentialSearch, seconds: float) -> PollError:
    """Return the error for a search that timed out."""
    origin = _PROCESS if tried.started else tried.origin
    what = f"timed out after {seconds:g} s"
    if origin in _STS:
        what = f"STS did not answer within {seconds:g} s"
    return _source_error("Timeout", what, tried, origin=origin)


def expired(tried: CredentialSearch) -> PollError:
    """Return the error for credentials that have expired when they arrive."""
    origin = _PROCESS if tried.started else None
    return _source_error("Expired", "they have expired already", tried, _CLOCK, origin=origin)


def pending(tried: CredentialSearch, seconds: float) -> PollError:
    """Return the error for a poll that no longer waits for credentials."""
    origin = _PROCESS if tried.started else None
    what = f"no credentials after {seconds:.0f} s; still waiting"
    return _source_error("CredentialsPending", what, tried, origin=origin)


def no_external_id(name: str, error: Exception) -> PollError:
    """Return the error for an ``external_id_file`` that cannot be read."""
    if isinstance(error, UnicodeDecodeError):
        message, remedy = (
            f"{named_files.called(name)} is not UTF-8",
            "write the external id as text",
        )
    else:
        message, remedy = named_files.trouble(name, error, "the external id")
    return _source_error(
        type(error).__name__, f"external_id_file: {message}", CredentialSearch(origin=ROLE), remedy
    )


def awaited(tried: CredentialSearch, seconds: float) -> str:
    """Return the source of credentials that are still pending, and the fix if they never come."""
    source, usual = tried.named(_PROCESS if tried.started else None)
    return f"the credentials were still waited for after {seconds:.0f} s: {source}; {usual}"


def failure(error: Exception, tried: CredentialSearch) -> PollError:  # noqa: PLR0911 -- by kind
    """Return why a search failed; the error itself may hold secrets and must end here."""
    origin, words = _origin_and_words(error, tried)
    match errors.cause(error):
        case AnswerTooLargeError() as cause:
            what = f"{_ANSWERING.get(origin, 'whoever answers')}: {cause.hint}"
            return _source_error("AnswerTooLarge", what, tried, origin=origin, status=cause.status)
    match error:
        case sdk.ClientError():
            code = errors.shown_code(error.response.get("Error", {}).get("Code"))
            status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
            what = f"from {errors.shown_code(error.operation_name)}: refused"
            clock = errors.HINTS.get(errors.normal_code(code), "")
            return _source_error(
                code or f"HTTP {status}", what, tried, clock, origin=origin, status=status
            )
        case sdk.ProfileNotFound():
            name = error.kwargs.get("profile", tried.profile)
            hint = (
                f'the AWS profile "{name}" does not exist; check AWS_CONFIG_FILE and its sections'
            )
            return _auth("ProfileNotFound", hint=hint)
        case sdk.SSOError() | sdk.TokenRetrievalError() | sdk.NoAuthTokenError():
            return _source_error(type(error).__name__, "no valid token", tried, origin="sso")
        case sdk.EndpointConnectionError() | sdk.SSLError() | sdk.HTTPClientError():
            found = errors.unanswered(error)
            host = "STS: " if origin in _STS else ""
            return _source_error(
                found.code, host + (found.hint or "did not answer"), tried, origin=origin
            )
        case RuntimeError() if "expired" in str(error):
            # The SDK refuses to sign with what it has just refreshed, and has no class for that.
            return expired(tried)
    return _source_error(type(error).__name__, words, tried, origin=origin)


def _origin_and_words(error: Exception, tried: CredentialSearch) -> tuple[str, str]:
    """Return the origin that failed, and what is wrong, without quoting what was read."""
    origin = tried.origin
    provider = getattr(error, "kwargs", {}).get("provider")
    if isinstance(error, sdk.ClientError):
        origin = _OPERATIONS.get(error.operation_name, origin)
    elif provider == _PROCESS or (
        tried.started and not isinstance(error, sdk.HTTPClientError | RuntimeError)
    ):
        origin = _PROCESS
    words, otherwise = _WHAT, "what came cannot be read"
    if origin == _PROCESS:
        if tried.printed_too_much:
            return origin, "it prints too much"
        if type(error).__name__ == "JSONDecodeError":
            return origin, "what it prints is not JSON"
        words, otherwise = _OF_PROCESS, "what it prints is not the JSON object that the SDK expects"
    who = _ANSWERING.get(origin)
    if who and isinstance(error, UnreadableAnswerError):
        return origin, f"{error.name} in the answer of {who} cannot be read"
    if who and errors.is_from_parser(error):
        return origin, f"the answer of {who} cannot be read"
    return origin, next((said for kind, said in words if isinstance(error, kind)), otherwise)


def _source_error(
    code: str,
    what: str,
    tried: CredentialSearch,
    remedy: str = "",
    *,
    origin: str | None = None,
    status: int | None = None,
) -> PollError:
    source, usual = tried.named(origin)
    hint = f"the credentials could not be read: {source}: {what}; {remedy or usual}"
    return _auth(code, status=status, hint=hint)
