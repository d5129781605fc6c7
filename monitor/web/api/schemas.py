"""The one view of each thing: for the API, its OpenAPI document, the page, clients and commands.

Nothing here needs an HTTP server, so that commands can use it. Jobs are in ``job_schemas``, and the
ledger in ``ledger_schemas``: a command imports only what it lists, as each view takes time to make.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from pydantic import ConfigDict, Field

from monitor.model import Phase
from monitor.web.api.schema_base import Moment, Rate, View

if TYPE_CHECKING:
    from datetime import datetime
    from typing import Self

    from monitor.config import Watch
    from monitor.model import Backlog, Parking, Replica, RuntimeWatch, Silence
    from monitor.web.interfaces import SinkAttempts


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
    watches: list[WatchInterval] = Field(default=[])
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
    connected: bool
    """False if it has no session with the database any more."""
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

    @property
    def state(self) -> str:
        """Return ``alive``, ``stale`` (silent) or ``gone`` (without a session) for people."""
        if self.alive:
            return "alive"
        return "stale" if self.connected else "gone"

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
            connected=replica.connected,
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
    replica: str | None = None
    """The name of the replica that answers, where several may share the store."""
    generation: str = ""
    """The configuration in effect, the same for replicas that have the same; empty at the start."""


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
