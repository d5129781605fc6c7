"""Checks of accounts, quotas, store, server and metrics."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from monitor import model
from monitor.aws import queues
from monitor.config.messages import similar
from monitor.config.settings import SHORTEST_TOKEN, Account
from monitor.config.values import parse_listen
from monitor.config.yaml_document import shown
from monitor.metrics import job_label
from monitor.validation import store_settings
from monitor.validation.problems import SettingProblem, check_name, check_secret, unknown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from collections.abc import Set as AbstractSet

    from monitor.config.settings import ServerSettings, Settings
    from monitor.config.yaml_document import Path

_ROLE = re.compile(r"arn:aws(-[a-z]+)*:iam::[0-9]{12}:role/[\w+=,.@/-]{1,576}")
_HOST = re.compile(r"[\w-]+(\.[\w-]+)*\.?", re.ASCII)
OWN_PATHS = frozenset(
    ["-", "api", "healthz", "job", "metrics", "readyz", "silences", "static", "watch", "watches"]
)
"""What the paths of the page, the API and the probes begin with."""
_PREFIX = re.compile(r"(/(?!\.{1,2}(/|$))[\w.~-]+)*/?", re.ASCII)
_SESSION = re.compile(r"[\w+=,.@-]{2,64}")
# These endpoints exist by a naming rule, but not for a service with one global endpoint.
_NO_FIPS = re.compile(r"(^|[.-])(fips|dualstack|us-gov-\w+-\d|cn-\w+-\d)([.-]|$)|\.api\.aws$|\.cn$")
_ALSO_CALLED = frozenset({"sts", "sns", "sqs", "events"})


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
    yield from store_settings.check(settings)
    yield from _server(settings.server)
    yield from _labels(settings, "job_labels", settings.metrics.job_labels, job_label)
    yield from _watch_labels(settings)


def _account(path: Path, account: Account) -> Iterator[SettingProblem]:
    if account.role_arn is not None and not _ROLE.fullmatch(account.role_arn):
        remedy = "write it as arn:aws:iam::123456789012:role/NAME"
        yield SettingProblem((*path, "role_arn"), "is not the ARN of a role", remedy)
    if not _SESSION.fullmatch(account.session_name):
        remedy = "use 2 to 64 letters, digits and any of +=,.@-_"
        yield SettingProblem((*path, "session_name"), "is not a valid session name", remedy)
    if account.account_id is not None and not re.fullmatch("[0-9]{12}", account.account_id):
        remedy = 'write its 12 digits in quotes: "123456789012"'
        yield SettingProblem((*path, "account_id"), "is not the id of an account", remedy)
    of_role = Account(role_arn=account.role_arn).given_id
    if account.account_id and of_role not in {None, account.account_id}:
        message = "is not the account of role_arn"
        yield SettingProblem((*path, "account_id"), message, "remove it, or fix one of them")
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
    if server.external_url is not None and (fault := _external_url(server.external_url)):
        yield SettingProblem(("server", "external_url"), *fault)
    if server.dashboard_url is not None and not _is_page(server.dashboard_url):
        remedy = "write https://HOST/PATH, without user name and password"
        yield SettingProblem(("server", "dashboard_url"), "is not an http or https URL", remedy)


def _external_url(url: str) -> tuple[str, str] | None:
    """Return what is wrong with the URL of the page, and the remedy."""
    remedy = "write it as https://monitor.example.com, or with a path: https://example.com/jobs"
    try:
        parts = urlsplit(url)
    except ValueError:
        return "is not a URL", remedy
    if "@" in parts.netloc:
        return "has a user name or password in it", "leave them out: links are shown to everybody"
    if "?" in url or "#" in url:
        return "has a query or a fragment", "end it with the path"
    host = _http_host(url)
    if host is None or not (":" in host or _HOST.fullmatch(host)):
        return "is not an absolute http or https URL", remedy
    fault = None
    if not _PREFIX.fullmatch(parts.path):
        message = "has a path with empty steps, dots alone or unusual characters"
        remedy = "use letters, digits, dots, dashes and underscores between single slashes"
        fault = message, remedy
    elif parts.path.strip("/").partition("/")[0] in OWN_PATHS:
        message = "begins its path with one that the monitor itself serves"
        fault = message, "choose another, such as /job-monitor: both are served"
    return fault


def _is_page(url: str) -> bool:
    """Return whether it is a URL to link to: it may have a query, but no user."""
    try:
        parts = urlsplit(url)
        known = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
    return known and "@" not in parts.netloc and not re.search(r"\s", url)


def _watch_labels(settings: Settings) -> Iterator[SettingProblem]:
    labels = settings.metrics.watch_labels
    yield from _labels(settings, "watch_labels", labels, model.label_column)
    if len(labels) > model.MOST_WATCH_LABELS:
        message = f"has more than {model.MOST_WATCH_LABELS} labels, each of which multiplies series"
        yield SettingProblem(("metrics", "watch_labels"), message, "keep those that route alerts")
    for index, label in enumerate(labels):
        name = model.label_column(label)
        if name in model.TAKEN_LABELS or name.startswith("__"):
            message = f'"{shown(label)}" is a name that series have already'
            remedy = "give the watches the same value under another label"
            yield SettingProblem(("metrics", "watch_labels", index), message, remedy)


def _labels(
    settings: Settings, key: str, labels: Sequence[str], column: Callable[[str], str]
) -> Iterator[SettingProblem]:
    known = {label for watch in settings.watches for label in watch.labels}
    first: dict[str, str] = {}
    for index, label in enumerate(labels):
        path = ("metrics", key, index)
        # Prometheus allows fewer signs than labels do: two labels may end as one.
        same = first.setdefault(column(label), label)
        if not label:
            yield SettingProblem(path, "is empty", "name a label of a watch")
        elif label in labels[:index]:
            yield SettingProblem(path, f'"{shown(label)}" is named twice', "keep one")
        elif same != label:
            message = f'"{shown(label)}" and "{shown(same)}" both become {column(label)}'
            yield SettingProblem(path, message, "keep one")
        elif label not in known:
            message = f'no watch has the label "{shown(label)}"'
            yield SettingProblem(path, message, similar(label, known), warning=True)
