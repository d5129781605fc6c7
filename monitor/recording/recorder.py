"""The path from observations to transitions: compare, commit, then announce."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

from monitor import model
from monitor.clock import SystemClock
from monitor.errors import StoreError
from monitor.model import Kind, Severity, StateAndPhase
from monitor.recording import diff
from monitor.recording.archive import Archive
from monitor.recording.baselines import Baselines
from monitor.recording.flap_guard import FlapGuard
from monitor.recording.quiet import Quiet

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
    from datetime import datetime

    from monitor.interfaces import Store
    from monitor.recording.diff import TrackingOptions
    from monitor.recording.poll_times import SharedPollTime
    from monitor.recording.router import Router


_AT_ONCE = 5000
"""Times of polls that are stored in one step."""


class RecordResult(StrEnum):
    """The effect of a good poll on what is known."""

    CHANGED = "changed"
    UNCHANGED = "unchanged"
    STALE = "stale"
    UNCONFIRMED = "unconfirmed"


class RowComparison(StrEnum):
    """The difference between a row of a listing and what is known of its job."""

    FIRST = "first"
    SAME = "same"
    DIFFERENT = "different"
    OLDER = "older"


class Recorder:
    """Keeps the last snapshot of every watched job, and the ledger in step with it.

    Only one poll of a job may be recorded at a time; polls of different jobs may be
    recorded concurrently, and share commits.
    """

    def __init__(
        self,
        store: Store,
        router: Router,
        announce: Callable[[model.Entry, model.Snapshot | None], None],
        quiet: Quiet | None = None,
    ) -> None:
        """Call ``announce(entry, before)`` after each commit; ``quiet`` says what is not sent."""
        self.store = store
        self.router = router
        """Chooses the sinks; another that is assigned counts for all that is recorded later."""
        self._announce = announce
        self.quiet = quiet or Quiet(SystemClock().now)
        """What is recorded and not sent."""
        self._flaps = FlapGuard()
        self._snapshots: model.JobMap[model.Snapshot] = model.JobMap()
        self.snapshot = self._snapshots.get
        """Return the last known snapshot of a job: the same object until more than a time changes.

        Of a job that waits with a page, ``looked_at`` is that of an earlier poll; ``latest`` has
        that of the last one.
        """
        self._sources: dict[str, model.SourceState] = {}
        # Of jobs that wait with a page.
        self._poll_times: dict[model.Job, SharedPollTime] = {}
        # Of jobs that are no longer kept here, until that is stored: the last poll, and the
        # sequence of what it has shown.
        self._left: dict[model.Job, tuple[datetime, int]] = {}
        self.changes = 0
        """Counts the changes of what is known; while it is the same, so are all snapshots."""
        self._wanted: Callable[[model.Job], bool] = lambda _job: True
        self.is_elsewhere: Callable[[model.Job], bool] = lambda _job: False
        """Returns whether another replica polls a job by now."""
        self.archive = Archive(store.archive)
        """The followed jobs that are not in memory."""
        self.baselines = Baselines(store)
        """The baselines, by which jobs that are older than their watch are not news."""

    def keep_only(self, wanted: Callable[[model.Job], bool]) -> None:
        """Keep only the ``wanted`` jobs in memory from now on; the store keeps the others too.

        A poll that is under way still records another job, but does not keep it here.
        """
        self._wanted = wanted
        self.changes += 1
        for known in self._snapshots.values():
            if not wanted(known.job):
                self._left[known.job] = self._polled_at(known), known.sequence
                self._snapshots.pop(known.job)
                self._poll_times.pop(known.job, None)
        # One that comes back later must not count a poll from before.
        self._flaps.keep(self._snapshots)

    def snapshots(self) -> Sequence[model.Snapshot]:
        """Return the known jobs."""
        return self._snapshots.values()

    def adopt(self, snapshot: model.Snapshot) -> None:
        """Load what the store knows of a watched job."""
        self.changes += 1
        self._snapshots[snapshot.job] = snapshot
        self._left.pop(snapshot.job, None)
        self._poll_times.pop(snapshot.job, None)
        self._flaps.forget(snapshot.job)
        self.baselines.note_recorded(snapshot.job)

    async def recall(self, jobs: Iterable[model.Job]) -> None:
        """Find out which of these jobs only the store remembers, so that they can be compared."""
        unknown = [job.key for job in jobs if job not in self._snapshots]
        if unsettled := await self.archive.recall(unknown):
            await self.promote(unsettled)

    async def promote(self, keys: Collection[str]) -> None:
        """Keep jobs in memory again that only the store remembers."""
        taken = await self.archive.take(keys)
        self.changes += 1
        for known in taken:
            # Another task may have been first, and know more by now.
            if known.job not in self._snapshots:
                self._poll_times.pop(known.job, None)
                self._keep(known)

    async def catch_up(self, recorded: Mapping[model.Job, int]) -> None:
        """Load what another writer has recorded of jobs that are kept here: their last sequences.

        A replica that was cut off records what it saw before, though the job is another's by now.
        """
        behind = [
            job.key
            for job, sequence in recorded.items()
            if (known := self._snapshots.get(job)) is not None and known.sequence < sequence
        ]
        for stored in await self.archive.take(behind) if behind else ():
            known = self._snapshots.get(stored.job)
            # A poll may have been first, and found it when it recorded something.
            if known is not None and known.sequence < stored.sequence:
                self._poll_times.pop(stored.job, None)
                self._flaps.forget(stored.job)
                self._keep(stored)

    def release(self, known: model.Snapshot) -> None:
        """Keep a job no longer in memory, as the store has it as archived."""
        self.changes += 1
        self._snapshots.pop(known.job)
        self._poll_times.pop(known.job, None)

    def mark(self, job: model.Job) -> object:
        """Return what stands for all that is known of a job: another object once it changes."""
        return self._snapshots.get(job) or self.archive.epoch

    def adopt_sources(self, states: Iterable[model.SourceState]) -> None:
        """Load what the store knows of the sources."""
        self._sources.update((state.source.key, state) for state in states)

    def latest(self, job: model.Job) -> model.Snapshot | None:
        """Return the last known snapshot of a job, with the time of the last poll."""
        known = self._snapshots.get(job)
        if known is None or job not in self._poll_times:
            return known
        return known.replace(looked_at=self._polled_at(known))

    def note_poll(self, job: model.Job, asked_at: datetime) -> None:
        """Note a poll that was sent at ``asked_at`` and showed what is known of the job."""
        known = self._snapshots.get(job)
        if known is not None:
            self.note_again(known, asked_at)
        else:
            # It is not kept any longer, so what the poll has shown is unknown here.
            self._flaps.forget(job)

    def note_again(self, known: model.Snapshot, asked_at: datetime) -> None:
        """Note a poll as ``note_poll`` does; ``known`` is what is known of its job."""
        known.note_poll(asked_at)
        # Each has few jobs, or none, and this is called for each poll.
        if self._flaps.unconfirmed:
            self._flaps.forget(known.job)
        if self._poll_times:
            self._poll_times.pop(known.job, None)

    def share_poll(self, job: model.Job, asked_at: SharedPollTime) -> None:
        """Note all polls of a job, until another is noted, that a time they share stands for."""
        self._poll_times[job] = asked_at

    def own_poll(self, job: model.Job, asked_at: SharedPollTime) -> None:
        """Keep the last poll of a job that a shared time stood for: it will not do so again."""
        if self._poll_times.get(job) is asked_at:
            self.note_poll(job, asked_at.at)

    def is_unconfirmed(self, job: model.Job) -> bool:
        """Check that the last poll of a job has shown a state that more polls must confirm."""
        return self._flaps.holds(job)

    def is_lost(self, source: model.SourceKey) -> bool:
        """Check that a source was last recorded as unavailable."""
        state = self._sources.get(source.key)
        return bool(state and not state.available)

    async def observe(
        self,
        observed: model.Observation,
        options: TrackingOptions,
        *,
        insists: bool = False,
        owing: bool = False,
    ) -> RecordResult:
        """Record one poll; return after its transitions, if any, are durable.

        One that ``insists`` counts though the service dates it before what is known. If one that
        is ``owing`` brings a change, the snapshot notes that a describe is owed.
        """
        before = self.latest(observed.job)
        if before is None and self.is_elsewhere(observed.job):
            # It came late: whoever polls the job now knows whether it is new, and to whom.
            stored = await self.archive.store.find([observed.job.key])
            if not stored or observed.asked_at < stored[0][0].looked_at:
                return RecordResult.STALE
            before = stored[0][0]
        while True:
            compared = diff.compare(
                before,
                observed,
                options,
                self.store.store_time(),
                insists=insists,
                owing=owing,
                is_baseline=self.baselines.covers,
                reminds=self.quiet.reminds(before, options),
            )
            if compared is None:
                return RecordResult.STALE
            confirmed = self._flaps.confirmed(*compared, observed, options, self.store.store_time())
            if confirmed is None:
                return RecordResult.UNCONFIRMED
            after, made = confirmed
            if not made:
                self._note(after)
                return RecordResult.UNCHANGED
            if await self._commit(after, made, before, options.watch):
                return RecordResult.CHANGED
            # Another writer was first; what it polled later than this must not be undone.
            before = await self._reload(observed.job)
            if observed.asked_at < before.looked_at:
                return RecordResult.STALE

    def has_shown(
        self, observed: model.Observation, options: TrackingOptions, result: RecordResult
    ) -> bool:
        """Return whether a poll with this ``result`` would change nothing if it came again.

        What is known of the job decides, and not the poll alone: by now it may be another's.
        """
        if result is not RecordResult.CHANGED:
            return result is RecordResult.UNCHANGED
        known, own = self.latest(observed.job), self.store.store_time()
        if known is None:
            return False
        compared = diff.compare(known, observed, options, own, reminds=False)
        return compared is not None and compared[0].is_like(known)

    async def deny(self, job: model.Job, at: datetime, options: TrackingOptions) -> bool:
        """Record that AWS reports a known job as not existing; ``False`` if that was known."""
        before = self.latest(job)
        self._flaps.forget(job)
        while before is not None and not before.missing:
            compared = diff.compare(before, diff.Denial(at), options, self.store.store_time())
            if compared and await self._commit(*compared, before, options.watch):
                return True
            before = await self._reload(job)
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
        """Record that a source became (un)available between two polls; ``False`` if known."""
        while True:
            before = self._sources.get(source.key)
            if available == (before.available if before else True):
                return False
            made = self._availability(before, source, available, after, at, reason)
            if await self._commit(*made, None):
                return True
            # Another writer was first, or the source is another replica's by now.
            stored = await self.store.sources()
            self.adopt_sources(each for each in stored if each.source == source)
            if self._sources.get(source.key) == before:
                return False

    def _availability(
        self,
        before: model.SourceState | None,
        source: model.SourceKey,
        available: bool,  # noqa: FBT001 -- one caller
        after: datetime | None,
        at: datetime,
        reason: str | None,
    ) -> tuple[model.SourceState, tuple[model.Transition, ...]]:
        sequence = before.sequence if before else 0
        state = model.SourceState(source, available, sequence + 1, at, at)
        names = ("unavailable", "available")
        transition = model.Transition(
            subject=source,
            service=source.service,
            sequence=state.sequence,
            kind=Kind.SOURCE_RECOVERED if available else Kind.SOURCE_UNAVAILABLE,
            previous=StateAndPhase(names[not available], ""),
            current=StateAndPhase(names[available], ""),
            changes=(),
            # A wall clock that was set back must not turn the window round.
            after=min(after, at) if after else None,
            before=at,
            severity=Severity.INFO if available else Severity.WARNING,
            reason=reason,
            occurred_at=None,
            fields={},
            labels={},
        )
        return state, (transition,)

    def compare(self, row: model.Observation) -> RowComparison:
        """Compare a row of a listing with what is known of its job."""
        known: model.Snapshot | model.ArchivedRow | None = self._snapshots.get(row.job)
        if known is None:
            known = self.archive.row(row.job.key)
        if known is None:
            return RowComparison.FIRST
        dated = known.updated_at is not None and row.updated_at is not None
        if dated and diff.age_order(self.latest(row.job) or known, row) < 0:
            return RowComparison.OLDER
        agrees = all(value in {None, known.parts.get(name)} for name, value in row.parts.items())
        # An update time ahead of our clock is ignored here as in ``diff.compare``.
        updated_at = None if diff.is_misdated(row) else row.updated_at
        same = agrees and not known.missing and updated_at in {None, known.updated_at}
        return RowComparison.SAME if same else RowComparison.DIFFERENT

    async def confirm(self, row: model.Observation, options: TrackingOptions) -> None:
        """Record a row that agrees, and shows the whole state, as a poll."""
        known = self.latest(row.job)
        confirmation = diff.Confirmation(row.seen_at, row.asked_at)
        self._flaps.forget(row.job)
        compared = diff.compare(
            known,
            confirmation,
            options,
            self.store.store_time(),
            reminds=self.quiet.reminds(known, options),
        )
        if compared is None:
            return
        after, made = compared
        if not made:
            self._note(after)
        elif not await self._commit(after, made, known, options.watch):
            await self._reload(row.job)

    async def rest(self, since: datetime | None = None) -> int:
        """Store the times of the last polls, so that windows stay narrow over a restart.

        With ``since``, only those of polls that were sent later. Return how many there were.
        """
        # A copy: polls are recorded during the writes.
        jobs, many = self._snapshots.values(), 0
        for start in range(0, len(jobs), _AT_ONCE):
            some = jobs[start : start + _AT_ONCE]
            held = {one.job: (self._polled_at(one), one.sequence) for one in some}
            many += await self._store_polls(held, since)
        left = dict(self._left)
        many += await self._store_polls(left, since)
        for job, stored in left.items():
            if self._left.get(job) == stored:
                del self._left[job]
        gone = [job for job in self._poll_times if job not in self._snapshots]
        for job in gone:
            del self._poll_times[job]
        return many

    async def _store_polls(
        self, polls: Mapping[model.Job, tuple[datetime, int]], since: datetime | None
    ) -> int:
        """Store the times of polls that were sent later than ``since``; return how many."""
        later = {job.key: one for job, one in polls.items() if since is None or one[0] > since}
        await self.store.touch(
            {key: at for key, (at, _) in later.items()},
            {key: sequence for key, (_, sequence) in later.items()},
        )
        return len(later)

    def _polled_at(self, known: model.Snapshot) -> datetime:
        """Return when the last poll of a job was sent that showed what is known of it."""
        shared = self._poll_times.get(known.job)
        return known.looked_at if shared is None else shared.at

    async def _commit(
        self,
        after: model.Snapshot | model.SourceState,
        made: tuple[model.Transition, ...],
        before: model.Snapshot | None,
        watch: str = "",
    ) -> bool:
        """Store a snapshot with its transitions and announce them; ``False`` if out of date."""
        sinks = tuple(self.router.sinks_for(transition) for transition in made)
        held = tuple(self.quiet.hold_of(transition, watch) for transition in made)
        entry = model.Entry(after, after.sequence - len(made), made, sinks, held)
        # Nothing waits between ``hold_of`` and the queue of the store: see ``recording.quiet``.
        if not await self.store.record(entry):
            return False
        # Only now that it is durable: what a reader sees must survive a crash.
        if isinstance(after, model.Snapshot):
            self._poll_times.pop(after.job, None)
            self._keep(after)
            self.baselines.note_recorded(after.job)
        else:
            self._sources[after.source.key] = after
        self.quiet.note(made)
        self._announce(entry, before)
        return True

    async def _reload(self, job: model.Job) -> model.Snapshot:
        """Load what another writer, who was first, has stored."""
        found = await self.archive.take([job.key])
        if not found:
            raise StoreError(f"the store has lost the job {job.key}; restore it or start a new one")
        (snapshot,) = found
        self._poll_times.pop(job, None)
        self._keep(snapshot)
        return snapshot

    def _note(self, after: model.Snapshot) -> None:
        """Keep in memory what a poll without transitions has shown: as a rule, its time alone.

        It is not worth a write: ``rest`` stores the time later.
        """
        known = self._snapshots.get(after.job)
        if known is None or not after.is_like(known):
            self._keep(after)
        self.note_poll(after.job, after.looked_at)
        if after.job not in self._snapshots:
            self._left[after.job] = after.looked_at, after.sequence

    def _keep(self, snapshot: model.Snapshot) -> None:
        self.changes += 1
        if self._wanted(snapshot.job):
            self._snapshots[snapshot.job] = snapshot
            self._left.pop(snapshot.job, None)
