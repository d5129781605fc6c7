"""Times, counts and errors as text for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime


def moment(value: datetime) -> str:
    """Write a time for people, to the second."""
    return f"{value:%Y-%m-%d %H:%M:%S} UTC"


def clock(value: datetime, now: datetime) -> str:
    """Write the time of day, with the date where it is another day."""
    return f"{value:%H:%M:%S}" if value.date() == now.date() else f"{value:%d %b %H:%M}"


def count(many: int, one: str, more: str = "") -> str:
    """Write a number with its noun."""
    return f"{many:,} {one if many == 1 else more or one + 's'}"


def shortened(text: str, longest: int = 120) -> str:
    """Cut text that would make a row too high; the page of the job has all of it."""
    return text if len(text) <= longest else f"{text[:longest].rstrip()} …"


def sentence(parts: list[str]) -> str:
    """Join words with commas and begin with a capital letter."""
    text = ", ".join(parts)
    return text[:1].upper() + text[1:]


def rate(per_second: float) -> str:
    """Write requests per second with two significant digits."""
    return f"{per_second:.2g}" if per_second < 10 else f"{per_second:,.0f}"  # noqa: PLR2004
