"""The one view of each thing: for the API, its OpenAPI document, the page, clients and commands.

Nothing here needs an HTTP server, so that commands can use it.
"""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    PlainSerializer,
    WithJsonSchema,
)

from monitor.events import timestamp
from monitor.model import DeliveryStatus, Ending, Kind, Phase, Severity

if TYPE_CHECKING:
    from enum import StrEnum
    from typing import Self

    from monitor.config import Watch
    from monitor.interfaces import JobStatus
    from monitor.model import (
        Acknowledgement,
        Backlog,
        Job,
        Parking,
        Replica,
        RuntimeWatch,
        Silence,
        Snapshot,
        StoredDelivery,
    )
    from monitor.web.interfaces import SinkAttempts

Moment = Annotated[
    datetime,
    PlainSerializer(timestamp, return_type=str),
    WithJsonSchema({"type": "string", "format": "date-time"}),
]
"""A time of RFC 3339 in UTC with milliseconds."""

Event = Annotated[
    dict[str, Any],
    WithJsonSchema(
        {
            "type": "object",
            "description": "A CloudEvent 1.0 in JSON form, as sinks are sent it.",
            "required": ["specversion", "id", "source", "type", "time", "data"],
        }
    ),
]


class View(BaseModel):
    """Data that the API returns; unknown keys, as of a newer daemon, are ignored."""

    model_config = ConfigDict(frozen=True, defer_build=True)


Rate = Annotated[float, AfterValidator(lambda value: round(value, 3))]
"""Requests per second."""


def _known(kind: type[StrEnum], default: StrEnum | None) -> BeforeValidator:
    """Read a value that only a newer daemon knows as ``default``."""
    known = frozenset(kind)
    return BeforeValidator(lambda value: value if value in known else default)


class Window(View):
    """The two polls between which a change happened."""

    after: Moment | None
    """The last poll that returned the old state; null if the job was new."""
    before: Moment
    """The poll that returned the new state."""

    @property
    def seconds(self) -> float | None:
        """How wide it is; ``None`` if it has no beginning."""
        return (self.before - self.after).total_seconds() if self.after else None


class AcknowledgementView(View):
    """Who takes care of a job that is in trouble."""

    model_config = ConfigDict(title="Acknowledgement")

    author: str
    comment: str
    at: Moment


class JobView(View):
    """A job and its present status."""

    model_config = ConfigDict(title="Job")

    key: str
    """``type/account/region/id``."""
    type: str
    account: str
    region: str
    id: str
    watch: str | None
    """The watch that follows it; null if none does any longer."""
    labels: dict[str, str]
    state: str | None
    """The state in the service's own words; null until AWS has returned the job."""
    phase: Annotated[Phase, _known(Phase, Phase.UNKNOWN)]
    severity: Annotated[Severity, _known(Severity, Severity.INFO)]
    reason: str | None
    """The reason that the service gives for the state."""
    fields: dict[str, Any]
    sequence: int
    """The number of its transitions."""
    ending: Annotated[Ending | None, _known(Ending, None)]
    first_seen_at: Moment | None
    changed_at: Moment | None
    """When the present state was first observed."""
    updated_at: Moment | None
    """The service's own time of its last update."""
    ended_at: Moment | None
    interval: float | None
    """Seconds between two polls at present."""
    last_look_at: Moment | None
    """When AWS last answered a poll."""
    next_look_at: Moment | None
    """An estimate of the next poll; null if it is no longer polled."""
    failing: str | None
    """Why the last poll failed."""
    finished: bool
    """True if it is no longer polled."""
    stuck: bool
    missing: bool
    blind: bool
    """True if its status is stale: no poll has succeeded for too long."""
    acknowledged: AcknowledgementView | None = None
    """Who has acknowledged the trouble that it is in; null if nobody has."""
    silenced: list[str] = []
    """What keeps its transitions from being sent now: ids of silences, or ``maintenance:WATCH``."""

    @property
    def terminal(self) -> bool:
        """True once the work is over, well or badly."""
        return self.phase.terminal

    @classmethod
    def of(cls, status: JobStatus) -> Self:
        """View a job that a watch follows."""
        found = cls._of_snapshot(status.job, status.snapshot)
        found |= {name: getattr(status, name) for name in _OF_STATUS}
        return cls(
            **found,
            watch=status.watch or None,
            labels=dict(status.labels),
            last_look_at=status.polled_at,
            failing=str(status.failing) if status.failing else None,
            acknowledged=_acknowledged(status.acknowledged),
            silenced=list(status.silenced),
        )

    @classmethod
    def of_snapshot(cls, snapshot: Snapshot, made: Acknowledgement | None = None) -> Self:
        """View a job that no watch follows any longer, as the store remembers it."""
        found = cls._of_snapshot(snapshot.job, snapshot)
        found |= dict.fromkeys(("watch", "interval", "next_look_at", "failing"))
        # What is no longer polled can be neither stuck nor stale.
        return cls(
            **found,
            labels={},
            last_look_at=snapshot.looked_at,
            finished=True,
            stuck=False,
            missing=snapshot.missing,
            blind=False,
            acknowledged=_acknowledged(made),
        )

    @staticmethod
    def _of_snapshot(job: Job, snapshot: Snapshot | None) -> dict[str, Any]:
        return {
            **{name: getattr(job, name) for name in ("key", "type", "account", "region", "id")},
            **{name: getattr(snapshot, name, None) for name in _OF_SNAPSHOT},
            "sequence": snapshot.sequence if snapshot else 0,
            "phase": snapshot.phase if snapshot else Phase.UNKNOWN,
            "severity": snapshot.severity if snapshot else Severity.INFO,
            "fields": dict(snapshot.fields) if snapshot else {},
        }


def _acknowledged(made: Acknowledgement | None) -> AcknowledgementView | None:
    if made is None:
        return None
    return AcknowledgementView(author=made.author, comment=made.comment, at=made.at)


_OF_STATUS = ("interval", "next_look_at", "finished", "stuck", "missing", "blind")
_OF_SNAPSHOT = (
    *("state", "reason", "ending"),
    *("first_seen_at", "changed_at", "updated_at", "ended_at"),
)


class JobDetail(JobView):
    """A job with what only the ledger holds."""

    model_config = ConfigDict(title="JobDetail")

    window: Window | None
    """The window of the last change of state; null if the ledger no longer has it."""


class JobWait(View):
    """The result of waiting for a job."""

    done: bool
    """False if the time was over first."""
    job: JobView


PollOutcome = Literal["answered", "failed", "pending"]
"""What came of a poll that somebody asked for."""


class JobPoll(View):
    """The outcome of a poll that somebody asked for, and the job after it."""

    outcome: PollOutcome
    """``pending`` if AWS had not answered within some seconds. A job whose polls fail, or that was
    polled a moment ago, keeps its time; ``failing`` and ``next_look_at`` of the job say more."""
    job: JobView


class Jobs(View):
    """A page of jobs."""

    items: list[JobView]
    next_cursor: str | None
    """The ``cursor`` of the next page; null on the last one."""
    total: int
    """How many jobs match the filters, on all pages.

    Where text is searched for, jobs that only the store remembers count on their own page alone.
    """


class TransitionView(View):
    """A row of the ledger."""

    model_config = ConfigDict(title="Transition")

    position: int
    event: Event


class Transitions(View):
    """Transitions in the order of the ledger."""

    items: list[TransitionView]
    next_after: int
    """The ``after`` with which to go on, now or later."""


class StreamedEvent(View):
    """A transition in the stream; ``data`` is the CloudEvent as JSON."""

    id: str
    """The position in the ledger."""
    event: str
    """The kind."""
    data: str


class DeliveryView(View):
    """One transition on its way to one sink."""

    model_config = ConfigDict(title="Delivery")

    id: int
    position: int
    sink: str
    job: str
    """The key of its job or source."""
    event_id: str
    kind: Kind
    status: DeliveryStatus
    attempts: int
    """How many attempts have ended, the successful one included."""
    created_at: Moment
    due_at: Moment | None
    """When it is tried next; null if it is settled or waits for an earlier delivery."""
    settled_at: Moment | None
    last_error: str | None
    replayed: bool
    silenced_by: str | None = None
    """The id of the silence that holds or held it, or ``maintenance:WATCH``. One that is silenced
    and has no ``settled_at`` may still be sent."""

    @classmethod
    def of(cls, stored: StoredDelivery) -> Self:
        """View a delivery of the store."""
        return cls(**asdict(stored), job=stored.key)


class Deliveries(View):
    """A page of deliveries, newest first."""

    items: list[DeliveryView]
    next_cursor: str | None


class SinkView(View):
    """A configured sink and what is still to be delivered to it."""

    model_config = ConfigDict(title="Sink")

    name: str
    type: str
    pending: int
    oldest_pending_at: Moment | None
    dead: int
    parked: bool
    parked_at: Moment | None
    parked_reason: str | None
    health: Literal["ok", "failing", "parked"]
    """``failing``: the last attempt failed, and nothing has been delivered since."""
    failing_since: Moment | None
    """When the first attempt failed since the last success. For failures before the daemon
    started: when the oldest change was recorded that was tried and still waits."""
    last_error: str | None
    """The error of the last failed attempt, also from before the daemon started."""
    last_error_at: Moment | None
    last_delivered_at: Moment | None
    """Since the daemon started."""
    replica: str | None = None
    """The replica that delivers to it, where several share the store."""

    @classmethod
    def of(cls, sink: SinkAttempts, backlog: Backlog | None, parking: Parking | None) -> Self:
        """View a sink: its last attempts, and what the store has of it.

        What failed before the daemon started is known by the deliveries that still wait: it
        counts until something is delivered.
        """
        since, error = sink.failing_since, sink.last_error
        if backlog is not None and sink.last_delivered_at is None:
            stored = backlog.failing_since
            since = min(since, stored) if since and stored else since or stored
            error = error or backlog.last_error
        return cls(
            name=sink.name,
            type=sink.type,
            pending=backlog.pending if backlog else 0,
            oldest_pending_at=backlog.oldest_at if backlog else None,
            dead=backlog.dead if backlog else 0,
            parked=parking is not None,
            parked_at=parking.at if parking else None,
            parked_reason=parking.reason if parking else None,
            health="parked" if parking else "failing" if since else "ok",
            failing_since=since,
            last_error=error or parking.reason if parking else error,
            last_error_at=sink.last_error_at,
            last_delivered_at=sink.last_delivered_at,
            replica=sink.replica,
        )


class Sinks(View):
    """All sinks."""

    items: list[SinkView]


class ListingView(View):
    """One listing of jobs and the result of its sweeps."""

    model_config = ConfigDict(title="Listing")

    type: str
    """The type of its jobs."""
    complete: bool | None
    """True if the last sweep read the whole listing; null before the first."""
    last_complete_at: Moment | None
    last_failure: str | None
    """Why a page has failed since, one of a closed set."""
    last_failure_code: str | None
    last_failure_hint: str | None


class WatchInterval(View):
    """The time between two polls of a job of a watch, in seconds."""

    watch: str
    interval: float
    """As the watch wants it."""
    achieved_interval: Rate | None
    """The mean over its jobs; null while none is polled. Longer where the quota is too small."""
    starved: bool
    """True if it is much longer than the watch wants."""


class SourceView(View):
    """One service of one account in one region."""

    model_config = ConfigDict(title="Source")

    service: str
    account: str
    region: str
    available: bool
    """True if it is reachable, as the ledger has it."""
    up: bool | None
    """True if the last poll succeeded; null before the first."""
    last_success_at: Moment | None
    last_failure_at: Moment | None
    last_failure: str | None
    """The reason, one of a closed set."""
    last_failure_code: str | None
    last_failure_hint: str | None
    rate: Rate
    """Requests per second that the quota allows at present; throttling lowers it."""
    configured_rate: float
    request_rate: Rate
    """Requests per second that were made in the last minute."""
    jobs: int
    """The number of jobs that are polled through it."""
    listings: list[ListingView]
    """The listings that are swept for jobs: one for each type, the worst of all that it has."""
    mode: Literal["single", "batch", "sweep"] = "single"
    """The way in which most of its jobs are polled now: a describe each, shared ones, or sweeps."""
    sweep_share: Rate | None = None
    """Part of the quota that sweeps may take; null where nothing is swept."""
    watches: list[WatchInterval] = []
    """The watches whose jobs are polled through it."""
    account_id: str | None = None
    """The id that AWS gave the account, if it is known."""
    replica: str | None = None
    """The replica that polls it, where several share the store."""

    @property
    def name(self) -> str:
        """``service/account/region``."""
        return f"{self.service}/{self.account}/{self.region}"


class Sources(View):
    """All sources."""

    items: list[SourceView]


class ReplicaView(View):
    """A process that shares the store with others."""

    model_config = ConfigDict(title="Replica")

    name: str
    id: str
    """Another one at each start."""
    version: str
    started_at: Moment
    seen_at: Moment
    """The last sign of life, by the clock of the database."""
    alive: bool
    """False if it shows no sign of life: it owns nothing, or will not for long."""
    own: bool
    """True for the replica that answers."""
    generation: str
    """The configuration that it has, the same for replicas that have the same."""
    owned_sources: list[str]
    """The sources that it polls, as ``service/account/region``."""
    owned_sinks: list[str]
    """The sinks that it delivers to."""
    upkeep: bool
    """True for the one that prunes history and counts for all."""

    @classmethod
    def of(cls, replica: Replica, *, alive: bool, own: bool) -> Self:
        """View a replica."""
        return cls(
            name=replica.name,
            id=replica.id,
            version=replica.version,
            started_at=replica.started_at,
            seen_at=replica.seen_at,
            alive=alive,
            own=own,
            generation=replica.generation,
            owned_sources=[
                name.removeprefix("source:") for name in replica.owned if name.startswith("source:")
            ],
            owned_sinks=[
                name.removeprefix("sink:") for name in replica.owned if name.startswith("sink:")
            ],
            upkeep="upkeep" in replica.owned,
        )


class Replicas(View):
    """All replicas; none if the store cannot be shared."""

    items: list[ReplicaView]


class Status(View):
    """The status of the daemon."""

    version: str
    started_at: Moment
    config_loaded_at: Moment | None
    config_last_reload_successful: bool
    config_problems: list[str]
    """The problems of the last configuration, if it was refused."""
    last_pass_age: float
    """Seconds since the slowest poller last went through its due jobs."""
    jobs: int
    phases: dict[Phase, int]
    stuck: int
    missing: int
    blind: int
    position: int
    """The position of the newest transition."""


class Config(View):
    """The configuration as it is written, with the defaults."""

    model_config = ConfigDict(extra="allow")


class FollowedWatch(View):
    """A watch as it is written."""

    name: str
    added_at: Moment | None
    """When it was added at run time; null if it comes from the configuration."""
    watch: dict[str, Any]

    @classmethod
    def of(cls, watch: Watch) -> Self:
        """View a watch of the configuration."""
        # Unset keys are left out: a watch is shown as somebody wrote it.
        written = watch.model_dump(mode="json", by_alias=True, exclude_unset=True)
        return cls(name=watch.name, added_at=None, watch=written)

    @classmethod
    def of_added(cls, watch: RuntimeWatch) -> Self:
        """View a run-time watch."""
        return cls(name=watch.name, added_at=watch.added_at, watch=dict(watch.settings))


class FollowedWatches(View):
    """All watches; those of the configuration come first."""

    items: list[FollowedWatch]


class Removed(View):
    """The result of removing a watch."""

    removed: bool


class Resumed(View):
    """The result of resuming a sink."""

    resumed: bool
    outcome: Literal["delivered", "failing", "parked", "idle", "unknown"] | None
    """The result of the first attempt: ``idle`` if nothing waits, ``parked`` if the sink was parked
    again, ``unknown`` if it did not end within some seconds; null if the sink was not parked."""
    error: str | None
    """Why the attempt failed, or the sink was parked again."""


class Replayed(View):
    """The deliveries that are sent again."""

    sink: str
    count: int
    dry_run: bool
    event_ids: list[str]
    """The first of them, at most 1,000."""


class Discarded(View):
    """The dead deliveries that need not be sent any more."""

    sink: str
    count: int


class SilenceView(View):
    """Transitions that are recorded and not sent for a time."""

    model_config = ConfigDict(title="Silence")

    id: str
    match: list[dict[str, Any]]
    """As the `match` of routes, and `job`; a transition is held if one of them matches."""
    starts_at: Moment
    ends_at: Moment
    author: str
    comment: str
    status: Literal["pending", "active", "expired"]

    @classmethod
    def of(cls, silence: Silence, now: datetime) -> Self:
        """View a silence at a time."""
        match = [dict(each) for each in silence.match]
        facts = {name: getattr(silence, name) for name in ("id", "starts_at", "ends_at")}
        about = {"author": silence.author, "comment": silence.comment}
        return cls.model_validate({**facts, **about, "match": match, "status": silence.status(now)})


class Silences(View):
    """All silences, the one that ends last first."""

    items: list[SilenceView]


class Reloaded(View):
    """The result of a reload."""

    reloaded: bool


class Mistake(View):
    """One mistake, with the name of a parameter or key, or its place in a configuration."""

    message: str
    name: str | None = None
    place: str | None = None
    path: str | None = None
    remedy: str | None = None


class ProblemDetails(View):
    """An error in the form of RFC 9457."""

    model_config = ConfigDict(title="Problem")

    type: str
    title: str
    status: int
    detail: str
    errors: list[Mistake] | None = None
