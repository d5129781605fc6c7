"""The changes that a poll brings to what is known of a job; pure.

``compare`` is the one entry: it takes what is known and what was polled, and returns the next
snapshot with the transitions that lead to it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from monitor.model import (
    PHASE_PART,
    Change,
    Kind,
    Observation,
    Severity,
    Snapshot,
    StateAndPhase,
    Transition,
    shared_parts,
    shared_text,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from datetime import datetime

    from monitor.interfaces import JobType
    from monitor.model import ArchivedRow, Verdict

Limits = float | Mapping[str, float | None] | None
"""Seconds for every state, or by state, glob or phase; ``None`` means never."""

DEFAULT = "default"
"""The key of a limit for all states that no other key takes."""

LEEWAY = timedelta(minutes=5)
"""A service's time may be ahead of our clock by so much: clocks differ a little."""

OWN_SEVERITY = {
    Kind.UPDATED: Severity.INFO,
    Kind.MISSING: Severity.WARNING,
    Kind.REAPPEARED: Severity.INFO,
    Kind.STUCK: Severity.WARNING,
    Kind.UNSTUCK: Severity.INFO,
    Kind.REMINDER: Severity.WARNING,
}
"""Kinds whose severity does not depend on the state."""


@dataclass(frozen=True, slots=True)
class TrackingOptions:
    """The options of the watch that follows a job: type, labels and limits.

    ``confirm`` is how many polls must show another state before it counts.
    """

    job_type: JobType
    labels: Mapping[str, str]
    stuck_after: Limits = None
    watch: str = ""
    learned: bool = False
    remind_every: float | None = None
    confirm: int = 1


@dataclass(frozen=True, slots=True)
class Denial:
    """The report of AWS, at a time, that a known job does not exist."""

    seen_at: datetime


@dataclass(frozen=True, slots=True)
class Confirmation:
    """A row of a listing that agrees with what is known and tells the whole state."""

    seen_at: datetime
    asked_at: datetime


def is_misdated(polled: Observation) -> bool:
    """Return whether a response is dated so far ahead of our clock that it proves no order."""
    return polled.updated_at is not None and polled.updated_at - polled.seen_at > LEEWAY


def age_order(before: Snapshot | ArchivedRow | None, polled: Observation) -> int:
    """Return -1 if the service dates a response before what is known, 1 if after, or else 0.

    An update time that is ahead of our clock would, once believed, make every later response look
    older. So it proves nothing, be it in the response or, from an earlier version, in the store.
    Where our own clock is behind, no response is stale; no change is lost by that.
    """
    known, reported = _known_update(before, polled), polled.updated_at
    if known is None or reported is None or is_misdated(polled):
        return 0
    return (reported > known) - (reported < known)


def _known_update(before: Snapshot | ArchivedRow | None, polled: Observation) -> datetime | None:
    known = before.updated_at if before else None
    if before is None or known is None:
        return None
    ahead = known - polled.seen_at > LEEWAY or known - before.looked_at > LEEWAY
    return None if ahead else known


def compare(
    before: Snapshot | None,
    polled: Observation | Denial | Confirmation,
    options: TrackingOptions,
    own: datetime,
    *,
    insists: bool = False,
    owing: bool = False,
    is_baseline: Callable[[Snapshot, datetime | None], bool] = lambda _first, _created: False,
    reminds: bool = True,
) -> tuple[Snapshot, tuple[Transition, ...]] | None:
    """Return the snapshot after a poll and the transitions that lead to it.

    ``None`` says that the response is stale: the service dates it before what is known (unless it
    ``insists``), or the job cannot have come to that state. ``own`` is the store time at
    the poll. ``owing`` says that a describe is still owed after this; ``is_baseline(first,
    created_at)`` decides for a job without a snapshot. A denial or a confirmation needs one.
    Unless it ``reminds``, a reminder that is due is left out, and the next is due at its own time.
    """
    changed: tuple[Change, ...] = ()
    if isinstance(polled, Observation):
        stale = age_order(before, polled) < 0 and not insists
        after = None if stale else _advance(before, polled, options.job_type, own)
        if after is None:
            return None
        if before is None:
            # Here, and not with each caller: whoever records a job first, the baseline decides.
            after = after.replace(baseline=is_baseline(after, polled.created_at))
    elif before is None:
        return None
    elif isinstance(polled, Denial):
        after = before.replace(missing=True, describe_owed=False)
    else:
        after = before.replace(looked_at=polled.asked_at)
    if isinstance(polled, Denial):
        kinds: tuple[Kind, ...] = (Kind.MISSING,)
    else:
        changed = _changes(before, after, options.job_type.unwatched()) if before else ()
        kinds = tuple(_kinds(before, after, changed, options, own))
    owed = after.describe_owed
    if isinstance(polled, Observation):
        owed = owing and bool(kinds or (before and before.describe_owed))
    start = before.sequence if before else 0
    stuck = after.stuck or Kind.STUCK in kinds
    if Kind.STUCK in kinds or Kind.REMINDER in kinds:
        after = after.replace(own_reminded=own)
    if not reminds:
        kinds = tuple(kind for kind in kinds if kind is not Kind.REMINDER)
    after = _numbered(after, start + len(kinds), stuck=stuck, owed=owed)
    return after, tuple(
        _transition(before, after, kind, changed, number, polled.seen_at, options)
        for number, kind in enumerate(kinds, start + 1)
    )


def _numbered(after: Snapshot, sequence: int, *, stuck: bool, owed: bool) -> Snapshot:
    """Return ``after`` with these values: itself, as a rule, because a poll changes nothing."""
    if (after.sequence, after.stuck, after.describe_owed) == (sequence, stuck, owed):
        return after
    return after.replace(sequence=sequence, stuck=stuck, describe_owed=owed)


def _advance(
    before: Snapshot | None, polled: Observation, job_type: JobType, own: datetime
) -> Snapshot | None:
    """Return the snapshot after a poll, its ``sequence`` still the old one.

    ``None`` says that a job cannot come to the polled state from the known one. What an earlier
    version recorded has no store times, and gets none before it changes.
    """
    known = before.parts if before else {}
    # A part that the poll did not return stays as it is known.
    parts = shared_parts({name: value or known.get(name) for name, value in polled.parts.items()})
    verdict = job_type.judge(parts, before.phase if before else None)
    if verdict is None:
        return None
    # A time ahead of our clock is not kept either: it would be believed at the next poll.
    updated_at = None if is_misdated(polled) else polled.updated_at
    first = Snapshot(
        job=polled.job,
        parts=parts,
        state=shared_text(verdict.state),
        phase=verdict.phase,
        severity=verdict.severity,
        ending=verdict.ending,
        fields=polled.fields,
        reason=polled.reason,
        updated_at=updated_at,
        sequence=0,
        first_seen_at=polled.seen_at,
        changed_at=polled.seen_at,
        looked_at=polled.asked_at,
        ended_at=polled.seen_at if verdict.phase.terminal else None,
        own_changed=own,
        own_ended=own if verdict.phase.terminal else None,
        parent=polled.parent,
    )
    return first if before is None else _carry_over(before, first, polled, verdict)


def _carry_over(
    before: Snapshot, after: Snapshot, polled: Observation, verdict: Verdict
) -> Snapshot:
    """Keep of the known snapshot what the new one does not change."""
    same_phase = before.phase == verdict.phase
    moved = _has_moved(before, after)
    kept_end = before.ended_at if verdict.phase.terminal and same_phase else None
    ends, ended = before.earlier_ends, before.earlier_ended
    if before.has_ended and not same_phase:
        ends = before.ends
        if before.ended_at and before.own_ended:
            ended = {**ended, before.phase.value: (before.ended_at, before.own_ended)}
    reported = polled.fields
    return after.replace(
        # As they are, where none is missing: other jobs may share them.
        fields=reported
        if reported.keys() >= before.fields.keys()
        else {**before.fields, **reported},
        reason=polled.reason or (None if moved else before.reason),
        updated_at=after.updated_at or _known_update(before, polled),
        sequence=before.sequence,
        first_seen_at=before.first_seen_at,
        changed_at=after.changed_at if moved else before.changed_at,
        own_changed=after.own_changed if moved else before.own_changed,
        ended_at=kept_end or after.ended_at,
        own_ended=before.own_ended if kept_end else after.own_ended,
        stuck=before.stuck and not moved,
        own_reminded=None if moved else before.own_reminded,
        baseline=before.baseline and same_phase,
        parent=polled.parent or before.parent,
        earlier_ends=ends,
        earlier_ended=ended,
    )


def _has_moved(before: Snapshot, after: Snapshot) -> bool:
    """Return whether the state is another one; a part that only became known does not move it."""
    known = ((before.parts.get(name), value) for name, value in after.parts.items())
    return before.phase != after.phase or any(old and new and old != new for old, new in known)


def _changes(before: Snapshot, after: Snapshot, unwatched: frozenset[str]) -> tuple[Change, ...]:
    """List the parts of the state, then the watched fields, that differ."""
    fields = (
        (name, before.fields.get(name), after.fields.get(name))
        for name in {**before.fields, **after.fields}
        if name not in unwatched and name not in after.parts
    )
    parts = (
        (name, before.parts.get(name), value)
        for name, value in after.parts.items()
        if name != PHASE_PART  # its change is that of the phase
    )
    return tuple(Change(*row) for row in (*parts, *fields) if row[1] != row[2])


def _kinds(
    before: Snapshot | None,
    after: Snapshot,
    changed: Sequence[Change],
    options: TrackingOptions,
    own: datetime,
) -> Iterator[Kind]:
    """Name the transitions between two snapshots, in the order in which they are reported."""
    if before is None:
        yield Kind.DISCOVERED
        return
    if before.missing and not after.missing:
        yield Kind.REAPPEARED
    if _has_moved(before, after):
        yield Kind.STATE_CHANGED
    elif changed:
        yield Kind.UPDATED
    if before.stuck and not after.stuck:
        yield Kind.UNSTUCK
        return
    if after.stuck and reminder_due_in(after, options, own) <= 0:
        yield Kind.REMINDER
    seconds = stuck_limit(options.stuck_after, after.state, after.phase)
    if after.stuck or seconds is None or after.phase.terminal:
        return
    # By store time where there is one: a wall clock that is set makes no job stuck.
    wall_age = after.looked_at - after.changed_at
    age = wall_age if after.own_changed is None else own - after.own_changed
    if age >= timedelta(seconds=seconds):
        yield Kind.STUCK


def reminder_due_in(known: Snapshot, options: TrackingOptions, own: datetime) -> float:
    """Return the seconds until the next reminder of a job, by store time; infinite for none."""
    if not known.stuck or known.missing or known.phase.terminal or options.remind_every is None:
        return math.inf
    # What an earlier version found stuck has no time of its own.
    since = known.own_reminded or known.own_changed
    return options.remind_every - (own - since).total_seconds() if since else 0.0


def stuck_limit(limits: Limits, state: str, phase: str) -> float | None:
    """Return the seconds for which a job may stay in ``state``; ``None`` if for ever.

    Of the keys, the state itself counts first, then the first glob that matches it, then
    its phase, then ``default``.
    """
    if not isinstance(limits, Mapping):
        return limits
    globs = (key for key in limits if is_glob(key) and fnmatchcase(state, key))
    keys = (state, next(globs, state), phase, DEFAULT)
    return next((limits[key] for key in keys if key in limits), None)


def is_glob(key: str) -> bool:
    """Return whether a key stands for more than the one state that it spells."""
    return any(sign in key for sign in "*?[")


def _transition(
    before: Snapshot | None,
    after: Snapshot,
    kind: Kind,
    changed: tuple[Change, ...],
    sequence: int,
    seen_at: datetime,
    options: TrackingOptions,
) -> Transition:
    first = kind is Kind.DISCOVERED
    is_change = kind in {Kind.STATE_CHANGED, Kind.UPDATED}
    window_start = occurred_at = None
    if before:
        # A wall clock that was set back must neither turn the window around nor narrow it: a
        # time that lies ahead gives way to an earlier one at which the state was polled too.
        times = (before.looked_at, before.changed_at, before.first_seen_at)
        window_start = next((time for time in times if time <= seen_at), seen_at)
    # A job that is first polled at its end was changed by that end. An update time that did not
    # move dates an older change.
    dates_change = is_change or (first and after.has_ended)
    if dates_change and not (before and before.updated_at == after.updated_at):
        occurred_at = after.updated_at
    return Transition(
        subject=after.job,
        service=options.job_type.service,
        sequence=sequence,
        kind=kind,
        previous=StateAndPhase(before.state, before.phase) if before else None,
        current=StateAndPhase(after.state, after.phase),
        changes=changed if is_change else (),
        after=window_start,
        before=seen_at,
        severity=OWN_SEVERITY.get(kind, after.severity),
        reason=after.reason,
        occurred_at=occurred_at,
        fields=after.fields,
        labels=options.labels,
        baseline=first and after.baseline,
    )
