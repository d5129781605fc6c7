"""The status of the running daemon, its jobs, sources and sinks, as the HTTP side reads it."""

from __future__ import annotations

import math
from dataclasses import asdict
from itertools import chain
from typing import TYPE_CHECKING, Any

import anyio

from monitor import __version__
from monitor.polling.scheduled_job import HintOutcome
from monitor.web import interfaces
from monitor.web.api.schemas import ListingView, ReplicaView, SourceView, WatchInterval

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from datetime import datetime

    from monitor import model
    from monitor.delivery.manager import DeliveryManager
    from monitor.errors import PollError
    from monitor.interfaces import Clock, JobStatus
    from monitor.metrics import Metrics
    from monitor.model import Job
    from monitor.polling.manager import PollManager
    from monitor.polling.poller import Poller
    from monitor.polling.schedule import ListingSweep
    from monitor.polling.watch_pace import WatchPace
    from monitor.recording.quiet import Quiet
    from monitor.runtime.other_replicas import OtherReplicas
    from monitor.runtime.reconfigure import ConfigState
    from monitor.runtime.replicas import ReplicaStatus
    from monitor.web.api.job_schemas import PollOutcome


class DaemonStatus:
    """Implements ``web.interfaces.Live``: each call returns frozen values, for any thread."""

    def __init__(
        self,
        polls: PollManager,
        deliveries: DeliveryManager,
        clock: Clock,
        state: ConfigState,
        quiet: Quiet,
        metrics: Metrics,
        elsewhere: OtherReplicas | None = None,
    ) -> None:
        """Read from these; nothing is written here but metrics.

        ``elsewhere`` is what other replicas own, where there may be any.
        """
        self._quiet = quiet
        self._metrics = metrics
        self._polls = polls
        self._deliveries = deliveries
        self._state = state
        self._elsewhere = elsewhere
        self._started_at = clock.now()
        self.members: Callable[[], Sequence[ReplicaStatus]] = lambda: ()
        """Returns all replicas, where there may be several."""

    def jobs(self) -> Iterator[JobStatus]:
        """Yield every job of a watch; from any thread."""
        elsewhere = self._elsewhere.jobs.jobs() if self._elsewhere else ()
        return map(self._with_quiet, chain(self._polls.watched(), elsewhere))

    def job(self, key: str) -> JobStatus | None:
        """Return one job of a watch."""
        found = self._polls.status_of(key)
        if found is None and self._elsewhere:
            found = self._elsewhere.jobs.job(key)
        return found and self._with_quiet(found)

    def acknowledgement(self, key: str) -> model.Acknowledgement | None:
        """Return the acknowledgement of a job."""
        return self._quiet.acknowledgement(key)

    def _with_quiet(self, status: JobStatus) -> JobStatus:
        """Add who has acknowledged a job, and what silences it."""
        made, silenced = self._quiet.acknowledgement(status.job.key), self._quiet.silenced(status)
        if made is None and not silenced:
            return status
        return status._replace(acknowledged=made, silenced=silenced)

    def archived(self) -> Mapping[tuple[tuple[str, str, str], model.Phase], int]:
        """Return how many followed jobs only the store has, by place and phase; any thread."""
        elsewhere = self._elsewhere.jobs.archived() if self._elsewhere else {}
        return {**elsewhere, **self._polls.archived()}

    def archived_elsewhere(self) -> bool:
        """Return whether the store may have others at places that no watch discovers now."""
        return self._elsewhere is not None or self._polls.archived_elsewhere()

    def remembered(self, known: model.Snapshot) -> JobStatus | None:
        """Return the status of a job that only the store has, if a watch follows it."""
        found = self._polls.remembered(known)
        return found and self._with_quiet(found)

    def discovering(self, place: tuple[str, str, str]) -> Mapping[str, Mapping[str, str]]:
        """Return the watches that discover jobs at a place, with their labels; from any thread."""
        return self._polls.discovering(place)

    def awaited(self, key: str, seconds: float) -> None:
        """Note that somebody waits for a job for so long."""
        self._polls.awaited(key, seconds)
        if self._elsewhere and self._polls.status_of(key) is None:
            self._elsewhere.awaited(key, seconds)

    async def poll(self, key: str, within: float) -> PollOutcome | None:
        """Poll a job as soon as its quota permits; ``None`` if it is not polled any more."""
        status = self._polls.status_of(key)
        if status is None and self._elsewhere:
            status = self._elsewhere.jobs.job(key)
        ticket = self._polls.hint(status.job) if status and not status.finished else None
        if ticket is None:
            return None
        with anyio.move_on_after(within):
            settled = await ticket.settled()
            return "failed" if settled is HintOutcome.FAILED else "answered"
        return "pending"

    def sources(self) -> Sequence[SourceView]:
        """Return every source that is polled, here or by other replicas."""
        own = [self._view_of(poller) for poller in self._polls.pollers()]
        return [*own, *self._elsewhere.sources()] if self._elsewhere else own

    def source(self, key: str) -> Mapping[str, Any] | None:
        """Return a source that is polled here, as other replicas show it."""
        found = (poller for poller in self._polls.pollers() if poller.key.key == key)
        poller = next(found, None)
        return self._view_of(poller).model_dump(mode="json") if poller else None

    def _view_of(self, poller: Poller) -> SourceView:
        source, plan = poller.client.status(), poller.plan()
        sweeps = poller.schedule.listings()
        trouble = source.trouble
        return SourceView(
            service=source.key.service,
            account=source.key.account,
            region=source.key.region,
            account_id=self._state.account_id(source.key.account),
            available=not source.lost,
            up=source.up,
            last_success_at=source.good_at,
            last_failure_at=source.bad_at,
            last_failure=trouble.reason.value if trouble else None,
            last_failure_code=trouble.code if trouble else None,
            last_failure_hint=trouble.hint if trouble else None,
            rate=source.rate,
            configured_rate=source.full_rate,
            request_rate=source.request_rate,
            jobs=len(poller.schedule.everyone()),
            listings=_listings(sweeps),
            mode=plan.mode.value,
            sweep_share=plan.share if sweeps else None,
            watches=[_interval(each) for each in self._polls.paces(poller)],
            replica=self._elsewhere.own_name if self._elsewhere else None,
        )

    def console(self, job: Job, fields: Mapping[str, Any]) -> str | None:
        """Return the link to a job in the AWS console, if there is one."""
        account_id = self._state.account_id(job.account)
        return self._state.loaded.links.console(job, account_id, fields)

    def sinks(self) -> Sequence[interfaces.SinkAttempts]:
        """Return every sink that is configured."""
        running = {dispatcher.name: dispatcher for dispatcher in self._deliveries.dispatchers()}
        found = []
        for name, settings in self._state.loaded.settings.sinks.items():
            # A configured sink may have no dispatcher yet, or no longer.
            dispatcher = running.get(name)
            if dispatcher is None and self._elsewhere:
                found.append(self._elsewhere.sink(name, settings.type))
                continue
            failed_at, error = (dispatcher.failure if dispatcher else None) or (None, None)
            found.append(
                interfaces.SinkAttempts(
                    name=name,
                    type=settings.type,
                    last_delivered_at=dispatcher.delivered_at if dispatcher else None,
                    last_error_at=failed_at,
                    last_error=error,
                    failing_since=dispatcher.failing_since if dispatcher else None,
                    replica=self._elsewhere.own_name if self._elsewhere and dispatcher else None,
                )
            )
        return found

    def attempts(self, sink: str) -> Mapping[str, Any] | None:
        """Return the last attempts of a sink that is delivered to here, for other replicas."""
        found = next((each for each in self.sinks() if each.name == sink), None)
        return asdict(found) if found else None

    def config(self) -> Mapping[str, Any]:
        """Return the configuration in effect, without secrets."""
        return self._state.loaded.settings.redacted()

    def status(self) -> interfaces.StatusReport:
        """Return the status of the daemon itself."""
        return interfaces.StatusReport(
            version=__version__,
            started_at=self._started_at,
            config_loaded_at=self._state.loaded_at,
            config_refused=[str(problem) for problem in self._state.refused],
            last_pass_age=self._polls.last_pass_age(),
            replica=self._elsewhere.own_name if self._elsewhere else None,
            generation=self._state.generation,
        )

    def replicas(self) -> Sequence[ReplicaView]:
        """Return the replicas that share the store; none if it cannot be shared."""
        return [
            ReplicaView.of(each.replica, alive=each.alive, own=each.own) for each in self.members()
        ]

    def wake(self, sink: str) -> None:
        """Let a sink check at once for something to send."""
        self._deliveries.wake([sink])

    def count_discarded(self, sink: str, many: int) -> None:
        """Count deliveries that somebody discarded."""
        self._metrics.discarded.labels(sink).inc(many)


def _interval(pace: WatchPace) -> WatchInterval:
    achieved = None if math.isnan(pace.achieved) else pace.achieved
    return WatchInterval(
        watch=pace.watch,
        interval=pace.wanted,
        achieved_interval=achieved,
        starved=pace.starved,
    )


def _listings(sweeps: Iterable[ListingSweep]) -> list[ListingView]:
    """Return one view for each type: of all that are swept for it, the worst counts."""
    by_type: dict[str, list[tuple[bool | None, datetime | None, PollError | None]]] = {}
    for one in sweeps:
        # Read once: the loop may end the failure while another thread reads.
        facts = (one.complete, one.completed_at, one.trouble)
        by_type.setdefault(one.source.job_type.name, []).append(facts)
    views = []
    for name, all_ in by_type.items():
        # One that is incomplete comes before one that has not been swept yet.
        worst = sorted(all_, key=lambda each: ((False, None, True).index(each[0]), each[2] is None))
        complete, _, failure = worst[0]
        times = [at for _, at, _ in all_ if at is not None]
        views.append(
            ListingView(
                type=name,
                complete=complete,
                last_complete_at=min(times) if len(times) == len(all_) else None,
                last_failure=failure.reason.value if failure else None,
                last_failure_code=failure.code if failure else None,
                last_failure_hint=failure.hint if failure else None,
            )
        )
    return views
