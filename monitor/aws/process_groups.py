"""The process groups that the program has started, so that none is left behind at its end."""

from __future__ import annotations

import os
import signal
from contextlib import suppress


class ProcessGroups:
    """Knows which process groups run, and can kill them all; from any thread, without a lock.

    The last resort that ends the process runs no ``finally``: it asks this first.
    """

    def __init__(self) -> None:
        """Begin with none."""
        self._leaders: set[int] = set()
        self._closed = False

    def add(self, leader: int) -> None:
        """Note that a group runs; one that starts after ``kill`` is killed at once."""
        self._leaders.add(leader)
        if self._closed:
            kill(leader)

    def discard(self, leader: int) -> None:
        """Note that a group has ended: its number may soon be another's."""
        self._leaders.discard(leader)

    def kill(self) -> None:
        """Kill every group that runs, and every one that is still to come."""
        self._closed = True
        for leader in tuple(self._leaders):
            kill(leader)


def kill(leader: int) -> None:
    """Kill a process and those that it started, if there are any left."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, signal.SIGKILL)
