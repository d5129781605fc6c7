"""Asks a daemon over its HTTP API."""

from __future__ import annotations

import os
import ssl
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote, urlencode, urlsplit

import aiohttp
from pydantic import ValidationError
from yarl import URL

from monitor import retry_after
from monitor.config import named_files
from monitor.errors import ConfigurationError, DaemonError, Problem, printable
from monitor.web.api.job_schemas import Jobs, JobView, JobWait
from monitor.web.api.ledger_schemas import Deliveries, Transitions
from monitor.web.api.schema_base import View
from monitor.web.api.schemas import (
    FollowedWatches,
    Replicas,
    Silences,
    SilenceView,
    Sinks,
    Sources,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence
    from pathlib import Path

    from monitor.web.api.ledger_schemas import DeliveryView, TransitionView
    from monitor.web.api.schemas import FollowedWatch, ReplicaView, SinkView, SourceView

ANSWER_WITHIN = 30.0
"""Seconds, beside those for which a question itself asks to wait."""
PAGE = 500
"""The most items that a daemon returns at once."""
_LONGEST_DETAIL = 200
_LONGEST_TOKEN_FILE = 64 * 1024
_LONGEST_CA_FILE = 8 * 1024 * 1024
_PIPE_WITHIN = 5.0
"""Seconds in which a pipe, as of a shell's ``<(command)``, must bring all of its content."""
_PASSING = frozenset({
    HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.INTERNAL_SERVER_ERROR, HTTPStatus.BAD_GATEWAY,
    HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.GATEWAY_TIMEOUT,
})  # fmt: skip
_GOOD = frozenset({HTTPStatus.OK, HTTPStatus.CREATED})
_DENIED = frozenset({HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN})

Params = list[tuple[str, str]]
A = TypeVar("A", bound=View)
P = TypeVar("P", Jobs, Deliveries)


class _Status(View):
    config_loaded_at: datetime | None


class _Added(View):
    name: str


class _Mistake(View):
    path: str = ""
    message: str = ""
    remedy: str = ""


class _Refusal(View):
    status: int
    detail: str
    errors: tuple[_Mistake, ...] = ()


class DaemonClient:
    """One daemon; every method raises DaemonError where it does not answer as asked."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        """``url`` is without a slash at its end."""
        self._session = session
        self.url = url

    async def job(self, key: str) -> JobView | None:
        """Return one job, followed or remembered, if there is one."""
        return await self._unless_unknown(JobView, f"jobs/{quote(key, safe='')}")

    async def wait(self, key: str, after: int, seconds: float) -> JobView | None:
        """Return one job once it has more transitions than ``after``, or the time is over.

        ``None`` if there is none.
        """
        asked = [("for", "change"), ("after", str(after)), ("timeout", f"{seconds:.3f}s")]
        path = f"jobs/{quote(key, safe='')}/wait"
        found = await self._unless_unknown(JobWait, path, asked, seconds)
        return found.job if found else None

    async def jobs(self, asked: Params, most: int) -> tuple[Sequence[JobView], int]:
        """Return at most ``most`` of the followed jobs that fit, by key, and how many fit."""
        found, last = await self._pages(Jobs, "jobs", asked, most)
        # Where jobs must be compared one by one, a total knows those of its own page alone.
        return found, max(last.total, len(found))

    async def transitions(self, asked: Params, most: int) -> Sequence[TransitionView]:
        """Return the newest transitions that fit, in the order of the ledger; at most a page."""
        limits = [("newest", "true"), ("limit", str(most))]
        return (await self._get(Transitions, "transitions", [*asked, *limits])).items

    async def transition(self, position: int) -> TransitionView | None:
        """Return one transition by its position, if the ledger still has it."""
        limits = [("after", str(position - 1)), ("limit", "1")]
        found = (await self._get(Transitions, "transitions", limits)).items
        return next((one for one in found if one.position == position), None)

    async def deliveries(self, asked: Params, most: int) -> Sequence[DeliveryView]:
        """Return at most ``most`` of the deliveries that fit, the newest first."""
        found, _ = await self._pages(Deliveries, "deliveries", asked, most)
        return found

    async def delivery(self, number: int) -> DeliveryView | None:
        """Return one delivery by its id."""
        limits = [("cursor", str(number + 1)), ("limit", "1")]
        found = (await self._get(Deliveries, "deliveries", limits)).items
        return next((one for one in found if one.id == number), None)

    async def sinks(self) -> Sequence[SinkView]:
        """Return the configured sinks."""
        return (await self._get(Sinks, "sinks")).items

    async def followed_watches(self) -> Sequence[FollowedWatch]:
        """Return the watches, and when those of run time were added."""
        return (await self._get(FollowedWatches, "watches")).items

    async def watches(self) -> Sequence[Mapping[str, Any]]:
        """Return the watches as they are written."""
        return [each.watch for each in await self.followed_watches()]

    async def add_watch(self, watch: Mapping[str, Any]) -> None:
        """Add a run-time watch, or find the same one there already."""
        await self.ask("POST", _Added, "watches", body=watch)

    async def sources(self) -> Sequence[SourceView]:
        """Return where it looks."""
        return (await self._get(Sources, "sources")).items

    async def replicas(self) -> Sequence[ReplicaView]:
        """Return the replicas that share its store; none if it cannot be shared."""
        return (await self._get(Replicas, "replicas")).items

    async def has_begun(self) -> bool:
        """Whether it follows its jobs already: it answers before that, while it starts."""
        return (await self._get(_Status, "status")).config_loaded_at is not None

    async def silences(self) -> Sequence[SilenceView]:
        """Return the silences, the one that ends last first."""
        return (await self._get(Silences, "silences")).items

    async def _pages(
        self, kind: type[P], path: str, asked: Params, most: int
    ) -> tuple[Sequence[Any], P]:
        """Return at most ``most`` items, read by the page, and the last page."""
        found: list[Any] = []
        cursor: Params = []
        while True:
            limit: Params = [("limit", str(min(PAGE, most - len(found))))]
            page = await self._get(kind, path, [*asked, *limit, *cursor])
            found += page.items
            # A page without items may come before others: the daemon searches by the piece.
            if page.next_cursor is None or len(found) >= most:
                return found[:most], page
            cursor = [("cursor", page.next_cursor)]

    async def _unless_unknown(
        self, kind: type[A], path: str, asked: Params | None = None, waits: float = 0.0
    ) -> A | None:
        try:
            return await self._get(kind, path, asked, waits)
        except DaemonError as error:
            if error.status == HTTPStatus.NOT_FOUND:
                return None
            raise

    async def _get(
        self, kind: type[A], path: str, asked: Params | None = None, waits: float = 0.0
    ) -> A:
        query = f"?{urlencode(asked)}" if asked else ""
        return await self.ask("GET", kind, f"{path}{query}", waits=waits)

    async def ask(
        self,
        method: str,
        kind: type[A],
        path: str,
        *,
        body: Mapping[str, Any] | None = None,
        waits: float = 0.0,
    ) -> A:
        """Send a request for ``path``, whose parts are quoted, and return what it answers."""
        try:
            async with self._session.request(
                method,
                # What is quoted in a key must stay so.
                URL(f"{self.url}/api/v1/{path}", encoded=True),
                json=body,
                timeout=aiohttp.ClientTimeout(total=waits + ANSWER_WITHIN),
                allow_redirects=False,
            ) as response:
                content = await response.read()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            failure = self._unanswered(error)
        else:
            found = _read(kind, content) if response.status in _GOOD else None
            if found is not None:
                return found
            failure = self._refused(response.status, _read(_Refusal, content), response.headers)
        raise failure

    def _unanswered(self, error: Exception) -> DaemonError:
        match error:
            case aiohttp.ClientConnectorCertificateError() | aiohttp.ClientConnectorSSLError():
                text = "its certificate is not trusted, or TLS is not spoken there"
                return DaemonError(f"{self.url}: {text} (--ca-file can name another authority)")
            case TimeoutError():
                return DaemonError(f"{self.url} does not answer in time", passing=True)
        cause = getattr(error, "os_error", error)
        number = getattr(cause, "errno", None)
        known = os.strerror(number).lower() if number and number > 0 else ""
        return DaemonError(
            f"{self.url} is unreachable: {known or type(cause).__name__}", passing=True
        )

    def _refused(
        self, status: int, refusal: _Refusal | None, headers: Mapping[str, str]
    ) -> DaemonError:
        if refusal is None:
            passing = status in _PASSING or status in _GOOD
            text = f"{self.url} answers with status {status}, and not as a job monitor does"
            return DaemonError(text, passing=passing)
        shown = printable(refusal.detail[:_LONGEST_DETAIL])
        problems = []
        for one in refusal.errors:
            words = (one.path, one.message, one.remedy)
            path, message, remedy = (printable(each[:_LONGEST_DETAIL]) for each in words)
            problems.append(Problem("", path, message, remedy))
        hint = " (--token-file names a file with a token)" if status in _DENIED else ""
        return DaemonError(
            f"{self.url} answers with status {status}: {shown}{hint}",
            status=status,
            passing=status in _PASSING,
            retry_after=retry_after.seconds(headers.get("Retry-After"), datetime.now(UTC)),
            problems=problems,
        )


def _read(kind: type[A], body: bytes) -> A | None:
    try:
        return kind.model_validate_json(body)
    except ValidationError:
        return None


@asynccontextmanager
async def open_client(
    url: str, token_file: Path | None = None, ca_file: Path | None = None
) -> AsyncIterator[DaemonClient]:
    """Yield what asks the daemon at ``url``; no proxy is used, and no redirect followed.

    Raises:
        ConfigurationError: the URL is none, or a file cannot be used.
    """
    base, headers, tls = _base(url), _credentials(token_file), _tls(ca_file)
    connector = aiohttp.TCPConnector(ssl=tls)
    async with aiohttp.ClientSession(connector=connector, headers=headers) as session:
        yield DaemonClient(session, base)


def _base(url: str) -> str:
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        parts = urlsplit("")
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise _mistake("--server", "is not a URL", "write http://HOST:PORT or https://HOST:PORT")
    if "@" in parts.netloc:
        remedy = "name a file with a token with --token-file"
        raise _mistake("--server", "holds a user or password", remedy)
    if parts.query or parts.fragment or any(sign.isspace() for sign in url):
        raise _mistake("--server", "holds more than host, port and path", "leave the rest out")
    return url.rstrip("/")


def _credentials(token_file: Path | None) -> dict[str, str]:
    if token_file is None:
        return {}
    try:
        content = named_files.read(token_file, _LONGEST_TOKEN_FILE, pipe_within=_PIPE_WITHIN)
        token = content.decode("latin-1").strip()
    except (OSError, ValueError) as error:
        raise _unreadable("--token-file", token_file, error, "a token") from None
    if not token or not token.isascii() or not token.isprintable():
        raise _mistake("--token-file", f"{token_file} holds no token", "one line, as the daemon's")
    return {"Authorization": f"Bearer {token}"}


def _tls(ca_file: Path | None) -> ssl.SSLContext:
    if ca_file is None:
        return ssl.create_default_context()
    try:
        content = named_files.read(ca_file, _LONGEST_CA_FILE, pipe_within=_PIPE_WITHIN)
    except (OSError, ValueError) as error:
        raise _unreadable("--ca-file", ca_file, error, "certificates in PEM form") from None
    try:
        # What is not ASCII can only be a comment; nothing at all would mean the system's own.
        return ssl.create_default_context(cadata=content.decode("ascii", "ignore") or "empty")
    except ssl.SSLError:
        raise _mistake("--ca-file", f"{ca_file} holds no certificate", "it must be PEM") from None


def _unreadable(option: str, file: Path, error: Exception, holds: str) -> ConfigurationError:
    message, _ = named_files.trouble(file, error, holds)
    return _mistake(option, message, f"name a file that holds {holds}, and that you may read")


def _mistake(option: str, message: str, remedy: str = "") -> ConfigurationError:
    return ConfigurationError([Problem("", option, message, remedy)])
