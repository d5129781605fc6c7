"""Puts one configuration in place of another, in two steps.

``prepare`` may wait and fail, and changes nothing that runs. ``apply`` is a plain function: nothing
else runs meanwhile, so no poll, commit or delivery comes between the parts of two configurations.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import anyio
import anyio.to_thread

from monitor import logs
from monitor.config import unforeseen
from monitor.errors import ConfigurationError, StoppingError
from monitor.polling.archiver import Followed
from monitor.recording.router import Router
from monitor.runtime import loaded_config
from monitor.runtime.runtime_watches import with_added, with_watches
from monitor.runtime.systemd import READY, RELOADING
from monitor.validation import everything

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
    from datetime import datetime

    from botocore.loaders import Loader

    from monitor import model
    from monitor.aws.clients import Clients
    from monitor.config import Settings
    from monitor.delivery.manager import DeliveryManager, PreparedSinks
    from monitor.errors import Problem
    from monitor.interfaces import Clock
    from monitor.metrics import Metrics
    from monitor.polling.archiver import Archiver
    from monitor.polling.hints import HintManager
    from monitor.polling.job_collector import JobCollector
    from monitor.polling.manager import Handover, PollManager
    from monitor.recording.recorder import Recorder
    from monitor.runtime.account_ids import AccountIds
    from monitor.runtime.loaded_config import LoadedConfig
    from monitor.runtime.reload import Reloader
    from monitor.runtime.systemd import Supervisor
    from monitor.stores.store import SqlStore


@dataclass(frozen=True, slots=True)
class Owned:
    """What this replica owns: sources by key, sinks by name, and whether what is done for all."""

    sources: Mapping[str, Handover] = field(default_factory=dict)
    sinks: frozenset[str] = frozenset()
    upkeep: bool = False


@dataclass(slots=True)
class ConfigState:
    """The configuration in effect: written by ``ConfigManager`` alone, read from any thread.

    ``configured`` is without run-time watches, ``loaded`` with them. ``loaded_at`` is ``None``
    until the first one has taken effect; ``refused`` is what was wrong with the last one.
    """

    configured: Settings
    loaded: LoadedConfig
    loaded_at: datetime | None = None
    refused: Sequence[Problem] = ()
    retention_changed: anyio.Event = field(default_factory=anyio.Event)

    generation: str = ""
    """A short name of the configuration, the same for replicas that have the same."""

    owned: Owned | None = None
    """What this replica owns; all there is, if the store is not shared."""

    account_id: Callable[[str], str | None] = lambda _name: None
    """Returns the id that AWS gave an account, if it is known."""

    @property
    def upkeep(self) -> bool:
        """Whether this process does what one does for all, such as pruning."""
        return self.owned is None or self.owned.upkeep

    def owned_sinks(self) -> Collection[str]:
        """Return the names of the sinks that this process delivers to."""
        return self.loaded.settings.sinks if self.owned is None else self.owned.sinks

    def completed(self, event: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return an event with what the present configuration adds to it."""
        data = event["data"]
        about = data.get("job") or data["source"]
        return self.loaded.links.added_to(event, self.account_id(about["account"]))


@dataclass(frozen=True, slots=True)
class Components:
    """The parts of the daemon that a configuration takes effect in."""

    store: SqlStore
    clients: Clients
    recorder: Recorder
    deliveries: DeliveryManager
    polls: PollManager
    hints: HintManager
    collector: JobCollector
    archiver: Archiver
    account_ids: AccountIds


@dataclass(frozen=True, slots=True)
class PreparedConfig:
    """A configuration that only needs to be applied; ``known`` are jobs of the store."""

    loaded: LoadedConfig
    sinks: PreparedSinks
    router: Router
    known: Sequence[model.Snapshot]


class ConfigManager:
    """Loads configurations and lets them take effect, one at a time and each as a whole."""

    def __init__(
        self,
        state: ConfigState,
        components: Components,
        load: Callable[[], Settings],
        models: Loader,
        reloader: Reloader,
        supervisor: Supervisor,
        metrics: Metrics,
        clock: Clock,
    ) -> None:
        """``load`` reads the settings, or raises ConfigurationError; it may block."""
        self._state = state
        self._parts = components
        self._load = load
        self._models = models
        self._reloader = reloader
        self._supervisor = supervisor
        self._metrics = metrics
        self._clock = clock
        self._log = logs.get()
        self.lock = anyio.Lock()
        """Held while a configuration is read and takes effect: another one has to wait."""

    async def start(self) -> None:
        """Put the first configuration in place, with the run-time watches that it still allows."""
        async with self.lock:
            loaded = await self._with_stored(self._state.loaded)
            async with self.prepare(loaded) as prepared:
                self.apply(prepared)
            self._report(logs.CONFIG_LOADED)

    async def _with_stored(self, loaded: LoadedConfig) -> LoadedConfig:
        """Return the configuration with those run-time watches of the store that it allows."""
        fitting: list[model.RuntimeWatch] = []
        for watch in await self._parts.store.watches():
            try:
                settings = with_watches(self._state.configured, [*fitting, watch])
                loaded = await self._validate(settings)
                fitting.append(watch)
            except ConfigurationError as error:
                for problem in error.problems:
                    self._log.error(
                        logs.WATCH_SKIPPED, watch=watch.name, problem=logs.of_problem(problem)
                    )
        return loaded

    async def reload(self) -> None:
        """Read the configuration again and let it take effect, or leave everything as it is.

        Raises:
            ConfigurationError: it is refused.
        """
        self._supervisor.notify(RELOADING)
        try:
            async with self.lock:
                # Whatever is raised is a refusal: a mistake in a file must not end the daemon.
                with unforeseen.refused():
                    watches = await self._parts.store.watches()
                    # Abandoned when the daemon stops: a file system may never answer.
                    configured = await anyio.to_thread.run_sync(self._load, abandon_on_cancel=True)
                    loaded = await self._validate(with_watches(configured, watches))
                    present = self._state.loaded.settings
                    everything.raise_errors(loaded_config.lasting(present, loaded.settings))
                    await self._replace(loaded)
                    self._state.configured = configured
        except ConfigurationError as error:
            self._state.refused = error.problems
            self._metrics.config_last_reload_successful.set(0)
            for problem in error.problems:
                trace = {"where": problem.trace} if problem.trace else {}
                self._log.error(logs.CONFIG_REFUSED, problem=logs.of_problem(problem), **trace)
            raise
        finally:
            self._supervisor.notify(READY)
        self._report(logs.CONFIG_RELOADED)
        await self._parts.clients.close_idle()

    async def replace(self, settings: Settings, keep: Callable[[], Awaitable[object]]) -> None:
        """Let settings with other run-time watches take effect, once ``keep`` has stored these.

        The caller holds ``lock``.

        Raises:
            ConfigurationError: they cannot be used; nothing but what ``keep`` did has changed.
            StoppingError: the daemon is stopping; nothing is stored.
        """
        with unforeseen.refused():
            loaded = await self._validate(settings)
            # Asked after the last wait before storing: the daemon may have begun to stop meanwhile.
            if self._reloader.over:
                raise StoppingError
            await keep()
            await self._replace(loaded)

    async def _validate(self, settings: Settings) -> LoadedConfig:
        return await anyio.to_thread.run_sync(
            loaded_config.prepare, settings, self._models, abandon_on_cancel=True
        )

    async def _replace(self, loaded: LoadedConfig, sinks: Collection[str] | None = None) -> None:
        before = self._state.loaded
        try:
            async with self.prepare(loaded, sinks) as prepared:
                self.apply(prepared)
        except Exception:
            # A fault of ours in the midst of ``apply``: nobody should run on half of each.
            if self._state.loaded is not before:
                async with self.prepare(before) as prepared:
                    self.apply(prepared)
            raise

    async def _known(self, loaded: LoadedConfig) -> Sequence[model.Snapshot]:
        """Return the jobs of the store, if ``loaded`` may take up some that are not followed."""
        present = self._state.loaded
        reach, known = (
            {
                (each.type, each.account, *map(repr, (each.regions, each.jobs, each.discover)))
                for each in one.settings.watches
            }
            for one in (loaded, present)
        )
        # Counters with other labels start again from what the store knows.
        relabelled = loaded.settings.metrics.watch_labels != present.settings.metrics.watch_labels
        # Of the types in use alone: the others are not read, as each holds the model of a service.
        used = {each.type for each in loaded.settings.watches}
        first = self._state.loaded_at is None
        # Others, such as labels or intervals, are not worth reading every job again.
        whole = first or relabelled or not reach <= known
        whole = whole or any(loaded.types[name] != present.types[name] for name in used)
        if whole and not first:
            # What was observed since must be stored first, or older snapshots would be taken up.
            await self._parts.recorder.rest()
        owned = self._state.owned
        followed = Followed(
            loaded.settings, loaded.types, None if owned is None else owned.sources.keys()
        )
        return await self._parts.archiver.known(followed, whole=whole)

    @property
    def over(self) -> bool:
        """Whether the daemon stops, so that nothing may take effect any more."""
        return self._reloader.over

    async def share(self, owned: Owned) -> frozenset[str]:
        """Poll and deliver what this replica owns from now on, and nothing else.

        Return the sinks that cannot be opened.
        """
        async with self.lock:
            if self.over:
                return frozenset()
            loaded, before = self._state.loaded, self._state.owned or Owned()
            gained = owned.sources.keys() - before.sources.keys()
            recorder, store = self._parts.recorder, self._parts.store
            if gained:
                # The last owner may have written since they were read here, if they ever were.
                states = await store.sources()
                recorder.adopt_sources(one for one in states if one.source.key in gained)
            router = Router(loaded.settings.routes, tuple(loaded.settings.sinks))
            async with self._parts.deliveries.prepare(loaded.sinks, owned.sinks) as prepared:
                followed = Followed(loaded.settings, loaded.types, gained)
                places = followed.places or set()
                stored = await store.baselines() if places else ()
                recorder.baselines.adopt(
                    each for each in stored if (each.type, each.account, each.region) in places
                )
                known = await self._parts.archiver.known(followed) if places else ()
                failed = frozenset(prepared.failed)
                # Asked after the last wait: nothing may begin any more once the daemon stops.
                if self._reloader.over:
                    return frozenset()
                self._state.owned = replace(owned, sinks=owned.sinks - failed)
                self.apply(PreparedConfig(loaded, prepared, router, known))
                return failed

    async def follow_watches(self) -> None:
        """Let run-time watches take effect, or no longer, that another replica has changed."""
        async with self.lock:
            settings = with_added(self._state.configured, await self._parts.store.watches())
            if self._reloader.over or settings.watches == self._state.loaded.settings.watches:
                return
            with unforeseen.refused():
                try:
                    loaded = await self._validate(settings)
                except ConfigurationError:
                    # One at a time: those that the configuration allows must not wait for others.
                    loaded = await self._with_stored(await self._validate(self._state.configured))
                if loaded.settings.watches != self._state.loaded.settings.watches:
                    await self._replace(loaded, self._state.owned_sinks())

    @asynccontextmanager
    async def prepare(
        self, loaded: LoadedConfig, sinks: Collection[str] | None = None
    ) -> AsyncIterator[PreparedConfig]:
        """Open and build all that ``loaded`` needs; what is not applied is closed again.

        Only ``sinks`` are opened; all of them if it is ``None``, those of other replicas too: what
        cannot be opened must be refused by all replicas.
        """
        router = Router(loaded.settings.routes, tuple(loaded.settings.sinks))
        async with self._parts.deliveries.prepare(loaded.sinks, sinks) as prepared:
            # Last, as it marks in the store what is archived: nothing may be refused after that.
            yield PreparedConfig(loaded, prepared, router, await self._known(loaded))

    def apply(self, prepared: PreparedConfig) -> None:
        """Put ``prepared`` in place of what there is."""
        parts, loaded = self._parts, prepared.loaded
        before, after = self._state.loaded.settings, loaded.settings
        # First of all, so that a fault below is known to have left something half done.
        self._state.loaded = loaded
        # Sinks come before the routes to them, and accounts before the watches that use them.
        owned = self._state.owned
        parts.deliveries.apply(prepared.sinks, None if owned is None else owned.sinks)
        parts.recorder.router = prepared.router
        parts.recorder.quiet.use(after.watches)
        changed = parts.clients.replace(after.accounts, loaded.accounts)
        sources = None if owned is None else owned.sources
        parts.polls.apply(after, loaded.types, prepared.known, sources)
        parts.polls.retry(changed)
        parts.hints.apply(after, loaded.types)
        parts.collector.settings = after.metrics
        parts.archiver.keep_finished = timedelta(
            seconds=after.metrics.keep_finished if after.metrics.per_job else 0
        )
        if before.log != after.log:
            logs.configure(after.log.format, after.log.level)
        if before.retention != after.retention:
            self._state.retention_changed.set()
            self._state.retention_changed = anyio.Event()

    def _report(self, event: str) -> None:
        """Say that a configuration has taken effect."""
        loaded = self._state.loaded
        self._state.generation = loaded_config.generation(self._state.configured, loaded)
        counts = {"watches": len(loaded.settings.watches), "sinks": len(loaded.settings.sinks)}
        self._log.info(event, **counts)
        for warning in loaded.warnings:
            self._log.warning(logs.CONFIG_LOADED, problem=str(warning))
        self._state.loaded_at, self._state.refused = self._clock.now(), ()
        self._metrics.config_last_reload_successful.set(1)
        self._metrics.config_last_reload_success.set(self._clock.now().timestamp())
