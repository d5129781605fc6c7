import time
from dataclasses import replace
from urllib.parse import urlsplit

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from multidict import CIMultiDict

from monitor.simulator import signing
from monitor.simulator.signing import HttpRequest, Key, NotLetInError, Refusal

SECRET = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
KEYS = {"AKIAIOSFODNN7EXAMPLE": Key(SECRET)}
LIST = "http://127.0.0.1:4566/packages/import-jobs?NextToken=A%2B%2FW3d%3D%3D&MaxResults=3"


def signed(method="GET", url=LIST, body=b"", token=None, service="panorama"):
    """A request as botocore signs it, seen from the server."""
    request = AWSRequest(method=method, url=url, data=body)
    request.headers["Host"] = urlsplit(url).netloc
    if body:
        request.headers["Content-Type"] = "application/x-www-form-urlencoded; charset=utf-8"
    credentials = Credentials("AKIAIOSFODNN7EXAMPLE", SECRET, token)
    SigV4Auth(credentials, service, "us-east-1").add_auth(request)
    parts = urlsplit(url)
    return HttpRequest(method, parts.path, parts.query, CIMultiDict(request.headers.items()), body)


def refused(http, keys=None, now=None):
    with pytest.raises(NotLetInError) as caught:
        signing.verify(http, KEYS if keys is None else keys, time.time() if now is None else now)
    return caught.value.refusal


@pytest.mark.parametrize(
    "request_",
    [
        {},
        {"url": "http://localhost/packages/import-jobs/a-b_c"},
        {"url": "http://localhost/packages/import-jobs/%20%C3%A9?a=%20&b=&a=1"},
        {
            "method": "POST",
            "url": "http://h:1/",
            "body": b"Action=ListJobs&Version=2010-06-01",
            "service": "x",
        },
    ],
)
def test_what_botocore_signs_is_let_in(request_):
    http = signed(**request_)  # now: what is signed while tests are collected grows stale
    assert signing.verify(http, KEYS, time.time()).access_key == "AKIAIOSFODNN7EXAMPLE"


def test_the_scope_is_read():
    scope = signing.scope(signed().headers)
    assert scope is not None
    assert (scope.region, scope.service) == ("us-east-1", "panorama")


@pytest.mark.parametrize(
    "change",
    [
        {"path": "/packages/import-jobs/other"},
        {"query": "NextToken=other&MaxResults=3"},
        {"method": "POST"},
        {"body": b"x"},
    ],
)
def test_a_tampered_request_is_refused(change):
    assert refused(replace(signed(), **change)) is Refusal.MISMATCH


def test_a_tampered_signed_header_is_refused():
    http = signed()
    http.headers["Host"] = "example.com"
    assert refused(http) is Refusal.MISMATCH


def test_a_wrong_secret_is_refused():
    assert refused(signed(), {"AKIAIOSFODNN7EXAMPLE": Key("other")}) is Refusal.MISMATCH


def test_an_unknown_key_is_refused():
    assert refused(signed(), {}) is Refusal.UNKNOWN_KEY


def test_an_unsigned_request_is_refused():
    assert refused(HttpRequest("GET", "/", "", CIMultiDict(), b"")) is Refusal.MISSING


def test_expired_credentials_are_refused():
    assert refused(signed(), {"AKIAIOSFODNN7EXAMPLE": Key(SECRET, expired=True)}) is Refusal.EXPIRED


@pytest.mark.parametrize("offset", [-901, 902])
def test_a_clock_that_is_a_quarter_of_an_hour_off_is_refused(offset):
    assert refused(signed(), now=time.time() + offset) is Refusal.SKEWED


def test_a_request_without_a_date_is_refused():
    http = signed()
    del http.headers["X-Amz-Date"]
    assert refused(http) is Refusal.SKEWED


def test_a_session_token_must_be_the_keys():
    keys = {"AKIAIOSFODNN7EXAMPLE": Key(SECRET, session_token="session")}
    assert signing.verify(signed(token="session"), keys, time.time()).service == "panorama"
    assert refused(signed(token="other"), keys) is Refusal.BAD_TOKEN
    assert refused(signed(), keys) is Refusal.BAD_TOKEN
    assert refused(signed(token="session")) is Refusal.BAD_TOKEN
