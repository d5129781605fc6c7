"""Keeps silences and acknowledgements: in the store, in memory, and at their ends."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, NoReturn

import anyio

from monitor import logs, model
from monitor.model import Phase
from monitor.recording.quiet import MAINTENANCE, Quiet

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from monitor.interfaces import Clock
    from monitor.metrics import Metrics
    from monitor.stores.store import SqlStore

LONGEST_PAUSE = 60.0
"""Seconds, at most, between two passes: a wall clock may be set."""

_TROUBLE = frozenset({Phase.FAILED, Phase.EXPIRED, Phase.CANCELED})


class QuietKeeper:
    """Adds and ends silences and acknowledgements while the daemon runs."""

    def __init__(
        self,
        store: SqlStore,
        quiet: Quiet,
        metrics: Metrics,
        clock: Clock,
        watch_of: Callable[[str, str | None], str | None],
        wake: Callable[[], None],
        retention: Callable[[], float],
        shows: Callable[[], bool] = lambda: True,
    ) -> None:
        """``watch_of`` names the watch of a job, from any thread; ``wake`` wakes all sinks.

        ``shows`` says that this process counts for all replicas that share the store.
        Silences are forgotten ``retention`` seconds after their end; an acknowledgement so long
        after it was made, if its job is archived by then.
        """
        self._store = store
        self._quiet = quiet
        self._metrics = metrics
        self._clock = clock
        self._watch_of = watch_of
        self._wake_sinks = wake
        self._retention = retention
        self._shows = shows
        self._changed = anyio.Event()
        self._edits = 0
        self._started = False
        self._log = logs.get()
        quiet.changed = self._change

    def _change(self) -> None:
        self._changed.set()

    async def load(self) -> None:
        """Load what the store knows: before anything is recorded, or as another replica has it."""
        while True:
            edits = self._edits
            stored = await self._store.silences.all()
            if not self._started:
                await self._store.silences.withdraw_ended()
            current = await self._store.silences.acknowledgements()
            # What was changed here meanwhile may not be in what was read.
            if edits == self._edits:
                break
        for silence in stored:
            self._quiet.keep(silence)
        for gone in {each.id for each in self._quiet.silences()} - {each.id for each in stored}:
            self._quiet.forget(gone)
        for each in current:
            self._quiet.acknowledge(each)
        known = {each.key for each in self._quiet.acknowledgements()}
        for key in known - {each.key for each in current}:
            self._quiet.withdraw(key)
        self._quiet.active()
        self._change()

    async def begin(self) -> None:
        """Release what was held by silences that ended while no daemon ran.

        The configuration must be in effect: its maintenance windows hold what they held.
        """
        self._started = True
        # Some may have ended since ``load``, when ``run`` could not yet release them.
        await self._release(self._quiet.over())
        self._change()

    async def run(self) -> NoReturn:
        """End silences when their time is over, again and again."""
        while True:
            self._changed = anyio.Event()
            if self._started:
                await self.pass_once()
            with anyio.move_on_after(self._pause()):
                await self._changed.wait()

    async def pass_once(self) -> None:
        """Release what is over, forget what is old, and show the rest in the metrics."""
        if over := self._quiet.over():
            await self._release(over)
        if ended := self._quiet.take_ended():
            # Those that were acknowledged again meanwhile stay.
            gone = [key for key in ended if self._quiet.acknowledgement(key) is None]
            await self._store.silences.withdraw(gone)
        oldest = self._clock.now() - timedelta(seconds=self._retention())
        old = [each.id for each in self._quiet.silences() if each.ends_at < oldest]
        if old:
            await self._store.silences.forget(old)
            for silence_id in old:
                self._quiet.forget(silence_id)
        keys = [each.key for each in self._quiet.acknowledgements() if each.at < oldest]
        # A job that has ended for good never changes again.
        for known, _ in await self._store.archive.find(keys, live=False):
            await self.withdraw(known.job.key)
        active = self._quiet.active()
        windows = sum(name.startswith(MAINTENANCE) for name in active)
        shown = self._shows()
        self._metrics.silences_active.set((len(active) - windows) if shown else 0)
        self._metrics.maintenance_active.set(windows if shown else 0)
        acknowledged = len(self._quiet.acknowledgements())
        self._metrics.jobs_acknowledged.set(acknowledged if shown else 0)

    async def _release(self, over: set[str]) -> None:
        holds = self._quiet.let_go(over)
        # Nothing waits between ``let_go`` and the queue of the store: see ``recording.quiet``.
        many = await self._store.silences.release(
            lambda key, parent, event: holds.hold(event, self._watch_of(key, parent)) is not None
        )
        for name in sorted(over):
            self._log.info(logs.SILENCE_ENDED, silence=name, sent=many)
        if many:
            self._wake_sinks()

    def _pause(self) -> float:
        """Return the seconds until the next silence begins or ends, or a window may."""
        now = self._clock.now()
        times = (at for each in self._quiet.silences() for at in (each.starts_at, each.ends_at))
        pause = min(((at - now).total_seconds() for at in times if at > now), default=LONGEST_PAUSE)
        if self._quiet.has_windows:
            # They begin and end with a minute.
            pause = min(pause, 60.0 - now.second - now.microsecond / 1e6)
        return min(max(pause, 0.0), LONGEST_PAUSE)

    # For the API

    def silences(self) -> Sequence[model.Silence]:
        """Return every silence, the one that ends last first."""
        return self._quiet.silences()

    async def add(self, silence: model.Silence) -> None:
        """Store a silence, and let it hold from its beginning."""
        await self._store.silences.keep(silence)
        self._edits += 1
        self._quiet.keep(silence)
        ends_at = silence.ends_at.isoformat(timespec="seconds")
        about = {"silence": silence.id, "author": silence.author, "ends_at": ends_at}
        self._log.info(logs.SILENCE_ADDED, **about)
        await self.pass_once()

    async def expire(self, silence_id: str) -> model.Silence | None:
        """End a silence now, and release what it held; ``None`` if there is none of that id."""
        found = next((each for each in self._quiet.silences() if each.id == silence_id), None)
        now = self._clock.now()
        if found is None or found.ends_at <= now:
            return found
        ended = replace(found, starts_at=min(found.starts_at, now), ends_at=now)
        await self._store.silences.keep(ended)
        self._edits += 1
        self._quiet.keep(ended)
        self._log.info(logs.SILENCE_EXPIRED, silence=silence_id)
        await self.pass_once()
        return ended

    async def acknowledge(self, key: str, author: str, comment: str) -> bool | None:
        """Acknowledge a job; ``None`` if it is not in trouble, ``False`` if it changes just now."""
        known = await self._store.snapshot(key)
        if known is None or not (known.phase in _TROUBLE or known.stuck or known.missing):
            return None
        made = model.Acknowledgement(key, known.sequence, author, comment, self._clock.now())
        if not await self._store.silences.acknowledge(made):
            return False
        # A change that was recorded since the commit has ended it already.
        current = await self._store.silences.acknowledgements()
        if made not in current:
            return False
        self._edits += 1
        self._quiet.acknowledge(made)
        self._log.info(logs.JOB_ACKNOWLEDGED, job=key, author=author)
        self._change()
        return True

    async def withdraw(self, key: str) -> bool:
        """Withdraw an acknowledgement; ``False`` if there was none."""
        found = await self._store.silences.withdraw([key])
        self._edits += 1
        self._quiet.withdraw(key)
        self._change()
        return found
