"""By which names the monitor answers: a site's own name may lead to its port."""

import aiohttp
import anyio
import pytest

from monitor import app as daemon_app
from monitor.config import Settings
from monitor.validation.general import OWN_PATHS
from monitor.web.server import serving
from tests.web_kit import open_site, raw

NAMES = ["Monitor.example.com.", "monitor"]
PATHS = ["/", "/metrics", "/-/healthy", "/api/v1/jobs", "/nothing"]


@pytest.mark.parametrize(
    "host",
    [
        *("evil.test", "evil.test:9847", "EVIL.test.", "monitor.evil.test", "127.0.0.1.evil.test"),
        *("", "[", "a@", "evil@127.0.0.1", "evil.test@localhost:9847", "localhost@evil.test"),
        *("localhost:evil", "localhost:99999", "localhost:1:2", "localhost/evil", "localhost.."),
        *("localhost evil.test", "localhost,evil.test", "127.1", "[::1].evil.test", "[::1%evil]"),
        *("localhost#", "localhost?", "localhost\\evil.test", "%6cocalhost"),
    ],
)
async def test_a_name_that_is_not_listed_is_answered_nothing(tmp_path, host):
    async with open_site(tmp_path, hosts=NAMES) as site:
        for path in PATHS:
            async with site.session.get(path, headers={"Host": host}) as answer:
                assert answer.status == 421, path
                assert answer.headers["X-Content-Type-Options"] == "nosniff"
                kind = "application/problem+json" if "api" in path else "text/plain"
                assert answer.content_type == kind


@pytest.mark.parametrize(
    "host",
    [
        "monitor.example.com",
        "MONITOR.EXAMPLE.COM:9847",
        "monitor.",
        "monitor:",
        "LocalHost.:80",
        "localhost:9847",
        "127.0.0.1:9847",
        "10.2.3.4",
        "[::1]:9847",
    ],
)
async def test_listed_names_addresses_and_localhost_are_answered(tmp_path, host):
    async with open_site(tmp_path, hosts=NAMES) as site:
        assert (await site.ask("/api/v1/jobs", headers={"Host": host}))[0] == 200


EVIL = [
    b"GET http://evil.test/healthz HTTP/1.1\r\nHost: localhost\r\n",
    b"GET http://evil.test@localhost/healthz HTTP/1.1\r\nHost: localhost\r\n",
    b"GET http://localhost/healthz HTTP/1.1\r\nHost: evil.test\r\n",
    b"GET http://localhost@evil.test:1/healthz HTTP/1.1\r\nHost: localhost\r\n",
    b"GET HTTP://EVIL.test/healthz HTTP/1.1\r\nHost: localhost\r\n",
    b"GET /healthz HTTP/1.1\r\nHost: evil.test\r\nHost: localhost\r\n",
    b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nHost: evil.test\r\n",
    b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n",
    b"CONNECT evil.test:443 HTTP/1.1\r\nHost: localhost\r\n",
]


@pytest.mark.parametrize("head", EVIL)
async def test_no_other_way_of_naming_a_host_passes(tmp_path, head):
    async with open_site(tmp_path, hosts=NAMES) as site:
        reply = await raw(site.url, head + b"Connection: close\r\n\r\n")
    assert reply[9:12] in {b"421", b"400"}, reply
    assert b"healthy" not in reply


async def test_a_whole_url_as_target_is_answered_where_its_name_is_listed(tmp_path):
    head = b"GET http://monitor:80/healthz HTTP/1.1\r\nHost: monitor\r\nConnection: close\r\n\r\n"
    async with open_site(tmp_path, hosts=NAMES) as site:
        assert (await raw(site.url, head)).endswith(b"healthy\n")


async def test_without_a_list_every_name_is_answered(tmp_path):
    async with open_site(tmp_path) as site:
        assert (await site.ask("/api/v1/jobs", headers={"Host": "evil.test"}))[0] == 200


async def test_the_daemon_answers_to_its_names_and_to_the_one_that_it_listens_on(
    tmp_path, monkeypatch
):
    def on_loopback(app, host, port, *more):
        assert host == "own.test"  # which no name server knows
        return serving(app, "127.0.0.1", port, *more)

    monkeypatch.setattr(daemon_app, "serving", on_loopback)
    server = {"listen": "own.test:0", "hosts": ["monitor.test"]}
    server["external_url"] = "https://outside.test/jobs"
    settings = Settings.model_validate(
        {"store": f"sqlite:///{tmp_path}/state.db", "server": server}
    )
    stop, found = anyio.Event(), {}
    urls: list[str] = []
    started = anyio.Event()

    def ready(running):
        urls.append(running.url)
        started.set()

    with anyio.fail_after(90):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(daemon_app.Daemon(settings).run, stop, ready)
            await started.wait()
            async with aiohttp.ClientSession(urls[0]) as session:
                for host in ("monitor.test", "own.test", "outside.test", "evil.test"):
                    async with session.get("/healthz", headers={"Host": host}) as answer:
                        found[host] = answer.status
            stop.set()
    assert found == {
        "monitor.test": 200,
        "own.test": 200,
        "outside.test": 200,
        "evil.test": 421,
    }


async def test_no_path_of_an_external_url_may_be_one_that_is_served(tmp_path):
    async with open_site(tmp_path) as site:
        served = {str(one.canonical) for one in site.app.router.resources()}
    first = {path.strip("/").partition("/")[0] for path in served} - {""}
    assert first == OWN_PATHS
