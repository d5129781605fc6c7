"""The credentials of one account: fetched once for all who wait, and renewed before they expire."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread

from monitor.aws import credential_source
from monitor.aws.credential_fetch import CredentialFetch, FetchedCredentials
from monitor.aws.process_groups import ProcessGroups
from monitor.errors import PollError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from botocore.credentials import ReadOnlyCredentials

    from monitor.aws.sessions import Session

LAST_CHANCE = 60.0
"""Seconds before their expiry from which on a request waits for new credentials."""
_EARLY = 900.0
_SHARE = 0.25
"""Renew this many seconds, or this share of their lifetime, before they expire."""
LONGEST_PAUSE = 60.0
"""The most seconds from a failure to the next attempt."""
RECHECKED = 30.0
"""Seconds between two comparisons of the AWS files."""
_STOPPED_WITHIN = 3.0


class CredentialCache:
    """The credentials of an account, in the form that the SDK's signer reads.

    One attempt to fetch them runs at a time, under its own deadline. While credentials are valid,
    no request waits for it, and a failed attempt changes nothing.
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
        """Requests wait for ``patience`` seconds of an attempt.

        ``make`` and ``digest`` may block. ``groups`` records the helpers that run.
        """
        self._make = make
        self._digest = digest
        self._deadline = deadline
        self._patience = patience
        self._groups = groups or ProcessGroups()
        self.held: FetchedCredentials | None = None
        """The credentials in use."""
        self._renew_at = 0.0
        self._fetch: CredentialFetch | None = None
        self._done = anyio.Event()
        self._began = 0.0
        self._failures = 0
        self._failure: PollError | None = None
        self._not_before = 0.0
        self._checked = 0.0
        self._overdue: asyncio.TimerHandle | None = None
        self._closed = False

    @property
    def awaited(self) -> str:
        """The source of the credentials that block requests now, if any do."""
        held = self.held
        if self._fetch is None or (held is not None and _left(held) > LAST_CHANCE):
            return ""
        return credential_source.awaited(self._fetch.tried, time.monotonic() - self._began)

    def at_once(self) -> FetchedCredentials | None:
        """Return the credentials if no request need wait for others."""
        held = self.held
        if held is None:
            return None
        if time.time() < self._renew_at:
            self._recheck()
            return held
        # Due for renewal, but not yet at the end: renew beside the request, not before it.
        if _left(held) > LAST_CHANCE:
            self._start()
            return held
        return None

    async def get_frozen_credentials(self) -> ReadOnlyCredentials:
        """Return valid credentials; at once if there are any.

        Raises:
            PollError: ``auth``, with where they should have come from and the remedy.
        """
        held = self.at_once()
        if held is not None:
            return held.frozen
        await self._wait()
        # Read again: the attempt, or another task, may have replaced them meanwhile.
        held = self.held
        if held is None or _left(held) <= 0:
            error = self._failure
            if error is None:
                tried = self._fetch.tried if self._fetch else credential_source.CredentialSearch()
                raise credential_source.pending(tried, time.monotonic() - self._began)
            # A new one each time: an error that is raised again gathers tracebacks.
            raise PollError(
                error.reason, error.code, status=error.status, hint=error.hint, of_credentials=True
            )
        return held.frozen

    async def get_account_id(self) -> str | None:
        """Return the id of the account, if it is known."""
        account_id: str | None = (await self.get_frozen_credentials()).account_id
        return account_id

    def get_deferred_property(self, _name: str) -> Callable[[], Awaitable[str | None]]:
        """Return the getter of the account's id, the only property that the SDK defers."""
        return self.get_account_id

    async def renew(self, refused: FetchedCredentials | None) -> bool:
        """Return whether there are other credentials than the refused ones; may fetch them."""
        # Another request may have renewed them since this one was signed: then just retry.
        if refused is None or self.held is not refused:
            return self.held is not refused
        if refused.kept and await anyio.to_thread.run_sync(self._digest) == refused.files:
            return False
        await self._wait()
        if not refused.kept:
            # A source may give ever new credentials that AWS refuses: pause, or each poll fetches.
            self._not_before = max(self._not_before, time.monotonic() + LONGEST_PAUSE)
        return self.held is not refused and self.held is not None

    async def aclose(self) -> None:
        """Stop the running attempt and its processes."""
        self._closed = True
        if self._overdue:
            self._overdue.cancel()
        if self._fetch:
            self._fetch.cancel()
            with anyio.move_on_after(_STOPPED_WITHIN, shield=True):
                await self._done.wait()

    async def _wait(self) -> None:
        """Start an attempt, unless in a pause, and wait for it within the patience."""
        self._start()
        if self._fetch is None:
            return
        # Its own event: by the time this wakes up, the next attempt may have replaced ``_done``.
        done, left = self._done, self._began + self._patience - time.monotonic()
        with anyio.move_on_after(max(left, 0)):
            await done.wait()

    def _start(self) -> None:
        if self._fetch or self._closed or time.monotonic() < self._not_before:
            return
        self._began, self._done = time.monotonic(), anyio.Event()
        fetch = CredentialFetch(
            self._make,
            self._digest,
            self._deadline,
            lambda outcome: self._finish(fetch, outcome),
            self._groups,
        )
        self._fetch = fetch
        # A thread that is stuck in a read (NFS, a FIFO) cannot be stopped: waiting for it ends
        # here, but its outcome is still taken if it ever comes.
        loop = asyncio.get_running_loop()
        self._overdue = loop.call_later(self._deadline + 3, self._abandon, fetch)
        fetch.start()

    def _abandon(self, fetch: CredentialFetch) -> None:
        # ``_fetch`` stays: a second thread would only get stuck in the same file.
        if self._fetch is fetch:
            self._fail(credential_source.late(fetch.tried, self._deadline))

    def _finish(self, fetch: CredentialFetch, outcome: FetchedCredentials | PollError) -> None:
        if self._fetch is not fetch:
            return
        self._fetch = None
        if self._overdue:
            self._overdue.cancel()
        self._checked = time.monotonic()
        if isinstance(outcome, PollError):
            self._fail(outcome)
            return
        self.held = outcome
        self._failures, self._failure = 0, None
        self._renew_at = float("inf")
        if outcome.expires is not None:
            left = _left(outcome)
            self._renew_at = outcome.expires - max(LAST_CHANCE, min(_EARLY, left * _SHARE))
            # Some caches return the same until shortly before its end: do not fetch at each poll.
            self._not_before = time.monotonic() + min(LONGEST_PAUSE / 4, left * _SHARE)
        self._done.set()

    def _fail(self, error: PollError) -> None:
        now = time.monotonic()
        self._failures += 1
        self._failure = error
        # The first retry comes at once; one that took long pauses as long, for its source is slow.
        pause = max(now - self._began, 2.0 ** min(self._failures - 2, 6))
        if self._failures > 1 or pause > 1:
            self._not_before = now + min(pause, LONGEST_PAUSE)
        self._done.set()

    def _recheck(self) -> None:
        """Compare the AWS files with the digest now and then, in a thread."""
        now = time.monotonic()
        if now - self._checked < RECHECKED:
            return
        self._checked = now

        def compare(digest: asyncio.Future[bytes]) -> None:
            if digest.cancelled() or digest.exception() or self.held is None:
                return
            if digest.result() != self.held.files:
                self._start()

        loop = asyncio.get_running_loop()
        loop.run_in_executor(None, self._digest).add_done_callback(compare)


def _left(held: FetchedCredentials) -> float:
    return float("inf") if held.expires is None else held.expires - time.time()
