"""The webhook over TLS: only certificates of trusted authorities, for the right name."""

import ssl

import anyio
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from monitor import config, sinks
from monitor.errors import SendError, SendReason
from tests.certificates import certificate
from tests.contracts.sink_kit import event, receiving, webhook


def hook(url="https://h/", **more):
    return config.WebhookSink(type="webhook", url=url, **more)


async def outcome(url, **more):
    async with sinks.open_sink("ops", webhook(url, allow_http=False, **more)) as sink:
        try:
            with anyio.fail_after(90):
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
        error = await outcome(f"https://localhost:{receiver.port}/", timeout="2s")
        assert error.reason in {SendReason.CONNECTION, SendReason.TIMEOUT}
        assert not receiver.requests


async def told(url, **tls):
    settings = webhook(url, allow_http=False, tls={key: str(v) for key, v in tls.items()})
    async with sinks.open_sink("ops", settings) as sink:
        try:
            await sink.send([event()])
        except SendError as error:
            return error
    return None


async def test_an_authority_of_ones_own_is_trusted_instead_of_the_systems(tmp_path):
    context = certificate(tmp_path / "pem", "localhost", 9)
    certificate(tmp_path / "other", "localhost", 9)
    async with receiving(ssl=context) as receiver:
        url = f"https://localhost:{receiver.port}/"
        assert await told(url, ca_file=tmp_path / "pem") is None
        error = await told(url, ca_file=tmp_path / "other")
    assert error.message == "https://localhost: its certificate cannot be trusted"


async def test_the_name_in_the_certificate_can_be_another_than_the_hosts(tmp_path):
    context = certificate(tmp_path / "pem", "inside.example", 9)
    async with receiving(ssl=context) as receiver:
        url = f"https://localhost:{receiver.port}/"
        own = {"ca_file": tmp_path / "pem"}
        assert await told(url, **own, server_name="inside.example") is None
        assert (await told(url, **own)).reason is SendReason.CONNECTION


async def test_the_monitor_shows_its_own_certificate_where_it_is_asked_for_one(tmp_path):
    context = certificate(tmp_path / "pem", "localhost", 9)
    certificate(tmp_path / "client", "monitor", 9)
    context.load_verify_locations(tmp_path / "client")
    context.verify_mode = ssl.CERT_REQUIRED
    async with receiving(ssl=context) as receiver:
        url = f"https://localhost:{receiver.port}/"
        own = {"ca_file": tmp_path / "pem"}
        assert await told(url, **own, cert_file=tmp_path / "client") is None
        error = await told(url, **own)
        assert error.reason is SendReason.CONNECTION
    assert len(receiver.requests) == 1


@pytest.mark.parametrize(
    ("tls", "path", "message"),
    [
        ({"ca_file": "none"}, "ca_file", "does not name an existing file"),
        ({"ca_file": "text"}, "ca_file", "{}/text holds no certificate"),
        ({"key_file": "one"}, "key_file", "is of no use without cert_file"),
        ({"cert_file": "none"}, "cert_file", "does not name an existing file"),
        ({"cert_file": "text"}, "cert_file", "no certificate and key can be read from it"),
        ({"cert_file": "one", "key_file": "two"}, "key_file", "does not fit the certificate"),
        ({"cert_file": "one", "key_file": "locked"}, "key_file", "no certificate and key can be"),
        ({"server_name": "a b"}, "server_name", "is not a host name"),
    ],
)
def test_what_is_wrong_with_tls_is_told(tls, path, message, tmp_path):
    certificate(tmp_path / "one", "one", 9)
    certificate(tmp_path / "two", "two", 9)
    (tmp_path / "text").write_text("planted")
    key = ec.generate_private_key(ec.SECP256R1())
    locked = serialization.BestAvailableEncryption(b"password")
    form = serialization.PrivateFormat.PKCS8
    (tmp_path / "locked").write_bytes(key.private_bytes(serialization.Encoding.PEM, form, locked))
    paths = {k: v if k == "server_name" else str(tmp_path / v) for k, v in tls.items()}
    settings = hook(url="https://h/", tls=paths)
    (problem,) = sinks.problems("ops", settings)
    assert problem.path == f"sinks.ops.tls.{path}"
    assert message.format(tmp_path) in problem.message
    assert "planted" not in str(problem)
