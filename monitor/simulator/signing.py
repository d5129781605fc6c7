"""AWS Signature Version 4, seen from the server.

Written from the public description of the algorithm, without an SDK, so that an SDK's
signature is checked and not merely repeated.
"""

import hashlib
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from urllib.parse import quote, unquote

MAX_SKEW = 15 * 60
_ALGORITHM = "AWS4-HMAC-SHA256"
_AUTHORIZATION = re.compile(
    rf"{_ALGORITHM} Credential=([^/]+)/(\d{{8}})/([^/]+)/([^/]+)/aws4_request, *"
    r"SignedHeaders=([^,]+), *Signature=([0-9a-f]{64})"
)


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """The parts that matter; path and query are as sent, `headers` ignores case."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes


class Refusal(Enum):
    """Why a request is not let in."""

    MISSING = "the request is not signed"
    UNKNOWN_KEY = "the access key is unknown"
    BAD_TOKEN = "the session token is not the key's"  # noqa: S105 - a reason, no secret
    EXPIRED = "the credentials have expired"
    SKEWED = "the request's time is too far from now"
    WRONG_SCOPE = "the signature is for another region"
    MISMATCH = "the signature does not match"


class NotLetInError(Exception):
    """The request failed verification."""

    def __init__(self, refusal: Refusal) -> None:
        """Keep the reason."""
        super().__init__(refusal.value)
        self.refusal = refusal


@dataclass(frozen=True, slots=True)
class Scope:
    """What an Authorization header claims."""

    access_key: str
    date: str
    region: str
    service: str
    signed_headers: tuple[str, ...]
    signature: str


@dataclass(frozen=True, slots=True)
class Key:
    """What the server knows of one access key."""

    secret: str
    session_token: str | None = None
    expired: bool = False


def scope(headers: Mapping[str, str]) -> Scope | None:
    """Read the Authorization header; None where there is none of this kind."""
    found = _AUTHORIZATION.fullmatch(headers.get("Authorization", "").strip())
    if not found:
        return None
    key, date, region, service, signed, signature = found.groups()
    return Scope(key, date, region, service, tuple(signed.split(";")), signature)


def verify(http: HttpRequest, keys: Mapping[str, Key], now: float) -> Scope:
    """Return the scope of a request that is signed rightly at `now`, in seconds since 1970.

    Raises:
        NotLetInError: it is not, in the order in which AWS looks.
    """
    claimed = scope(http.headers)
    if claimed is None:
        raise NotLetInError(Refusal.MISSING)
    key = keys.get(claimed.access_key)
    if key is None:
        raise NotLetInError(Refusal.UNKNOWN_KEY)
    if http.headers.get("X-Amz-Security-Token") != key.session_token:
        raise NotLetInError(Refusal.BAD_TOKEN)
    if key.expired:
        raise NotLetInError(Refusal.EXPIRED)
    stamp = http.headers.get("X-Amz-Date", "")
    if abs(_moment(stamp) - now) > MAX_SKEW:
        raise NotLetInError(Refusal.SKEWED)
    if not hmac.compare_digest(signature(http, claimed, key.secret), claimed.signature):
        raise NotLetInError(Refusal.MISMATCH)
    return claimed


def signature(http: HttpRequest, claimed: Scope, secret: str) -> str:
    """Compute the signature that this request must carry."""
    stamp = http.headers.get("X-Amz-Date", "")
    parts = (claimed.date, claimed.region, claimed.service, "aws4_request")
    digest = hashlib.sha256(_canonical(http, claimed.signed_headers).encode()).hexdigest()
    to_sign = "\n".join((_ALGORITHM, stamp, "/".join(parts), digest))
    key = b"AWS4" + secret.encode()
    for part in parts:
        key = hmac.digest(key, part.encode(), "sha256")
    return hmac.digest(key, to_sign.encode(), "sha256").hex()


def _canonical(http: HttpRequest, signed: tuple[str, ...]) -> str:
    # The path is encoded once more than on the wire, as for every service but S3.
    path = quote(http.path, safe="/~")
    headers = [f"{name}:{' '.join(http.headers.get(name, '').split())}\n" for name in signed]
    payload = http.headers.get("X-Amz-Content-SHA256")
    if payload != "UNSIGNED-PAYLOAD":
        payload = hashlib.sha256(http.body).hexdigest()
    pairs = [pair.partition("=") for pair in http.query.split("&") if pair]
    encoded = sorted((_requote(name), _requote(value)) for name, _, value in pairs)
    query = "&".join(f"{name}={value}" for name, value in encoded)
    return "\n".join((http.method, path, query, "".join(headers), ";".join(signed), payload))


def _requote(text: str) -> str:
    return quote(unquote(text), safe="-_.~")


def _moment(stamp: str) -> float:
    try:
        return datetime.strptime(stamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC).timestamp()
    except ValueError:
        return float("-inf")
