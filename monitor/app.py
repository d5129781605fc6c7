"""Composition root: settings become objects, and the objects run until told to stop.

Start: store, AWS clients, HTTP, dispatchers with their sinks, pollers. Stop: in reverse, each
under a deadline, so that what is under way is finished and all that was seen is written down.
"""

from __future__ import annotations

import gc
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread
from prometheus_client import CollectorRegistry

from monitor import __version__, config, logs, metrics, sinks
from monitor.aws import service_models
from monitor.aws.clients import Clients
from monitor.clock import SystemClock
from monitor.config import unforeseen
from monitor.delivery.manager import DeliveryManager
from monitor.errors import ConfigurationError, StoppingError
from monitor.polling.job_collector import JobCollector
from monitor.polling.manager import PollManager
from monitor.recording.recorder import Recorder
from monitor.recording.router import Router
from monitor.runtime import loaded_config
from monitor.runtime.clock_jumps import ClockJumps
from monitor.runtime.reload import Reloader
from monitor.runtime.runtime_watches import AddedWatches, together
from monitor.runtime.status import Live
from monitor.runtime.systemd import Supervisor
from monitor.sources.aws_source import AwsSource
from monitor.stores.store import open_store
from monitor.validation import everything
from monitor.web import descriptors
from monitor.web.api.routes import Parts
from monitor.web.api.schemas import SinkView
from monitor.web.app import create_app
from monitor.web.auth import Guard
from monitor.web.connections import Connections
from monitor.web.notifier import News
from monitor.web.server import serving
from monitor.web.web_config import WebConfigFile

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
    from contextlib import AbstractAsyncContextManager

    from monitor import model
    from monitor.aws.process_groups import ProcessGroups
    from monitor.interfaces import Clock, Sink, Store
    from monitor.runtime.loaded_config import LoadedConfig
    from monitor.sources.job_type import JobType
    from monitor.stores.store import SqlStore

REFRESH = 2.0
"""Seconds between two readings of what metrics show of the store and the scheduler."""

PRUNE = 3600.0
"""Seconds between two rounds of forgetting old history."""

KEEP_TIME = 300.0
"""Seconds after which the store's own time is written down; a crash loses so much of it at most."""


REST_WITHIN = 2.0
"""Seconds that the times of the last polls may take to be stored when the daemon stops."""

CHANGE_WITHIN = 2.0
"""Seconds that a change of the watches may take to end when the daemon stops."""


@dataclass(frozen=True, slots=True)
class Running:
    """What a daemon that has started tells its caller."""

    url: str
    jobs: int


def open_ledger(settings: config.Settings) -> AbstractAsyncContextManager[SqlStore]:
    """Open the store beside a daemon that may be running; makes and migrates nothing."""
    return open_store(settings.store, SystemClock(), exclusive=False, migrate=False)


def with_added(settings: config.Settings, added: Sequence[model.AddedWatch]) -> config.Settings:
    """Return the settings with the watches that were added at run time, of which none may fit."""
    fitting: list[model.AddedWatch] = []
    for each in added:
        try:
            together(settings, [each])
        except ConfigurationError:
            continue  # of an earlier version; a daemon leaves it out too
        fitting.append(each)
    return together(settings, fitting)


@asynccontextmanager
async def open_sink(settings: config.Settings, name: str) -> AsyncIterator[Sink]:
    """Build one sink as the daemon would.

    Raises:
        ConfigurationError: it cannot be built.
    """
    found = everything.check_sinks(settings)
    everything.raise_errors(each for each in found if each.path.startswith(f"sinks.{name}."))
    async with (
        Clients(settings.accounts, models=service_models.loader()) as clients,
        sinks.open_sink(name, settings.sinks[name], clients=clients) as sink,
    ):
        yield sink


class Daemon:
    """The whole monitor on one configuration."""

    def __init__(
        self,
        settings: config.Settings,
        *,
        load: Callable[[], config.Settings] | None = None,
        announce: Callable[[model.Transition], None] | None = None,
        clock: Clock | None = None,
        random: Random | None = None,
        supervisor: Supervisor | None = None,
        groups: ProcessGroups | None = None,
    ) -> None:
        """``announce`` is told each transition once it is durable.

        ``load`` reads the settings again for a reload, or raises ConfigurationError; it may
        block. Without it they stay as they are. ``supervisor`` is told how the daemon stands,
        ``groups`` of the processes that must not outlive it.

        Raises:
            ConfigurationError: with everything that is wrong.
        """
        self._load = load or (lambda: settings)
        self._models = service_models.loader()
        self._configured = settings
        self._setup = loaded_config.prepare(settings, self._models)
        self._changing = anyio.Lock()
        self._reloader = Reloader(self._take_again)
        self._retention_changed = anyio.Event()
        self._listener = announce
        self._clock = clock or SystemClock()
        self._random = random or Random()  # noqa: S311 -- jitter, no secret
        self._supervisor = supervisor or Supervisor({})
        self._groups = groups
        self._log = logs.get()
        self._registry = CollectorRegistry()
        self._metrics = metrics.Metrics(self._registry, __version__)
        self._jumps = ClockJumps(self._clock, self._metrics)
        self._news = News()
        self._clients: Clients
        self._store: SqlStore
        self._live: Live
        self._recorder: Recorder
        self._telling: DeliveryManager
        self._polling: PollManager
        self._shown: JobCollector

    @property
    def reloader(self) -> Reloader:
        """What reads the configuration again when asked, and knows what was wrong with it."""
        return self._reloader

    @property
    def settings(self) -> config.Settings:
        """The settings that are in effect."""
        return self._setup.settings

    async def run(self, stop: anyio.Event, ready: Callable[[Running], None] | None = None) -> None:
        """Run until ``stop`` is set; then end within ten seconds, and lose nothing.

        Raises:
            ConfigurationError: an address, file or secret cannot be used.
            StoreError: the store cannot be used, now or any more.
        """
        async with AsyncExitStack() as stack:
            store = await self._open_store(stack)
            await self._build(stack, store)
            self._live = Live(self._polling, self._telling, self._clock, self.settings)
            url = await self._serve(stack, store)
            async with self._upkeep(store), self._telling.running():
                async with self._polling.running():
                    await self._take_up(await self._begun(store), await store.snapshots())
                    _spare_collector()
                    self._loaded(logs.CONFIG_LOADED)
                    self._log.info(logs.DAEMON_STARTED, version=__version__, url=url)
                    self._supervisor.ready()
                    if ready:
                        ready(Running(url, self._recorder.size))
                    async with self._reloader.running():
                        await stop.wait()
                        self._supervisor.stopping()
                        self._log.info(logs.DAEMON_STOPPING)
                    await self._changed()
                # What is not written by then costs wider windows, and nothing else.
                with anyio.move_on_after(REST_WITHIN):
                    await self._recorder.rest()
                    await store.ping()  # so that its own time is kept to the end
        self._log.info(logs.DAEMON_STOPPED)

    # Start

    async def _open_store(self, stack: AsyncExitStack) -> SqlStore:
        observe = self._metrics.store_commit_duration.observe
        store = await stack.enter_async_context(
            open_store(self.settings.store, self._clock, observe)
        )
        self._metrics.ledger_id = store.ledger_id
        self._jumps.between_runs(store.set_back)
        return store

    async def _build(self, stack: AsyncExitStack, store: SqlStore) -> None:
        self._store = store
        made = Clients(
            self.settings.accounts,
            contents=self._setup.accounts,
            models=self._models,
            groups=self._groups,
        )
        self._clients = await stack.enter_async_context(made)
        self._recorder = Recorder(store, _router(self.settings), self._announce)
        self._recorder.adopt_sources(await store.sources())
        self._recorder.baselines.adopt(await store.baselines())
        shared = (self._metrics, self._clock, self._random)
        self._telling = DeliveryManager(store, *shared, partial(sinks.open_sink, clients=made))
        self._polling = PollManager(self._recorder, *shared, self._source)
        followed, shown = self._polling.followed, self.settings.metrics
        own_time = self._recorder.own_time
        self._shown = JobCollector(self._metrics.places, followed, shown, self._clock, own_time)
        self._registry.register(self._shown)

    def _source(self, watch: config.Watch, job_type: JobType, region: str) -> AwsSource:
        chosen = frozenset({"include_tracking_number"} if watch.include_tracking_number else ())
        return AwsSource(
            job_type, watch.account, region, self._clients, self._clock, options=chosen
        )

    async def _serve(self, stack: AsyncExitStack, store: SqlStore) -> str:
        server = self.settings.server
        web_config = WebConfigFile(Path(server.web_config_file)) if server.web_config_file else None
        host, port = config.parse_listen(server.listen)
        connections = self._connections(server.max_connections)
        app = create_app(
            registry=self._registry,
            health=self._polling,
            store=store,
            configured=lambda: self._live.loaded_at is not None,
            version=__version__,
            api=Parts(
                *(self._live, store, self._news, self._reloader.reload, self._added(store)),
                connections=connections.most,
            ),
            guard=Guard(web_config, [Path(name) for name in server.token_files]),
            hosts=[*server.hosts, host] if server.hosts else (),
        )
        return await stack.enter_async_context(serving(app, host, port, web_config, connections))

    def _connections(self, configured: int | None) -> Connections:
        """Leave the daemon's own work enough descriptors, however many clients come."""
        most = descriptors.connections(descriptors.raise_limit(), configured)
        connections = Connections(most, self._metrics.count_closed_connection)
        self._metrics.connections.set_function(connections.count)
        self._metrics.connections_limit.set(most)
        return connections

    def _added(self, store: SqlStore) -> AddedWatches:
        return AddedWatches(
            store, self._clock, lambda: self._configured, self._take_kept, lambda: self._changing
        )

    # One configuration after another

    async def _begun(self, store: SqlStore) -> LoadedConfig:
        """Return the configuration to begin with: with all added watches that it still allows."""
        fitting: list[model.AddedWatch] = []
        found = self._setup
        for each in await store.watches():
            try:
                found = await self._prepared(self._configured, [*fitting, each])
                fitting.append(each)
            except ConfigurationError as error:
                for problem in error.problems:
                    self._log.error(
                        logs.WATCH_SKIPPED, watch=each.name, problem=logs.of_problem(problem)
                    )
        return found

    async def _prepared(
        self, configured: config.Settings, added: Sequence[model.AddedWatch]
    ) -> LoadedConfig:
        whole = together(configured, added)
        return await anyio.to_thread.run_sync(loaded_config.prepare, whole, self._models)

    async def _take_kept(
        self, settings: config.Settings, keep: Callable[[], Awaitable[object]]
    ) -> None:
        """Let other watches take effect, once they are kept.

        Raises:
            ConfigurationError: they cannot be used, and all but what ``keep`` did is as before.
            StoppingError: the daemon ends; nothing is kept.
        """
        async with _refusing():
            wanted = await anyio.to_thread.run_sync(loaded_config.prepare, settings, self._models)
            if self._reloader.over:
                raise StoppingError
            await keep()
            await self._take_up_or_put_back(wanted)

    async def _take_again(self) -> None:
        """Read the configuration again and let it take effect, or leave all as it is.

        Raises:
            ConfigurationError: it is refused.
        """
        self._supervisor.reloading()
        try:
            # Whatever is raised is a refusal: a mistake in a file must not end the daemon.
            async with self._changing, _refusing():
                added = await self._store.watches()
                read = partial(self._read, added)
                configured, wanted = await anyio.to_thread.run_sync(read, abandon_on_cancel=True)
                await self._take_up_or_put_back(wanted)
                self._configured = configured
        except ConfigurationError as error:
            self._live.refused = error.problems
            self._metrics.config_last_reload_successful.set(0)
            for problem in error.problems:
                trace = {"where": problem.trace} if problem.trace else {}
                self._log.error(logs.CONFIG_REFUSED, problem=logs.of_problem(problem), **trace)
            raise
        finally:
            self._supervisor.ready()
        self._loaded(logs.CONFIG_RELOADED)
        await self._clients.close_idle()

    def _read(self, added: Sequence[model.AddedWatch]) -> tuple[config.Settings, LoadedConfig]:
        configured = self._load()
        wanted = loaded_config.prepare(together(configured, added), self._models)
        everything.raise_errors(loaded_config.lasting(self.settings, wanted.settings))
        return configured, wanted

    async def _known(self, wanted: LoadedConfig) -> Sequence[model.Snapshot]:
        """Return the jobs of the store, if ``wanted`` may take up some that were not followed."""
        before = self._setup
        reach, known = (set(map(_reach, one.settings.watches)) for one in (wanted, before))
        if reach <= known and wanted.types == before.types:
            return ()  # such as other labels or intervals: not worth reading every job again
        await self._recorder.rest()
        return await self._store.snapshots()

    async def _take_up_or_put_back(self, wanted: LoadedConfig) -> None:
        """Put ``wanted`` in place; where a fault of ours stops that half-way, what was there."""
        before, known = self._setup, await self._known(wanted)
        try:
            await self._take_up(wanted, known)
        except Exception:
            if self._setup is not before:
                await self._take_up(before, await self._known(before))
            raise

    async def _take_up(self, wanted: LoadedConfig, known: Sequence[model.Snapshot]) -> None:
        """Put ``wanted`` in place of what there is; whatever can fail does so before that."""
        async with self._telling.changing(wanted.sinks) as place_sinks:
            # From here on nothing fails and nothing waits, so that no look, commit or
            # delivery comes between the parts of two configurations.
            before, self._setup = self._setup, wanted
            place_sinks()
            self._recorder.route(_router(wanted.settings))
            changed = self._clients.replace(wanted.settings.accounts, wanted.accounts)
            self._polling.apply(wanted.settings, wanted.types, known)
            self._polling.retry(changed)
            self._change_habits(before.settings, wanted.settings)

    def _change_habits(self, before: config.Settings, after: config.Settings) -> None:
        self._live.settings = after
        self._shown.settings = after.metrics
        if before.log != after.log:
            logs.configure(after.log.format, after.log.level)
        if before.retention != after.retention:
            self._retention_changed.set()

    def _loaded(self, event: str) -> None:
        counts = {"watches": len(self.settings.watches), "sinks": len(self.settings.sinks)}
        self._log.info(event, **counts)
        for warning in self._setup.warnings:
            self._log.warning(logs.CONFIG_LOADED, problem=str(warning))
        self._live.loaded_at, self._live.refused = self._clock.now(), ()
        self._metrics.config_last_reload_successful.set(1)
        self._metrics.config_last_reload_success.set(self._clock.now().timestamp())

    async def _changed(self) -> None:
        """Wait for a change of the watches that began before the end, as no later one can."""
        with anyio.move_on_after(CHANGE_WITHIN):
            async with self._changing:
                pass

    # Upkeep

    @asynccontextmanager
    async def _upkeep(self, store: Store) -> AsyncIterator[None]:
        """Keep metrics fresh and history short beside the body."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(metrics.watch_lag, self._metrics, self._clock, name="watch lag")
            tasks.start_soon(self._jumps.watch, name="watch the clock")
            tasks.start_soon(self._keep_time, store, name="keep own time")
            feed = self._supervisor.feed
            tasks.start_soon(feed, self._polling.last_pass_age, name="feed the watchdog")
            tasks.start_soon(self._refresh, store, name="refresh metrics")
            tasks.start_soon(self._prune, store, name="prune history")
            yield
            tasks.cancel_scope.cancel()

    async def _keep_time(self, store: Store) -> None:
        """Let the store write down its own time though nothing else is written."""
        while True:
            await anyio.sleep(KEEP_TIME)
            await store.ping()

    async def _refresh(self, store: Store) -> None:
        while True:
            last_pass = self._clock.now().timestamp() - self._polling.last_pass_age()
            self._metrics.last_pass.set(last_pass)
            self._metrics.owned_quotas.set(sum(1 for _ in self._polling.pollers()))
            await self._show_outbox(store)
            await anyio.sleep(REFRESH)

    async def _show_outbox(self, store: Store) -> None:
        backlogs = await store.backlog()
        self._metrics.set_backlogs(backlogs)
        self._show_sinks({backlog.sink: backlog for backlog in backlogs})
        self._metrics.set_parked(parking.sink for parking in await store.parkings())
        # Another process may have replayed something, or resumed a sink.
        self._telling.wake(backlog.sink for backlog in backlogs if backlog.pending)

    def _show_sinks(self, backlogs: Mapping[str, model.Backlog]) -> None:
        for sink in self._live.sinks():
            health = SinkView.of(sink, backlogs.get(sink.name), None)
            tried = sink.last_delivered_at is not None
            self._metrics.set_sink_health(sink.name, health.failing_since, tried=tried)

    async def _prune(self, store: Store) -> None:
        while True:
            await store.prune(store.own_time() - timedelta(seconds=self.settings.retention))
            with anyio.move_on_after(PRUNE):
                await self._retention_changed.wait()
            self._retention_changed = anyio.Event()

    # After each commit

    def _announce(self, entry: model.Entry, before: model.Snapshot | None) -> None:
        self._metrics.record(entry, before)
        for transition, names in zip(entry.transitions, entry.sinks, strict=True):
            self._log_transition(transition)
            self._telling.wake(names)
            self._news.tell(transition.subject.key)
            if self._listener:
                self._listener(transition)

    def _log_transition(self, transition: model.Transition) -> None:
        previous = transition.previous.state if transition.previous else None
        self._log.info(
            logs.JOB_TRANSITIONED,
            kind=transition.kind.value,
            job=transition.subject.key,
            previous=previous,
            current=transition.current.state,
            phase=transition.current.phase,
            sequence=transition.sequence,
        )


def _reach(watch: config.Watch) -> tuple[object, ...]:
    """Return which jobs a watch wants, in a form that can be compared."""
    wanted = repr(watch.discover)
    return watch.type, watch.account, tuple(watch.regions), tuple(watch.jobs), wanted


def _spare_collector() -> None:
    """Take what there is at the start, most of which lasts, out of the garbage collector's rounds.

    With a hundred thousand jobs each full round would hold up everything for half a second.
    """
    gc.collect()
    gc.freeze()


@asynccontextmanager
async def _refusing() -> AsyncIterator[None]:
    with unforeseen.refused():
        yield


def _router(settings: config.Settings) -> Router:
    return Router(settings.routes, tuple(settings.sinks))
