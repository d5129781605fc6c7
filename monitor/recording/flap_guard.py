"""The flap guard: a state that a job has just come to counts once enough polls agree.

What only one poll has shown may be a mistake of a replica, or a state that is over at once. An end
is believed at the first poll: it may be seen only once.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from monitor.model import Kind

if TYPE_CHECKING:
    from datetime import datetime

    from monitor.model import Job, JobMap, Observation, Snapshot, Transition
    from monitor.recording.diff import TrackingOptions


@dataclass(frozen=True, slots=True)
class _Unconfirmed:
    """A state that the last ``polls`` polls have shown, and when the first of them did."""

    state: str
    phase: str
    polls: int
    seen_at: datetime
    store_time: datetime


class FlapGuard:
    """Remembers the states that are not confirmed yet, in memory: a restart only delays them."""

    def __init__(self) -> None:
        """Start with none."""
        self.unconfirmed: dict[Job, _Unconfirmed] = {}
        """The states that are not confirmed yet."""

    def holds(self, job: Job) -> bool:
        """Return whether a job has a state that more polls must confirm."""
        return job in self.unconfirmed

    def forget(self, job: Job) -> None:
        """Drop what is not confirmed of a job: a poll has shown something else."""
        if self.unconfirmed:
            self.unconfirmed.pop(job, None)

    def keep(self, jobs: JobMap[Snapshot]) -> None:
        """Drop what is not confirmed of all other jobs: somebody else may poll them now."""
        self.unconfirmed = {job: each for job, each in self.unconfirmed.items() if job in jobs}

    def confirmed(
        self,
        after: Snapshot,
        made: tuple[Transition, ...],
        observed: Observation,
        options: TrackingOptions,
        own: datetime,
    ) -> tuple[Snapshot, tuple[Transition, ...]] | None:
        """Return what a poll has led to, dated to the first poll that showed it.

        ``None`` says that more polls must agree. ``own`` is the store time at this poll.
        """
        moves = any(each.kind is Kind.STATE_CHANGED for each in made)
        if options.confirm <= 1 or not moves or after.phase.terminal:
            self.forget(after.job)
            return after, made
        job, known = after.job, self.unconfirmed.get(after.job)
        if known is None or (known.state, known.phase) != (after.state, after.phase):
            known = _Unconfirmed(after.state, after.phase, 0, observed.seen_at, own)
        if known.polls + 1 < options.confirm:
            self.unconfirmed[job] = replace(known, polls=known.polls + 1)
            return None
        self.forget(job)
        # The change came before the first poll that showed it, so that the window stays narrow.
        seen_at = min(known.seen_at, observed.seen_at)
        after = after.replace(changed_at=seen_at, own_changed=known.store_time)
        dated = (
            replace(each, before=seen_at, after=min(each.after, seen_at) if each.after else None)
            for each in made
        )
        return after, tuple(dated)
