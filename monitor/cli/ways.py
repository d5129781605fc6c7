"""The table of routes: which sinks get which events of which watch."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, Any

from monitor.cli import lazy
from monitor.model import Phase

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from monitor.config import Settings, Watch
    from monitor.model import Kind
    from monitor.validation.route_table import Way

_Line = tuple[tuple[str, str], ...]


def rows(settings: Settings) -> list[dict[str, Any]]:
    """Return one row for each watch, kind and phase; ``certain`` is false where more decides."""
    return [
        {
            "watch": way.watch,
            "kind": way.kind.value,
            "phase": way.phase,
            "sinks": [{"sink": name, "certain": sure} for name, sure in way.sinks.items()],
        }
        for watch in settings.watches
        for way in _ways(watch, settings)
    ]


def lines(settings: Settings) -> Iterator[str]:
    """Describe each watch: events that go the same way share a line."""
    for watch in settings.watches:
        yield f"routes of {watch.name}:"
        merged = _merged(_ways(watch, settings))
        widths = [max(len(line[column]) for line in merged) for column in (0, 1)]
        for kinds, phases, sinks in merged:
            yield f"  {kinds:<{widths[0]}}  {phases:<{widths[1]}}  -> {sinks}"


def _ways(watch: Watch, settings: Settings) -> Iterator[Way]:
    return lazy.route_table.ways(watch, settings.routes, tuple(settings.sinks))


def _merged(ways: Iterator[Way]) -> list[tuple[str, str, str]]:
    """Put kinds together that go the same way in every phase, and then phases."""
    by_kind = {
        kind: tuple((way.phase, _told(way.sinks)) for way in found)
        for kind, found in groupby(ways, key=lambda way: way.kind)
    }
    kinds: dict[_Line, list[Kind]] = {}
    for kind, line in by_kind.items():
        kinds.setdefault(line, []).append(kind)
    return [
        (", ".join(same), phases, sinks)
        for line, same in kinds.items()
        for phases, sinks in _phases(line)
    ]


def _phases(line: _Line) -> Iterator[tuple[str, str]]:
    phases: dict[str, list[str]] = {}
    for phase, sinks in line:
        phases.setdefault(sinks, []).append(phase)
    for sinks, same in phases.items():
        yield _named(same), sinks


def _named(phases: Sequence[str]) -> str:
    return "any phase" if len(phases) == len(Phase) else ", ".join(phases) or "-"


def _told(sinks: Mapping[str, bool]) -> str:
    """Name the sinks; one in brackets gets some of the events only."""
    return ", ".join(name if sure else f"({name})" for name, sure in sinks.items()) or "no sink"
