"""Composition root: settings become objects, and the objects run until told to stop.

Start: store, AWS clients, sinks, HTTP, dispatchers, pollers. Stop: in reverse, each under a
deadline, so that what is under way is finished and all that was seen is written down.
"""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

import anyio
from prometheus_client import CollectorRegistry

from monitor import __version__, config, configuration, logs, metrics, pacing, sinks
from monitor.aws import service_models
from monitor.aws.clients import Clients
from monitor.clock import SystemClock
from monitor.configuration.complaints import tidy
from monitor.configuration.documents import dotted
from monitor.configuration.gaps import NO_GAPS, Gaps
from monitor.dispatcher import Dispatcher
from monitor.errors import ConfigurationError, Problem
from monitor.job_metrics import JobCollector
from monitor.model import Job
from monitor.poller import Poller
from monitor.recorder import Recorder
from monitor.routes import Router
from monitor.sources import catalogue
from monitor.sources.aws import AwsSource
from monitor.stores.sql import open_store
from monitor.watching import WatchedRegion
from monitor.web.app import create_app
from monitor.web.server import serving

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
    from contextlib import AbstractAsyncContextManager

    from botocore.loaders import Loader

    from monitor import model
    from monitor.interfaces import Clock, Sink, Store
    from monitor.model import Observation, SourceKey, Verdict
    from monitor.sources.job_type import JobType
    from monitor.standing import FollowedJob
    from monitor.stores.sql import SqlStore

FINISH_WITHIN = 3.0
"""Seconds that looks, and then deliveries, under way get to end when the daemon stops."""

REFRESH = 2.0
"""Seconds between two readings of what metrics show of the store and the scheduler."""

PRUNE = 3600.0
"""Seconds between two rounds of forgetting old history."""

_ARGUMENTS = {"type": "TYPE", "account": "--account", "regions": "--region", "jobs": "ID"}
"""What a watch's keys are called on the command line."""


@dataclass(frozen=True, slots=True)
class Running:
    """What a daemon that has started tells its caller."""

    url: str
    jobs: int


def _job_types(
    settings: config.Settings, models: Loader | None
) -> tuple[Mapping[str, JobType], Sequence[Problem]]:
    """Return the job types, and what is wrong with the user's own; if anything, without those."""
    directory = settings.job_types_dir
    try:
        return catalogue.load_job_types(Path(directory) if directory else None, models), ()
    except ConfigurationError as error:
        return catalogue.load_job_types(None, models), error.problems


class SingleLook:
    """One look at one job, outside of any watch; nothing is recorded or sent."""

    def __init__(
        self, settings: config.Settings, type_: str, account: str, region: str | None, job_id: str
    ) -> None:
        """Choose where to look; ``region`` may be left out for a global endpoint.

        Raises:
            ConfigurationError: there is no such type or account, no job can have that id, or a
                region is needed.
        """
        self._models = service_models.loader()
        types, wrong = _job_types(settings, self._models)
        refuse(wrong)
        if region is None and type_ in types and types[type_].region is None:
            message = f"jobs of type {type_} are in many regions"
            refuse([Problem("", "--region", message, "name one, such as --region us-east-1")])
        regions = [region] if region else []
        asked = config.Watch(
            name="show", type=type_, account=account, regions=regions, jobs=[job_id]
        )
        alone = settings.model_copy(update={"watches": [asked], "sinks": {}, "routes": []})
        refuse(map(_asked, configuration.problems(alone, types)))
        self._settings = settings
        self._type = types[type_]
        self._job = Job(type_, account, self._type.region or region or "", job_id)

    async def once(self) -> tuple[Observation, Verdict]:
        """Look at the job and say what its state means.

        Raises:
            LookError: AWS told nothing about it.
        """
        clock = SystemClock()
        async with Clients(self._settings.accounts, models=self._models) as clients:
            account, region = self._job.account, self._job.region
            source = AwsSource(self._type, account, region, clients, clock)
            seen = await source.look(self._job)
        verdict = self._type.judge(seen.parts, None)
        assert verdict is not None  # noqa: S101 -- nothing was known before
        return seen, verdict


def open_ledger(settings: config.Settings) -> AbstractAsyncContextManager[SqlStore]:
    """Open the store beside a daemon that may be running; makes and migrates nothing."""
    return open_store(settings.store, SystemClock(), exclusive=False, migrate=False)


@asynccontextmanager
async def open_sink(settings: config.Settings, name: str) -> AsyncIterator[Sink]:
    """Build one sink as the daemon would.

    Raises:
        ConfigurationError: it cannot be built.
    """
    refuse(problem for problem in _of_sinks(settings) if problem.path.startswith(f"sinks.{name}."))
    async with (
        Clients(settings.accounts, models=service_models.loader()) as clients,
        sinks.open_sink(name, settings.sinks[name], clients=clients) as sink,
    ):
        yield sink


def _asked(problem: Problem) -> Problem:
    """Tell a problem of the one watch of a single look as one of the command's arguments."""
    head, _, key = problem.path.partition("watches[0].")
    if head or not key:
        return problem
    return replace(problem, place="", path=_ARGUMENTS.get(key.partition("[")[0], key))


def examine(
    draft: configuration.Draft, models: Loader | None = None
) -> tuple[Mapping[str, JobType], Sequence[Problem]]:
    """Return the job types, and every mistake and warning there is, in the order of the files.

    Service models are read by ``models``. Asks nothing of the network, and blocks on the file
    system. Where there are mistakes, the user's own job types may be left out.
    """
    settings, gaps = draft.settings, draft.gaps
    types, wrong = _job_types(settings, models)
    if wrong:
        gaps = gaps.also(("job_types_dir",))
    found = configuration.problems(settings, types, gaps)
    return types, tidy([*draft.problems, *wrong, *found, *_of_sinks(settings, gaps)])


def _of_sinks(settings: config.Settings, gaps: Gaps = NO_GAPS) -> Iterator[Problem]:
    """Yield what the sinks themselves find, as if the settings' own checks had found it.

    Of a sink with gaps in what is its kind's own, nothing: any such key may matter to another.
    """
    for name, sink in settings.sinks.items():
        own = type(sink).model_fields.keys() - config.SinkSettings.model_fields.keys()
        doubtful = gaps.doubt([("sinks", name, key) for key in own])
        for problem in () if doubtful else sinks.problems(name, sink):
            path = ("sinks", name, *_keys(problem.path.removeprefix(f"sinks.{name}.")))
            yield replace(problem, place=settings.place(*path), path=dotted(path))


def _keys(text: str) -> Iterator[str | int]:
    """Take ``secret_files[0]`` or ``headers.NAME`` apart; a header's name may have dots."""
    key, dot, name = text.partition(".")
    key, bracket, index = key.partition("[")
    yield key
    if bracket:
        yield int(index.removesuffix("]"))
    if dot:
        yield name


def refuse(found: Iterable[Problem]) -> None:
    """Raise ConfigurationError with those problems ``found`` that are no mere warnings."""
    mistakes = [problem for problem in found if not problem.warning]
    if mistakes:
        raise ConfigurationError(mistakes)


class Daemon:
    """The whole monitor on one configuration."""

    def __init__(
        self,
        settings: config.Settings,
        *,
        announce: Callable[[model.Transition], None] | None = None,
        clock: Clock | None = None,
        random: Random | None = None,
    ) -> None:
        """``announce`` is told each transition once it is durable.

        Raises:
            ConfigurationError: with everything that is wrong.
        """
        self._settings = settings
        self._models = service_models.loader()
        self._types, found = examine(configuration.Draft(settings), self._models)
        refuse(found)
        self._warnings = [problem for problem in found if problem.warning]
        self._listener = announce
        self._clock = clock or SystemClock()
        self._random = random or Random()  # noqa: S311 -- jitter, no secret
        self._log = logs.get()
        self._registry = CollectorRegistry()
        self._metrics = metrics.Metrics(self._registry, __version__)
        self._registry.register(
            JobCollector(self._metrics.places, self._followed, settings.metrics, self._clock)
        )
        self._pollers: dict[str, Poller] = {}
        self._dispatchers: dict[str, Dispatcher] = {}
        self._recorder: Recorder

    async def run(self, stop: anyio.Event, ready: Callable[[Running], None] | None = None) -> None:
        """Run until ``stop`` is set; then end within ten seconds, and lose nothing.

        Raises:
            ConfigurationError: an address, file or secret cannot be used.
            StoreError: the store cannot be used, now or any more.
        """
        async with AsyncExitStack() as stack:
            store = await self._open_store(stack)
            clients = await stack.enter_async_context(
                Clients(self._settings.accounts, models=self._models)
            )
            await self._open_sinks(stack, store, clients)
            await self._open_sources(store, clients)
            url = await self._serve(stack, store)
            self._loaded()
            self._log.info(logs.DAEMON_STARTED, version=__version__, url=url)
            if ready:
                ready(Running(url, self._recorder.size))
            await self._run_until(stop, store)
        self._log.info(logs.DAEMON_STOPPED)

    def last_pass_age(self) -> float:
        """Return the seconds since the slowest poller last went through what is due."""
        now = self._clock.monotonic()
        return max((now - poller.last_pass for poller in self._pollers.values()), default=0.0)

    # Start

    async def _open_store(self, stack: AsyncExitStack) -> Store:
        observe = self._metrics.store_commit_duration.observe
        store = await stack.enter_async_context(
            open_store(self._settings.store, self._clock, observe)
        )
        router = Router(self._settings.routes, tuple(self._settings.sinks))
        self._recorder = Recorder(store, router, self._announce)
        self._recorder.adopt_sources(await store.sources())
        self._metrics.ledger_id = store.ledger_id
        return store

    async def _open_sinks(self, stack: AsyncExitStack, store: Store, clients: Clients) -> None:
        for name, settings in self._settings.sinks.items():
            sink = await stack.enter_async_context(sinks.open_sink(name, settings, clients=clients))
            self._metrics.expect_sink(name)
            self._dispatchers[name] = Dispatcher(
                name,
                sink,
                store,
                self._metrics,
                self._clock,
                self._random,
                timeout=settings.timeout,
                max_age=settings.max_age,
                concurrency=settings.concurrency,
            )

    async def _open_sources(self, store: Store, clients: Clients) -> None:
        watched = [
            self._watched(watch, region, clients)
            for watch in self._settings.watches
            for region in self._regions(watch)
        ]
        for snapshot in await store.snapshots():
            self._adopt(snapshot, watched)
        for each in watched:
            each.begin()

    def _watched(self, watch: config.Watch, region: str, clients: Clients) -> WatchedRegion:
        declared = self._types[watch.type]
        job_type = declared.with_grace(watch.final_grace, watch.final_interval)
        chosen = frozenset({"include_tracking_number"} if watch.include_tracking_number else ())
        source = AwsSource(job_type, watch.account, region, clients, self._clock, options=chosen)
        self._metrics.expect_jobs(watch.type, watch.account, region)
        operations = (job_type.describe_operation, job_type.list_operation)
        self._metrics.expect_source(source.key, filter(None, operations))
        poller = self._poller(source.key, job_type)
        return WatchedRegion(watch, region, job_type.interval, source, poller)

    def _regions(self, watch: config.Watch) -> Sequence[str]:
        fixed = self._types[watch.type].region
        return [fixed] if fixed else watch.regions

    def _poller(self, key: SourceKey, job_type: JobType) -> Poller:
        """Return the one poller of a quota."""
        if key.key not in self._pollers:
            own = self._settings.quotas.get(key.service)
            rate, burst = (own.rate, own.burst) if own else (job_type.rate, job_type.burst)
            quota = pacing.Quota(rate, burst, self._clock.monotonic())
            self._pollers[key.key] = Poller(
                key, quota, self._recorder, self._metrics, self._clock, self._random
            )
        return self._pollers[key.key]

    def _adopt(self, snapshot: model.Snapshot, watched: Sequence[WatchedRegion]) -> None:
        """Go on with a job of the store, if a watch still wants it."""
        mine = next((each for each in watched if each.wants(snapshot.job)), None)
        if mine is not None:
            self._recorder.adopt(snapshot)
            mine.follow(snapshot.job)

    async def _serve(self, stack: AsyncExitStack, store: Store) -> str:
        app = create_app(
            registry=self._registry,
            health=self,
            store=store,
            configured=lambda: True,
            version=__version__,
        )
        host, _, port = self._settings.server.listen.rpartition(":")
        return await stack.enter_async_context(serving(app, host, int(port)))

    def _loaded(self) -> None:
        counts = {"watches": len(self._settings.watches), "sinks": len(self._settings.sinks)}
        self._log.info(logs.CONFIG_LOADED, **counts)
        for warning in self._warnings:
            self._log.warning(logs.CONFIG_LOADED, problem=str(warning))
        self._metrics.config_last_reload_successful.set(1)
        self._metrics.config_last_reload_success.set(self._clock.now().timestamp())

    # Run and stop

    async def _run_until(self, stop: anyio.Event, store: Store) -> None:
        """Run everything; at the end first the pollers come to rest, then the dispatchers."""
        async with anyio.create_task_group() as upkeep:
            upkeep.start_soon(metrics.watch_lag, self._metrics, self._clock, name="watch lag")
            upkeep.start_soon(self._refresh, store, name="refresh metrics")
            upkeep.start_soon(self._prune, store, name="prune history")
            async with anyio.create_task_group() as sending:
                for dispatcher in self._dispatchers.values():
                    sending.start_soon(dispatcher.run, name=f"dispatch {dispatcher.name}")
                await self._poll_until(stop)
                await self._recorder.rest()
                for dispatcher in self._dispatchers.values():
                    dispatcher.stop()
                sending.cancel_scope.deadline = anyio.current_time() + FINISH_WITHIN
            upkeep.cancel_scope.cancel()

    async def _poll_until(self, stop: anyio.Event) -> None:
        async with anyio.create_task_group() as polling:
            for poller in self._pollers.values():
                polling.start_soon(poller.run, name=f"poll {poller.key.key}")
            await stop.wait()
            self._log.info(logs.DAEMON_STOPPING)
            for poller in self._pollers.values():
                poller.stop()
            polling.cancel_scope.deadline = anyio.current_time() + FINISH_WITHIN

    async def _refresh(self, store: Store) -> None:
        while True:
            self._metrics.last_pass.set(self._clock.now().timestamp() - self.last_pass_age())
            self._metrics.owned_quotas.set(len(self._pollers))
            await self._show_outbox(store)
            await anyio.sleep(REFRESH)

    async def _show_outbox(self, store: Store) -> None:
        backlogs = await store.backlog()
        self._metrics.set_backlogs(backlogs)
        self._metrics.set_parked(parking.sink for parking in await store.parkings())
        # Another process may have replayed something, or resumed a sink.
        for backlog in backlogs:
            if backlog.pending and backlog.sink in self._dispatchers:
                self._dispatchers[backlog.sink].wake()

    def _followed(self) -> Iterator[FollowedJob]:
        """Yield how every job stands; from any thread."""
        for poller in list(self._pollers.values()):
            yield from poller.followed()

    async def _prune(self, store: Store) -> None:
        while True:
            await store.prune(self._clock.now() - timedelta(seconds=self._settings.retention))
            await anyio.sleep(PRUNE)

    # After each commit

    def _announce(self, entry: model.Entry, before: model.Snapshot | None) -> None:
        self._metrics.record(entry, before)
        for transition, names in zip(entry.transitions, entry.sinks, strict=True):
            self._log_transition(transition)
            for name in names:
                self._dispatchers[name].wake()
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
