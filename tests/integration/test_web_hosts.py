"""By which names the monitor answers: a site's own name may lead to its port."""

import pytest

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
