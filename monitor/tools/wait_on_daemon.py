"""Sees a job that is waited for through a daemon that watches it, at no cost of looks at AWS."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from monitor import config, pacing
from monitor.errors import ConfigurationError, DaemonError, PollReason, Problem, UnreachableJobError
from monitor.polling.watch import discovers
from monitor.tools.wait import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from monitor.interfaces import Clock, Random
    from monitor.tools.api_client import DaemonClient, Job
    from monitor.tools.wait import Sight

LONG_POLL = 55.0
"""Seconds for which one question waits: many a proxy ends it after a minute."""
SHORT_POLL = 5.0
"""Seconds between two questions about a job that AWS has not shown yet: why may change."""
LONGEST_RETRY = 10.0
"""Seconds between two questions to a daemon that does not answer: restarts are short."""
_AT_ONCE = frozenset({PollReason.AUTH, PollReason.CONFIG})
_LASTING = frozenset({PollReason.MISSING, PollReason.UNAVAILABLE})
_LASTING_FOR = 30.0
_MOST = 100_000
"""Jobs whose ids may hold the one that is asked for."""
_REMEDY = "add it to the jobs of a watch, or POST a watch to /api/v1/watches"


@dataclass(frozen=True, slots=True)
class Wanted:
    """A job as the command line names it; ``None`` is any account or region."""

    type: str
    account: str | None
    region: str | None
    id: str

    def __str__(self) -> str:
        """Name it as its key does, as far as that is known."""
        return "/".join((self.type, *filter(None, (self.account, self.region)), self.id))

    def is_job(self, job: Job) -> bool:
        """Whether a job that a daemon told is this one."""
        return (
            (job.type, job.id) == (self.type, self.id)
            and self.account in {None, job.account}
            and self.region in {None, job.region}
        )

    def may_come_from(self, watch: config.Watch) -> bool:
        """Whether a watch follows this job once AWS lists it."""
        return (
            watch.type == self.type
            and self.account in {None, watch.account}
            and (self.region is None or not watch.regions or self.region in watch.regions)
            and discovers(watch, self.id)
        )


class DaemonEye:
    """Fits ``waiting.Eye``."""

    def __init__(self, client: DaemonClient, wanted: Wanted, clock: Clock, random: Random) -> None:
        """Ask ``client`` about the job that is ``wanted``."""
        self._client = client
        self._wanted = wanted
        self._clock = clock
        self._random = random
        self._key: str | None = None
        self._sequence = 0
        self._attempts = 0
        self._began = clock.monotonic()
        self._failing: tuple[str, float] | None = None

    async def poll(self, before: Sight, left: float) -> tuple[Sight, float]:
        """Return as soon as something has changed, or a minute has passed.

        Raises:
            UnreachableJobError: the daemon does not watch the job, or refuses access.
        """
        began = self._clock.monotonic()
        try:
            found = await self._found(before, left)
        except DaemonError as error:
            return self._failed(before, error)
        self._attempts = 0
        if found is None:
            return replace(before, trouble="no watch has discovered it yet"), SHORT_POLL
        moved = found.sequence != self._sequence
        self._key, self._sequence = found.key, found.sequence
        # A daemon that stops answers at once, though nothing has changed.
        hurried = not moved and self._clock.monotonic() - began < 1
        return self._told(before, found), 1.0 if hurried else 0.0

    def awaited(self) -> str:
        """Say nothing: the credentials are the daemon's."""
        return ""

    # Asking

    async def _found(self, before: Sight, left: float) -> Job | None:
        """Return what the daemon knows of the job; ``None`` if that may yet come."""
        found = await self._ask(before, left)
        if found is None or _is_abandoned(found):
            # While it starts it answers already, but does not follow its jobs yet.
            if not await self._client.has_begun():
                raise DaemonError(f"{self._client.url} is still starting", passing=True)
            found = await self._resolve()
        if found is None:
            await self._require_discovery()
        elif _is_abandoned(found):
            raise UnreachableJobError(
                f"no watch of {self._client.url} follows it any more ({_REMEDY})"
            )
        return found

    async def _ask(self, before: Sight, left: float) -> Job | None:
        if self._key is None:
            return await self._resolve()
        longest = SHORT_POLL if before.state is None else LONG_POLL
        if self._attempts:
            longest = 0.0  # that it answers again is news as well
        return await self._client.wait(self._key, self._sequence, max(0.001, min(longest, left)))

    async def _resolve(self) -> Job | None:
        """Find the job by its id; one that no watch follows any more by its whole key."""
        wanted = self._wanted
        asked = [("type", wanted.type), ("q", f"/{wanted.id}")]
        found, _ = await self._client.jobs(asked, _MOST)
        fitting = [job for job in found if wanted.is_job(job)]
        if len(fitting) > 1:
            keys = ", ".join(job.key for job in fitting)
            message, remedy = f"several jobs are called so: {keys}", "add --account or --region"
            raise ConfigurationError([Problem("", "ID", message, remedy)])
        if fitting:
            return fitting[0]
        key = self._key or (str(wanted) if wanted.account and wanted.region else None)
        return await self._client.job(key) if key else None

    async def _require_discovery(self) -> None:
        """Raise UnreachableJobError unless a watch may discover the job soon."""
        watches = read_watches(await self._client.watches())
        hopeful = any(map(self._wanted.may_come_from, watches))
        if hopeful and self._clock.monotonic() - self._began < PATIENCE:
            return
        types = ", ".join(sorted({watch.type for watch in watches})) or "nothing"
        said = "has not discovered it" if hopeful else "does not watch it"
        raise UnreachableJobError(
            f"{self._client.url} {said}; it watches jobs of {types} ({_REMEDY})"
        )

    # Telling

    def _told(self, before: Sight, found: Job) -> Sight:
        return replace(
            before,
            name=found.key,
            state=found.state,
            phase=found.phase,
            severity=found.severity,
            reason=found.reason,
            fields=found.fields,
            since=found.changed_at,
            seen_at=found.last_look_at if found.state else None,
            updated_at=found.updated_at,
            next_look_at=found.next_look_at,
            interval=found.interval,
            trouble=self._trouble(found),
        )

    def _trouble(self, found: Job) -> str | None:
        """Say why the daemon cannot see the job; raise UnreachableJobError if that will last."""
        if found.missing:
            raise UnreachableJobError("AWS says that it does not exist any more")
        if found.failing is None:
            self._failing = None
            return None
        reason, text = found.failing, f"the daemon cannot see it: {found.failing}"
        now = self._clock.monotonic()
        if self._failing is None or self._failing[0] != reason:
            self._failing = (reason, now)
        lasting = reason in _LASTING and now - self._failing[1] >= _LASTING_FOR
        if found.state is None and (reason in _AT_ONCE or lasting):
            raise UnreachableJobError(text)
        return text

    def _failed(self, before: Sight, error: DaemonError) -> tuple[Sight, float]:
        """Try again later; raise UnreachableJobError if the answer was a refusal."""
        if not error.passing:
            raise UnreachableJobError(str(error)) from None
        delay = max(0.2, pacing.full_jitter(self._attempts, 1, LONGEST_RETRY, self._random))
        self._attempts += 1
        trouble = replace(before, trouble=str(error), next_look_at=None)
        return trouble, max(delay, min(error.retry_after or 0, pacing.LAST_RETRY))


def _is_abandoned(found: Job) -> bool:
    return found.watch is None and not found.phase.terminal


def read_watches(written: Sequence[Mapping[str, Any]]) -> list[config.Watch]:
    """Read those watches that can be read: a newer daemon may know more keys."""
    found = []
    for each in written:
        try:
            found.append(config.Watch.model_validate(each))
        except ValidationError:
            continue
    return found
