"""The sources and sinks with a problem, which stand above the jobs, and the others below."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from monitor.web.api.schemas import SinkView
    from monitor.web.page.view import PageView, SourceRow

MOST = 20
"""Rows of a kind above the jobs, so that these stay in sight; further ones are below."""
FAILING_FOR = timedelta(minutes=1)
"""Time without a success after which failing polls are more than chance."""

_WORST_FIRST = ("unreachable", "incomplete", "failing", "late")


@dataclass(frozen=True, slots=True)
class Trouble:
    """What stands above the jobs, and what below."""

    sources: Sequence[SourceRow]
    other_sources: Sequence[SourceRow]
    sinks: Sequence[SinkView]
    other_sinks: Sequence[SinkView]
    unreachable: Sequence[SourceRow]


def sort_out(view: PageView) -> Trouble:
    """Part the sources and sinks of a page by whether they have a problem."""
    bad = sorted(
        (source for source in view.sources if _needs_somebody(source, view)),
        key=lambda source: _WORST_FIRST.index(source.health),
    )[:MOST]
    failing = [sink for sink in view.sinks if sink.health != "ok" or sink.dead][:MOST]
    names = {source.view.name for source in bad}
    return Trouble(
        sources=bad,
        other_sources=[each for each in view.sources if each.view.name not in names],
        sinks=failing,
        other_sinks=[each for each in view.sinks if each not in failing],
        unreachable=[each for each in view.sources if each.health == "unreachable"],
    )


def _needs_somebody(source: SourceRow, view: PageView) -> bool:
    """Return whether it stands above: not for one poll that failed, or the table would jump."""
    if source.health != "failing":
        return source.health in _WORST_FIRST
    success = source.view.last_success_at
    return success is None or view.now - success > FAILING_FOR
