"""Where a webhook posts to, and with what: its settings, read and checked."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from ipaddress import ip_network
from pathlib import Path
from typing import TYPE_CHECKING

from yarl import URL

from monitor.errors import ConfigurationError, Problem
from monitor.sinks import addresses, signature

if TYPE_CHECKING:
    from monitor.config import WebhookSink
    from monitor.sinks.addresses import Network

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE = re.compile(r"[\t\x20-\x7e]*")
_URL = re.compile(r"[\x21-\x7e]+")
_OWN = re.compile(
    r"(webhook|content|proxy)-.*|host|connection|keep-alive|transfer-encoding|te|trailer|upgrade"
    r"|expect|accept-encoding",
    re.IGNORECASE,
)
_MAX_BYTES = 8190
"""Of a secret or header file: no server takes a longer header line."""


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


def load(name: str, settings: WebhookSink) -> Endpoint:
    """Read the files that ``settings`` name, and check everything.

    Blocks on the file system.

    Raises:
        ConfigurationError: with every problem found.
    """
    reader = _Reader(f"sinks.{name}")
    allowed = reader.networks(settings.allow_networks)
    url = reader.url(settings, allowed)
    headers = reader.headers(settings)
    keys = reader.keys(settings.secret_files)
    if reader.problems:
        raise ConfigurationError(reader.problems)
    return Endpoint(f"{url.scheme}://{url.host}", url, headers, keys, allowed, settings.timeout)


def problems(name: str, settings: WebhookSink) -> list[Problem]:
    """Return what is wrong with ``settings``; no text repeats a secret."""
    try:
        load(name, settings)
    except ConfigurationError as error:
        return list(error.problems)
    return []


class _Reader:
    """Reads the settings of one sink, and collects what is wrong with them."""

    def __init__(self, path: str) -> None:
        self.problems: list[Problem] = []
        self._path = path

    def _problem(self, key: str, message: str, remedy: str) -> None:
        self.problems.append(Problem("", f"{self._path}.{key}", message, remedy))

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
            self._problem(key, f"the secret in {path} {error}", remedy)
            return None

    def _file(self, key: str, path: str) -> str | None:
        """Return the text of a small file without the white space around it."""
        try:
            with Path(path).open("rb") as file:
                data = file.read(_MAX_BYTES + 1)
            text = data.decode().strip()
        except OSError as error:
            self._problem(key, f"cannot read {path}: {error.strerror}", "check its permissions")
        except ValueError:
            self._problem(key, f"{path} is no text file in UTF-8", "check the path")
        else:
            if text and len(data) <= _MAX_BYTES:
                return text
            self._problem(key, f"{path} is {'too long' if text else 'empty'}", "check its content")
        return None


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
    address = addresses.literal(url.raw_host or "")
    if address and (refusal := addresses.refusal(address, allowed)):
        return f"leads to {refusal}", "networks can be opened with allow_networks"
    if address and ":" not in address and address != url.raw_host:
        return "writes an address in an unusual form", f"write {address}"
    return None
