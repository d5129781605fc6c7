"""Whatever fails and whenever it restarts, the monitor tells the truth, all of it, in order."""

import asyncio
from collections import defaultdict
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from functools import partial
from itertools import pairwise
from random import Random

import anyio
import looptime
import pytest
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from monitor.config import Discover, Route
from monitor.delivery.dispatcher import Dispatcher
from monitor.metrics import Metrics
from monitor.polling import archiver
from monitor.polling.archiver import Archiver
from monitor.polling.poller import Poller
from monitor.polling.quota import Quota
from monitor.polling.schedule import ListingSweep
from monitor.polling.scheduled_job import PollOptions, ScheduledJob
from monitor.recording.recorder import Recorder
from monitor.recording.router import Router
from tests.builders import SOURCE, VIRTUAL, VirtualClock, following, job, ledger
from tests.simulation.world import World, WorldSink, WorldSource, wall

pytestmark = VIRTUAL
JOBS, NAMED, SPAN = 25, 5, 3600.0
CRASHES, STOPS = 9, 4
"""How many times the monitor is cut off, and how many times it stops in peace."""
ROUNDING = 0.001
"""Seconds: events carry milliseconds."""
REMIND = 150.0
FOLLOWED = replace(following(stuck_after=200.0), remind_every=REMIND)
SINKS = {"single": 1, "batch": 10}
ROUTES = [
    Route.model_validate(
        {"sinks": list(SINKS), "match": {"kind": ["job.*", "job.discovered", "source.*"]}}
    )
]


class Released:
    """The jobs of one poller that may be archived: those that are not named."""

    def __init__(self, poller):
        self.poller = poller

    def finished(self):
        named = {f"j-{number}" for number in range(NAMED)}
        return [one for one in self.poller.schedule.finished() if one.job.id not in named]

    def release(self, scheduled):
        self.poller.drop(scheduled)
        return True


class Run:
    """One random world, watched through random restarts."""

    def __init__(self, directory, seed, span=SPAN):
        self.directory = directory
        self.span = span
        self.random = Random(seed)
        self.clock = VirtualClock()
        self.world = World(self.random, JOBS, span)
        self.source = WorldSource(self.world, self.clock, self.random)
        self.sinks = {name: WorldSink(self.world, self.random, n) for name, n in SINKS.items()}
        self.crashes = []
        self.restarts = self.archived = 0
        self.events = []

    async def live(self, peace):
        """Run to the end of the world with troubles, and then ``peace`` seconds without.

        In 8,000 s all is told: the longest pause of any retry is an hour.
        """
        for crash in self.random.sample([True, False], CRASHES + STOPS, counts=[CRASHES, STOPS]):
            share = self.span / (CRASHES + STOPS)
            await self._session(self.random.uniform(5, 1.5 * share), crash=crash)
            await anyio.sleep(self.random.choice([0.0, self.random.uniform(0, share)]))
        self.world.calm = True
        await self._session(peace, crash=False)
        async with ledger(self.directory, self.clock) as store:
            self.events = [event for _, event in await store.transitions(limit=100_000)]
            self.backlog = await store.backlog()

    async def _session(self, seconds, *, crash):
        """Run the monitor once; a crash forgets all that is not in the store."""
        self.restarts += 1
        async with ledger(self.directory, self.clock) as store:
            recorder, loops = await self._monitor(store)
            async with anyio.create_task_group() as tasks:
                for loop in loops:
                    tasks.start_soon(loop.run)
                tasks.start_soon(self._archive, recorder, loops[0])
                await anyio.sleep(seconds)
                if crash:
                    self.crashes.append(anyio.current_time())
                    self.source.cut_off()
                    tasks.cancel_scope.cancel()
                for loop in loops:
                    loop.stop()
                if not crash:
                    self.archiving.cancel()
            if not crash:
                await recorder.rest()

    async def _archive(self, recorder, poller):
        """Archive ended jobs as soon as may be; a crash comes at any moment of it."""
        archiver = Archiver(recorder, Released(poller), self.clock)
        with anyio.CancelScope() as self.archiving:
            while True:
                await anyio.sleep(self.random.uniform(1, 60))
                self.archived += await archiver.archive_once()

    async def _monitor(self, store):
        metrics = Metrics(CollectorRegistry(), "0")
        dispatchers = [
            Dispatcher(
                name,
                sink,
                store,
                metrics,
                self.clock,
                self.random,
                timeout=5.0,
                max_age=1e9,
                concurrency=3,
            )
            for name, sink in self.sinks.items()
        ]

        def announce(_entry, _before):
            for dispatcher in dispatchers:
                dispatcher.wake()

        recorder = Recorder(store, Router(ROUTES, list(SINKS)), announce)
        recorder.adopt_sources(await store.sources())
        named = {f"j-{number}" for number in range(NAMED)}
        recorder.baselines.adopt(await store.baselines())
        recorder.baselines.want({}, lambda one: one.id in named)
        poller = self._poller(recorder, metrics)
        for snapshot in await store.archive.live():
            recorder.adopt(snapshot)
            poller.follow(self._track(snapshot.job))
        for number in range(NAMED):
            poller.follow(self._track(job(f"j-{number}")))
        rules = Discover.model_validate({"exclude": ["j-0"]})
        poller.discover(ListingSweep(self.source, rules, 30.0, lambda row: self._track(row.job)))
        return recorder, [poller, *dispatchers]

    def _poller(self, recorder, metrics):
        quota = Quota(5.0, 10, self.clock.monotonic())
        return Poller(
            SOURCE, quota, recorder, metrics, self.clock, self.random, concurrency=6, timeout=5.0
        )

    def _track(self, wanted):
        return ScheduledJob(wanted, PollOptions(self.source, FOLLOWED, 20.0, 3600.0))

    def told(self):
        """Return the data of each job's events, in the order of the ledger."""
        of = defaultdict(list)
        for event in self.events:
            of[event["subject"]].append(event["data"])
        return of


@asynccontextmanager
async def lived(directory, seed, span=SPAN, peace=8000):
    run = Run(directory, seed, span)
    with capture_logs(), anyio.fail_after(10 * SPAN):
        await run.live(peace)
    yield run


def is_within(some, all_):
    """Whether ``some`` stand in ``all_`` in the same order."""
    rest = iter(all_)
    return all(one in rest for one in some)


def states_of(data):
    """The states that a job's events tell, without repetition."""
    told = [each for each in data if each["kind"] in {"job.discovered", "job.state_changed"}]
    return [each["current"]["state"] for each in told]


@pytest.fixture(autouse=True)
def archived_at_once(monkeypatch):
    monkeypatch.setattr(archiver, "AFTER", timedelta())
    monkeypatch.setattr(archiver, "AFTER_FAILURE", timedelta())


@pytest.mark.parametrize("seed", range(4))
async def test_everything_seen_is_told_and_nothing_else(tmp_path, seed):
    async with lived(tmp_path, seed) as run:
        _something_happened(run)
        told = run.told()
        for job_id in run.world.histories:
            data = told[job_id]
            _is_gapless(data)
            _is_true(run, job_id, data)
            _is_complete(run, job_id, data)
            _is_reminded(data)
        assert "job.reminder" in {event["data"]["kind"] for event in run.events}
        _is_gapless(told[SOURCE.service])
        _alternates([each["kind"] for each in told[SOURCE.service]])
        for sink in run.sinks.values():
            _was_delivered(run.events, sink)
        assert [each.pending for each in run.backlog] in ([], [0, 0])


def test_a_seed_makes_one_world_however_fast_the_machine_is(tmp_path):
    once, again = _lived_alone(tmp_path / "once"), _lived_alone(tmp_path / "again")
    assert len(once.source.shown) > 150
    assert len(once.events) > JOBS
    assert once.source.shown == again.source.shown
    assert once.told() == again.told()


def _lived_alone(directory):
    """Live through a world on a loop of its own, as time goes on in one that is used twice."""
    directory.mkdir()

    async def live():
        async with lived(directory, 0, span=SPAN / 2, peace=60) as run:
            return run

    with asyncio.Runner(loop_factory=partial(looptime.new_event_loop, noop_cycles=1)) as runner:
        return runner.run(live())


def _something_happened(run):
    """A simulation in which nothing happens proves nothing."""
    assert len(run.events) >= 2 * JOBS
    assert run.restarts == CRASHES + STOPS + 1
    assert len(run.crashes) == CRASHES
    assert run.archived > 5
    assert sum(run.source.failures.values()) > 30
    assert run.source.unread > 20
    assert set(run.source.failures) == {"PollError", "ValueError"}
    for sink in run.sinks.values():
        assert sum(sink.failures.values()) > 10
        assert len(sink.taken) > len({event["id"] for event in sink.taken})


def _is_gapless(data):
    assert [each["sequence"] for each in data] == list(range(1, len(data) + 1))


def _alternates(kinds):
    expected = ["source.unavailable", "source.recovered"] * len(kinds)
    assert kinds == expected[: len(kinds)]
    assert len(kinds) % 2 == 0


def _is_true(run, job_id, data):
    """Each state was really there, came after the last one told, and within its window."""
    assert is_within(states_of(data), run.world.states(job_id))
    changes = [each for each in data if each["kind"] == "job.state_changed"]
    for earlier, later in pairwise(data):
        same_look = later["window"] == earlier["window"]
        assert later["previous"] == earlier["previous" if same_look else "current"]
    for change in changes:
        state, window = change["current"]["state"], change["window"]
        after, before = wall(window["after"]), wall(window["before"])
        assert any(
            begun_state == state and after - ROUNDING <= begun <= before + ROUNDING
            for begun, begun_state in run.world.histories[job_id]
        )


def _is_complete(run, job_id, data):
    """All that a look showed is told, but for looks that a crash cut off; so is the end."""
    shown = [
        state
        for moment, shown_id, state in run.source.shown
        if shown_id == job_id and not any(0 <= crash - moment < 1 for crash in run.crashes)
    ]
    kept = [state for number, state in enumerate(shown) if shown[number - 1 : number] != [state]]
    assert is_within(kept, states_of(data))
    assert states_of(data)[-1] == run.world.states(job_id)[-1]


def _is_reminded(data):
    """A job is reminded of while it is stuck, and not too often."""
    last = None
    for each in data:
        at = wall(each["window"]["before"])
        if each["kind"] == "job.reminder":
            assert last is not None
            assert at - last >= REMIND - 10
        if each["kind"] in {"job.stuck", "job.reminder"}:
            last = at
        elif each["kind"] == "job.unstuck":
            last = None


def _was_delivered(events, sink):
    """Each event once or more, always the same, and first in the order of its job."""
    events = [event for event in events if not event["data"]["baseline"]]
    assert {event["id"] for event in sink.taken} == {event["id"] for event in events}
    known = {event["id"]: event for event in events}
    assert len(known) == len(events)
    assert all(event == known[event["id"]] for event in sink.taken)
    first: dict[str, dict[int, None]] = defaultdict(dict)
    for event in sink.taken:
        first[event["subject"]].setdefault(event["data"]["sequence"], None)
    for sequences in first.values():
        assert list(sequences) == sorted(sequences)
