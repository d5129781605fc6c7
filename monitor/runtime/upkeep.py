"""What the running daemon does at intervals: refresh metrics, keep the store's time, prune."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, NoReturn

import anyio

from monitor.web.api.schemas import SinkView

if TYPE_CHECKING:
    from monitor.interfaces import Clock, Store
    from monitor.metrics import Metrics
    from monitor.runtime.reconfigure import Components, ConfigState
    from monitor.runtime.status import DaemonStatus

REFRESH = 2.0
"""Seconds between two readings of what metrics show of the store and the pollers."""

PRUNE = 3600.0
"""Seconds between two rounds of deleting old history."""

KEEP_TIME = 300.0
"""Seconds after which the store's own time is stored; a crash loses so much of it at most."""


async def keep_time(store: Store) -> NoReturn:
    """Let the store write down its own time though nothing else is written."""
    while True:
        await anyio.sleep(KEEP_TIME)
        await store.ping()


async def refresh(
    components: Components, status: DaemonStatus, metrics: Metrics, clock: Clock
) -> NoReturn:
    """Show in the metrics what the store and the pollers say now."""
    store, polls = components.store, components.polls
    while True:
        metrics.last_pass.set(clock.now().timestamp() - polls.last_pass_age())
        metrics.owned_quotas.set(sum(1 for _ in polls.pollers()))
        backlogs = {backlog.sink: backlog for backlog in await store.backlog()}
        metrics.set_backlogs(backlogs.values())
        for sink in status.sinks():
            health = SinkView.of(sink, backlogs.get(sink.name), None)
            tried = sink.last_delivered_at is not None
            metrics.set_sink_health(sink.name, health.failing_since, tried=tried)
        metrics.set_parked(parking.sink for parking in await store.parkings())
        # Another process may have replayed something, or resumed a sink.
        components.deliveries.wake(sink for sink, backlog in backlogs.items() if backlog.pending)
        await anyio.sleep(REFRESH)


async def prune(store: Store, state: ConfigState) -> NoReturn:
    """Delete history older than the configured retention, at once where that changes."""
    while True:
        # Taken first: a retention that changes while the store prunes would go unnoticed.
        changed = state.retention_changed
        retention = timedelta(seconds=state.loaded.settings.retention)
        await store.prune(store.store_time() - retention)
        with anyio.move_on_after(PRUNE):
            await changed.wait()
