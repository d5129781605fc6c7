"""What the page is made from: plain values, gathered from the live state at one moment."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from monitor.errors import PollReason
from monitor.web import sink_health

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from monitor import model
    from monitor.web import interfaces


@dataclass(frozen=True, slots=True)
class SourceLine:
    """One source: whether it can be seen, and what it may be asked.

    ``condition`` is ``seen``, ``throttled`` or ``failing`` (the last look brought nothing, which
    may be chance), ``incomplete`` (a listing is not read to its end, so that new jobs may be
    overlooked), ``unseen`` or ``not asked yet``. ``listings`` are the incomplete ones. ``trouble``
    and ``hint`` are of the last failure, if there is one since the last success. ``rate`` is what
    the quota allows at present, ``full_rate`` what is configured, ``request_rate`` what was asked
    within the last minute, in requests per second.
    """

    name: str
    service: str
    where: str
    condition: str
    last_success_at: datetime | None
    trouble: str
    hint: str
    rate: float
    full_rate: float
    request_rate: float
    jobs: int
    listings: Sequence[ListingLine] = ()


@dataclass(frozen=True, slots=True)
class ListingLine:
    """One listing that is not read to its end: since when, and why."""

    type: str
    last_complete_at: datetime | None
    trouble: str
    hint: str


@dataclass(frozen=True, slots=True)
class SinkLine:
    """One sink: what it still has to tell, and what is the matter with it, if anything."""

    name: str
    type: str
    pending: int
    oldest_at: datetime | None
    dead: int
    parked_at: datetime | None
    parked_why: str
    last_delivered_at: datetime | None
    last_error: str | None
    last_error_at: datetime | None
    failing_since: datetime | None


@dataclass(frozen=True, slots=True)
class Scene:
    """Everything at one moment. ``refused`` says why the last reload was, if it was."""

    now: datetime
    version: str
    jobs: Sequence[interfaces.JobStatus]
    sources: Sequence[SourceLine]
    sinks: Sequence[SinkLine]
    refused: Sequence[str]


def gather(
    live: interfaces.Live,
    backlogs: Sequence[model.Backlog],
    parkings: Sequence[model.Parking],
    now: datetime,
) -> Scene:
    """Make the scene; may be called in another thread."""
    status = live.status()
    waiting = {backlog.sink: backlog for backlog in backlogs}
    parked = {parking.sink: parking for parking in parkings}
    return Scene(
        now=now,
        version=status.version,
        jobs=list(live.jobs()),
        sources=sorted(map(_source, live.sources()), key=lambda source: source.name),
        sinks=[_sink(sink, waiting.get(sink.name), parked.get(sink.name)) for sink in live.sinks()],
        refused=status.config_refused,
    )


def _source(source: interfaces.Source) -> SourceLine:
    key = source.source
    failing = source.up is False
    return SourceLine(
        name=f"{key.service}/{key.account}/{key.region}",
        service=key.service,
        where=f"{key.account}/{key.region}",
        condition=_condition(source),
        last_success_at=source.last_success_at,
        trouble=" ".join(filter(None, (source.reason, source.code))) if failing else "",
        hint=(source.hint or "") if failing else "",
        rate=source.rate,
        full_rate=source.configured_rate,
        request_rate=source.request_rate,
        jobs=source.jobs,
        listings=[_listing(one) for one in _incomplete(source)],
    )


def _incomplete(source: interfaces.Source) -> Sequence[interfaces.Listing]:
    return [listing for listing in source.listings if listing.complete is False]


def _listing(listing: interfaces.Listing) -> ListingLine:
    return ListingLine(
        type=listing.type,
        last_complete_at=listing.last_complete_at,
        trouble=" ".join(filter(None, (listing.reason, listing.code))),
        hint=listing.hint or "",
    )


def _condition(source: interfaces.Source) -> str:
    if not source.available:
        return "unseen"
    if source.up is None:
        return "not asked yet"
    if _incomplete(source):
        return "incomplete"
    if source.up:
        return "seen"
    return "throttled" if source.reason == PollReason.THROTTLE else "failing"


def _sink(
    sink: interfaces.Sink, backlog: model.Backlog | None, parking: model.Parking | None
) -> SinkLine:
    health = sink_health.judge(sink, backlog, parking)
    return SinkLine(
        name=sink.name,
        type=sink.type,
        pending=backlog.pending if backlog else 0,
        oldest_at=backlog.oldest_at if backlog else None,
        dead=backlog.dead if backlog else 0,
        parked_at=parking.at if parking else None,
        parked_why=parking.reason if parking else "",
        last_delivered_at=sink.last_delivered_at,
        last_error=health.last_error,
        last_error_at=sink.last_error_at,
        failing_since=health.failing_since,
    )
