"""What the webhook makes of each reply, and what it sends, over real sockets."""

import base64
import json
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import anyio
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from standardwebhooks import Webhook as Verifier

from monitor import __version__, sinks
from monitor.errors import SendError, SendReason
from tests.contracts.sink_kit import SEEN, check, event, receiving, replying, webhook

KEYS = [f"whsec_{base64.b64encode(bytes([n]) * 32).decode()}" for n in range(3)]


async def attempt(answer, **more):
    """Send one event to a receiver that answers so; return it and the error, if any."""
    async with receiving(answer) as receiver:
        async with sinks.open_sink("ops", webhook(receiver.url, **more), lambda: SEEN) as sink:
            try:
                with anyio.fail_after(90):
                    await sink.send([event()])
            except SendError as error:
                return receiver, error
        return receiver, None


@pytest.mark.parametrize("status", [200, 201, 202, 204, 226, 299])
async def test_every_2xx_is_a_yes(status):
    receiver, error = await attempt(replying(status))
    assert error is None
    assert len(receiver.requests) == 1


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        *((status, SendReason.REJECTED) for status in (300, 301, 302, 303, 304, 307, 308)),
        *((status, SendReason.REJECTED) for status in (400, 404, 405, 409, 413, 422)),
        *((status, SendReason.DENIED) for status in (401, 403)),
        (408, SendReason.TIMEOUT),
        (410, SendReason.GONE),
        (425, SendReason.RATE_LIMITED),
        (429, SendReason.RATE_LIMITED),
        *((status, SendReason.SERVER_ERROR) for status in (500, 501, 502, 503, 504, 507, 599)),
    ],
)
async def test_every_other_status_has_its_reason(status, reason):
    receiver, error = await attempt(replying(status, b"" if status == 304 else b"go away"))
    assert error.reason is reason
    assert error.message.startswith(f"http://127.0.0.1 answered {status}")
    assert len(receiver.requests) == 1


async def test_switching_protocols_is_no_yes():
    _, error = await attempt(replying(101, b"", "Connection: upgrade", "Upgrade: h2c"))
    assert error.reason is SendReason.CONNECTION


async def test_interim_replies_are_passed_over():
    async def answer(writer, request):
        writer.write(b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n")
        await replying(204)(writer, request)

    assert (await attempt(answer))[1] is None


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("Retry-After: 120", 120.0),
        ("retry-after:   7  ", 7.0),
        ("Retry-After: 0", 0.0),
        (f"Retry-After: {format_datetime(SEEN + timedelta(minutes=5), usegmt=False)}", 300.0),
        ("Retry-After: Sun, 22 Nov 2026 12:01:00 GMT", 60.0),
        ("Retry-After: Sunday, 22-Nov-26 12:01:00 GMT", 60.0),
        ("Retry-After: Fri, 31 Dec 1999 23:59:59 GMT", 0.0),
        ("Retry-After: " + "9" * 4000, 3600.0),
        ("Retry-After: Fri, 31 Dec 9999 23:59:59 GMT", 3600.0),
        ("Retry-After: -5", None),
        ("Retry-After: 1e3", None),
        ("Retry-After: 1e400", None),
        ("Retry-After: nan", None),
        ("Retry-After: 99999999999999", 3600.0),
        ("Retry-After: Wed, 21 Oct 99999999999999999999 07:28:00 GMT", None),
        ("Retry-After: soon", None),
        ("Retry-After:", None),
        ("X-Nothing: 1", None),
    ],
)
async def test_retry_after_is_read_in_both_forms(header, seconds):
    _, error = await attempt(replying(503, b"", header))
    assert error.retry_after == (seconds and pytest.approx(seconds, abs=1))


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_no_redirect_is_followed(status):
    async with receiving() as other:
        for target in (other.url, "http://169.254.169.254/latest/meta-data/"):
            receiver, error = await attempt(replying(status, b"", f"Location: {target}"))
            assert error.reason is SendReason.REJECTED
            assert len(receiver.requests) == 1
        assert other.connections == 0


async def test_the_request_is_what_the_documentation_says():
    receiver, _ = await attempt(None, headers={"X-Team": "vision", "User-agent": "mine"})
    (request,) = receiver.requests
    assert request.line == "POST /hook HTTP/1.1"
    assert request.event == event()
    check(request.event)
    assert request.headers == {
        "host": f"127.0.0.1:{receiver.port}",
        "content-type": "application/cloudevents+json; charset=utf-8",
        "content-length": str(len(request.body)),
        "accept": "*/*",
        "accept-encoding": "identity",
        "user-agent": "mine",
        "x-team": "vision",
        "webhook-id": event()["id"],
        "webhook-timestamp": str(int(SEEN.timestamp())),
    }


async def test_the_user_agent_names_product_and_version():
    receiver, _ = await attempt(None)
    assert receiver.requests[0].headers["user-agent"] == f"aws-job-monitor/{__version__}"


async def test_url_characters_arrive_as_they_were_written():
    async with receiving() as receiver:
        path = "/a%2Fb/%7Euser;v=1?sig=a%2Bb%3D&x=1+2&y=%C3%A4,~"
        url = f"http://127.0.0.1:{receiver.port}{path}"
        async with sinks.open_sink("ops", webhook(url)) as sink:
            await sink.send([event()])
        assert receiver.requests[0].line == f"POST {path} HTTP/1.1"


async def test_headers_can_come_from_files(tmp_path):
    (tmp_path / "auth").write_text("Bearer abc\n")
    receiver, _ = await attempt(None, header_files={"Authorization": str(tmp_path / "auth")})
    assert receiver.requests[0].headers["authorization"] == "Bearer abc"


async def test_every_attempt_sends_the_same_id_and_bytes_at_its_own_time():
    moments = iter(SEEN + timedelta(hours=n) for n in range(9))
    async with receiving(replying(503)) as receiver:
        settings = webhook(receiver.url)
        async with sinks.open_sink("ops", settings, lambda: next(moments)) as sink:
            for sent in (event(), dict(reversed(event().items())), event()):
                with pytest.raises(SendError):
                    await sink.send([sent])
        assert len({request.body for request in receiver.requests}) == 1
        assert len({request.headers["webhook-id"] for request in receiver.requests}) == 1
        assert len({request.headers["webhook-timestamp"] for request in receiver.requests}) == 3


async def test_no_cookie_is_kept():
    async with receiving(replying(200, b"", "Set-Cookie: session=1")) as receiver:
        async with sinks.open_sink("ops", webhook(receiver.url)) as sink:
            for _ in range(2):
                await sink.send([event()])
        assert not any("cookie" in request.headers for request in receiver.requests)


async def test_one_connection_serves_several_events():
    async with receiving(replying(200, b"ok")) as receiver:
        async with sinks.open_sink("ops", webhook(receiver.url)) as sink:
            for _ in range(5):
                await sink.send([event()])
        assert (receiver.connections, len(receiver.requests)) == (1, 5)


async def test_neither_proxy_variables_nor_netrc_are_honoured(monkeypatch, tmp_path):
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login me password secret")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    async with receiving() as proxy:
        for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        receiver, error = await attempt(None)
        assert error is None
        assert "authorization" not in receiver.requests[0].headers
        assert proxy.connections == 0


@pytest.mark.parametrize("held", [KEYS[:1], KEYS[:2], KEYS[::-1]])
async def test_a_receiver_with_any_of_the_secrets_can_verify(held, tmp_path):
    paths = []
    for number, key in enumerate(held):
        paths.append(str(tmp_path / str(number)))
        (tmp_path / str(number)).write_text(key + "\n")
    async with receiving() as receiver:
        async with sinks.open_sink("ops", webhook(receiver.url, secret_files=paths)) as sink:
            await sink.send([event()])
        (request,) = receiver.requests
    for key in held:
        assert Verifier(key).verify(request.body, request.headers) == event()
    with pytest.raises(Exception, match="No matching signature"):
        Verifier("whsec_" + base64.b64encode(b"x" * 32).decode()).verify(
            request.body, request.headers
        )


@settings(max_examples=40, suppress_health_check=list(HealthCheck))
@given(
    keys=st.lists(st.binary(min_size=24, max_size=64), min_size=1, max_size=4),
    reason=st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=300),
    job_id=st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30),
)
def test_random_deliveries_are_verified_by_the_reference_library(tmp_path, keys, reason, job_id):
    async def deliver():
        paths = []
        for number, key in enumerate(keys):
            (tmp_path / str(number)).write_text("whsec_" + base64.b64encode(key).decode())
            paths.append(str(tmp_path / str(number)))
        sent = event(reason=reason, job_id=job_id)
        async with receiving() as receiver:
            async with sinks.open_sink("ops", webhook(receiver.url, secret_files=paths)) as sink:
                await sink.send([sent])
            return sent, receiver.requests[0]

    sent, request = anyio.run(deliver)
    for key in keys:
        encoded = base64.b64encode(key).decode()
        assert Verifier(encoded).verify(request.body, request.headers) == sent
    assert json.loads(request.body) == sent
    assert abs(int(request.headers["webhook-timestamp"]) - datetime.now(UTC).timestamp()) < 60


async def test_a_reply_that_repeats_all_it_was_sent_gives_nothing_away(tmp_path):
    (tmp_path / "key").write_text(KEYS[1])
    (tmp_path / "auth").write_text('Bearer tok3n-"in"-quotes')

    async def answer(writer, request):
        said = json.dumps([request.line, request.headers]).encode()
        await replying(400, b"you said: " + said + KEYS[1].encode())(writer, request)

    async with receiving(answer) as receiver:
        settings = webhook(
            f"{receiver.url}/T0PSECRET?sig=abc%2Bdef%3D",
            secret_files=[str(tmp_path / "key")],
            header_files={"Authorization": str(tmp_path / "auth")},
        )
        async with sinks.open_sink("ops", settings, lambda: SEEN) as sink:
            with pytest.raises(SendError) as caught:
                await sink.send([event()])
        signed = receiver.requests[0].headers["webhook-signature"]
    message = caught.value.message
    assert message.startswith("http://127.0.0.1 answered 400: you said:")
    for secret in ("T0PSECRET", "abc%2B", "def%3D", "tok3n", "quotes", signed[3:20], KEYS[1][6:]):
        assert secret not in message


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b"no such\r\n\tpage\x1b[31m \xe2\x80\xaenow\x07", "no such page[31m now"),
        (b"x" * 5000, "x" * 200),
        (b"\xff\xfe bad bytes", "\ufffd\ufffd bad bytes"),
        (b"\x1f\x8b\x08binary", ""),
        (b"", ""),
    ],
)
async def test_the_message_quotes_a_cleaned_start_of_the_reply(body, told):
    _, error = await attempt(replying(400, body))
    assert error.message == "http://127.0.0.1 answered 400" + (f": {told}" if told else "")
