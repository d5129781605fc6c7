"""The web configuration file: what it may hold, TLS on real sockets, and changes of it."""

import errno
import os
import shutil
import ssl
import subprocess
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import anyio
import pytest
from cryptography.hazmat.primitives import serialization

from monitor import logs
from monitor.errors import ConfigurationError
from monitor.web import server as web_server
from monitor.web.auth import Guard
from monitor.web.web_config import WebConfigFile, read
from tests.builders import until
from tests.certificates import certificate
from tests.web_kit import open_site

HASH = "$2y$04$pNlSqHyhVMTC43LHTT6rROe7NFcXVsFBtxNGFhjD9/3TWQ0lDOwGS"
EXAMPLE = Path(__file__).parents[2] / "config" / "web.yaml"


def written(directory, text):
    path = directory / "web.yml"
    path.write_text(text)
    return path


def with_certificate(directory, name="one", more=""):
    certificate(directory / f"{name}.pem", "monitor.test", 9)
    return written(
        directory,
        f"tls_server_config:\n  cert_file: {name}.pem\n  key_file: {name}.pem\n{more}",
    )


def trusting(directory, *names, own=None):
    """A client's context that trusts these certificates; ``own`` is the one that it shows."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    for name in names:
        context.load_verify_locations(directory / f"{name}.pem")
    if own:
        context.load_cert_chain(directory / f"{own}.pem")
    return context


def locked(path):
    """Return a certificate's key, encrypted with a password."""
    key = serialization.load_pem_private_key(path.read_bytes(), None)
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"password"),
    )


async def status(url, context, path="/healthz"):
    """Ask over a new connection."""
    connector = aiohttp.TCPConnector(ssl=context, force_close=True)
    async with (
        aiohttp.ClientSession(connector=connector) as session,
        session.get(url + path) as response,
    ):
        return response.status


@asynccontextmanager
async def secure_site(directory, path, monkeypatch):
    monkeypatch.setattr(web_server, "RECHECK", 0.05)
    web_config = WebConfigFile(path)
    guard = Guard(web_config)
    async with open_site(directory, web_config=web_config, guard=guard) as site:
        yield site


MISTAKES = [
    ("foo: 1", "web.yml:1: foo: unknown key (known: basic_auth_users, http_server_config"),
    ("basic_auth_user: {a: b}", 'unknown key (did you mean "basic_auth_users"?)'),
    ("basic_auth_users:\n  ann: secret", "web.yml:2: basic_auth_users.ann: is not a bcrypt hash"),
    (f"basic_auth_users:\n  ann: {HASH.replace('04', '31')}", "has a cost above 16"),
    ("http_server_config:\n  headers: {X-Foo: a}", "can only hold Content-Security"),
    ("http_server_config:\n  http2: maybe", "http_server_config.http2: must be true or false"),
    ("tls_server_config:\n  cert_file: x", "tls_server_config.key_file: is missing"),
    ("TLS\n  min_version: TLS10", "min_version: is a version that is not safe any more"),
    ("TLS\n  min_version: TLS9", 'min_version: unknown value "TLS9"'),
    ("TLS\n  min_version: TLS13\n  max_version: TLS12", "min_version: is above max_version"),
    ("TLS\n  client_auth_type: RequestClientCert", "would take certificates unchecked"),
    ("TLS\n  client_auth_type: RequireAndVerifyClientCert", "needs client_ca_file (add it)"),
    ("TLS\n  client_ca_file: one.pem", "is of no use without client_auth_type"),
    ("TLS\n  client_allowed_sans: [a]", "is of no use without client_auth_type"),
    ("TLS\n  cipher_suites: [TLS_RSA_WITH_RC4_128_SHA]", "is not a cipher suite that is offered"),
    ("TLS\n  cipher_suites: [TLS_AES_128_GCM_SHA256]", "names suites of TLS 1.3 only"),
    ("TLS\n  curve_preferences: [CurveP256, X25519]", "can hold one curve only here"),
    ("TLS\n  cert: inline", "tls_server_config.cert: unknown key (did you mean"),
    ("", "must be a map of keys to values"),
    ("- a", "must be a map of keys to values"),
    ("a: b: c", "is not YAML"),
]


@pytest.mark.parametrize(("text", "message"), MISTAKES)
def test_what_cannot_be_done_is_refused_with_its_place(tmp_path, text, message):
    certificate(tmp_path / "one.pem", "monitor.test", 9)
    tls = "tls_server_config:\n  cert_file: one.pem\n  key_file: one.pem"
    path = written(tmp_path, text.replace("TLS\n", f"{tls}\n"))
    with pytest.raises(ConfigurationError) as caught:
        read(path)
    assert message in str(caught.value)
    assert "web.yml" in str(caught.value)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("cert", "key", "message"),
    [
        ("nothing.pem", "one.pem", "cert_file: "),
        ("one.pem", "two.pem", "do not hold a certificate and its key (key values mismatch)"),
        ("web.yml", "one.pem", "do not hold a certificate and its key"),
        ("one.pem", "locked.pem", "do not hold a certificate and its key"),
    ],
)
def test_files_that_are_no_certificate_and_its_key_are_refused(tmp_path, cert, key, message):
    certificate(tmp_path / "one.pem", "monitor.test", 9)
    certificate(tmp_path / "two.pem", "monitor.test", 9)
    (tmp_path / "locked.pem").write_bytes(locked(tmp_path / "one.pem"))
    path = written(tmp_path, f"tls_server_config: {{cert_file: {cert}, key_file: {key}}}")
    with pytest.raises(ConfigurationError) as caught:
        read(path)
    assert message in str(caught.value)


def test_http2_is_accepted_with_a_warning_only_where_it_is_asked_for(tmp_path):
    asked = read(written(tmp_path, "http_server_config: {http2: true}"))
    assert [warning.path for warning in asked.warnings] == ["http_server_config.http2"]
    assert read(written(tmp_path, "http_server_config: {http2: false}")).warnings == ()
    assert read(written(tmp_path, f"basic_auth_users: {{a: {HASH}}}")).warnings == ()


def test_the_example_is_a_web_configuration_for_prometheus_too(tmp_path):
    promtool = shutil.which("promtool")
    if promtool is None:
        assert not os.environ.get("CI"), "promtool is not installed"
        pytest.skip("promtool is not installed")
    shutil.copy(EXAMPLE, tmp_path / "web.yaml")
    (tmp_path / "tls").mkdir()
    certificate(tmp_path / "tls" / "tls.crt", "monitor.test", 9)
    shutil.copy(tmp_path / "tls" / "tls.crt", tmp_path / "tls" / "tls.key")
    ran = subprocess.run(
        [promtool, "check", "web-config", tmp_path / "web.yaml"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    assert "SUCCESS" in ran.stdout + ran.stderr
    loaded = read(tmp_path / "web.yaml")
    assert loaded.tls is not None
    assert list(loaded.users) == ["prometheus"]


async def test_the_site_is_served_over_tls_with_the_headers_of_the_file(tmp_path, monkeypatch):
    more = "http_server_config: {headers: {Strict-Transport-Security: max-age=9}}\n"
    path = with_certificate(tmp_path, more=more)
    async with secure_site(tmp_path, path, monkeypatch) as site:
        assert site.url.startswith("https://127.0.0.1:")
        context = trusting(tmp_path, "one")
        async with site.session.get("/api/v1/jobs", ssl=context) as response:
            assert response.status == 200
            assert response.headers["Strict-Transport-Security"] == "max-age=9"
        with pytest.raises(aiohttp.ClientError):
            await status(site.url.replace("https", "http"), None)


@pytest.mark.parametrize(("least", "most"), [("TLS13", "TLS13"), ("TLS12", "TLS12")])
async def test_only_the_versions_allowed_are_spoken(tmp_path, monkeypatch, least, most):
    more = f"  min_version: {least}\n  max_version: {most}\n"
    path = with_certificate(tmp_path, more=more)
    async with secure_site(tmp_path, path, monkeypatch) as site:
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            context = trusting(tmp_path, "one")
            context.minimum_version = context.maximum_version = version
            if version.name == least.replace("TLS1", "TLSv1_"):
                assert await status(site.url, context) == 200
            else:
                with pytest.raises(aiohttp.ClientError):
                    await status(site.url, context)


async def test_only_the_cipher_suites_and_the_curve_allowed_are_used(tmp_path, monkeypatch):
    suite = "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384"
    more = f"  max_version: TLS12\n  cipher_suites: [{suite}]\n  curve_preferences: [CurveP384]\n"
    path = with_certificate(tmp_path, more=more)
    async with secure_site(tmp_path, path, monkeypatch) as site:
        right, wrong, curve = (trusting(tmp_path, "one") for _ in range(3))
        right.set_ciphers("ECDHE-ECDSA-AES256-GCM-SHA384")
        wrong.set_ciphers("ECDHE-ECDSA-AES128-GCM-SHA256")
        curve.set_ecdh_curve("prime256v1")
        assert await status(site.url, right) == 200
        for refused in (wrong, curve):
            with pytest.raises(aiohttp.ClientError):
                await status(site.url, refused)


async def test_only_clients_with_the_right_certificate_come_in(tmp_path, monkeypatch):
    certificate(tmp_path / "client.pem", "scraper.test", 9)
    certificate(tmp_path / "other.pem", "other.test", 9)
    (tmp_path / "both.pem").write_bytes(
        (tmp_path / "client.pem").read_bytes() + (tmp_path / "other.pem").read_bytes()
    )
    more = (
        "  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: both.pem\n"
        "  client_allowed_sans: [scraper.test]\n"
    )
    path = with_certificate(tmp_path, more=more)
    async with secure_site(tmp_path, path, monkeypatch) as site:
        assert await status(site.url, trusting(tmp_path, "one", own="client")) == 200
        for own in (None, "one", "other"):  # none, an unknown one, one of another name
            with pytest.raises((aiohttp.ClientError, ConnectionError)):
                await status(site.url, trusting(tmp_path, "one", own=own))


async def test_a_client_certificate_may_be_left_out_where_it_is_only_verified(
    tmp_path, monkeypatch
):
    certificate(tmp_path / "client.pem", "scraper.test", 9)
    more = "  client_auth_type: VerifyClientCertIfGiven\n  client_ca_file: client.pem\n"
    path = with_certificate(tmp_path, more=more)
    async with secure_site(tmp_path, path, monkeypatch) as site:
        assert await status(site.url, trusting(tmp_path, "one")) == 200
        assert await status(site.url, trusting(tmp_path, "one", own="client")) == 200
        with pytest.raises(aiohttp.ClientError):
            await status(site.url, trusting(tmp_path, "one", own="one"))


async def comes(url, context, expected):
    """Wait until a new connection brings the status expected; ``None``: is not possible."""
    while True:
        try:
            found = await status(url, context)
        except aiohttp.ClientError:
            found = None
        if found == expected:
            return
        await anyio.sleep(0.05)


async def test_a_new_certificate_is_shown_to_new_connections_and_old_ones_go_on(
    tmp_path, monkeypatch
):
    path = with_certificate(tmp_path)
    async with secure_site(tmp_path, path, monkeypatch) as site:
        old = trusting(tmp_path, "one")
        async with site.session.get("/api/v1/events", ssl=old) as stream:
            before = stream.connection.transport.get_extra_info("peername")
            certificate(tmp_path / "one.pem", "monitor.test", 8)
            new = trusting(tmp_path, "one")
            await comes(site.url, new, 200)
            with pytest.raises(aiohttp.ClientError):
                await status(site.url, old)
            await site.record(1)
            while not (await stream.content.readline()).startswith(b"data:"):
                pass
            assert stream.connection.transport.get_extra_info("peername") == before
        assert site.url.endswith(f":{before[1]}")


class Log:
    """Keeps the events that were logged."""

    def __init__(self, told):
        self.told = told

    def error(self, event, **_facts):
        self.told.append(event)

    info = exception = error


async def test_a_broken_change_keeps_what_there_was_and_is_told_once(tmp_path, monkeypatch):
    told: list[str] = []
    path = with_certificate(tmp_path, more=f"basic_auth_users: {{ann: {HASH}}}\n")
    web_config = WebConfigFile(path)
    monkeypatch.setattr(web_config, "_log", Log(told))
    good = path.read_text()
    for broken in ("", "tls_server_config: {}", f"basic_auth_users: {{ann: {HASH}}}\n"):
        path.write_text(broken)
        before = len(told)
        for _ in range(3):
            assert await web_config.refresh() is False
        assert len(told) > before
        assert set(told) == {logs.WEB_CONFIG_REFUSED}
        assert list(web_config.loaded.users) == ["ann"]
        assert web_config.loaded.tls is not None
        count = len(told)
        assert await web_config.refresh() is False
        assert len(told) == count
    (tmp_path / "one.pem").write_text("broken")
    path.write_text(good)
    assert await web_config.refresh() is False
    certificate(tmp_path / "one.pem", "monitor.test", 8)
    assert await web_config.refresh() is True
    assert told[-1] == logs.WEB_CONFIG_LOADED


def meanwhile(monkeypatch, before=None, after=None):
    """Let something happen right before, or after, the next time that a certificate is loaded."""
    load, todo = ssl.SSLContext.load_cert_chain, [before, after]

    def loaded(context, *args, **more):
        first, then = todo
        todo[:] = None, None
        if first:
            first()
        load(context, *args, **more)
        if then:
            then()

    monkeypatch.setattr(ssl.SSLContext, "load_cert_chain", loaded)


@pytest.mark.parametrize("moment", ["before", "after"])
async def test_a_certificate_that_changes_while_it_is_read_is_not_missed(
    tmp_path, monkeypatch, moment
):
    path = with_certificate(tmp_path)
    other = (tmp_path / "one.pem").read_bytes()
    certificate(tmp_path / "one.pem", "monitor.test", 8)
    meanwhile(monkeypatch, **{moment: lambda: (tmp_path / "one.pem").write_bytes(other)})
    async with secure_site(tmp_path, path, monkeypatch) as site:
        await comes(site.url, trusting(tmp_path, "one"), 200)


async def test_what_is_compared_later_is_what_was_loaded(tmp_path, monkeypatch):
    path = with_certificate(tmp_path)
    right = (tmp_path / "one.pem").read_bytes()
    certificate(tmp_path / "other.pem", "monitor.test", 9)
    meanwhile(
        monkeypatch,
        before=lambda: shutil.copy(tmp_path / "other.pem", tmp_path / "one.pem"),
        after=lambda: (tmp_path / "one.pem").write_bytes(right),
    )
    async with secure_site(tmp_path, path, monkeypatch) as site:
        assert await status(site.url, trusting(tmp_path, "one")) == 200


async def test_a_web_configuration_that_changes_while_it_is_read_is_not_missed(
    tmp_path, monkeypatch
):
    path = with_certificate(tmp_path)
    text = f"{path.read_text()}basic_auth_users: {{ann: {HASH}}}\n"
    meanwhile(monkeypatch, after=lambda: path.write_text(text))
    web_config = WebConfigFile(path)
    assert await web_config.refresh() is True
    assert list(web_config.loaded.users) == ["ann"]
    assert await web_config.refresh() is False


async def test_a_certificate_that_comes_after_the_change_that_names_it_is_taken(tmp_path):
    path = with_certificate(tmp_path)
    web_config = WebConfigFile(path)
    path.write_text(path.read_text().replace("one.pem", "two.pem"))
    assert await web_config.refresh() is False
    assert await web_config.refresh() is False
    certificate(tmp_path / "two.pem", "monitor.test", 9)
    assert await web_config.refresh() is True
    assert web_config.loaded.files[1] == tmp_path / "two.pem"


async def test_a_lack_of_descriptors_is_not_taken_for_a_fault_of_the_files(tmp_path, monkeypatch):
    path = with_certificate(tmp_path)
    web_config = WebConfigFile(path)
    certificate(tmp_path / "one.pem", "monitor.test", 8)
    with monkeypatch.context() as patched:
        patched.setattr(os, "memfd_create", no_descriptors)
        with pytest.raises(OSError, match="Too many open files"):
            await web_config.refresh()
        with pytest.raises(ConfigurationError, match="too many open files"):
            read(path)
    assert await web_config.refresh() is True


async def test_a_file_that_cannot_be_read_anew_for_now_is_read_anew_later(tmp_path, monkeypatch):
    told: list[str] = []
    monkeypatch.setattr(logs, "get", lambda: Log(told))
    path = with_certificate(tmp_path)
    async with secure_site(tmp_path, path, monkeypatch) as site:
        old = trusting(tmp_path, "one")
        failed = 0

        def refused(*_args):
            nonlocal failed
            failed += 1
            no_descriptors()

        with monkeypatch.context() as patched:
            patched.setattr(os, "memfd_create", refused)
            certificate(tmp_path / "one.pem", "monitor.test", 8)
            await until(lambda: failed >= 3)
            assert await status(site.url, old) == 200
        await comes(site.url, trusting(tmp_path, "one"), 200)
        await until(lambda: logs.WEB_CONFIG_RECOVERED in told)
    assert sorted(told) == sorted(
        [logs.WEB_CONFIG_FAILING, logs.WEB_CONFIG_RECOVERED, logs.WEB_CONFIG_LOADED]
    )


def no_descriptors(*_args, **_more):
    raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))


def test_a_file_that_is_too_large_is_refused_and_not_cut(tmp_path):
    path = written(tmp_path, f"basic_auth_users: {{ann: {HASH}}}\n{'#' * 1024 * 1024}")
    with pytest.raises(ConfigurationError, match="is larger than 1 MiB"):
        read(path)


async def test_users_that_are_added_or_removed_count_without_a_restart(tmp_path, monkeypatch):
    path = with_certificate(tmp_path)
    async with secure_site(tmp_path, path, monkeypatch) as site:
        context = trusting(tmp_path, "one")
        assert await status(site.url, context) == 200
        text = path.read_text()
        path.write_text(f"{text}basic_auth_users: {{ann: {HASH}}}\n")
        await comes(site.url, context, 401)
        path.write_text(text)
        await comes(site.url, context, 200)
