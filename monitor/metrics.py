"""Every metric but those of the followed jobs, on one registry that is handed in.

``docs/metrics.md`` lists them with the meaning of each label. No label holds a job
id, a message, or anything else that grows with use: accounts, regions, types and
sinks come from the configuration, the rest from the closed sets below.
"""

from __future__ import annotations

import math
import re
from bisect import bisect_right
from typing import TYPE_CHECKING, NoReturn

import anyio
import prometheus_client
from prometheus_client import Counter, Gauge, Histogram, Info

from monitor.errors import PollReason
from monitor.events import event_id
from monitor.model import Job, Kind, Phase, Snapshot, SourceKey, WatchLabels

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
    from datetime import datetime

    from prometheus_client import CollectorRegistry

    from monitor.interfaces import Clock
    from monitor.model import Backlog, Entry, Transition

OTHER = "other"
"""The ``state`` label of every state that the job type does not classify."""

POLL_MODES = ("describe", "batch", "sweep")
POLL_PATHS = ("fast", "plain")
POLL_OUTCOMES = (
    "changed",
    "unchanged",
    "stale",
    "unconfirmed",
    *(reason.value for reason in PollReason),
)
REQUEST_OUTCOMES = ("ok", *(reason.value for reason in PollReason))
CONNECTION_ENDS = ("idle", "head", "answer", "crowded", "refused")
HINT_OUTCOMES = ("used", "useless", "unreadable", "failed")
FOUND_BY = ("hint", "poll")
DELIVERY_OUTCOMES = ("delivered", "retried", "dead", "parked")
COMMON_FIELDS = ("reason", "created_at", "updated_at")
"""What jobs of every type may tell, beside the fields that the type names."""
JOB_KINDS = tuple(kind for kind in Kind if kind.startswith("job."))
ENDS = tuple(phase for phase in Phase if phase.terminal)
SOURCE_KINDS = tuple(kind for kind in Kind if kind.startswith("source."))

TRANSITION_ID = "transition_id"
"""The label of exemplars."""
_EXEMPLAR = 128

MOST_STATES = 100
"""How many states of one type get a label of their own: parts that are free text may combine."""

_HOUR, _DAY = 3600, 86400
_CALL = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 15, 30)
_DELAY = (0.01, 0.05, 0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600)
_LAG = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)
_COMMIT = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5)
_WINDOW = (1, 2.5, 5, 10, 15, 30, 60, 120, 300, 600, 1800, 3600, 2 * _HOUR, 6 * _HOUR)
_LATENCY = (0.1, 0.25, 0.5, 1, 2.5, 5, 15, 60, 300, _HOUR, 6 * _HOUR, _DAY, 3 * _DAY)
_STAY = (
    *(1, 10, 60, 300, 900, 1800),
    *(hours * _HOUR for hours in (1, 2, 4, 8)),
    *(days * _DAY for days in (1, 3, 7, 14, 30)),
)

JOBS = ("type", "account", "region")
_SOURCE = ("service", "account", "region")


class Metrics:
    """The metrics, one attribute each, and the few rules for filling them.

    All durations are in seconds and all timestamps in Unix seconds. A gauge that
    would state something not known yet is NaN, so that no alert compares it.
    """

    def __init__(self, registry: CollectorRegistry, version: str) -> None:  # noqa: PLR0915 -- a line for each metric
        """Register everything on ``registry``, with the process' own metrics."""
        # A "_created" series beside each counter and histogram would nearly double
        # what a scrape costs; label sets exist from the start, so nobody needs them.
        prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]
        prometheus_client.ProcessCollector(registry=registry)
        prometheus_client.PlatformCollector(registry=registry)
        prometheus_client.GCCollector(registry=registry)

        def counter(name: str, text: str, labels: Iterable[str] = ()) -> Counter:
            return Counter(name, text, labels, namespace="job_monitor", registry=registry)

        def gauge(name: str, text: str, labels: Iterable[str] = ()) -> Gauge:
            return Gauge(name, text, labels, namespace="job_monitor", registry=registry)

        def histogram(
            name: str, text: str, buckets: tuple[float, ...], labels: Iterable[str] = ()
        ) -> Histogram:
            return Histogram(
                name, text, labels, namespace="job_monitor", registry=registry, buckets=buckets
            )

        self._counter = counter
        self._registry = registry
        self.watch_labels = WatchLabels()
        """The labels of watches that totals carry; set by ``use_watch_labels`` alone."""
        self._register_owned()
        self.detection_window = histogram(
            "detection_window_seconds",
            "Time between the two polls within which a state changed.",
            _WINDOW,
            ("type",),
        )
        self.time_in_state = histogram(
            "time_in_state_seconds",
            "How long jobs stayed in a state that they have left, as far as it was seen.",
            _STAY,
            ("type", "state"),
        )
        self.unclassified_states = counter(
            "unclassified_states_total",
            "Times that a job came into a state that its type does not classify.",
            ("type",),
        )
        self.unreadable_fields = counter(
            "unreadable_fields_total",
            "Times that an answer had a field, reason or time in it that could not be read.",
            ("type", "field"),
        )
        self.bad_rows = counter(
            "bad_rows_total",
            "Rows of listings that were skipped: they describe no job.",
            JOBS,
        )
        self.polls = counter(
            "polls_total", "Polls of a job, by outcome.", (*JOBS, "mode", "outcome")
        )
        self.poll_path = counter(
            "poll_path_total",
            "Polls of a source, by whether they sent a request that was prepared before.",
            (*_SOURCE, "path"),
        )
        self.poll_lateness = histogram(
            "poll_lateness_seconds", "Time from when a poll was due until it started.", _DELAY
        )
        self.changes_found = counter(
            "changes_found_total",
            "Polls that brought a change, by whether a hint had asked for them.",
            ("type", "by"),
        )
        self.hints = counter(
            "hints_total", "Messages taken from a queue of hints.", ("queue", "outcome")
        )
        self.hint_queue_up = gauge(
            "hint_queue_up", "Whether the queue of hints was read last time.", ("queue",)
        )
        self.last_pass = gauge(
            "last_pass_timestamp_seconds", "When the scheduler last went through what is due."
        )
        self.account_info = gauge(
            "account_info", "The id that AWS gave an account.", ("account", "account_id")
        )
        self.aws_requests = counter(
            "aws_requests_total",
            "Requests made to AWS.",
            ("service", "operation", "account", "region", "outcome"),
        )
        self.aws_request_duration = histogram(
            "aws_request_duration_seconds",
            "How long requests to AWS took.",
            _CALL,
            ("service", "operation"),
        )
        self.owned_quotas = gauge("owned_quotas", "Quotas whose jobs this process polls.")
        self.owned_sinks = gauge("owned_sinks", "Sinks that this process delivers to.")
        self.replicas = gauge(
            "replicas", "Live replicas that share the store; 0 but in one of them."
        )
        self.unowned_quotas = gauge(
            "unowned_quotas", "Quotas that no live replica owns; 0 but in one of them."
        )
        self.config_generations = gauge(
            "config_generations",
            "Different configurations among the live replicas; 0 but in one of them.",
        )
        self.quota_rate = gauge(
            "quota_rate", "Requests per second that a quota permits at present.", _SOURCE
        )
        self.quota_wait = counter(
            "quota_wait_seconds_total", "Time that polls spent waiting for their quota.", _SOURCE
        )
        self.source_up = gauge(
            "source_up", "Whether the last poll of the source was answered.", _SOURCE
        )
        self.source_last_success = gauge(
            "source_last_success_timestamp_seconds",
            "When a poll of the source was last answered.",
            _SOURCE,
        )
        self.listing_complete = gauge(
            "listing_complete",
            "Whether the last sweep of the listing was complete.",
            JOBS,
        )
        self.listing_last_complete = gauge(
            "listing_last_complete_timestamp_seconds",
            "When a sweep of the listing was last complete.",
            JOBS,
        )
        self.misdated = counter(
            "misdated_answers_total",
            "Answers with an update time too far ahead of the clock to prove an order.",
            ("type",),
        )
        self.outbox_pending = gauge(
            "outbox_pending", "Deliveries that the sink has not taken yet.", ("sink",)
        )
        self.outbox_oldest = gauge(
            "outbox_oldest_timestamp_seconds",
            "When the oldest pending delivery was recorded.",
            ("sink",),
        )
        self.dead_letters = gauge(
            "dead_letters", "Deliveries given up, which can be replayed.", ("sink",)
        )
        self.sink_parked = gauge(
            "sink_parked", "Whether the sink gets nothing until somebody resumes it.", ("sink",)
        )
        self.sink_up = gauge("sink_up", "Whether the sink took what it was sent last.", ("sink",))
        self.sink_failing_since = gauge(
            "sink_failing_since_timestamp_seconds",
            "When the first attempt failed since the sink last took something.",
            ("sink",),
        )
        self.deliveries = counter(
            "deliveries_total", "Attempts to deliver a transition.", ("sink", "outcome")
        )
        self.silenced = counter(
            "deliveries_silenced_total",
            "Deliveries that a silence or a maintenance window held back.",
            ("sink",),
        )
        self.discarded = counter(
            "deliveries_discarded_total", "Dead deliveries that somebody discarded.", ("sink",)
        )
        self.silences_active = gauge("silences_active", "Silences that hold transitions now.")
        self.maintenance_active = gauge(
            "maintenance_active", "Watches that are in a maintenance window now."
        )
        self.jobs_acknowledged = gauge(
            "jobs_acknowledged", "Jobs in trouble that somebody has acknowledged."
        )
        self.delivery_duration = histogram(
            "delivery_duration_seconds", "How long attempts to deliver took.", _CALL, ("sink",)
        )
        self.delivery_latency = histogram(
            "delivery_latency_seconds",
            "Time from the poll that saw a change until the sink accepted it.",
            _LATENCY,
            ("sink",),
        )
        self.store_commit_duration = histogram(
            "store_commit_duration_seconds", "How long commits to the store took.", _COMMIT
        )
        self.store_up = gauge("store_up", "1 while the store can be reached, 0 during an outage.")
        self.store_up.set(1)
        self.event_loop_lag = histogram(
            "event_loop_lag_seconds", "How much later than asked the event loop woke.", _LAG
        )
        self.clock_jumps = counter(
            "clock_jumps_total",
            "Times that the wall clock was set, or that the machine slept.",
        )
        self.clock_last_jump = gauge(
            "clock_last_jump_seconds",
            "How far the wall clock went with the last jump; negative if it was set back.",
        )
        self.connections = gauge("http_connections", "Open connections to the server.")
        self.connections_limit = gauge(
            "http_connections_limit", "Connections to the server that may be open at once."
        )
        self.connections_closed = counter(
            "http_connections_closed_total",
            "Connections that the server closed, by what it did not wait for any longer.",
            ("reason",),
        )
        for reason in CONNECTION_ENDS:
            self.connections_closed.labels(reason)
        self.config_last_reload_successful = gauge(
            "config_last_reload_successful", "Whether the last configuration read was taken."
        )
        self.config_last_reload_success = gauge(
            "config_last_reload_success_timestamp_seconds",
            "When a configuration was last taken.",
        )
        self.build_info = Info(
            "build", "The version that runs.", namespace="job_monitor", registry=registry
        )
        self.build_info.info({"version": version})
        self.ledger_id: str | None = None
        """The identity of the ledger; until it is known, no window has an exemplar."""
        self.places: set[tuple[str, str, str]] = set()
        """Type, account and region of every watch; jobs of other places have no series there."""
        self._sources: set[tuple[str, str, str]] = set()
        self._states: dict[str, set[str]] = {}
        self._unreadable: set[tuple[str, str]] = set()
        self._sinks: set[str] = set()
        self._account_ids: set[tuple[str, str]] = set()
        self._backlogs: set[str] = set()

    def _register_owned(self) -> None:
        """Register the counters that carry labels of watches."""
        columns = self.watch_labels.columns
        self.transitions = self._counter(
            "transitions_total", "Transitions recorded.", (*JOBS, "kind", "phase", *columns)
        )
        self.ended = self._counter(
            "ended_jobs_total",
            "Jobs that were seen to end, or first seen at their end, since the store was made.",
            (*JOBS, "phase", *columns),
        )

    def use_watch_labels(self, labels: WatchLabels) -> bool:
        """Use other labels of watches; return whether the counters with them began at 0.

        Series exist from the start for the values at each place, and end with them.
        """
        before, self.watch_labels = self.watch_labels, labels
        renewed = before.columns != labels.columns
        if renewed:
            for counter in (self.transitions, self.ended):
                self._registry.unregister(counter)
            self._register_owned()
            for source in self._sources:
                self._expect_source_transitions(source)
        for place in self.places:
            for values in () if renewed else before.at(place) - labels.at(place):
                gone = dict(zip((*JOBS, *labels.columns), (*place, *values), strict=True))
                self.transitions.remove_by_labels(gone)
                self.ended.remove_by_labels(gone)
            self._expect_owned(place)
        return renewed

    def _expect_owned(self, place: tuple[str, str, str]) -> None:
        for values in self.watch_labels.at(place):
            for kind in JOB_KINDS:
                for phase in Phase:
                    self.transitions.labels(*place, kind, phase, *values)
            for phase in ENDS:
                self.ended.labels(*place, phase, *values)

    def _expect_source_transitions(self, labels: tuple[str, str, str]) -> None:
        for kind in SOURCE_KINDS:
            self.transitions.labels(*labels, kind, "", *self.watch_labels.values({}))

    def expect_jobs(self, type_: str, account: str, region: str) -> None:
        """Let every series of a watch exist before its first job is seen."""
        jobs = (type_, account, region)
        self.places.add(jobs)
        self._expect_owned(jobs)
        for mode in POLL_MODES:
            for outcome in POLL_OUTCOMES:
                self.polls.labels(*jobs, mode, outcome)
        self.detection_window.labels(type_)
        for by in FOUND_BY:
            self.changes_found.labels(type_, by)
        self.time_in_state.labels(type_, OTHER)
        self.unclassified_states.labels(type_)
        self.misdated.labels(type_)
        self.bad_rows.labels(*jobs)
        for field in COMMON_FIELDS:
            self.unreadable_fields.labels(type_, field)

    def expect_source(self, source: SourceKey, operations: Iterable[str] = ()) -> None:
        """Let every series of a source exist before its first answer."""
        labels = (source.service, source.account, source.region)
        self.quota_rate.labels(*labels)
        self.quota_wait.labels(*labels)
        for path in POLL_PATHS:
            self.poll_path.labels(*labels, path)
        self.source_up.labels(*labels).set(math.nan)
        self.source_last_success.labels(*labels).set(math.nan)
        self._sources.add(labels)
        self._expect_source_transitions(labels)
        self.expect_operations(source, operations)

    def expect_operations(self, source: SourceKey, operations: Iterable[str]) -> None:
        """Let every series of a source's operations exist before the first request."""
        for operation in operations:
            self.aws_request_duration.labels(source.service, operation)
            for outcome in REQUEST_OUTCOMES:
                self.aws_requests.labels(
                    source.service, operation, source.account, source.region, outcome
                )

    def set_replicas(self, live: int, generations: int, unowned: int) -> None:
        """Show how many replicas live, their configurations, and the quotas that none owns."""
        self.replicas.set(live)
        self.config_generations.set(generations)
        self.unowned_quotas.set(unowned)

    def set_account_ids(self, known: Iterable[tuple[str, str]]) -> None:
        """Show the ids of the accounts of which they are known."""
        known = set(known)
        for labels in self._account_ids - known:
            self.account_info.remove(*labels)
        for labels in known:
            self.account_info.labels(*labels).set(1)
        self._account_ids = known

    def expect_hints(self, queue: str) -> None:
        """Let every series of a queue of hints exist before its first message."""
        self.hint_queue_up.labels(queue).set(math.nan)
        for outcome in HINT_OUTCOMES:
            self.hints.labels(queue, outcome)

    def expect_sink(self, sink: str) -> None:
        """Let every series of a sink exist before its first delivery."""
        if sink in self._sinks:
            return
        self._sinks.add(sink)
        self._backlogs.add(sink)
        self._set_backlog(sink, None)
        self.sink_parked.labels(sink)
        self.sink_up.labels(sink).set(math.nan)
        self.sink_failing_since.labels(sink).set(math.nan)
        self.delivery_duration.labels(sink)
        self.delivery_latency.labels(sink)
        self.silenced.labels(sink)
        self.discarded.labels(sink)
        for outcome in DELIVERY_OUTCOMES:
            self.deliveries.labels(sink, outcome)

    def forget_jobs(self, type_: str, account: str, region: str) -> None:
        """Let the series of a watch end that was removed."""
        self.places.discard((type_, account, region))
        place = dict(zip(JOBS, (type_, account, region), strict=True))
        for metric in (self.transitions, self.ended, self.polls, self.bad_rows):
            metric.remove_by_labels(place)

    def set_listing(
        self,
        place: tuple[str, str, str],
        sweeps: Sequence[tuple[bool | None, datetime | None]],
    ) -> None:
        """Show how the sweeps of a listing ended, and when each was last complete.

        Several watches may sweep the same one: the worst of them counts. Without any, the series
        end.
        """
        if not sweeps:
            for gauge in (self.listing_complete, self.listing_last_complete):
                gauge.remove_by_labels(dict(zip(JOBS, place, strict=True)))
            return
        ended = [complete for complete, _ in sweeps]
        worst = 0.0 if False in ended else math.nan if None in ended else 1.0
        times = [at.timestamp() if at else math.nan for _, at in sweeps]
        oldest = math.nan if any(map(math.isnan, times)) else min(times)
        self.listing_complete.labels(*place).set(worst)
        self.listing_last_complete.labels(*place).set(oldest)

    def adopt_ends(
        self,
        places: Collection[tuple[str, str, str]],
        known: Iterable[Snapshot],
        labels_of: Callable[[Snapshot], Mapping[str, str]],
    ) -> None:
        """Go on counting ends at ``places`` from what the store knows of the jobs there.

        ``labels_of`` a job are those of its watch.
        """
        for snapshot in known if places else ():
            job = snapshot.job
            if (job.type, job.account, job.region) in places and snapshot.ends:
                values = self.watch_labels.values(labels_of(snapshot))
                for phase, many in snapshot.ends.items():
                    place = (job.type, job.account, job.region)
                    self.ended.labels(*place, phase, *values).inc(many)

    def forget_source(self, source: SourceKey) -> None:
        """Let the series of a source end that is no longer polled."""
        labels = (source.service, source.account, source.region)
        for metric in (self.quota_rate, self.quota_wait, self.source_up, self.source_last_success):
            metric.remove(*labels)
        for counted in (self.aws_requests, self.poll_path):
            counted.remove_by_labels(dict(zip(_SOURCE, labels, strict=True)))
        self._sources.discard(labels)
        self.transitions.remove_by_labels(dict(zip(JOBS, labels, strict=True)))

    def forget_sink(self, sink: str) -> None:
        """Let the series of a removed sink end; what it left undelivered is still shown."""
        self._sinks.discard(sink)
        for metric in (
            *(self.sink_parked, self.sink_up, self.sink_failing_since),
            *(self.delivery_duration, self.delivery_latency),
            *(self.silenced, self.discarded),
        ):
            metric.remove(sink)
        self.deliveries.remove_by_labels({"sink": sink})

    def set_backlogs(self, backlogs: Iterable[Backlog]) -> None:
        """Show what each sink still has to deliver; one without a backlog has nothing."""
        found = {backlog.sink: backlog for backlog in backlogs}
        shown = self._sinks | found.keys()
        for sink in shown:
            self._set_backlog(sink, found.get(sink))
        for sink in self._backlogs - shown:
            for gauge in (self.outbox_pending, self.outbox_oldest, self.dead_letters):
                gauge.remove(sink)
        self._backlogs = shown

    def set_parked(self, sinks: Iterable[str]) -> None:
        """Show which of the expected sinks are parked."""
        parked = set(sinks)
        for sink in self._sinks:
            self.sink_parked.labels(sink).set(sink in parked)

    def set_sink_health(self, sink: str, failing_since: datetime | None, *, tried: bool) -> None:
        """Show whether an expected sink takes what it is sent, once that was ``tried``."""
        if sink not in self._sinks:
            return
        since = failing_since.timestamp() if failing_since else math.nan
        self.sink_failing_since.labels(sink).set(since)
        known = tried or failing_since is not None
        self.sink_up.labels(sink).set(failing_since is None if known else math.nan)

    def count_poll(self, job: Job, mode: str, outcome: str) -> None:
        """Count a poll of a job."""
        self.count_polls((job.type, job.account, job.region), mode, outcome, 1)

    def count_polls(self, place: tuple[str, str, str], mode: str, outcome: str, polls: int) -> None:
        """Count polls of jobs of one type, account and region."""
        # A poll may outlast the series of its watch.
        if place in self.places:
            self.polls.labels(*place, mode, outcome).inc(polls)

    def count_change(self, job: Job, *, hinted: bool = False) -> None:
        """Count a poll that brought a change."""
        self.changes_found.labels(job.type, "hint" if hinted else "poll").inc()

    def count_unreadable(self, type_: str, field: str) -> bool:
        """Count a field that could not be read; return whether it is the first time."""
        self.unreadable_fields.labels(type_, field).inc()
        first = (type_, field) not in self._unreadable
        self._unreadable.add((type_, field))
        return first

    def count_bad_rows(self, type_: str, account: str, region: str, rows: int) -> None:
        """Count the rows of a page that were skipped."""
        if (type_, account, region) in self.places:
            self.bad_rows.labels(type_, account, region).inc(rows)

    def _is_watched(self, job: Job) -> bool:
        """Return whether a watch follows jobs there: a poll may outlast the series of its watch."""
        return (job.type, job.account, job.region) in self.places

    def record(self, entry: Entry, before: Snapshot | None) -> None:
        """Count what was added to the ledger; ``before`` is the snapshot that it replaced."""
        for transition in entry.transitions:
            self._count(transition, before)
        after = entry.snapshot
        if not (isinstance(after, Snapshot) and after.has_ended):
            return
        # Between ``before`` and now, or it is first seen at its end.
        if before is None or before.phase != after.phase:
            job = after.job
            if self._is_watched(job):
                labels = entry.transitions[-1].labels if entry.transitions else {}
                values = self.watch_labels.values(labels)
                self.ended.labels(*(job.type, job.account, job.region), after.phase, *values).inc()

    def _count(self, transition: Transition, before: Snapshot | None) -> None:
        about, kind, phase = transition.subject, transition.kind, transition.current.phase
        # A source has no type: its service stands there, and its phase is empty.
        name = about.type if isinstance(about, Job) else about.service
        if not isinstance(about, Job) or self._is_watched(about):
            values = self.watch_labels.values(transition.labels)
            place = (name, about.account, about.region)
            self.transitions.labels(*place, kind, phase, *values).inc()
        if kind in {Kind.STATE_CHANGED, Kind.DISCOVERED} and phase == Phase.UNKNOWN:
            self.unclassified_states.labels(name).inc()
        if kind is Kind.STATE_CHANGED and transition.after is not None:
            window = (transition.before - transition.after).total_seconds()
            named = None
            if self.ledger_id is not None:
                named = exemplar(event_id(self.ledger_id, about.key, transition.sequence))
            self.detection_window.labels(name).observe(window, named)
        if kind is Kind.STATE_CHANGED and before:
            known = self._states.setdefault(name, set())
            if before.phase is not Phase.UNKNOWN and len(known) < MOST_STATES:
                known.add(before.state)
            state = before.state if before.state in known else OTHER
            stay = (transition.before - before.changed_at).total_seconds()
            self.time_in_state.labels(name, state).observe(max(0.0, stay))

    def _set_backlog(self, sink: str, backlog: Backlog | None) -> None:
        oldest = backlog.oldest_at.timestamp() if backlog and backlog.oldest_at else math.nan
        self.outbox_pending.labels(sink).set(backlog.pending if backlog else 0)
        self.outbox_oldest.labels(sink).set(oldest)
        self.dead_letters.labels(sink).set(backlog.dead if backlog else 0)


def exemplar(transition_id: str) -> dict[str, str] | None:
    """Return the exemplar that names a transition by its event's id.

    OpenMetrics allows 128 characters in all; a name that is longer is left out.
    """
    short = len(TRANSITION_ID) + len(transition_id) <= _EXEMPLAR
    return {TRANSITION_ID: transition_id} if short else None


def job_label(label: str) -> str:
    """Return the name under which a label of a watch stands in ``job_info``."""
    return f"label_{re.sub('[^a-zA-Z0-9_]', '_', label)}"


def observe_all(histogram: Histogram, values: Iterable[float]) -> None:
    """Observe many values, which costs a tenth of observing each alone."""
    found, below = sorted(values), 0
    buckets = zip(histogram._upper_bounds, histogram._buckets, strict=True)  # noqa: SLF001 -- the library takes one value at a time
    for bound, bucket in buckets:
        upto = bisect_right(found, bound)
        bucket.inc(upto - below)
        below = upto
    histogram._sum.inc(sum(found))  # noqa: SLF001 -- see above


async def watch_lag(metrics: Metrics, clock: Clock, interval: float = 0.5) -> NoReturn:
    """Measure every ``interval`` seconds how late the event loop wakes a sleeper."""
    while True:
        due = clock.monotonic() + interval
        await anyio.sleep(interval)
        metrics.event_loop_lag.observe(max(0.0, clock.monotonic() - due))
