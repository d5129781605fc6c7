"""One attempt to fetch credentials, in a thread with its own event loop.

Files, token caches and helpers block that thread alone. Processes that the SDK starts have no
input and no terminal, and end with the attempt.
"""

from __future__ import annotations

import asyncio
import subprocess
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from monitor.aws import credential_source, process_groups
from monitor.errors import PollError, PollReason

if TYPE_CHECKING:
    from collections.abc import Callable

    from botocore.credentials import ReadOnlyCredentials

    from monitor.aws.sessions import Session

LARGEST = 256 * 1024
"""Bytes that a credential process may print."""
_REAPED_WITHIN = 2.0
"""Seconds to wait for a killed process."""


@dataclass(frozen=True, slots=True, eq=False)
class FetchedCredentials:
    """Credentials, and the Unix time at which they expire, if they do.

    ``kept`` says that they are stored in a file or the environment: only a change there brings
    others. ``files`` is the digest of the AWS files at the time, ``tried`` is their source.
    """

    frozen: ReadOnlyCredentials
    expires: float | None
    kept: bool
    files: bytes
    tried: credential_source.CredentialSearch


class CredentialFetch:
    """Fetches credentials once, and calls ``outcome`` in the home loop with the result."""

    def __init__(
        self,
        make: Callable[[], Session],
        digest: Callable[[], bytes],
        deadline: float,
        outcome: Callable[[FetchedCredentials | PollError], None],
        groups: process_groups.ProcessGroups,
    ) -> None:
        """``make`` and ``digest`` may block; ``deadline`` is in seconds.

        ``groups`` records the processes that run.
        """
        self._make = make
        self._digest = digest
        self._deadline = deadline
        self._outcome = outcome
        self._groups = groups
        self._home = asyncio.get_running_loop()
        self._session: Session | None = None
        self._loop: _Loop | None = None
        self._task: asyncio.Task[None] | None = None
        self._thread = threading.Thread(target=self._run, name="aws-credentials", daemon=True)

    def start(self) -> None:
        """Begin; returns at once."""
        self._thread.start()

    @property
    def tried(self) -> credential_source.CredentialSearch:
        """The progress of the search."""
        tried = self._session.tried if self._session else credential_source.CredentialSearch()
        if self._loop is not None:
            tried.started |= bool(self._loop.children)
            tried.printed_too_much |= self._loop.printed_too_much
        return tried

    def cancel(self) -> None:
        """Kill the helpers; the outcome follows soon, unless the thread is stuck in a file."""
        loop, task = self._loop, self._task
        if loop is None or task is None:
            return
        loop.kill()
        with suppress(RuntimeError):  # its loop has just closed
            loop.call_soon_threadsafe(task.cancel)

    def _run(self) -> None:
        # A loop of its own: the SDK starts helpers and reads files on whatever loop it runs in.
        factory = partial(_Loop, self._groups)
        with suppress(asyncio.CancelledError), asyncio.Runner(loop_factory=factory) as runner:
            runner.run(self._main())

    async def _main(self) -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, _Loop)  # noqa: S101 -- made by the runner
        # From here on ``cancel`` can reach this thread; before, it has nothing to kill.
        self._loop, self._task = loop, asyncio.current_task()
        result: FetchedCredentials | PollError = PollError(
            PollReason.AUTH, "Cancelled", of_credentials=True
        )
        limit = asyncio.timeout(self._deadline)
        try:
            async with limit:
                # Before anything is read: a change meanwhile then counts as a change later.
                files = self._digest()
                self._session = self._make()
                result = await _fetched(self._session, files)
        except PollError as error:
            result = error
        except Exception as error:  # noqa: BLE001 -- whatever the chain raises must end here
            if limit.expired():
                result = credential_source.late(self.tried, self._deadline)
            else:
                result = credential_source.failure(error, self.tried)
        finally:
            # Reap first: who learns of the outcome may start the next helper at once.
            await loop.end()
            # The home loop is closed where the program ends without waiting for this thread.
            with suppress(RuntimeError):
                self._home.call_soon_threadsafe(self._outcome, result)


async def _fetched(session: Session, files: bytes) -> FetchedCredentials:
    credentials = await session.get_credentials()
    if credentials is None:
        raise credential_source.none_found(session.tried)
    # ``get_frozen_credentials`` would fetch a second time what has just come and expires soon, so
    # the private attributes of refreshable credentials are read first.
    expiry = getattr(credentials, "_expiry_time", None)
    frozen = getattr(credentials, "_frozen_credentials", None)
    if expiry is None or frozen is None or credentials._is_expired():  # noqa: SLF001 -- no other way
        frozen = await credentials.get_frozen_credentials()
        expiry = getattr(credentials, "_expiry_time", None)
    credential_source.refuse_odd(frozen, session.tried)
    expires = None if expiry is None else expiry.timestamp()
    if expires is not None and expires <= time.time():
        raise credential_source.expired(session.tried)
    return FetchedCredentials(
        frozen, expires, session.tried.origin in credential_source.KEPT, files, session.tried
    )


class _Loop(asyncio.SelectorEventLoop):
    """An event loop whose child processes are in process groups of their own, and counted."""

    def __init__(self, groups: process_groups.ProcessGroups) -> None:
        super().__init__()
        self._groups = groups
        self.children: list[asyncio.SubprocessTransport] = []
        self.printed_too_much = False

    async def subprocess_exec(self, protocol_factory: Any, *args: Any, **options: Any) -> Any:
        """Start a process without input or terminal, and with bounded output."""
        options |= {"stdin": subprocess.DEVNULL, "start_new_session": True}
        protocol: asyncio.SubprocessProtocol = protocol_factory()
        received, take = 0, protocol.pipe_data_received

        def bounded(fd: int, data: bytes) -> None:
            nonlocal received
            received += len(data)
            if received <= LARGEST:
                take(fd, data)
            elif not self.printed_too_much:
                # Once is enough: what the pipes still hold arrives after the processes' end.
                self.printed_too_much = True
                self.kill()

        protocol.pipe_data_received = bounded  # type: ignore[method-assign]
        made: Any = await super().subprocess_exec(lambda: protocol, *args, **options)
        self.children.append(made[0])
        self._groups.add(made[0].get_pid())
        return made

    def kill(self) -> None:
        """Kill every process and its children; from any thread."""
        for child in self.children:
            process_groups.kill(child.get_pid())

    async def end(self) -> None:
        """Kill and reap the processes that still run."""
        if any(child.get_returncode() is None for child in self.children):
            self.kill()
        with suppress(TimeoutError):
            async with asyncio.timeout(_REAPED_WITHIN):
                while any(child.get_returncode() is None for child in self.children):  # noqa: ASYNC110 -- the watcher brings it about
                    await asyncio.sleep(0.01)
        for child in self.children:
            if child.get_returncode() is not None:
                # Only once it is reaped: until then the kernel gives its number to nobody else.
                self._groups.discard(child.get_pid())
