"""The credentials of one account: fetched once for all who wait, and renewed before they expire."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread

from monitor.aws import credential_source
from monitor.aws.credential_fetch import Fetch, Fetched
from monitor.aws.process_groups import ProcessGroups
from monitor.errors import PollError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from botocore.credentials import ReadOnlyCredentials

    from monitor.aws.sessions import Session

LAST_CHANCE = 60.0
"""Seconds before their end from which on credentials are used only where no others come."""
_EARLY = 900.0
_SHARE = 0.25
"""They are renewed so many seconds, or so much of their time, before their end."""
LONGEST_PAUSE = 60.0
"""Seconds at most from a failure to the next attempt; one that took long is waited as long for."""
RECHECKED = 30.0
"""Seconds after which the AWS files are compared with what they were."""
_STOPPED_WITHIN = 3.0


class Keys:
    """Credentials as the SDK's signer wants them, from one attempt at a time.

    An attempt has its own deadline, which nobody who waits for it can cut. While credentials are
    valid, none waits, and an attempt that fails changes nothing.
    """

    method = "job-monitor"

    def __init__(
        self,
        make: Callable[[], Session],
        digest: Callable[[], bytes],
        *,
        deadline: float,
        patience: float,
        groups: ProcessGroups | None = None,
    ) -> None:
        """``patience`` is how many seconds of an attempt are waited for.

        ``make`` and ``digest`` may block. ``groups`` is told of the helpers that run.
        """
        self._make = make
        self._digest = digest
        self._deadline = deadline
        self._patience = patience
        self._groups = groups or ProcessGroups()
        self._held: Fetched | None = None
        self._renew_at = 0.0
        self._fetch: Fetch | None = None
        self._done = anyio.Event()
        self._began = 0.0
        self._failures = 0
        self._failure: PollError | None = None
        self._not_before = 0.0
        self._checked = 0.0
        self._overdue: asyncio.TimerHandle | None = None
        self._closed = False

    @property
    def held(self) -> Fetched | None:
        """What is used now."""
        return self._held

    @property
    def awaited(self) -> str:
        """Say which credentials are waited for, if there are none to be used meanwhile."""
        held = self._held
        if self._fetch is None or (held is not None and _left(held) > LAST_CHANCE):
            return ""
        return credential_source.awaited(self._fetch.tried, time.monotonic() - self._began)

    async def get_frozen_credentials(self) -> ReadOnlyCredentials:
        """Return valid credentials; at once where there are some.

        Raises:
            PollError: ``auth``, with where they should have come from and the remedy.
        """
        held = self._held
        if held is not None:
            if time.time() < self._renew_at:
                self._recheck()
                return held.frozen
            if _left(held) > LAST_CHANCE:
                self._start()
                return held.frozen
        await self._wait()
        held = self._held
        if held is None or _left(held) <= 0:
            raise self._why()
        return held.frozen

    async def get_account_id(self) -> str | None:
        """Return the id of the account, where it is known."""
        account_id: str | None = (await self.get_frozen_credentials()).account_id
        return account_id

    def get_deferred_property(self, _name: str) -> Callable[[], Awaitable[str | None]]:
        """Return what the SDK calls for the id of the account, the only property it asks for."""
        return self.get_account_id

    async def renew(self, refused: Fetched | None) -> bool:
        """Return whether there are others than those that AWS refused; they may be fetched now."""
        if refused is None or self._held is not refused:
            return self._held is not refused
        if refused.kept and await anyio.to_thread.run_sync(self._digest) == refused.files:
            return False
        await self._wait()
        if not refused.kept:
            # Those who give ever new credentials that AWS refuses are not asked at each poll.
            self._not_before = max(self._not_before, time.monotonic() + LONGEST_PAUSE)
        return self._held is not refused and self._held is not None

    async def aclose(self) -> None:
        """End an attempt that is under way, with its processes."""
        self._closed = True
        if self._overdue:
            self._overdue.cancel()
        if self._fetch:
            self._fetch.cancel()
            with anyio.move_on_after(_STOPPED_WITHIN, shield=True):
                await self._done.wait()

    async def _wait(self) -> None:
        """Have an attempt made, unless there must be a pause, and wait for it as patience goes."""
        self._start()
        if self._fetch is None:
            return
        done, left = self._done, self._began + self._patience - time.monotonic()
        with anyio.move_on_after(max(left, 0)):
            await done.wait()

    def _start(self) -> None:
        if self._fetch or self._closed or time.monotonic() < self._not_before:
            return
        self._began, self._done = time.monotonic(), anyio.Event()
        fetch = Fetch(
            self._make,
            self._digest,
            self._deadline,
            lambda came: self._take(fetch, came),
            self._groups,
        )
        self._fetch = fetch
        # A thread that is stuck in a file cannot be ended; it must not be waited for either.
        loop = asyncio.get_running_loop()
        self._overdue = loop.call_later(self._deadline + 3, self._give_up, fetch)
        fetch.start()

    def _give_up(self, fetch: Fetch) -> None:
        if self._fetch is fetch:
            self._fail(credential_source.late(fetch.tried, self._deadline))

    def _take(self, fetch: Fetch, came: Fetched | PollError) -> None:
        if self._fetch is not fetch:
            return
        self._fetch = None
        if self._overdue:
            self._overdue.cancel()
        self._checked = time.monotonic()
        if isinstance(came, PollError):
            self._fail(came)
        else:
            self._hold(came)
        self._done.set()

    def _hold(self, came: Fetched) -> None:
        self._held = came
        self._failures, self._failure = 0, None
        if came.expires is None:
            self._renew_at = float("inf")
            return
        early = max(LAST_CHANCE, min(_EARLY, _left(came) * _SHARE))
        self._renew_at = came.expires - early
        # Some caches give the same until shortly before its end; they are not asked at each poll.
        self._not_before = time.monotonic() + min(LONGEST_PAUSE / 4, _left(came) * _SHARE)

    def _fail(self, error: PollError) -> None:
        now = time.monotonic()
        self._failures += 1
        self._failure = error
        pause = max(now - self._began, 2.0 ** min(self._failures - 2, 6))
        if self._failures > 1 or pause > 1:
            self._not_before = now + min(pause, LONGEST_PAUSE)
        self._done.set()

    def _why(self) -> PollError:
        """Return a new error each time: one that is raised again gathers tracebacks."""
        error = self._failure
        if error is None:
            tried = self._fetch.tried if self._fetch else credential_source.Tried()
            return credential_source.pending(tried, time.monotonic() - self._began)
        return PollError(
            error.reason, error.code, status=error.status, hint=error.hint, of_credentials=True
        )

    def _recheck(self) -> None:
        """Compare the AWS files now and then, beside the work."""
        now = time.monotonic()
        if now - self._checked < RECHECKED:
            return
        self._checked = now
        loop = asyncio.get_running_loop()
        loop.run_in_executor(None, self._digest).add_done_callback(self._compare)

    def _compare(self, digest: asyncio.Future[bytes]) -> None:
        if digest.cancelled() or digest.exception():
            return
        if self._held is not None and digest.result() != self._held.files:
            self._start()


def _left(held: Fetched) -> float:
    return float("inf") if held.expires is None else held.expires - time.time()
