"""Maintenance windows: whether a moment is in one; pure."""

from __future__ import annotations

from datetime import timedelta
from functools import lru_cache
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from monitor.config import MaintenanceWindow

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


def is_open(windows: Sequence[MaintenanceWindow], now: datetime) -> bool:
    """Return whether ``now`` is in any of the windows.

    Both ends are times on the wall of the zone. Where its clocks go forward, a window within the
    hour that does not exist never opens; where they go back, the hour that comes twice counts
    twice.
    """
    return any(_is_open(window, now.astimezone(_zone(window.timezone))) for window in windows)


def _is_open(window: MaintenanceWindow, local: datetime) -> bool:
    minute = local.hour * 60 + local.minute
    if window.from_ < window.to:
        return window.from_ <= minute < window.to and _begins(window, local)
    # Over midnight: it belongs to the day on which it begins.
    if minute >= window.from_:
        return _begins(window, local)
    return minute < window.to and _begins(window, local - timedelta(days=1))


def _begins(window: MaintenanceWindow, day: datetime) -> bool:
    return not window.days or DAYS[day.weekday()] in window.days


@lru_cache(maxsize=64)
def _zone(name: str) -> ZoneInfo:
    return ZoneInfo(name)
