"""What the running daemon does at intervals: refresh metrics, keep the store's time, prune."""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, NoReturn

import anyio
import anyio.to_thread

from monitor import logs
from monitor.polling import history
from monitor.web.api.schemas import SinkView

if TYPE_CHECKING:
    from monitor.interfaces import Clock, Store
    from monitor.metrics import Metrics
    from monitor.polling import learned
    from monitor.runtime.reconfigure import Components, ConfigState
    from monitor.runtime.status import DaemonStatus

REFRESH = 2.0
"""Seconds between two readings of what metrics show of the store and the pollers."""

LEARN = 900.0
"""Seconds between two rounds of learning poll times from the ledger."""

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


async def learn(components: Components, state: ConfigState) -> NoReturn:
    """Learn the poll times of the watches that want it from the ledger, again and again."""
    log = logs.get()
    before: set[learned.Key] = set()
    while True:
        loaded = state.loaded
        watches = [each for each in loaded.settings.watches if each.schedule == "learned"]
        if watches:
            found = await history.durations(components.store)
            # Fitting takes a while, for which polls must not wait.
            compare = partial(history.compare, watches, loaded.types, found)
            comparisons = await anyio.to_thread.run_sync(lambda: list(compare()))  # noqa: B023 -- awaited here
            curves = {one.key: one.verdict.curve for one in comparisons if one.verdict.curve}
            components.polls.learned.use(curves)
            for type_, account, name in curves.keys() - before:
                log.info(logs.SCHEDULE_LEARNED, type=type_, account=account, state=name)
            before = set(curves)
        await anyio.sleep(LEARN)


async def prune(store: Store, state: ConfigState) -> NoReturn:
    """Delete history older than the configured retention, at once where that changes."""
    while True:
        # Taken first: a retention that changes while the store prunes would go unnoticed.
        changed = state.retention_changed
        retention = timedelta(seconds=state.loaded.settings.retention)
        await store.prune(store.store_time() - retention)
        with anyio.move_on_after(PRUNE):
            await changed.wait()
