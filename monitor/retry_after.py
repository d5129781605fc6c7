"""Read a ``Retry-After`` header, whatever a server wrote into it."""

from __future__ import annotations

import re
from datetime import UTC
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime

LONGEST = 3600.0
"""Seconds: no request to come back later is honoured for longer."""

_SECONDS = re.compile(r"[0-9]+(\.[0-9]+)?")
_LONGEST_DATE = 64
"""Characters: the longest form of a date has fewer."""


def seconds(value: str | None, now: datetime) -> float | None:
    """Return the seconds that ``value`` (seconds, or a date) asks to wait.

    Never negative, at most an hour, and ``None`` where the value is missing or makes no sense.
    Raises nothing.
    """
    text = (value or "").strip()
    if _SECONDS.fullmatch(text):
        return min(float(text), LONGEST)
    if not 0 < len(text) <= _LONGEST_DATE:
        return None
    # Every command imports this module, and few servers name a date.
    from email.utils import parsedate_to_datetime  # noqa: PLC0415

    try:
        moment = parsedate_to_datetime(text)
        moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        wait = (moment - now).total_seconds()
    except (ValueError, TypeError, ArithmeticError, LookupError):
        # The parser of the standard library raises more than it documents, for years and
        # offsets that no clock has.
        return None
    return min(max(wait, 0.0), LONGEST)


def bounded(value: object) -> float | None:
    """Return a wait in seconds that other code computed, if it is one."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    # NaN compares as false; an integer may be too large to become a float at once.
    return float(min(value, LONGEST)) if value >= 0 else None
