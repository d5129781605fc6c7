"""The webhook over TLS: only certificates of trusted authorities, for the right name."""

import ssl
from datetime import UTC, datetime, timedelta

import anyio
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from monitor import sinks
from monitor.errors import SendError, SendReason
from tests.contracts.sink_kit import event, receiving, webhook


def certificate(path, name, days):
    """Write a self-signed certificate for ``name`` and its key; return its server context."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=9))
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    plain = serialization.NoEncryption()
    form = serialization.PrivateFormat.PKCS8
    path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, form, plain)
        + made.public_bytes(serialization.Encoding.PEM)
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    return context


async def outcome(url):
    async with sinks.open_sink("ops", webhook(url, allow_http=False)) as sink:
        try:
            with anyio.fail_after(5):
                await sink.send([event()])
        except SendError as error:
            return error
    return None


async def test_a_receiver_with_a_trusted_certificate_is_told(tmp_path, monkeypatch):
    context = certificate(tmp_path / "pem", "localhost", 9)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "pem"))
    async with receiving(ssl=context) as receiver:
        assert await outcome(f"https://localhost:{receiver.port}/") is None
        assert len(receiver.requests) == 1


@pytest.mark.parametrize(
    ("name", "days", "trusted"),
    [("localhost", 9, False), ("elsewhere.example", 9, True), ("localhost", -1, True)],
    ids=["unknown authority", "another name", "expired"],
)
async def test_no_other_certificate_is_accepted(name, days, trusted, tmp_path, monkeypatch):
    context = certificate(tmp_path / "pem", name, days)
    if trusted:
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "pem"))
    async with receiving(ssl=context) as receiver:
        error = await outcome(f"https://localhost:{receiver.port}/path")
        assert error.reason is SendReason.CONNECTION
        assert error.message == "https://localhost: its certificate cannot be trusted"
        assert not receiver.requests


async def test_tls_to_a_plain_port_is_a_connection_failure():
    async with receiving() as receiver:
        error = await outcome(f"https://localhost:{receiver.port}/")
        assert error.reason in {SendReason.CONNECTION, SendReason.TIMEOUT}
        assert not receiver.requests
