"""Observations become transitions: judged, compared, committed, then announced."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING

from monitor import diff, model
from monitor.model import Kind, Severity, Standing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from datetime import datetime

    from monitor.interfaces import JobType, Store
    from monitor.routes import Router


class Outcome(StrEnum):
    """What a good look brought."""

    CHANGED = "changed"
    UNCHANGED = "unchanged"
    STALE = "stale"


@dataclass(frozen=True, slots=True)
class Following:
    """How the transitions of a job are to be told."""

    job_type: JobType
    labels: Mapping[str, str]
    stuck_after: float | None = None


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
        self.counts: Counter[tuple[str, str, str, str]] = Counter()
        """Followed jobs by (type, account, region, phase)."""

    def adopt(self, snapshot: model.Snapshot) -> None:
        """Go on from what the store knows of a job."""
        self._keep(snapshot)

    def adopt_sources(self, states: Iterable[model.SourceState]) -> None:
        """Go on from what the store knows of the sources."""
        self._sources.update((state.source.key, state) for state in states)

    def snapshot(self, key: str) -> model.Snapshot | None:
        """Return the last known snapshot of a job."""
        return self._snapshots.get(key)

    def is_lost(self, source: model.SourceKey) -> bool:
        """Whether a source was last recorded as unavailable."""
        state = self._sources.get(source.key)
        return bool(state and not state.available)

    async def observe(self, seen: model.Observation, following: Following) -> Outcome:
        """Record one look; returns after its transitions, if any, are durable."""
        while True:
            before = self._snapshots.get(seen.job.key)
            after = self._after(before, seen, following.job_type)
            if after is None:
                return Outcome.STALE
            entry = self._entry(before, after, seen.seen_at, following)
            if entry is None:
                self._note(after)
                return Outcome.UNCHANGED
            if await self._commit(entry, before):
                return Outcome.CHANGED
            await self._reload(seen.job.key)

    async def deny(self, job: model.Job, at: datetime, following: Following) -> bool:
        """Record that AWS says a known job does not exist; ``False`` if that was known."""
        before = self._snapshots.get(job.key)
        if before is None or before.missing:
            return False
        after, made = diff.transitions(
            before,
            replace(before, missing=True),
            (Kind.MISSING,),
            (),
            seen_at=at,
            service=following.job_type.service,
            labels=following.labels,
        )
        return await self._commit(self._addressed(after, before.sequence, made), before)

    async def turn(
        self, source: model.SourceKey, *, available: bool, at: datetime, reason: str | None
    ) -> bool:
        """Record that a source was lost or found; ``False`` if that was known."""
        before = self._sources.get(source.key)
        if available == (before.available if before else True):
            return False
        sequence = before.sequence if before else 0
        after = model.SourceState(source, available, sequence + 1, at, at)
        made = (_source_transition(before, after, reason),)
        return await self._commit(self._addressed(after, sequence, made), None)

    def agrees(self, row: model.Observation) -> bool:
        """Whether a row of a listing shows what is already known of its job."""
        known = self._snapshots.get(row.job.key)
        if known is None or known.missing:
            return False
        if row.updated_at and known.updated_at and row.updated_at != known.updated_at:
            return row.updated_at < known.updated_at
        return all(value in {None, known.parts.get(name)} for name, value in row.parts.items())

    def confirm(self, row: model.Observation) -> None:
        """Take a row that agrees, and tells the whole state, as a look."""
        known = self._snapshots[row.job.key]
        self._note(replace(known, looked_at=row.asked_at))

    async def rest(self) -> None:
        """Store the times of the last looks, so that windows stay narrow over a restart."""
        looks, self._looks = self._looks, {}
        await self._store.touch(looks)

    def _after(
        self, before: model.Snapshot | None, seen: model.Observation, job_type: JobType
    ) -> model.Snapshot | None:
        """Judge a look; ``None`` if it cannot be newer than what is known."""
        if diff.is_stale(before, seen):
            return None
        parts = diff.merged_parts(before, seen.parts)
        verdict = job_type.judge(parts, before.phase if before else None)
        return diff.advance(before, seen, verdict) if verdict else None

    def _entry(
        self,
        before: model.Snapshot | None,
        after: model.Snapshot,
        seen_at: datetime,
        following: Following,
    ) -> model.Entry | None:
        changed = diff.changes(before, after, following.job_type.unwatched()) if before else ()
        told = tuple(diff.kinds(before, after, changed, following.stuck_after))
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
            self._keep(entry.snapshot)
        else:
            self._sources[entry.snapshot.source.key] = entry.snapshot
        self._announce(entry, before)
        return True

    async def _reload(self, key: str) -> None:
        """Another writer was first: go on from what it wrote."""
        snapshot = await self._store.snapshot(key)
        if snapshot is not None:
            self._keep(snapshot)

    def _note(self, snapshot: model.Snapshot) -> None:
        """Keep in memory what is not worth a write: the time of the look, unwatched fields."""
        self._keep(snapshot)
        self._looks[snapshot.job.key] = snapshot.looked_at

    def _keep(self, snapshot: model.Snapshot) -> None:
        job = snapshot.job
        known = self._snapshots.get(job.key)
        if known is None or known.phase is not snapshot.phase:
            self.counts[job.type, job.account, job.region, snapshot.phase] += 1
            if known is not None:
                self.counts[job.type, job.account, job.region, known.phase] -= 1
        self._snapshots[job.key] = snapshot


def _source_transition(
    before: model.SourceState | None, after: model.SourceState, reason: str | None
) -> model.Transition:
    state = "available" if after.available else "unavailable"
    return model.Transition(
        subject=after.source,
        service=after.source.service,
        sequence=after.sequence,
        kind=Kind.SOURCE_RECOVERED if after.available else Kind.SOURCE_UNAVAILABLE,
        previous=Standing("unavailable" if after.available else "available", ""),
        current=Standing(state, ""),
        changes=(),
        after=before.looked_at if before else None,
        before=after.changed_at,
        severity=Severity.INFO if after.available else Severity.WARNING,
        reason=reason,
        occurred_at=None,
        fields={},
        labels={},
    )
