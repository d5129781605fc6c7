"""Get a job that is waited for from a daemon: more waiters cost no polls.

Where no watch covers the job, the daemon is given one for it, which all waiters share.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from monitor import config, pacing
from monitor.errors import ConfigurationError, DaemonError, PollReason, Problem, UnreachableJobError
from monitor.polling.claims import discovers
from monitor.tools.wait import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from monitor.interfaces import Clock, Random
    from monitor.tools.api_client import DaemonClient
    from monitor.tools.wait import Progress
    from monitor.web.api.job_schemas import JobView

LONG_POLL = 55.0
"""Seconds for which one request waits: many proxies end it after a minute."""
SHORT_POLL = 5.0
"""Seconds between two requests about a job without a state yet: the reason may change."""
LONGEST_RETRY = 10.0
"""Seconds, at most, between two requests to a daemon that does not answer: restarts are short."""
_FATAL_AT_ONCE = frozenset({PollReason.AUTH, PollReason.CONFIG})
_FATAL_IF_LASTING = frozenset({PollReason.MISSING, PollReason.UNAVAILABLE})
_FATAL_AFTER = 30.0
_MOST = 100_000
"""Jobs whose ids may contain the one that is searched for."""
_ARGUMENTS = {"type": "TYPE", "account": "--account", "regions": "--region", "jobs": "ID"}
"""The keys of a watch, as arguments of the command line."""
_NAME_ONE = "name one with --region us-east-1, AWS_REGION, or an ARN as ID"


@dataclass(frozen=True, slots=True)
class JobSelector:
    """A job as the command line names it; ``None`` matches any account or region."""

    type: str
    account: str | None
    region: str | None
    id: str

    def __str__(self) -> str:
        """Write it like a key, as far as that is known."""
        return "/".join((self.type, *filter(None, (self.account, self.region)), self.id))

    def matches(self, job: JobView) -> bool:
        """Return whether ``job`` is this one."""
        return (
            (job.type, job.id) == (self.type, self.id)
            and self.account in {None, job.account}
            and self.region in {None, job.region}
        )

    def may_come_from(self, watch: config.Watch) -> bool:
        """Return whether ``watch`` follows this job once AWS lists it."""
        return (
            watch.type == self.type
            and self.account in {None, watch.account}
            and (self.region is None or not watch.regions or self.region in watch.regions)
            and discovers(watch, self.id)
        )


class DaemonGetter:
    """A ``wait.JobGetter`` that asks a daemon."""

    def __init__(
        self,
        client: DaemonClient,
        selector: JobSelector,
        clock: Clock,
        random: Random,
        region: Callable[[], str | None] = lambda: None,
    ) -> None:
        """Ask ``client`` for the job of ``selector``.

        ``region`` returns the region of a watch that is added, where ``selector`` has none.
        """
        self.pending = str  # nothing: it is the daemon that waits for credentials
        self._client = client
        self._selector = selector
        self._region = region
        self._clock = clock
        self._random = random
        self._key: str | None = None
        self._sequence = 0
        self._attempts = 0
        self._began = clock.monotonic()
        self._failing: tuple[str, float] | None = None

    async def get(self, before: Progress, left: float) -> tuple[Progress, float]:
        """Return as soon as something has changed, or after a minute.

        Raises:
            UnreachableJobError: the daemon cannot watch the job, or refuses access.
            ConfigurationError: it knows no such type or account, or the job is ambiguous.
        """
        began = self._clock.monotonic()
        try:
            found = await self._find(before, left)
        except DaemonError as error:
            if not error.passing:
                raise UnreachableJobError(str(error)) from None
            delay = max(0.2, pacing.full_jitter(self._attempts, 1, LONGEST_RETRY, self._random))
            self._attempts += 1
            pause = max(delay, min(error.retry_after or 0, pacing.LAST_RETRY))
            return replace(before, trouble=str(error), next_poll_at=None), pause
        self._attempts = 0
        if found is None:
            return replace(before, trouble="no watch has discovered it yet"), SHORT_POLL
        moved = found.sequence != self._sequence
        self._key, self._sequence = found.key, found.sequence
        # A daemon that is stopping answers at once, though nothing has changed.
        hurried = not moved and self._clock.monotonic() - began < 1
        progress = replace(
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
            next_poll_at=found.next_look_at,
            interval=found.interval,
            trouble=self._trouble(found),
        )
        return progress, 1.0 if hurried else 0.0

    async def _find(self, before: Progress, left: float) -> JobView | None:
        """Return the daemon's view of the job; ``None`` if a watch may still discover it."""
        if self._key is None:
            found = await self._search()
        else:
            longest = SHORT_POLL if before.state is None else LONG_POLL
            if self._attempts:
                longest = 0.0  # the daemon is back: show that at once
            longest = max(0.001, min(longest, left))
            found = await self._client.wait(self._key, self._sequence, longest)
        if found is None or _is_abandoned(found):
            # A daemon that starts answers requests before it follows its jobs.
            if not await self._client.has_begun():
                raise DaemonError(f"{self._client.url} is still starting", passing=True)
            found = await self._search()
        if _is_abandoned(found) if found else not await self._may_be_discovered():
            await self._add_watch(found)
            found = await self._search()
        return None if found and _is_abandoned(found) else found

    async def _search(self) -> JobView | None:
        """Find the job by its id; one that no watch follows any longer, by its whole key."""
        selector = self._selector
        found, _ = await self._client.jobs(
            [("type", selector.type), ("q", f"/{selector.id}")], _MOST
        )
        matching = [job for job in found if selector.matches(job)]
        if len(matching) > 1:
            keys = ", ".join(job.key for job in matching)
            message, remedy = f"several jobs have this id: {keys}", "add --account or --region"
            raise ConfigurationError([Problem("", "ID", message, remedy)])
        if matching:
            return matching[0]
        key = self._key or (str(selector) if selector.account and selector.region else None)
        return await self._client.job(key) if key else None

    async def _may_be_discovered(self) -> bool:
        """Return whether a watch may discover the job soon; raise if it had the time to."""
        watches = read_watches(await self._client.watches())
        if not any(map(self._selector.may_come_from, watches)):
            return False
        if self._clock.monotonic() - self._began < PATIENCE:
            return True
        text = f"{self._client.url} has not discovered it, though a watch covers it"
        raise UnreachableJobError(f"{text} (does it exist? else add it to the jobs of a watch)")

    async def _add_watch(self, known: JobView | None) -> None:
        """Let the daemon watch exactly this job; ``known`` is what it remembers of it.

        All who wait for the job ask for the same watch, so that they share it. Nobody removes it:
        the daemon does, once the job has ended.
        """
        account = self._selector.account or (known.account if known else "default")
        region = self._selector.region or (known.region if known else None)
        mistakes = await self._refused(account, region)
        # Whether jobs of this type have a region is known to the daemon alone.
        if region is None and any(one.path == "regions" for one in mistakes):
            region = self._region()
            if region is None:
                message = f"jobs of type {self._selector.type} exist in several regions"
                raise ConfigurationError([Problem("", "--region", message, _NAME_ONE)])
            mistakes = await self._refused(account, region)
        self._selector = replace(self._selector, account=account, region=region)
        if not mistakes:
            return
        found = await self._search()
        # What is wrong may be that somebody else has just had the job watched.
        if found is None or _is_abandoned(found):
            raise ConfigurationError([replace(one, path=_ARGUMENTS[_key(one)]) for one in mistakes])

    async def _refused(self, account: str, region: str | None) -> Sequence[Problem]:
        """Ask for the watch; return what is wrong with type, account, region or id.

        Raises:
            UnreachableJobError: the daemon adds none, for another reason.
        """
        wanted = self._selector
        place = "/".join((wanted.type, account, region or "", wanted.id))
        watch = {
            # Made of what it watches: two waiters that know nothing of each other agree on it.
            "name": f"wait-{hashlib.sha256(place.encode()).hexdigest()[:20]}",
            "type": wanted.type,
            "account": account,
            "regions": [region] if region else [],
            "jobs": [wanted.id],
            "labels": {"added_by": "wait"},
            "expires": "final",
        }
        try:
            await self._client.add_watch(watch)
        except DaemonError as error:
            if error.passing:
                raise
            if error.problems and all(_key(one) in _ARGUMENTS for one in error.problems):
                return error.problems
            why = ": ".join(map(str, (error, *error.problems)))
            message = f"no watch follows it, and none can be added: {why}"
            raise UnreachableJobError(message) from None
        return ()

    def _trouble(self, found: JobView) -> str | None:
        """Return why the daemon cannot poll it; raise UnreachableJobError if that will last."""
        if found.missing:
            raise UnreachableJobError("AWS says that it no longer exists")
        if found.failing is None:
            self._failing = None
            return None
        reason, text = found.failing, f"the daemon cannot poll it: {found.failing}"
        now = self._clock.monotonic()
        if self._failing is None or self._failing[0] != reason:
            self._failing = (reason, now)
        lasting = reason in _FATAL_IF_LASTING and now - self._failing[1] >= _FATAL_AFTER
        if found.state is None and (reason in _FATAL_AT_ONCE or lasting):
            raise UnreachableJobError(text)
        return text


def _key(problem: Problem) -> str:
    return problem.path.partition("[")[0]


def _is_abandoned(found: JobView) -> bool:
    return found.watch is None and not found.phase.terminal


def read_watches(written: Sequence[Mapping[str, Any]]) -> Sequence[config.Watch]:
    """Read the watches that this version understands: a newer daemon may know more keys."""
    found = []
    for each in written:
        try:
            found.append(config.WatchRequest.model_validate(each))
        except ValidationError:
            continue
    return found
