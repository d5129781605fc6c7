"""No secret in what is shown, and nothing unbounded."""

import errno
import time
from collections import OrderedDict
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.errors import PollError, PollReason
from monitor.redaction import HIDDEN, LIMIT, clean, clean_fields, clean_text, describe

CANARY = "c4nAryS3cret9x"
CARRIERS = [
    "Authorization: AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/2026, Signature={}",
    "authorization: Basic {}",
    "'Authorization': 'Bearer {}'",
    "Bearer {}{}",
    "password={}",
    "PASSWORD = {}",
    "password: {} and more words",
    "db_password: '{}'",
    '"SessionToken": "{}"',
    '"SessionToken":"{}"',
    '{{"a": 1, "secretAccessKey" : "x\\"{}", "b": 2}}',
    '\\"SessionToken\\": \\"{}\\"',
    "X-Amz-Security-Token: {}",
    "GET /x?X-Amz-Algorithm=AWS4&X-Amz-Signature={}&X-Amz-Date=2026 HTTP/1.1",
    "https://bucket.s3.amazonaws.com/key?X-Amz-Signature={}",
    "https://bucket.example/key?n=1&Signature={}#frag",
    "https://user:{}@example.com/path",
    "postgresql://monitor:{}@db.example/jobs",
    "https://user:pa/ss{}@example.com/path",
    "https://hooks.example.com/services/T000/{}",
    "<Signature>{}</Signature>",
    "<ns:SessionToken xmlns='x'>{}</ns:SessionToken>",
    "<CurrentManifest>manifestVersion:2.0\ntrueCryptPassword: {}\n</CurrentManifest>",
    "<CurrentManifest><![CDATA[<a>{}</a>]]></CurrentManifest>",
    "trueCryptPassword: correct horse {}",
    "whsec_{}",
    "webhook-signature: v1,{}",
    "ASIA{}",
    "Set-Cookie: session={}; Path=/",
    "api_key={}",
    "x-api-key: {}",
    "external_id={}",
    "eyJhbGciOiJIUzI1NiJ9.{}.{}",
    "-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----",
    "sec\x00ret=\x07{}",
]
CANARY_CARRIERS = [carrier for carrier in CARRIERS if not carrier.startswith("ASIA")]
tokens = st.text("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789", min_size=8)
lower = st.text("abcdefgh /:=?&\"'\n", max_size=40)
upper = st.text("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", min_size=16, max_size=16)


def carry(carrier: str, secret: str) -> str:
    return carrier.format(secret, secret)


@settings(max_examples=150)
@given(before=st.text(max_size=40), secret=tokens, after=st.text(max_size=40))
def test_a_secret_in_a_text_is_never_shown(before, secret, after):
    secret = f"{CANARY}{secret}"
    for carrier in CANARY_CARRIERS:
        assert CANARY not in clean_text(f"{before}\n{carry(carrier, secret)}\n{after}"), carrier


@given(before=lower, key=upper, after=lower)
def test_an_access_key_is_never_shown(before, key, after):
    for prefix in ("AKIA", "ASIA"):
        assert key not in clean_text(f"{before}{prefix}{key}{after}")


@pytest.mark.parametrize(("number", "carrier"), [*enumerate(CANARY_CARRIERS)])
def test_a_secret_at_the_cut_is_not_half_shown(number, carrier):
    """Every place of the cut, the carriers taking turns, and each of them at a fifth."""
    start = "https://example.com/" + "p" * 200 + " "
    for length in range(LIMIT - 100 + number % 5, LIMIT + 401, 5):
        text = start.ljust(length, "x") + " " + carry(carrier, CANARY * 40)
        assert CANARY not in clean_text(text), length


def test_an_access_key_at_the_cut_is_not_half_shown():
    # What is hidden at the front makes room in which the end could show.
    start = "https://h.example/" + "p" * 600 + " "
    text = start.ljust(LIMIT + 256 - len("AKIAABCD"), "y") + "AKIAABCDEFGHIJKLMNOP"
    assert "AKIAABCD" not in clean_text(text)
    assert clean_text(text).startswith("https://h.example/… yyy")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "the job panorama.package-import/prod/us-east-1/applications-x turned SUCCEEDED",
        "unsupported signature version",
        "arn:aws:iam::123456789012:role/job-monitor",
        "http://127.0.0.1:9847",
        "http://[::1]:9847/",
        "sqlite:///var/lib/job-monitor/state.db",
        "a token expired",
        "basic authentication failed",
    ],
)
def test_plain_text_stays_as_it_is(text):
    assert clean_text(text) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://u:p@h.example:8443/a/b?c=d#e", "https://h.example:8443/…"),
        ("https://h.example?c=d", "https://h.example/…"),
        ("see <https://h.example/a> or", "see <https://h.example/…> or"),
        ("https://u:12/34@h.example/a", f"https://{HIDDEN}/…"),
        ("https://u:p^w", f"https://{HIDDEN}"),
        ("sqlite:///x.db?key=1", "sqlite:///x.db"),
        ("password=abc user=me", f"password={HIDDEN} user=me"),
        ('{"token": "a b", "n": 1}', f'{{"token": {HIDDEN}, "n": 1}}'),
        ("line\r\nline\tline", "line line line"),
        ("\x1b[31mred\x9b\u202e\ufeff", "[31mred"),
        ("half \ud800 pair", "half  pair"),
    ],
)
def test_what_is_shown_of_a_text(text, shown):
    assert clean_text(text) == shown


@given(st.text())
def test_any_text_becomes_one_bounded_line_of_valid_utf8(text):
    for limit in (16, LIMIT):
        shown = clean_text(text, limit)
        assert len(shown) <= limit
        shown.encode()
        assert not set(shown) & set("\n\r\t\x00\x1b")


def test_a_long_text_shows_that_it_was_cut():
    assert clean_text("x" * (LIMIT + 1)) == "x" * (LIMIT - 1) + "…"


@pytest.mark.parametrize(
    "piece", ["x", "secret", "secret:", "token='", "<token", "a://", "eyJ", '"', "=", "\\", "-----"]
)
def test_a_huge_text_costs_no_more_than_a_short_one(piece):
    huge = piece * (20_000_000 // len(piece))
    took = []
    for _ in range(5):
        began = time.process_time()
        clean_text(huge)
        took.append(time.process_time() - began)
    assert min(took) < 0.1


def test_a_value_under_a_secret_name_is_hidden_whatever_it_is():
    hidden = {"Secret": CANARY, "token": 12345, "password": [CANARY], "Signature": {"v": CANARY}}
    assert clean_fields(hidden) == dict.fromkeys(hidden, HIDDEN)
    assert clean_fields({"answer": {"SessionToken": CANARY}}) == {
        "answer": {"SessionToken": HIDDEN}
    }
    assert clean_fields({"has_token": True, "secret": None}) == {"has_token": True, "secret": None}


def test_every_field_of_a_line_is_kept():
    fields = {f"field{number}": number for number in range(100)}
    assert clean_fields(fields) == fields


class Talkative:
    def __repr__(self):
        return CANARY

    __str__ = __repr__


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (1.5, 1.5),
        (2**63, "<int>"),
        pytest.param(10**5000, "<int>", id="an integer too long to print"),
        (b"secret", "<6 bytes>"),
        (bytearray(3), "<3 bytes>"),
        (datetime(2026, 11, 22, tzinfo=UTC), "2026-11-22T00:00:00+00:00"),
        (Path("/run/secrets/hook"), "/run/secrets/hook"),
        (PollReason.THROTTLE, "throttle"),
        (Talkative(), "<Talkative>"),
        (Talkative, "<type>"),
        (ValueError(CANARY), "ValueError"),
        (
            PollError(PollReason.AUTH, "AccessDenied"),
            "monitor.errors.PollError: auth: AccessDenied",
        ),
        (MappingProxyType({"a": (1, {"b": Talkative()})}), {"a": [1, {"b": "<Talkative>"}]}),
        (OrderedDict(a=1), {"a": 1}),
        ({1: "x", None: "y"}, {"1": "x", "None": "y"}),
        ([[[[1]]]], [[["<list>"]]]),
        (range(1000), list(range(32))),
    ],
)
def test_what_is_shown_of_a_value(value, shown):
    assert clean(value) == shown


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.binary()
    | st.datetimes()
    | st.just(Talkative()),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers(), inner),
)


@given(values)
def test_any_value_becomes_json_without_what_objects_say_of_themselves(value):
    assert CANARY.encode() not in orjson.dumps(clean(value))


def raised(error, cause=None):
    try:
        raise error from cause
    except type(error) as caught:
        return caught


def test_an_error_is_told_by_its_class_and_place_and_not_its_message():
    told = describe(raised(ValueError(CANARY))).splitlines()
    assert told[0] == "ValueError"
    assert told[1].startswith("  unit/test_redaction.py:")
    assert told[1].endswith(" in raised")


def test_an_errors_causes_are_told_without_their_messages():
    told = describe(raised(RuntimeError("x"), raised(KeyError(CANARY), raised(OSError(CANARY)))))
    assert [line for line in told.splitlines() if not line.startswith(" ")] == [
        "RuntimeError",
        "KeyError",
        "OSError",
    ]
    assert CANARY not in told


def test_what_an_error_hides_is_not_told():
    error = ValueError("outer")
    error.__context__, error.__suppress_context__ = KeyError("inner"), True
    assert describe(error) == "ValueError"
    error.__suppress_context__ = False
    assert describe(error) == "ValueError\nKeyError"


def test_the_members_of_a_group_are_told():
    group = raised(ExceptionGroup(CANARY, [raised(ValueError(CANARY)), KeyError(CANARY)]))
    told = [line for line in describe(group).splitlines() if not line.startswith(" ")]
    assert told == ["ExceptionGroup", "ValueError", "KeyError"]


def test_an_operating_systems_error_keeps_its_code():
    assert describe(OSError(errno.ENOSPC, CANARY, CANARY)) == "OSError: ENOSPC"


def test_an_error_of_our_own_keeps_its_message_but_no_secret():
    assert describe(PollError(PollReason.AUTH, f"token={CANARY}")).startswith(
        f"monitor.errors.PollError: auth: token={HIDDEN}"
    )


def test_a_deep_or_circular_chain_ends():
    error: Exception = ValueError("first")
    error.__context__ = error
    assert describe(error) == "ValueError"
    for _ in range(1000):
        error = raised(ValueError("next"), error)
    assert len(describe(error).splitlines()) < 40


def test_a_deep_stack_shows_its_innermost_frames():
    def sink(depth):
        if not depth:
            raise ValueError(CANARY)
        sink(depth - 1)

    with pytest.raises(ValueError, match=CANARY) as caught:
        sink(100)
    told = describe(caught.value).splitlines()
    assert len(told) == 16
    assert "sink" in told[-1]
