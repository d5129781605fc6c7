"""The HTTP side on real sockets."""

import asyncio
import errno
import gzip
import io
import logging
import os
import socket
import threading
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import aiohttp
import anyio
import anyio.lowlevel
import pytest
from aiohttp import web
from prometheus_client import CollectorRegistry
from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as parse_openmetrics,
)
from prometheus_client.parser import text_string_to_metric_families as parse_text

from monitor import logs
from monitor.errors import ConfigurationError, StoreError
from monitor.metrics import Metrics
from monitor.model import SourceKey, StoreOutage
from monitor.web import app as web_app
from monitor.web import listening
from monitor.web import server as web_server
from monitor.web.server import serving
from tests.ports import free_port
from tests.web_kit import Log, raw

PATHS = ["/", "/metrics", "/-/healthy", "/healthz", "/-/ready", "/readyz"]
OPENMETRICS = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5,*/*;q=0.1"


class Daemon:
    """What the pages show, as a test wants it."""

    def __init__(self):
        self.registry = CollectorRegistry()
        self.metrics = Metrics(self.registry, version="1.2.3")
        self.metrics.expect_jobs("panorama.package-import", "prod", "us-east-1")
        self.metrics.expect_source(SourceKey("panorama", "prod", "us-east-1"), ["Describe"])
        self.metrics.expect_sink("ops")
        self.age = 0.5
        self.configured = True
        self.ping_error = None
        self.ping_takes = 0.0
        self.pinged = anyio.Event()

    def last_pass_age(self):
        return self.age

    outage: StoreOutage | None = None

    async def ping(self):
        self.pinged.set()
        await anyio.sleep(self.ping_takes)
        if self.ping_error:
            raise self.ping_error

    def app(self):
        return web_app.create_app(
            registry=self.registry,
            health=self,
            store=self,
            configured=lambda: self.configured,
            version="1.2.3",
        )


@pytest.fixture
def daemon():
    return Daemon()


@asynccontextmanager
async def client(daemon, host="127.0.0.1"):
    with anyio.fail_after(60):
        async with (
            serving(daemon.app(), host, 0) as url,
            aiohttp.ClientSession(url) as session,
        ):
            yield session


async def answer(session, path, **headers):
    async with session.get(path, headers=headers) as response:
        return response.status, await response.text()


async def test_while_the_store_is_lost_what_needs_it_is_refused_at_once(daemon):
    daemon.outage = StoreOutage(datetime(2026, 3, 1, 12, 0, tzinfo=UTC), "gone")
    daemon.ping_takes = 60.0
    async with client(daemon) as session:
        assert (await answer(session, "/healthz"))[0] == 200
        assert (await answer(session, "/metrics"))[0] == 200
        status, text = await answer(session, "/readyz")
        assert (status, text) == (503, "the store cannot be reached since 12:00:00 UTC\n")
        async with session.get("/api/v1/jobs") as response:
            assert (response.status, response.headers["Retry-After"]) == (503, "5")
            problem = await response.json(content_type="application/problem+json")
        since = "2026-03-01T12:00:00Z"
        assert problem["detail"] == f"the store cannot be reached since {since}; nothing is lost"
        daemon.outage = None
        assert (await answer(session, "/"))[0] == 200


async def test_the_metrics_are_served_as_text_with_every_series(daemon):
    async with client(daemon) as session, session.get("/metrics") as response:
        assert response.content_type == "text/plain"
        assert "version=0.0.4" in response.headers["Content-Type"]
        families = {family.name: family for family in parse_text(await response.text())}
    assert families["job_monitor_transitions"].samples[0].value == 0
    assert families["job_monitor_build_info"].samples[0].labels == {"version": "1.2.3"}
    assert families["process_start_time_seconds"].samples[0].value > 0


async def test_the_metrics_are_served_as_openmetrics_when_asked(daemon):
    headers = {"Accept": OPENMETRICS}
    async with client(daemon) as session, session.get("/metrics", headers=headers) as response:
        assert response.content_type == "application/openmetrics-text"
        text = await response.text()
    assert text.endswith("# EOF\n")
    types = {family.name: family.type for family in parse_openmetrics(text)}
    assert types["job_monitor_polls"] == "counter"
    assert types["job_monitor_build"] == "info"


async def test_the_metrics_are_compressed_when_asked(daemon):
    request = b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n%b\r\n"
    async with serving(daemon.app(), "127.0.0.1", 0) as url:
        with anyio.fail_after(60):
            plain = await raw(url, request % b"")
            small = await raw(url, request % b"Accept-Encoding: deflate, gzip\r\n")
    assert b"Content-Encoding" not in plain
    assert b"Content-Encoding: gzip\r\n" in small
    assert len(small) < len(plain) / 5
    body = gzip.decompress(small.partition(b"\r\n\r\n")[2])
    assert len(list(parse_text(body.decode()))) > 25


@pytest.mark.parametrize(
    "accept",
    [
        "application/openmetrics-text;version=abc",
        "application/openmetrics-text;version=99999.0;escaping=x",
        "text/plain;version=x",
        ",;=,q",
        "*/*",
    ],
)
async def test_an_odd_accept_header_gets_the_metrics_too(daemon, accept):
    async with client(daemon) as session:
        status, text = await answer(session, "/metrics", Accept=accept)
    assert status == 200
    assert "job_monitor_polls_total" in text


async def test_concurrent_scrapes_are_all_answered(daemon):
    async with client(daemon) as session:
        answers = await asyncio.gather(*(answer(session, "/metrics") for _ in range(20)))
    assert [status for status, _ in answers] == [200] * 20


async def test_a_scrape_is_rendered_beside_the_event_loop(daemon):
    rendered_by = []

    class Witness:
        def collect(self):
            rendered_by.append(threading.get_ident())
            return []

    daemon.registry.register(Witness())
    rendered_by.clear()  # it is also asked when it is registered
    async with client(daemon) as session:
        status, _ = await answer(session, "/metrics")
    assert status == 200
    assert rendered_by
    assert threading.get_ident() not in rendered_by


@pytest.mark.parametrize("path", ["/-/healthy", "/healthz"])
async def test_the_process_is_healthy_while_its_last_pass_is_recent(daemon, path):
    async with client(daemon) as session:
        assert await answer(session, path) == (200, "healthy\n")
        daemon.age = 61.4
        assert await answer(session, path) == (503, "the scheduler's last pass was 61 s ago\n")
        daemon.age = None
        assert await answer(session, path) == (503, "the scheduler has not started\n")
        daemon.age = 59.9
        assert await answer(session, path) == (200, "healthy\n")


async def test_a_broken_store_makes_no_process_unhealthy(daemon):
    daemon.ping_error = StoreError("disk full")
    async with client(daemon) as session:
        assert (await answer(session, "/-/healthy"))[0] == 200


@pytest.mark.parametrize("path", ["/-/ready", "/readyz"])
async def test_the_process_is_ready_while_it_is_configured_and_the_store_can_be_written(
    daemon, path
):
    async with client(daemon) as session:
        assert await answer(session, path) == (200, "ready\n")
        daemon.ping_error = StoreError("postgresql://user:secret@host: disk full")
        assert await answer(session, path) == (503, "the store cannot be written\n")
        daemon.ping_error = None
        daemon.configured = False
        assert await answer(session, path) == (503, "no configuration is loaded\n")
        daemon.configured = True
        assert await answer(session, path) == (200, "ready\n")


async def test_a_store_that_does_not_answer_is_not_ready(daemon, monkeypatch):
    monkeypatch.setattr(web_app, "PING_WITHIN", 0.05)
    daemon.ping_takes = 5
    async with client(daemon) as session:
        status, text = await answer(session, "/-/ready")
    assert (status, text) == (503, "the store did not answer within 0 s\n")


async def test_the_index_links_to_pages_that_exist(daemon):
    async with client(daemon) as session:
        async with session.get("/") as response:
            assert response.content_type == "text/html"
            page = await response.text()
        assert "1.2.3" in page
        links = [piece.split('"')[0] for piece in page.split('href="')[1:]]
        assert len(links) == 3
        for link in links:
            assert (await answer(session, link))[0] == 200


@pytest.mark.parametrize("path", PATHS)
async def test_head_gets_the_headers_alone(daemon, path):
    async with client(daemon) as session, session.head(path) as response:
        assert response.status == 200
        assert await response.read() == b""


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "TRACE"])
async def test_other_methods_are_not_allowed(daemon, path, method):
    async with client(daemon) as session, session.request(method, path) as response:
        assert response.status == 405
        assert response.headers["Allow"] == "GET,HEAD"


@pytest.mark.parametrize("path", ["/nothing", "/-/", "/metrics/", "/%2e%2e/etc/passwd", "/?"])
async def test_an_unknown_path_is_not_found(daemon, path):
    async with client(daemon) as session, session.get(path) as response:
        assert (response.status, response.content_type) == (
            (200, "text/html") if path == "/?" else (404, "text/plain")
        )


SECURITY = {
    "Server": "job-monitor",
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
}


@pytest.mark.parametrize("path", [*PATHS, "/nothing"])
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_every_answer_carries_the_security_headers(daemon, path, method):
    async with client(daemon) as session, session.request(method, path) as response:
        assert {name: response.headers[name] for name in SECURITY} == SECURITY
        assert response.headers.getall("Server") == ["job-monitor"]


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 100,
        b"GET\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost : x\r\nBad\x00Header: y\r\n\r\n",
        b"GET /" + b"x" * 9000 + b" HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nX: " + b"x" * 9000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"X: x\r\n" * 200 + b"\r\n",
        b"GET / HTTP/1.1\r\nContent-Length: -5\r\n\r\n",
    ],
)
async def test_a_malformed_request_gets_a_plain_answer_and_no_log_line(daemon, request_bytes):
    stream = io.StringIO()
    handlers = logging.getLogger().handlers[:]
    logs.configure("json", "debug", stream)
    try:
        async with serving(daemon.app(), "127.0.0.1", 0) as url:
            with anyio.fail_after(60):
                reply = await raw(url, request_bytes)
    finally:
        logging.getLogger().handlers[:] = handlers
    assert reply.startswith((b"HTTP/1.0 400 ", b"HTTP/1.1 400 "))
    assert reply.endswith(b"\r\n\r\nBad request\n")
    assert b"Server: job-monitor\r\n" in reply
    assert b"aiohttp" not in reply
    assert stream.getvalue() == ""


async def test_a_failure_of_our_own_shows_nothing_outside(daemon, caplog):
    daemon.ping_error = KeyError("c4nAry")
    async with client(daemon) as session, session.get("/-/ready") as response:
        assert response.status == 500
        assert {name: response.headers[name] for name in SECURITY} == SECURITY
        text = await response.text()
    assert "c4nAry" not in text
    assert "Traceback" not in text
    assert "Error handling request" in caplog.text


@pytest.mark.parametrize("path", ["/half", "/api/v1/half"])
@pytest.mark.parametrize("length", [None, 100])
async def test_an_answer_that_fails_after_its_head_breaks_off_and_is_logged(
    daemon, monkeypatch, path, length
):
    log = Log()
    monkeypatch.setattr(logs, "get", lambda: log)

    async def half(request):
        response = web.StreamResponse()
        response.content_length = length
        await response.prepare(request)
        await response.write(b"half")
        raise web.HTTPConflict if length else KeyError("c4nAry")

    app = daemon.app()
    app.router.add_get(path, half)
    async with serving(app, "127.0.0.1", 0) as url:
        with anyio.fail_after(60):
            reply = await raw(url, f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    assert reply.count(b"HTTP/1.1") == 1
    assert reply.endswith(b"\r\n\r\nhalf" if length else b"\r\n\r\n4\r\nhalf\r\n")
    assert log.errors == [(logs.REQUEST_FAILED, path)]


async def test_a_large_body_is_not_read(daemon):
    async with serving(daemon.app(), "127.0.0.1", 0) as url:
        head = b"POST /-/ready HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000000\r\n\r\n"
        with anyio.fail_after(60):
            reply = await raw(url, head + b"x" * 1000)
    assert reply.startswith(b"HTTP/1.1 405 ")


async def test_requests_are_not_logged(daemon, caplog):
    caplog.set_level(logging.DEBUG)
    async with client(daemon) as session:
        await answer(session, "/metrics?token=c4nAry")
    assert "c4nAry" not in caplog.text


@pytest.mark.parametrize(
    ("host", "start"),
    [
        ("127.0.0.1", "http://127.0.0.1:"),
        ("::1", "http://[::1]:"),
        ("[::1]", "http://[::1]:"),
        ("localhost", "http://"),
    ],
)
async def test_the_url_says_what_is_really_bound(daemon, host, start):
    async with serving(daemon.app(), host, 0) as url:
        assert url.startswith(start)
        assert not url.endswith(":0")
        async with aiohttp.ClientSession() as session:
            assert (await answer(session, f"{url}/healthz"))[0] == 200


@pytest.mark.parametrize("host", ["", "::", "[::]"])
async def test_every_address_of_both_families_is_served_at_once(daemon, host):
    async with serving(daemon.app(), host, 0) as url, aiohttp.ClientSession() as session:
        port = url.rsplit(":", 1)[1]
        for own in ("[::1]", "127.0.0.1"):
            assert (await answer(session, f"http://{own}:{port}/healthz"))[0] == 200


async def test_where_the_kernel_has_no_ipv6_every_address_of_ipv4_is_served(monkeypatch):
    real = socket.socket

    def without_ipv6(family=-1, *more, **named):
        if family == socket.AF_INET6:
            raise OSError(errno.EAFNOSUPPORT, os.strerror(errno.EAFNOSUPPORT))
        return real(family, *more, **named)

    with monkeypatch.context() as patched:
        patched.setattr(socket, "socket", without_ipv6)
        bound = await listening.bind("", 0)
    assert [each.getsockname()[0] for each in bound] == ["0.0.0.0"]
    bound[0].close()


async def test_one_address_of_ipv4_takes_no_ipv6(daemon):
    port = free_port()
    async with serving(daemon.app(), "0.0.0.0", port):
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("::1", port), timeout=60)


async def test_a_port_in_use_is_the_users_mistake_and_says_what_to_do(daemon):
    async with serving(daemon.app(), "127.0.0.1", 0) as url:
        port = int(url.rsplit(":", 1)[1])
        with pytest.raises(ConfigurationError) as caught:
            async with serving(daemon.app(), "127.0.0.1", port):
                pass
    assert str(caught.value) == (
        f"server.listen: 127.0.0.1:{port}: the port is in use "
        "(stop what uses it, or choose another port)"
    )
    assert caught.value.__suppress_context__


@pytest.mark.parametrize(
    ("host", "why"),
    [
        ("192.0.2.1", "not an address of this machine"),
        ("no-such-name.invalid", "no address is known for this name"),
    ],
)
async def test_an_impossible_address_is_the_users_mistake(daemon, host, why):
    with pytest.raises(ConfigurationError) as caught:
        async with serving(daemon.app(), host, 0):
            pass
    assert f"{host}:0: {why}" in str(caught.value)


async def test_the_port_is_free_again_after_the_server_stopped(daemon):
    port = free_port()
    async with serving(daemon.app(), "127.0.0.1", port):
        pass
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=60)
    async with serving(daemon.app(), "127.0.0.1", port):
        pass


async def test_a_request_under_way_is_answered_when_the_server_stops(daemon):
    daemon.ping_takes = 0.5
    async with aiohttp.ClientSession() as session:
        async with serving(daemon.app(), "127.0.0.1", 0) as url:
            asked = asyncio.create_task(answer(session, f"{url}/readyz"))
            await daemon.pinged.wait()
        assert await asked == (200, "ready\n")


async def test_a_request_that_never_ends_does_not_keep_the_server_from_stopping(
    daemon, monkeypatch
):
    monkeypatch.setattr(web_server, "STOP_WITHIN", 0.2)
    daemon.ping_takes = 600
    async with aiohttp.ClientSession() as session:
        with anyio.fail_after(60):
            async with serving(daemon.app(), "127.0.0.1", 0) as url:
                asked = asyncio.create_task(answer(session, f"{url}/readyz"))
                await daemon.pinged.wait()
    with pytest.raises(aiohttp.ClientError):
        await asked


async def test_an_idle_connection_does_not_keep_the_server_from_stopping(daemon, monkeypatch):
    monkeypatch.setattr(web_server, "STOP_WITHIN", 600.0)
    with anyio.fail_after(60):
        async with serving(daemon.app(), "127.0.0.1", 0) as url:
            port = int(url.rsplit(":", 1)[1])
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"GET / HTT")
            await writer.drain()
            await anyio.sleep(0.05)
    writer.close()


async def test_a_cancelled_server_still_lets_go_of_its_port_and_connections(daemon):
    port = free_port()
    with anyio.CancelScope() as scope:
        async with serving(daemon.app(), "127.0.0.1", port):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            scope.cancel()
            await anyio.sleep_forever()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=60)
    with anyio.fail_after(60):
        assert await reader.read() == b""
    writer.close()


async def test_the_application_bounds_a_body_that_is_read():
    assert isinstance(Daemon().app(), web.Application)
    assert Daemon().app()._client_max_size == 64 * 1024
