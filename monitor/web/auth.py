"""Authentication: who may read, and who may write."""

from __future__ import annotations

import hashlib
import hmac
import os
from base64 import b64decode
from collections import OrderedDict
from contextlib import suppress
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import anyio
import anyio.to_thread
import bcrypt
from aiohttp import hdrs, web

from monitor.config import SHORTEST_TOKEN, file_digest, named_files
from monitor.web import problems
from monitor.web.problems import RefusedError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from aiohttp.typedefs import Handler

    from monitor.web.web_config import WebConfigFile

MOST_KNOWN = 128
"""Verified passwords that are remembered, so that a scrape does not cost a tenth of a second."""
MOST_WAITING = 32
"""Passwords that may wait to be verified, one after the other; the next must come again."""
_ENOUGH = 65536
_OF_FORMS = frozenset({"text/plain", "application/x-www-form-urlencoded", "multipart/form-data"})
_LONGEST_PASSWORD = 72
"""Bytes that bcrypt looks at."""


class Passwords:
    """Verifies passwords against bcrypt hashes, one at a time, in a thread."""

    def __init__(self) -> None:
        """Know none yet."""
        self._secret = os.urandom(32)
        self._known: OrderedDict[bytes, None] = OrderedDict()
        self._turn = anyio.CapacityLimiter(1)

    async def verify(self, users: Mapping[str, str], name: str, password: bytes) -> bool:
        """Return True if ``password`` is that of ``name``; a refusal costs the same for every name.

        Raises:
            RefusedError: too many wait already.
        """
        stored = users.get(name)
        # Whoever guesses names must not tell them apart by the time that the answer takes.
        dearest = max(users.values(), key=_cost)
        against = stored or dearest
        # Worthless outside of this process: each start makes a new secret.
        text = f"{len(name)}:{name}:{against}:".encode(errors="surrogateescape") + password
        known = hmac.digest(self._secret, text, "sha256")
        if stored and known in self._known:
            self._known.move_to_end(known)
            return True
        if self._turn.statistics().tasks_waiting >= MOST_WAITING:
            raise RefusedError(429, "too many passwords to verify", headers={"Retry-After": "5"})
        fits = await anyio.to_thread.run_sync(
            _fits, password, against, _cost(dearest), limiter=self._turn
        )
        if stored is None or not fits:
            return False
        self._known[known] = None
        if len(self._known) > MOST_KNOWN:
            self._known.popitem(last=False)
        return True


def _fits(password: bytes, stored: str, cost: int) -> bool:
    """Compare with a hash; if it does not fit, do as much work as with one of ``cost``.

    Each step of the cost doubles the work: that of 4, and once more of 4, 5 and 6, is that of 7.
    """
    steps = range(_cost(stored), cost)
    for against in (stored, *(f"{stored[:4]}{step:02}{stored[6:]}" for step in steps)):
        with suppress(ValueError):  # not a hash that bcrypt can read: it fits nothing
            if bcrypt.checkpw(password[:_LONGEST_PASSWORD], against.encode()):
                return against is stored
    return False


def _cost(stored: str) -> int:
    return int(stored[4:6])


class Tokens:
    """The bearer tokens of some files, read again when one of them changes."""

    def __init__(self, files: Sequence[Path]) -> None:
        """Read nothing yet."""
        self._files = files
        self._read: bytes | None = None
        self._digests: tuple[bytes, ...] = ()

    async def verify(self, token: bytes) -> bool:
        """Return True if it is one of them; takes as long for a wrong one."""
        if not self._files:
            return False
        await anyio.to_thread.run_sync(self._refresh)
        given = hashlib.sha256(token).digest()
        # A sum, not any(): the time must not show which of the tokens matched.
        return sum(hmac.compare_digest(given, each) for each in self._digests) > 0

    def _refresh(self) -> None:
        current = file_digest.digest(self._files)
        if current == self._read:
            return
        digests = []
        for path in self._files:
            # A file that cannot be read admits nobody; the tokens of the others stay valid.
            try:
                token = named_files.read(path, _ENOUGH).strip()
            except (OSError, ValueError):
                continue
            if len(token) >= SHORTEST_TOKEN:
                digests.append(hashlib.sha256(token).digest())
        self._digests, self._read = tuple(digests), current


USER = web.RequestKey("user", str)
"""The name of the user who sent a request, where basic auth tells it."""


class Guard:
    """Lets in who may come in."""

    def __init__(
        self,
        web_config: WebConfigFile | None = None,
        token_files: Sequence[Path] = (),
        external_url: str | None = None,
    ) -> None:
        """Without the first two, everybody may read and nobody write.

        ``external_url`` is where a proxy serves the page, by another name perhaps than it asks for.
        """
        self._web_config = web_config
        self._passwords = Passwords()
        self._tokens = Tokens(token_files)
        self._has_tokens = bool(token_files)
        self._external_host = urlsplit(external_url or "").netloc.lower()

    @property
    def headers(self) -> Mapping[str, str]:
        """Headers that every answer is to carry."""
        return self._web_config.loaded.headers if self._web_config else {}

    @property
    def can_admit_writers(self) -> bool:
        """True if there are credentials with which one may write."""
        return bool(self._users or self._has_tokens)

    @property
    def _users(self) -> Mapping[str, str]:
        return self._web_config.loaded.users if self._web_config else {}

    @web.middleware
    async def middleware(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Where there are users, answer nothing at all to anybody else."""
        if self._users:
            try:
                await self._identify(request)
            except RefusedError as refused:
                if problems.concerns(request):
                    return problems.answer(refused)
                return web.Response(
                    status=refused.status, text=f"{refused.detail}\n", headers=refused.headers
                )
        return await handler(request)

    async def admit_writer(self, request: web.Request) -> None:
        """Raise RefusedError unless this request may change something."""
        if not self.can_admit_writers:
            raise RefusedError(
                403,
                "writing is not configured: name a file with a token in server.token_files, or one "
                "with basic_auth_users in server.web_config_file",
            )
        await self._identify(request)
        # What a page of another site makes a browser send comes with its user's credentials.
        site = request.headers.get("Sec-Fetch-Site")
        origin = request.headers.get(hdrs.ORIGIN)
        if site is not None:
            foreign = site not in {"same-origin", "none"}
        else:  # an old browser, or none at all
            own = {request.host.lower(), self._external_host} - {""}
            foreign = origin is not None and origin.partition("://")[2].lower() not in own
        if foreign:
            raise RefusedError(403, "the request comes from a page of another site")
        # A form of any site can send these types without the browser's asking first (CORS).
        form = request.content_type in _OF_FORMS and hdrs.CONTENT_TYPE in request.headers
        if form or (request.body_exists and request.content_type != "application/json"):
            raise RefusedError(415, "the body must be JSON, with Content-Type: application/json")

    async def _identify(self, request: web.Request) -> None:
        scheme, _, rest = request.headers.get(hdrs.AUTHORIZATION, "").partition(" ")
        given = rest.strip().encode(errors="surrogateescape")
        match scheme.lower():
            case "bearer":
                admitted = await self._tokens.verify(given)
            case "basic" if self._users:
                try:
                    user, _, password = b64decode(given, validate=True).partition(b":")
                except ValueError:  # verified all the same, to take as long as a wrong name
                    user = password = b""
                name = user.decode(errors="surrogateescape")
                admitted = await self._passwords.verify(self._users, name, password)
                if admitted:
                    request[USER] = name
            case _:
                admitted = False
        if not admitted:
            why = "credentials are wrong" if scheme else "credentials are needed"
            # A browser asks its user for a password only where there is one.
            realm = 'realm="job-monitor"'
            challenge = f'Basic {realm}, charset="UTF-8"' if self._users else f"Bearer {realm}"
            raise RefusedError(401, why, headers={hdrs.WWW_AUTHENTICATE: challenge})
