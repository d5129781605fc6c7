"""The history of a job as a strip: a bar for each state, as wide as it lasted, on a log scale."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from math import log1p
from typing import TYPE_CHECKING, Any

from monitor.config import short_duration
from monitor.web.page.format import moment

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

LENGTH = 8
"""Transitions that a strip shows at most."""
WIDTH, HEIGHT = 120, 16

_LEAST = 7.0
_GAP = 1.5
_HEIGHTS = {"waiting": 5, "running": 10, "unknown": 5}
_FLAGS = {
    "job.stuck": "stuck",
    "job.missing": "missing",
    "source.unavailable": "missing",
}


@dataclass(frozen=True, slots=True)
class Segment:
    """One bar, in pixels; ``words`` say what it stands for."""

    x: float
    width: float
    height: int
    look: str
    words: str

    @property
    def y(self) -> int:
        """Where it begins from above: all bars stand on one line."""
        return HEIGHT - self.height


def draw(transitions: Sequence[Mapping[str, Any]], now: datetime) -> tuple[Segment, ...]:
    """Make the strip of CloudEvents of one job, in order; the last state lasts until ``now``."""
    shown = transitions[-LENGTH:]
    if not shown:
        return ()
    starts = [datetime.fromisoformat(each["time"]) for each in shown]
    lasted = [
        max(0.0, (end - start).total_seconds())
        for start, end in zip(starts, [*starts[1:], now], strict=True)
    ]
    widths = _widths(lasted)
    places = [sum(widths[:index]) for index in range(len(widths))]
    return tuple(
        _segment(each["data"], start, seconds, x, width)
        for each, start, seconds, x, width in zip(
            shown, starts, lasted, places, widths, strict=True
        )
    )


def _widths(lasted: Sequence[float]) -> list[float]:
    """Share the width out: some for each, the rest by the logarithm of the time."""
    weights = [log1p(seconds) for seconds in lasted]
    rest = WIDTH - _LEAST * len(lasted)
    total = sum(weights) or 1.0
    return [_LEAST + rest * weight / total for weight in weights]


def _segment(
    data: Mapping[str, Any], start: datetime, seconds: float, x: float, width: float
) -> Segment:
    current = data["current"]
    phase = current.get("phase", "unknown")
    look = _FLAGS.get(data["kind"], phase)
    told = f"{current['state']} ({phase if look == phase else look})"
    words = f"{told}, seen {moment(start)}, for {short_duration(seconds)}"
    return Segment(round(x, 1), round(width - _GAP, 1), _HEIGHTS.get(phase, HEIGHT), look, words)
