"""The connections to the server's port: how many there are, and which one gives way.

Descriptors are what a crowd of connections takes from the daemon's own work. So there is a
limit, beyond which whoever has asked for nothing the longest makes room for the next.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import anyio

from monitor import logs
from monitor.web import descriptors

if TYPE_CHECKING:
    from collections.abc import Callable

CALM = 0.75
"""Share of the limit below which a crowd counts as gone."""


class Connection(Protocol):
    """One connection, from the moment that it is accepted."""

    @property
    def quiet_since(self) -> float | None:
        """Since when it is the client that keeps it waiting; ``None``: a request is under way."""
        ...

    def overdue(self, now: float) -> str | None:
        """Return what takes the client too long, if anything does."""
        ...

    def abort(self) -> None:
        """End it now, without sending the rest."""
        ...


class Connections:
    """The connections that are open."""

    def __init__(
        self,
        most: int = descriptors.MOST_CONNECTIONS,
        count_closed: Callable[[str], None] | None = None,
    ) -> None:
        """Keep to ``most``; ``count_closed`` gets the reason why a connection was closed."""
        self.most = most
        self._open: dict[Connection, None] = {}
        self._count_closed = count_closed or (lambda _reason: None)
        self._crowded = False
        self._log = logs.get()

    def count(self) -> int:
        """Return how many are open."""
        return len(self._open)

    def add(self, connection: Connection) -> None:
        """Count a connection, until it is discarded."""
        self._open[connection] = None

    def discard(self, connection: Connection) -> None:
        """Count a connection no longer."""
        self._open.pop(connection, None)

    def make_room(self) -> bool:
        """Close the connection that has been quiet the longest, if there are too many.

        Return whether there is room for one more: there is none while all are busy.
        """
        if len(self._open) < self.most:
            return True
        if not self._crowded:  # logged once, until the crowd has gone
            self._crowded = True
            self._log.warning(logs.CONNECTIONS_FULL, open=len(self._open), limit=self.most)
        if self.drop_quietest():
            return True
        self._count_closed("refused")
        return False

    def drop_quietest(self) -> bool:
        """Close the connection that has been quiet the longest; return whether there was one."""
        quiet = [(since, one) for one in self._open if (since := one.quiet_since) is not None]
        if not quiet:
            return False
        _, victim = min(quiet, key=lambda each: each[0])
        self._close(victim, "crowded")
        return True

    async def close_overdue(self, every: float) -> None:
        """Close what its client keeps waiting for too long; check ``every`` so many seconds."""
        while True:
            await anyio.sleep(every)
            now = anyio.current_time()
            for each in list(self._open):
                if reason := each.overdue(now):
                    self._close(each, reason)
            if self._crowded and len(self._open) < CALM * self.most:
                self._crowded = False
                self._log.info(logs.CONNECTIONS_RECOVERED, open=len(self._open), limit=self.most)

    def _close(self, connection: Connection, reason: str) -> None:
        # Not when its end is noticed: until then it would be chosen again.
        self.discard(connection)
        self._count_closed(reason)
        connection.abort()
