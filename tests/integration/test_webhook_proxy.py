"""Webhooks through a proxy: tunnels for https, and no way around the rules on addresses."""

import asyncio
import base64
import contextlib
from contextlib import asynccontextmanager

import pytest

from monitor import config, sinks
from monitor.errors import SendError, SendReason
from tests.certificates import certificate
from tests.contracts.sink_kit import event, read_request, receiving, webhook


def hook(url="https://h/", **more):
    return config.WebhookSink(type="webhook", url=url, **more)


class Proxy:
    """Tunnels to one port of this machine, whatever host it is asked for."""

    def __init__(self, target, status=200):
        self.target = target
        self.status = status
        self.requests = []
        self.port = 0

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    async def serve(self, reader, writer):
        request = await read_request(reader)
        self.requests.append(request)
        writer.write(f"HTTP/1.1 {self.status} Whatever\r\nContent-Length: 0\r\n\r\n".encode())
        if self.status == 200 and request.line.startswith("CONNECT"):
            others = await asyncio.open_connection("127.0.0.1", self.target)
            await asyncio.gather(_pump(reader, others[1]), _pump(others[0], writer))
        writer.close()


async def _pump(reader, writer):
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
    writer.close()


@asynccontextmanager
async def proxying(target=0, status=200):
    proxy = Proxy(target, status)
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader, writer):
        if task := asyncio.current_task():
            tasks.add(task)
        with contextlib.suppress(asyncio.CancelledError, OSError, asyncio.IncompleteReadError):
            await proxy.serve(reader, writer)
        writer.transport.abort()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def outcome(settings):
    async with sinks.open_sink("ops", settings) as sink:
        try:
            await sink.send([event()])
        except SendError as error:
            return error
    return None


async def test_an_https_receiver_is_told_through_a_tunnel(tmp_path):
    context = certificate(tmp_path / "pem", "hooks.invalid", 9)
    (tmp_path / "auth").write_text("planted-user:planted:password\n")
    async with receiving(ssl=context) as receiver, proxying(receiver.port) as proxy:
        settings = webhook(
            "https://hooks.invalid/path",
            proxy=proxy.url,
            proxy_auth_file=str(tmp_path / "auth"),
            tls={"ca_file": str(tmp_path / "pem")},
        )
        assert await outcome(settings) is None
    (request,) = receiver.requests
    (connect,) = proxy.requests
    assert request.event == event()
    assert "proxy-authorization" not in request.headers
    assert connect.line == "CONNECT hooks.invalid:443 HTTP/1.1"
    credentials = base64.b64encode(b"planted-user:planted:password").decode()
    assert connect.headers["proxy-authorization"] == f"Basic {credentials}"
    assert "webhook-signature" not in connect.headers
    assert "planted" not in repr(settings)


async def test_a_plain_receiver_is_asked_for_by_its_whole_url(tmp_path):
    (tmp_path / "auth").write_text("planted-user:planted")
    own = {"proxy_auth_file": str(tmp_path / "auth")}
    async with proxying() as proxy:
        assert await outcome(webhook("http://hooks.invalid/path", proxy=proxy.url, **own)) is None
    assert proxy.requests[0].line == "POST http://hooks.invalid/path HTTP/1.1"
    assert proxy.requests[0].headers["proxy-authorization"].startswith("Basic ")
    assert "authorization" not in proxy.requests[0].headers


async def test_a_proxy_that_asks_for_other_credentials_denies():
    async with proxying(status=407) as proxy:
        error = await outcome(webhook("https://hooks.invalid/planted", proxy=proxy.url))
    assert error.reason is SendReason.DENIED
    told = "https://hooks.invalid: the proxy asks for other credentials (407)"
    assert error.message == told


@pytest.mark.parametrize("status", [403, 502])
async def test_a_refusal_by_the_proxy_is_tried_again(status):
    async with proxying(status=status) as proxy:
        error = await outcome(webhook("https://hooks.invalid/planted", proxy=proxy.url))
    assert error.reason is SendReason.CONNECTION
    assert error.message == "https://hooks.invalid: the proxy refused to connect to it"


async def test_a_proxy_that_is_down_is_told_as_such():
    async with proxying() as proxy:
        pass
    error = await outcome(webhook("https://hooks.invalid/planted", proxy=proxy.url))
    assert error.reason is SendReason.CONNECTION
    assert error.message == "https://hooks.invalid: the proxy cannot be reached"


async def test_the_address_of_the_proxy_must_be_permitted():
    async with proxying() as proxy:
        url = proxy.url.replace("127.0.0.1", "localhost")
        settings = webhook("https://hooks.invalid/", proxy=url, allow_networks=[])
        error = await outcome(settings)
    assert error.reason is SendReason.FORBIDDEN_ADDRESS
    assert not proxy.requests


async def test_a_name_that_leads_to_a_forbidden_address_is_not_handed_to_the_proxy():
    proxy = "http://[::1]:1"
    settings = webhook("https://127.0.0.1.nip.invalid/", proxy=proxy, allow_networks=["::1/128"])
    assert "the proxy cannot be reached" in (await outcome(settings)).message
    settings = webhook("https://localhost/", proxy=proxy, allow_networks=["::1/128"])
    assert (await outcome(settings)).message == (
        "https://localhost leads to an address that is not public"
    )


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("proxy:3128", "is not a URL"),
        ("https://proxy.example.com", "is not the plain address of an HTTP proxy"),
        ("http://proxy.example.com/path", "is not the plain address of an HTTP proxy"),
        ("http://u:planted@proxy.example.com", "has a user name or password in it"),
        ("http://10.0.0.1:3128", "leads to an address that is not public"),
        ("http://169.254.169.254", "leads to a metadata service, which is never permitted"),
    ],
)
def test_a_bad_proxy_is_told_without_repeating_it(url, message):
    settings = hook(url="https://h/", proxy=url)
    (problem,) = sinks.problems("ops", settings)
    assert (problem.path, problem.message) == ("sinks.ops.proxy", message)
    assert "planted" not in f"{problem}{settings!r}{settings.model_dump(mode='json')}"


def test_bad_credentials_for_a_proxy_are_told_without_repeating_them(tmp_path):
    (tmp_path / "auth").write_text("planted")
    more = {"proxy_auth_file": str(tmp_path / "auth")}
    settings = hook(url="https://h/", **more)
    assert sinks.problems("ops", settings)[0].message == "is of no use without proxy"
    settings = hook(url="https://h/", proxy="http://proxy.example.com", **more)
    (problem,) = sinks.problems("ops", settings)
    assert problem.message.endswith("holds no user:password")
    assert "planted" not in str(problem)


@pytest.mark.parametrize("url", ["https://127.0.0.1/", "https://169.254.169.254/"])
def test_a_forbidden_receiver_stays_forbidden_behind_a_proxy(url):
    settings = hook(url=url, proxy="http://proxy.example.com")
    assert sinks.problems("ops", settings)[0].path == "sinks.ops.url"
