"""What the HTTP API needs of the daemon, and nothing more."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from monitor.delivery.replay import Outbox

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence
    from datetime import datetime

    from monitor import model
    from monitor.config import Watch
    from monitor.interfaces import JobStatus
    from monitor.web.api.job_schemas import PollOutcome
    from monitor.web.api.schemas import ReplicaView, SourceView


@dataclass(frozen=True, slots=True)
class SinkAttempts:
    """A configured sink and its last attempts since the start."""

    name: str
    type: str
    last_delivered_at: datetime | None
    last_error_at: datetime | None
    last_error: str | None
    failing_since: datetime | None = None
    """When an attempt first failed since the last success."""
    replica: str | None = None
    """The replica that delivers to it, where there may be several."""


@dataclass(frozen=True, slots=True)
class StatusReport:
    """The status of the daemon itself; ``last_pass_age`` is in seconds.

    ``replica`` is its name where several may share the store, ``generation`` names its
    configuration.
    """

    version: str
    started_at: datetime
    config_loaded_at: datetime | None
    config_refused: Sequence[str]
    last_pass_age: float
    replica: str | None = None
    generation: str = ""


class Live(Protocol):
    """What the running daemon knows at this moment."""

    def jobs(self) -> Iterable[JobStatus]:
        """Return every job of a watch, in no order; may be called from another thread."""
        ...

    def job(self, key: str) -> JobStatus | None:
        """Return one job of a watch, by its key."""
        ...

    def archived(self) -> Mapping[tuple[tuple[str, str, str], model.Phase], int]:
        """Return how many followed jobs only the store has, by place and phase; any thread."""
        ...

    def archived_elsewhere(self) -> bool:
        """Return whether the store has others at places that no watch discovers now."""
        ...

    def remembered(self, known: model.Snapshot) -> JobStatus | None:
        """Return the status of a job that only the store has, if a watch follows it."""
        ...

    def discovering(self, place: tuple[str, str, str]) -> Mapping[str, Mapping[str, str]]:
        """Return the watches that discover jobs at a place, with their labels; from any thread."""
        ...

    def awaited(self, key: str, seconds: float, /) -> None:
        """Note that somebody waits for a job for so long."""
        ...

    async def poll(self, key: str, within: float, /) -> PollOutcome | None:
        """Poll a job as soon as its quota permits; ``None`` if it is not polled any more."""
        ...

    def sources(self) -> Sequence[SourceView]:
        """Return every source that is polled."""
        ...

    def sinks(self) -> Sequence[SinkAttempts]:
        """Return every sink that is configured."""
        ...

    def replicas(self) -> Sequence[ReplicaView]:
        """Return the replicas that share the store; none if it cannot be shared."""
        ...

    def config(self) -> Mapping[str, Any]:
        """Return the configuration in effect, without secrets, as JSON values."""
        ...

    def status(self) -> StatusReport:
        """Return the status of the daemon itself."""
        ...

    def console(self, job: model.Job, fields: Mapping[str, Any], /) -> str | None:
        """Return the link to a job in the AWS console, if there is one."""
        ...

    def acknowledgement(self, key: str) -> model.Acknowledgement | None:
        """Return the acknowledgement of a job, followed or not."""
        ...

    def wake(self, sink: str) -> None:
        """Let a sink check for pending deliveries."""
        ...

    def count_discarded(self, sink: str, many: int) -> None:
        """Count deliveries that somebody discarded."""
        ...


class Watches(Protocol):
    """The watches, and their changes at run time."""

    def own(self) -> Sequence[Watch]:
        """Return the watches of the configuration."""
        ...

    async def all(self) -> Sequence[model.RuntimeWatch]:
        """Return those that were added at run time, in that order."""
        ...

    async def add(self, value: Mapping[str, Any], /) -> model.RuntimeWatch | None:
        """Add one; ``None`` if its name is taken. Raises ConfigurationError or StoppingError."""
        ...

    def waited(self, name: str, /) -> None:
        """Note that somebody waits for a job of the watch ``name`` now."""
        ...

    async def remove(self, name: str, /) -> bool:
        """Remove what was added; ``False`` if there is none. Raises as ``add`` does."""
        ...


class ArchivedJobs(Protocol):
    """The jobs that only the store remembers; raises StoreError."""

    async def page(
        self,
        order: str,
        places: Collection[tuple[str, str, str]],
        phases: Collection[model.Phase],
        *,
        down: bool = False,
        every_place: bool = True,
        after: tuple[Any, ...] | None = None,
        until: tuple[Any, ...] | None = None,
        limit: int = 1000,
        having: model.ArchivedFilter = ...,
    ) -> model.ArchivedPage:
        """Return a page of the archived jobs of some places and phases."""
        ...

    async def with_id(self, name: str) -> Sequence[model.Snapshot]:
        """Return the archived jobs with a key or id."""
        ...


class Quieting(Protocol):
    """The silences and acknowledgements, and their changes."""

    def silences(self) -> Sequence[model.Silence]:
        """Return every silence, the one that ends last first."""
        ...

    async def add(self, silence: model.Silence) -> None:
        """Store a silence, and let it hold from its beginning."""
        ...

    async def expire(self, silence_id: str) -> model.Silence | None:
        """End a silence now; ``None`` if there is none of that id."""
        ...

    async def acknowledge(self, key: str, author: str, comment: str) -> bool | None:
        """Acknowledge a job; ``None`` if there is nothing to acknowledge."""
        ...

    async def withdraw(self, key: str) -> bool:
        """Withdraw an acknowledgement; ``False`` if there was none."""
        ...


class Ledger(Outbox, Protocol):
    """The store, as far as the API reads it and writes to it; raises StoreError."""

    @property
    def archive(self) -> ArchivedJobs:
        """The jobs that only the store remembers."""
        ...

    async def position(self) -> int:
        """Return the position of the newest transition; 0 if there is none."""
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
        """Return (position, CloudEvent) of transitions later than a position, in order."""
        ...

    async def history(
        self,
        job: str | None = None,
        since: datetime | None = None,
        kinds: Collection[str] | None = None,
        limit: int = 100,
    ) -> Sequence[tuple[int, dict[str, Any]]]:
        """Return (position, CloudEvent) of the newest transitions of a job or all, in order."""
        ...

    async def deliveries(
        self,
        sink: str | None = None,
        status: model.DeliveryStatus | None = None,
        limit: int = 100,
        job: str | None = None,
        before: int | None = None,
    ) -> Sequence[model.StoredDelivery]:
        """Return deliveries and their status, newest first."""
        ...

    async def later(self, sequences: Mapping[str, int]) -> Sequence[tuple[int, dict[str, Any]]]:
        """Return (position, CloudEvent) of transitions of up to 100 jobs later than a sequence."""
        ...

    async def deliveries_of(self, positions: Collection[int]) -> Sequence[model.StoredDelivery]:
        """Return the deliveries of at most 500 transitions and their status, by sink."""
        ...

    async def snapshot(self, key: str) -> model.Snapshot | None:
        """Return one job by its key."""
        ...

    async def last_change(self, key: str) -> dict[str, Any] | None:
        """Return the CloudEvent of the last change of state of a job."""
        ...

    async def backlog(self) -> Sequence[model.Backlog]:
        """Return what is still to be delivered to each sink."""
        ...

    async def parkings(self) -> Sequence[model.Parking]:
        """Return the sinks that are parked."""
        ...

    async def resume(self, sink: str) -> bool:
        """Resume a sink; ``False`` if it was not parked."""
        ...
