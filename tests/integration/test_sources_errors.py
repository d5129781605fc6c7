from __future__ import annotations

import asyncio
import logging
import re
import socket
import ssl
import struct
import traceback

import anyio
import pytest
from botocore.exceptions import HTTPClientError

from monitor.aws.errors import unanswered
from monitor.errors import PollError, PollReason
from tests import ports
from tests.integration.sources_server import (
    IMPORTEXPORT,
    PANORAMA,
    REQUEST_ID,
    aws,
    clean_environment,
    http,
    job,
    json_error,
    raw_server,
    sources,
    xml_error,
)

BODY = "trueCryptPassword:canary-9f8e7d6c"
BOTH = (PANORAMA, IMPORTEXPORT)


pytestmark = pytest.mark.usefixtures("both_paths")


@pytest.fixture(autouse=True)
def aws_environment(monkeypatch, tmp_path):
    clean_environment(monkeypatch, tmp_path)


async def failures(name, answers, **times) -> list[PollError]:
    """What the answers, each to one look, are taken for."""
    found = []
    async with raw_server() as server, sources(server.url, **times) as source:
        for count, answer in enumerate(answers, start=1):
            server.answer = answer if isinstance(answer, bytes) else answer(server)
            with anyio.fail_after(90), pytest.raises(PollError) as caught:
                await source[name].describe(job(name, "EX1ID"))
            assert len(server.requests) == count, "a look asks exactly once"
            found.append(caught.value)
    return found


async def failure(name, answer, **times) -> PollError:
    return (await failures(name, [answer], **times))[0]


def error(name, code, status):
    return json_error(code, status) if name == PANORAMA else xml_error(code, status)


CODES = [
    ("Throttling", "400 Bad Request", PollReason.THROTTLE),
    ("throttling", "503 Service Unavailable", PollReason.THROTTLE),
    ("TooManyRequests", "429 Too Many Requests", PollReason.THROTTLE),
    ("RequestLimitExceeded", "503 Service Unavailable", PollReason.THROTTLE),
    ("SlowDown", "503 Slow Down", PollReason.THROTTLE),
    ("InternalServer", "500 Internal Server Error", PollReason.TRANSIENT),
    ("InternalFailure", "500 Internal Server Error", PollReason.TRANSIENT),
    ("ServiceUnavailable", "503 Service Unavailable", PollReason.TRANSIENT),
    ("Conflict", "409 Conflict", PollReason.TRANSIENT),
    ("UnknownOperation", "404 Not Found", PollReason.UNAVAILABLE),
    ("AccessDenied", "403 Forbidden", PollReason.AUTH),
    ("InvalidClientTokenId", "403 Forbidden", PollReason.AUTH),
    ("SignatureDoesNotMatch", "403 Forbidden", PollReason.AUTH),
    ("RequestExpired", "400 Bad Request", PollReason.AUTH),
    ("ExpiredToken", "400 Bad Request", PollReason.AUTH),
    ("InvalidAccessKeyId", "400 Bad Request", PollReason.AUTH),
    ("ResourceNotFound", "404 Not Found", PollReason.MISSING),
    ("NobodyKnowsThis", "404 Not Found", PollReason.MISSING),
    ("Validation", "400 Bad Request", PollReason.CONFIG),
    ("InvalidVersion", "400 Bad Request", PollReason.CONFIG),
    ("NobodyKnowsThis", "418 Teapot", PollReason.CONFIG),
    ("NobodyKnowsThis", "502 Bad Gateway", PollReason.TRANSIENT),
]


@pytest.mark.parametrize("name", BOTH)
@pytest.mark.parametrize("suffix", ["", "Exception"])
async def test_an_error_code_has_a_reason(name, suffix):
    found = await failures(name, [error(name, code + suffix, status) for code, status, _ in CODES])

    for (code, status, reason), one in zip(CODES, found, strict=True):
        assert (one.reason, one.code) == (reason, code + suffix)
        assert (one.status, one.request_id) == (int(status[:3]), REQUEST_ID)
        assert one.where == ""


async def test_an_unknown_import_export_job_is_missing():
    found = await failure(IMPORTEXPORT, xml_error("InvalidJobIdException"))

    assert found.reason is PollReason.MISSING


FIELDS = '{"Message": "bad", "Reason": "FIELD_VALIDATION_FAILED", "Fields": [{"Name": "%s"}]}'


@pytest.mark.parametrize(
    ("field", "reason"), [("JobId", PollReason.MISSING), ("Other", PollReason.CONFIG)]
)
async def test_a_panorama_job_is_missing_where_validation_names_its_id(field, reason):
    kind = "ValidationException:http://internal.amazon.com/coral/com.amazonaws.panorama/"

    found = await failure(PANORAMA, json_error(kind, "400 Bad Request", FIELDS % field))

    assert (found.reason, found.code) == (reason, "ValidationException")


async def test_an_error_code_may_stand_in_the_body():
    body = '{"__type": "com.amazonaws.panorama#ThrottlingException", "message": "x"}'

    found = await failure(PANORAMA, aws(body, "400 Bad Request"))

    assert (found.reason, found.code) == (PollReason.THROTTLE, "ThrottlingException")


STATUSES = [
    ("429 Too Many Requests", PollReason.THROTTLE),
    ("500 Internal Server Error", PollReason.TRANSIENT),
    ("502 Bad Gateway", PollReason.TRANSIENT),
    ("503 Service Unavailable", PollReason.TRANSIENT),
    ("504 Gateway Timeout", PollReason.TRANSIENT),
    ("409 Conflict", PollReason.TRANSIENT),
    ("401 Unauthorized", PollReason.AUTH),
    ("403 Forbidden", PollReason.AUTH),
    ("404 Not Found", PollReason.UNAVAILABLE),
    ("410 Gone", PollReason.UNAVAILABLE),
    ("400 Bad Request", PollReason.CONFIG),
]


@pytest.mark.parametrize("name", BOTH)
@pytest.mark.parametrize("body", ["", BODY, f"<html><body>{BODY}</body></html>", f"<a>{BODY}"])
async def test_an_answer_without_a_code_is_judged_by_its_status(name, body):
    answers = [http(body, status, content_type="text/html") for status, _ in STATUSES]

    for (status, reason), one in zip(STATUSES, await failures(name, answers), strict=True):
        assert (one.reason, one.status) == (reason, int(status[:3])), status
        assert one.code == f"HTTP {one.status}"


async def test_a_bare_404_of_aws_itself_is_a_missing_job():
    found = await failure(PANORAMA, aws("{}", "404 Not Found"))

    assert found.reason is PollReason.MISSING


async def test_a_redirect_is_not_followed():
    async with raw_server() as elsewhere:
        elsewhere.answer = aws("{}")
        for status in ("302 Found", "307 Temporary Redirect"):
            found = await failure(IMPORTEXPORT, http("", status, location=elsewhere.url))
            assert found.reason is PollReason.UNAVAILABLE
        assert elsewhere.requests == []


WAITS = {
    "7": 7.0,
    "Thu, 28 May 2026 12:00:30 GMT": 30.0,
    "Thu, 28 May 2026 11:00:00 GMT": 0.0,
    "-3": None,
    "soon": None,
    "nan": None,
    "inf": None,
    "1e400": None,
    "99999999999999": 3600.0,
    "Fri, 31 Dec 9999 23:59:59 GMT": 3600.0,
    "Wed, 21 Oct 99999999999999999999 07:28:00 GMT": None,
}


@pytest.mark.parametrize("name", BOTH)
@pytest.mark.parametrize("status", ["429 Too Many Requests", "503 Service Unavailable"])
async def test_retry_after_is_kept_in_seconds(name, status):
    answers = [http("<html>x</html>", status, retry_after=header) for header in WAITS]

    found = await failures(name, answers)

    assert [one.retry_after for one in found] == list(WAITS.values())


@pytest.mark.parametrize("code", ["SignatureDoesNotMatch", "RequestExpired"])
async def test_a_skewed_clock_is_hinted_at(code):
    found = await failure(IMPORTEXPORT, xml_error(code, "403 Forbidden"))

    assert "clock" in found.hint


def reset(_server):
    async def answer(writer: asyncio.StreamWriter) -> None:
        linger = struct.pack("ii", 1, 0)
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        writer.transport.abort()

    return answer


def close(_server):
    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.close()

    return answer


def half(_server):
    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{")
        await writer.drain()
        writer.close()

    return answer


def junk(_server):
    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(b"\x00\x01 not http\r\n\r\n")
        await writer.drain()
        writer.close()

    return answer


def hang(server):
    return server.hang


def drip(server):
    """Never silent long enough for the SDK's own timeout."""

    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10000\r\n\r\n")
        while not server.closing.is_set() and not writer.is_closing():
            writer.write(b" ")
            await asyncio.sleep(0.02)

    return answer


@pytest.mark.parametrize("answer", [reset, close, half, junk, hang, drip])
async def test_a_broken_exchange_is_transient(answer):
    # One request alone may be repeated by the HTTP client, on a connection that was kept;
    # a first connection never is.
    found = await failure(IMPORTEXPORT, answer, read=1.5, deadline=4.0)

    assert found.reason is PollReason.TRANSIENT


async def test_a_refused_connection_is_transient():
    async with sources(f"http://127.0.0.1:{ports.free_port()}") as source:
        with pytest.raises(PollError) as caught:
            await source[PANORAMA].describe(job(PANORAMA, "ok"))

    assert (caught.value.reason, caught.value.code) == (PollReason.TRANSIENT, "ECONNREFUSED")


@pytest.mark.parametrize("name", BOTH)
@pytest.mark.parametrize(
    ("number", "reason"),
    [
        (socket.EAI_NONAME, PollReason.UNAVAILABLE),
        (socket.EAI_NODATA, PollReason.UNAVAILABLE),
        (socket.EAI_AGAIN, PollReason.TRANSIENT),
    ],
)
async def test_no_such_host_differs_from_a_resolver_that_is_down(monkeypatch, name, number, reason):
    async def getaddrinfo(*_args, **_options):
        raise socket.gaierror(number, "resolver says no")

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)
    async with sources("https://service.example.com") as source:
        with pytest.raises(PollError) as caught:
            await source[name].describe(job(name, "EX1ID"))

    assert caught.value.reason is reason


TELLING = [
    http(BODY, "500 Internal Server Error"),
    http(BODY, "400 Bad Request"),
    aws(BODY),
    aws(f"<GetStatusResponse><x>{BODY}"),
    aws(f'{{"JobId": "{BODY}", "Status": "FAILED"}}'),
    xml_error("Nobody", message=BODY),
    json_error("Nobody", "400 Bad Request", f'{{"message": "{BODY}"}}'),
    xml_error(BODY),
]


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("AWS_CA_BUNDLE", "/nowhere/canary.pem", "check AWS_CA_BUNDLE and the proxy's files"),
        ("AWS_CA_BUNDLE", "/", "check AWS_CA_BUNDLE and the proxy's files"),
        ("AWS_CA_BUNDLE", __file__, "check AWS_CA_BUNDLE and the proxy's files"),
        ("HTTPS_PROXY", "http://127.0.0.1:canary", "check the endpoint and the proxy variables"),
    ],
)
async def test_what_is_wrong_on_this_machine_is_no_outage_of_aws(
    monkeypatch, variable, value, said
):
    """The SDK wraps it as if AWS had not answered, and it would be tried again for ever."""
    monkeypatch.setenv(variable, value)
    async with sources("https://127.0.0.1:1") as source:
        with anyio.fail_after(90), pytest.raises(PollError) as caught:
            await source[PANORAMA].describe(job(PANORAMA, "ok"))
    assert caught.value.reason is PollReason.CONFIG
    assert said in caught.value.hint
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize(
    ("cause", "reason"),
    [
        (FileNotFoundError(2, "canary"), PollReason.CONFIG),
        (PermissionError(13, "canary"), PollReason.CONFIG),
        (IsADirectoryError(21, "canary"), PollReason.CONFIG),
        (ssl.SSLError(1, "canary"), PollReason.CONFIG),
        (ValueError("canary"), PollReason.CONFIG),
        (TypeError("canary"), PollReason.CONFIG),
        (UnicodeDecodeError("utf-8", b"canary", 0, 1, "canary"), PollReason.MALFORMED),
        (ConnectionResetError(104, "canary"), PollReason.TRANSIENT),
        (RuntimeError("canary"), PollReason.TRANSIENT),
    ],
)
def test_what_the_sdk_wraps_is_judged_by_its_cause(cause, reason):
    found = unanswered(HTTPClientError(error=cause))
    assert found.reason is reason
    assert "canary" not in str(found)


@pytest.mark.parametrize("name", BOTH)
async def test_no_text_of_an_answer_leaves_through_an_error(name, caplog):
    caplog.set_level(logging.INFO)

    for found in await failures(name, TELLING):
        told = [*traceback.format_exception(found), str(found), repr(vars(found)), caplog.text]
        assert "canary" not in "".join(told)
        assert found.__context__ is None
        assert found.__cause__ is None


async def test_what_nobody_expected_is_internal_with_a_redacted_traceback(monkeypatch):
    async with raw_server() as server, sources(server.url) as source:
        clients = source[PANORAMA]._clients

        async def broken(*_args):
            raise KeyError(BODY)

        monkeypatch.setattr(clients, "_made", broken)
        with pytest.raises(PollError) as caught:
            await source[PANORAMA].describe(job(PANORAMA, "ok"))

    assert (caught.value.reason, caught.value.code) == (PollReason.INTERNAL, "KeyError")
    assert re.search(r"^aws/clients.py:\d+ ask$", caught.value.where, re.MULTILINE)
    assert caught.value.where.endswith("\nKeyError")
    assert "canary" not in "".join(traceback.format_exception(caught.value))


async def test_an_id_that_cannot_be_one_is_never_asked_for():
    async with raw_server() as server, sources(server.url) as source:
        for job_id in ("", "a/b", "../x", "a b", "x" * 256, "ünï", "a\n"):
            with pytest.raises(PollError) as caught:
                await source[PANORAMA].describe(job(PANORAMA, job_id))
            assert caught.value.reason is PollReason.CONFIG
        assert server.requests == []
