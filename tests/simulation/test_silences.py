"""Random changes under random silences, with crashes: receivers end up with what is true."""

from collections import defaultdict
from dataclasses import replace
from datetime import timedelta
from random import Random

import anyio
import pytest
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from monitor import model
from monitor.config import Route
from monitor.delivery.dispatcher import Dispatcher
from monitor.metrics import Metrics
from monitor.model import DeliveryStatus
from monitor.recording.quiet import Quiet
from monitor.recording.recorder import Recorder
from monitor.recording.router import Router
from monitor.runtime.quiet_keeper import QuietKeeper
from tests.builders import (
    VIRTUAL,
    ScriptedSink,
    VirtualClock,
    at,
    following,
    job,
    observation,
)
from tests.simulation.stores import File, on_server

pytestmark = VIRTUAL
JOBS = ("j-1", "j-2", "j-3")
STATES = ("PENDING", "RUNNING", "RUNNING", "FAILED", "SUCCEEDED")
LIVES, STEPS = 8, 25
SEEDS_OF_SERVERS = [0, *(pytest.param(seed, marks=pytest.mark.soak) for seed in range(1, 40))]
ROUTES = [Route.model_validate({"sinks": ["ops"], "match": {"kind": ["*", "job.discovered"]}})]
FOLLOWED = replace(following(stuck_after=300.0), remind_every=400.0)
MATCHES = (
    {"job": ["j-1"]},
    {"job": ["j-[23]"]},
    {"type": ["panorama.*"]},
)
PARTIAL = (*MATCHES, {"phase": ["failed"]}, {"kind": ["job.missing", "job.stuck"]})
"""Some of these let later transitions of a job pass, while they hold one."""
TOPICS = {
    "job.discovered": "state",
    "job.state_changed": "state",
    "job.stuck": "stuck",
    "job.unstuck": "stuck",
    "job.missing": "missing",
    "job.reappeared": "missing",
}
CALM = {"job.unstuck", "job.reappeared"}


class Run:
    """One random history; ``arrivals`` is when an event was taken, and the event."""

    def __init__(self, place, seed, matches):
        self.place = place
        self.matches = matches
        self.random = Random(seed)
        self.clock = VirtualClock()
        self.arrivals = []
        self.silences = []
        self.names = 0

    async def live(self):
        for number in range(LIVES):
            await self._life(last=number == LIVES - 1)

    async def _life(self, *, last):
        """Run the parts that record and deliver; end them at once, as a kill does."""
        async with self.place.store(self.clock, calm=last) as store:
            sink = ScriptedSink(self._take)
            metrics = Metrics(CollectorRegistry(), "0")
            dispatcher = Dispatcher(
                *("ops", sink, store, metrics, self.clock, self.random),
                timeout=5.0,
                max_age=1e9,
                concurrency=2,
            )
            quiet = Quiet(self.clock.now)

            def announce(_entry, _before):
                dispatcher.wake()

            recorder = Recorder(store, Router(ROUTES, ["ops"]), announce, quiet)
            keeper = QuietKeeper(
                *(store, quiet, metrics, self.clock, lambda *_: "w"),
                dispatcher.wake,
                lambda: 1e6,
            )
            await keeper.load()
            for snapshot in await store.snapshots():
                recorder.adopt(snapshot)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(dispatcher.run)
                tasks.start_soon(keeper.run)
                await keeper.begin()
                for _ in range(STEPS):
                    await self._step(recorder, keeper)
                if last:
                    # All silences end, and all that is left is sent.
                    await anyio.sleep(3000)
                tasks.cancel_scope.cancel()
        await anyio.sleep(self.random.choice([0.0, 500.0]))

    async def _take(self, events):
        await anyio.sleep(self.random.uniform(0, 2))
        self.arrivals += [(self.clock.now(), event) for event in events]

    async def _step(self, recorder, keeper):
        await anyio.sleep(self.random.uniform(0, 60))
        of, now = job(self.random.choice(JOBS)), self.clock.monotonic()
        match self.random.choice(["poll", "poll", "poll", "deny", "silence", "expire"]):
            case "poll":
                state = self.random.choice(STATES)
                await recorder.observe(observation(state, of=of, asked=now), FOLLOWED)
            case "deny":
                await recorder.deny(of, self.clock.now(), FOLLOWED)
            case "silence":
                self.names += 1
                begins = at(now + self.random.choice([0.0, 100.0]))
                ends = begins + timedelta(seconds=self.random.uniform(1, 600))
                match = self.random.choice(self.matches)
                made = model.Silence(f"s{self.names}", (match,), begins, ends, "ann", "")
                self.silences.append(made)
                await keeper.add(made)
            case "expire":
                known = keeper.silences()
                if known:
                    await keeper.expire(self.random.choice(known).id)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("matches", [MATCHES, PARTIAL], ids=["whole", "partial"])
async def test_receivers_end_up_with_what_is_true(tmp_path, seed, matches):
    await _receivers_end_up_with_what_is_true(File(tmp_path), seed, matches)


@pytest.mark.parametrize("seed", SEEDS_OF_SERVERS)
@pytest.mark.parametrize("matches", [MATCHES, PARTIAL], ids=["whole", "partial"])
async def test_receivers_end_up_with_what_is_true_over_postgresql(new_database, seed, matches):
    with on_server(new_database(), Random(seed)) as server:
        await _receivers_end_up_with_what_is_true(server, seed, matches)
        assert server.lost + server.unanswered > 3


async def _receivers_end_up_with_what_is_true(place, seed, matches):
    run = Run(place, seed, matches)
    with capture_logs(), anyio.fail_after(1e6):
        await run.live()
        async with place.store(run.clock) as store:
            events = [event for _, event in await store.transitions(limit=100_000)]
            deliveries = await store.deliveries(limit=100_000)
            held = [one for one in deliveries if one.status is DeliveryStatus.SILENCED]
    assert len(events) > 40
    assert len(held) > 5
    # Nothing is lost: each transition has its delivery, which was sent or is silenced for good.
    assert {one.event_id for one in deliveries} == {event["id"] for event in events}
    assert all(one.settled_at for one in deliveries)
    sent = {event["id"] for _, event in run.arrivals}
    assert sent == {one.event_id for one in deliveries if one.status is DeliveryStatus.DELIVERED}
    released = [one for one in deliveries if one.silenced_by and one.event_id in sent]
    assert released
    _in_order(run)
    _up_to_date(run, events)


def _in_order(run):
    """First arrivals come in the order of the ledger: of a job, or at least of one topic of it."""
    first: dict[tuple[str, str], dict[int, None]] = defaultdict(dict)
    for _, event in run.arrivals:
        topic = "" if run.matches is MATCHES else TOPICS.get(event["data"]["kind"], "none")
        first[event["subject"], topic].setdefault(event["data"]["sequence"], None)
    for sequences in first.values():
        assert list(sequences) == sorted(sequences)


def _up_to_date(run, events):
    """What a receiver heard last of each topic is what is true."""
    true: dict[tuple[str, str], object] = {}
    heard: dict[tuple[str, str], object] = {}
    for found, source in ((true, events), (heard, [event for _, event in run.arrivals])):
        newest: dict[tuple[str, str], int] = {}
        for event in source:
            data = event["data"]
            topic = TOPICS.get(data["kind"])
            if topic and data["sequence"] >= newest.get((event["subject"], topic), 0):
                newest[event["subject"], topic] = data["sequence"]
                about = data["current"] if topic == "state" else data["kind"] not in CALM
                found[event["subject"], topic] = about
    for key, about in true.items():
        assert heard.get(key, False if key[1] != "state" else None) == about, key
