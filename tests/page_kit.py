"""A page over jobs that a test chooses: a real ledger and a real server, no daemon."""

from __future__ import annotations

import time
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from prometheus_client import CollectorRegistry

from monitor import model
from monitor.model import Ending, Kind, Phase, Severity, StateAndPhase
from monitor.web import interfaces
from monitor.web.api.routes import Parts
from monitor.web.api.schemas import ReplicaView, SourceView
from monitor.web.app import create_app
from monitor.web.notifier import News
from monitor.web.server import serving

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
STATES = {
    Phase.WAITING: "PENDING",
    Phase.RUNNING: "RUNNING",
    Phase.SUCCEEDED: "SUCCEEDED",
    Phase.FAILED: "FAILED",
    Phase.CANCELED: "CANCELED",
    Phase.EXPIRED: "EXPIRED",
    Phase.UNKNOWN: "ODD",
}


class FixedClock:
    """Wall time that stands still, and a real monotonic one."""

    def now(self):
        return NOW

    def monotonic(self):
        return time.monotonic()


@dataclass(frozen=True)
class Followed:
    """A followed job, as the daemon would show it."""

    job: model.Job
    snapshot: model.Snapshot | None
    watch: str = "packages"
    labels: dict[str, str] = field(default_factory=dict)
    interval: float = 30.0
    polled_at: datetime | None = NOW - timedelta(seconds=12)
    next_look_at: datetime | None = NOW + timedelta(seconds=18)
    failing: str | None = None
    finished: bool = False
    stuck: bool = False
    missing: bool = False
    blind: bool = False
    acknowledged: model.Acknowledgement | None = None
    silenced: tuple[str, ...] = ()


def followed(number, phase=Phase.RUNNING, *, changed=60.0, reason=None, sequence=1, **more):
    """A job that has stood in ``phase`` for ``changed`` seconds."""
    job = model.Job("panorama.package-import", "prod", "us-east-1", f"job-{number}")
    snapshot = model.Snapshot(
        job=job,
        parts={"Status": STATES[phase]},
        state=STATES[phase],
        phase=phase,
        severity=Severity.ERROR if phase is Phase.FAILED else Severity.INFO,
        ending=Ending.FINAL if phase.terminal else Ending.OPEN,
        fields={"JobType": "NODE_PACKAGE_VERSION", "Count": 3},
        reason=reason,
        updated_at=None,
        sequence=sequence,
        first_seen_at=NOW - timedelta(seconds=changed + 600),
        changed_at=NOW - timedelta(seconds=changed),
        looked_at=NOW - timedelta(seconds=12),
        stuck=more.get("stuck", False),
        missing=more.get("missing", False),
    )
    return Followed(job, snapshot, finished=more.pop("finished", phase.terminal), **more)


def entry(one, sinks=("ops",)):
    """The whole history of a followed job, as one addition to the ledger."""
    snapshot = one.snapshot
    befores = [
        snapshot.changed_at - timedelta(seconds=100 * back)
        for back in reversed(range(snapshot.sequence))
    ]
    transitions = tuple(
        model.Transition(
            subject=one.job,
            service="panorama",
            sequence=number,
            kind=Kind.STATE_CHANGED if number > 1 else Kind.DISCOVERED,
            previous=StateAndPhase("PENDING", "waiting") if number > 1 else None,
            current=StateAndPhase(snapshot.state, snapshot.phase.value)
            if number == snapshot.sequence
            else StateAndPhase("PENDING", "waiting"),
            changes=(model.Change("Status", "PENDING", snapshot.state),) if number > 1 else (),
            after=before - timedelta(seconds=30) if number > 1 else None,
            before=before,
            severity=snapshot.severity,
            reason=snapshot.reason,
            occurred_at=None,
            fields=dict(snapshot.fields),
            labels=dict(one.labels),
        )
        for number, before in enumerate(befores, 1)
    )
    return model.Entry(snapshot, 0, transitions, (tuple(sinks),) * len(transitions))


class Live:
    """What a daemon would know."""

    def __init__(self, jobs=(), sources=None, sinks=None, refused=(), members=()):
        self.followed = list(jobs)
        self.seen = [source()] if sources is None else sources
        self.told = [sink()] if sinks is None else sinks
        self.refused = refused
        self.polled = []
        self.counts = {}
        self.members = list(members)

    def jobs(self):
        return iter(self.followed)

    def job(self, key):
        return next((each for each in self.followed if each.job.key == key), None)

    def archived(self):
        return self.counts

    def archived_elsewhere(self):
        return False

    def remembered(self, known):
        job = known.job
        at = (job.type, job.account, job.region)
        return Followed(job, known, finished=True) if (at, known.phase) in self.counts else None

    def discovering(self, place):
        return {"packages": {"team": "vision"}} if place else {}

    def awaited(self, key, seconds):
        pass

    async def poll(self, key, within):
        """Poll at once: no quota is short."""
        self.polled.append(key)
        return None if self.job(key).finished else "answered"

    def console(self, job, fields):
        return f"https://us-east-1.console.aws.amazon.com/job?id={job.id}"

    def acknowledgement(self, key):
        return self.job(key).acknowledged

    def count_discarded(self, sink, many):
        pass

    def sources(self):
        return self.seen

    def sinks(self):
        return self.told

    def status(self):
        return interfaces.StatusReport("1.2.3", NOW, NOW, self.refused, 0.5)

    def replicas(self):
        return self.members

    def config(self):
        return {}

    def wake(self, sink):
        """Send nothing: there is no dispatcher."""

    def last_pass_age(self):
        return 0.5


def source(service="panorama", **changes):
    values: dict[str, Any] = {
        "service": service,
        "account": "prod",
        "region": "us-east-1",
        "available": True,
        "up": True,
        "last_success_at": NOW - timedelta(seconds=3),
        "last_failure_at": None,
        "last_failure": None,
        "last_failure_code": None,
        "last_failure_hint": None,
        "rate": 2.0,
        "configured_rate": 2.0,
        "request_rate": 0.5,
        "jobs": 3,
        "listings": [],
    }
    return SourceView(**values | changes)


def sink(name="ops", **changes):
    values = {"last_delivered_at": NOW, "last_error_at": None, "last_error": None}
    return interfaces.SinkAttempts(name, "webhook", **values | changes)


def replica(name, **changes):
    values: dict[str, Any] = {
        "name": name,
        "id": f"id-of-{name}",
        "version": "1.2.3",
        "started_at": NOW - timedelta(hours=3),
        "seen_at": NOW - timedelta(seconds=1),
        "alive": True,
        "connected": True,
        "own": False,
        "generation": "a1b2c3d4e5f6",
        "owned_sources": [],
        "owned_sinks": [],
        "upkeep": False,
    }
    return ReplicaView(**values | changes)


@asynccontextmanager
async def showing(live, ledger, news=None, clock=None, guard=None, **more):
    """Serve the page of ``live`` and ``ledger``, and the API beside it; yield its URL."""
    registry = CollectorRegistry()
    parts = Parts(live, ledger, news or News(), clock=clock or FixedClock(), **more)
    app = create_app(
        registry=registry,
        health=live,
        store=ledger,
        configured=lambda: True,
        version="1.2.3",
        api=parts,
        guard=guard,
    )
    async with serving(app, "127.0.0.1", 0) as url:
        yield url
