"""Run-time watches: added over the API, kept in the store, and polled like configured ones."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NoReturn

import anyio
from pydantic import ValidationError

from monitor import config, logs, model
from monitor.config import Origin, messages
from monitor.config.yaml_document import DEEPEST, Node, shown
from monitor.errors import ConfigurationError, PollReason, Problem, StoppingError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
    from contextlib import AbstractAsyncContextManager
    from datetime import datetime

    from monitor.config import Settings
    from monitor.interfaces import Clock, JobStatus
    from monitor.stores.store import SqlStore

MOST = 1000
"""Watches that may be added; each change of one goes through all."""
SWEEP = 30.0
"""Seconds between two checks for watches that have expired."""
ENDED = timedelta(minutes=1)
"""Time without a wait after which a watch of ended jobs expires: late waiters cost no poll."""
UNATTENDED = timedelta(days=1)
"""Time without a wait after which any watch that can expire does."""
RETURN = timedelta(hours=1)
"""Time that waiters have to return after a restart, before an old watch may expire."""

Path = tuple[str | int, ...]


def read(value: Mapping[str, Any], place: str = "") -> config.WatchRequest:
    """Read a watch as it would be written; ``place`` is named with its mistakes.

    Raises:
        ConfigurationError: with every mistake in its shape.
    """
    try:
        return config.WatchRequest.model_validate(value)
    except ValidationError as error:
        found = messages.of_shape(error, _node(value, place), root=(config.WatchRequest,))
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


def with_added(settings: Settings, added: Sequence[model.RuntimeWatch]) -> Settings:
    """Return the settings with those run-time watches that they allow."""
    fitting: list[model.RuntimeWatch] = []
    for each in added:
        try:
            with_watches(settings, [each])
        except ConfigurationError:
            continue  # of an earlier version; a daemon leaves it out too
        fitting.append(each)
    return with_watches(settings, fitting)


def _place(watch: model.RuntimeWatch) -> str:
    return f"run-time watch {shown(watch.name)}"


def expiry(
    watch: config.WatchRequest, jobs: Iterable[JobStatus | None], idle: timedelta
) -> str | None:
    """Return why ``watch`` expires now, or ``None``; ``idle`` is the time since the last wait.

    A job is ``None`` where nothing follows it.
    """
    ends = set()
    for job in jobs:
        if job is None or job.snapshot is None:
            # It may be about to be created: only lasting denials show that it never was.
            ends.add("denied" if job and job.failing is PollReason.MISSING else "open")
        else:
            ended = job.snapshot.phase.terminal
            ends.add("ended" if ended else "missing" if job.missing else "open")
    if ends == {"ended"} and idle >= ENDED:
        return "ended"
    long = timedelta(seconds=watch.missing_after) if "denied" in ends else ENDED
    if ends and "open" not in ends and idle >= max(ENDED, long):
        return "missing"
    return "unattended" if idle >= UNATTENDED else None


class RuntimeWatches:
    """Adds and removes watches while the daemon runs; each is durable before it takes effect."""

    def __init__(
        self,
        store: SqlStore,
        clock: Clock,
        configured: Callable[[], Settings],
        take: Callable[[Settings, Callable[[], Awaitable[Any]]], Awaitable[None]],
        alone: Callable[[], AbstractAsyncContextManager[Any]],
        jobs_of: Callable[[str], Iterable[JobStatus | None]],
    ) -> None:
        """``configured`` returns the settings without run-time watches.

        ``take(settings, keep)`` validates, awaits ``keep``, and lets the settings take effect;
        where it raises ConfigurationError nothing has changed but what ``keep`` did. Inside of
        ``alone`` nothing else changes the settings. ``jobs_of`` returns the jobs that the watch
        of a name names; ``None`` stands for one that nothing follows.
        """
        self._store = store
        self._clock = clock
        self._configured = configured
        self._take = take
        self._alone = alone
        self._jobs_of = jobs_of
        self._began = clock.now()
        self._waits: dict[str, datetime] = {}
        self.tell: Callable[[str], None] = lambda _name: None
        """Called with the watch that somebody waits for, so that other replicas know too."""
        self._log = logs.get()

    async def all(self) -> Sequence[model.RuntimeWatch]:
        """Return the run-time watches, oldest first."""
        return await self._store.watches()

    def own(self) -> Sequence[config.Watch]:
        """Return the watches of the configuration."""
        return self._configured().watches

    async def add(self, value: Mapping[str, Any]) -> model.RuntimeWatch | None:
        """Add the watch that ``value`` describes; ``None`` if there is another of that name.

        One that expires is shared: if it is there already, that one is returned.

        Raises:
            ConfigurationError: with everything that is wrong with it.
            StoppingError: the daemon is stopping.
        """
        watch = read(value)
        made = model.RuntimeWatch(watch.name, dict(value), self._clock.now())
        # Names are compared inside: two requests may bring the same one at a time.
        async with self._alone():
            added = await self._store.watches()
            known = {one.name: one for one in added}
            same = known.get(watch.name)
            # One that was left out at the start is stored too, and of no use to anybody.
            followed = any(self._jobs_of(watch.name))
            if same and followed and watch.expires and read(same.settings) == watch:
                # Whoever asks is about to wait, so that it must not expire before.
                self.waited(watch.name)
                return same
            if watch.name in known or watch.name in {one.name for one in self.own()}:
                return None
            if len(added) >= MOST:
                message = f"{MOST} watches have been added already"
                raise ConfigurationError([Problem("", "", message, "remove one")])
            settings = with_watches(self._configured(), [*added, made])
            stored = False

            async def keep() -> None:
                nonlocal stored
                stored = await self._store.add_watch(made)
                if not stored:
                    raise ConfigurationError([])  # another replica was first

            try:
                await self._take(settings, keep)
            except ConfigurationError as error:
                if not (stored or error.problems):
                    return await self._made_elsewhere(watch)
                # It may be stored already, as it is stored before it takes effect.
                if stored:
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

    async def _made_elsewhere(self, watch: config.WatchRequest) -> model.RuntimeWatch | None:
        """Return the watch that another replica has just added, if it is the same and shared."""
        stored = {one.name: one for one in await self._store.watches()}
        other = stored.get(watch.name)
        shared = other is not None and watch.expires and read(other.settings) == watch
        return other if shared else None

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

    def waited(self, name: str) -> None:
        """Note that somebody waits for a job of the watch ``name`` now."""
        self.note_wait(name)
        self.tell(name)

    def note_wait(self, name: str) -> None:
        """Note that somebody waits, here or at another replica."""
        self._waits[name] = self._clock.now()

    async def expire(self, wanted: Callable[[], bool] = lambda: True) -> NoReturn:
        """Remove watches once they have expired, whenever that is ``wanted`` of this process."""
        while True:
            await anyio.sleep(SWEEP)
            if wanted():
                await self.expire_once()
            else:
                # Those who wait for a job elsewhere have time to show it once it is wanted.
                self._began = self._clock.now()

    async def expire_once(self) -> None:
        """Remove the watches that have expired; those that cannot go now are tried again."""
        # Checked inside: a waiter that comes meanwhile finds the watch, or adds it again.
        async with self._alone():
            added = await self._store.watches()
            expired = {each.name: why for each in added if (why := self._expiry(each))}
            self._waits = {
                each.name: self._waits[each.name] for each in added if each.name in self._waits
            }
            if not expired:
                return
            left = [each for each in added if each.name not in expired]

            async def forget() -> None:
                for name in expired:
                    await self._store.remove_watch(name)

            try:
                await self._take(with_watches(self._configured(), left), forget)
            except StoppingError:
                return
            except ConfigurationError:
                for each in added:
                    if each.name in expired:
                        await self._store.add_watch(each)
                return
        for name, why in expired.items():
            self._log.info(logs.WATCH_EXPIRED, watch=name, reason=why)

    def _expiry(self, added: model.RuntimeWatch) -> str | None:
        try:
            watch = read(added.settings)
        except ConfigurationError:
            return None  # of another version, which may know more
        if watch.expires is None:
            return None
        since = max(added.added_at, self._began - UNATTENDED + RETURN)
        idle = self._clock.now() - self._waits.get(added.name, since)
        return expiry(watch, self._jobs_of(added.name), idle)
