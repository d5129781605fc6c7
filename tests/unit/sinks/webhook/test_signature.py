"""Keys and signatures after Standard Webhooks."""

import base64
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook

from monitor.sinks.webhook.signature import parse_key, sign


def test_the_example_of_the_specification_has_its_signature():
    key = parse_key("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    signed = sign([key], "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
    assert signed == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


@given(st.binary(min_size=24, max_size=64), st.text("abc-", min_size=1), st.binary())
def test_signatures_equal_those_of_the_reference_library(key, event_id, body):
    text = base64.b64encode(body).decode()
    moment = datetime(2026, 11, 22, tzinfo=UTC)
    theirs = Webhook(base64.b64encode(key).decode()).sign(event_id, moment, text)
    assert sign([key], event_id, int(moment.timestamp()), text.encode()) == theirs


def test_each_key_adds_its_signature():
    signed = sign([b"a" * 24, b"b" * 24], "id", 1, b"body").split(" ")
    assert [signature[:3] for signature in signed] == ["v1,", "v1,"]
    assert signed[0] == sign([b"a" * 24], "id", 1, b"body")
    assert signed[1] == sign([b"b" * 24], "id", 1, b"body")


@given(st.binary(min_size=24, max_size=64))
def test_a_secret_is_base64_with_or_without_its_prefix(key):
    text = base64.b64encode(key).decode()
    assert parse_key(f"whsec_{text}\n") == parse_key(text) == key


@pytest.mark.parametrize(
    ("secret", "message"),
    [
        ("plain text, no base64!", "is not base64 after whsec_"),
        ("whsec_whsec_" + "A" * 32, "is not base64 after whsec_"),
        ("whsk_" + "A" * 32, "is not base64 after whsec_"),
        ("schlüssel" * 8, "is not base64 after whsec_"),
        ("A" * 31, "is not base64 after whsec_"),
        ("A" * 16 + "\n" + "A" * 16, "is not base64 after whsec_"),
        ("", "holds a key of 0 bytes instead of 24 to 64"),
        ("whsec_", "holds a key of 0 bytes instead of 24 to 64"),
        ("A" * 28, "holds a key of 21 bytes instead of 24 to 64"),
        ("A" * 88, "holds a key of 66 bytes instead of 24 to 64"),
    ],
)
def test_no_other_text_is_a_secret(secret, message):
    with pytest.raises(ValueError, match=message) as caught:
        parse_key(secret)
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
