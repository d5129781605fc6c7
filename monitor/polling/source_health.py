"""The health of a source, judged over all polls of it.

Nothing here reads a clock: times come in as seconds of a monotonic clock.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar

from monitor.errors import PollReason

ANSWERS = frozenset({PollReason.MISSING, PollReason.CONFIG})
"""Failures that only a reachable service can return: they concern one job alone."""


class AvailabilityChange(StrEnum):
    """A change in whether a source is reachable."""

    LOST = "lost"
    FOUND = "found"


@dataclass(slots=True)
class SourceHealth:
    """The reachability of one source.

    It is lost after three failed polls without a good one between, if the service
    is unreachable (no such host, no such operation), or if the failures have lasted
    ``patience`` seconds. Throttling says nothing about it.
    """

    lost: bool = False
    patience: float = 300.0
    failures: int = 0
    unreachable: int = 0
    since: float = 0.0

    NEEDED: ClassVar[int] = 3

    def polled(self, reason: PollReason | None, now: float) -> AvailabilityChange | None:
        """Count one poll (``reason`` is ``None`` for a good one) and return what it changed."""
        if reason is PollReason.THROTTLE:
            return None
        if reason is None or reason in ANSWERS:
            self.failures = self.unreachable = 0
            found, self.lost = self.lost, False
            return AvailabilityChange.FOUND if found else None
        self.since = self.since if self.failures else now
        self.failures += 1
        self.unreachable += reason is PollReason.UNAVAILABLE
        if self.lost or self.failures < self.NEEDED:
            return None
        self.lost = self.unreachable >= self.NEEDED or now - self.since >= self.patience
        return AvailabilityChange.LOST if self.lost else None
