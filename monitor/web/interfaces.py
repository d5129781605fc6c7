"""What the HTTP API asks of the daemon, and nothing more."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from monitor.delivery.replay import Outbox

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence
    from datetime import datetime

    from monitor import model
    from monitor.config import Watch
    from monitor.errors import PollReason


class JobStatus(Protocol):
    """One job of a watch, as it stands; ``interval`` is in seconds."""

    @property
    def job(self) -> model.Job:
        """Which one."""
        ...

    @property
    def watch(self) -> str:
        """The name of its watch."""
        ...

    @property
    def labels(self) -> Mapping[str, str]:
        """The labels of its watch."""
        ...

    @property
    def snapshot(self) -> model.Snapshot | None:
        """What is known of it; ``None`` until AWS has first shown it."""
        ...

    @property
    def interval(self) -> float:
        """What passes between two looks as things stand."""
        ...

    @property
    def looked_at(self) -> datetime | None:
        """When a look was last answered."""
        ...

    @property
    def next_look_at(self) -> datetime | None:
        """An estimate; ``None`` where there is none."""
        ...

    @property
    def failing(self) -> PollReason | None:
        """Why the last look brought nothing."""
        ...

    @property
    def finished(self) -> bool:
        """Whether it is looked at no more."""
        ...

    @property
    def stuck(self) -> bool:
        """Whether its state has not changed for too long."""
        ...

    @property
    def missing(self) -> bool:
        """Whether AWS has said often enough that it does not exist any more."""
        ...

    @property
    def blind(self) -> bool:
        """Whether no look at it has been answered for too long."""
        ...


@dataclass(frozen=True, slots=True)
class Source:
    """How one source stands; rates are in requests per second.

    ``available`` is what the ledger says, ``up`` what the last look brought (``None``
    before the first). ``reason``, ``code`` and ``hint`` are of the last failure. ``rate`` is what
    the quota permits at present, ``request_rate`` what was asked within the last minute.
    """

    source: model.SourceKey
    available: bool
    up: bool | None
    last_success_at: datetime | None
    last_failure_at: datetime | None
    reason: str | None
    code: str | None
    hint: str | None
    rate: float
    configured_rate: float
    request_rate: float
    jobs: int
    listings: Sequence[Listing] = ()


@dataclass(frozen=True, slots=True)
class Listing:
    """How the sweeps of one listing of a source end.

    ``complete`` says whether the last one came to its end, ``None`` before the first;
    ``last_complete_at`` is when one last did. ``reason``, ``code`` and ``hint`` say why a page
    failed since.
    """

    type: str
    complete: bool | None
    last_complete_at: datetime | None
    reason: str | None
    code: str | None
    hint: str | None


@dataclass(frozen=True, slots=True)
class Sink:
    """What a configured sink is, and what came of its last attempts since the start."""

    name: str
    type: str
    last_delivered_at: datetime | None
    last_error_at: datetime | None
    last_error: str | None
    failing_since: datetime | None = None
    """When something was first not taken, since something was taken."""


@dataclass(frozen=True, slots=True)
class Status:
    """How the daemon itself stands; ``last_pass_age`` is in seconds."""

    version: str
    started_at: datetime
    config_loaded_at: datetime | None
    config_refused: Sequence[str]
    last_pass_age: float


class Live(Protocol):
    """What the running daemon knows at this moment."""

    def jobs(self) -> Iterable[JobStatus]:
        """Every job of a watch, in no order; may be asked from another thread."""
        ...

    def job(self, key: str) -> JobStatus | None:
        """One job of a watch, by its key."""
        ...

    def sources(self) -> Sequence[Source]:
        """Every source that is asked."""
        ...

    def sinks(self) -> Sequence[Sink]:
        """Every sink that is configured."""
        ...

    def config(self) -> Mapping[str, Any]:
        """The configuration in effect, without secrets, as JSON values."""
        ...

    def status(self) -> Status:
        """How the daemon stands."""
        ...

    def wake(self, sink: str) -> None:
        """Let a sink look at what it has to send."""
        ...


class Watches(Protocol):
    """What is watched, and what may be added to it."""

    def own(self) -> Sequence[Watch]:
        """Return the watches of the configuration."""
        ...

    async def all(self) -> Sequence[model.AddedWatch]:
        """Return those that were added at run time, in that order."""
        ...

    async def add(self, value: Mapping[str, Any], /) -> model.AddedWatch | None:
        """Add one; ``None`` if its name is taken. Raises ConfigurationError or StoppingError."""
        ...

    async def remove(self, name: str, /) -> bool:
        """Remove what was added; ``False`` if there is none. Raises as ``add`` does."""
        ...


class Ledger(Outbox, Protocol):
    """The store, as far as the API reads it and writes to it; raises StoreError."""

    async def position(self) -> int:
        """The position of the newest transition; 0 if there is none."""
        ...

    async def transitions(
        self,
        *,
        after: int = 0,
        limit: int = 100,
        key: str | None = None,
        kinds: Collection[str] | None = None,
        since: datetime | None = None,
        until: int | None = None,
    ) -> Sequence[tuple[int, dict[str, Any]]]:
        """(position, CloudEvent) of transitions later than a position, in order."""
        ...

    async def deliveries(
        self,
        sink: str | None = None,
        status: model.DeliveryStatus | None = None,
        limit: int = 100,
        job: str | None = None,
        before: int | None = None,
    ) -> Sequence[model.StoredDelivery]:
        """Deliveries as they stand, newest first."""
        ...

    async def later(self, sequences: Mapping[str, int]) -> Sequence[tuple[int, dict[str, Any]]]:
        """(position, CloudEvent) of transitions of at most 100 jobs later than a sequence."""
        ...

    async def deliveries_of(self, positions: Collection[int]) -> Sequence[model.StoredDelivery]:
        """Return the deliveries of at most 500 transitions as they stand, by sink."""
        ...

    async def snapshot(self, key: str) -> model.Snapshot | None:
        """One job by its key."""
        ...

    async def last_change(self, key: str) -> dict[str, Any] | None:
        """The CloudEvent with which the present state of a job was told."""
        ...

    async def backlog(self) -> Sequence[model.Backlog]:
        """What each sink still has to tell."""
        ...

    async def parkings(self) -> Sequence[model.Parking]:
        """The sinks that are parked."""
        ...

    async def resume(self, sink: str) -> bool:
        """Park a sink no more; ``False`` if it was not parked."""
        ...
