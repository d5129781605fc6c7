"""The values that flow through the monitor: frozen, and free of I/O.

Every ``datetime`` here is timezone-aware and in UTC.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import datetime
from enum import IntEnum, StrEnum
from functools import lru_cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import orjson

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from collections.abc import Set as AbstractSet

_NONE: Mapping[str, int] = MappingProxyType({})
_NEVER: Mapping[str, tuple[datetime, datetime]] = MappingProxyType({})
"""Both are shared by all jobs that have not ended before: there may be many."""


class Phase(StrEnum):
    """What a job's state means, whatever its service calls it."""

    WAITING = "waiting"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELED = "canceled"
    EXPIRED = "expired"
    UNKNOWN = "unknown"

    @property
    def terminal(self) -> bool:
        """Whether the work itself is over, well or badly."""
        return self in TERMINAL


PHASE_PART = "(phase)"
"""The part of a state that holds its phase, where the rest of a response decides that."""

TERMINAL = frozenset({Phase.SUCCEEDED, Phase.FAILED, Phase.CANCELED, Phase.EXPIRED})


class Kind(StrEnum):
    """The kind of change that a transition reports."""

    DISCOVERED = "job.discovered"
    STATE_CHANGED = "job.state_changed"
    UPDATED = "job.updated"
    MISSING = "job.missing"
    REAPPEARED = "job.reappeared"
    STUCK = "job.stuck"
    UNSTUCK = "job.unstuck"
    REMINDER = "job.reminder"
    SOURCE_UNAVAILABLE = "source.unavailable"
    SOURCE_RECOVERED = "source.recovered"


class Severity(StrEnum):
    """The urgency of a transition."""

    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class Ending(StrEnum):
    """Whether a job can still change.

    ``GRACE``: the work is over, but the service may still report something
    (a device on its way back), so the job is polled slowly for a while.
    """

    OPEN = "open"
    GRACE = "grace"
    FINAL = "final"


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


class Archived(IntEnum):
    """Where a job is kept, as the store notes it.

    A ``LIVE`` one is in the memory of the daemon that follows it. The others are in the store
    alone: ``ENDED`` was seen to end, ``BASELINE`` was found at its end by a baseline, and
    ``UNWATCHED`` is followed by no watch.
    """

    UNWATCHED = -1
    LIVE = 0
    ENDED = 1
    BASELINE = 2


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
class ArchivedPage:
    """Archived jobs, each with its rank in the order of the list.

    ``last`` is the rank up to which was searched; ``None`` if there is nothing more.
    """

    found: list[tuple[tuple[Any, ...], Snapshot]]
    last: tuple[Any, ...] | None


@dataclass(frozen=True, slots=True)
class SourceState:
    """The availability of a source, as last recorded."""

    source: SourceKey
    available: bool
    sequence: int
    changed_at: datetime
    looked_at: datetime


@dataclass(frozen=True, slots=True)
class Change:
    """One field that differs between two snapshots; the values are JSON values."""

    field: str
    before: Any
    after: Any


@dataclass(frozen=True, slots=True)
class StateAndPhase:
    """State and phase at one moment."""

    state: str
    phase: str


@dataclass(frozen=True, slots=True)
class Transition:
    """One row of the ledger: what changed between two snapshots, and between which polls.

    ``after`` and ``before`` bound the moment of the change: it happened later than
    ``after`` (``None`` at first sight) and no later than ``before``. ``baseline`` marks the
    discovery of a job that was there before it was watched: recorded, and never sent.
    """

    subject: Job | SourceKey
    service: str
    sequence: int
    kind: Kind
    previous: StateAndPhase | None
    current: StateAndPhase
    changes: tuple[Change, ...]
    after: datetime | None
    before: datetime
    severity: Severity
    reason: str | None
    occurred_at: datetime | None
    fields: Mapping[str, Any]
    labels: Mapping[str, str]
    baseline: bool = False


@dataclass(frozen=True, slots=True)
class Entry:
    """One atomic addition to the ledger.

    The snapshot is stored only if its stored sequence is still ``expected``
    (0: not stored yet). ``sinks[i]`` names the sinks that transition ``i`` goes to, ``held[i]``
    what silences it, if anything does; without any, ``held`` may be empty.
    """

    snapshot: Snapshot | SourceState
    expected: int
    transitions: tuple[Transition, ...]
    sinks: tuple[tuple[str, ...], ...]
    held: tuple[str | None, ...] = ()

    @property
    def silenced(self) -> tuple[str | None, ...]:
        """What silences each transition; ``None`` where nothing does."""
        return self.held or (None,) * len(self.transitions)


@dataclass(frozen=True, slots=True)
class Delivery:
    """One transition on its way to one sink.

    ``event`` is the CloudEvent as it will be sent; ``key`` is the key of the job
    (or source) it is about, within which order is kept. ``attempts`` counts
    the attempts so far, all of which failed. Both times are the store's own, which no wall
    clock moves.
    """

    id: int
    sink: str
    key: str
    event: Mapping[str, Any]
    attempts: int
    created_at: datetime
    due_at: datetime


class DeliveryStatus(StrEnum):
    """The status of a delivery.

    ``silenced``: held by a silence or a maintenance window; not sent, unless it is still true at
    the end of that. ``discarded``: was dead, until somebody said that it need not be sent.
    """

    PENDING = "pending"
    DELIVERED = "delivered"
    DEAD = "dead"
    SILENCED = "silenced"
    DISCARDED = "discarded"


@dataclass(frozen=True, slots=True)
class StoredDelivery:
    """One delivery with its status, for people to read.

    ``due_at`` is ``None`` where it is settled, or waits behind an earlier one of its job.
    ``attempts`` counts those of which the end is known, the one that was taken included.
    ``silenced_by`` is the id of the silence that holds or held it, or ``maintenance:`` and the
    name of a watch. One that is silenced without ``settled_at`` may still be sent.
    """

    id: int
    position: int
    sink: str
    key: str
    event_id: str
    kind: str
    status: DeliveryStatus
    attempts: int
    created_at: datetime
    due_at: datetime | None
    settled_at: datetime | None
    last_error: str | None
    replayed: bool
    silenced_by: str | None = None


@dataclass(frozen=True, slots=True)
class Settlement:
    """The outcome of one attempt to deliver.

    ``at`` is by the wall clock. ``due_at``, in the store's own time, is set where the delivery
    stays pending. ``error`` is a short text
    without secrets. What is given up without having been tried is not ``attempted``.
    """

    delivery: Delivery
    status: DeliveryStatus
    at: datetime
    due_at: datetime | None = None
    error: str | None = None
    attempted: bool = True


@dataclass(frozen=True, slots=True)
class Parking:
    """A sink that gets nothing until somebody resumes it; ``reason`` holds no secret."""

    sink: str
    at: datetime
    reason: str


@dataclass(frozen=True, slots=True)
class Silence:
    """Transitions that are recorded and not sent from ``starts_at`` until ``ends_at``.

    A transition is silenced if any of ``match`` matches it; each is as it would be written. The
    times are the wall clock's.
    """

    id: str
    match: tuple[Mapping[str, Any], ...]
    starts_at: datetime
    ends_at: datetime
    author: str
    comment: str

    def status(self, now: datetime) -> str:
        """Return ``pending``, ``active`` or ``expired``."""
        if now < self.starts_at:
            return "pending"
        return "active" if now < self.ends_at else "expired"


@dataclass(frozen=True, slots=True)
class Acknowledgement:
    """The note that somebody takes care of a job, as it is after the transition ``sequence``."""

    key: str
    sequence: int
    author: str
    comment: str
    at: datetime


@dataclass(frozen=True, slots=True)
class RuntimeWatch:
    """A run-time watch; ``settings`` is as it would be written."""

    name: str
    settings: Mapping[str, Any]
    added_at: datetime


@dataclass(frozen=True, slots=True)
class StoreOutage:
    """A time at which the server of the store cannot be reached.

    ``since`` is its beginning by the wall clock, ``reason`` the last error, on one line.
    """

    since: datetime
    reason: str


@dataclass(frozen=True, slots=True)
class Replica:
    """A process that shares the store with others.

    ``beat`` counts its signs of life; ``connected`` says that its session lasts. ``generation``
    names its configuration, ``wants`` the sources and sinks of that, ``owned`` those it owns.
    """

    id: str
    name: str
    version: str
    started_at: datetime
    seen_at: datetime
    beat: int
    pid: int
    session_began: int
    connected: bool
    generation: str = ""
    wants: tuple[str, ...] = ()
    owned: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class FormerOwner:
    """The last owner of a source or sink: its id, empty if it gave it up, and what it told."""

    replica: str
    alive_at: datetime | None
    state: str


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


@dataclass(frozen=True, slots=True)
class Backlog:
    """The deliveries that one sink still has to make, and since when the oldest has waited.

    ``oldest_at`` is as long ago as a daemon has tried, and never in the future: a wall clock that
    was set moves it along.
    ``failing_since`` is when the oldest delivery was recorded that was tried in vain and still
    waits, ``tried_at`` when the newest of them was, ``last_error`` what such a delivery met.
    """

    sink: str
    pending: int
    oldest_at: datetime | None
    dead: int
    failing_since: datetime | None = None
    last_error: str | None = None
    tried_at: datetime | None = None


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


# The labels of watches on metrics

Place = tuple[str, str, str]
"""Type, account and region."""

MOST_WATCH_LABELS = 5
MOST_LABEL_VALUES = 50
"""Values of one label that have series of their own: the first ones in the configuration."""
OTHER_VALUE = "other"
"""Stands for every further value."""

TAKEN_LABELS = frozenset(
    # Of the metrics that carry the labels of watches, and of every series that is scraped.
    {"type", "account", "region", "phase", "kind", "watch", "job", "instance", "le", "quantile"}
)
"""Names that a label of a watch cannot have on metrics."""


def label_column(label: str) -> str:
    """Return the name under which a label of a watch stands on metrics."""
    name = re.sub("[^a-zA-Z0-9_]", "_", label)
    return f"_{name}" if name[:1].isdigit() else name


@dataclass(frozen=True, slots=True)
class WatchLabels:
    """The chosen labels with their values; immutable, so that a scrape sees one state of them."""

    names: tuple[str, ...] = ()
    known: tuple[frozenset[str], ...] = ()
    """The values of each label that have series of their own."""
    places: Mapping[Place, AbstractSet[tuple[str, ...]]] = field(default_factory=dict)
    """Place → the values that the watches there have."""

    @classmethod
    def of(
        cls, names: Sequence[str], watched: Iterable[tuple[Place, Mapping[str, str]]]
    ) -> WatchLabels:
        """Choose the labels ``names``; ``watched`` are the places and labels of the watches."""
        if not names:
            return cls()
        given = list(watched)
        known = []
        for name in names:
            values = dict.fromkeys(labels[name] for _, labels in given if labels.get(name))
            known.append(frozenset([*values][:MOST_LABEL_VALUES]))
        bare = cls(tuple(names), tuple(known))
        places: dict[Place, set[tuple[str, ...]]] = {}
        for place, labels in given:
            places.setdefault(place, set()).add(bare.values(labels))
        return cls(bare.names, bare.known, places)

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of the labels on metrics."""
        return tuple(map(label_column, self.names))

    def values(self, labels: Mapping[str, str]) -> tuple[str, ...]:
        """Return the values on metrics; empty where a watch does not have the label."""
        given = [labels.get(name, "") for name in self.names]
        return tuple(
            value if value in known or not value else OTHER_VALUE
            for value, known in zip(given, self.known, strict=True)
        )

    def at(self, place: Place) -> AbstractSet[tuple[str, ...]]:
        """Return the values whose series exist from the start at a place."""
        return self.places.get(place) or {("",) * len(self.names)}


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
