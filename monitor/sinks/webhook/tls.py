"""TLS settings → a context for connections; every file is tried."""

from __future__ import annotations

import re
import ssl
from typing import TYPE_CHECKING

from monitor.config import named_files

if TYPE_CHECKING:
    from monitor.config import Tls
    from monitor.sinks.settings_reader import Reader

_LARGEST = 1024 * 1024
_NAME = re.compile(r"[0-9A-Za-z]([0-9A-Za-z.-]{0,251}[0-9A-Za-z])?")


def context(settings: Tls, reader: Reader) -> ssl.SSLContext | None:
    """Return a context that trusts ``ca_file`` (or the system) and shows ``cert_file``.

    Blocks on the file system. ``None`` if something is wrong, which ``reader`` was told.
    """
    made = _trusting(settings.ca_file, reader)
    _show_certificate(settings, reader, made)
    if settings.server_name is not None and not _NAME.fullmatch(settings.server_name):
        reader.problem("tls.server_name", "is no host name", "write it as hooks.example.com")
    return made


def _trusting(path: str | None, reader: Reader) -> ssl.SSLContext | None:
    if path is None:
        return ssl.create_default_context()
    data = reader.content("tls.ca_file", path, _LARGEST)
    if data is None:
        return None
    try:
        return ssl.create_default_context(cadata=data.decode("ascii", "replace"))
    except (ssl.SSLError, TypeError):  # the latter for what is not ASCII at all
        message = f"{named_files.called(path)} holds no certificate"
        reader.problem("tls.ca_file", message, "name a file in PEM form")
        return None


def _show_certificate(settings: Tls, reader: Reader, made: ssl.SSLContext | None) -> None:
    certificate, key = settings.cert_file, settings.key_file
    if certificate is None:
        if key is not None:
            reader.problem("tls.key_file", "is of no use without cert_file", "add cert_file")
        return
    if reader.content("tls.cert_file", certificate, 0) is None:
        return
    if key is not None and reader.content("tls.key_file", key, 0) is None:
        return
    try:
        # Asked for a password, OpenSSL would otherwise wait for one at the terminal.
        (made or ssl.create_default_context()).load_cert_chain(certificate, key, password="")
    except (OSError, ValueError) as error:  # an SSLError too, or a file that has just gone
        reader.problem(*_fault(error, settings))


def _fault(error: Exception, settings: Tls) -> tuple[str, str, str]:
    reason = getattr(error, "reason", None)
    if reason == "KEY_VALUES_MISMATCH":
        where = "tls.key_file" if settings.key_file else "tls.cert_file"
        return where, "does not fit the certificate", "name the certificate's own key"
    where = "tls.key_file" if settings.key_file else "tls.cert_file"
    message = "no certificate and key can be read from it"
    return where, message, "give both in PEM form, the key not encrypted"
