"""Checks of accounts, quotas, store, server and metrics."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from monitor.aws import queues
from monitor.config.messages import similar
from monitor.config.settings import SHORTEST_TOKEN
from monitor.config.values import parse_listen
from monitor.config.yaml_document import shown
from monitor.metrics import job_label
from monitor.validation.problems import SettingProblem, check_name, check_secret, unknown

if TYPE_CHECKING:
    from collections.abc import Iterator
    from collections.abc import Set as AbstractSet

    from monitor.config.settings import Account, ServerSettings, Settings
    from monitor.config.yaml_document import Path

_ROLE = re.compile(r"arn:aws(-[a-z]+)*:iam::[0-9]{12}:role/[\w+=,.@/-]{1,576}")
_HOST = re.compile(r"[\w-]+(\.[\w-]+)*\.?", re.ASCII)
_SESSION = re.compile(r"[\w+=,.@-]{2,64}")
# These endpoints exist by a naming rule, but not for a service with one global endpoint.
_NO_FIPS = re.compile(r"(^|[.-])(fips|dualstack|us-gov-\w+-\d|cn-\w+-\d)([.-]|$)|\.api\.aws$|\.cn$")
_ALSO_CALLED = frozenset({"sts", "sns", "sqs", "events"})
_STORES = "write sqlite:///absolute/path.db, sqlite:relative.db or postgresql://user@host/db"


def check(
    settings: Settings, services: AbstractSet[str], fixed: AbstractSet[str]
) -> Iterator[SettingProblem]:
    """Check all but watches, sinks and routes.

    ``services`` are those of the job types, ``fixed`` those with one global endpoint.
    """
    for name, account in settings.accounts.items():
        yield from check_name(("accounts", name), name)
        yield from _account(("accounts", name), account)
        yield from _endpoints(("accounts", name, "endpoint_urls"), account, services, fixed)
    yield from _hints(settings)
    for service in settings.quotas:
        if service not in services:
            yield unknown(("quotas", service), "service", service, services)
    yield from _store(settings.store)
    yield from _server(settings.server)
    yield from _job_labels(settings)


def _account(path: Path, account: Account) -> Iterator[SettingProblem]:
    if account.role_arn is not None and not _ROLE.fullmatch(account.role_arn):
        remedy = "write it as arn:aws:iam::123456789012:role/NAME"
        yield SettingProblem((*path, "role_arn"), "is not the ARN of a role", remedy)
    if not _SESSION.fullmatch(account.session_name):
        remedy = "use 2 to 64 letters, digits and any of +=,.@-_"
        yield SettingProblem((*path, "session_name"), "is not a valid session name", remedy)
    if account.external_id_file is not None:
        here = (*path, "external_id_file")
        if account.role_arn is None:
            message, remedy = "has no effect without role_arn", "add role_arn, or remove it"
            yield SettingProblem(here, message, remedy)
        yield from check_secret(here, account.external_id_file)


def _endpoints(
    path: Path, account: Account, services: AbstractSet[str], fixed: AbstractSet[str]
) -> Iterator[SettingProblem]:
    for service, url in account.endpoint_urls.items():
        here = (*path, service)
        if service not in services | _ALSO_CALLED:
            yield unknown(here, "service", service, services | _ALSO_CALLED)
        host = _http_host(url)
        if host is None:
            remedy = "write https://HOST or http://HOST:PORT"
            yield SettingProblem(here, "is not a plain http or https URL", remedy)
        elif service in fixed and _NO_FIPS.search(host):
            message = f"{service} has no FIPS, dual-stack, GovCloud or China endpoint"
            yield SettingProblem(
                here, message, "remove it, or name an emulator or private endpoint"
            )


def _http_host(url: str) -> str | None:
    """Return the host of a URL that has no more than scheme, host, port and path."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return None
    # Only what the SDK needs of an endpoint is allowed: the rest may be a pasted secret.
    surplus = parts.query or parts.fragment or "@" in parts.netloc or not url.isascii()
    if parts.scheme not in {"http", "https"} or surplus or port == 0 or re.search(r"\s", url):
        return None
    return parts.hostname or None


def _hints(settings: Settings) -> Iterator[SettingProblem]:
    accounts = {"default", *settings.accounts}
    seen: dict[str, int] = {}
    for index, hint in enumerate(settings.hints):
        here = ("hints", index)
        if hint.account not in accounts:
            yield unknown((*here, "account"), "account", hint.account, accounts)
        at = queues.address(hint.queue_url, hint.region)
        if at is None:
            remedy = "write https://sqs.REGION.amazonaws.com/123456789012/NAME; region must match"
            yield SettingProblem((*here, "queue_url"), "is not the URL of an SQS queue", remedy)
            continue
        if at.name.endswith(".fifo"):
            # One message that fails would hold up all others of its group.
            message, remedy = "is a FIFO queue", "use a standard queue"
            yield SettingProblem((*here, "queue_url"), message, remedy)
        first = seen.setdefault(at.arn, index)
        if first != index:
            message = f"is also the queue of hints[{first}]"
            yield SettingProblem((*here, "queue_url"), message, "keep one")


def _store(url: str) -> Iterator[SettingProblem]:
    path = ("store",)
    scheme, _, rest = url.partition(":")
    if scheme in {"postgres", "postgresql+asyncpg"}:
        yield SettingProblem(path, "has an unknown scheme", "begin it with postgresql://")
    elif scheme == "postgresql" and not rest.startswith("//"):
        yield SettingProblem(path, "is not a database URL", _STORES)
    elif scheme == "sqlite" and (rest.startswith("//") and not rest.startswith("///")):
        yield SettingProblem(path, "has two slashes, which would name a host", _STORES)
    elif scheme == "sqlite" and (not rest.strip("/") or ":memory:" in rest):
        message = "names no file, so nothing would survive a restart"
        yield SettingProblem(path, message, _STORES)
    elif scheme not in {"sqlite", "postgresql"}:
        yield SettingProblem(path, "is not a store URL", _STORES)


def _server(server: ServerSettings) -> Iterator[SettingProblem]:
    try:
        parse_listen(server.listen)
    except ValueError as error:
        remedy = "write 127.0.0.1:9847, [::1]:9847 for IPv6, or :9847 for every address"
        yield SettingProblem(("server", "listen"), str(error), remedy)
    for index, name in enumerate(server.token_files):
        yield from check_secret(("server", "token_files", index), name, SHORTEST_TOKEN)
    for index, name in enumerate(server.hosts):
        if not _HOST.fullmatch(name):
            remedy = "write it without scheme and port, such as monitor.example.com"
            yield SettingProblem(("server", "hosts", index), "is not a host name", remedy)


def _job_labels(settings: Settings) -> Iterator[SettingProblem]:
    known = {label for watch in settings.watches for label in watch.labels}
    first: dict[str, str] = {}
    for index, label in enumerate(settings.metrics.job_labels):
        path = ("metrics", "job_labels", index)
        # Prometheus allows fewer signs than labels do: two labels may end as one.
        same = first.setdefault(job_label(label), label)
        if not label:
            yield SettingProblem(path, "is empty", "name a label of a watch")
        elif label in settings.metrics.job_labels[:index]:
            yield SettingProblem(path, f'"{shown(label)}" is named twice', "keep one")
        elif same != label:
            message = f'"{shown(label)}" and "{shown(same)}" both become {job_label(label)}'
            yield SettingProblem(path, message, "keep one")
        elif label not in known:
            message = f'no watch has the label "{shown(label)}"'
            yield SettingProblem(path, message, similar(label, known), warning=True)
