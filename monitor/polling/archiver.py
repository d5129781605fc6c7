"""Archives jobs that have ended, so that they cost no memory however many they are.

The order makes a crash harmless: the store has a job as archived before it leaves memory, and as
live before it comes back. What was marked and not released is archived after the next start;
what was taken and not polled is live, and found to be finished.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Protocol

import anyio

from monitor import pacing
from monitor.model import Archived, Job, Phase, SourceKey
from monitor.polling.claims import Claims, discovery_of
from monitor.polling.manager import type_of
from monitor.polling.turn_queue import State
from monitor.recording.archive import RecentEnd, kind_of, mark_of, place_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    from monitor import config, interfaces
    from monitor.interfaces import Clock
    from monitor.model import ArchiveMark, Snapshot
    from monitor.polling.scheduled_job import ScheduledJob
    from monitor.recording.recorder import Recorder
    from monitor.sources.job_type import JobType

    Place = tuple[str, str, str]

AFTER = timedelta(hours=1)
"""Time from the end of a job until it is archived: so long it counts as recently ended."""
AFTER_FAILURE = timedelta(days=1)
"""The same for a job that failed or expired: so long the page shows it first."""
MOST_FINISHED = 5000
"""Finished jobs that may be in memory; of more, the oldest are archived at once."""
AT_ONCE = 500
"""Jobs that are archived in one commit."""

_BAD = frozenset({Phase.FAILED, Phase.EXPIRED})
_TERMINAL = [phase for phase in Phase if phase.terminal]


class FinishedJobs(Protocol):
    """The jobs that are no longer polled, as ``PollManager`` has them."""

    def finished(self) -> Iterable[ScheduledJob]:
        """Return those that no watch names."""
        ...

    def release(self, scheduled: ScheduledJob) -> bool:
        """Forget a job that is archived; ``False`` if another has taken its place."""
        ...


class Followed:
    """The jobs that a configuration follows, as can be known before it takes effect.

    With ``owned``, the keys of sources, it knows only of the places of those: others belong to
    other replicas.
    """

    def __init__(
        self,
        settings: config.Settings,
        types: Mapping[str, JobType],
        owned: Collection[str] | None = None,
    ) -> None:
        """Take a configuration and its job types."""
        self.places: set[Place] | None = None if owned is None else set()
        """The only places that it speaks of; ``None`` for all."""
        self._claims: dict[Place, Claims[tuple[config.Watch, JobType]]] = {}
        self._discovers: dict[Place, list[str]] = {}
        for order, watch in enumerate(settings.watches):
            job_type = type_of(watch, types)
            for region in [job_type.region] if job_type.region else watch.regions:
                place = (watch.type, watch.account, region)
                source = SourceKey(job_type.service, watch.account, region).key
                if self.places is not None and owned is not None:
                    if source not in owned:
                        continue
                    self.places.add(place)
                claims = self._claims.setdefault(place, Claims())
                claims.add(order, watch, (watch, job_type))
                if (discover := discovery_of(watch)) is not None:
                    found = (discover.include, discover.exclude, discover.of)
                    kept = (job_type.reopens, job_type.grace)
                    self._discovers.setdefault(place, []).append(repr((*found, *kept)))

    def type_of(self, known: Snapshot) -> JobType | None:
        """Return the type of a job, with the options of the watch that follows it, if one does."""
        claims = self._claims.get(place_of(known))
        found = claims.first(known.job.id, known.parent) if claims else None
        return found[1][1] if found else None

    def names(self, known: Snapshot) -> bool:
        """Return whether a watch names the job."""
        claims = self._claims.get(place_of(known))
        return claims is not None and known.job.id in claims.named

    def named(self) -> Iterator[Job]:
        """Yield all jobs that watches name."""
        for place, claims in self._claims.items():
            yield from (Job(*place, job_id) for job_id in claims.named)

    def discovers(self) -> dict[Place, str]:
        """Return one text for each place at which jobs are discovered: the rules of that."""
        return {place: "\n".join(rules) for place, rules in self._discovers.items()}


class Archiver:
    """Moves jobs from memory to the archive, and back where a configuration wants that."""

    def __init__(self, recorder: Recorder, polls: FinishedJobs, clock: Clock) -> None:
        """Archive jobs of these."""
        self._recorder = recorder
        self._archive = recorder.archive
        self._store = recorder.archive.store
        self._polls = polls
        self._clock = clock
        self._loaded = False
        # Held while it is found out what is followed: a job of the result must not leave memory
        # before that takes effect, or it would be in memory and archived. The caller must not wait
        # between the two.
        self._following = anyio.Lock()
        self.keep_finished = timedelta()
        """Time for which ended jobs have metrics of their own, if they have any."""

    async def known(self, followed: Followed, *, whole: bool = True) -> Sequence[Snapshot]:
        """Return the jobs of the store that belong in memory under a configuration.

        Those that may be archived are, some at a time, so that the memory of a start is that of
        the rest of the run. If not ``whole``, no other jobs than before are followed.
        """
        async with self._following:
            return await self._known(followed, whole=whole)

    async def _known(self, followed: Followed, *, whole: bool) -> Sequence[Snapshot]:
        changed = await self._judge_again(followed.discovers(), followed)
        if not whole and not changed:
            return ()
        # Jobs that are named now are live.
        named = [job.key for job in followed.named() if self._recorder.snapshot(job) is None]
        for start in range(0, len(named), AT_ONCE):
            async with self._archive.lock:
                found = await self._store.find(named[start : start + AT_ONCE], live=False)
                await self._store.mark([mark_of(known, Archived.LIVE) for known, _ in found])
            changed |= bool(found)
        kept: list[Snapshot] = []
        for place in [None] if followed.places is None else sorted(followed.places):
            changed |= await self._live(followed, place, kept)
        if changed or not self._loaded or followed.places is not None:
            async with self._archive.lock:
                await self._load()
        # Nobody adopts archived jobs, so nothing waits for their first polls.
        awaited = self._recorder.baselines.awaited()
        for known, _ in await self._store.find([job.key for job in awaited], live=False):
            self._recorder.baselines.note_recorded(known.job)
        return kept

    async def _live(self, followed: Followed, place: Place | None, kept: list[Snapshot]) -> bool:
        """Add the jobs of a place, or of all, to ``kept``; return whether others are archived."""
        changed = False
        after: str | None = ""
        while after is not None:
            # A page at a time: polls of jobs that come back wait for the lock.
            async with self._archive.lock:
                some = await self._store.live(after, place)
                placed = [(known, self._place(known, followed)) for known in some]
                away = [
                    mark_of(known, archived)
                    for known, archived in placed
                    if archived is not Archived.LIVE and self._recorder.snapshot(known.job) is None
                ]
                await self._store.mark(away)
            gone = {each.key for each in away}
            kept += [known for known in some if known.job.key not in gone]
            changed |= bool(away)
            after = some[-1].job.key if some else None
        return changed

    async def _load(self) -> None:
        await self._archive.load()
        since = self._clock.now() - AFTER
        ended = await self._store.ended_since(since, _TERMINAL)
        self._archive.recent = [_recent(known) for known in ended]
        self._loaded = True

    async def _judge_again(self, discovers: Mapping[Place, str], followed: Followed) -> bool:
        """Judge the archived jobs of places where something else is discovered than before."""
        before = await self._store.discovers()
        if followed.places is not None:
            before = {place: text for place, text in before.items() if place in followed.places}
        changed = [place for place, rules in discovers.items() if before.get(place) != rules]
        for place in changed:
            after: str | None = ""
            while after is not None:
                async with self._archive.lock:
                    some = await self._store.of_place(place, after)
                    judged = [
                        (known, archived, self._place(known, followed, again=True))
                        for known, archived in some
                    ]
                    await self._store.mark(
                        [mark_of(known, now) for known, was, now in judged if was is not now]
                    )
                after = some[-1][0].job.key if some else None
        if before != discovers:
            await self._store.keep_discovers(discovers, followed.places)
        return bool(changed)

    def _place(self, known: Snapshot, followed: Followed, *, again: bool = False) -> Archived:
        """Return where a job is to be kept; one that is judged ``again`` is old enough."""
        job_type = followed.type_of(known)
        if job_type is None:
            return Archived.UNWATCHED
        if followed.names(known) or not self._is_settled(known, job_type):
            return Archived.LIVE
        if not again and self._age(known) < self._patience(known):
            return Archived.LIVE
        return kind_of(known)

    async def archive_once(self) -> int:
        """Archive jobs that ended long enough ago, and the oldest of too many; return how many."""
        now, own = self._clock.now(), self._recorder.store.store_time()
        self._archive.recent = [
            each
            for each in self._archive.recent
            if (own - each.own_ended if each.own_ended else now - each.ended_at) < AFTER
        ]
        finished = [
            (known, turn)
            for turn in self._polls.finished()
            if (known := self._recorder.latest(turn.job)) is not None
            and self._is_settled(known, turn.following.job_type)
        ]
        ages = {known.job.key: self._age(known) for known, _ in finished}
        # A failure is worth its memory longer.
        finished.sort(key=lambda one: (one[0].phase in _BAD, -ages[one[0].job.key]))
        excess = len(finished) - MOST_FINISHED
        wanted = [
            (known, turn)
            for number, (known, turn) in enumerate(finished)
            if number < excess or ages[known.job.key] >= self._patience(known)
        ]
        for start in range(0, len(wanted), AT_ONCE):
            await self._archive_some(wanted[start : start + AT_ONCE])
        return len(wanted)

    async def _archive_some(self, some: Sequence[tuple[Snapshot, ScheduledJob]]) -> None:
        async with self._following, self._archive.lock:
            # A reload that was waited for may have dropped some.
            some = [one for one in some if self._recorder.snapshot(one[0].job) is not None]
            before = [self._recorder.snapshot(known.job) for known, _ in some]
            await self._store.mark([mark_of(known, kind_of(known)) for known, _ in some])
            back: list[ArchiveMark] = []
            for (known, turn), was in zip(some, before, strict=True):
                # A row may have shown something else while this was committed.
                same = self._recorder.snapshot(known.job) is was
                if same and turn.state is State.FINISHED and self._polls.release(turn):
                    self._recorder.release(known)
                    self._archive.add(known, kind_of(known))
                    if known.has_ended and self._age(known) < AFTER:
                        self._archive.recent = [*self._archive.recent, _recent(known)]
                else:
                    back.append(mark_of(known, Archived.LIVE))
            await self._store.mark(back)

    def _is_settled(self, known: Snapshot, job_type: interfaces.JobType) -> bool:
        """Return whether a job has ended for good, and nothing of it is left to be done."""
        if not known.phase.terminal or job_type.reopens or known.missing or known.stuck:
            return False
        if known.describe_owed or known.earlier_ends:
            return False
        now, own = self._clock.now(), self._recorder.store.store_time()
        return pacing.is_finished(known, job_type.grace, now, own)

    def _age(self, known: Snapshot) -> timedelta:
        """Return the time since the end of a job was recorded."""
        if known.own_ended is not None:
            return self._recorder.store.store_time() - known.own_ended
        return self._clock.now() - (known.ended_at or known.changed_at)

    def _patience(self, known: Snapshot) -> timedelta:
        usual = max(AFTER, self.keep_finished)
        return max(usual, AFTER_FAILURE) if known.phase in _BAD else usual


def _recent(known: Snapshot) -> RecentEnd:
    return RecentEnd(
        place_of(known), known.phase, known.ended_at or known.changed_at, known.own_ended
    )
