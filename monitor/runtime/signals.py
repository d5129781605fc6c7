"""What other replicas have written: their notices wake whoever must read the store again.

Several notices of a topic that arrive together are one. After each new session everything counts
as changed: what was said before is lost.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

import anyio
import orjson

from monitor import logs
from monitor.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from monitor.stores.store import SqlStore


RELOAD = "reload"
"""The topic that asks for something, and so is not missed when it is lost."""


AGAIN = 5.0
"""Seconds after which is tried again what could not be done for a notice."""


class ReplicaSignals:
    """Listens, and calls one function for each topic."""

    def __init__(
        self,
        store: SqlStore,
        own: str,
        topics: Mapping[str, Callable[[], Awaitable[object]]],
        receive: Callable[[Mapping[str, Any]], None],
    ) -> None:
        """Call ``topics[topic]`` when another replica has written something of that topic.

        ``receive`` gets every other message. ``own`` is the id of this replica.
        """
        self._store = store
        self._own = own
        self._topics = topics
        self._receive = receive
        self._events = {topic: anyio.Event() for topic in topics}
        self._log = logs.get()

    async def run(self) -> NoReturn:
        """Listen until cancelled."""
        async with anyio.create_task_group() as tasks:
            for topic in self._topics:
                tasks.start_soon(self._follow, topic, name=f"follow {topic}")
            await self._store.listen(self._hear)
        raise AssertionError("it listens until it is cancelled")

    def _hear(self, text: str | None) -> None:
        if text is None:
            for topic, event in self._events.items():
                if topic != RELOAD:
                    event.set()
            return
        try:
            message = orjson.loads(text)
            topics, sender = message.get("topics"), message["from"]
        except (orjson.JSONDecodeError, KeyError, AttributeError):
            return  # anybody may write to a channel of the database
        if topics is None:
            self._receive(message)
        elif sender != self._own:
            for topic in topics:
                if topic in self._events:
                    self._events[topic].set()

    async def _follow(self, topic: str) -> NoReturn:
        while True:
            await self._events[topic].wait()
            self._events[topic] = anyio.Event()
            try:
                await self._topics[topic]()
                continue
            except StoreError:
                pass  # it is lost, which others report
            except Exception:  # noqa: BLE001 -- what others write must not end this replica
                self._log.exception(logs.REPLICA_BROKEN, topic=topic)
            # What was not done is still to be done.
            await anyio.sleep(AGAIN)
            if topic != RELOAD:
                self._events[topic].set()
