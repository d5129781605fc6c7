"""Watches that are added at run time: kept in the store, and watched like configured ones."""

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
    """Make the tree that mistakes are looked up in; nothing right is nested deeper than it."""
    if isinstance(value, dict) and room:
        return Node({key: _node(each, place, room - 1) for key, each in value.items()}, place)
    if isinstance(value, list) and room:
        return Node([_node(each, place, room - 1) for each in value], place)
    return Node(None if isinstance(value, dict | list) else value, place)


def together(settings: Settings, added: Sequence[model.AddedWatch]) -> Settings:
    """Return the configuration with the added watches behind its own.

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


def _place(watch: model.AddedWatch) -> str:
    return f"added watch {shown(watch.name)}"


class AddedWatches:
    """Adds and removes watches while the daemon runs; each is durable before it counts."""

    def __init__(
        self,
        store: SqlStore,
        clock: Clock,
        configured: Callable[[], Settings],
        take: Callable[[Settings, Callable[[], Awaitable[Any]]], Awaitable[None]],
        alone: Callable[[], AbstractAsyncContextManager[Any]],
    ) -> None:
        """``configured`` is without added ones.

        ``take(settings, keep)`` examines, awaits ``keep``, and lets the settings take effect;
        where it raises ConfigurationError nothing has changed but what ``keep`` did. Inside of
        ``alone`` nothing else changes the settings.
        """
        self._store = store
        self._clock = clock
        self._configured = configured
        self._take = take
        self._alone = alone
        self._log = logs.get()

    async def all(self) -> Sequence[model.AddedWatch]:
        """Return those that were added, in that order."""
        return await self._store.watches()

    def own(self) -> Sequence[config.Watch]:
        """Return those of the configuration."""
        return self._configured().watches

    async def add(self, value: Mapping[str, Any]) -> model.AddedWatch | None:
        """Watch what ``value`` asks for; ``None`` if there is a watch of that name.

        Raises:
            ConfigurationError: with everything that is wrong with it.
            StoppingError: the monitor ends.
        """
        watch = read(value)
        made = model.AddedWatch(watch.name, dict(value), self._clock.now())
        async with self._alone():
            added = await self._store.watches()
            names = {one.name for one in self._configured().watches} | {one.name for one in added}
            if watch.name in names:
                return None
            if len(added) >= MOST:
                message = f"{MOST} watches have been added already"
                raise ConfigurationError([Problem("", "", message, "remove one")])
            await self._add(made, added)
        self._log.info(logs.WATCH_ADDED, watch=made.name)
        return made

    async def _add(self, made: model.AddedWatch, added: Sequence[model.AddedWatch]) -> None:
        wanted = together(self._configured(), [*added, made])
        try:
            await self._take(wanted, lambda: self._store.add_watch(made))
        except ConfigurationError as error:
            await self._store.remove_watch(made.name)
            here = f"watches[{len(wanted.watches) - 1}]"
            raise ConfigurationError([_relative(each, here) for each in error.problems]) from None

    async def remove(self, name: str) -> bool:
        """Watch no more what was added as ``name``; ``False`` if there is none.

        Raises:
            ConfigurationError: the configuration cannot be used without it, for other reasons.
            StoppingError: the monitor ends.
        """
        async with self._alone():
            added = await self._store.watches()
            kept = [each for each in added if each.name != name]
            if len(kept) == len(added):
                return False
            await self._remove(next(each for each in added if each.name == name), kept)
        self._log.info(logs.WATCH_REMOVED, watch=name)
        return True

    async def _remove(self, gone: model.AddedWatch, kept: Sequence[model.AddedWatch]) -> None:
        try:
            wanted = together(self._configured(), kept)
            await self._take(wanted, lambda: self._store.remove_watch(gone.name))
        except ConfigurationError:
            await self._store.add_watch(gone)
            raise


def _relative(problem: Problem, here: str) -> Problem:
    """Name a key of the watch that is added as its sender wrote it."""
    if not problem.path.startswith(here):
        return problem
    return replace(problem, place="", path=problem.path.removeprefix(here).removeprefix("."))
