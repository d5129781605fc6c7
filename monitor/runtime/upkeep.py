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
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from monitor.interfaces import Clock, Store
    from monitor.metrics import Metrics
    from monitor.model import Backlog
    from monitor.polling import learned
    from monitor.polling.archiver import Archiver
    from monitor.recording.recorder import Recorder
    from monitor.runtime.reconfigure import Components, ConfigState
    from monitor.runtime.status import DaemonStatus

REFRESH = 2.0
"""Seconds between two readings of what metrics show of the store and the pollers."""

LEARN = 900.0
"""Seconds between two rounds of learning poll times from the ledger."""

PRUNE = 3600.0
"""Seconds between two rounds of deleting old history."""

ARCHIVE = 30.0
"""Seconds between two rounds of archiving jobs that have ended."""

INDEX_PAUSES = 4
"""How much longer the indexing of old texts rests than it works."""

KEEP_TIME = 10.0
"""Seconds after which the store's own time is stored; a crash loses so much of it at most.

From it, and from the wall time beside it, the next start knows how long jobs were not polled.
"""


KEEP_POLLS = 60.0
"""Seconds between two times that the times of polls are stored: a kill loses so much of them."""

POLLS_A_SECOND = 200
"""Times that are stored, at most and on average, as each rewrites a row: more are stored rarer."""

LONGEST_POLL = 60.0
"""Seconds from when a poll is sent until its time is known."""


async def keep_polls(recorder: Recorder, clock: Clock) -> NoReturn:
    """Store now and then when jobs were polled, so that a kill costs no burst at the next start."""
    since: datetime | None = None
    pause = KEEP_POLLS
    while True:
        await anyio.sleep(pause)
        began = clock.now()
        # A wall clock that was set back tells nothing of what is stored.
        stored = await recorder.rest(since if since and since < began else None)
        since = began - timedelta(seconds=LONGEST_POLL)
        pause = max(KEEP_POLLS, stored / POLLS_A_SECOND)


async def keep_time(store: Store) -> NoReturn:
    """Let the store write down its own time though nothing else is written."""
    while True:
        await anyio.sleep(KEEP_TIME)
        await store.ping()


async def refresh(
    components: Components,
    status: DaemonStatus,
    state: ConfigState,
    metrics: Metrics,
    clock: Clock,
) -> NoReturn:
    """Show in the metrics what the store and the pollers say now."""
    store, polls = components.store, components.polls
    written: object = None
    backlogs: dict[str, Backlog] = {}
    parked: list[str] = []
    while True:
        metrics.last_pass.set(clock.now().timestamp() - polls.last_pass_age())
        metrics.owned_quotas.set(sum(1 for _ in polls.pollers()))
        metrics.owned_sinks.set(sum(1 for _ in components.deliveries.dispatchers()))
        # Taken before what it stands for is read: what is written meanwhile is read next time.
        before, written = written, store.written()
        if written != before:
            backlogs = {backlog.sink: backlog for backlog in await store.backlog()}
            parked = [parking.sink for parking in await store.parkings()]
            # Another process may have replayed something, or resumed a sink.
            waiting = [sink for sink, backlog in backlogs.items() if backlog.pending]
            components.deliveries.wake(waiting)
        metrics.set_backlogs(_shown(backlogs, state))
        metrics.set_parked(parked)
        for sink in status.sinks():
            health = SinkView.of(sink, backlogs.get(sink.name), None)
            tried = sink.last_delivered_at is not None
            metrics.set_sink_health(sink.name, health.failing_since, tried=tried)
        await anyio.sleep(REFRESH)


def _shown(backlogs: Mapping[str, Backlog], state: ConfigState) -> Sequence[Backlog]:
    """Return the backlogs that this process shows: so that those of all replicas add up."""
    owned, configured = state.owned_sinks(), state.loaded.settings.sinks
    return [
        each
        for name, each in backlogs.items()
        if name in owned or (state.upkeep and name not in configured)
    ]


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
            compare = partial(history.compare, watches, loaded.types, found, hinted=True)
            comparisons = await anyio.to_thread.run_sync(lambda: list(compare()))  # noqa: B023 -- awaited here
            curves = {one.curve_key: one.verdict.curve for one in comparisons if one.verdict.curve}
            components.polls.learned.use(curves)
            states = {key[:3] for key in curves}
            for type_, account, name in states - before:
                log.info(logs.SCHEDULE_LEARNED, type=type_, account=account, state=name)
            before = states
        await anyio.sleep(LEARN)


async def archive(archiver: Archiver) -> NoReturn:
    """Let jobs leave memory that have ended long enough ago, again and again."""
    while True:
        await anyio.sleep(ARCHIVE)
        await archiver.archive_once()


async def index_texts(store: Store, clock: Clock) -> None:
    """Index the texts of jobs archived before there was an index; log if there is none."""
    started = clock.monotonic()
    while await store.archive.index_texts():
        # With pauses, so that polls and the commits of others do not wait.
        await anyio.sleep(INDEX_PAUSES * (clock.monotonic() - started))
        started = clock.monotonic()
    if not await store.archive.has_text_index():
        logs.get().info(logs.TEXTS_UNINDEXED)


async def prune(store: Store, state: ConfigState) -> NoReturn:
    """Delete history older than the configured retention, at once where that changes."""
    while True:
        # Taken first: a retention that changes while the store prunes would go unnoticed.
        changed = state.retention_changed
        retention = timedelta(seconds=state.loaded.settings.retention)
        if state.upkeep:
            await store.prune(store.store_time() - retention)
        with anyio.move_on_after(PRUNE):
            await changed.wait()
