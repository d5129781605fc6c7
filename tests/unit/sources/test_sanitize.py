from __future__ import annotations

import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from monitor.sources.sanitize import LIMIT, REMOVED, clean, needles

TOKENS = st.sampled_from(
    [
        "://",
        "http://",
        "?",
        "#",
        "@",
        "/",
        "=",
        "a",
        "Signature=zzz",
        " ",
        "\n",
        "\x00",
        "\u202e",
        "é",
        "…",
    ]
)
TEXTS = st.one_of(st.text(), st.lists(TOKENS).map("".join), st.text(min_size=LIMIT - 3))


@given(TEXTS)
@example("a" * LIMIT)
@example("a" * (LIMIT + 1))
def test_a_cleaned_text_is_short_printable_and_on_one_line(text):
    cleaned = clean(text)

    assert len(cleaned) <= LIMIT
    assert cleaned.isprintable()
    assert clean(cleaned) == cleaned


@given(TEXTS, st.text("abcdefgh12345678", min_size=8, max_size=20), TEXTS)
def test_no_secret_survives_in_any_surroundings(before, secret, after):
    assert secret not in clean(f"{before}{secret}{after}", needles([secret])).replace(REMOVED, "")


@given(st.text("abc/.-"), st.text("xyz=&%", min_size=1))
def test_no_query_of_a_url_survives(path, query):
    assert clean(f"see https://host/{path}?{query}") == f"see https://host/{path}"


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("plain words", "plain words"),
        ("two\r\n\tlines", "two lines"),
        ("\x1b[31mred\x1b[0m\x00", "[31mred[0m"),
        ("right\u202eto\u200bleft", "righttoleft"),
        ("https://user:pw@host/p?X-Amz-Signature=1#f", "https://host/p"),
        ("s3://bucket/key#frag.", "s3://bucket/key"),
        ("bucket.s3/key?X-Amz-Signature=1", "bucket.s3/key"),
        ("really? yes", "really? yes"),
        ("why?", "why?"),
        ("?a=b", ""),
        ("", ""),
    ],
)
def test_text_is_cleaned(text, cleaned):
    assert clean(text) == cleaned


def test_a_long_text_ends_in_an_ellipsis():
    assert clean("x" * 600) == "x" * 511 + "…"
    assert clean("x" * 600, limit=128) == "x" * 127 + "…"


def test_a_secret_is_looked_for_as_a_whole_and_by_line():
    secret = "first line\nkey:value-of-key\nshort"

    assert needles([secret]) == (
        "first line key:value-of-key short",
        "key:value-of-key",
        "first line",
    )
    assert "value-of-key" in needles([secret], inner=True)


def test_short_secrets_are_too_common_to_look_for():
    assert needles(["seven77", ""]) == ()


def test_a_secret_hidden_by_marks_is_found():
    assert clean("pass\u200bword\x00123", needles(["password123"])) == REMOVED


@pytest.mark.parametrize("piece", ["://", "a", "?", "@", "\u200b", "://a@", " "])
def test_a_huge_text_takes_little_time(piece):
    started = time.process_time()

    clean(piece * 300_000, needles(["password123"]))

    assert time.process_time() - started < 20
