"""What a reply means, whatever is in it."""

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from monitor.errors import SendReason
from monitor.sinks.reply import Reply, excerpt, failure, reason_of, retry_after

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


@given(st.text())
def test_no_retry_after_is_too_odd_to_read(value):
    seconds = retry_after(value, NOW)
    assert seconds is None or 0 <= seconds <= 366 * 86400


@given(st.from_regex(r"\w{3}, \d{1,2} [JFMASOND]\w{2} \d{1,6} \d\d:\d\d:\d\d [+-]?\w{1,5}"))
def test_no_date_is_too_odd_to_read(value):
    seconds = retry_after(value, NOW)
    assert seconds is None or 0 <= seconds <= 366 * 86400


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
    assert [s for s in tried if s < 500] == [408, 410, 425, 429]
    assert [s for s in tried if s >= 500] == list(range(500, 600))


def test_a_refusal_carries_its_wait():
    error = failure("https://h", Reply(429, "30", b"slow down"), NOW, ())
    assert error is not None
    assert (error.reason, error.retry_after) == (SendReason.RATE_LIMITED, 30.0)
    assert error.message == "https://h answered 429: slow down"
    assert failure("https://h", Reply(202, "30", b""), NOW, ()) is None
