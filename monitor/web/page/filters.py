"""The jobs that the page shows, their order, and both in its address."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from heapq import nlargest, nsmallest
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from monitor.model import Phase
from monitor.web.api.job_filters import has_label, holds, phase_of, searched_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from datetime import datetime
    from typing import Any

    from monitor.interfaces import JobStatus

PAGE_SIZE = 50
"""Jobs on one page: nobody reads more, and ten thousand rows would slow a browser down."""
FLAGS = {"stuck": "stuck", "missing": "missing", "stale": "blind"}
"""The problems that a job may have in any phase, and the attributes that hold them."""
ORDERS = ("asc", "desc")
MARKS = ("unacknowledged", "acknowledged", "silenced")
"""What people made of the jobs: those in trouble of which nobody takes care, those of which
somebody does, and those that a silence holds."""

MOST_ARCHIVED = 1000
"""Archived jobs in the numbered pages; behind the last one, older ones follow page by page."""
ARCHIVE_ORDERS = {
    ("", ""): "-changed_at",
    ("age", "asc"): "-changed_at",
    ("age", "desc"): "changed_at",
    ("phase", "asc"): "phase",
    ("phase", "desc"): "-phase",
    ("state", "asc"): "state",
    ("state", "desc"): "-state",
}
"""How the store orders archived jobs for an order of the page; else the newest ones are sorted."""

_LONGEST = 200
_LAST = "\U0010ffff"
_BAD = frozenset({Phase.FAILED, Phase.EXPIRED})
_RANKS = {Phase.RUNNING: 1, Phase.UNKNOWN: 1, Phase.WAITING: 2}
_ENDED = 3
_EXACT = ("type", "account", "region", "watch", "label")
_NAMES = {"text": "q", "flag": "is"}
"""The parameters of the address that have other names than the attributes."""


def _since(job: JobStatus) -> float:
    """Return when the state was first seen, negated: the youngest is the least."""
    return -job.snapshot.changed_at.timestamp() if job.snapshot else 0.0


SORTS: Mapping[str, Callable[[JobStatus], tuple[Any, ...]]] = {
    "id": lambda job: (job.job.id, job.job.key),
    "phase": lambda job: (phase_of(job).value, job.job.key),
    "state": lambda job: (job.snapshot.state if job.snapshot else "", job.job.key),
    "age": lambda job: (_since(job), job.job.key),
}
"""The columns that one can sort by, each in an order that an index of the store could give."""


@dataclass(frozen=True, slots=True)
class JobFilter:
    """A filter, an order and a page; empty text filters nothing.

    ``flag`` is one of ``FLAGS`` or ``MARKS``, ``sort`` one of ``SORTS`` or empty: what needs
    attention first. ``after`` is the cursor of a page of older archived jobs.
    """

    text: str = ""
    phase: str = ""
    flag: str = ""
    type: str = ""
    account: str = ""
    region: str = ""
    watch: str = ""
    label: str = ""
    sort: str = ""
    order: str = ""
    page: int = 1
    after: str = ""

    @classmethod
    def of(cls, query: Mapping[str, str]) -> JobFilter:
        """Read the query of an address; an invalid value filters nothing."""
        # PostgreSQL takes no NUL.
        query = {name: value.replace("\x00", "") for name, value in query.items()}
        text = query.get("q", "").strip()[:_LONGEST]
        # Bookmarks say ``blind`` for what is called stale now.
        flag = "stale" if query.get("is") == "blind" else query.get("is", "")
        sort = _one_of(query.get("sort"), SORTS)
        page = query.get("page", "")
        return cls(
            text=text,
            phase=_one_of(query.get("phase"), {each.value for each in Phase}),
            flag=_one_of(flag, (*FLAGS, *MARKS)),
            **{name: query.get(name, "").strip()[:_LONGEST] for name in _EXACT},
            sort=sort,
            order=_one_of(query.get("order"), ORDERS) or "asc" if sort else "",
            after=query.get("after", ""),
            page=max(1, int(page)) if page.isascii() and page.isdigit() and len(page) < 8 else 1,  # noqa: PLR2004
        )

    @property
    def filters(self) -> bool:
        """True if any filter is set."""
        return replace(self, sort="", order="", after="", page=1) != JobFilter()

    def address(self, **changes: str | int) -> str:
        """Return the address of this filter, or of one with ``changes`` on its first page."""
        changed = replace(self, **{"page": 1, "after": "", **changes}) if changes else self  # type: ignore[arg-type]
        given = {_NAMES.get(each.name, each.name): getattr(changed, each.name) for each in _FIELDS}
        given["page"] = str(changed.page) if changed.page > 1 else ""
        query = urlencode({name: value for name, value in given.items() if value})
        return f"/?{query}" if query else "/"

    def sorted_by(self, sort: str) -> str:
        """Return the address with another order: a column upwards, downwards, then neither."""
        if self.sort != sort:
            return self.address(sort=sort, order="asc")
        if self.order == "asc":
            return self.address(order="desc")
        return self.address(sort="", order="")

    def includes(self, place: tuple[str, str, str]) -> bool:
        """Return whether jobs of a type, account and region may match."""
        chosen = (self.type, self.account, self.region)
        return all(own in {"", given} for own, given in zip(chosen, place, strict=True))

    def matches(self, job: JobStatus) -> bool:
        """Return whether ``job`` matches."""
        fits = (
            (not self.phase or phase_of(job) == self.phase)
            and (not self.flag or is_marked(job, self.flag))
            and self.includes((job.job.type, job.job.account, job.job.region))
            and self.watch in {"", job.watch}
            # A name alone is what the page's addresses took before.
            and (not self.label or self.label in job.labels or has_label(job.labels, self.label))
        )
        if not (fits and self.text):
            return fits
        return holds("\n".join((job.watch, searched_text(job))), self.text)


_FIELDS = fields(JobFilter)


@dataclass(frozen=True, slots=True)
class Matches:
    """One page of the jobs that match; ``first`` counts from 1.

    ``older`` is the cursor of the archived jobs that follow the numbered pages, or empty.
    """

    jobs: Sequence[JobStatus]
    many: int
    first: int
    page: int
    pages: int
    older: str = ""


def choose(
    jobs: Iterable[JobStatus],
    job_filter: JobFilter,
    since: datetime,
    archived: Sequence[JobStatus] = (),
    archived_many: int = 0,
    older: str = "",
) -> Matches:
    """Return one page of ``jobs``, as sorted, or else first those that need attention.

    A failure needs attention if it came after ``since``; older ones rank as other ended jobs.
    Then come the newest changes. ``archived`` are the first of so many others that match, and
    ``older`` is the cursor of the rest.
    """
    matching = [job for job in jobs if job_filter.matches(job)]
    # One that is archived while the page is made is still among the others.
    known = {job.job.key for job in matching}
    archived = [job for job in archived if job.job.key not in known]
    others = {job.job.key for job in archived}
    many = len(matching) + archived_many
    reached = len(matching) + min(archived_many, MOST_ARCHIVED)
    matching += archived
    pages = max(1, -(-reached // PAGE_SIZE))
    page = min(job_filter.page, pages)
    start = (page - 1) * PAGE_SIZE
    by_column = SORTS.get(job_filter.sort)

    def rank(job: JobStatus) -> tuple[Any, ...]:
        # Equal archived jobs stay in the order of the store, on which the next page relies.
        *ranks, key = by_column(job) if by_column else _rank(job, since)
        return *ranks, _LAST if key in others else key

    # Not sorted whole: a sort of a hundred thousand would hold up the event loop, too.
    least = nlargest if job_filter.order == "desc" else nsmallest
    first = least(start + PAGE_SIZE, matching, key=rank)
    older = older if page == pages else ""
    return Matches(first[start:], many, start + 1, page, pages, older)


def is_marked(job: JobStatus, mark: str) -> bool:
    """Return whether a job has one of ``FLAGS`` or ``MARKS``."""
    if mark == "silenced":
        return bool(job.silenced)
    if mark == "acknowledged":
        return job.acknowledged is not None
    if mark == "unacknowledged":
        trouble = job.stuck or job.missing or phase_of(job) in _BAD
        return trouble and job.acknowledged is None
    return bool(getattr(job, FLAGS[mark]))


def has_failed(job: JobStatus, since: datetime) -> bool:
    """Return whether it failed or expired after ``since``."""
    snapshot = job.snapshot
    return snapshot is not None and snapshot.phase in _BAD and snapshot.changed_at >= since


def _rank(job: JobStatus, since: datetime) -> tuple[int, float, str]:
    urgent = job.stuck or job.missing or job.blind or has_failed(job, since)
    # Somebody takes care of it: it need not stand first any more.
    urgent = urgent and job.acknowledged is None
    return (0 if urgent else _RANKS.get(phase_of(job), _ENDED), _since(job), job.job.key)


def _one_of(value: str | None, known: Iterable[str]) -> str:
    return value if value is not None and value in known else ""
