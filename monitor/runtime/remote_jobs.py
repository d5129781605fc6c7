"""The jobs that other replicas poll, as the store has them: for page, API and waiters.

The ledger tells at once what has changed. When a job was polled last, and how many are archived,
the store knows a minute late: so much of it may be old.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from monitor import pacing
from monitor.interfaces import JobStatus
from monitor.model import Job
from monitor.runtime.upkeep import POLLS_A_SECOND

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping
    from datetime import datetime

    from monitor import model
    from monitor.interfaces import Clock
    from monitor.model import Phase, Place, Snapshot
    from monitor.polling.manager import PollManager
    from monitor.polling.watch import WatchTarget
    from monitor.stores.store import SqlStore

LATE = 90.0
"""Seconds by which the stored time of a poll may be older than the poll, if it polls few jobs."""
AT_ONCE = 500
"""Transitions and jobs that are read at once."""


class RemoteJobs:
    """What the store tells of jobs that this replica does not poll."""

    def __init__(self, store: SqlStore, polls: PollManager, clock: Clock) -> None:
        """Start with none; ``refresh`` reads them."""
        self._store = store
        self._polls = polls
        self._clock = clock
        # Changed in place, in single steps: any other thread must take a copy.
        self._known: dict[str, tuple[WatchTarget, Snapshot]] = {}
        self._read_since: set[str] = set()
        """Jobs that were read since the last refresh began: it may have passed them before."""
        self._archived: Mapping[tuple[Place, Phase], int] = {}
        self._position: int | None = None

    async def refresh(self) -> None:
        """Read what has changed of all, after another share-out or now and then."""
        if self._position is None:
            self._position = await self._store.position()
        places = {each.place for each in self._polls.targets_elsewhere()}
        counts = await self._store.archive.counts() if places else {}
        live: set[str] = set()
        self._read_since = set()
        for place in sorted(places):
            after: str | None = ""
            while after is not None:
                heads = await self._store.archive.heads(place, after)
                live.update(key for key, _, _ in heads)
                await self._read([head[0] for head in heads if not self._note(*head)])
                after = heads[-1][0] if heads else None
        targets = self._polls.target_elsewhere
        for key, (target, known) in list(self._known.items()):
            now = targets(known.job, known.parent)
            if now is None or not (key in live or key in self._read_since):
                del self._known[key]
            elif now is not target:
                self._known[key] = (now, known)
        self._archived = {where: many for where, (many, _) in counts.items() if where[0] in places}

    def _note(self, key: str, sequence: int, polled_at: datetime) -> bool:
        """Note when a job was polled; return whether all else of it is known."""
        found = self._known.get(key)
        if found is None or found[1].sequence != sequence:
            return False
        if polled_at > found[1].looked_at:
            found[1].note_poll(polled_at)
        return True

    async def follow(self) -> Collection[str]:
        """Read what was recorded since the last call; return the keys of those jobs."""
        if self._position is None:
            await self.refresh()
        position, recorded = self._position or 0, dict[Job, int]()
        while events := await self._store.transitions(after=position, limit=AT_ONCE):
            position = events[-1][0]
            for data in (event["data"] for _, event in events):
                if of := data.get("job"):
                    job = Job(of["type"], of["account"], of["region"], of["id"])
                    recorded[job] = data["sequence"]
        keys = [job.key for job in recorded]
        await self._read([key for key in keys if self._polls.status_of(key) is None])
        await self._polls.catch_up(recorded)
        # Only now: a read that fails is made again.
        self._position = position
        return keys

    async def _read(self, keys: Collection[str]) -> None:
        for known, archived in await self._store.archive.find(keys) if keys else ():
            target = self._polls.target_elsewhere(known.job, known.parent)
            key = known.job.key
            held = self._known.get(key)
            if held is not None and held[1].sequence > known.sequence:
                continue  # another task has read it since
            if target is None or archived:
                self._known.pop(key, None)
                continue
            self._known[key] = (target, known)
            self._read_since.add(key)

    # For any thread

    def jobs(self) -> Iterator[JobStatus]:
        """Yield the status of each job."""
        known = self._known.copy()
        for target, snapshot in known.values():
            yield self._status(target, snapshot)
        for target in self._polls.targets_elsewhere():
            for job_id in target.watch.jobs:
                job = Job(*target.place, job_id)
                owner = self._polls.target_elsewhere(job)
                if job.key not in known and owner is target:
                    yield self._unseen(target, job)

    def job(self, key: str) -> JobStatus | None:
        """Return the status of one job."""
        found = self._known.get(key)
        if found is not None:
            return self._status(*found)
        for target in self._polls.targets_elsewhere():
            prefix = "/".join((*target.place, ""))
            if key.startswith(prefix) and key.removeprefix(prefix) in target.watch.jobs:
                return self._unseen(target, Job(*target.place, key.removeprefix(prefix)))
        return None

    def archived(self) -> Mapping[tuple[Place, Phase], int]:
        """Return how many jobs are archived, by place and phase."""
        return self._archived

    def _status(self, target: WatchTarget, known: model.Snapshot) -> JobStatus:
        polled_at = known.looked_at
        now, grace = self._clock.now(), target.following.job_type.grace
        finished = known.phase.terminal and pacing.is_finished(
            known, grace, now, self._store.store_time()
        )
        age = max(0.0, (now - polled_at).total_seconds())
        # One that polls many jobs stores their times more rarely.
        late = LATE + len(self._known) / POLLS_A_SECOND
        silent = target.watch.blind_after_intervals * target.interval + late
        return JobStatus(
            job=known.job,
            watch=target.following.watch,
            labels=target.following.labels,
            snapshot=known,
            interval=target.interval,
            polled_at=polled_at,
            at=now,
            # Its owner goes on with the interval, whatever the store knows by now.
            next_in=None if finished else target.interval - age % target.interval,
            failing=None,
            finished=finished,
            blind=not finished and age > silent,
        )

    def _unseen(self, target: WatchTarget, job: Job) -> JobStatus:
        return JobStatus(
            job=job,
            watch=target.following.watch,
            labels=target.following.labels,
            snapshot=None,
            interval=target.interval,
            polled_at=None,
            at=self._clock.now(),
            next_in=target.interval,
            failing=None,
            finished=False,
            blind=False,
        )
