"""Reports to the service manager as sd_notify(3) does: datagrams to ``NOTIFY_SOCKET``.

Only pollers that run feed the watchdog: a process that hangs, or answers requests but no
longer polls, is restarted, which is safe at any time.
"""

from __future__ import annotations

import os
import socket
import time
from typing import TYPE_CHECKING

import anyio

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

READY, RELOADING, STOPPING = "READY=1", "RELOADING=1", "STOPPING=1"
"""All has started, or a reload is over; the configuration is read again; the daemon stops."""
MICROSECONDS = 1_000_000
_TIMES_PER_LIMIT = 3
"""Times that the watchdog is fed within its limit."""


class Supervisor:
    """The service manager, if there is one; without one all of this does nothing.

    What cannot be sent is dropped: the manager then acts on the silence.
    """

    def __init__(self, environ: Mapping[str, str], pid: int | None = None) -> None:
        """Read what the manager has set; ``pid`` is that of this process."""
        name = environ.get("NOTIFY_SOCKET", "")
        # The manager writes the zero byte, with which an abstract socket's name begins, as "@".
        path = "\0" + name[1:] if name.startswith("@") else name
        self._address = path if path.startswith(("\0", "/")) else None
        limit, meant = environ.get("WATCHDOG_USEC", ""), environ.get("WATCHDOG_PID", "")
        # Children inherit the variables: only the process that is named there may feed it.
        fed = limit.isdecimal() and int(limit) > 0 and meant in {"", str(pid or os.getpid())}
        self.limit = int(limit) / MICROSECONDS if self._address and fed else None
        """Seconds without a sign after which it restarts the daemon."""

    async def feed(self, last_pass_age: Callable[[], float]) -> None:
        """Feed the watchdog while the last pass was within its limit, until cancelled."""
        if self.limit is None:
            return
        while True:
            if last_pass_age() < self.limit:
                self.notify("WATCHDOG=1")
            await anyio.sleep(self.limit / _TIMES_PER_LIMIT)

    def notify(self, state: str) -> None:
        """Send one of the states; never block or fail."""
        if self._address is None:
            return
        # A reload is ordered by the time at which it began: signals may overtake it.
        stamp = f"\nMONOTONIC_USEC={time.monotonic_ns() // 1000}" if state == RELOADING else ""
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as own:
            own.setblocking(False)  # noqa: FBT003 -- its own form
            try:
                own.sendto((state + stamp).encode(), self._address)
            except OSError:
                return
