"""Durations, limits and addresses: how they are read and written everywhere in the product."""

from __future__ import annotations

import re
from typing import Annotated, Any
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BeforeValidator, PlainSerializer, WithJsonSchema

_MINUTE, _HOUR, _DAY = 60, 3600, 86400
_UNITS = {"d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h|d)")
_CLOCK_TIME = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])|24:00")
LONGEST = 3650 * 86400.0
"""Ten years; no duration is longer, so that no sum of times overflows."""
NEVER = "never"
"""The word for a limit that does not exist."""


def parse_duration(value: Any) -> float:
    """Turn ``30s``, ``5m``, ``2h``, ``3d`` or ``1h30m`` into seconds.

    Raises:
        ValueError: the text is not a duration, or one that makes no sense.
    """
    text = str(value).strip()
    if not text or _DURATION.sub("", text):
        raise ValueError("is not a duration (write 30s, 5m, 2h or 3d)")
    seconds = sum(float(number) * _UNITS[unit] for number, unit in _DURATION.findall(text))
    if not 0 < seconds <= LONGEST:
        raise ValueError("must be more than 0s and at most 3650d")
    return seconds


def format_duration(seconds: float) -> str:
    """Write seconds as ``parse_duration`` reads them, to the millisecond."""
    # In whole milliseconds, as sums of floats would leave crumbs such as 0.9999ms.
    rest, parts = round(seconds * 1000), []
    for unit, size in _UNITS.items():
        count, rest = divmod(rest, round(size * 1000))
        parts.append(f"{count}{unit}" if count else "")
    return "".join(parts) or "0s"


def short_duration(seconds: float) -> str:
    """Write seconds for people, in at most two units, as ``4m 10s``; page.js does the same."""
    whole = max(0, int(seconds))
    if whole < _MINUTE:
        return f"{whole}s"
    if whole < _HOUR:
        return f"{whole // _MINUTE}m {whole % _MINUTE}s"
    if whole < _DAY:
        return f"{whole // _HOUR}h {whole % _HOUR // _MINUTE}m"
    return f"{whole // _DAY}d {whole % _DAY // _HOUR}h"


def parse_limit(value: Any) -> float | None:
    """Turn a duration into seconds, and ``never`` or nothing into ``None``.

    Raises:
        ValueError: as ``parse_duration``.
    """
    return None if value is None or value == NEVER else parse_duration(value)


def parse_listen(text: str) -> tuple[str, int]:
    """Split ``127.0.0.1:9847`` or ``[::1]:9847`` into host and port.

    ``:9847`` and ``*:9847`` have an empty host: every address, IPv4 and IPv6.

    Raises:
        ValueError: the text is not an address and a port.
    """
    host, colon, port = text.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    bare = host[1:-1] if bracketed else "" if host == "*" else host
    # Without brackets, the last group of an IPv6 address would be taken for the port.
    if not colon or bracketed != (":" in bare):
        raise ValueError("is not an address and a port")
    if not re.fullmatch(r"[0-9A-Za-z.:_%-]*", bare) or not re.fullmatch(r"[0-9]{1,5}", port):
        raise ValueError("is not an address and a port")
    if int(port) > 65535:  # noqa: PLR2004 - the highest port there is
        raise ValueError("has a port above 65535")
    return bare, int(port)


def parse_clock_time(value: Any) -> int:
    """Turn ``02:00`` into minutes since midnight; ``24:00`` is the end of the day.

    Raises:
        ValueError: the text is not a time of day.
    """
    found = _CLOCK_TIME.fullmatch(str(value).strip())
    if not found or isinstance(value, bool):
        # YAML reads 02:00 without quotes as a number.
        raise ValueError('is not a time of day (write it in quotes: "02:00")')
    hours, _, minutes = found[0].partition(":")
    return int(hours) * 60 + int(minutes)


def _known_zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise ValueError("is not a time zone (write Europe/Berlin, UTC or the like)") from None
    return name


ClockTime = Annotated[
    int,
    BeforeValidator(parse_clock_time),
    PlainSerializer(
        lambda minutes: f"{minutes // 60:02}:{minutes % 60:02}", return_type=str, when_used="json"
    ),
    WithJsonSchema({"type": "string", "pattern": f"^({_CLOCK_TIME.pattern})$"}),
]
"""Minutes since midnight, written as 02:00."""

TimeZone = Annotated[str, AfterValidator(_known_zone)]
"""The name of a time zone of the IANA database."""

Duration = Annotated[
    float,
    BeforeValidator(parse_duration),
    PlainSerializer(format_duration, return_type=str, when_used="json"),
    WithJsonSchema({"type": "string", "pattern": f"^({_DURATION.pattern})+$"}),
]
"""Seconds, written as 30s, 5m, 2h or 3d."""

Limit = Annotated[
    float | None,
    BeforeValidator(parse_limit),
    PlainSerializer(
        lambda seconds: NEVER if seconds is None else format_duration(seconds),
        return_type=str,
        when_used="json",
    ),
    WithJsonSchema({"type": "string", "pattern": f"^(never|({_DURATION.pattern})+)$"}),
]
"""Seconds, written as a duration; ``None``, written as never or null, for no limit at all."""
