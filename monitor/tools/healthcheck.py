"""Ask a daemon whether its scheduler still runs.

A container starts this every half minute beside the daemon, so it imports the settings alone, and
the reader of the web configuration file where there is one.
"""

from __future__ import annotations

import http.client
import ssl
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from monitor import config
from monitor.config import named_files
from monitor.errors import ConfigurationError, Problem

if TYPE_CHECKING:
    from collections.abc import Mapping

PATH = "/-/healthy"
ANSWER_WITHIN = 5.0
"""Seconds."""
_MOST = 200
_LARGEST_TOKEN = 65536
_OK, _DENIED = 200, 401
# What listens on every address of IPv6 does so on those of IPv4, or has no IPv6 at all.
_EVERYWHERE = dict.fromkeys(("", "0.0.0.0", "::"), "127.0.0.1")  # noqa: S104 -- where from


@dataclass(frozen=True, slots=True)
class HealthAnswer:
    """The answer of a daemon; ``why`` is one line."""

    healthy: bool
    why: str


@dataclass(frozen=True, slots=True)
class DaemonAddress:
    """The address of a daemon, and the credentials for it."""

    host: str
    port: int
    tls: ssl.SSLContext | None = None
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)


def address_of_url(url: str) -> DaemonAddress:
    """Read a URL; with https, its certificate must be one that this machine trusts.

    Raises:
        ConfigurationError: it is not such a URL.
    """
    try:
        parts = urlsplit(url)
        secure = {"http": False, "https": True}[parts.scheme]
        port = parts.port or (443 if secure else 80)
    except (KeyError, ValueError):
        parts = urlsplit("")
    if not parts.hostname:
        raise ConfigurationError(
            [Problem("", "--url", "is not a URL", "write http://HOST:PORT or https://HOST:PORT")]
        )
    return DaemonAddress(parts.hostname, port, ssl.create_default_context() if secure else None)


def own_address(server: config.ServerSettings) -> DaemonAddress:
    """Return the address of a daemon with these settings, on its own machine.

    Raises:
        ConfigurationError: the settings name no port.
    """
    try:
        host, port = config.parse_listen(server.listen)
        wrong, remedy = "says any free port" if port == 0 else "", "name a --url"
    except ValueError as error:
        wrong, remedy = str(error), "fix it, or name a --url"
    if wrong:
        raise ConfigurationError([Problem("", "server.listen", wrong, remedy)])
    tls = _own_tls(Path(server.web_config_file)) if server.web_config_file else None
    return DaemonAddress(_EVERYWHERE.get(host, host), port, tls, _credentials(server.token_files))


def _own_tls(web_config_file: Path) -> ssl.SSLContext | None:
    from monitor.web import web_config  # noqa: PLC0415 -- only few have one, and it takes time

    loaded = web_config.read(web_config_file)
    if loaded.tls is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    # The certificate names another host, but it is this very one.
    context.check_hostname = False
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.load_verify_locations(loaded.files[1])
    return context


def _credentials(token_files: list[str]) -> dict[str, str]:
    for name in token_files:
        try:
            token = named_files.read(name, _LARGEST_TOKEN).decode("latin-1").strip()
        except (OSError, ValueError):
            continue
        if len(token) >= config.SHORTEST_TOKEN and token.isprintable():
            return {"Authorization": f"Bearer {token}"}
    return {}


def ask(address: DaemonAddress) -> HealthAnswer:
    """Send one request."""
    connection = (
        http.client.HTTPSConnection(
            address.host, address.port, timeout=ANSWER_WITHIN, context=address.tls
        )
        if address.tls
        else http.client.HTTPConnection(address.host, address.port, timeout=ANSWER_WITHIN)
    )
    try:
        connection.request("GET", PATH, headers=dict(address.headers))
        response = connection.getresponse()
        text = " ".join(response.read(_MOST).decode("utf-8", "replace").split())
    except (OSError, http.client.HTTPException) as error:
        if isinstance(error, TimeoutError):
            return HealthAnswer(healthy=False, why=f"no answer within {ANSWER_WITHIN:.0f} s")
        reason = getattr(error, "reason", None) or getattr(error, "strerror", None)
        why = f"unreachable: {reason or type(error).__name__}".replace("_", " ").lower()
        return HealthAnswer(healthy=False, why=why)
    finally:
        connection.close()
    if response.status == _DENIED:
        # Without a user the daemon gives no details; a blocked one would not answer at all.
        return HealthAnswer(healthy=True, why="it answers, and gives details to users only")
    shown = text if text.isprintable() else ""
    healthy = response.status == _OK
    return HealthAnswer(healthy, why=shown or f"it answers with status {response.status}")
