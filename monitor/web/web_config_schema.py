"""The file that ``server.web_config_file`` names: that of the Prometheus exporter toolkit."""

from __future__ import annotations

import re
import ssl
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from monitor.config import Section

_HASH = re.compile(r"\$2[aby]\$(\d\d)\$[./A-Za-z0-9]{53}")
_COSTLIEST = 16
"""Of bcrypt; one more doubles the time, which here is some seconds already."""

CIPHERS = {
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA": "ECDHE-ECDSA-AES128-SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA": "ECDHE-ECDSA-AES256-SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA": "ECDHE-RSA-AES128-SHA",
    "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA": "ECDHE-RSA-AES256-SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256": "ECDHE-ECDSA-AES128-GCM-SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384": "ECDHE-ECDSA-AES256-GCM-SHA384",
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256": "ECDHE-RSA-AES128-GCM-SHA256",
    "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384": "ECDHE-RSA-AES256-GCM-SHA384",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-ECDSA-CHACHA20-POLY1305",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-RSA-CHACHA20-POLY1305",
    # Those of TLS 1.3 are always offered, as by the toolkit.
    "TLS_AES_128_GCM_SHA256": "",
    "TLS_AES_256_GCM_SHA384": "",
    "TLS_CHACHA20_POLY1305_SHA256": "",
}
"""Names as the toolkit writes them → as OpenSSL does."""
CURVES = {
    "CurveP256": "prime256v1",
    "CurveP384": "secp384r1",
    "CurveP521": "secp521r1",
    "X25519": "X25519",
}
VERSIONS = {"TLS12": ssl.TLSVersion.TLSv1_2, "TLS13": ssl.TLSVersion.TLSv1_3}
CLIENTS = {
    "NoClientCert": ssl.CERT_NONE,
    "VerifyClientCertIfGiven": ssl.CERT_OPTIONAL,
    "RequireAndVerifyClientCert": ssl.CERT_REQUIRED,
}
HEADERS = frozenset(
    {
        "Strict-Transport-Security",
        "X-Content-Type-Options",
        "X-Frame-Options",
        "X-XSS-Protection",
        "Content-Security-Policy",
    }
)
"""What the toolkit lets be set."""


def _version(value: object) -> object:
    if value in ("TLS10", "TLS11"):  # a list or a map has no hash
        raise ValueError("is a version that is not safe any more (write TLS12 or TLS13)")
    return value


def _client(value: object) -> object:
    if value in ("RequestClientCert", "RequireAnyClientCert"):  # a list or a map has no hash
        remedy = "write VerifyClientCertIfGiven or RequireAndVerifyClientCert"
        raise ValueError(f"would take certificates unchecked, as cannot be done here ({remedy})")
    return value


def _cipher(name: str) -> str:
    if name not in CIPHERS:
        raise ValueError("is not a cipher suite that is offered here (leave cipher_suites out)")
    return name


def _curves(names: list[str]) -> list[str]:
    if len(names) > 1:
        raise ValueError("can hold one curve only here (keep the first, or leave it out)")
    return names


def _hash(text: str) -> str:
    found = _HASH.fullmatch(text)
    if not found:
        raise ValueError("is not a bcrypt hash (make one: htpasswd -nBC 10 USER)")
    if int(found[1]) > _COSTLIEST:
        raise ValueError(f"has a cost above {_COSTLIEST}, which takes minutes (use 10 or 12)")
    return text


def _headers(headers: dict[str, str]) -> dict[str, str]:
    for name, value in headers.items():
        if name not in HEADERS:
            raise ValueError(f"can only hold {', '.join(sorted(HEADERS))} (remove it)")
        if not value.isascii() or not value.isprintable():
            raise ValueError("holds a character that no header may have (remove it)")
    return headers


Version = Annotated[Literal["TLS12", "TLS13"], BeforeValidator(_version)]
Client = Annotated[
    Literal["NoClientCert", "VerifyClientCertIfGiven", "RequireAndVerifyClientCert"],
    BeforeValidator(_client),
]


class TlsServer(Section):
    """How the server proves who it is, and who may connect; paths are relative to the file."""

    cert_file: str
    """The certificate (PEM), with those between it and its authority."""
    key_file: str
    """Its key (PEM, not encrypted)."""
    client_auth_type: Client = "NoClientCert"
    """Whether clients must show a certificate."""
    client_ca_file: str | None = None
    """Certificates (PEM) of the authorities that clients' certificates must come from."""
    client_allowed_sans: list[str] = Field(default=[])
    """Names of which a client's certificate must hold one, as DNS name, IP, email or URI."""
    min_version: Version = "TLS12"
    max_version: Version = "TLS13"
    cipher_suites: list[Annotated[str, AfterValidator(_cipher)]] = Field(default=[])
    """For TLS 1.2."""
    prefer_server_cipher_suites: bool = True
    curve_preferences: Annotated[
        list[Literal["CurveP256", "CurveP384", "CurveP521", "X25519"]], AfterValidator(_curves)
    ] = Field(default=[])


class HttpServer(Section):
    """How HTTP is spoken."""

    http2: bool = True
    """Only offered by the toolkit; here HTTP/1.1 is spoken in either case."""
    headers: Annotated[dict[str, str], AfterValidator(_headers)] = Field(default={})
    """Headers that every answer carries."""


class WebConfig(Section):
    """The whole file."""

    tls_server_config: TlsServer | None = None
    http_server_config: HttpServer = HttpServer()
    basic_auth_users: dict[str, Annotated[str, AfterValidator(_hash)]] = Field(
        default={}, repr=False
    )
    """Name → bcrypt hash of the password."""
