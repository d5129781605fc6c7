"""When to poll, and how often: intervals and backoff; pure.

Nothing here reads a clock or waits: times come in as seconds of a monotonic clock.
"""

from __future__ import annotations

import math
from datetime import timedelta
from hashlib import blake2b
from typing import TYPE_CHECKING

from monitor.errors import PollReason
from monitor.model import Ending

if TYPE_CHECKING:
    from datetime import datetime

    from monitor.interfaces import Random
    from monitor.model import Snapshot

LAPSED = 0.5
"""Seconds after which a lease that has lapsed is checked again."""

TICK = 0.02
"""Seconds: no loop wakes more often, so that many timers share one wake-up."""

EARLIEST = 0.1
"""Part of an interval that must lie between two polls when a job moves to its own phase."""


SLOT = 0.1
"""Seconds between two moments at which jobs have their turns, at most."""

SLOTS = 600
"""Slots of an interval, at least, if none is shorter than a tick: a poll moves by less than one."""


def phase_of(key: str, interval: float) -> float:
    """Return the seconds into each interval at which ``key`` has its turn.

    Derived from the key, so that jobs spread out evenly and stay where they are. Those of a slot
    have their turns together: a wake-up costs as much as a poll.
    """
    digest = blake2b(key.encode(), digest_size=8).digest()
    place = int.from_bytes(digest, "big") / 2**64
    slots = max(min(SLOTS, math.floor(interval / TICK)), math.ceil(interval / SLOT))
    return math.floor(place * slots) * interval / slots


def next_turn(now: float, interval: float, phase: float) -> float:
    """Return the next moment of the grid ``phase + n * interval``, and never right away.

    A poll that was late does not move the grid, and no gap is longer than 1.1 intervals.
    """
    earliest = now + EARLIEST * interval
    turns = -((phase - earliest) // interval)
    return phase + turns * interval


def common_moment(time: float) -> float:
    """Return the moment of the tick at ``time``, or just before it: what is due then is together.

    Many jobs that each had a time of their own would each take a place of its own in the queue.
    """
    return math.floor(time / TICK) * TICK


def full_jitter(attempt: int, base: float, cap: float, random: Random) -> float:
    """Return a delay between 0 and ``base * 2**attempt``, at most ``cap`` (``attempt`` from 0)."""
    return random.uniform(0, exponential(attempt, base, cap))


def slow_probe(attempt: int, base: float, cap: float, random: Random) -> float:
    """Return a delay in the upper half of the exponential: for what is not fixed quickly."""
    longest = exponential(attempt, base, cap)
    return random.uniform(longest / 2, longest)


def exponential(attempt: int, base: float, cap: float) -> float:
    """Return ``base * 2**attempt``, at most ``cap``."""
    return min(cap, base * 2.0 ** min(attempt, 40))


def is_finished(
    snapshot: Snapshot, grace: float, now: datetime, own: datetime | None = None
) -> bool:
    """Check that a job need not be polled any more; ``own`` is the store's own time.

    A wall clock that is ahead for a moment must not end the polls of a job for good.
    """
    if snapshot.ending is Ending.FINAL:
        return True
    if snapshot.ending is Ending.OPEN or snapshot.ended_at is None:
        return False
    if own is not None and snapshot.own_ended is not None:
        return own - snapshot.own_ended >= timedelta(seconds=grace)
    return now - snapshot.ended_at >= timedelta(seconds=grace)


def ended_interval(interval: float, ended: float) -> float:
    """Return the seconds between two polls of an ended job: no less than before its end."""
    return max(interval, ended)


def page_gap(rate: float, share: float = 0.5) -> float:
    """Return the seconds between two pages, so that listings take a ``share`` of the quota."""
    return 1 / (share * rate)


def sweep_period(interval: float, pages: int, rate: float, share: float = 0.5) -> float:
    """Return the seconds between the starts of two sweeps of a listing of so many pages."""
    return max(interval, pages * page_gap(rate, share))


def sweep_pace(interval: float, period: float, jobs: int, rate: float, share: float = 0.5) -> float:
    """Return the seconds between two polls of a job that sweeps show.

    That is its interval, or where the part of the quota that they leave cannot describe all jobs
    that often, the period of the sweeps. ``jobs`` are requests, where jobs share them.
    """
    return max(interval, min(period, jobs / ((1 - share) * rate)))


def patience(pace: float) -> float:
    """Return the seconds for which a job that a sweep has shown waits for the next sweep."""
    return 1.5 * pace


def describes_between(period: float, interval: float) -> float:
    """Return how often a job is described between two sweeps that show it, on average.

    The first of them puts the next describe off by the patience; the others are on the grid of
    the job, where ``EARLIEST`` lies between two of them at least.
    """
    first = patience(interval)
    if period <= first:
        return 0.0
    return 1 + max(0.0, (period - first) / interval - EARLIEST)


STALE_AFTER = 5
"""Intervals without an answer about a job after which the monitor is blind to it."""
SOONEST_STALE = 60.0
"""Seconds: nothing is called blind earlier, however short the interval."""


def is_stale(answered_at: float, interval: float, intervals: int, now: float) -> bool:
    """Check that no poll of a job was answered for so many intervals.

    ``answered_at``, when the last one was, and ``now`` are monotonic, ``interval`` is in seconds.
    """
    return now - answered_at > max(SOONEST_STALE, intervals * interval)


CONFIRM_WITHIN = 5.0
"""Seconds at most until the next poll of a job whose new state another poll must confirm."""

CONFIRMATIONS = 3
"""How often AWS must deny a known job before it counts as missing."""


def retry_delay(
    reason: PollReason, attempt: int, random: Random, *, retry_after: float | None = None
) -> float:
    """Return the seconds until a job whose poll failed is polled again.

    ``attempt`` counts the failures in a row before this one. What may recover at any moment
    is retried soon and with full jitter; what needs a person is probed slowly.
    """
    match reason:
        case PollReason.AUTH:
            delay = slow_probe(attempt, 30, 900, random)
        case PollReason.CONFIG | PollReason.MISSING:
            delay = slow_probe(attempt, 60, 3600, random)
        case PollReason.UNAVAILABLE:
            delay = slow_probe(attempt, 5, 300, random)
        case _:
            delay = full_jitter(attempt, 1, 300, random)
    return max(delay, honoured(retry_after))


def honoured(retry_after: float | None) -> float:
    """Return the seconds for which a service that asks for patience is left alone."""
    return min(retry_after or 0, 3600)


def missing_delay(denials: int, missing_after: float, random: Random) -> float:
    """Return the seconds until a job that AWS denied ``denials`` times is polled again.

    The confirmations are spread evenly over ``missing_after``; a job found missing is
    then probed ever more rarely, down to once a day, in case it comes back.
    """
    if denials < CONFIRMATIONS:
        return missing_after / (CONFIRMATIONS - 1)
    return slow_probe(denials - CONFIRMATIONS, missing_after, max(86400, missing_after), random)


FIRST_RETRY = 5.0
LAST_RETRY = 3600.0
LAST_DENIED_RETRY = 300.0
"""Seconds: who fixes a token or a policy sees within so long that it was the right one."""


def redelivery_delay(
    attempt: int, retry_after: float | None, random: Random, *, denied: bool = False
) -> float:
    """Return the seconds until a sink that failed is tried again (``attempt`` from 0).

    A receiver's own Retry-After is honoured up to an hour.
    """
    longest = LAST_DENIED_RETRY if denied else LAST_RETRY
    jittered = full_jitter(attempt, FIRST_RETRY, longest, random)
    return max(jittered, min(retry_after or 0, LAST_RETRY))
