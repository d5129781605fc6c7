"""Reads the web configuration file, and reads it again when it, or what it names, changes."""

from __future__ import annotations

import os
import ssl
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NoReturn

import anyio
from pydantic import ValidationError

from monitor import logs
from monitor.config import file_digest, messages, named_files, unforeseen, yaml_document
from monitor.errors import ConfigurationError, Problem
from monitor.web.web_config_schema import CIPHERS, CLIENTS, CURVES, VERSIONS, TlsServer, WebConfig

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from monitor.config.yaml_document import Node

LARGEST = 1024 * 1024
"""Bytes of the file."""
RECHECK = 2.0
"""Seconds between two comparisons of the files with what was last read of them."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """What a file says; ``files`` are those that it rests on, itself first.

    ``tls`` is ``None`` for plain HTTP. With ``sans``, a client's certificate must hold one.
    """

    files: tuple[Path, ...]
    users: Mapping[str, str] = field(default_factory=dict, repr=False)
    headers: Mapping[str, str] = field(default_factory=dict)
    tls: ssl.SSLContext | None = None
    sans: frozenset[str] = frozenset()
    warnings: tuple[Problem, ...] = ()


def read(path: Path) -> Loaded:
    """Read the file; blocks.

    Raises:
        ConfigurationError: with everything that is wrong, or cannot be done here.
    """
    return _first(path, file_digest.FileDigest())


def _first(path: Path, reading: file_digest.FileDigest) -> Loaded:
    """Read the file where there is no later try."""
    try:
        return _read(path, reading)
    except OSError as error:
        reason = (error.strerror or "").lower()
        _refuse(str(path), "", f"cannot be used: {reason}", "see what the system lacks")


def _read(path: Path, reading: file_digest.FileDigest) -> Loaded:
    """Read the file, and note in ``reading`` what was read.

    Raises:
        ConfigurationError: with everything that is wrong with it, or cannot be done here.
        OSError: the system cannot do it now, which says nothing of the files.
    """
    node = _parsed(path, reading)
    try:
        form = WebConfig.model_validate(node.plain())
    except ValidationError as error:
        found = messages.of_shape(error, node, root=(WebConfig,))
        raise ConfigurationError(messages.tidy(found)) from None
    warnings: tuple[Problem, ...] = ()
    # The toolkit's default is true: only who writes it expects HTTP/2.
    if "http2" in form.http_server_config.model_fields_set and form.http_server_config.http2:
        place = node.place_of(("http_server_config", "http2"))
        message, remedy = "HTTP/1.1 is spoken all the same", "write false, or leave it out"
        warnings = (Problem(place, "http_server_config.http2", message, remedy, warning=True),)
    tls = form.tls_server_config
    return Loaded(
        files=(path, *(_files(tls, path.parent).values() if tls else ())),
        users=form.basic_auth_users,
        headers=form.http_server_config.headers,
        tls=_context(tls, path.parent, node, reading) if tls else None,
        sans=frozenset(tls.client_allowed_sans) if tls else frozenset(),
        warnings=warnings,
    )


def _parsed(path: Path, reading: file_digest.FileDigest) -> Node:
    node, found = yaml_document.read_file(
        path,
        LARGEST,
        name=str(path),
        too_large="name a web configuration file",
        read=reading.of,
    )
    if node is None or found:
        raise ConfigurationError(messages.tidy(found))
    if not isinstance(node.value, dict):
        # A file that is just being written is empty too: that must not open the doors.
        remedy = "begin with tls_server_config: or basic_auth_users:"
        _refuse(node.place, "", "must be a map of keys to values", remedy)
    return node


def _refuse(place: str, path: str, message: str, remedy: str) -> NoReturn:
    raise ConfigurationError([Problem(place, path, message, remedy)])


# TLS


def _files(tls: TlsServer, directory: Path) -> dict[str, Path]:
    named = {
        "cert_file": tls.cert_file,
        "key_file": tls.key_file,
        "client_ca_file": tls.client_ca_file,
    }
    return {key: directory / name for key, name in named.items() if name}


def _context(
    tls: TlsServer, directory: Path, node: Node, reading: file_digest.FileDigest
) -> ssl.SSLContext:
    problems = _disagreements(tls)
    read: dict[Path, bytes] = {}  # one file may hold both certificate and key: it is read once
    found = {}
    for key, path in _files(tls, directory).items():
        try:
            found[key] = read[path] = read[path] if path in read else reading.of(path)
        except (OSError, ValueError) as error:
            problems.append((key, *named_files.trouble(path, error, named_files.PEM)))
    if not problems:
        try:
            return _made(tls, found)
        except _UnusableError as error:
            problems = [error.args]
    at = ("tls_server_config",)
    raise ConfigurationError(
        [
            Problem(node.place_of((*at, key)), f"{at[0]}.{key}", message, remedy)
            for key, message, remedy in problems
        ]
    )


class _UnusableError(Exception):
    """``args`` are the key, the message and the remedy."""


def _disagreements(tls: TlsServer) -> list[tuple[str, str, str]]:
    found = []
    anyone = tls.client_auth_type == "NoClientCert"
    checks = {"client_ca_file": tls.client_ca_file, "client_allowed_sans": tls.client_allowed_sans}
    for key in (key for key, value in checks.items() if anyone and value):
        remedy = "add client_auth_type: RequireAndVerifyClientCert"
        found.append((key, "is of no use without client_auth_type", remedy))
    if not anyone and not tls.client_ca_file:
        found.append(("client_auth_type", "needs client_ca_file", "add it"))
    if VERSIONS[tls.min_version] > VERSIONS[tls.max_version]:
        found.append(("min_version", "is above max_version", "lower it"))
    if tls.cipher_suites and not any(CIPHERS[name] for name in tls.cipher_suites):
        found.append(("cipher_suites", "names suites of TLS 1.3 only", "leave it out"))
    return found


def _made(tls: TlsServer, found: Mapping[str, bytes]) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = VERSIONS[tls.min_version]
    context.maximum_version = VERSIONS[tls.max_version]
    context.set_alpn_protocols(["http/1.1"])
    if tls.prefer_server_cipher_suites:
        context.options |= ssl.OP_CIPHER_SERVER_PREFERENCE
    if suites := [CIPHERS[name] for name in tls.cipher_suites if CIPHERS[name]]:
        context.set_ciphers(":".join(suites))
    for curve in tls.curve_preferences:
        context.set_ecdh_curve(CURVES[curve])
    with _as_file(found["cert_file"]) as cert, _as_file(found["key_file"]) as key:
        try:
            # With no password at hand, an encrypted key would be asked for on the terminal.
            context.load_cert_chain(cert, key, password=lambda: "")
        except (ssl.SSLError, ValueError) as error:
            reason = str(getattr(error, "reason", None) or "not PEM").replace("_", " ").lower()
            message = f"and key_file do not hold a certificate and its key ({reason})"
            remedy = "both must be PEM, belong together, and the key not be encrypted"
            raise _UnusableError("cert_file", message, remedy) from None
    if "client_ca_file" in found:
        with _as_file(found["client_ca_file"]) as authorities:
            try:
                context.load_verify_locations(authorities)
            except ssl.SSLError:
                words = ("client_ca_file", "holds no certificates", "they must be PEM")
                raise _UnusableError(*words) from None
    context.verify_mode = CLIENTS[tls.client_auth_type]
    return context


@contextmanager
def _as_file(content: bytes) -> Iterator[str]:
    """Give bytes a name, as OpenSSL loads files alone; they stay in memory.

    From their own names the files would be read once more, and might be others by now.
    """
    descriptor = os.memfd_create("pem")
    with open(descriptor, "wb", buffering=0) as file:  # noqa: PTH123 -- it has no path yet
        file.write(content)
        yield f"/proc/self/fd/{descriptor}"


# Over time


class WebConfigFile:
    """The file as it was last when it could be used."""

    def __init__(self, path: Path) -> None:
        """Read it; blocks.

        Raises:
            ConfigurationError: it cannot be used.
        """
        self._path = path
        self._log = logs.get()
        self._reading = file_digest.FileDigest()
        self.loaded = _first(path, self._reading)

    async def refresh(self) -> bool:
        """Read it again if anything of it has changed; return whether it is another one now.

        One that cannot be used leaves the old one in effect, and is logged once.

        Raises:
            OSError: the system cannot do it now; all is as before, and to be tried again.
        """
        return await anyio.to_thread.run_sync(self._refresh)

    def _refresh(self) -> bool:
        if self._reading.is_current():
            return False
        reading = file_digest.FileDigest()
        try:
            try:
                # Noted before anything can fail: no files at all would count as current for ever.
                with suppress(OSError, ValueError):
                    reading.of(self._path)
                new = _read(self._path, reading)
            except (ConfigurationError, OSError):
                raise
            except Exception as error:  # the last net: a changed file must not end the daemon
                found = unforeseen.problem(error, str(self._path), "", "the file")
                raise ConfigurationError([found]) from error
            # A URL that clients hold names the scheme, which must not change under them.
            if (new.tls is None) is not (self.loaded.tls is None):
                message = "TLS cannot be turned on or off while running"
                _refuse(str(self._path), "tls_server_config", message, "restart the monitor")
        except ConfigurationError as error:
            self._reading = reading
            for problem in error.problems:
                self._log.error(logs.WEB_CONFIG_REFUSED, problem=logs.of_problem(problem))
            return False
        self.loaded, self._reading = new, reading
        self._log.info(logs.WEB_CONFIG_LOADED, users=len(new.users))
        return True
