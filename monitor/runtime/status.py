"""The status of the running daemon, its jobs, sources and sinks, as the HTTP side reads it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from monitor import __version__
from monitor.web import interfaces
from monitor.web.api.schemas import ListingView, SourceView, WatchInterval

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from datetime import datetime

    from monitor.delivery.manager import DeliveryManager
    from monitor.errors import PollError
    from monitor.interfaces import Clock, JobStatus
    from monitor.polling.manager import PollManager
    from monitor.polling.schedule import ListingSweep
    from monitor.polling.watch_pace import WatchPace
    from monitor.runtime.reconfigure import ConfigState


class DaemonStatus:
    """Implements ``web.interfaces.Live``: each call returns frozen values, for any thread."""

    def __init__(
        self, polls: PollManager, deliveries: DeliveryManager, clock: Clock, state: ConfigState
    ) -> None:
        """Read from these; nothing is written here."""
        self._polls = polls
        self._deliveries = deliveries
        self._state = state
        self._started_at = clock.now()

    def jobs(self) -> Iterator[JobStatus]:
        """Yield every job of a watch; from any thread."""
        return self._polls.watched()

    def job(self, key: str) -> JobStatus | None:
        """Return one job of a watch."""
        return self._polls.status_of(key)

    def awaited(self, key: str, seconds: float) -> None:
        """Note that somebody waits for a job for so long."""
        self._polls.awaited(key, seconds)

    def sources(self) -> Sequence[SourceView]:
        """Return every source that is polled."""
        found = []
        for poller in self._polls.pollers():
            source, plan = poller.client.status(), poller.plan()
            sweeps = poller.schedule.listings()
            trouble = source.trouble
            found.append(
                SourceView(
                    service=source.key.service,
                    account=source.key.account,
                    region=source.key.region,
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
                )
            )
        return found

    def sinks(self) -> Sequence[interfaces.SinkAttempts]:
        """Return every sink that is configured."""
        running = {dispatcher.name: dispatcher for dispatcher in self._deliveries.dispatchers()}
        found = []
        for name, settings in self._state.loaded.settings.sinks.items():
            # A configured sink may have no dispatcher yet, or no longer.
            dispatcher = running.get(name)
            failed_at, error = (dispatcher.failure if dispatcher else None) or (None, None)
            found.append(
                interfaces.SinkAttempts(
                    name=name,
                    type=settings.type,
                    last_delivered_at=dispatcher.delivered_at if dispatcher else None,
                    last_error_at=failed_at,
                    last_error=error,
                    failing_since=dispatcher.failing_since if dispatcher else None,
                )
            )
        return found

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
        )

    def wake(self, sink: str) -> None:
        """Let a sink check at once for something to send."""
        self._deliveries.wake([sink])


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
