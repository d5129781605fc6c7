"""Runs of failures, and what the first success after one says; no clock, no I/O.

One job that keeps failing says nothing of its source and keeps its own backoff. Where whatever is
asked fails, the first success is news for all that failed meanwhile. The same holds for a single
operation: a service may list its jobs and describe none of them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(slots=True)
class Run:
    """The failures since the last success; times are in seconds of a monotonic clock.

    ``fresh`` says that among them is a turn that did not fail before: a run of jobs that have
    failed for long is their own trouble.
    """

    count: int = 0
    began_at: float = 0.0
    good_at: float = -math.inf
    asked_at: float = -math.inf
    over_at: float = -math.inf
    fresh: bool = False

    NEEDED: ClassVar[int] = 2

    @property
    def lasts(self) -> bool:
        """Whether more than one poll has failed, and none succeeded since."""
        return self.count >= self.NEEDED

    def failed(self, now: float, *, fresh: bool) -> None:
        """Count a poll that failed."""
        if not self.count:
            self.began_at, self.fresh = now, False
        self.count += 1
        self.fresh = self.fresh or fresh

    def succeeded(self, now: float, long: float) -> float | None:
        """Count a poll that succeeded; say whose failures it forgives, if anyone's.

        Those of the turns that have failed since a time later than the one returned. A run of
        less than ``long`` seconds forgives only those that began to fail in it: else a job that
        fails now and then would hurry those that always fail.
        """
        since = None
        if self.lasts:
            whole = self.fresh and now - self.began_at >= long
            since = -math.inf if whole else self.good_at
            self.over_at = now if whole else self.over_at
        self.count, self.good_at = 0, now
        return since


@dataclass(frozen=True, slots=True)
class Return:
    """What is back: one operation, or with ``None`` the whole source.

    Its turns that have failed since later than ``since`` (monotonic) are due.
    """

    operation: str | None
    since: float

    @property
    def whole(self) -> bool:
        """Whether an outage is over, and not just a run of a few failures."""
        return self.since == -math.inf


class Outages:
    """The runs of failures of one source, and of each of its operations."""

    def __init__(self, probe_interval: float) -> None:
        """Let what fails wholly be asked at least every ``probe_interval`` seconds."""
        self._probe_interval = probe_interval
        self._source = Run()
        self._operations: dict[str, Run] = {}

    def asked(self, operation: str, now: float) -> None:
        """Note that a poll was sent."""
        self._operations.setdefault(operation, Run()).asked_at = now

    def failed(self, operation: str, began_at: float, now: float, *, fresh: bool) -> bool:
        """Note that a poll failed; say whether it was sent before a long outage was over.

        Such a failure is the last of that outage, and no reason to wait.
        """
        runs = (self._source, self._operations[operation])
        if any(began_at < run.over_at for run in runs):
            return True
        for run in runs:
            run.failed(now, fresh=fresh)
        return False

    def succeeded(self, operation: str, now: float) -> Sequence[Return]:
        """Note that a poll was answered; say what is back with it."""
        source = self._source.succeeded(now, self._probe_interval)
        own = self._operations[operation].succeeded(now, self._probe_interval)
        found = ((None, source), (operation, own))
        return [Return(name, since) for name, since in found if since is not None]

    def silent(self, now: float) -> Sequence[str]:
        """Return, once for each probe, the failing operations that have not been asked for long."""
        silent = []
        for operation, run in self._operations.items():
            if run.lasts and now - run.asked_at >= self._probe_interval:
                run.asked_at = now
                silent.append(operation)
        return silent
