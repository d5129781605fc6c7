"""Runs of failures, and the turns that the first success after one makes due; no clock, no I/O.

One job that keeps failing says nothing about its source and keeps its own backoff. Where every
poll fails, the first success makes all failed turns due. The same holds for a single operation: a
service may list its jobs and describe none of them.
"""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(slots=True)
class Run:
    """The failures since the last success; times are in seconds of a monotonic clock.

    ``fresh`` is set if one of them is of a turn that did not fail before: a run of jobs that have
    failed for long is a problem of those jobs.
    """

    count: int = 0
    began_at: float = 0.0
    good_at: float = -math.inf
    sent_at: float = -math.inf
    over_at: float = -math.inf
    fresh: bool = False

    NEEDED: ClassVar[int] = 2

    @property
    def lasts(self) -> bool:
        """True after more than one failed poll without a success since."""
        return self.count >= self.NEEDED

    def succeeded(self, now: float, long: float) -> float | None:
        """Count a poll that succeeded; return the time since which failures are forgiven.

        It forgives the turns that began to fail later than that. A run of less than ``long``
        seconds forgives only those that began to fail in it: otherwise a job that fails now and
        then would hurry those that always fail.
        """
        since = None
        if self.lasts:
            whole = self.fresh and now - self.began_at >= long
            since = -math.inf if whole else self.good_at
            # Failures of requests that were sent before this are the last of the outage.
            self.over_at = now if whole else self.over_at
        self.count, self.good_at = 0, now
        return since


@dataclass(frozen=True, slots=True)
class Return:
    """The recovery of one operation, or with ``None`` of the whole source.

    Its turns that have failed since later than ``since`` (monotonic) are due. That is minus
    infinity if an outage is over, and not just a run of a few failures.
    """

    operation: str | None
    since: float


class Outages:
    """The runs of failures of one source, and of each of its operations."""

    def __init__(self, probe_interval: float) -> None:
        """Poll an operation that fails wholly at least every ``probe_interval`` seconds."""
        self._probe_interval = probe_interval
        self._source = Run()
        # A reload may give a poll that is under way an operation that none was sent with.
        self._operations: defaultdict[str, Run] = defaultdict(Run)

    def sent(self, operation: str, now: float) -> None:
        """Note that a poll was sent."""
        self._operations[operation].sent_at = now

    def failed(self, operation: str, began_at: float, now: float, *, fresh: bool) -> bool:
        """Note that a poll failed; return whether it was sent before a long outage was over.

        Such a failure is the last of that outage, and no reason to wait.
        """
        runs = (self._source, self._operations[operation])
        if any(began_at < run.over_at for run in runs):
            return True
        for run in runs:
            if not run.count:
                run.began_at, run.fresh = now, False
            run.count += 1
            run.fresh = run.fresh or fresh
        return False

    def succeeded(self, operation: str, now: float) -> Sequence[Return]:
        """Note that a poll was answered; return what has recovered with it."""
        whole, run = self._source, self._operations[operation]
        if not whole.count and not run.count:
            whole.good_at = run.good_at = now
            return ()
        source = whole.succeeded(now, self._probe_interval)
        own = run.succeeded(now, self._probe_interval)
        found = ((None, source), (operation, own))
        return [Return(name, since) for name, since in found if since is not None]

    def silent(self, now: float) -> Sequence[str]:
        """Return, once for each probe, the failing operations that were not polled for long."""
        silent = []
        for operation, run in self._operations.items():
            if run.lasts and now - run.sent_at >= self._probe_interval:
                # Set at once: the probe may wait for the quota, and must not be started twice.
                run.sent_at = now
                silent.append(operation)
        return silent
