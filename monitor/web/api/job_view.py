"""What is said of a job."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from monitor.model import Phase, Severity

if TYPE_CHECKING:
    from collections.abc import Sequence

    from monitor import model
    from monitor.web.interfaces import JobStatus


def totals(jobs: Sequence[JobStatus]) -> dict[str, Any]:
    """Count jobs by how they stand."""
    phases = Counter(phase(job) for job in jobs)
    return {
        "jobs": len(jobs),
        "phases": {each: phases[each] for each in Phase},
        "stuck": sum(job.stuck for job in jobs),
        "missing": sum(job.missing for job in jobs),
        "blind": sum(job.blind for job in jobs),
    }


def facts(followed: JobStatus) -> dict[str, Any]:
    """Return what ``answers.Job`` says of a followed job."""
    return {
        **_named(followed.job),
        **_known(followed.snapshot),
        "watch": followed.watch,
        "labels": dict(followed.labels),
        "interval": followed.interval,
        "last_look_at": followed.looked_at,
        "next_look_at": followed.next_look_at,
        "failing": followed.failing.value if followed.failing else None,
        "finished": followed.finished,
        "stuck": followed.stuck,
        "missing": followed.missing,
        "blind": followed.blind,
    }


def remembered(snapshot: model.Snapshot) -> dict[str, Any]:
    """Return what ``answers.Job`` says of a job that no watch follows any more."""
    return {
        **_named(snapshot.job),
        **_known(snapshot),
        "watch": None,
        "labels": {},
        "interval": None,
        "last_look_at": snapshot.looked_at,
        "next_look_at": None,
        "failing": None,
        "finished": True,
        "stuck": False,
        "missing": snapshot.missing,
        "blind": False,
    }


def _named(job: model.Job) -> dict[str, str]:
    return {
        "key": job.key,
        "type": job.type,
        "account": job.account,
        "region": job.region,
        "id": job.id,
    }


_OF_SNAPSHOT = (
    *("state", "reason", "ending"),
    *("first_seen_at", "changed_at", "updated_at", "ended_at"),
)


def _known(snapshot: model.Snapshot | None) -> dict[str, Any]:
    return {
        **{name: getattr(snapshot, name, None) for name in _OF_SNAPSHOT},
        "sequence": snapshot.sequence if snapshot else 0,
        "phase": snapshot.phase if snapshot else Phase.UNKNOWN,
        "severity": snapshot.severity if snapshot else Severity.INFO,
        "fields": dict(snapshot.fields) if snapshot else {},
    }


def phase(job: JobStatus) -> Phase:
    """Return the phase; unknown until AWS has first shown the job."""
    return job.snapshot.phase if job.snapshot else Phase.UNKNOWN
