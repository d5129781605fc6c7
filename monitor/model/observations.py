"""What polls and sweeps show, and what that is compared with."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

    from monitor.model.kinds import Archived, Ending, Phase, Severity
    from monitor.model.snapshots import Job, Snapshot


@dataclass(frozen=True, slots=True)
class Observation:
    """One job as one poll saw it.

    ``parts`` maps each part of the job type's state to its value, in the declared
    order; ``None`` where this poll did not bring it (an error that is a state brings
    only its own part). ``fields`` holds only what may be kept; a missing
    field was not reported, a field that is ``None`` was reported as empty. ``unreadable`` names
    what the answer has in a form that cannot be read: fields, ``reason``, ``updated_at`` or
    ``created_at``; none of it counts as reported. ``parent`` is the one for which it was listed.
    """

    job: Job
    asked_at: datetime
    seen_at: datetime
    parts: Mapping[str, str | None]
    fields: Mapping[str, Any]
    reason: str | None = None
    updated_at: datetime | None = None
    created_at: datetime | None = None
    unreadable: tuple[str, ...] = ()
    parent: str | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """The classification of a state by its job type."""

    state: str
    phase: Phase
    severity: Severity
    ending: Ending
    classified: bool


@dataclass(frozen=True, slots=True)
class SkippedRow:
    """A row that is not a job; ``position`` counts from 0, ``code`` names the check that failed."""

    position: int
    code: str


@dataclass(frozen=True, slots=True)
class ParentPage:
    """One page of parents, such as clusters; the other fields are those of ``Page``."""

    names: tuple[str, ...]
    next_token: str | None
    torn: bool = False


@dataclass(frozen=True, slots=True)
class ListingRequest:
    """What a page is asked of: a listing of the type by its number, and for which parent.

    ``since`` is the creation time before which jobs need not be listed.
    """

    number: int = 0
    parent: str | None = None
    since: datetime | None = None


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a listing; ``next_token`` is ``None`` on the last one.

    ``torn`` marks a page that says there is more without saying where, so that the
    listing cannot be called complete. ``skipped`` are the rows that could not be read.
    """

    rows: tuple[Observation, ...]
    next_token: str | None
    torn: bool = False
    skipped: tuple[SkippedRow, ...] = ()


@dataclass(frozen=True, slots=True)
class ArchiveMark:
    """Where to keep a job from now on, if ``sequence`` is still that of its snapshot."""

    key: str
    sequence: int
    archived: Archived
    looked_at: datetime


@dataclass(frozen=True, slots=True)
class ArchivedRow:
    """Of an archived job, what a row of a listing is compared with.

    One that is not ``settled`` must be polled again as soon as it is listed.
    """

    parts: Mapping[str, str | None]
    updated_at: datetime | None
    looked_at: datetime
    missing: bool
    settled: bool


@dataclass(frozen=True, slots=True)
class ArchivedFilter:
    """What archived jobs are searched for; ``None`` is not asked for.

    ``text`` is in ``searched_text``, whatever its case. ``takes_state`` decides on a state. The
    present state was first seen at ``changed_since`` or later, and at ``changed_before`` or
    earlier.
    """

    text: str | None = None
    takes_state: Callable[[str], bool] | None = None
    changed_since: datetime | None = None
    changed_before: datetime | None = None


@dataclass(frozen=True, slots=True)
class ArchivedPage:
    """Archived jobs, each with its rank in the order of the list.

    ``last`` is the rank up to which was searched; ``None`` if there is nothing more.
    """

    found: list[tuple[tuple[Any, ...], Snapshot]]
    last: tuple[Any, ...] | None


@dataclass(frozen=True, slots=True)
class Baseline:
    """How far the first sweep of one discovery at one place has come.

    ``discover`` is the discovery in its one canonical form. ``awaited`` are the ids of jobs
    that a sweep found but nobody had recorded when this was written; the value says whether
    the listing showed the job open.
    """

    type: str
    account: str
    region: str
    discover: str
    begun_at: datetime
    completed_at: datetime | None = None
    awaited: Mapping[str, bool] = field(default_factory=dict)
