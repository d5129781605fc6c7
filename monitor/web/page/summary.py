"""The one line that the person on call reads first."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from monitor.config import short_duration
from monitor.model import Phase
from monitor.web.page import filters
from monitor.web.page.format import clock, count, sentence

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from monitor.web.interfaces import JobStatus
    from monitor.web.page.view import Scene, SinkLine, SourceLine

RECENT = timedelta(days=1)
"""For how long a failure is news."""
ON_THE_WAY = 60.0
"""Seconds for which a delivery may wait without anybody being late."""

SHORT = 60
"""Characters of an error that the line repeats."""


@dataclass(frozen=True, slots=True)
class Part:
    """One thing said, and how bad it is: ``good``, ``warn`` or ``bad``."""

    words: str
    level: str


@dataclass(frozen=True, slots=True)
class Census:
    """How many jobs there are of each phase and flag, and how many ended badly of late."""

    total: int
    phases: Mapping[str, int]
    flags: Mapping[str, int]
    failed: int
    expired: int


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is the matter with the jobs, with seeing AWS, and with telling anyone."""

    jobs: Part
    aws: Part
    told: Part

    @property
    def words(self) -> str:
        """The whole line."""
        return "; ".join(part.words for part in (self.jobs, self.aws, self.told))

    @property
    def level(self) -> str:
        """The worst of the three."""
        levels = {part.level for part in (self.jobs, self.aws, self.told)}
        return next(level for level in ("bad", "warn", "good") if level in levels)


def count_jobs(jobs: Sequence[JobStatus], now: datetime) -> Census:
    """Count ``jobs``; a failure is recent for a day."""
    since = now - RECENT
    phases = Counter(filters.phase_of(job) for job in jobs)
    lately = Counter(filters.phase_of(job) for job in jobs if filters.has_failed(job, since))
    return Census(
        total=len(jobs),
        phases={phase.value: phases[phase] for phase in Phase},
        flags={
            "stuck": sum(job.stuck for job in jobs),
            "missing": sum(job.missing for job in jobs),
            "blind": sum(job.blind for job in jobs),
        },
        failed=lately[Phase.FAILED],
        expired=lately[Phase.EXPIRED],
    )


def judge(scene: Scene, census: Census) -> Verdict:
    """Say how things stand."""
    return Verdict(_of_jobs(census), _of_sources(scene.sources), _of_sinks(scene.sinks, scene.now))


def _of_jobs(census: Census) -> Part:
    if not census.total:
        return Part("No jobs are known yet", "good")
    matters = {"failed": census.failed, "expired": census.expired, **census.flags}
    told = [f"{many:,} {name}" for name, many in matters.items() if many]
    if told:
        return Part(sentence(told), "bad" if census.failed or census.expired else "warn")
    active = census.phases["running"] + census.phases["waiting"]
    return Part(f"Nothing failed, nothing stuck; {count(active, 'job')} under way", "good")


def _of_sources(sources: Sequence[SourceLine]) -> Part:
    if not sources:
        return Part("no source is watched", "warn")
    found = Counter(source.condition for source in sources)
    if found["unseen"] == len(sources):
        return Part("AWS cannot be seen at all", "bad")
    if found["unseen"]:
        return Part(f"{found['unseen']} of {count(len(sources), 'source')} cannot be seen", "bad")
    return _of_seen(found, len(sources))


def _of_seen(found: Mapping[str, int], many: int) -> Part:
    """Judge ``many`` sources, none of which is lost, by their conditions."""
    if found["not asked yet"] == many:
        return Part("AWS has not answered yet", "warn")
    if found["failing"]:
        return Part(f"looks at {count(found['failing'], 'source')} fail", "warn")
    if found["incomplete"]:
        sources = count(found["incomplete"], "source")
        return Part(f"a listing of {sources} is not read to its end", "warn")
    if found["throttled"]:
        return Part("AWS is seen, but throttles", "warn")
    return Part("AWS is seen", "good")


def _of_sinks(sinks: Sequence[SinkLine], now: datetime) -> Part:
    if not sinks:
        return Part("nobody is told: there are no sinks", "warn")
    bad = [f"{sink.name} is parked" for sink in sinks if sink.parked_at]
    bad += [
        f"{sink.name} failing since {clock(sink.failing_since, now)} UTC, for "
        f"{short_duration((now - sink.failing_since).total_seconds())}"
        + (f" ({_brief(sink.last_error)})" if sink.last_error else "")
        for sink in sinks
        if sink.failing_since and not sink.parked_at
    ]
    dead = sum(sink.dead for sink in sinks)
    if dead:
        bad.append(f"{count(dead, 'delivery is', 'deliveries are')} dead")
    pending = sum(sink.pending for sink in sinks)
    waited = max((_waited(sink, now) for sink in sinks), default=0.0)
    if waited > ON_THE_WAY:
        waiting = count(pending, "delivery waits", "deliveries wait")
        return Part(", ".join([*bad, f"{waiting} for up to {short_duration(waited)}"]), "bad")
    if bad:
        return Part(", ".join(bad), "bad")
    if pending:
        return Part(f"{count(pending, 'delivery is', 'deliveries are')} on the way", "good")
    return Part("everyone has been told", "good")


def _brief(error: str) -> str:
    return error if len(error) <= SHORT else f"{error[:SHORT].rstrip()} …"


def _waited(sink: SinkLine, now: datetime) -> float:
    return (now - sink.oldest_at).total_seconds() if sink.oldest_at else 0.0
