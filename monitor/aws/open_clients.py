"""The SDK's clients that are open: few of many, as most polls need none.

A client takes some 200 KB, and a prepared poll that changes nothing does without. So the client
that was used the longest ago is closed where too many are open, and made again for the next
answer that must be read: that takes 5 ms.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import anyio

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from aiobotocore.client import AioBaseClient

MOST = 64
"""Clients that stay open without a user."""


@dataclass(slots=True, eq=False)
class _OpenClient:
    """One client; ``kept`` is set for one that every poll needs."""

    close: Callable[[], Awaitable[None]]
    users: int = 0
    kept: bool = False


class OpenClients:
    """The open clients of all accounts, the one used last at the end."""

    def __init__(self, most: int = MOST) -> None:
        """Keep ``most`` without a user."""
        self._most = most
        self._open: dict[AioBaseClient, _OpenClient] = {}

    def add(self, client: AioBaseClient, close: Callable[[], Awaitable[None]]) -> None:
        """Add a client; ``close`` closes it, and lets the next request make another."""
        self._open[client] = _OpenClient(close)

    def forget(self, client: AioBaseClient) -> None:
        """Leave a client to whoever closes all of its account."""
        self._open.pop(client, None)

    def keep(self, client: AioBaseClient) -> None:
        """Let a client stay open: requests of its source can be sent by it alone."""
        if client in self._open:
            self._open[client].kept = True

    @asynccontextmanager
    async def using(self, client: AioBaseClient) -> AsyncIterator[None]:
        """Keep a client open meanwhile; others may be closed at the end."""
        # Put at the end. One that is not there is closed with its account.
        entry = self._open.pop(client, None)
        if entry is None:
            yield
            return
        self._open[client] = entry
        entry.users += 1
        try:
            yield
        finally:
            entry.users -= 1
            if len(self._open) > self._most:
                # Shielded: a cancelled poll would leave connections open for good.
                with anyio.CancelScope(shield=True):
                    unused = [one for one, at in self._open.items() if not (at.users or at.kept)]
                    for oldest in unused[: max(0, len(self._open) - self._most)]:
                        # Out of the list before the await, so that no other task closes it too.
                        await self._open.pop(oldest).close()
