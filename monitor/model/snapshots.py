"""Jobs and sources, and what is known of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import orjson

if TYPE_CHECKING:
    from collections.abc import Mapping

    from monitor.model.kinds import Ending, Phase, Severity

_NONE: Mapping[str, int] = MappingProxyType({})
_NEVER: Mapping[str, tuple[datetime, datetime]] = MappingProxyType({})
"""Both are shared by all jobs that have not ended before: there may be many."""


@dataclass(frozen=True, slots=True)
class SourceKey:
    """One service of one account in one region: what is available or not, and has a quota."""

    service: str
    account: str
    region: str

    @property
    def key(self) -> str:
        """The identity used in the ledger, distinct from every job key."""
        return f"source:{self.service}/{self.account}/{self.region}"


@dataclass(frozen=True, slots=True)
class Job:
    """One AWS job, named as its users name it."""

    type: str
    account: str
    region: str
    id: str
    _key: str = field(init=False, repr=False, compare=False, default="")

    @property
    def key(self) -> str:
        """``type/account/region/id``; the id comes last, as it may contain slashes."""
        if not self._key:
            # Kept: several maps of all jobs have the same text as their key.
            key = f"{self.type}/{self.account}/{self.region}/{self.id}"
            object.__setattr__(self, "_key", key)
        return self._key


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The last known state of a job.

    ``sequence`` counts its transitions from 1 without gaps. ``looked_at`` is when
    the last poll with this state was *sent*: the state was true at that time
    or later. ``changed_at`` is when the present state was first seen, ``ended_at``
    when the job was first seen in its present terminal phase. These are for people;
    ``own_changed`` and ``own_ended`` are the same in the store's own time, by which it is decided
    whether a job is stuck or has ended for long enough. They are ``None`` where an earlier
    version saw it. ``baseline`` is set while the phase is still the one in which a baseline found
    the job. ``earlier_ends`` counts the ends before the present phase, by phase, and
    ``earlier_ended`` tells when the last of each was seen (by the wall clock, and in own time).
    ``describe_owed`` says that the last change was seen in a listing alone, so that what only a
    describe tells is still to follow. ``parent`` is the one for which a listing has shown the job.
    ``own_reminded`` is when a stuck job was last reported as such, in the store's own time.
    """

    job: Job
    parts: Mapping[str, str | None]
    state: str
    phase: Phase
    severity: Severity
    ending: Ending
    fields: Mapping[str, Any]
    reason: str | None
    updated_at: datetime | None
    sequence: int
    first_seen_at: datetime
    changed_at: datetime
    looked_at: datetime
    ended_at: datetime | None = None
    missing: bool = False
    stuck: bool = False
    own_changed: datetime | None = None
    own_ended: datetime | None = None
    baseline: bool = False
    earlier_ends: Mapping[str, int] = field(default_factory=lambda: _NONE)
    describe_owed: bool = False
    parent: str | None = None
    earlier_ended: Mapping[str, tuple[datetime, datetime]] = field(default_factory=lambda: _NEVER)
    own_reminded: datetime | None = None

    @property
    def has_ended(self) -> bool:
        """Whether the job was seen to end; what a baseline found at its end was not."""
        return self.phase.terminal and not self.baseline

    @property
    def ends(self) -> Mapping[str, int]:
        """Count how often the job was seen to end, by the phase that it came to."""
        found = dict(self.earlier_ends)
        if self.has_ended:
            found[self.phase.value] = found.get(self.phase.value, 0) + 1
        return found


@dataclass(frozen=True, slots=True)
class SourceState:
    """The availability of a source, as last recorded."""

    source: SourceKey
    available: bool
    sequence: int
    changed_at: datetime
    looked_at: datetime


def searched_text(key: str, state: str, reason: str | None) -> str:
    """Return the text of a job that a search for text goes through, beside its labels."""
    return f"{key}\n{state}\n{reason or ''}"


# Values that many jobs share
#
# Of a hundred thousand jobs, each would else keep its own. Nobody changes what is shared. Values
# that were not met for long are forgotten here.


@lru_cache(maxsize=4096)
def shared_text(text: str) -> str:
    """Return one object for all texts that are the same, as most states and names are."""
    return text


@lru_cache(maxsize=1024)
def shared_time(text: str | None) -> datetime | None:
    """Read a time; of one job several are the same, and then are one object."""
    return None if text is None else datetime.fromisoformat(text)


def shared_parts(raw: Mapping[str, str | None]) -> Mapping[str, str | None]:
    """Return the mapping that all jobs with these parts share."""
    return _parts_of(*raw.items())


@lru_cache(maxsize=1024)
def _parts_of(*items: tuple[str, str | None]) -> Mapping[str, str | None]:
    return dict(items)


def shared_fields(raw: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the mapping that all jobs with these fields share; the values are JSON values."""
    # By their JSON: 1 and true are equal, but not the same.
    return _fields_of(orjson.dumps(raw))


@lru_cache(maxsize=1024)
def _fields_of(text: bytes) -> Mapping[str, Any]:
    return {
        shared_text(name): shared_text(value) if isinstance(value, str) else value
        for name, value in orjson.loads(text).items()
    }
