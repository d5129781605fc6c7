"""The Retry-After header of AWS and of receivers, whatever they write into it."""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

LONGEST = 3600.0
"""Seconds: no request to come back later is honoured for longer."""

_LONGEST_TEXT = 64
_NUMBER = re.compile(r"[+-]?[0-9]+(\.[0-9]*)?")


def seconds(value: str | None, now: datetime) -> float | None:
    """Return the seconds that a Retry-After header asks for, from 0 to ``LONGEST``.

    Reads a number of seconds or an HTTP date. Anything else counts as not given.
    """
    if value is None or len(value) > _LONGEST_TEXT:
        return None
    text = value.strip()
    wanted = float(text) if _NUMBER.fullmatch(text) else _seconds_until(text, now)
    return None if math.isnan(wanted) else min(max(wanted, 0.0), LONGEST)


def _seconds_until(text: str, now: datetime) -> float:
    try:
        moment = parsedate_to_datetime(text)
        moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        return (moment - now).total_seconds()
    # The standard library hands out whatever its own arithmetic raises.
    except (ValueError, TypeError, OverflowError, IndexError):
        return math.nan
