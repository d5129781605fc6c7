"""The jobs that the page shows, their order, and both in its address."""

from __future__ import annotations

from dataclasses import dataclass, replace
from heapq import nsmallest
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from monitor.model import Phase
from monitor.web.api.job_filters import has_label, phase_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime

    from monitor.interfaces import JobStatus

PAGE_SIZE = 50
"""Jobs on one page: nobody reads more, and ten thousand rows would slow a browser down."""
FLAGS = {"stuck": "stuck", "missing": "missing", "stale": "blind"}
"""The problems that a job may have in any phase, and the attributes that hold them."""

_LONGEST = 200
_BAD = frozenset({Phase.FAILED, Phase.EXPIRED})
_RANKS = {Phase.RUNNING: 1, Phase.UNKNOWN: 1, Phase.WAITING: 2}
_ENDED = 3


@dataclass(frozen=True, slots=True)
class JobFilter:
    """A filter and a page; empty text filters nothing. ``flag`` is one of ``FLAGS``."""

    text: str = ""
    phase: str = ""
    flag: str = ""
    type: str = ""
    label: str = ""
    page: int = 1

    @classmethod
    def of(cls, query: Mapping[str, str]) -> JobFilter:
        """Read the query of an address; an invalid value filters nothing."""
        given = {name: query.get(name, "").strip()[:_LONGEST] for name in ("q", "type", "label")}
        phase, flag, page = query.get("phase", ""), query.get("is", ""), query.get("page", "")
        # Bookmarks say ``blind`` for what is called stale now.
        flag = "stale" if flag == "blind" else flag
        return cls(
            text=given["q"],
            phase=phase if phase in {each.value for each in Phase} else "",
            flag=flag if flag in FLAGS else "",
            type=given["type"],
            label=given["label"],
            page=max(1, int(page)) if page.isascii() and page.isdigit() and len(page) < 8 else 1,  # noqa: PLR2004
        )

    @property
    def filters(self) -> bool:
        """True if any filter is set."""
        return self != JobFilter(page=self.page)

    def address(self, **changes: str | int) -> str:
        """Return the address of this filter, or of one with ``changes`` on its first page."""
        changed = replace(self, **{"page": 1, **changes}) if changes else self  # type: ignore[arg-type]
        given = {
            "q": changed.text,
            "phase": changed.phase,
            "is": changed.flag,
            "type": changed.type,
            "label": changed.label,
            "page": str(changed.page) if changed.page > 1 else "",
        }
        query = urlencode({name: value for name, value in given.items() if value})
        return f"/?{query}" if query else "/"

    def matches(self, job: JobStatus) -> bool:
        """Return whether ``job`` matches."""
        fits = (
            (not self.phase or phase_of(job) == self.phase)
            and (not self.flag or bool(getattr(job, FLAGS[self.flag])))
            and (not self.type or job.job.type == self.type)
            # A name alone is what the page's addresses took before.
            and (not self.label or self.label in job.labels or has_label(job.labels, self.label))
        )
        if not (fits and self.text):
            return fits
        parts = [job.job.key, job.watch, *(f"{name}={value}" for name, value in job.labels.items())]
        if job.snapshot:
            parts += [job.snapshot.state, job.snapshot.reason or ""]
        return self.text.casefold() in "\n".join(parts).casefold()


@dataclass(frozen=True, slots=True)
class Matches:
    """One page of the jobs that match; ``first`` counts from 1."""

    jobs: Sequence[JobStatus]
    many: int
    first: int
    page: int
    pages: int


def choose(jobs: Iterable[JobStatus], job_filter: JobFilter, since: datetime) -> Matches:
    """Return one page of ``jobs``: first those that need attention, then the newest changes.

    A failure needs attention if it came after ``since``; older ones rank as other ended jobs.
    """
    matching = [job for job in jobs if job_filter.matches(job)]
    pages = max(1, -(-len(matching) // PAGE_SIZE))
    page = min(job_filter.page, pages)
    start = (page - 1) * PAGE_SIZE
    # Not sorted whole: a sort of a hundred thousand would hold up the event loop, too.
    first = nsmallest(start + PAGE_SIZE, matching, key=lambda job: _rank(job, since))
    return Matches(first[start:], len(matching), start + 1, page, pages)


def has_failed(job: JobStatus, since: datetime) -> bool:
    """Return whether it failed or expired after ``since``."""
    snapshot = job.snapshot
    return snapshot is not None and snapshot.phase in _BAD and snapshot.changed_at >= since


def _rank(job: JobStatus, since: datetime) -> tuple[int, float, str]:
    urgent = job.stuck or job.missing or job.blind or has_failed(job, since)
    changed = job.snapshot.changed_at.timestamp() if job.snapshot else 0.0
    return (0 if urgent else _RANKS.get(phase_of(job), _ENDED), -changed, job.job.key)
