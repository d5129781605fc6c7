"""The one view of a job: for the API, its OpenAPI document, the page, clients and commands."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import ConfigDict, Field

from monitor.model import Ending, Phase, Severity
from monitor.web.api.schema_base import Moment, View, known

if TYPE_CHECKING:
    from typing import Self

    from monitor.interfaces import JobStatus
    from monitor.model import Acknowledgement, Job, Snapshot


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
    phase: Annotated[Phase, known(Phase, Phase.UNKNOWN)]
    severity: Annotated[Severity, known(Severity, Severity.INFO)]
    reason: str | None
    """The reason that the service gives for the state."""
    fields: dict[str, Any]
    sequence: int
    """The number of its transitions."""
    ending: Annotated[Ending | None, known(Ending, None)]
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
    silenced: list[str] = Field(default=[])
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

    Where jobs that only the store remembers are searched for text, state, reason or times, they
    count on their own page alone.
    """
