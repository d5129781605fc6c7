"""Signature Version 4 by parts that are prepared once: a poll hashes twice, and that is all.

What is signed of a poll never changes but for the time and the credentials, so the canonical
request is kept in two halves around them. The signing key holds for a day.
"""

from __future__ import annotations

import time
from hashlib import sha256
from hmac import digest
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

from botocore.auth import EMPTY_SHA256_HASH, SIGNED_HEADERS_BLACKLIST, UNSIGNED_PAYLOAD
from botocore.utils import normalize_url_path

if TYPE_CHECKING:
    from collections.abc import Sequence

    from botocore.credentials import ReadOnlyCredentials

ALGORITHM = "AWS4-HMAC-SHA256"
DATE = "x-amz-date"
TOKEN = "x-amz-security-token"  # noqa: S105 -- the name of a header
_BLOCK = 64
"""Bytes of a block of SHA-256."""
_PAYLOAD = "x-amz-content-sha256"


class Signer:
    """Signs the requests of one service and region that have the same constant headers."""

    __slots__ = (
        "_before",
        "_credentials",
        "_hash",
        "_inner",
        "_key",
        "_key_of",
        "_lines",
        "_middle",
        "_names",
        "_outer",
        "_region",
        "_service",
        "authorization",
        "date",
        "second",
    )

    def __init__(
        self,
        service: str,
        region: str,
        headers: Sequence[tuple[str, str]],
        credentials: ReadOnlyCredentials,
    ) -> None:
        """``headers`` has those that are signed in every request, and no date or token."""
        self._service = service
        self._region = region
        self._credentials = credentials
        found: dict[str, str] = {}
        for name, value in headers:
            key = name.lower()
            if key not in SIGNED_HEADERS_BLACKLIST:
                text = " ".join(value.split())
                found[key] = f"{found[key]},{text}" if key in found else text
        self._hash = found.get(_PAYLOAD)
        found[DATE] = ""
        if credentials.token:
            found[TOKEN] = " ".join(credentials.token.split())
        names = sorted(found)
        self._names = ";".join(names)
        at = names.index(DATE)
        self._before = "".join(f"{name}:{found[name]}\n" for name in names[:at]) + f"{DATE}:"
        after = "".join(f"{name}:{found[name]}\n" for name in names[at + 1 :])
        self._middle = f"\n{after}\n{self._names}\n"
        self._key_of = self._lines = ""
        self._key = b""
        self._inner = self._outer = sha256()
        self.second = -1
        self.date = ""
        """The value of the header with the date, as of ``at``."""
        self.authorization = ""
        """The header of that name up to the signature, as of ``at``."""

    def at(self, second: int) -> None:
        """Sign from now on for this Unix time; costs nothing where it is the last one."""
        if second == self.second:
            return
        date = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(second))
        day, secret = date[:8], self._credentials.secret_key
        if day != self._key_of:
            key = f"AWS4{secret}".encode()
            for part in (day, self._region, self._service, "aws4_request"):
                key = digest(key, part.encode(), "sha256")
            self._key, self._key_of = key, day
        scope = f"{day}/{self._region}/{self._service}/aws4_request"
        # HMAC by its definition: the state after what does not change is kept, and copying it takes
        # a quarter of the time of a whole HMAC.
        self._inner = sha256(bytes(byte ^ 0x36 for byte in self._key.ljust(_BLOCK, b"\0")))
        self._inner.update(f"{ALGORITHM}\n{date}\n{scope}\n".encode())
        self._outer = sha256(bytes(byte ^ 0x5C for byte in self._key.ljust(_BLOCK, b"\0")))
        self._lines = f"{self._before}{date}{self._middle}"
        self.authorization = (
            f"{ALGORITHM} Credential={self._credentials.access_key}/{scope}, "
            f"SignedHeaders={self._names}, Signature="
        )
        self.second, self.date = second, date

    def sign(self, line: str, body: bytes) -> str:
        """Return the signature of a request; ``line`` is as ``canonical_line`` gives it."""
        payload = self._hash or (sha256(body).hexdigest() if body else EMPTY_SHA256_HASH)
        canonical = sha256(f"{line}{self._lines}{payload}".encode()).hexdigest()
        inner, outer = self._inner.copy(), self._outer.copy()
        inner.update(canonical.encode())
        outer.update(inner.digest())
        return outer.hexdigest()


def canonical_line(method: str, url: str) -> str:
    """Return the method, path and query of a request in their canonical form."""
    parts = urlsplit(url)
    path = quote(normalize_url_path(parts.path), safe="/~")
    pairs = [pair.partition("=") for pair in parts.query.split("&")] if parts.query else []
    query = "&".join(f"{name}={value}" for name, value in sorted((n, v) for n, _, v in pairs))
    return f"{method}\n{path}\n{query}\n"


def varies(name: str, value: str) -> bool:
    """Return whether a header is made of the body, so that no other request can have it."""
    key = name.lower()
    made = key.startswith(("x-amz-checksum-", "content-md5", "content-encoding", "x-amz-trailer"))
    return made or (key == _PAYLOAD and value not in {UNSIGNED_PAYLOAD, EMPTY_SHA256_HASH})
