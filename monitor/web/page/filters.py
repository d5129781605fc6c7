"""Which jobs the page shows, in which order, and how the address says so."""

from __future__ import annotations

from dataclasses import dataclass, replace
from heapq import nsmallest
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from monitor.model import Phase
from monitor.web.api.job_filters import label_readings

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime

    from monitor.web.interfaces import JobStatus

PAGE_SIZE = 50
"""Jobs on one page: nobody reads more, and ten thousand rows would help no browser."""
FLAGS = ("stuck", "missing", "blind")
"""What may be the matter with a job, whatever its phase."""

_LONGEST = 200
_BAD = frozenset({Phase.FAILED, Phase.EXPIRED})
_RANKS = {Phase.RUNNING: 1, Phase.UNKNOWN: 1, Phase.WAITING: 2}
_ENDED = 3


@dataclass(frozen=True, slots=True)
class Selection:
    """A filter and a page; empty text filters nothing. ``flag`` is one of ``FLAGS``."""

    text: str = ""
    phase: str = ""
    flag: str = ""
    type: str = ""
    label: str = ""
    page: int = 1

    @classmethod
    def of(cls, query: Mapping[str, str]) -> Selection:
        """Read the query of an address; what makes no sense filters nothing."""
        told = {name: query.get(name, "").strip()[:_LONGEST] for name in ("q", "type", "label")}
        phase, flag, page = query.get("phase", ""), query.get("is", ""), query.get("page", "")
        return cls(
            text=told["q"],
            phase=phase if phase in {each.value for each in Phase} else "",
            flag=flag if flag in FLAGS else "",
            type=told["type"],
            label=told["label"],
            page=max(1, int(page)) if page.isascii() and page.isdigit() and len(page) < 8 else 1,  # noqa: PLR2004
        )

    @property
    def filters(self) -> bool:
        """Whether anything is left out."""
        return self != Selection(page=self.page)

    def address(self, **changes: str | int) -> str:
        """Return the address of this selection, or of one with ``changes`` on its first page."""
        wanted = replace(self, **{"page": 1, **changes}) if changes else self  # type: ignore[arg-type]
        told = {
            "q": wanted.text,
            "phase": wanted.phase,
            "is": wanted.flag,
            "type": wanted.type,
            "label": wanted.label,
            "page": str(wanted.page) if wanted.page > 1 else "",
        }
        query = urlencode({name: value for name, value in told.items() if value})
        return f"/?{query}" if query else "/"

    def takes(self, job: JobStatus) -> bool:
        """Whether ``job`` is to be shown."""
        return (
            (not self.phase or phase_of(job) == self.phase)
            and (not self.flag or bool(getattr(job, self.flag)))
            and (not self.type or job.job.type == self.type)
            and (not self.label or _has_label(job.labels, self.label))
            and (not self.text or self.text.casefold() in _words(job))
        )


@dataclass(frozen=True, slots=True)
class Chosen:
    """One page of the jobs that a selection takes; ``first`` counts from 1."""

    jobs: Sequence[JobStatus]
    many: int
    first: int
    page: int
    pages: int


def choose(jobs: Iterable[JobStatus], selection: Selection, since: datetime) -> Chosen:
    """Take one page of ``jobs``: what needs somebody stands first, then the newest change.

    A failure needs somebody if it was seen after ``since``; older ones stand with what ended.
    """
    taken = [job for job in jobs if selection.takes(job)]
    pages = max(1, -(-len(taken) // PAGE_SIZE))
    page = min(selection.page, pages)
    start = (page - 1) * PAGE_SIZE
    # Not sorted whole: a sort of a hundred thousand would hold up the event loop, too.
    first = nsmallest(
        start + PAGE_SIZE, taken, key=lambda job: (_rank(job, since), -_changed(job), job.job.key)
    )
    return Chosen(first[start:], len(taken), start + 1, page, pages)


def phase_of(job: JobStatus) -> Phase:
    """Return its phase; one that AWS has not shown yet has none that is known."""
    return job.snapshot.phase if job.snapshot else Phase.UNKNOWN


def has_failed(job: JobStatus, since: datetime) -> bool:
    """Whether it was seen to end badly after ``since``."""
    snapshot = job.snapshot
    return snapshot is not None and snapshot.phase in _BAD and snapshot.changed_at >= since


def _rank(job: JobStatus, since: datetime) -> int:
    if job.stuck or job.missing or job.blind or has_failed(job, since):
        return 0
    return _RANKS.get(phase_of(job), _ENDED)


def _changed(job: JobStatus) -> float:
    return job.snapshot.changed_at.timestamp() if job.snapshot else 0.0


def _has_label(labels: Mapping[str, str], wanted: str) -> bool:
    """Compare with ``name`` or ``name=value``; ``name:value`` is what the API took formerly."""
    return wanted in labels or any(labels.get(n) == v for n, v in label_readings(wanted))


def _words(job: JobStatus) -> str:
    snapshot = job.snapshot
    parts = [job.job.key, job.watch, *(f"{name}={value}" for name, value in job.labels.items())]
    if snapshot:
        parts += [snapshot.state, snapshot.reason or ""]
    return "\n".join(parts).casefold()
