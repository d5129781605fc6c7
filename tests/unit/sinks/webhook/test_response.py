"""What a reply means, whatever is in it."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.errors import SendReason
from monitor.sinks.webhook.response import Reply, excerpt, failure, reason_in, reason_of
from monitor.sinks.webhook.success import READY, compiled

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


@given(st.binary(max_size=2000))
def test_an_excerpt_is_one_printable_line_of_bounded_length(body):
    text = excerpt(body, ())
    assert text.isprintable()
    assert len(text) <= 200


@given(st.text("abcdefghij0123456789/+=%-", min_size=4, max_size=40), st.text(max_size=100))
def test_no_secret_survives_in_an_excerpt(secret, around):
    assert secret not in excerpt(f"{around}{secret} {secret}{around}".encode(), (secret,))


def test_a_secret_that_is_cut_off_is_not_shown():
    secret = "topsecrettoken"
    for cut in range(1, len(secret)):
        body = b" " * (8192 - cut) + secret.encode()
        assert excerpt(body, (secret,)) == ""


def test_words_of_a_secret_go_in_any_case_and_quoting():
    body = rb'{"auth": "BEARER\u0020ABCD%2Defgh", "path": "\/hooks\/x1y2z3"}'
    text = excerpt(body, ("Bearer abcd-efgh", "hooks/x1y2z3"))
    assert not [word for word in ("ABCD", "efgh", "BEARER", "x1y2z3", "hooks") if word in text]


def test_exactly_the_2xx_are_yes():
    assert [status for status in range(1000) if reason_of(status) is None] == list(range(200, 300))


def test_what_may_be_tried_again():
    tried = [s for s in range(200, 600) if (reason := reason_of(s)) and reason.retryable]
    assert [s for s in tried if s < 500] == [401, 403, 407, 408, 410, 425, 429]
    assert [s for s in tried if s >= 500] == list(range(500, 600))


def test_a_refusal_carries_its_wait():
    error = failure("https://h", Reply(429, {"retry-after": "30"}, b"slow down"), NOW, ())
    assert error is not None
    assert (error.reason, error.retry_after) == (SendReason.RATE_LIMITED, 30.0)
    assert error.message == "https://h answered 429: slow down"
    assert failure("https://h", Reply(202, {"retry-after": "30"}, b""), NOW, ()) is None


CONNECTOR = (
    "Webhook message delivery failed with error: Microsoft Teams endpoint returned HTTP error {}"
    " with ContextId tcid=0,server=msgapi-production-eus-azsc2-4-170,cv=deT60mRgl0ONQQ5q+6Ju7A.0.."
)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (CONNECTOR.format(429), SendReason.RATE_LIMITED),
        (CONNECTOR.format(500), SendReason.SERVER_ERROR),
        (CONNECTOR.format(503), SendReason.SERVER_ERROR),
        (CONNECTOR.format(400), SendReason.REJECTED),
        (CONNECTOR.format(413), SendReason.REJECTED),
        (CONNECTOR.format(403), SendReason.DENIED),
        (CONNECTOR.format(410), SendReason.REJECTED),
        ("Delivery failed: the service behind this one answered 429.", SendReason.RATE_LIMITED),
        ("429 Too Many Requests", SendReason.RATE_LIMITED),
        ("Too many requests", SendReason.RATE_LIMITED),
        ('{"ok":false,"error":"ratelimited"}', SendReason.RATE_LIMITED),
        ('{"ok":false,"error":"rate_limited"}', SendReason.RATE_LIMITED),
        ('{"ok":false,"error":"channel_not_found"}', SendReason.REJECTED),
        ('{"ok":false,"error":"msg_too_long"}', SendReason.REJECTED),
        ('{"ok":false,"error":"invalid_auth"}', SendReason.DENIED),
        ('{"ok":false,"error":"token_revoked"}', SendReason.DENIED),
        ('{"ok":false,"error":"internal_error"}', SendReason.SERVER_ERROR),
        ('{"ok":false,"error":"fatal_error"}', SendReason.SERVER_ERROR),
        ('{"ok":false,"error":"service_unavailable"}', SendReason.SERVER_ERROR),
        ('{"ok":false,"error":"request_timeout"}', SendReason.SERVER_ERROR),
        ('{"statusCode": 503, "message": "x"}', SendReason.SERVER_ERROR),
        ('{"status_code":"429"}', SendReason.RATE_LIMITED),
        ('{"error_code":404}', SendReason.REJECTED),
        ("Text exceeds the limit of 500 characters", SendReason.REJECTED),
        ("Summary or Text is required.", SendReason.REJECTED),
        ('{"ok":false,"ts":"1503112.000429"}', SendReason.REJECTED),
        ("", SendReason.REJECTED),
    ],
)
def test_a_no_in_the_text_says_whether_to_try_again(text, reason):
    assert reason_in(text.encode()) is reason


@given(st.binary(max_size=3000))
def test_no_text_is_too_odd_to_judge(body):
    assert not reason_in(body).parks


def test_a_2xx_that_does_not_fulfil_its_condition_is_no_yes():
    said_no = Reply(200, {"retry-after": "7"}, b'{"ok":false,"error":"ratelimited"}')
    error = failure("https://h", said_no, NOW, (), compiled(READY["slack"]))
    assert error is not None
    assert (error.reason, error.retry_after) == (SendReason.RATE_LIMITED, 7.0)
    told = 'https://h answered 200, but did not take the event: {"ok":false,"error":"ratelimited"}'
    assert error.message == told
    assert failure("https://h", Reply(200, {}, b"ok"), NOW, (), compiled(READY["slack"])) is None
    assert failure("https://h", said_no, NOW, ()) is None


def test_a_condition_makes_no_yes_of_another_status():
    error = failure("https://h", Reply(500, {}, b"ok"), NOW, (), compiled("text == 'ok'"))
    assert error is not None
    assert error.reason is SendReason.SERVER_ERROR
