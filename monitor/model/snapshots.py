"""Jobs and sources, and what is known of them."""

from __future__ import annotations

from collections import namedtuple
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache, partial
from operator import attrgetter
from struct import Struct, pack
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import orjson

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from monitor.model.kinds import Ending, Phase, Severity

T = TypeVar("T")

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

    @property
    def key(self) -> str:
        """``type/account/region/id``; the id comes last, as it may contain slashes."""
        return f"{self.type}/{self.account}/{self.region}/{self.id}"

    @classmethod
    def of(cls, key: str) -> Job | None:
        """Return the job with a key; ``None`` if that is the key of something else."""
        parts = key.split("/", 3)
        return cls(*parts) if len(parts) == _PARTS else None


_PARTS = 4
"""Parts of the key of a job; that of a source has fewer."""


class JobMap(Generic[T]):
    """Values by job: as a dictionary, without a text of the whole key for each job."""

    __slots__ = ("_places",)

    def __init__(self) -> None:
        """Start empty."""
        self._places: dict[tuple[str, str, str], dict[str, T]] = {}

    def __len__(self) -> int:
        """Return the number of jobs."""
        return sum(map(len, self._places.values()))

    def __contains__(self, job: Job) -> bool:
        """Return whether a job has a value."""
        return job.id in self._places.get((job.type, job.account, job.region), ())

    def get(self, job: Job) -> T | None:
        """Return the value of a job, if it has one."""
        try:  # most have one
            return self._places[job.type, job.account, job.region][job.id]
        except KeyError:
            return None

    def __setitem__(self, job: Job, value: T) -> None:
        """Give a job a value, in place of any that it had."""
        values = self._places.get((job.type, job.account, job.region))
        if values is None:
            values = self._places[job.type, job.account, job.region] = {}
        values[job.id] = value

    def pop(self, job: Job) -> None:
        """Forget the value of a job, if it has one."""
        values = self._places.get((job.type, job.account, job.region))
        if values is not None:
            values.pop(job.id, None)
            if not values:
                del self._places[job.type, job.account, job.region]

    def values(self) -> Sequence[T]:
        """Return a copy of the values, from any thread: of each place, it is made in one step."""
        return [value for values in list(self._places.values()) for value in list(values.values())]


class Snapshot:  # noqa: PLW1641 -- its mappings have no hash
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

    There may be a hundred thousand, so one takes little: what many jobs have in common is kept once
    for all of them, and the times are numbers side by side. It is not a dataclass, as orjson would
    read the memory of times that are gone by then.
    """

    __slots__ = ("_common", "_times", "fields", "job", "reason")

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
    ended_at: datetime | None
    missing: bool
    stuck: bool
    own_changed: datetime | None
    own_ended: datetime | None
    baseline: bool
    earlier_ends: Mapping[str, int]
    describe_owed: bool
    parent: str | None
    earlier_ended: Mapping[str, tuple[datetime, datetime]]
    own_reminded: datetime | None

    _common: tuple[Any, ...]
    _times: bytes

    def __init__(  # noqa: PLR0913 -- its fields
        self,
        *,
        job: Job,
        parts: Mapping[str, str | None],
        state: str,
        phase: Phase,
        severity: Severity,
        ending: Ending,
        fields: Mapping[str, Any],
        reason: str | None,
        updated_at: datetime | None,
        sequence: int,
        first_seen_at: datetime,
        changed_at: datetime,
        looked_at: datetime,
        ended_at: datetime | None = None,
        missing: bool = False,
        stuck: bool = False,
        own_changed: datetime | None = None,
        own_ended: datetime | None = None,
        baseline: bool = False,
        earlier_ends: Mapping[str, int] = _NONE,
        describe_owed: bool = False,
        parent: str | None = None,
        earlier_ended: Mapping[str, tuple[datetime, datetime]] = _NEVER,
        own_reminded: datetime | None = None,
    ) -> None:
        """Share what other jobs have as well."""
        self.job = job
        self.fields = fields
        self.reason = reason
        values = (
            parts, earlier_ends, earlier_ended, state, phase, severity, ending, sequence, missing,
            stuck, baseline, describe_owed, parent,
        )  # fmt: skip
        # Mappings by identity: as long as one is kept here, no other has its id.
        key = (*map(id, values[:3]), *values[3:])
        common = _SHARED.get(key)
        if common is None:
            if len(_SHARED) >= _MOST_SHARED:
                _SHARED.clear()
            common = _SHARED[key] = _Common._make(values)
        self._common = common
        times = [
            looked_at, first_seen_at, changed_at, own_changed, updated_at, ended_at, own_ended,
            own_reminded,
        ]  # fmt: skip
        while times[-1] is None:
            times.pop()  # few jobs have these
        self._times = pack(
            f"{len(times)}q",
            *(_NO_TIME if time is None else (time - _EPOCH) // _MICROSECOND for time in times),
        )

    def __eq__(self, other: object) -> bool:
        """Compare all that it says."""
        if not isinstance(other, Snapshot):
            return NotImplemented
        return self.is_like(other) and self._times == other._times

    def __repr__(self) -> str:
        """Return all values, as a dataclass does."""
        values = (f"{name}={value!r}" for name, value in self.as_dict().items())
        return f"Snapshot({', '.join(values)})"

    def as_dict(self) -> dict[str, Any]:
        """Return its values by name."""
        return {name: getattr(self, name) for name in SNAPSHOT_FIELDS}

    def replace(self, **changes: Any) -> Snapshot:
        """Return another one with some values changed."""
        return Snapshot(**self.as_dict() | changes)

    def note_poll(self, asked_at: datetime) -> None:
        """Move ``looked_at`` on: the last poll, sent at this time, has shown this state again.

        This alone changes of a snapshot.
        """
        self._times = _ONE.pack((asked_at - _EPOCH) // _MICROSECOND) + self._times[_ONE.size :]

    def is_like(self, other: Snapshot) -> bool:
        """Return whether both say the same, ``looked_at`` aside."""
        return (
            self._common == other._common
            and self._times[_ONE.size :] == other._times[_ONE.size :]
            and (self.job, self.reason, self.fields) == (other.job, other.reason, other.fields)
        )

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


# How a snapshot keeps its values: what many jobs share in one tuple, the times as numbers.

_COMMON = ("parts", "earlier_ends", "earlier_ended", "state", "phase", "severity", "ending",
           "sequence", "missing", "stuck", "baseline", "describe_owed", "parent")  # fmt: skip
_TIMES = ("looked_at", "first_seen_at", "changed_at", "own_changed", "updated_at", "ended_at",
          "own_ended", "own_reminded")  # fmt: skip
_ONE = Struct("q")
_EPOCH, _MICROSECOND = datetime(1970, 1, 1, tzinfo=UTC), timedelta(microseconds=1)
_NO_TIME = -(2**63)


_Common = namedtuple("_Common", _COMMON)  # type: ignore[misc]  # noqa: PYI024 -- names above
_SHARED: dict[tuple[Any, ...], tuple[Any, ...]] = {}
_MOST_SHARED = 4096


def _time_at(at: int, snapshot: Snapshot) -> datetime | None:
    """Return a time of a snapshot; each read makes another object."""
    times = snapshot._times  # noqa: SLF001 -- it is a part of the class
    if at >= len(times):
        return None
    (number,) = _ONE.unpack_from(times, at)
    return None if number == _NO_TIME else _EPOCH + number * _MICROSECOND


SNAPSHOT_FIELDS = (
    "job", "parts", "state", "phase", "severity", "ending", "fields", "reason", "updated_at",
    "sequence", "first_seen_at", "changed_at", "looked_at", "ended_at", "missing", "stuck",
    "own_changed", "own_ended", "baseline", "earlier_ends", "describe_owed", "parent",
    "earlier_ended", "own_reminded",
)  # fmt: skip
"""The values of a snapshot, in the order in which they are stored."""

for _name in _COMMON:
    setattr(Snapshot, _name, property(attrgetter(f"_common.{_name}")))
for _number, _name in enumerate(_TIMES):
    setattr(Snapshot, _name, property(partial(_time_at, _number * _ONE.size)))


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
