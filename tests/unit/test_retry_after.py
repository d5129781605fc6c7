"""No Retry-After breaks anything, whatever a server writes."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.errors import SendError, SendReason
from monitor.retry_after import LONGEST, bounded, seconds

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "wait"),
    [
        ("120", 120.0),
        (" 7 ", 7.0),
        ("0.25", 0.25),
        ("Sun, 22 Nov 2026 12:01:00 GMT", 60.0),
        ("Sun, 22 Nov 2026 12:01:00", 60.0),
        ("Sun, 22 Nov 2026 14:01:00 +0200", 60.0),
        ("Sunday, 22-Nov-26 12:01:00 GMT", 60.0),
        ("Fri, 31 Dec 1999 23:59:59 GMT", 0.0),
        ("Fri, 31 Dec 9999 23:59:59 GMT", LONGEST),
        ("Fri, 31 Dec 9999 23:59:59 -2359", LONGEST),
        ("99999999999999", LONGEST),
        ("9" * 4000, LONGEST),
        ("Wed, 21 Oct 99999999999999999999 07:28:00 GMT", None),
        ("Wed, 21 Oct 2026 99999999999999999999:28:00 GMT", None),
        ("Wed, 99999999999999999999 Oct 2026 07:28:00 GMT", None),
        ("Wed, 21 Oct 2026 07:28:00 +99999999999999999999", None),
        ("Wed, 21 Oct 0000 07:28:00 GMT", 0.0),
        ("1e400", None),
        ("1e3", None),
        ("nan", None),
        ("inf", None),
        ("-5", None),
        ("٣", None),
        ("soon", None),
        ("", None),
        (None, None),
    ],
)
def test_a_wait_is_read_or_ignored(value, wait):
    assert seconds(value, NOW) == wait


@given(
    st.one_of(
        st.text(),
        st.from_regex(r"\w{3}, \d{1,30} [JFMASOND]\w{2} \d{1,30} \d{1,30}:\d\d:\d\d [+-]?\w{1,30}"),
    )
)
def test_nothing_is_too_odd_to_read(value):
    wait = seconds(value, NOW)
    assert wait is None or 0 <= wait <= LONGEST


@pytest.mark.parametrize(
    ("asked", "kept"),
    [
        (5, 5.0),
        (1e400, LONGEST),
        (10**400, LONGEST),
        (-1, None),
        (float("nan"), None),
        ("120", None),
        (None, None),
    ],
)
def test_what_a_plug_in_asks_for_is_bounded_too(asked, kept):
    assert bounded(asked) == kept
    assert SendError(SendReason.SERVER_ERROR, "no", retry_after=asked).retry_after == kept
