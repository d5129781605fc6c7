"""Observations become transitions: judged, compared, committed, then announced."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

from monitor import model
from monitor.errors import StoreError
from monitor.model import Kind, Severity, StateAndPhase
from monitor.recording import diff
from monitor.recording.baselines import Baselines

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from datetime import datetime

    from monitor.interfaces import Store
    from monitor.recording.diff import TrackingOptions
    from monitor.recording.router import Router


class RecordResult(StrEnum):
    """The effect of a good poll on what is known."""

    CHANGED = "changed"
    UNCHANGED = "unchanged"
    STALE = "stale"


class RowComparison(StrEnum):
    """How a row of a listing stands to what is known of its job."""

    FIRST = "first"
    SAME = "same"
    DIFFERENT = "different"
    OLDER = "older"


class Recorder:
    """Keeps the last snapshot of every followed job, and the ledger in step with it.

    Only one look at a job may be recorded at a time; looks at different jobs may be
    recorded concurrently, and share commits.
    """

    def __init__(
        self,
        store: Store,
        router: Router,
        announce: Callable[[model.Entry, model.Snapshot | None], None],
    ) -> None:
        """``announce(entry, before)`` is called after each commit."""
        self._store = store
        self._router = router
        self._announce = announce
        self._snapshots: dict[str, model.Snapshot] = {}
        self._sources: dict[str, model.SourceState] = {}
        self._poll_times: dict[str, datetime] = {}
        self._wanted: Callable[[model.Job], bool] = lambda _job: True
        self.baselines = Baselines(store)
        """Which of the jobs that are seen for the first time were there before."""

    def route(self, router: Router) -> None:
        """Address by ``router`` all that is recorded from now on."""
        self._router = router

    def keep_only(self, wanted: Callable[[model.Job], bool]) -> None:
        """Know only the jobs that are ``wanted``, from now on; the store keeps the others too.

        What a look under way still sees of another job is recorded, but not kept here.
        """
        self._wanted = wanted
        self._snapshots = {
            key: known for key, known in self._snapshots.items() if wanted(known.job)
        }

    def snapshots(self) -> Sequence[model.Snapshot]:
        """Return the known jobs."""
        return list(self._snapshots.values())

    def adopt(self, snapshot: model.Snapshot) -> None:
        """Go on from what the store knows of a job that is wanted."""
        self._snapshots[snapshot.job.key] = snapshot
        self.baselines.note_recorded(snapshot.job)

    def adopt_sources(self, states: Iterable[model.SourceState]) -> None:
        """Go on from what the store knows of the sources."""
        self._sources.update((state.source.key, state) for state in states)

    def snapshot(self, key: str) -> model.Snapshot | None:
        """Return the last known snapshot of a job."""
        return self._snapshots.get(key)

    @property
    def size(self) -> int:
        """How many jobs are known."""
        return len(self._snapshots)

    def is_lost(self, source: model.SourceKey) -> bool:
        """Whether a source was last recorded as unavailable."""
        state = self._sources.get(source.key)
        return bool(state and not state.available)

    def own_time(self) -> datetime:
        """Return the store's own time, by which ages are measured."""
        return self._store.own_time()

    async def observe(
        self,
        seen: model.Observation,
        options: TrackingOptions,
        *,
        insists: bool = False,
        owing: bool = False,
    ) -> RecordResult:
        """Record one look; returns after its transitions, if any, are durable.

        One that ``insists`` counts though the service dates it before what is known. Where one
        that is ``owing`` brings a change, the snapshot says that a describe is owed.
        """
        before = self._snapshots.get(seen.job.key)
        while True:
            compared = diff.compare(
                before,
                seen,
                options,
                self.own_time(),
                insists=insists,
                owing=owing,
                is_baseline=self.baselines.covers,
            )
            if compared is None:
                return RecordResult.STALE
            after, made = compared
            if not made:
                self._note(after)
                return RecordResult.UNCHANGED
            if await self._commit(after, made, before):
                return RecordResult.CHANGED
            # Another writer was first: what it polled later than this must not be undone.
            before = await self._reload(seen.job.key)
            if seen.asked_at < before.looked_at:
                return RecordResult.STALE

    async def deny(self, job: model.Job, at: datetime, options: TrackingOptions) -> bool:
        """Record that AWS reports a known job as not existing; ``False`` if that was known."""
        before = self._snapshots.get(job.key)
        while before is not None and not before.missing:
            compared = diff.compare(before, diff.Denial(at), options, self.own_time())
            if compared and await self._commit(*compared, before):
                return True
            before = await self._reload(job.key)
        return False

    async def record_availability(
        self,
        source: model.SourceKey,
        *,
        available: bool,
        after: datetime | None,
        at: datetime,
        reason: str | None,
    ) -> bool:
        """Record that a source was lost or found between two looks; ``False`` if that was known."""
        before = self._sources.get(source.key)
        if available == (before.available if before else True):
            return False
        sequence = before.sequence if before else 0
        state = model.SourceState(source, available, sequence + 1, at, at)
        made = (_source_transition(state, after, reason),)
        return await self._commit(state, made, None)

    def compare(self, row: model.Observation) -> RowComparison:
        """Say how a row of a listing stands to what is known of its job."""
        known = self._snapshots.get(row.job.key)
        if known is None:
            return RowComparison.FIRST
        if diff.age_order(known, row) < 0:
            return RowComparison.OLDER
        told = all(value in {None, known.parts.get(name)} for name, value in row.parts.items())
        # An update time ahead of our clock is ignored here as in ``diff.compare``.
        updated_at = None if diff.is_misdated(row) else row.updated_at
        same = told and not known.missing and updated_at in {None, known.updated_at}
        return RowComparison.SAME if same else RowComparison.DIFFERENT

    async def confirm(self, row: model.Observation, options: TrackingOptions) -> None:
        """Take a row that agrees, and tells the whole state, as a look."""
        known = self._snapshots[row.job.key]
        confirmation = diff.Confirmation(row.seen_at, row.asked_at)
        compared = diff.compare(known, confirmation, options, self.own_time())
        if compared is None:
            return
        after, made = compared
        if not made:
            self._note(after)
        elif not await self._commit(after, made, known):
            await self._reload(row.job.key)

    async def rest(self) -> None:
        """Store the times of the last looks, so that windows stay narrow over a restart."""
        looks, self._poll_times = self._poll_times, {}
        await self._store.touch(looks)

    async def _commit(
        self,
        after: model.Snapshot | model.SourceState,
        made: tuple[model.Transition, ...],
        before: model.Snapshot | None,
    ) -> bool:
        """Store a snapshot with its transitions and announce them; ``False`` if out of date."""
        sinks = tuple(self._router.sinks_for(transition) for transition in made)
        entry = model.Entry(after, after.sequence - len(made), made, sinks)
        if not await self._store.record(entry):
            return False
        # Only now that it is durable: what a reader is shown must survive a crash.
        if isinstance(after, model.Snapshot):
            self._poll_times.pop(after.job.key, None)
            self._keep(after)
            self.baselines.note_recorded(after.job)
        else:
            self._sources[after.source.key] = after
        self._announce(entry, before)
        return True

    async def _reload(self, key: str) -> model.Snapshot:
        """Another writer was first: go on from what it wrote."""
        snapshot = await self._store.snapshot(key)
        if snapshot is None:
            raise StoreError(f"the store has lost the job {key}; restore it or start a new one")
        self._keep(snapshot)
        return snapshot

    def _note(self, snapshot: model.Snapshot) -> None:
        """Keep in memory what is not worth a write: the time of the look, unwatched fields."""
        self._keep(snapshot)
        self._poll_times[snapshot.job.key] = snapshot.looked_at

    def _keep(self, snapshot: model.Snapshot) -> None:
        if self._wanted(snapshot.job):
            self._snapshots[snapshot.job.key] = snapshot


def _source_transition(
    state: model.SourceState, after: datetime | None, reason: str | None
) -> model.Transition:
    names = ("unavailable", "available")
    return model.Transition(
        subject=state.source,
        service=state.source.service,
        sequence=state.sequence,
        kind=Kind.SOURCE_RECOVERED if state.available else Kind.SOURCE_UNAVAILABLE,
        previous=StateAndPhase(names[not state.available], ""),
        current=StateAndPhase(names[state.available], ""),
        changes=(),
        after=min(after, state.changed_at) if after else None,
        before=state.changed_at,
        severity=Severity.INFO if state.available else Severity.WARNING,
        reason=reason,
        occurred_at=None,
        fields={},
        labels={},
    )
