"""TLS settings → a context for connections; every file is tried."""

from __future__ import annotations

import re
import ssl
from typing import TYPE_CHECKING

from monitor.config import named_files

if TYPE_CHECKING:
    from monitor.config import Tls
    from monitor.sinks.settings_reader import SettingsReader

_LARGEST = 1024 * 1024
_NAME = re.compile(r"[0-9A-Za-z]([0-9A-Za-z.-]{0,251}[0-9A-Za-z])?")


def context(settings: Tls, reader: SettingsReader) -> ssl.SSLContext | None:
    """Return a context that trusts ``ca_file`` (or the system) and shows ``cert_file``.

    Blocks on the file system. ``None`` if something is wrong, which ``reader`` then knows.
    """
    made, path = None, settings.ca_file
    if path is None:
        made = ssl.create_default_context()
    elif (data := reader.content("tls.ca_file", path, _LARGEST)) is not None:
        try:
            made = ssl.create_default_context(cadata=data.decode("ascii", "replace"))
        except (ssl.SSLError, TypeError):  # the latter for what is not ASCII at all
            message = f"{named_files.called(path)} holds no certificate"
            reader.problem("tls.ca_file", message, "name a file in PEM form")
    _show_certificate(settings, reader, made)
    if settings.server_name is not None and not _NAME.fullmatch(settings.server_name):
        reader.problem("tls.server_name", "is not a host name", "write it as hooks.example.com")
    return made


def _show_certificate(settings: Tls, reader: SettingsReader, made: ssl.SSLContext | None) -> None:
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
        key = "tls.key_file" if settings.key_file else "tls.cert_file"
        # OpenSSL names this case, and every other by where in its code it gave up.
        if getattr(error, "reason", None) == "KEY_VALUES_MISMATCH":
            message, remedy = "does not fit the certificate", "name the certificate's own key"
        else:
            message = "no certificate and key can be read from it"
            remedy = "give both in PEM form, the key not encrypted"
        reader.problem(key, message, remedy)
