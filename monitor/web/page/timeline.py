"""The history of a job: a bar for each state, as wide as it lasted, on a log scale."""

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
"""The most transitions that a timeline shows."""
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
    """One bar, in pixels; ``text`` describes it, ``y`` is its top: all bars end at the bottom."""

    x: float
    y: int
    width: float
    height: int
    style: str
    text: str


def draw(transitions: Sequence[Mapping[str, Any]], now: datetime) -> tuple[Segment, ...]:
    """Draw the CloudEvents of one job, in order; the last state lasts until ``now``."""
    shown = transitions[-LENGTH:]
    if not shown:
        return ()
    starts = [datetime.fromisoformat(each["time"]) for each in shown]
    lasted = [
        max(0.0, (end - start).total_seconds())
        for start, end in zip(starts, [*starts[1:], now], strict=True)
    ]
    # Some of the width for each bar, the rest by the logarithm of its time: a minute beside a
    # week can still be seen, and pointed at.
    weights = [log1p(seconds) for seconds in lasted]
    rest, total = WIDTH - _LEAST * len(lasted), sum(weights) or 1.0
    x, segments = 0.0, []
    for event, start, seconds, weight in zip(shown, starts, lasted, weights, strict=True):
        width = _LEAST + rest * weight / total
        data = event["data"]
        phase = data["current"].get("phase", "unknown")
        style = _FLAGS.get(data["kind"], phase)
        state, lasting = data["current"]["state"], short_duration(seconds)
        text = f"{state} ({style}), seen {moment(start)}, for {lasting}"
        height = _HEIGHTS.get(phase, HEIGHT)
        left, broad = round(x, 1), round(width - _GAP, 1)
        segments.append(Segment(left, HEIGHT - height, broad, height, style, text))
        x += width
    return tuple(segments)
