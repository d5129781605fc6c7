"""Everything that the page shows: plain values, gathered from the live status at one moment."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from monitor.errors import PollReason
from monitor.web.api.schemas import ListingView, SinkView, SourceView

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from monitor import model
    from monitor.interfaces import JobStatus
    from monitor.web import interfaces
    from monitor.web.api.schemas import ReplicaView


@dataclass(frozen=True, slots=True)
class SourceRow:
    """One source and its health.

    ``health`` is ``reachable``, ``throttled`` or ``failing`` (the last poll failed, which may be
    chance), ``incomplete`` (a sweep did not read the whole listing, so new jobs may be
    overlooked), ``late`` (the quota permits polls much more rarely than a watch wants),
    ``unreachable`` or ``not polled yet``. ``listings`` are the incomplete ones.
    ``trouble`` and ``hint`` are those of the last failure, if it came after the last success.
    """

    view: SourceView
    health: str
    trouble: str
    hint: str
    listings: Sequence[ListingView]

    @classmethod
    def of(cls, source: SourceView) -> SourceRow:
        """Judge a source."""
        incomplete = [listing for listing in source.listings if listing.complete is False]
        failing = source.up is False
        # The worst comes first. A sweep that was cut off says more than one poll that failed.
        if not source.available:
            health = "unreachable"
        elif source.up is None:
            health = "not polled yet"
        elif incomplete:
            health = "incomplete"
        elif failing:
            throttled = source.last_failure == PollReason.THROTTLE
            health = "throttled" if throttled else "failing"
        elif any(watch.starved for watch in source.watches):
            health = "late"
        else:
            health = "reachable"
        return cls(
            view=source,
            health=health,
            trouble=trouble(source) if failing else "",
            hint=(source.last_failure_hint or "") if failing else "",
            listings=incomplete,
        )


@dataclass(frozen=True, slots=True)
class PageView:
    """Everything at one moment.

    ``refused`` holds the problems of a reload that was refused; ``writable`` is true if there are
    credentials with which a reader may act. ``archived`` counts the jobs that only the store has,
    by place and phase. ``replicas`` is empty if the store cannot be shared;
    ``generations`` are the configurations of the live ones, and how many have each.
    """

    now: datetime
    version: str
    jobs: Sequence[JobStatus]
    archived: Mapping[tuple[tuple[str, str, str], model.Phase], int]
    sources: Sequence[SourceRow]
    sinks: Sequence[SinkView]
    refused: Sequence[str]
    writable: bool = True
    replicas: Sequence[ReplicaView] = ()
    generations: Sequence[tuple[str, int]] = ()


def gather(
    live: interfaces.Live,
    backlogs: Sequence[model.Backlog],
    parkings: Sequence[model.Parking],
    now: datetime,
    *,
    writable: bool = True,
) -> PageView:
    """Gather everything; may be called in another thread."""
    status = live.status()
    waiting = {backlog.sink: backlog for backlog in backlogs}
    parked = {parking.sink: parking for parking in parkings}
    replicas = live.replicas()
    generations = Counter(each.generation for each in replicas if each.alive)
    return PageView(
        now=now,
        version=status.version,
        # A copy: the loop goes on tracking jobs while this thread reads.
        jobs=list(live.jobs()),
        archived=live.archived(),
        sources=[SourceRow.of(one) for one in sorted(live.sources(), key=lambda one: one.name)],
        sinks=[
            SinkView.of(sink, waiting.get(sink.name), parked.get(sink.name))
            for sink in live.sinks()
        ],
        refused=status.config_refused,
        writable=writable,
        replicas=replicas,
        generations=generations.most_common(),
    )


def trouble(failed: SourceView | ListingView) -> str:
    """Write the reason and the code of the last failure."""
    return " ".join(filter(None, (failed.last_failure, failed.last_failure_code)))
