"""The signer against the SDK's own, over whatever a request may have."""

from __future__ import annotations

import calendar
import time
from unittest import mock

import pytest
from botocore import auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import ReadOnlyCredentials
from hypothesis import given
from hypothesis import strategies as st

from monitor.aws.fast import signer

SECRET = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
HOST = "http://h/"
PRINTABLE = st.characters(min_codepoint=32, max_codepoint=126)
VALUES = st.text(PRINTABLE, max_size=20)
IN_URLS = st.text("abcXYZ019-._~%/:+@!$'()*,;=é", max_size=12)
NAMES = st.text("abcXYZ-019", min_size=1, max_size=12)
PAIRS = st.tuples(NAMES, IN_URLS.map(lambda text: text.replace("é", "%C3%A9")))


def url_of(base, path, pairs):
    query = "&".join(f"{name}={value}" for name, value in pairs)
    return f"{base}/{path}?{query}" if query else f"{base}/{path}"


URLS = st.builds(
    url_of,
    st.sampled_from(["https://svc.us-east-1.amazonaws.com", "http://localhost:8080/base"]),
    st.one_of(IN_URLS, st.sampled_from(["a%20b/%2F/c", "a/../b/./c", "//a//", "x%C3%A9", "a:b*c"])),
    st.lists(PAIRS, max_size=4),
)
HEADERS = st.dictionaries(
    st.one_of(
        NAMES.map(lambda name: f"x-{name}"),
        st.sampled_from(["Content-Type", "X-Amz-Target", "User-Agent", "Accept", "Expect"]),
    ),
    VALUES,
    max_size=5,
)
CREDENTIALS = st.builds(
    ReadOnlyCredentials,
    st.text("ABCDEF012", min_size=1, max_size=20),
    st.text(PRINTABLE, min_size=1, max_size=40),
    st.one_of(st.none(), st.text("abc+/=0", min_size=1, max_size=60)),
    st.none(),
)


def by_the_sdk(credentials, service, region, method, url, headers, body, second):
    request = AWSRequest(method=method, url=url, headers=dict(headers), data=body)
    moment = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(second))
    with mock.patch.object(auth, "get_current_datetime") as now:
        now.return_value.strftime.return_value = moment
        auth.SigV4Auth(credentials, service, region).add_auth(request)
    return request.headers


@given(
    CREDENTIALS,
    st.sampled_from(["panorama", "IngestionService", "s3control"]),
    st.sampled_from(["us-east-1", "eu-central-2"]),
    st.sampled_from(["GET", "POST", "PUT"]),
    URLS,
    HEADERS,
    st.binary(max_size=200),
    st.lists(st.integers(0, 4_000_000_000), min_size=1, max_size=3),
)
def test_a_signature_is_what_the_sdk_makes(
    credentials, service, region, method, url, headers, body, seconds
):
    if len({name.lower() for name in headers}) < len(headers):
        return
    host = auth._host_from_url(url)
    made = signer.Signer(service, region, [("Host", host), *headers.items()], credentials)
    for second in seconds:
        theirs = by_the_sdk(credentials, service, region, method, url, headers, body, second)
        made.at(second)
        signature = made.sign(signer.canonical_line(method, url), body)
        assert made.authorization + signature == theirs["Authorization"]
        assert made.date == theirs["X-Amz-Date"]


def test_the_key_of_one_day_is_not_that_of_the_next():
    credentials = ReadOnlyCredentials("AKIA", SECRET, None, None)
    made = signer.Signer("panorama", "us-east-1", [("Host", "h")], credentials)
    midnight = calendar.timegm((2026, 3, 1, 0, 0, 0))
    for second in (midnight - 1, midnight, midnight + 1, midnight - 1):
        made.at(second)
        theirs = by_the_sdk(
            credentials, "panorama", "us-east-1", "GET", "http://h/", {}, b"", second
        )
        signature = made.sign(signer.canonical_line("GET", HOST), b"")
        assert made.authorization + signature == theirs["Authorization"]


def test_an_unsigned_payload_is_signed_as_such():
    credentials = ReadOnlyCredentials("AKIA", SECRET, "token", None)
    headers = {"X-Amz-Content-SHA256": auth.UNSIGNED_PAYLOAD}
    theirs = by_the_sdk(credentials, "svc", "us-east-1", "POST", "https://h/a", headers, b"body", 9)
    made = signer.Signer("svc", "us-east-1", [("Host", "h"), *headers.items()], credentials)
    made.at(9)
    signature = made.sign(signer.canonical_line("POST", "https://h/a"), b"body")
    assert made.authorization + signature == theirs["Authorization"]


@pytest.mark.parametrize(
    ("name", "value", "found"),
    [
        ("Content-MD5", "x", True),
        ("x-amz-checksum-crc32", "x", True),
        ("Content-Encoding", "gzip", True),
        ("X-Amz-Content-SHA256", "0" * 64, True),
        ("X-Amz-Content-SHA256", auth.UNSIGNED_PAYLOAD, False),
        ("X-Amz-Content-SHA256", auth.EMPTY_SHA256_HASH, False),
        ("Content-Type", "text/xml", False),
    ],
)
def test_a_header_that_is_made_of_the_body_is_known(name, value, found):
    assert signer.varies(name, value) is found
