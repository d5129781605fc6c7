"""Wait for one job to end: one loop, whatever way the job is got.

``wait_on_aws`` polls AWS itself; ``wait_on_daemon`` asks a daemon that watches the job.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Protocol

import anyio

from monitor.errors import UnreachableJobError
from monitor.model import Phase, Severity

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

PATIENCE = 300.0
"""Seconds after which a job that was never found is given up, where no timeout was named."""


class Outcome(StrEnum):
    """The outcome of waiting for a job; the values are those of ``wait -o json``."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    TIMEOUT = "timeout"
    UNREACHABLE = "unseen"


@dataclass(frozen=True, slots=True)
class Progress:
    """The last known state of a job that is waited for; ``state`` is ``None`` before the first.

    ``since`` is when this state was first observed. ``trouble`` says why the last poll brought
    no state. ``interval`` is in seconds.
    """

    name: str
    state: str | None = None
    phase: Phase = Phase.UNKNOWN
    severity: Severity = Severity.INFO
    reason: str | None = None
    fields: Mapping[str, Any] = field(default_factory=dict)
    since: datetime | None = None
    seen_at: datetime | None = None
    updated_at: datetime | None = None
    trouble: str | None = None
    next_poll_at: datetime | None = None
    interval: float | None = None


class JobGetter(Protocol):
    """Gets the present state of one job."""

    async def get(self, before: Progress, left: float) -> tuple[Progress, float]:
        """Return the progress now, and the seconds until the next call.

        ``before`` is the last progress, ``left`` the seconds until the timeout.

        Raises:
            UnreachableJobError: the job cannot be got, and trying again would not help.
        """
        ...

    def pending(self) -> str:
        """Return what a call that is under way waits for, or an empty text."""
        ...


@dataclass(frozen=True, slots=True)
class WaitResult:
    """The end of waiting; ``why`` says why the job is unreachable."""

    outcome: Outcome
    progress: Progress
    why: str = ""


async def wait(
    getter: JobGetter, name: str, longest: float | None, show: Callable[[Progress], None]
) -> WaitResult:
    """Get the job until it has ended or ``longest`` seconds have passed.

    A failed poll is not a state: it is tried again. Without ``longest``, a job that was never
    found is given up after ``PATIENCE``, and a found one is waited for without end.
    ``show`` gets each progress.
    """
    progress = Progress(name)
    until = anyio.current_time() + (PATIENCE if longest is None else longest)
    try:
        with anyio.CancelScope(deadline=until) as scope:
            while not progress.phase.terminal:
                progress, pause = await getter.get(progress, scope.deadline - anyio.current_time())
                if longest is None and progress.state is not None:
                    scope.deadline = math.inf
                show(progress)
                if not progress.phase.terminal:
                    await anyio.sleep(pause)
    except UnreachableJobError as error:
        return WaitResult(Outcome.UNREACHABLE, progress, str(error))
    if progress.phase.terminal:
        succeeded = progress.phase is Phase.SUCCEEDED
        return WaitResult(Outcome.SUCCEEDED if succeeded else Outcome.FAILED, progress)
    # The call that the timeout cut off may be the first: what it waited for is the reason then.
    if scope.cancelled_caught and (pending := getter.pending()):
        progress = replace(progress, trouble=pending)
    if progress.state is None:
        return WaitResult(Outcome.UNREACHABLE, progress, progress.trouble or "no poll has finished")
    return WaitResult(Outcome.TIMEOUT, progress)
