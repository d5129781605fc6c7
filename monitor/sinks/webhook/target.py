"""Where a webhook posts to, and with what: its settings, read and checked."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from ipaddress import ip_network
from typing import TYPE_CHECKING

from yarl import URL

from monitor.config import named_files
from monitor.errors import ConfigurationError
from monitor.sinks import template
from monitor.sinks.settings_reader import Reader
from monitor.sinks.webhook import addresses, signature, success, tls

if TYPE_CHECKING:
    import ssl
    from collections.abc import Mapping

    from monitor.config import WebhookSink
    from monitor.errors import Problem
    from monitor.sinks.webhook.addresses import Network

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE = re.compile(r"[\t\x20-\x7e]*")
_URL = re.compile(r"[\x21-\x7e]+")
_OWN = re.compile(
    r"(webhook|content|proxy)-.*|host|connection|keep-alive|transfer-encoding|te|trailer|upgrade"
    r"|expect|accept-encoding",
    re.IGNORECASE,
)
_TYPE = re.compile(r"[\w.+-]+/[\w.+-]+( *;[\t\x20-\x7e]*)?", re.ASCII)
_REMEDIES = {"pagerduty": "it needs template_secrets: {routing_key: FILE}"}
_CLOUD_EVENT = "application/cloudevents+json; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A receiver; its secrets are kept out of its ``repr``."""

    origin: str
    """Scheme and host: all of the URL that may be shown."""
    url: URL = field(repr=False)
    headers: tuple[tuple[str, str], ...] = field(repr=False)
    keys: tuple[bytes, ...] = field(repr=False)
    allowed: tuple[Network, ...]
    timeout: float
    """Seconds for one attempt."""
    content_type: str
    template: template.Source | None
    template_secrets: Mapping[str, str] = field(repr=False)
    success: success.Success | None
    """What a reply of 2xx must fulfil, if anything."""
    context: ssl.SSLContext
    server_name: str | None
    proxy: Proxy | None


@dataclass(frozen=True, slots=True)
class Proxy:
    """What stands between the monitor and the receiver."""

    url: URL
    credentials: str | None = field(repr=False)
    """As ``user:password``."""


def load(name: str, settings: WebhookSink, before: Endpoint | None = None) -> Endpoint:
    """Read the files that ``settings`` name, and check everything.

    Blocks on the file system, and for a template on the process that tries it: not for the one
    of ``before``, which is what the same settings came to earlier.

    Raises:
        ConfigurationError: with every problem found.
    """
    files = Reader(name)
    reader = _Reader(files)
    allowed = reader.networks(settings.allow_networks)
    url = reader.url(settings, allowed)
    headers = reader.headers(settings)
    keys = reader.keys(settings.secret_files)
    content_type = reader.content_type(settings)
    secrets = reader.template_secrets(settings)
    source = reader.template(settings, content_type, before.template if before else None)
    condition = reader.success(settings)
    proxy = reader.proxy(settings, allowed)
    context = tls.context(settings.tls, files)
    if files.problems or context is None:
        raise ConfigurationError(files.problems)
    return Endpoint(
        f"{url.scheme}://{url.host}",
        url,
        headers,
        keys,
        allowed,
        settings.timeout,
        content_type,
        source,
        secrets,
        condition,
        context,
        settings.tls.server_name,
        proxy,
    )


def files(settings: WebhookSink) -> list[str]:
    """Name the files that ``load`` reads, and perhaps a ready template, which is none."""
    tls_files = (settings.tls.ca_file, settings.tls.cert_file, settings.tls.key_file)
    single = (*tls_files, settings.proxy_auth_file, settings.template)
    return [
        *settings.secret_files,
        *settings.header_files.values(),
        *settings.template_secrets.values(),
        *filter(None, single),
    ]


def problems(name: str, settings: WebhookSink) -> list[Problem]:
    """Return what is wrong with ``settings``; no text repeats a secret."""
    try:
        load(name, settings)
    except ConfigurationError as error:
        return list(error.problems)
    return []


class _Reader:
    """Reads the settings of one webhook."""

    def __init__(self, files: Reader) -> None:
        self._problem = files.problem
        self._file = files.file

    def networks(self, texts: list[str]) -> tuple[Network, ...]:
        return tuple(
            network
            for number, text in enumerate(texts)
            if (network := self._network(f"allow_networks[{number}]", text))
        )

    def _network(self, key: str, text: str) -> Network | None:
        try:
            return ip_network(text)
        except ValueError:
            self._problem(key, f"{text!r} is no network", "write it as 10.0.0.0/8 or fd00::/8")
            return None

    def url(self, settings: WebhookSink, allowed: tuple[Network, ...]) -> URL:
        """Return the URL exactly as written, as receivers may sign its very characters."""
        try:
            url = _parse(settings.url.get_secret_value())
        except ValueError:
            self._problem("url", "is no URL", "write it as https://host/path, in plain ASCII")
            return URL()
        if fault := _fault(url, settings, allowed):
            self._problem("url", *fault)
        return url

    def headers(self, settings: WebhookSink) -> tuple[tuple[str, str], ...]:
        given = [("headers", name, value) for name, value in settings.headers.items()]
        read = [
            ("header_files", name, value)
            for name, path in settings.header_files.items()
            if (value := self._file(f"header_files.{name}", path))
        ]
        seen: set[str] = set()
        for section, name, value in (*given, *read):
            self._check_header(f"{section}.{name}", name, value, seen)
        return tuple((name, value) for _, name, value in (*given, *read))

    def _check_header(self, key: str, name: str, value: str, seen: set[str]) -> None:
        if not _TOKEN.fullmatch(name):
            self._problem(key, "is no header name", "use letters, digits and dashes")
        elif _OWN.fullmatch(name):
            self._problem(key, "is a header that the monitor sets itself", "leave it out")
        elif name.lower() in seen:
            self._problem(key, "is given twice", "leave one of them out")
        elif not _VALUE.fullmatch(value):
            self._problem(key, "has a value that is not one line of ASCII", "mend the value")
        seen.add(name.lower())

    def keys(self, paths: list[str]) -> tuple[bytes, ...]:
        return tuple(
            key
            for number, path in enumerate(paths)
            if (key := self._key(f"secret_files[{number}]", path))
        )

    def _key(self, key: str, path: str) -> bytes | None:
        text = self._file(key, path)
        try:
            return signature.parse_key(text) if text else None
        except ValueError as error:
            remedy = 'make one with: echo "whsec_$(openssl rand -base64 32)"'
            self._problem(key, f"the secret in {named_files.called(path)} {error}", remedy)
            return None

    def content_type(self, settings: WebhookSink) -> str:
        usual = _CLOUD_EVENT if settings.template is None else "application/json"
        given = usual if settings.content_type is None else settings.content_type
        if not _TYPE.fullmatch(given):
            self._problem("content_type", "is no media type", "write it as application/json")
        return given

    def template_secrets(self, settings: WebhookSink) -> dict[str, str]:
        if settings.template_secrets and settings.template is None:
            self._problem("template_secrets", "are of no use without template", "add template")
        return {
            name: value
            for name, path in settings.template_secrets.items()
            if (value := self._file(f"template_secrets.{name}", path))
        }

    def template(
        self, settings: WebhookSink, content_type: str, tried: template.Source | None
    ) -> template.Source | None:
        if settings.template is None:
            return None
        try:
            source = template.read(settings.template, content_type)
            if source != tried:
                template.try_out(source, settings.template_secrets)
        except template.TemplateError as error:
            where = _template(settings.template, error.line)
            remedy = _REMEDIES.get(settings.template, "")
            self._problem("template", f"{where}: {error.message}", remedy)
            return None
        return source

    def success(self, settings: WebhookSink) -> success.Success | None:
        given = settings.success
        if given is None:
            given = success.READY.get(settings.template or "")
        try:
            return None if given is None else success.compiled(given)
        except success.SuccessError as error:
            self._problem("success", error.message, error.remedy)
            return None

    def proxy(self, settings: WebhookSink, allowed: tuple[Network, ...]) -> Proxy | None:
        if settings.proxy is None:
            if settings.proxy_auth_file is not None:
                self._problem("proxy_auth_file", "is of no use without proxy", "add proxy")
            return None
        credentials = self._credentials(settings.proxy_auth_file)
        try:
            url = _parse(settings.proxy.get_secret_value())
        except ValueError:
            self._problem("proxy", "is no URL", "write it as http://proxy.example.com:3128")
            return None
        if fault := _proxy_fault(url, allowed):
            self._problem("proxy", *fault)
        return Proxy(url, credentials)

    def _credentials(self, path: str | None) -> str | None:
        text = self._file("proxy_auth_file", path) if path is not None else None
        if text and not (":" in text and text.isprintable()):
            message = f"{named_files.called(path or '')} holds no user:password"
            self._problem("proxy_auth_file", message, "write user:password into it")
        return text


def _template(name: str, line: int | None) -> str:
    shown = name if name in template.ready() else named_files.called(name)
    return f"{shown}:{line}" if line else shown


def _parse(text: str) -> URL:
    if not _URL.fullmatch(text):
        raise ValueError("white space, control or non-ASCII characters")
    url = URL(text, encoded=True)
    if url.scheme not in {"http", "https"} or not url.host or url.explicit_port == 0:
        raise ValueError("not an absolute HTTP URL")
    return url


def _fault(url: URL, settings: WebhookSink, allowed: tuple[Network, ...]) -> tuple[str, str] | None:
    """Return what is wrong with a well-formed URL, and the remedy."""
    if "@" in url.raw_authority:
        return (
            "has a user name or password in it",
            "send them as an Authorization header from header_files",
        )
    if url.scheme == "http" and not settings.allow_http:
        return (
            "is plain http, which anyone on the way can read",
            "use https, or set allow_http: true",
        )
    return _host_fault(url, allowed)


def _proxy_fault(url: URL, allowed: tuple[Network, ...]) -> tuple[str, str] | None:
    if "@" in url.raw_authority:
        return "has a user name or password in it", "put user:password into proxy_auth_file"
    if url.scheme != "http" or url.raw_path_qs not in {"", "/"}:
        return "is not the plain address of an HTTP proxy", "write http://proxy.example.com:3128"
    return _host_fault(url, allowed)


def _host_fault(url: URL, allowed: tuple[Network, ...]) -> tuple[str, str] | None:
    address = addresses.literal(url.raw_host or "")
    if address and (refusal := addresses.refusal(address, allowed)):
        return f"leads to {refusal}", "networks can be opened with allow_networks"
    if address and ":" not in address and address != url.raw_host:
        return "writes an address in an unusual form", f"write {address}"
    return None
