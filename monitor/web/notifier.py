"""Notices of what was committed, for whoever waits; the transitions are in the store."""

from __future__ import annotations

from dataclasses import dataclass, field

import anyio


@dataclass(eq=False)
class News:
    """Holds nothing that could overflow: who wakes reads the store from where it was.

    Take the event first, then read, then wait: so nothing is missed.
    """

    closed: bool = False
    _any: anyio.Event = field(default_factory=anyio.Event)
    _of: dict[str, anyio.Event] = field(default_factory=dict)

    def tell(self, key: str) -> None:
        """Say that the job or source with ``key`` has a new transition, already durable."""
        self._any.set()
        self._any = anyio.Event()
        if waited_for := self._of.pop(key, None):
            waited_for.set()

    def close(self) -> None:
        """Wake everybody for the last time: the server stops."""
        self.closed = True
        for event in (self._any, *self._of.values()):
            event.set()

    def any(self) -> anyio.Event:
        """Return what is set with the next news of all."""
        return self._any

    def of(self, key: str) -> anyio.Event:
        """Return what is set with the next news of one job."""
        return self._any if self.closed else self._of.setdefault(key, anyio.Event())
