"""Checks of accounts, store, server, log and quotas."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from monitor.config import named_files
from monitor.config.findings import JOB_TYPES, Finding, bad_names, unknown, unreadable_secret
from monitor.config.settings import SHORTEST_TOKEN, parse_listen

if TYPE_CHECKING:
    from collections.abc import Iterator
    from collections.abc import Set as AbstractSet

    from monitor.config.settings import Account, Settings
    from monitor.config.yaml_document import Path

_ROLE = re.compile(r"arn:aws(-[a-z]+)*:iam::[0-9]{12}:role/[\w+=,.@/-]{1,576}")
_HOST = re.compile(r"[\w-]+(\.[\w-]+)*\.?", re.ASCII)
_SESSION = re.compile(r"[\w+=,.@-]{2,64}")
_NO_FIPS = re.compile(r"(^|[.-])(fips|dualstack|us-gov-\w+-\d|cn-\w+-\d)([.-]|$)|\.api\.aws$|\.cn$")
_ALSO_CALLED = frozenset({"sts", "sns", "sqs", "events"})
_ENOUGH = 65536
"""Bytes of a token's file."""
_STORES = "write sqlite:///absolute/path.db, sqlite:relative.db or postgresql://user@host/db"


def findings(
    settings: Settings, services: AbstractSet[str], fixed: AbstractSet[str]
) -> Iterator[Finding]:
    """Check all but watches, sinks and routes.

    ``services`` are those of the job types, ``fixed`` those with one global endpoint.
    """
    yield from bad_names(("accounts",), settings.accounts)
    for name, account in settings.accounts.items():
        yield from _account(("accounts", name), account)
        yield from _endpoints(("accounts", name, "endpoint_urls"), account, services, fixed)
    for service in settings.quotas:
        if service not in services:
            yield unknown(("quotas", service), "service", service, services, JOB_TYPES)
    yield from _store(settings.store)
    yield from _listen(settings.server.listen)
    for index, name in enumerate(settings.server.token_files):
        yield from _token(("server", "token_files", index), name)
    for index, name in enumerate(settings.server.hosts):
        if not _HOST.fullmatch(name):
            remedy = "write it without scheme and port, such as monitor.example.com"
            yield Finding(("server", "hosts", index), "is no name of a host", remedy)


def _account(path: Path, account: Account) -> Iterator[Finding]:
    if account.role_arn is not None and not _ROLE.fullmatch(account.role_arn):
        remedy = "write it as arn:aws:iam::123456789012:role/NAME"
        yield Finding((*path, "role_arn"), "is no ARN of a role", remedy)
    if not _SESSION.fullmatch(account.session_name):
        remedy = "use 2 to 64 letters, digits and any of +=,.@-_"
        yield Finding((*path, "session_name"), "is no name of a session", remedy)
    if account.external_id_file is not None:
        here = (*path, "external_id_file")
        if account.role_arn is None:
            message, remedy = "is of no use without role_arn", "add role_arn, or remove it"
            yield Finding(here, message, remedy, rests=((*path, "role_arn"),))
        yield from unreadable_secret(here, account.external_id_file)


def _endpoints(
    path: Path, account: Account, services: AbstractSet[str], fixed: AbstractSet[str]
) -> Iterator[Finding]:
    for service, url in account.endpoint_urls.items():
        here = (*path, service)
        if service not in services | _ALSO_CALLED:
            yield unknown(here, "service", service, services | _ALSO_CALLED, JOB_TYPES)
        host = _http_host(url)
        if host is None:
            remedy = "write it as https://HOST or http://HOST:PORT"
            yield Finding(here, "is no plain http or https URL", remedy)
        elif service in fixed and _NO_FIPS.search(host):
            message = f"{service} has no FIPS, dual-stack, GovCloud or China endpoint"
            yield Finding(here, message, "remove it, or name an emulator or private endpoint")


def _http_host(url: str) -> str | None:
    """Return the host of a URL that has no more than scheme, host, port and path."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return None
    surplus = parts.query or parts.fragment or "@" in parts.netloc or not url.isascii()
    if parts.scheme not in {"http", "https"} or surplus or port == 0 or re.search(r"\s", url):
        return None
    return parts.hostname or None


def _store(url: str) -> Iterator[Finding]:
    path = ("store",)
    scheme, _, rest = url.partition(":")
    if scheme in {"postgres", "postgresql+asyncpg"}:
        yield Finding(path, "has an unknown scheme", "begin it with postgresql://")
    elif scheme == "postgresql" and not rest.startswith("//"):
        yield Finding(path, "is no URL of a database", _STORES)
    elif scheme == "sqlite" and (rest.startswith("//") and not rest.startswith("///")):
        yield Finding(path, "has two slashes, which would name a host", _STORES)
    elif scheme == "sqlite" and (not rest.strip("/") or ":memory:" in rest):
        yield Finding(path, "names no file, and nothing would outlive a restart", _STORES)
    elif scheme not in {"sqlite", "postgresql"}:
        yield Finding(path, "is no URL of a store", _STORES)


def _listen(address: str) -> Iterator[Finding]:
    try:
        parse_listen(address)
    except ValueError as error:
        remedy = "write 127.0.0.1:9847, [::1]:9847 for IPv6, or :9847 for every address"
        yield Finding(("server", "listen"), str(error), remedy)


def _token(path: Path, name: str) -> Iterator[Finding]:
    try:
        token = named_files.read(name, _ENOUGH).strip()
    except (OSError, ValueError):
        token = b""
    if not token:
        yield from unreadable_secret(path, name)
    elif len(token) < SHORTEST_TOKEN:
        message = f"holds a token of less than {SHORTEST_TOKEN} characters, which can be guessed"
        yield Finding(path, message, "make one: openssl rand -hex 32")
