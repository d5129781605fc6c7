"""A PostgreSQL URL as libpq defines it: its parts, and what is wrong with it or its files."""

from __future__ import annotations

import os
import re
import ssl
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

from monitor.config import messages, named_files
from monitor.config.yaml_document import shown
from monitor.errors import ConfigurationError, Problem

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    Trouble = tuple[str, str]
    """A message and its remedy."""

MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
"""The values of ``sslmode``, from the weakest."""
SYSTEM = "system"
"""The value of ``sslrootcert`` that stands for the authorities of this machine."""
PORT = 5432
_FORM = "write postgresql://user@host/db; percent-encode special characters in a password"
_FILES = ("sslrootcert", "sslcert", "sslkey", "sslcrl", "passfile")
KEEPALIVES = {
    "keepalives": 1,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 4,
    "tcp_user_timeout": 15_000,
}
"""Parameters of libpq on connections whose other end no longer answers, with our values.

All are in seconds, but ``tcp_user_timeout`` in milliseconds. They notice a dead server, or a cut
network, after some 15 s, whether anything is being sent or not.
"""
_KNOWN = frozenset({
    *_FILES, *KEEPALIVES, "application_name", "connect_timeout", "dbname", "gsslib", "host",
    "krbsrvname", "options", "password", "port", "service", "sslmode", "sslnegotiation",
    "sslpassword", "ssl_max_protocol_version", "ssl_min_protocol_version", "target_session_attrs",
    "user",
})  # fmt: skip
_LARGEST = 16 * 1024 * 1024
"""Bytes of a file that are read; the largest bundles have a few hundred kilobytes."""
_RDS_HOST = re.compile(r"[\w.-]+\.([a-z]{2}(?:-[a-z]+)+-\d+)\.rds\.amazonaws\.com(?:\.cn)?")
_SEVERAL = re.compile(r"[\w.-]+(?::[0-9]{1,5})?(?:,[\w.-]+(?::[0-9]{1,5})?)+")
_LONGEST_TIMEOUT = 3600


class PostgresqlUrlError(ConfigurationError):
    """A URL that is not one; the message does not repeat it, for the password."""

    def __init__(self, message: str, remedy: str = _FORM) -> None:
        """Carry the message and the remedy."""
        super().__init__([Problem("", "store", message, remedy)])
        self.message = message
        self.remedy = remedy


@dataclass(frozen=True, slots=True)
class PostgresqlUrl:
    """The parts of a URL; those that the URL leaves to libpq's defaults are empty.

    ``name`` is the URL without user, password and parameters, for messages.
    """

    name: str
    host: str
    port: int
    user: str
    has_password: bool
    parameters: Mapping[str, str]

    @property
    def is_socket(self) -> bool:
        """Return whether it leads to a Unix socket, where there is no TLS."""
        return not self.host or self.host.startswith("/")

    @property
    def sslmode(self) -> str:
        """How far TLS is required: of the URL, else of ``PGSSLMODE``, else libpq's default."""
        return self.parameters.get("sslmode") or os.environ.get("PGSSLMODE") or "prefer"

    def keepalive(self, name: str) -> int:
        """Return one of ``KEEPALIVES``: of the URL, else ours."""
        return int(self.parameters.get(name, KEEPALIVES[name]))

    @property
    def requires_tls(self) -> bool:
        """Return whether nothing is sent unencrypted."""
        return self.sslmode in MODES[3:] and not self.is_socket

    @property
    def aws_region(self) -> str:
        """The region in the host name of an Amazon RDS endpoint; empty for other hosts."""
        found = _RDS_HOST.fullmatch(self.host)
        return found[1] if found else ""


def parse(url: str) -> PostgresqlUrl:
    """Return the parts of a URL.

    Raises:
        PostgresqlUrlError: it is not a PostgreSQL URL, or has a parameter that is not known.
    """
    try:
        parts = urlsplit(url)
        # With several hosts, each has a port of its own.
        several = "," in parts.netloc
        port = None if several else parts.port
    except ValueError:
        raise PostgresqlUrlError("not a PostgreSQL URL") from None
    # An unescaped "/", "?" or "#" in a password ends the host too early, and leaves the "@" behind.
    if "@" in parts.path + parts.query or parts.netloc.count("@") > 1 or parts.fragment:
        raise PostgresqlUrlError("not a PostgreSQL URL")
    try:
        pairs = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
    except ValueError:
        remedy = "write them as ?name=value&name=value"
        raise PostgresqlUrlError("has parameters that cannot be read", remedy) from None
    parameters = dict(pairs)
    for key in parameters:
        if key not in _KNOWN:
            remedy = messages.similar(key, _KNOWN) or "write settings of the server as options=-c …"
            message = f'has the unknown parameter "{shown(key)}"'
            raise PostgresqlUrlError(message, remedy)
    given = parameters.get("port") or port or os.environ.get("PGPORT") or PORT
    if not re.fullmatch(r"[0-9]{1,5}", str(given)):
        raise PostgresqlUrlError("not a PostgreSQL URL")
    written = parts.netloc.rpartition("@")[2]
    host = written if several else unquote(parts.hostname or "")
    if several and not _SEVERAL.fullmatch(written):
        raise PostgresqlUrlError("not a PostgreSQL URL")
    return PostgresqlUrl(
        f"postgresql://{written}{parts.path}",
        host or parameters.get("host") or os.environ.get("PGHOST", ""),
        int(given),
        unquote(parts.username or "") or parameters.get("user", ""),
        parts.password is not None or "password" in parameters,
        parameters,
    )


def without(url: str, names: frozenset[str]) -> str:
    """Return a URL that can be parsed without some of its parameters."""
    parts = urlsplit(url)
    kept = [(key, value) for key, value in parse_qsl(parts.query) if key not in names]
    return parts._replace(query=urlencode(kept)).geturl()


def troubles(url: PostgresqlUrl) -> Iterator[Trouble]:
    """Yield what is wrong with the parameters of a URL, and with the files that they name."""
    parameters = url.parameters
    if url.sslmode not in MODES:
        yield "has an unknown sslmode", f"use one of {', '.join(MODES)}"
        return
    yield from _number_troubles(parameters)
    negotiation = parameters.get("sslnegotiation", "postgres")
    if negotiation not in {"postgres", "direct"}:
        yield "has an unknown sslnegotiation", "use postgres or direct"
    elif negotiation == "direct" and not url.requires_tls:
        yield "has sslnegotiation=direct without TLS", "add sslmode=verify-full"
    unreadable = False
    for key in _FILES:
        name = parameters.get(key)
        if name and not (key == "sslrootcert" and name == SYSTEM):
            for message, remedy in _file_troubles(key, name):
                unreadable = True
                yield f"{key}: {message}", remedy
    if not unreadable and url.sslmode not in MODES[:1] and not url.is_socket:
        yield from _authority_troubles(url)
        yield from _certificate_troubles(url)


def _number_troubles(parameters: Mapping[str, str]) -> Iterator[Trouble]:
    for key in KEEPALIVES:
        if not re.fullmatch("[0-9]{1,6}", parameters.get(key, "0")):
            yield f"has a {key} that is not a whole number", "write digits alone"
    timeout = parameters.get("connect_timeout", "10")
    if not re.fullmatch(r"[1-9][0-9]{0,3}", timeout) or int(timeout) > _LONGEST_TIMEOUT:
        yield "has a connect_timeout that is not 1 to 3600", "write whole seconds"


def _file_troubles(key: str, name: str) -> Iterator[Trouble]:
    holds = "lines of host:port:database:user:password" if key == "passfile" else named_files.PEM
    try:
        named_files.read(name, _LARGEST)
        mode = Path(name).stat().st_mode
    except (OSError, ValueError) as error:
        yield named_files.trouble(name, error, holds)
        return
    # As libpq, the driver ignores such a file.
    if key == "passfile" and mode & (stat.S_IRWXG | stat.S_IRWXO):
        yield f"{named_files.called(name)} can be read by others", "chmod 0600 the file"


def _authority_troubles(url: PostgresqlUrl) -> Iterator[Trouble]:
    """Yield why the certificate of the server cannot be verified."""
    name = url.parameters.get("sslrootcert") or os.environ.get("PGSSLROOTCERT")
    if name == SYSTEM:
        if url.sslmode != "verify-full":
            # Anybody can get a certificate of a public authority, for a name of their own.
            yield f"has sslrootcert=system with sslmode={url.sslmode}", "write sslmode=verify-full"
    elif name:
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cafile=name)
        except (OSError, ValueError):  # an SSLError too
            message = f"sslrootcert: {named_files.called(name)} holds no certificate"
            yield message, "name a file in PEM form"
    elif url.sslmode in MODES[4:] and not (Path.home() / ".postgresql/root.crt").exists():
        yield (
            f"has sslmode={url.sslmode} without sslrootcert",
            "add &sslrootcert=FILE with the certificates of its authority, or sslrootcert=system",
        )


def _certificate_troubles(url: PostgresqlUrl) -> Iterator[Trouble]:
    """Yield why the client certificate cannot be shown."""
    certificate, key = url.parameters.get("sslcert"), url.parameters.get("sslkey")
    if not certificate:
        if key:
            yield "has sslkey without sslcert", "add sslcert=FILE"
        return
    password = url.parameters.get("sslpassword", "")
    try:
        # Asked for a password, OpenSSL would otherwise wait for one at the terminal.
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_cert_chain(certificate, key or None, password=lambda: password)
    except (OSError, ValueError) as error:  # an SSLError too
        which = "sslkey" if key else "sslcert"
        # OpenSSL names this case, and every other by where in its code it gave up.
        if getattr(error, "reason", None) == "KEY_VALUES_MISMATCH":
            yield f"{which}: the key is not that of the certificate", "name the key of sslcert"
        else:
            message = f"{which}: no certificate and key can be read from it"
            yield message, "give both in PEM form; sslpassword decrypts an encrypted key"
