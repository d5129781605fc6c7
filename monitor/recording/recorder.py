"""Observations become transitions: judged, compared, committed, then announced."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING

from monitor import model
from monitor.errors import StoreError
from monitor.model import Kind, Severity, StateAndPhase
from monitor.recording import diff
from monitor.recording.baselines import Baselines

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from datetime import datetime

    from monitor.interfaces import JobType, Store
    from monitor.recording.router import Router
    from monitor.recording.stuck import Limits


class Outcome(StrEnum):
    """What a good look brought."""

    CHANGED = "changed"
    UNCHANGED = "unchanged"
    STALE = "stale"


class RowComparison(StrEnum):
    """How a row of a listing stands to what is known of its job."""

    FIRST = "first"
    SAME = "same"
    DIFFERENT = "different"
    OLDER = "older"


@dataclass(frozen=True, slots=True)
class TrackingOptions:
    """How the transitions of a job are to be told, and by which watch."""

    job_type: JobType
    labels: Mapping[str, str]
    stuck_after: Limits = None
    watch: str = ""


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
        self._looks: dict[str, datetime] = {}
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
        following: TrackingOptions,
        *,
        insists: bool = False,
        owing: bool = False,
    ) -> Outcome:
        """Record one look; returns after its transitions, if any, are durable.

        One that ``insists`` counts though the service dates it before what is known. Where one
        that is ``owing`` brings a change, the snapshot says that a describe is owed.
        """
        seen = diff.dated(seen)
        before = self._snapshots.get(seen.job.key)
        while True:
            stale = diff.is_stale(before, seen) and not insists
            after = None if stale else self._after(before, seen, following.job_type)
            if after is None:
                return Outcome.STALE
            after = replace(after, describe_owed=owing)
            entry = self._entry(before, after, seen.seen_at, following)
            if entry is None:
                owed = owing and before is not None and before.describe_owed
                self._note(replace(after, describe_owed=owed))
                return Outcome.UNCHANGED
            if await self._commit(entry, before):
                return Outcome.CHANGED
            # What the other writer saw later than this must not be undone.
            before = await self._reload(seen.job.key)
            if seen.asked_at < before.looked_at:
                return Outcome.STALE

    async def deny(self, job: model.Job, at: datetime, following: TrackingOptions) -> bool:
        """Record that AWS says a known job does not exist; ``False`` if that was known."""
        before = self._snapshots.get(job.key)
        while before is not None and not before.missing:
            if await self._commit(self._denial(before, at, following), before):
                return True
            before = await self._reload(job.key)
        return False

    async def turn(
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
        return await self._commit(self._addressed(state, sequence, made), None)

    def compare(self, row: model.Observation) -> RowComparison:
        """Say how a row of a listing stands to what is known of its job."""
        known = self._snapshots.get(row.job.key)
        if known is None:
            return RowComparison.FIRST
        row = diff.dated(row)
        if diff.is_stale(known, row):
            return RowComparison.OLDER
        told = all(value in {None, known.parts.get(name)} for name, value in row.parts.items())
        same = told and not known.missing and row.updated_at in {None, known.updated_at}
        return RowComparison.SAME if same else RowComparison.DIFFERENT

    async def confirm(self, row: model.Observation, following: TrackingOptions) -> None:
        """Take a row that agrees, and tells the whole state, as a look."""
        known = self._snapshots[row.job.key]
        after = replace(known, looked_at=row.asked_at)
        entry = self._entry(known, after, row.seen_at, following)
        if entry is None:
            self._note(after)
        elif not await self._commit(entry, known):
            await self._reload(row.job.key)

    async def rest(self) -> None:
        """Store the times of the last looks, so that windows stay narrow over a restart."""
        looks, self._looks = self._looks, {}
        await self._store.touch(looks)

    def _after(
        self, before: model.Snapshot | None, seen: model.Observation, job_type: JobType
    ) -> model.Snapshot | None:
        """Judge a look; ``None`` if the job cannot have come to that state."""
        parts = diff.merged_parts(before, seen.parts)
        verdict = job_type.judge(parts, before.phase if before else None)
        if verdict is None:
            return None
        after = diff.aged(before, diff.advance(before, seen, verdict), self.own_time())
        # Here, and not with each caller: whoever records a job first, it is of the baseline or not.
        return (
            after
            if before
            else replace(after, baseline=self.baselines.covers(after, seen.created_at))
        )

    def _entry(
        self,
        before: model.Snapshot | None,
        after: model.Snapshot,
        seen_at: datetime,
        following: TrackingOptions,
    ) -> model.Entry | None:
        changed = diff.changes(before, after, following.job_type.unwatched()) if before else ()
        own, limits = self.own_time(), following.stuck_after
        told = tuple(diff.kinds(before, after, changed, limits, own))
        if not told:
            return None
        after, made = diff.transitions(
            before,
            after,
            told,
            changed,
            seen_at=seen_at,
            service=following.job_type.service,
            labels=following.labels,
        )
        return self._addressed(after, before.sequence if before else 0, made)

    def _denial(
        self, before: model.Snapshot, at: datetime, following: TrackingOptions
    ) -> model.Entry:
        after, made = diff.transitions(
            before,
            replace(before, missing=True, describe_owed=False),
            (Kind.MISSING,),
            (),
            seen_at=at,
            service=following.job_type.service,
            labels=following.labels,
        )
        return self._addressed(after, before.sequence, made)

    def _addressed(
        self,
        after: model.Snapshot | model.SourceState,
        expected: int,
        made: tuple[model.Transition, ...],
    ) -> model.Entry:
        sinks = tuple(self._router.sinks_for(transition) for transition in made)
        return model.Entry(after, expected, made, sinks)

    async def _commit(self, entry: model.Entry, before: model.Snapshot | None) -> bool:
        if not await self._store.record(entry):
            return False
        if isinstance(entry.snapshot, model.Snapshot):
            self._looks.pop(entry.snapshot.job.key, None)
            self._keep(entry.snapshot)
            self.baselines.note_recorded(entry.snapshot.job)
        else:
            self._sources[entry.snapshot.source.key] = entry.snapshot
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
        self._looks[snapshot.job.key] = snapshot.looked_at

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
