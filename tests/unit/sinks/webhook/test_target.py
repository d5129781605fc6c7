"""Every mistake in a webhook's settings is told, and no secret with it."""

import base64

import pytest

from monitor import config, sinks
from monitor.errors import ConfigurationError
from monitor.sinks.webhook import target as endpoint

KEY = b"0123456789abcdefghijklmn"
SECRET = "whsec_" + base64.b64encode(KEY).decode()


def webhook(url="https://hooks.example.com/x", **more):
    return config.WebhookSink(type="webhook", url=url, **more)


def told(settings):
    return [(p.path, p.message) for p in sinks.problems("ops", settings)]


def test_good_settings_have_no_problem(tmp_path):
    (tmp_path / "key").write_text(f" {SECRET}\n")
    (tmp_path / "header").write_text("Bearer x\n")
    settings = webhook(
        secret_files=[str(tmp_path / "key")],
        headers={"X-Team": "vision"},
        header_files={"Authorization": str(tmp_path / "header")},
        allow_networks=["10.0.0.0/8", "fd00::/8"],
    )
    assert told(settings) == []
    target = endpoint.load("ops", settings)
    assert target.origin == "https://hooks.example.com"
    assert target.keys == (KEY,)
    assert target.headers == (("X-Team", "vision"), ("Authorization", "Bearer x"))
    assert "Bearer" not in repr(target)
    assert str(KEY) not in repr(target)
    assert "/x" not in repr(target)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("", "is no URL"),
        ("hooks.example.com/x", "is no URL"),
        ("ftp://hooks.example.com/x", "is no URL"),
        ("file:///etc/passwd", "is no URL"),
        ("https:///x", "is no URL"),
        ("https://h:0/", "is no URL"),
        ("https://h:99999/", "is no URL"),
        ("https://h:port/", "is no URL"),
        ("https://[::1", "is no URL"),
        ("https://h/a b", "is no URL"),
        ("https://h/a\r\nX: y", "is no URL"),
        ("https://hôte.example/", "is no URL"),
        ("https://①②⑦.0.0.1/", "is no URL"),
        ("https://h\\@127.0.0.1/", "is no URL"),
        ("https://user:pass@h/", "has a user name or password in it"),
        ("https://user@h/", "has a user name or password in it"),
        ("https://@h/", "has a user name or password in it"),
        ("http://h/", "is plain http, which anyone on the way can read"),
        ("https://127.0.0.1/", "leads to an address that is not public"),
        ("https://[::1]/", "leads to an address that is not public"),
        ("https://[::ffff:10.0.0.1]:8443/", "leads to an address that is not public"),
        ("https://2130706433/", "leads to an address that is not public"),
        ("https://0x7f.1/", "leads to an address that is not public"),
        ("https://169.254.169.254/", "leads to a metadata service, which is never permitted"),
        ("https://0xA9FEA9FE/", "leads to a metadata service, which is never permitted"),
        ("https://134744072/", "writes an address in an unusual form"),
    ],
)
def test_a_bad_url_is_told_without_repeating_it(url, message):
    assert told(webhook(url)) == [("sinks.ops.url", message)]


def test_a_permission_opens_what_it_names():
    assert not told(webhook("http://h/", allow_http=True))
    assert not told(webhook("https://10.0.0.1/", allow_networks=["10.0.0.0/8"]))
    assert not told(webhook("https://[fd00::1]/", allow_networks=["fd00::/8"]))
    assert told(webhook("https://169.254.169.254/", allow_networks=["0.0.0.0/0"]))


@pytest.mark.parametrize("network", ["", "10.0.0.0/33", "10.0.0.1/8", "ten", "10.0.0.0/8,::/0"])
def test_a_bad_network_is_told(network):
    settings = webhook(allow_networks=["10.0.0.0/8", network])
    assert told(settings) == [("sinks.ops.allow_networks[1]", f"{network!r} is no network")]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b" \n", "is empty"),
        (b"A" * 9000, "is too long"),
        (b"\xff\xfe", "is not a text file in UTF-8"),
        (b"not-base64!planted", "the secret in {path} is not base64 after whsec_"),
        (b"QUJD", "the secret in {path} holds a key of 3 bytes instead of 24 to 64"),
    ],
)
def test_a_bad_secret_file_is_named_without_its_content(content, message, tmp_path):
    path = tmp_path / "key"
    path.write_bytes(content)
    message = message.format(path=path) if "{" in message else f"{path} {message}"
    settings = webhook(secret_files=[str(path)])
    assert told(settings) == [("sinks.ops.secret_files[0]", message)]
    assert "planted" not in str(sinks.problems("ops", settings))


def test_a_file_that_cannot_be_read_is_told(tmp_path):
    none = str(tmp_path / "none")
    settings = webhook(secret_files=[none], header_files={"X-Key": str(tmp_path)})
    missing = f"the value ({len(none)} characters) does not name an existing file"
    assert told(settings) == [
        ("sinks.ops.header_files.X-Key", f"{tmp_path} is not a regular file"),
        ("sinks.ops.secret_files[0]", missing),
    ]


@pytest.mark.parametrize("name", ["", "X Y", "X:Y", "X\r\nY", "Ünicode", "X\x00"])
def test_a_bad_header_name_is_told(name):
    assert told(webhook(headers={name: "x"})) == [
        (f"sinks.ops.headers.{name}", "is no header name")
    ]


@pytest.mark.parametrize(
    "name",
    [
        "Host",
        "content-type",
        "Content-Length",
        "WEBHOOK-ID",
        "webhook-signature",
        "Connection",
        "TE",
        "Upgrade",
        "Transfer-Encoding",
        "Proxy-Authorization",
        "Expect",
        "Accept-Encoding",
    ],
)
def test_a_header_that_the_monitor_sets_cannot_be_overridden(name):
    assert told(webhook(headers={name: "x"})) == [
        (f"sinks.ops.headers.{name}", "is a header that the monitor sets itself")
    ]


@pytest.mark.parametrize("value", ["planted\r\nX: y", "planted\n", "\x00planted", "plantéd"])
def test_a_bad_header_value_is_told_without_it(value):
    problems = sinks.problems("ops", webhook(headers={"X": value}))
    assert [p.message for p in problems] == ["has a value that is not one line of ASCII"]
    assert "plant" not in str(problems)


def test_a_header_given_twice_is_told(tmp_path):
    (tmp_path / "header").write_text("x")
    settings = webhook(headers={"X-Key": "a"}, header_files={"x-key": str(tmp_path / "header")})
    assert told(settings) == [("sinks.ops.header_files.x-key", "is given twice")]


async def test_all_problems_are_told_at_once_and_each_has_a_remedy(tmp_path):
    settings = webhook(
        "http://planted:planted@h/",
        allow_networks=["x"],
        secret_files=[str(tmp_path / "none")],
        headers={"Host": "planted"},
        header_files={"X": str(tmp_path / "none")},
    )
    with pytest.raises(ConfigurationError) as caught:
        async with sinks.open_sink("ops", settings):
            pass
    assert len(caught.value.problems) == 5
    assert list(caught.value.problems) == sinks.problems("ops", settings)
    assert all(problem.remedy for problem in caught.value.problems)
    assert "planted" not in str(caught.value)
