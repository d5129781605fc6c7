"""Where a webhook posts to, and with what: its settings, read and checked."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from ipaddress import ip_network
from typing import TYPE_CHECKING, Any

from yarl import URL

from monitor.config import Tls, named_files
from monitor.errors import ConfigurationError
from monitor.redaction import HIDDEN
from monitor.sinks import template
from monitor.sinks.format import encode
from monitor.sinks.settings_reader import SettingsReader
from monitor.sinks.webhook import addresses, signature, success, tls

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Mapping

    from monitor.config import WebhookSink
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
class WebhookTarget:
    """A receiver and what goes to it; its secrets are kept out of its ``repr``."""

    origin: str
    """Scheme and host: all of the URL that may be shown."""
    url: URL = field(repr=False)
    headers: tuple[tuple[str, str], ...] = field(repr=False)
    keys: tuple[bytes, ...] = field(repr=False)
    allowed: tuple[Network, ...]
    timeout: float
    """Seconds for one attempt."""
    content_type: str
    template: template.TemplateSource | None
    template_secrets: Mapping[str, str] = field(repr=False)
    success: success.Success | None
    """What a reply of 2xx must fulfil, if anything."""
    context: ssl.SSLContext
    server_name: str | None
    proxy: Proxy | None
    encode: Callable[[Mapping[str, Any]], bytes] = encode
    """Writes the body of an event where there is no ``template``."""


@dataclass(frozen=True, slots=True)
class Proxy:
    """A proxy between the monitor and the receiver."""

    url: URL
    credentials: str | None = field(repr=False)
    """As ``user:password``."""


def load(name: str, settings: WebhookSink, before: WebhookTarget | None = None) -> WebhookTarget:
    """Read the files that ``settings`` name, and check everything.

    Blocks on the file system, and for a template on the process that tries it: not for the one
    of ``before``, which is what the same settings came to earlier.

    Raises:
        ConfigurationError: with every problem found.
    """
    return _loaded(SettingsReader(name), settings, before)


def sample(name: str, settings: WebhookSink) -> WebhookTarget:
    """Read only the template, and check what needs no secret: for previews elsewhere.

    Raises:
        ConfigurationError: with every problem found.
    """
    # Keys and certificates must fit their form, which no stand-in does.
    tls_ = Tls(server_name=settings.tls.server_name)
    without: dict[str, Any] = {"secret_files": [], "proxy_auth_file": None, "tls": tls_}
    public = settings.model_copy(update=without)
    return _loaded(SettingsReader(name, secrets=False), public, None)


def _loaded(
    files: SettingsReader, settings: WebhookSink, before: WebhookTarget | None
) -> WebhookTarget:
    reader = _WebhookReader(files)
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
    return WebhookTarget(
        f"{url.scheme}://{url.host}" if url.host else HIDDEN,
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
    """Name the files that ``load`` reads; a ready template among them is not a file."""
    tls_files = (settings.tls.ca_file, settings.tls.cert_file, settings.tls.key_file)
    single = (settings.url_file, *tls_files, settings.proxy_auth_file, settings.template)
    return [
        *settings.secret_files,
        *settings.header_files.values(),
        *settings.template_secrets.values(),
        *filter(None, single),
    ]


class _WebhookReader:
    """Reads the settings of one webhook."""

    def __init__(self, files: SettingsReader) -> None:
        self._problem = files.problem
        self._file = files.file
        self._reads_secrets = files.reads_secrets

    def networks(self, texts: list[str]) -> tuple[Network, ...]:
        networks: list[Network] = []
        for number, text in enumerate(texts):
            try:
                networks.append(ip_network(text))
            except ValueError:
                key, remedy = f"allow_networks[{number}]", "write it as 10.0.0.0/8 or fd00::/8"
                self._problem(key, f"{text!r} is not a network", remedy)
        return tuple(networks)

    def url(self, settings: WebhookSink, allowed: tuple[Network, ...]) -> URL:
        """Return the URL exactly as written, as receivers may sign its very characters."""
        key = "url" if settings.url_file is None else "url_file"
        text = self._url_text(settings)
        if text is None:
            return URL()
        try:
            url = _parse(text)
        except ValueError:
            message = "is not a URL" if key == "url" else "holds something else than a URL"
            self._problem(key, message, "write it as https://host/path, in plain ASCII")
            return URL()
        remedy = "send them as an Authorization header from header_files"
        plain = url.scheme == "http" and not settings.allow_http
        faults = (
            ("@" in url.raw_authority, "has a user name or password in it", remedy),
            (
                plain,
                "is plain http, which anyone on the way can read",
                "use https, or set allow_http: true",
            ),
        )
        if fault := _fault(url, allowed, faults):
            self._problem(key, *fault)
        return url

    def _url_text(self, settings: WebhookSink) -> str | None:
        """Return what should be a URL; ``None`` where it is missing, or hidden in a file."""
        if settings.url is not None and settings.url_file is not None:
            self._problem("url_file", "is given beside url", "keep one of them")
        elif settings.url is not None:
            return settings.url.get_secret_value()
        elif settings.url_file is not None and self._reads_secrets:
            return self._file("url_file", settings.url_file)
        return None

    def headers(self, settings: WebhookSink) -> tuple[tuple[str, str], ...]:
        given = [("headers", name, value) for name, value in settings.headers.items()]
        read = [
            ("header_files", name, value)
            for name, path in settings.header_files.items()
            if (value := self._file(f"header_files.{name}", path))
        ]
        seen: set[str] = set()
        for section, name, value in (*given, *read):
            key, fault = f"{section}.{name}", None
            if not _TOKEN.fullmatch(name):
                fault = "is not a header name", "use letters, digits and dashes"
            elif _OWN.fullmatch(name):
                fault = "is a header that the monitor sets itself", "leave it out"
            elif name.lower() in seen:
                fault = "is given twice", "leave one of them out"
            elif not _VALUE.fullmatch(value):
                fault = "has a value that is not one line of ASCII", "fix the value"
            if fault:
                self._problem(key, *fault)
            seen.add(name.lower())
        return tuple((name, value) for _, name, value in (*given, *read))

    def keys(self, paths: list[str]) -> tuple[bytes, ...]:
        keys: list[bytes] = []
        for number, path in enumerate(paths):
            setting = f"secret_files[{number}]"
            text = self._file(setting, path)
            try:
                keys += [signature.parse_key(text)] if text else []
            except ValueError as error:
                message = f"the secret in {named_files.called(path)} {error}"
                remedy = 'make one with: echo "whsec_$(openssl rand -base64 32)"'
                self._problem(setting, message, remedy)
        return tuple(keys)

    def content_type(self, settings: WebhookSink) -> str:
        usual = _CLOUD_EVENT if settings.template is None else "application/json"
        given = usual if settings.content_type is None else settings.content_type
        if not _TYPE.fullmatch(given):
            self._problem("content_type", "is not a media type", "write it as application/json")
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
        self, settings: WebhookSink, content_type: str, tried: template.TemplateSource | None
    ) -> template.TemplateSource | None:
        if settings.template is None:
            return None
        try:
            source = template.read(settings.template, content_type)
            # Trying takes a process: not again for every secret that was rotated.
            if source != tried:
                template.try_out(source, settings.template_secrets)
        except template.TemplateError as error:
            name = settings.template
            shown = name if name in template.ready() else named_files.called(name)
            where = f"{shown}:{error.line}" if error.line else shown
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
        credentials = None
        if (path := settings.proxy_auth_file) is not None:
            credentials = self._file("proxy_auth_file", path)
            if credentials and not (":" in credentials and credentials.isprintable()):
                message = f"{named_files.called(path)} holds no user:password"
                self._problem("proxy_auth_file", message, "write user:password into it")
        try:
            url = _parse(settings.proxy.get_secret_value())
        except ValueError:
            self._problem("proxy", "is not a URL", "write it as http://proxy.example.com:3128")
            return None
        remedy = "put user:password into proxy_auth_file"
        odd = url.scheme != "http" or url.raw_path_qs not in {"", "/"}
        faults = (
            ("@" in url.raw_authority, "has a user name or password in it", remedy),
            (
                odd,
                "is not the plain address of an HTTP proxy",
                "write http://proxy.example.com:3128",
            ),
        )
        if fault := _fault(url, allowed, faults):
            self._problem("proxy", *fault)
        return Proxy(url, credentials)


def _parse(text: str) -> URL:
    # ``encoded`` keeps every character, so none may come that would break up the request.
    if not _URL.fullmatch(text):
        raise ValueError("white space, control or non-ASCII characters")
    url = URL(text, encoded=True)
    if url.scheme not in {"http", "https"} or not url.host or url.explicit_port == 0:
        raise ValueError("not an absolute HTTP URL")
    return url


def _fault(
    url: URL, allowed: tuple[Network, ...], faults: tuple[tuple[bool, str, str], ...]
) -> tuple[str, str] | None:
    """Return what is wrong with a well-formed URL, and the remedy; ``faults`` come first."""
    for found, message, remedy in faults:
        if found:
            return message, remedy
    address = addresses.literal(url.raw_host or "")
    if address and (refusal := addresses.refusal(address, allowed)):
        return f"leads to {refusal}", "networks can be opened with allow_networks"
    # The resolver would read 0177.1 as 127.0.0.1, and no person would.
    if address and ":" not in address and address != url.raw_host:
        return "writes an address in an unusual form", f"write {address}"
    return None
