"""A URL in a file: read as the other secret files are, and shown as little."""

import pytest
from pydantic import ValidationError

from monitor import config, example_events, sinks
from monitor.errors import ConfigurationError
from monitor.model import Kind
from monitor.redaction import HIDDEN
from monitor.sinks.webhook.target import load

PATH = "services/T00/B00/planted"


def webhook(**more):
    return config.WebhookSink(type="webhook", **more)


def told(settings):
    return [(p.path, p.message, p.remedy) for p in sinks.problems("ops", settings)]


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "url"
    path.write_text(f"https://hooks.example.com/{PATH}\n")
    return path


def test_the_url_is_that_in_the_file(file):
    settings = webhook(url_file=str(file))
    assert told(settings) == []
    target = load("ops", settings)
    assert str(target.url) == f"https://hooks.example.com/{PATH}"
    assert target.origin == "https://hooks.example.com"
    assert sinks.files(settings) == [str(file)]
    assert "planted" not in repr(target) + repr(settings)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is empty"),
        ("x" * 9000, "is too long"),
        ("planted", "holds something else than a URL"),
        ("https://h.example.com/a\nhttps://h.example.com/b", "holds something else than a URL"),
        ("http://h.example.com/planted", "is plain http, which anyone on the way can read"),
        ("https://me:planted@h.example.com/", "has a user name or password in it"),
        ("https://127.0.0.1/planted", "leads to an address that is not public"),
    ],
)
def test_a_file_without_a_good_url_is_told_by_its_key(file, content, message):
    file.write_text(content)
    ((path, said, remedy),) = told(webhook(url_file=str(file)))
    assert path == "sinks.ops.url_file"
    assert message in said
    assert "planted" not in said + remedy


@pytest.mark.parametrize("pasted", [f"https://hooks.slack.com/{PATH}", "planted"])
def test_a_url_in_place_of_the_file_is_not_repeated(pasted):
    ((path, said, remedy),) = told(webhook(url_file=pasted))
    assert path == "sinks.ops.url_file"
    assert "looks like a secret, not the name of a file" in said
    assert "planted" not in said + remedy


def test_a_missing_file_is_told_by_its_key(tmp_path):
    ((path, said, _),) = told(webhook(url_file=str(tmp_path / "url")))
    assert (path, said.endswith("does not name an existing file")) == ("sinks.ops.url_file", True)


def test_exactly_one_of_both_is_given(file):
    both = webhook(url="https://h.example.com/planted", url_file=str(file))
    assert told(both) == [("sinks.ops.url_file", "is given beside url", "keep one of them")]
    with pytest.raises(ValidationError) as caught:
        webhook()
    ((error),) = caught.value.errors()
    assert (error["loc"], error["type"]) == (("url",), "missing")


def test_a_preview_elsewhere_needs_no_file():
    settings = webhook(url_file="/nowhere/url", template="slack")
    with pytest.raises(ConfigurationError):
        sinks.previews("ops", settings, [])
    (shown,) = sinks.renderer("ops", settings)([example_events.event(Kind.STUCK)])
    assert shown.headers["POST"] == HIDDEN
