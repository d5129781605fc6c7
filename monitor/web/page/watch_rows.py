"""The watches as the page shows them, with the number of their jobs."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from monitor.web.api.job_filters import phase_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime
    from typing import Any

    from monitor.config import Watch
    from monitor.interfaces import JobStatus
    from monitor.model import RuntimeWatch
    from monitor.web.interfaces import Live

MOST_WATCHES = 100
"""Watches on one page."""


@dataclass(frozen=True, slots=True)
class WatchRow:
    """A watch and its jobs by phase; ``added_at`` is ``None`` if it is of the configuration."""

    name: str
    type: str
    account: str
    regions: Sequence[str]
    interval: float | str | None
    added_at: datetime | None
    jobs: int
    phases: Mapping[str, int]


def watch_rows(
    own: Iterable[Watch], added: Iterable[RuntimeWatch], jobs: Iterable[JobStatus], live: Live
) -> list[WatchRow]:
    """Return all watches by name, with the number of their jobs.

    Archived jobs are counted by place: those of a place that several watches share are left out.
    """
    phases: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for job in jobs:
        phases[job.watch][phase_of(job).value] += 1
    for (place, phase), many in live.archived().items():
        if len(discovering := live.discovering(place)) == 1:
            phases[next(iter(discovering))][phase.value] += many
    found = [
        WatchRow(
            *(watch.name, watch.type, watch.account, watch.regions, watch.interval, None),
            phases[watch.name].total(),
            phases[watch.name],
        )
        for watch in own
    ]
    found += [_added(watch, phases[watch.name]) for watch in added]
    return sorted(found, key=lambda row: row.name)


def _added(watch: RuntimeWatch, phases: Counter[str]) -> WatchRow:
    written: Mapping[str, Any] = watch.settings
    return WatchRow(
        name=watch.name,
        type=str(written.get("type", "")),
        account=str(written.get("account", "default")),
        regions=list(written.get("regions", ())),
        interval=written.get("interval"),
        added_at=watch.added_at,
        jobs=phases.total(),
        phases=phases,
    )


def page_of(rows: Sequence[WatchRow], after: str) -> tuple[Sequence[WatchRow], str]:
    """Return the watches after the one named ``after``, and the name to go on after, if any."""
    rest = [row for row in rows if row.name > after]
    shown = rest[:MOST_WATCHES]
    return shown, shown[-1].name if len(rest) > len(shown) else ""
