"""The summary: the one line that the person on call reads first."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from monitor.config import short_duration
from monitor.model import Phase
from monitor.web.api.job_filters import phase_of
from monitor.web.page import filters
from monitor.web.page.format import clock, count, sentence, shortened

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from monitor.interfaces import JobStatus
    from monitor.web.api.schemas import SinkView
    from monitor.web.page.view import PageView, SourceRow

RECENT = timedelta(days=1)
"""The time for which a failure counts as recent."""
LATE_AFTER = 60.0
"""Seconds for which a delivery may wait without being late."""
SHORT = 60
"""Characters of an error that the summary repeats."""


@dataclass(frozen=True, slots=True)
class Part:
    """One statement and how bad it is: ``good``, ``warn`` or ``bad``."""

    text: str
    level: str


@dataclass(frozen=True, slots=True)
class JobCounts:
    """The number of jobs by phase and by flag, and of those that ended badly of late."""

    total: int
    phases: Mapping[str, int]
    flags: Mapping[str, int]
    failed: int
    expired: int
    open_flags: Mapping[str, int]
    """Without the acknowledged ones, as are ``failed`` and ``expired``."""
    acknowledged: int
    """Jobs in trouble of which somebody takes care."""


@dataclass(frozen=True, slots=True)
class Summary:
    """What is wrong with the jobs, with the access to AWS, and with the deliveries."""

    jobs: Part
    aws: Part
    deliveries: Part

    @property
    def text(self) -> str:
        """The whole line."""
        return "; ".join(part.text for part in (self.jobs, self.aws, self.deliveries))

    @property
    def level(self) -> str:
        """The worst of the three."""
        levels = {part.level for part in (self.jobs, self.aws, self.deliveries)}
        return next(level for level in ("bad", "warn", "good") if level in levels)


def count_jobs(
    jobs: Sequence[JobStatus],
    archived: Mapping[tuple[tuple[str, str, str], Phase], int],
    now: datetime,
) -> JobCounts:
    """Count ``jobs`` and those that are ``archived``; a failure is recent for a day.

    Jobs that failed are archived only after that.
    """
    since = now - RECENT
    phases = Counter(phase_of(job) for job in jobs)
    unattended = [job for job in jobs if job.acknowledged is None]
    recent = Counter(phase_of(job) for job in unattended if filters.has_failed(job, since))
    for (_, phase), many in archived.items():
        phases[phase] += many
    return JobCounts(
        total=phases.total(),
        phases={phase.value: phases[phase] for phase in Phase},
        flags=_flags(jobs),
        failed=recent[Phase.FAILED],
        expired=recent[Phase.EXPIRED],
        open_flags=_flags(unattended),
        acknowledged=len(jobs) - len(unattended),
    )


def _flags(jobs: Sequence[JobStatus]) -> dict[str, int]:
    return {flag: sum(getattr(job, name) for job in jobs) for flag, name in filters.FLAGS.items()}


def summarize(view: PageView, counts: JobCounts) -> Summary:
    """Summarize everything in three statements."""
    problems = {"failed": counts.failed, "expired": counts.expired, **counts.open_flags}
    found = [f"{many:,} {name}" for name, many in problems.items() if many]
    cared_for = f"{counts.acknowledged:,} acknowledged" if counts.acknowledged else ""
    if not counts.total:
        jobs = Part("No jobs are known yet", "good")
    elif found:
        found += [cared_for] if cared_for else []
        jobs = Part(sentence(found), "bad" if counts.failed or counts.expired else "warn")
    elif cared_for:
        jobs = Part(f"Nothing new failed, nothing stuck; {cared_for}", "good")
    else:
        active = counts.phases["running"] + counts.phases["waiting"]
        jobs = Part(f"Nothing failed, nothing stuck; {count(active, 'job')} active", "good")
    return Summary(jobs, _of_sources(view.sources), _of_deliveries(view.sinks, view.now))


def _of_sources(sources: Sequence[SourceRow]) -> Part:
    found = Counter(source.health for source in sources)
    lost, many = found["unreachable"], len(sources)
    # The worst comes first, and hides what is less bad.
    if not sources:
        return Part("no source is watched", "warn")
    if lost:
        text = "AWS is unreachable"
        if lost < many:
            text = f"{lost} of {count(many, 'source')} {'is' if lost == 1 else 'are'} unreachable"
        return Part(text, "bad")
    if found["not polled yet"] == many:
        return Part("AWS has not answered yet", "warn")
    for health, text in (
        ("failing", f"polls of {count(found['failing'], 'source')} fail"),
        ("incomplete", f"a listing of {count(found['incomplete'], 'source')} is incomplete"),
        ("throttled", "AWS is reachable, but throttles"),
        ("late", f"polls of {count(found['late'], 'source')} come late"),
    ):
        if found[health]:
            return Part(text, "warn")
    return Part("AWS is reachable", "good")


def _of_deliveries(sinks: Sequence[SinkView], now: datetime) -> Part:
    if not sinks:
        return Part("nothing is delivered: there are no sinks", "warn")
    bad = [f"{sink.name} is parked" for sink in sinks if sink.parked]
    for sink in sinks:
        if sink.failing_since and not sink.parked:
            failing_for = short_duration((now - sink.failing_since).total_seconds())
            why = f" ({shortened(sink.last_error, SHORT)})" if sink.last_error else ""
            since = clock(sink.failing_since, now)
            bad.append(f"{sink.name} failing since {since} UTC, for {failing_for}{why}")
    if dead := sum(sink.dead for sink in sinks):
        bad.append(f"{count(dead, 'delivery is', 'deliveries are')} dead")
    pending = sum(sink.pending for sink in sinks)
    oldest = min((sink.oldest_pending_at for sink in sinks if sink.oldest_pending_at), default=now)
    waited = (now - oldest).total_seconds()
    if waited > LATE_AFTER:
        waiting = count(pending, "delivery waits", "deliveries wait")
        bad.append(f"{waiting} for up to {short_duration(waited)}")
    if bad:
        return Part(", ".join(bad), "bad")
    if pending:
        return Part(f"{count(pending, 'delivery is', 'deliveries are')} on the way", "good")
    return Part("everything is delivered", "good")
