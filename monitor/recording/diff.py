"""What a look changes in what is known of a job; pure."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from monitor.model import Change, Kind, Severity, Snapshot, StateAndPhase, Transition
from monitor.recording import stuck

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from datetime import datetime

    from monitor.model import Observation, Verdict

LEEWAY = timedelta(minutes=5)
"""A service's time may be ahead of our clock by so much: clocks differ a little."""

OWN_SEVERITY = {
    Kind.UPDATED: Severity.INFO,
    Kind.MISSING: Severity.WARNING,
    Kind.REAPPEARED: Severity.INFO,
    Kind.STUCK: Severity.WARNING,
    Kind.UNSTUCK: Severity.INFO,
}
"""Kinds whose severity does not depend on the state."""


def is_misdated(seen: Observation) -> bool:
    """Whether the service dates this answer so far ahead of our clock that it proves no order."""
    return seen.updated_at is not None and seen.updated_at - seen.seen_at > LEEWAY


def dated(seen: Observation) -> Observation:
    """Return an answer without its update time, if that is ahead of our clock.

    Such a time, once believed, would make every later answer look older than it. Where our own
    clock is behind, all times look so, and nothing can be told stale; no change is lost by that.
    """
    return replace(seen, updated_at=None) if is_misdated(seen) else seen


def known_update(before: Snapshot | None, seen: Observation) -> datetime | None:
    """Return when the service last updated what is known, as far as that proves an order.

    A store may hold a time that was ahead of the clock when it was written.
    """
    known = before.updated_at if before else None
    if before is None or known is None:
        return None
    ahead = known - seen.seen_at > LEEWAY or known - before.looked_at > LEEWAY
    return None if ahead else known


def is_stale(before: Snapshot | None, seen: Observation) -> bool:
    """Whether the service itself dates this answer before the one already known."""
    known = known_update(before, seen)
    return bool(known and seen.updated_at and seen.updated_at < known)


def is_later(before: Snapshot | None, seen: Observation) -> bool:
    """Whether the service itself dates this answer after the one already known."""
    known = known_update(before, seen)
    return bool(known and seen.updated_at and seen.updated_at > known and not is_misdated(seen))


def merged_parts(before: Snapshot | None, seen: Mapping[str, str | None]) -> dict[str, str | None]:
    """Fill what the look did not tell with what was known."""
    known = before.parts if before else {}
    return {name: value or known.get(name) for name, value in seen.items()}


def advance(before: Snapshot | None, seen: Observation, verdict: Verdict) -> Snapshot:
    """Return the snapshot after a look, its ``sequence`` still the old one."""
    parts = merged_parts(before, seen.parts)
    moved = before is None or has_moved(before, parts, verdict.phase)
    return Snapshot(
        job=seen.job,
        parts=parts,
        state=verdict.state,
        phase=verdict.phase,
        severity=verdict.severity,
        ending=verdict.ending,
        fields={**(before.fields if before else {}), **seen.fields},
        reason=seen.reason or (None if moved or before is None else before.reason),
        updated_at=seen.updated_at or known_update(before, seen),
        sequence=before.sequence if before else 0,
        first_seen_at=before.first_seen_at if before else seen.seen_at,
        changed_at=seen.seen_at if moved or before is None else before.changed_at,
        looked_at=seen.asked_at,
        ended_at=_ended_at(before, seen, verdict),
        missing=False,
        stuck=before.stuck and not moved if before else False,
        baseline=bool(before and before.baseline and before.phase == verdict.phase),
        earlier_ends=_earlier_ends(before, verdict) if before else {},
        earlier_ended=_earlier_ended(before, verdict) if before else {},
    )


def aged(before: Snapshot | None, after: Snapshot, own: datetime) -> Snapshot:
    """Return the snapshot after a look with the own times of its state and of its end.

    ``own`` is the store's own time at the look. What an earlier version saw has none, and gets
    none before it changes.
    """
    moved = before is None or has_moved(before, after.parts, after.phase)
    changed = own if moved or before is None else before.own_changed
    same_end = before is not None and before.ended_at == after.ended_at
    ended = before.own_ended if before and same_end else own
    return replace(after, own_changed=changed, own_ended=ended if after.ended_at else None)


def _ended_at(before: Snapshot | None, seen: Observation, verdict: Verdict) -> datetime | None:
    if not verdict.phase.terminal:
        return None
    same = before is not None and before.phase == verdict.phase
    return (before.ended_at if before and same else None) or seen.seen_at


def _earlier_ends(before: Snapshot, verdict: Verdict) -> Mapping[str, int]:
    if before.phase == verdict.phase or not before.has_ended:
        return before.earlier_ends
    return before.ends


def _earlier_ended(before: Snapshot, verdict: Verdict) -> Mapping[str, tuple[datetime, datetime]]:
    if before.phase == verdict.phase or not before.has_ended:
        return before.earlier_ended
    if before.ended_at is None or before.own_ended is None:
        return before.earlier_ended
    return {**before.earlier_ended, before.phase.value: (before.ended_at, before.own_ended)}


def has_moved(before: Snapshot, parts: Mapping[str, str | None], phase: str) -> bool:
    """Whether the state is another one; a part that only became known is none."""
    known = ((before.parts.get(name), value) for name, value in parts.items())
    return before.phase != phase or any(old and new and old != new for old, new in known)


def changes(
    before: Snapshot, after: Snapshot, unwatched: frozenset[str] = frozenset()
) -> tuple[Change, ...]:
    """List the parts of the state, then the watched fields, that differ."""
    fields = (
        (name, before.fields.get(name), after.fields.get(name))
        for name in _names(before.fields, after.fields)
        if name not in unwatched and name not in after.parts
    )
    parts = ((name, before.parts.get(name), value) for name, value in after.parts.items())
    return tuple(Change(*row) for row in (*parts, *fields) if row[1] != row[2])


def _names(*mappings: Mapping[str, Any]) -> Iterable[str]:
    return dict.fromkeys(name for mapping in mappings for name in mapping)


def kinds(
    before: Snapshot | None,
    after: Snapshot,
    changed: Sequence[Change],
    stuck_after: stuck.Limits,
    own: datetime | None = None,
) -> Iterator[Kind]:
    """Name the transitions between two snapshots, in the order in which they are told.

    ``own`` is the store's own time at the look.
    """
    if before is None:
        yield Kind.DISCOVERED
        return
    if before.missing:
        yield Kind.REAPPEARED
    if has_moved(before, after.parts, after.phase):
        yield Kind.STATE_CHANGED
    elif changed:
        yield Kind.UPDATED
    if before.stuck and not after.stuck:
        yield Kind.UNSTUCK
    elif not after.stuck and _is_stuck(after, stuck_after, own):
        yield Kind.STUCK


def _is_stuck(after: Snapshot, stuck_after: stuck.Limits, own: datetime | None) -> bool:
    """Whether the state has been seen unchanged for as long as it may be."""
    limit = stuck.limit(stuck_after, after.state, after.phase)
    if limit is None or after.phase.terminal:
        return False
    # A wall clock that is set makes no job stuck.
    if own is not None and after.own_changed is not None:
        unchanged = own - after.own_changed
    else:
        unchanged = after.looked_at - after.changed_at
    return unchanged >= timedelta(seconds=limit)


def transitions(
    before: Snapshot | None,
    after: Snapshot,
    told: Sequence[Kind],
    changed: tuple[Change, ...],
    *,
    seen_at: datetime,
    service: str,
    labels: Mapping[str, str],
) -> tuple[Snapshot, tuple[Transition, ...]]:
    """Number the transitions of one look and return them with the snapshot that they lead to."""
    start = before.sequence if before else 0
    after = replace(after, sequence=start + len(told), stuck=after.stuck or Kind.STUCK in told)
    made = tuple(
        _transition(before, after, kind, changed, start + 1 + number, seen_at, service, labels)
        for number, kind in enumerate(told)
    )
    return after, made


def _transition(
    before: Snapshot | None,
    after: Snapshot,
    kind: Kind,
    changed: tuple[Change, ...],
    sequence: int,
    seen_at: datetime,
    service: str,
    labels: Mapping[str, str],
) -> Transition:
    first = kind is Kind.DISCOVERED
    tells_change = kind in {Kind.STATE_CHANGED, Kind.UPDATED}
    return Transition(
        subject=after.job,
        service=service,
        sequence=sequence,
        kind=kind,
        previous=StateAndPhase(before.state, before.phase) if before else None,
        current=StateAndPhase(after.state, after.phase),
        changes=changed if tells_change else (),
        after=_seen_before(before, seen_at) if before else None,
        before=seen_at,
        severity=OWN_SEVERITY.get(kind, after.severity),
        reason=after.reason,
        # What is first seen at its end was changed by that end.
        occurred_at=(
            _occurred_at(before, after) if tells_change or (first and after.has_ended) else None
        ),
        fields=after.fields,
        labels=labels,
        baseline=first and after.baseline,
    )


def _seen_before(before: Snapshot, seen_at: datetime) -> datetime:
    """Return when a state was last seen before ``seen_at``.

    A wall clock that was set back must not turn the window around, nor make it narrower than it
    was: a time that lies ahead gives way to an earlier one at which the state was seen too.
    """
    times = (before.looked_at, before.changed_at, before.first_seen_at)
    return next((time for time in times if time <= seen_at), seen_at)


def _occurred_at(before: Snapshot | None, after: Snapshot) -> datetime | None:
    """Return the service's own time of a change; one that did not move dates an older change."""
    return None if before and before.updated_at == after.updated_at else after.updated_at
