"""The protocols of the loops' collaborators, and the values that several parts share."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeVar, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
    from datetime import datetime
    from typing import Any

    from monitor import model
    from monitor.errors import PollError, PollReason


# A tuple: a page makes a hundred thousand, and a frozen dataclass takes thrice as long to make.
class JobStatus(NamedTuple):
    """The status of one job at ``at``: a frozen view, safe to read from any thread.

    ``snapshot`` is ``None`` until AWS has first shown the job. ``interval`` is the present time
    between two polls, in seconds. ``polled_at`` is the time of the last poll with a response,
    even if that was that there is no such job; ``None`` if never. ``next_in`` estimates the
    seconds until the next poll (0 if it is overdue); ``None`` if there is none, as the job is
    ``finished``. ``failing`` is why the last poll failed. A finished job is neither stuck nor
    ``blind`` (stale). ``silenced`` names the silences and maintenance windows that hold what it
    reports.
    """

    job: model.Job
    watch: str
    labels: Mapping[str, str]
    snapshot: model.Snapshot | None
    interval: float
    polled_at: datetime | None
    at: datetime
    next_in: float | None
    failing: PollReason | None
    finished: bool
    blind: bool
    acknowledged: model.Acknowledgement | None = None
    silenced: tuple[str, ...] = ()

    @property
    def next_look_at(self) -> datetime | None:
        """The time of the next poll."""
        return None if self.next_in is None else self.at + timedelta(seconds=self.next_in)

    @property
    def stuck(self) -> bool:
        """True if its state has not changed for too long."""
        return self.snapshot is not None and self.snapshot.stuck and not self.finished

    @property
    def missing(self) -> bool:
        """True if AWS has said often enough that it no longer exists."""
        return self.snapshot is not None and self.snapshot.missing


class Clock(Protocol):
    """The one source of time."""

    def now(self) -> datetime:
        """Wall time, aware, in UTC; may jump."""
        ...

    def monotonic(self) -> float:
        """Seconds on the event loop's clock; never jumps."""
        ...


class Random(Protocol):
    """The one source of chance (``random.Random`` fits)."""

    def uniform(self, a: float, b: float, /) -> float:
        """Return a number between ``a`` and ``b``."""
        ...


class Listing(Protocol):
    """One way in which jobs are listed."""

    @property
    def operation(self) -> str:
        """As AWS spells it."""
        ...

    @property
    def parent(self) -> str | None:
        """The kind of parent that it is asked for, if any."""
        ...

    @property
    def listed(self) -> str:
        """The request in one comparable form."""
        ...

    @property
    def lists_states(self) -> bool:
        """Whether a row shows the whole state."""
        ...

    @property
    def windowed(self) -> bool:
        """Whether it leaves out jobs that are older than the last sweep."""
        ...


class JobType(Protocol):
    """One kind of AWS job, as far as the loops must know it."""

    @property
    def name(self) -> str:
        """As configured, such as ``panorama.package-import``."""
        ...

    @property
    def service(self) -> str:
        """The SDK's name of the service, such as ``panorama``."""
        ...

    @property
    def describe_operation(self) -> str:
        """The operation that describes one job."""
        ...

    @property
    def at_once(self) -> int:
        """The most jobs that share a describe."""
        ...

    @property
    def listings(self) -> Sequence[Listing]:
        """The ways in which jobs are listed; together they show all jobs."""
        ...

    @property
    def parent_operation(self) -> str | None:
        """The operation that lists the parents of jobs, if there is one."""
        ...

    @property
    def grace(self) -> float:
        """Seconds for which an ended job that may still change is polled."""
        ...

    @property
    def grace_interval(self) -> float:
        """Seconds between the polls of such a job."""
        ...

    @property
    def reopens(self) -> bool:
        """Whether a job that ended may become busy again at any time."""
        ...

    def request_key(self, job_id: str) -> str:
        """Return what jobs that share a describe have in common."""
        ...

    def judge(
        self, parts: Mapping[str, str | None], before: model.Phase | None
    ) -> model.Verdict | None:
        """Classify a state; ``None`` if a job that was ``before`` cannot have come to it."""
        ...

    def unwatched(self) -> frozenset[str]:
        """Return the kept fields whose change alone is not a transition."""
        ...


class PollResponse(Protocol):
    """The outcome of one request of a prepared poll: a response, or why there is none."""

    @property
    def asked_at(self) -> datetime:
        """The wall time just before the request was sent."""
        ...

    @property
    def digest(self) -> bytes | None:
        """A digest of a plain success without the request id; ``None`` if it must be read.

        Responses with equal digests to one prepared poll differ only in their times.
        """
        ...

    async def read(self) -> Mapping[model.Job, model.Observation | PollError]:
        """Parse it, as ``Source.describe_many`` does; raises PollError."""
        ...


class PreparedPoll(Protocol):
    """The describe of one job, or of a fixed batch, serialised once.

    That of one job may be the same object for many jobs.
    """

    def send(self, jobs: Sequence[model.Job], done: Callable[[PollResponse], None]) -> bool:
        """Send it now for the jobs, or one of the jobs, for which it was prepared.

        ``done`` is called later on the event loop, exactly once, come what may.
        ``False`` if nothing was sent, for which ``done`` is never called: there are no credentials
        at hand, too many requests wait, or the account has been replaced. Then use
        ``Source.describe_many``, and prepare the poll again after it.
        """
        ...


class PageResponse(Protocol):
    """The outcome of one request of a prepared page."""

    @property
    def digest(self) -> bytes | None:
        """As that of a ``PollResponse``."""
        ...

    async def read(self) -> model.Page:
        """Parse it, as ``Source.page`` does; raises PollError."""
        ...


class PreparedPage(Protocol):
    """One page of a listing, serialised once."""

    def send(self, done: Callable[[PageResponse], None]) -> bool:
        """Send it now, as a ``PreparedPoll`` does, and return whether it was sent."""
        ...


class Source(Protocol):
    """Polls jobs of one type in one account and region; sends once, and raises PollError."""

    @property
    def job_type(self) -> JobType:
        """The type of its jobs."""
        ...

    async def describe(self, job: model.Job) -> model.Observation:
        """Describe one job."""
        ...

    async def describe_many(
        self, jobs: Sequence[model.Job]
    ) -> Mapping[model.Job, model.Observation | PollError]:
        """Describe jobs of one ``request_key`` in one request; each has its own answer."""
        ...

    async def page(self, token: str | None, of: model.ListingRequest) -> model.Page:
        """Get one page of a listing, from the start if ``token`` is ``None``."""
        ...

    async def parents(self, token: str | None) -> model.ParentPage:
        """Get one page of the parents of jobs, from the start if ``token`` is ``None``."""
        ...

    async def prepare(self, jobs: Sequence[model.Job]) -> PreparedPoll | None:
        """Prepare the describe of jobs of one ``request_key``; raises nothing.

        ``None`` if it cannot be prepared, now or ever; to be asked again costs little.
        """
        ...

    async def prepare_page(
        self, token: str | None, of: model.ListingRequest
    ) -> PreparedPage | None:
        """Prepare a page of a listing, as ``prepare`` does a describe."""
        ...


class HintMessage(Protocol):
    """A message of a queue of hints."""

    @property
    def body(self) -> str:
        """The text, which may be anything."""
        ...

    @property
    def receives(self) -> int:
        """How often it has been handed out."""
        ...


Message = TypeVar("Message", bound=HintMessage)


class HintQueue(Protocol[Message]):
    """Hands out hints; sends once, and raises PollError.

    A message comes back some time after it was received, unless it is deleted.
    """

    async def receive(self) -> Sequence[Message]:
        """Wait for messages; return those that came, which may be none."""
        ...

    async def delete(self, message: Message) -> None:
        """Delete a message for good."""
        ...

    async def release(self, message: Message, seconds: int) -> None:
        """Let the queue hand out a message again after so many seconds."""
        ...


class Sink(Protocol):
    """Delivers to one receiver; sends once, and raises SendError or PartialSendError.

    It never sleeps, retries, counts, or logs its own failure.
    """

    @property
    def batch_size(self) -> int:
        """The most events that one ``send`` takes."""
        ...

    async def send(self, events: Sequence[Mapping[str, Any]]) -> None:
        """Send ``events`` (CloudEvents in JSON form); return only when all were taken."""
        ...


@runtime_checkable
class Replying(Protocol):
    """A sink whose receiver answers in words; for trying it out."""

    @property
    def reply(self) -> str:
        """The start of the last reply, cleaned and without secrets; may be empty."""
        ...


@dataclass(frozen=True, slots=True)
class SinkContext:
    """The place of a sink in the monitor, as its plug-in gets it.

    An attempt is interrupted after ``timeout`` seconds; at most ``concurrency`` are under way
    at once.
    """

    name: str
    timeout: float
    concurrency: int


class ArchiveStore(Protocol):
    """The jobs that only the store remembers; raises StoreError as ``Store`` does."""

    async def live(
        self, after: str = "", place: tuple[str, str, str] | None = None
    ) -> Sequence[model.Snapshot]:
        """Return the next jobs that are not archived, by key, anywhere or at a place."""
        ...

    async def of_place(
        self, place: tuple[str, str, str], after: str = ""
    ) -> Sequence[tuple[model.Snapshot, model.Archived]]:
        """Return the next jobs of a place that are not live, by key; none behind the last."""
        ...

    async def find(
        self, keys: Collection[str], *, live: bool = True
    ) -> Sequence[tuple[model.Snapshot, model.Archived]]:
        """Return the jobs among ``keys`` that are stored, or those that are not ``live``."""
        ...

    async def rows(self, keys: Collection[str]) -> Mapping[str, model.ArchivedRow]:
        """Return what rows of listings are compared with, of those ``keys`` that are not live."""
        ...

    async def counts(
        self,
    ) -> Mapping[tuple[tuple[str, str, str], model.Phase], tuple[int, int]]:
        """Return, by place and phase, how many are archived, and how many of these were ended."""
        ...

    async def ended_since(
        self, at: datetime, phases: Iterable[model.Phase]
    ) -> Sequence[model.Snapshot]:
        """Return archived jobs that were seen to end since a time of the wall clock."""
        ...

    async def mark(self, marks: Sequence[model.ArchiveMark]) -> None:
        """Keep jobs elsewhere from now on; those that have changed meanwhile stay."""
        ...

    async def index_texts(self) -> int:
        """Index the texts of the next jobs that were archived before; return 0 if all are."""
        ...

    async def has_text_index(self) -> bool:
        """Return whether all archived jobs can be found in an index of their texts."""
        ...

    async def discovers(self) -> Mapping[tuple[str, str, str], str]:
        """Return what was discovered at each place when its archived jobs were last judged."""
        ...

    async def keep_discovers(
        self,
        kept: Mapping[tuple[str, str, str], str],
        places: Collection[tuple[str, str, str]] | None = None,
    ) -> None:
        """Store what is discovered at each place; of all, or ``places``, the rest is forgotten."""
        ...


class Store(Protocol):
    """The durable memory; raises StoreError when it cannot be trusted any more."""

    last_commit: datetime | None
    """The wall time of the last commit before it was opened, if there was one."""

    @property
    def archive(self) -> ArchiveStore:
        """The jobs that only the store remembers."""
        ...

    def store_time(self) -> datetime:
        """The store time: moves while a daemon runs, whatever the wall clock does."""
        ...

    async def snapshots(self) -> Sequence[model.Snapshot]:
        """Every job known, in no order."""
        ...

    async def snapshot(self, key: str) -> model.Snapshot | None:
        """One job by its key."""
        ...

    async def sources(self) -> Sequence[model.SourceState]:
        """Every source known, in no order."""
        ...

    async def record(self, entry: model.Entry) -> bool:
        """Add ``entry`` durably and whole; ``False`` if another writer was first."""
        ...

    async def touch(self, polls: Mapping[str, datetime], known: Mapping[str, int] = ...) -> None:
        """Store when each job (by key) was last polled, if that is later than stored.

        ``known`` are the sequences that the polls have confirmed: nothing is stored where it is
        another one by now.
        """
        ...

    async def baselines(self) -> Sequence[model.Baseline]:
        """Every baseline known, in no order."""
        ...

    async def keep_baselines(
        self, kept: Sequence[model.Baseline], gone: Sequence[model.Baseline]
    ) -> None:
        """Write ``kept`` in place of what is there of them, and forget ``gone``, in one step."""
        ...

    async def due(
        self, sink: str, now: datetime, limit: int, without: Collection[int]
    ) -> Sequence[model.Delivery]:
        """The first pending delivery of each job for ``sink`` that is due, oldest first.

        At most ``limit``, and none of those whose ids are given in ``without``.

        ``now``, and every time of a delivery that is due, is store time.
        """
        ...

    async def next_due(self, sink: str, now: datetime) -> datetime | None:
        """The earliest store time after ``now`` at which a first-in-line delivery falls due."""
        ...

    async def settle(self, *settlements: model.Settlement) -> None:
        """Store the outcomes of attempts, in one step."""
        ...

    async def hasten(self, sink: str) -> None:
        """Let every first-in-line delivery for ``sink`` that waits for its retry fall due."""
        ...

    async def park(self, parking: model.Parking, revived: Sequence[model.Delivery]) -> None:
        """Store that a sink is parked, and make the dead among ``revived`` pending again."""
        ...

    async def revive(self, revived: Sequence[model.Delivery]) -> None:
        """Make the dead among ``revived`` pending again, in their old places."""
        ...

    async def parkings(self) -> Sequence[model.Parking]:
        """The sinks that are parked, by name."""
        ...

    async def backlog(self) -> Sequence[model.Backlog]:
        """Return what each sink still has to deliver; sinks with nothing at all are left out."""
        ...

    async def ping(self) -> None:
        """Prove that the store can be written."""
        ...

    async def prune(self, before: datetime) -> int:
        """Forget transitions settled for every sink before a store time; return how many."""
        ...
