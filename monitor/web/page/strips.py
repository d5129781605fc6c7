"""The states of a job over a span of time, as one strip: for the page of a watch."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from monitor.config import short_duration
from monitor.model import Kind
from monitor.web.page.format import count, moment

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

WIDTH, HEIGHT = 1000.0, 16
SPANS = {
    "1h": timedelta(hours=1),
    "6h": timedelta(hours=6),
    "24h": timedelta(days=1),
    "7d": timedelta(days=7),
    "30d": timedelta(days=30),
}
"""The spans of time that one can choose."""
DEFAULT = "24h"
MOST = 60
"""The most transitions of one job that a strip shows: the newest ones."""
LEAST = 4.0
"""The least width of a segment; shorter ones are drawn together, as the worst of them."""

HEIGHTS = {"waiting": 5, "running": 10, "unknown": 5, "canceled": 13}
_NO_STATES = frozenset({Kind.UPDATED, Kind.REMINDER})
_FLAGS = {Kind.STUCK: "stuck", Kind.MISSING: "missing"}
_WORST_FIRST = ("failed", "expired", "missing", "stuck", "canceled", "unknown")


@dataclass(frozen=True, slots=True)
class Stretch:
    """A part of a strip: from ``x`` on, ``width`` wide; ``text`` describes it."""

    x: float
    width: float
    y: int
    height: int
    style: str
    text: str


@dataclass(frozen=True, slots=True)
class _State:
    """A state from ``start`` on; ``style`` is a phase, or a problem."""

    start: datetime
    end: datetime
    state: str
    style: str


def draw(
    events: Sequence[Mapping[str, Any]], start: datetime, now: datetime
) -> tuple[Stretch, ...]:
    """Draw the CloudEvents of one job, in order, from ``start`` to ``now``.

    Before its first event a job has no state, but the one that the event says it had.
    """
    scale = WIDTH / (now - start).total_seconds()
    groups: list[list[_State]] = []
    short = False
    for each in _states(events, start, now):
        if each.end <= start:
            continue
        was_short, short = short, _lasted(each, start) * scale < LEAST
        # Short ones share a stretch, until it is wide enough to be pointed at.
        if was_short and short and _lasted(groups[-1][0], start, each.start) * scale < LEAST:
            groups[-1].append(each)
        else:
            groups.append([each])
    return tuple(_stretch(group, start, scale) for group in groups)


def _lasted(state: _State, start: datetime, end: datetime | None = None) -> float:
    """Return the seconds from the beginning of a state, or ``start``, to its end, or ``end``."""
    return ((end or state.end) - max(state.start, start)).total_seconds()


def _states(events: Sequence[Mapping[str, Any]], start: datetime, now: datetime) -> list[_State]:
    changes = [event for event in events if event["data"]["kind"] not in _NO_STATES]
    if not changes:
        return []
    times = [datetime.fromisoformat(event["time"]) for event in changes]
    found = []
    first = changes[0]["data"]
    if first["previous"] and times[0] > start:
        # What came before is no longer kept, or more than is shown: its last state is known.
        found.append(_State(start, times[0], *_named(first["previous"])))
    for event, begun, ended in zip(changes, times, [*times[1:], now], strict=True):
        state, phase = _named(event["data"]["current"])
        style = _FLAGS.get(event["data"]["kind"], phase)
        found.append(_State(begun, max(begun, ended), state, style))
    return found


def _named(status: Mapping[str, Any]) -> tuple[str, str]:
    return status["state"], status.get("phase", "unknown")


def _stretch(group: Sequence[_State], start: datetime, scale: float) -> Stretch:
    begun, ended = max(group[0].start, start), group[-1].end
    worst = next((each for each in _WORST_FIRST if any(one.style == each for one in group)), None)
    style = worst or group[-1].style
    lasted = short_duration((ended - begun).total_seconds())
    if len(group) == 1:
        text = f"{group[0].state} ({style}) from {moment(begun)}, for {lasted}"
    else:
        named = ", ".join(dict.fromkeys(f"{one.state} ({one.style})" for one in group))
        text = f"{count(len(group), 'state')} within {lasted} from {moment(begun)}: {named}"
    x = (begun - start).total_seconds() * scale
    width = max((ended - begun).total_seconds() * scale, LEAST)
    height = HEIGHTS.get(style, HEIGHT)
    # The last one may be shorter than the least: it ends where the strip does.
    x = min(x, WIDTH - width)
    return Stretch(round(x, 1), round(width, 1), HEIGHT - height, height, style, text)
