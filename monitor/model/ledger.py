"""What the ledger holds: transitions, their deliveries, and what people add."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from monitor.model.kinds import DeliveryStatus, Kind, Severity
    from monitor.model.snapshots import Job, Snapshot, SourceKey, SourceState


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


# A tuple: a page has many, and a frozen dataclass takes thrice as long to make.
class StoredDelivery(NamedTuple):
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
    """The last owner of a source or sink: its id, empty if it gave it up, and its last report."""

    replica: str
    alive_at: datetime | None
    state: str


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
