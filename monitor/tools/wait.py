"""Waiting for one job to end: what is known of it meanwhile, and what comes of it.

How the job is looked at is the business of an ``Eye``: by questions to AWS, or to a daemon.
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
"""Seconds after which a job that was never seen is given up, where no timeout was named."""


class End(StrEnum):
    """What came of waiting."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    TIMEOUT = "timeout"
    UNSEEN = "unseen"


@dataclass(frozen=True, slots=True)
class Sight:
    """What is known of a job that is waited for; ``state`` is ``None`` until it was first seen.

    ``since`` is when its state was first seen. ``trouble`` says, in words, why the last look
    brought nothing. ``interval`` is in seconds.
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
    next_look_at: datetime | None = None
    interval: float | None = None


class Eye(Protocol):
    """Sees one job."""

    async def poll(self, before: Sight, left: float) -> tuple[Sight, float]:
        """Look once; return what is known then, and the seconds until the next look.

        ``before`` is what was known, ``left`` the seconds for which it is still waited.

        Raises:
            UnreachableJobError: the job cannot be seen, and waiting would not mend that.
        """
        ...

    def awaited(self) -> str:
        """Say what a look that is under way still waits for, if that is known."""
        ...


@dataclass(frozen=True, slots=True)
class Outcome:
    """How waiting ended; ``why`` says, in words, why the job is not to be seen."""

    end: End
    sight: Sight
    why: str = ""


async def wait(
    eye: Eye, name: str, longest: float | None, show: Callable[[Sight], None]
) -> Outcome:
    """Look until the job has ended or ``longest`` seconds have passed.

    A look that fails is no state: it is tried again. Where ``longest`` is ``None``, a job that
    was never seen is given up after ``PATIENCE``, and one that was is waited for without end.
    ``show`` is told of every look.
    """
    sight = Sight(name)
    until = anyio.current_time() + (PATIENCE if longest is None else longest)
    try:
        with anyio.CancelScope(deadline=until) as scope:
            while not sight.phase.terminal:
                sight, pause = await eye.poll(sight, scope.deadline - anyio.current_time())
                if longest is None and sight.state is not None:
                    scope.deadline = math.inf
                show(sight)
                if not sight.phase.terminal:
                    await anyio.sleep(pause)
    except UnreachableJobError as error:
        return Outcome(End.UNSEEN, sight, str(error))
    if scope.cancelled_caught and (awaited := eye.awaited()):
        sight = replace(sight, trouble=awaited)
    return _outcome(sight)


def _outcome(sight: Sight) -> Outcome:
    if sight.phase.terminal:
        return Outcome(End.SUCCEEDED if sight.phase is Phase.SUCCEEDED else End.FAILED, sight)
    if sight.state is None:
        return Outcome(End.UNSEEN, sight, sight.trouble or "no look at it came to its end")
    return Outcome(End.TIMEOUT, sight)
