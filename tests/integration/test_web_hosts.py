"""By which names the monitor answers: a site's own name may lead to its port."""

import aiohttp
import anyio
import pytest

from monitor import app as daemon_app
from monitor.config import Settings
from monitor.web.server import serving
from tests.web_kit import open_site

NAMES = ["Monitor.example.com.", "monitor"]
PATHS = ["/", "/metrics", "/-/healthy", "/api/v1/jobs", "/nothing"]


@pytest.mark.parametrize(
    "host",
    ["evil.test", "evil.test:9847", "monitor.evil.test", "127.0.0.1.evil.test", "", "[", "a@"],
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
        "localhost:9847",
        "127.0.0.1:9847",
        "10.2.3.4",
        "[::1]:9847",
    ],
)
async def test_listed_names_addresses_and_localhost_are_answered(tmp_path, host):
    async with open_site(tmp_path, hosts=NAMES) as site:
        assert (await site.ask("/api/v1/jobs", headers={"Host": host}))[0] == 200


async def test_without_a_list_every_name_is_answered(tmp_path):
    async with open_site(tmp_path) as site:
        assert (await site.ask("/api/v1/jobs", headers={"Host": "evil.test"}))[0] == 200


async def test_the_daemon_answers_to_its_names_and_to_the_one_that_it_listens_on(
    tmp_path, monkeypatch
):
    def on_loopback(app, host, port, web_config):
        assert host == "own.test"  # which no name server knows
        return serving(app, "127.0.0.1", port, web_config)

    monkeypatch.setattr(daemon_app, "serving", on_loopback)
    server = {"listen": "own.test:0", "hosts": ["monitor.test"]}
    settings = Settings.model_validate(
        {"store": f"sqlite:///{tmp_path}/state.db", "server": server}
    )
    stop, found = anyio.Event(), {}
    urls: list[str] = []
    started = anyio.Event()

    def ready(running):
        urls.append(running.url)
        started.set()

    with anyio.fail_after(30):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(daemon_app.Daemon(settings).run, stop, ready)
            await started.wait()
            async with aiohttp.ClientSession(urls[0]) as session:
                for host in ("monitor.test", "own.test", "evil.test"):
                    async with session.get("/healthz", headers={"Host": host}) as answer:
                        found[host] = answer.status
            stop.set()
    assert found == {"monitor.test": 200, "own.test": 200, "evil.test": 421}
