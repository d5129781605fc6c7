"""Tells the service manager how the daemon stands: sd_notify(3), a datagram to ``NOTIFY_SOCKET``.

Only a scheduler that goes round feeds the watchdog: a process that hangs, or answers requests but
looks at nothing any more, is restarted, which is safe at any time.
"""

from __future__ import annotations

import os
import socket
import time
from typing import TYPE_CHECKING

import anyio

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

MICROSECONDS = 1_000_000
_TIMES_PER_LIMIT = 3
"""How often the watchdog is fed within its limit."""


class Supervisor:
    """The service manager, if there is one; without one all of this does nothing.

    What cannot be told is left untold: the manager then acts on its silence.
    """

    def __init__(self, environ: Mapping[str, str], pid: int | None = None) -> None:
        """Read what the manager has set; ``pid`` is that of this process."""
        self._address = _address(environ.get("NOTIFY_SOCKET", ""))
        self.limit = _limit(environ, pid or os.getpid()) if self._address else None
        """Seconds without a sign after which it restarts the daemon."""

    def ready(self) -> None:
        """Say that all has started, or that a reload is over."""
        self._tell("READY=1")

    def reloading(self) -> None:
        """Say that the configuration is being read again."""
        self._tell(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> None:
        """Say that the end has begun."""
        self._tell("STOPPING=1")

    async def feed(self, last_pass_age: Callable[[], float]) -> None:
        """Feed the watchdog while the last pass was within its limit, until cancelled."""
        if self.limit is None:
            return
        while True:
            if last_pass_age() < self.limit:
                self._tell("WATCHDOG=1")
            await anyio.sleep(self.limit / _TIMES_PER_LIMIT)

    def _tell(self, text: str) -> None:
        if self._address is None:
            return
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as own:
            own.setblocking(False)  # noqa: FBT003 -- its own form
            try:
                own.sendto(text.encode(), self._address)
            except OSError:
                return


def _address(name: str) -> str | None:
    """Return a path, or the name of an abstract socket, as the system takes it."""
    if name.startswith("@"):
        return "\0" + name[1:]
    return name if name.startswith("/") else None


def _limit(environ: Mapping[str, str], pid: int) -> float | None:
    limit, meant = environ.get("WATCHDOG_USEC", ""), environ.get("WATCHDOG_PID", "")
    if not limit.isdecimal() or int(limit) == 0 or meant not in {"", str(pid)}:
        return None
    return int(limit) / MICROSECONDS
