"""Run-time watches: added over the API, kept in the store, and polled like configured ones."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from monitor import config, logs, model
from monitor.config import Origin, messages
from monitor.config.yaml_document import DEEPEST, Node, shown
from monitor.errors import ConfigurationError, Problem

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence
    from contextlib import AbstractAsyncContextManager

    from monitor.config import Settings
    from monitor.interfaces import Clock
    from monitor.stores.store import SqlStore

MOST = 1000
"""Watches that may be added; each change of one goes through all."""

Path = tuple[str | int, ...]


def read(value: Mapping[str, Any], place: str = "") -> config.Watch:
    """Read a watch as it would be written; ``place`` is named with its mistakes.

    Raises:
        ConfigurationError: with every mistake in its shape.
    """
    try:
        return config.Watch.model_validate(value)
    except ValidationError as error:
        found = messages.of_shape(error, _node(value, place), root=(config.Watch,))
        raise ConfigurationError(found) from None


def _node(value: Any, place: str, room: int = DEEPEST) -> Node:
    """Make the tree in which mistakes are located; nothing right is nested deeper than it."""
    if isinstance(value, dict) and room:
        return Node({key: _node(each, place, room - 1) for key, each in value.items()}, place)
    if isinstance(value, list) and room:
        return Node([_node(each, place, room - 1) for each in value], place)
    return Node(None if isinstance(value, dict | list) else value, place)


def with_watches(settings: Settings, added: Sequence[model.RuntimeWatch]) -> Settings:
    """Return the configuration with the run-time watches behind its own.

    Raises:
        ConfigurationError: one of them has a shape that is not known.
    """
    more = [read(each.settings, _place(each)) for each in added]
    watches = [*settings.watches, *more]
    whole = settings.model_copy(update={"watches": watches})

    def place(path: Path) -> str:
        match path:
            case ("watches", int(index), *_) if index >= len(settings.watches):
                return _place(added[index - len(settings.watches)])
        return settings.place(*path)

    return whole.placed(Origin(place))


def _place(watch: model.RuntimeWatch) -> str:
    return f"run-time watch {shown(watch.name)}"


class RuntimeWatches:
    """Adds and removes watches while the daemon runs; each is durable before it takes effect."""

    def __init__(
        self,
        store: SqlStore,
        clock: Clock,
        configured: Callable[[], Settings],
        take: Callable[[Settings, Callable[[], Awaitable[Any]]], Awaitable[None]],
        alone: Callable[[], AbstractAsyncContextManager[Any]],
    ) -> None:
        """``configured`` returns the settings without run-time watches.

        ``take(settings, keep)`` validates, awaits ``keep``, and lets the settings take effect;
        where it raises ConfigurationError nothing has changed but what ``keep`` did. Inside of
        ``alone`` nothing else changes the settings.
        """
        self._store = store
        self._clock = clock
        self._configured = configured
        self._take = take
        self._alone = alone
        self._log = logs.get()

    async def all(self) -> Sequence[model.RuntimeWatch]:
        """Return the run-time watches, oldest first."""
        return await self._store.watches()

    def own(self) -> Sequence[config.Watch]:
        """Return the watches of the configuration."""
        return self._configured().watches

    async def add(self, value: Mapping[str, Any]) -> model.RuntimeWatch | None:
        """Add the watch that ``value`` describes; ``None`` if there is one of that name.

        Raises:
            ConfigurationError: with everything that is wrong with it.
            StoppingError: the daemon is stopping.
        """
        watch = read(value)
        made = model.RuntimeWatch(watch.name, dict(value), self._clock.now())
        # Names are compared inside: two requests may bring the same one at a time.
        async with self._alone():
            added = await self._store.watches()
            names = {one.name for one in self._configured().watches} | {one.name for one in added}
            if watch.name in names:
                return None
            if len(added) >= MOST:
                message = f"{MOST} watches have been added already"
                raise ConfigurationError([Problem("", "", message, "remove one")])
            settings = with_watches(self._configured(), [*added, made])
            try:
                await self._take(settings, lambda: self._store.add_watch(made))
            except ConfigurationError as error:
                # It may be stored already, as it is stored before it takes effect.
                await self._store.remove_watch(made.name)
                here = f"watches[{len(settings.watches) - 1}]"
                # The sender knows its keys, but not the place of the watch among all others.
                found = [
                    replace(each, place="", path=each.path.removeprefix(here).removeprefix("."))
                    if each.path.startswith(here)
                    else each
                    for each in error.problems
                ]
                raise ConfigurationError(found) from None
        self._log.info(logs.WATCH_ADDED, watch=made.name)
        return made

    async def remove(self, name: str) -> bool:
        """Remove the run-time watch ``name``; ``False`` if there is none.

        Raises:
            ConfigurationError: the configuration cannot be used without it, for other reasons.
            StoppingError: the daemon is stopping.
        """
        async with self._alone():
            added = {watch.name: watch for watch in await self._store.watches()}
            removed = added.pop(name, None)
            if removed is None:
                return False
            try:
                settings = with_watches(self._configured(), list(added.values()))
                await self._take(settings, lambda: self._store.remove_watch(name))
            except ConfigurationError:
                await self._store.add_watch(removed)
                raise
        self._log.info(logs.WATCH_REMOVED, watch=name)
        return True
