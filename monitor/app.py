"""Composition root: settings become objects, and the objects run until they are stopped.

Start: store, AWS clients, HTTP, dispatchers with their sinks, pollers. Stop: in reverse order, each
under a deadline, so that what is under way finishes and everything observed is stored.
"""

from __future__ import annotations

import gc
import os
import socket
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import anyio
from prometheus_client import CollectorRegistry

from monitor import __version__, config, logs, metrics, sinks
from monitor.aws import queues, rds_token, service_models
from monitor.aws.clients import Clients
from monitor.clock import Lease, SystemClock
from monitor.delivery.manager import DeliveryManager
from monitor.errors import ConfigurationError, StoppingError
from monitor.polling.archiver import Archiver
from monitor.polling.hints import HintManager
from monitor.polling.job_collector import JobCollector
from monitor.polling.manager import PollManager
from monitor.polling.watch_pace import WatchCollector
from monitor.recording.quiet import Quiet
from monitor.recording.recorder import Recorder
from monitor.recording.router import Router
from monitor.runtime import loaded_config, upkeep
from monitor.runtime.account_ids import AccountIds
from monitor.runtime.clock_jumps import ClockJumps
from monitor.runtime.other_replicas import OtherReplicas
from monitor.runtime.quiet_keeper import QuietKeeper
from monitor.runtime.reconfigure import Components, ConfigManager, ConfigState, Owned
from monitor.runtime.reload import Reloader
from monitor.runtime.replicas import ReplicaManager
from monitor.runtime.runtime_watches import RuntimeWatches
from monitor.runtime.signals import ReplicaSignals
from monitor.runtime.status import DaemonStatus
from monitor.runtime.systemd import READY, STOPPING, Supervisor
from monitor.sources.aws_source import AwsSource
from monitor.stores.store import open_store
from monitor.validation import everything
from monitor.web import descriptors
from monitor.web.api.routes import Parts
from monitor.web.app import create_app
from monitor.web.auth import Guard
from monitor.web.connections import Connections
from monitor.web.notifier import News
from monitor.web.server import serving
from monitor.web.web_config import WebConfigFile

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from monitor import model
    from monitor.aws.process_groups import ProcessGroups
    from monitor.interfaces import Clock, Sink
    from monitor.sources.job_type import JobType
    from monitor.stores.replicas import ReplicaStore
    from monitor.stores.store import SqlStore

REST_WITHIN = 2.0
"""Seconds that the times of the last polls may take to be stored when the daemon stops."""

CHANGE_WITHIN = 2.0
"""Seconds that a change of the watches may take to end when the daemon stops."""


@dataclass(frozen=True, slots=True)
class Running:
    """The address of a daemon that has started, and the number of jobs it knows."""

    url: str
    jobs: int


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
        """``announce`` is called with each transition once it is durable.

        ``load`` reads the settings again for a reload, or raises ConfigurationError; it may
        block. Without it they stay as they are. ``supervisor`` learns the state of the daemon,
        ``groups`` the processes that must not outlive it.

        Raises:
            ConfigurationError: with everything that is wrong.
        """
        self._load = load or (lambda: settings)
        self._models = service_models.loader()
        self._state = ConfigState(settings, loaded_config.prepare(settings, self._models))
        self._listener = announce
        self._clock = clock or SystemClock()
        self._random = random or Random()  # noqa: S311 -- jitter, no secret
        self._supervisor = supervisor or Supervisor({})
        self._groups = groups
        self._log = logs.get()
        self._registry = CollectorRegistry()
        self._metrics = metrics.Metrics(self._registry, __version__)
        self._news = News()
        self._lost_at = 0.0
        self._lease = Lease()
        self._outages: Callable[[model.StoreOutage | None], None] = lambda _outage: None
        host, port = config.parse_listen(settings.server.listen)
        self._name = f"{socket.gethostname()}:{port}" if port else f"{host}-{os.getpid()}"
        self.reloader = Reloader()
        """Reads the configuration again on request, and knows what was wrong with it."""

    @property
    def settings(self) -> config.Settings:
        """The settings that are in effect."""
        return self._state.loaded.settings

    async def run(self, stop: anyio.Event, ready: Callable[[Running], None] | None = None) -> None:
        """Run until ``stop`` is set; then end within ten seconds, and lose nothing.

        Raises:
            ConfigurationError: an address, file or secret cannot be used.
            StoreError: the store cannot be used, now or any more.
        """
        async with AsyncExitStack() as stack:
            components = await self._build(stack)
            store, recorder, polls = components.store, components.recorder, components.polls
            others = self._other_replicas(components)
            status = DaemonStatus(
                polls,
                components.deliveries,
                self._clock,
                self._state,
                recorder.quiet,
                self._metrics,
                others,
            )
            keeper = self._keep_quiet(components)
            await keeper.load()
            configs = ConfigManager(
                self._state,
                components,
                self._load,
                self._models,
                self.reloader,
                self._supervisor,
                self._metrics,
                self._clock,
            )
            watches = RuntimeWatches(
                store,
                self._clock,
                lambda: self._state.configured,
                configs.replace,
                lambda: configs.lock,
                polls.named_jobs,
            )
            shared = None
            if store.replicas and others:
                watches.tell, others.note_wait = others.waited, watches.note_wait
                self._state.owned = Owned()
                shared = self._shared(components, configs, status, others, store.replicas)
            # Served before the first configuration takes effect: probes see that it starts.
            url = await self._serve(stack, store, polls, status, watches, keeper)
            upkeep_ = self._upkeep(components, status, watches, keeper)
            sharing = self._sharing(components, configs, keeper, shared, others)
            async with upkeep_, sharing, components.deliveries.running():
                async with polls.running(), components.hints.running():
                    await configs.start()
                    await keeper.begin()
                    if shared:
                        await shared.begin()
                    # Of what lasts, a full collection would hold up everything for half a second.
                    gc.collect()
                    gc.freeze()
                    gc.enable()
                    self._log.info(logs.DAEMON_STARTED, version=__version__, url=url)
                    self._supervisor.notify(READY)
                    if ready:
                        ready(Running(url, len(recorder.snapshots())))
                    async with self.reloader.running(configs.reload):
                        await stop.wait()
                        self._supervisor.notify(STOPPING)
                        self._log.info(logs.DAEMON_STOPPING)
                    # A change of the watches that began before the end; no later one can begin.
                    with anyio.move_on_after(CHANGE_WITHIN):
                        async with configs.lock:
                            pass
                # The pollers have ended, so nothing is observed after this. What is not written
                # by then costs wider windows, and nothing else.
                with anyio.move_on_after(REST_WITHIN):
                    await recorder.rest()
                    await store.ping()  # so that its own time is kept to the end
        self._log.info(logs.DAEMON_STOPPED)

    async def _build(self, stack: AsyncExitStack) -> Components:
        """Open the store and the AWS clients, and build what records, delivers and polls."""
        state, shared = self._state, (self._metrics, self._clock, self._random)
        observe = self._metrics.store_commit_duration.observe
        database, make_token = self.settings.database, None
        if database.iam_auth:
            signing = rds_token.signing(database, self.settings.accounts, self._groups)
            make_token = await stack.enter_async_context(signing)
        opened = open_store(
            *(database, self._clock, observe),
            make_token=make_token,
            on_outage=self._report_outage,
            name=self._name,
            version=__version__,
        )
        store = await stack.enter_async_context(opened)
        self._metrics.ledger_id = store.ledger_id
        clients = await stack.enter_async_context(
            Clients(
                self.settings.accounts,
                contents=state.loaded.accounts,
                models=self._models,
                groups=self._groups,
            )
        )
        ids = AccountIds(self._state, clients, self._metrics, self._clock)
        self._state.account_id = ids.of
        open_sink = partial(sinks.open_sink, clients=clients)
        deliveries = DeliveryManager(store, *shared, open_sink, self._state.completed, self._lease)
        router = Router(self.settings.routes, tuple(self.settings.sinks))
        announce = partial(self._announce, deliveries)
        recorder = Recorder(store, router, announce, Quiet(self._clock.now))
        if not store.replicas:
            recorder.adopt_sources(await store.sources())
            recorder.baselines.adopt(await store.baselines())

        def source(watch: config.Watch, job_type: JobType, region: str) -> AwsSource:
            chosen = frozenset({"include_tracking_number"} if watch.include_tracking_number else ())
            account, clock = watch.account, self._clock
            return AwsSource(job_type, account, region, clients, clock, options=chosen)

        polls = PollManager(recorder, *shared, source, self._lease)
        collector = JobCollector(
            self._metrics.places,
            polls.watched,
            self.settings.metrics,
            self._clock,
            recorder.store.store_time,
            owned := lambda: self._metrics.watch_labels,
            recorder.archive,
            polls.discovering,
        )
        self._registry.register(collector)
        self._registry.register(WatchCollector(polls.paces, polls.pollers, owned))

        def queue_of(hint: config.Hint) -> tuple[str, str, queues.AwsQueue]:
            at = queues.address(hint.queue_url, hint.region)
            if at is None:
                raise ValueError("the URL of a queue was not validated")
            queue = queues.AwsQueue(hint.account, at, clients, self._clock.now)
            return f"{at.region}/{at.name}", at.region, queue

        hints = HintManager(polls, *shared, queue_of)
        archiver = Archiver(recorder, polls, self._clock)
        parts = (store, clients, recorder, deliveries, polls, hints, collector, archiver, ids)
        return Components(*parts)

    async def _reload(self, store: SqlStore) -> None:
        """Reload, and have the other replicas do so once this one has."""
        await self.reloader.reload()
        if store.replicas:
            await store.replicas.send({"topics": ["reload"]})

    def _other_replicas(self, components: Components) -> OtherReplicas | None:
        """Build what knows of the other replicas, if the store may have any."""
        store = components.store
        if store.replicas is None:
            return None
        parts = (store, store.replicas, components.polls, self._state, self._clock, self._name)
        return OtherReplicas(*parts)

    def _shared(
        self,
        components: Components,
        configs: ConfigManager,
        status: DaemonStatus,
        others: OtherReplicas,
        replica: ReplicaStore,
    ) -> ReplicaManager:
        """Build what shares sources and sinks with the other replicas."""
        parts = (replica, components, configs, self._state, status)
        shared = ReplicaManager(*parts, self._lease, self._metrics, self._clock)
        shared.shared = others.note_share
        others.know(lambda: [each.replica for each in shared.members()])
        status.members = shared.members
        self._outages = shared.note_outage
        components.store.watch_loss(shared.note_end)
        return shared

    @asynccontextmanager
    async def _sharing(
        self,
        components: Components,
        configs: ConfigManager,
        keeper: QuietKeeper,
        shared: ReplicaManager | None,
        others: OtherReplicas | None,
    ) -> AsyncIterator[None]:
        """Live among the other replicas beside the body, if there may be any."""
        if shared is None or others is None or components.store.replicas is None:
            yield
            return
        deliveries = components.deliveries

        async def follow_ledger() -> None:
            deliveries.wake(list(self._state.owned_sinks()))
            for key in await others.jobs.follow():
                self._news.tell(key)

        async def wake() -> None:
            deliveries.wake(list(self._state.owned_sinks()))

        async def reload() -> None:
            with suppress(ConfigurationError, StoppingError):  # it is logged, and shown
                await self.reloader.reload()

        async def hurry() -> None:
            shared.hurry()

        topics = {
            "ledger": follow_ledger,
            "outbox": wake,
            "watches": configs.follow_watches,
            "quiet": keeper.load,
            "replicas": hurry,
            "reload": reload,
        }
        own = components.store.replicas.id
        signals = ReplicaSignals(components.store, own, topics, others.receive)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(shared.beat, name="show signs of life")
            tasks.start_soon(shared.adjust, name="share with other replicas")
            tasks.start_soon(shared.after_begin, others.run, name="know other replicas")
            tasks.start_soon(shared.after_begin, signals.run, name="listen to other replicas")
            yield
            # All that acts has ended: the others need not wait to notice.
            with anyio.move_on_after(REST_WITHIN):
                await shared.leave()
            tasks.cancel_scope.cancel()

    def _report_outage(self, outage: model.StoreOutage | None) -> None:
        """Log and measure that the server of the store was lost, or has come back."""
        self._metrics.store_up.set(0 if outage else 1)
        self._outages(outage)
        if outage:
            self._lost_at = self._clock.monotonic()
            self._log.error(logs.STORE_LOST, error=outage.reason)
        else:
            seconds = round(self._clock.monotonic() - self._lost_at, 3)
            self._log.info(logs.STORE_RECOVERED, seconds=seconds)

    async def _serve(
        self,
        stack: AsyncExitStack,
        store: SqlStore,
        polls: PollManager,
        status: DaemonStatus,
        watches: RuntimeWatches,
        keeper: QuietKeeper,
    ) -> str:
        """Serve page, API and metrics until the stack closes; return the URL."""
        state, server = self._state, self.settings.server
        web_config = WebConfigFile(Path(server.web_config_file)) if server.web_config_file else None
        host, port = config.parse_listen(server.listen)
        # However many clients come, the daemon's own work keeps enough descriptors.
        most = descriptors.connections(descriptors.raise_limit(), server.max_connections)
        closed = self._metrics.connections_closed
        connections = Connections(most, lambda reason: closed.labels(reason).inc())
        self._metrics.connections.set_function(connections.count)
        self._metrics.connections_limit.set(most)
        external = urlsplit(server.external_url or "").hostname or ""
        app = create_app(
            registry=self._registry,
            health=polls,
            store=store,
            configured=lambda: state.loaded_at is not None,
            version=__version__,
            api=Parts(
                *(status, store, self._news, partial(self._reload, store), watches),
                connections=connections.most,
                external_url=server.external_url,
                dashboard_url=server.dashboard_url,
                quiet=keeper,
            ),
            guard=Guard(
                web_config, [Path(name) for name in server.token_files], server.external_url
            ),
            hosts=[*server.hosts, host, external] if server.hosts else (),
        )
        return await stack.enter_async_context(serving(app, host, port, web_config, connections))

    @asynccontextmanager
    async def _upkeep(
        self,
        components: Components,
        status: DaemonStatus,
        watches: RuntimeWatches,
        keeper: QuietKeeper,
    ) -> AsyncIterator[None]:
        """Keep metrics fresh, history short and the watchdog fed beside the body."""
        store, polls = components.store, components.polls
        jumps = ClockJumps(self._clock, self._metrics)
        jumps.between_runs(store.set_back)
        async with anyio.create_task_group() as tasks:
            start = tasks.start_soon
            start(metrics.watch_lag, self._metrics, self._clock, name="watch lag")
            start(jumps.watch, name="watch the clock")
            start(upkeep.keep_time, store, name="keep the store's time")
            start(upkeep.keep_polls, components.recorder, self._clock, name="keep poll times")
            start(self._supervisor.feed, polls.last_pass_age, name="feed the watchdog")
            shown = (components, status, self._state, self._metrics, self._clock)
            start(upkeep.refresh, *shown, name="refresh metrics")
            start(upkeep.prune, store, self._state, name="prune history")
            start(upkeep.index_texts, store, self._clock, name="index texts of archived jobs")
            start(upkeep.archive, components.archiver, name="archive ended jobs")
            start(watches.expire, lambda: self._state.upkeep, name="expire run-time watches")
            start(components.account_ids.fetch, name="fetch account ids")
            start(keeper.run, name="end silences")
            start(upkeep.learn, components, self._state, name="learn poll times")
            yield
            tasks.cancel_scope.cancel()

    def _keep_quiet(self, components: Components) -> QuietKeeper:
        """Build what keeps silences and acknowledgements."""
        deliveries = components.deliveries
        return QuietKeeper(
            components.store,
            components.recorder.quiet,
            self._metrics,
            self._clock,
            components.polls.watch_of,
            lambda: deliveries.wake(self.settings.sinks),
            lambda: self.settings.retention,
            lambda: self._state.upkeep,
        )

    def _announce(
        self, deliveries: DeliveryManager, entry: model.Entry, before: model.Snapshot | None
    ) -> None:
        """Report what was committed: in metrics and log, to the sinks and to open pages."""
        self._metrics.record(entry, before)
        about = zip(entry.transitions, entry.sinks, entry.silenced, strict=True)
        for transition, names, held in about:
            self._log.info(
                logs.JOB_TRANSITIONED,
                kind=transition.kind.value,
                job=transition.subject.key,
                previous=transition.previous.state if transition.previous else None,
                current=transition.current.state,
                phase=transition.current.phase,
                sequence=transition.sequence,
                **({"silenced_by": held} if held and names else {}),
            )
            if held is None:
                deliveries.wake(names)
            else:
                for name in names:
                    self._metrics.silenced.labels(name).inc()
            self._news.tell(transition.subject.key)
            if self._listener:
                self._listener(transition)
