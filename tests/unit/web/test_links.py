from urllib.parse import parse_qs, urlsplit

import pytest

from monitor.config import ServerSettings
from monitor.web import links, prefix

KEYS = [
    "batch.job/prod/us-east-1/0a1b",
    "glue.job-run/prod/us-east-1/etl night/jr_1",
    "x.y/prod/us-east-1/..",
    "x.y/prod/us-east-1/arn:aws:ecs:us-east-1:123456789012:task/c/0a",
    "x.y/prod/us-east-1/a|b<c>'d'\"e\"&f=1#g?h%2F+ü",
]


def of(url):
    return links.PageLinks.of(ServerSettings(external_url=url))


@pytest.mark.parametrize("key", KEYS)
def test_a_link_leads_to_the_very_job_and_needs_no_quoting(key):
    link = of("https://tools.example.com/jobs/").job(key)
    parts = urlsplit(link)
    assert link.startswith("https://tools.example.com/jobs/job?key=")
    assert parse_qs(parts.query, strict_parsing=True) == {"key": [key]}
    assert not parts.fragment
    assert link.isascii()
    assert not set(link) & set(" \"'<>|()[]")


def test_links_of_a_watch_and_of_all_jobs():
    found = of("https://monitor.example.com")
    assert found.watch("a & b") == "https://monitor.example.com/?watch=a+%26+b"
    assert found.jobs() == "https://monitor.example.com/"
    assert links.PageLinks.of(ServerSettings()) is None


@pytest.mark.parametrize(
    ("url", "path"),
    [
        (None, ""),
        ("https://Monitor.example.com", ""),
        ("https://h:8443/", ""),
        ("https://h/tools/jobs/", "/tools/jobs"),
    ],
)
def test_the_prefix_is_that_of_the_url(url, path):
    assert prefix.of_url(url) == path
