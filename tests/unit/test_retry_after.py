from __future__ import annotations

from datetime import UTC, datetime

import pytest

from monitor import retry_after

NOW = datetime(2026, 5, 28, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, None),
        ("7", 7.0),
        (" 7.5 ", 7.5),
        ("0", 0.0),
        ("-5", 0.0),
        ("Thu, 28 May 2026 12:00:30 GMT", 30.0),
        ("Thu, 28 May 2026 12:00:30", 30.0),
        ("Thu, 28 May 2026 11:00:00 GMT", 0.0),
        ("3601", retry_after.LONGEST),
        ("99999999999999", retry_after.LONGEST),
        ("9" * 64, retry_after.LONGEST),
        ("Fri, 31 Dec 9999 23:59:59 GMT", retry_after.LONGEST),
        ("Fri, 31 Dec 9999 23:59:59 -1200", retry_after.LONGEST),
        ("Wed, 21 Oct 99999999999999999999 07:28:00 GMT", None),
        ("Wed, 21 Oct 2026 07:28:00 +99999999", None),
        ("Wed, 99 Oct 2026 99:99:99 GMT", None),
        ("1e400", None),
        ("1e2", None),
        ("1_000", None),
        ("inf", None),
        ("-inf", None),
        ("nan", None),
        ("soon", None),
        ("", None),
        ("9" * 100_000, None),
    ],
)
def test_a_retry_after_header_is_seconds_within_bounds_or_nothing(header, seconds):
    assert retry_after.seconds(header, NOW) == seconds
