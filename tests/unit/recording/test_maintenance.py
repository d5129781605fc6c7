"""Maintenance windows: times on the wall of a zone."""

from datetime import UTC, datetime

import pytest

from monitor.config import MaintenanceWindow
from monitor.recording.maintenance import is_open


def window(**changed):
    return MaintenanceWindow.model_validate({"from": "02:00", "to": "04:00"} | changed)


NIGHTS = window(**{"days": ["sat"], "from": "22:00", "to": "02:00"})
BERLIN = window(timezone="Europe/Berlin", **{"from": "02:00", "to": "03:00"})

CASES = {
    "at its beginning": (window(), "2026-03-02T02:00:00", True),
    "at its end": (window(), "2026-03-02T04:00:00", False),
    "just before": (window(), "2026-03-02T01:59:59", False),
    "on its day": (window(days=["mon"]), "2026-03-02T03:00:00", True),
    "on another day": (window(days=["tue", "wed"]), "2026-03-02T03:00:00", False),
    "over midnight, before": (NIGHTS, "2026-03-07T23:00:00", True),
    "over midnight, after": (NIGHTS, "2026-03-08T01:59:00", True),
    "over midnight, over": (NIGHTS, "2026-03-08T02:00:00", False),
    "the morning of its day is of the day before": (NIGHTS, "2026-03-07T01:00:00", False),
    "the evening after": (NIGHTS, "2026-03-08T23:00:00", False),
    "a whole day": (window(**{"from": "00:00", "to": "24:00"}), "2026-03-02T23:59:59", True),
    "in winter": (BERLIN, "2026-01-10T01:30:00", True),
    "in summer": (BERLIN, "2026-07-10T00:30:00", True),
    "in summer, an hour late": (BERLIN, "2026-07-10T01:30:00", False),
    # On 29 March the clocks of Berlin go from 02:00 to 03:00, on 25 October from 03:00 to 02:00.
    "an hour that does not exist": (BERLIN, "2026-03-29T01:00:00", False),
    "the first 02:30": (BERLIN, "2026-10-25T00:30:00", True),
    "the second 02:30": (BERLIN, "2026-10-25T01:30:00", True),
}


@pytest.mark.parametrize(("window", "moment", "expected"), CASES.values(), ids=CASES)
def test_a_window_is_open_between_its_times(window, moment, expected):
    assert is_open([window], datetime.fromisoformat(moment).replace(tzinfo=UTC)) is expected


def test_one_of_several_windows_is_enough():
    now = datetime(2026, 3, 2, 3, tzinfo=UTC)
    assert is_open([NIGHTS, window()], now)
    assert not is_open([], now)
