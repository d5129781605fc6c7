"""The closed sets: phases, kinds of changes, severities and statuses."""

from __future__ import annotations

from enum import IntEnum, StrEnum


class Phase(StrEnum):
    """What a job's state means, whatever its service calls it."""

    WAITING = "waiting"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELED = "canceled"
    EXPIRED = "expired"
    UNKNOWN = "unknown"

    @property
    def terminal(self) -> bool:
        """Whether the work itself is over, well or badly."""
        return self in TERMINAL


PHASE_PART = "(phase)"
"""The part of a state that holds its phase, where the rest of a response decides that."""

TERMINAL = frozenset({Phase.SUCCEEDED, Phase.FAILED, Phase.CANCELED, Phase.EXPIRED})


class Kind(StrEnum):
    """The kind of change that a transition reports."""

    DISCOVERED = "job.discovered"
    STATE_CHANGED = "job.state_changed"
    UPDATED = "job.updated"
    MISSING = "job.missing"
    REAPPEARED = "job.reappeared"
    STUCK = "job.stuck"
    UNSTUCK = "job.unstuck"
    REMINDER = "job.reminder"
    SOURCE_UNAVAILABLE = "source.unavailable"
    SOURCE_RECOVERED = "source.recovered"


class Severity(StrEnum):
    """The urgency of a transition."""

    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class Ending(StrEnum):
    """Whether a job can still change.

    ``GRACE``: the work is over, but the service may still report something
    (a device on its way back), so the job is polled slowly for a while.
    """

    OPEN = "open"
    GRACE = "grace"
    FINAL = "final"


class Archived(IntEnum):
    """Where a job is kept, as the store notes it.

    A ``LIVE`` one is in the memory of the daemon that follows it. The others are in the store
    alone: ``ENDED`` was seen to end, ``BASELINE`` was found at its end by a baseline, and
    ``UNWATCHED`` is followed by no watch.
    """

    UNWATCHED = -1
    LIVE = 0
    ENDED = 1
    BASELINE = 2


class DeliveryStatus(StrEnum):
    """The status of a delivery.

    ``silenced``: held by a silence or a maintenance window; not sent, unless it is still true at
    the end of that. ``discarded``: was dead, until somebody said that it need not be sent.
    """

    PENDING = "pending"
    DELIVERED = "delivered"
    DEAD = "dead"
    SILENCED = "silenced"
    DISCARDED = "discarded"
