"""Sinks come, change and go while deliveries run; in virtual time, on a real store."""

from contextlib import asynccontextmanager
from random import Random

import anyio
import pytest
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from monitor import logs
from monitor.config import LogSink, Route
from monitor.delivery.manager import DeliveryManager, SinkSpec
from monitor.errors import ConfigurationError, Problem, SendError, SendReason
from monitor.metrics import Metrics
from monitor.recording.recorder import Recorder
from monitor.recording.router import Router
from tests.builders import (
    VIRTUAL,
    ScriptedSink,
    VirtualClock,
    following,
    job,
    ledger,
    observation,
    until,
)

pytestmark = VIRTUAL
NAMES = ["ops", "audit"]
ROUTES = [Route.model_validate({"sinks": NAMES, "match": {"kind": ["*", "job.discovered"]}})]


def wanted(path="a", contents=b"", **more):
    return SinkSpec(LogSink(type="log", path=path, **more), contents)


class Bench:
    """The recorder, and what is opened by name and path; ``events`` is what happened to sinks."""

    def __init__(self, store, clock):
        self.store = store
        self.clock = clock
        self.registry = CollectorRegistry()
        self.metrics = Metrics(self.registry, "0")
        self.sinks = {}
        self.happened = []
        self.latency = 0.0
        self.trouble = None
        self.telling = DeliveryManager(store, self.metrics, clock, Random(3), self._open)
        self.recorder = Recorder(store, Router(ROUTES, NAMES), self._announce)

    def _announce(self, entry, _before):
        for names in entry.sinks:
            self.telling.wake(names)

    @asynccontextmanager
    async def _open(self, name, settings):
        place = f"{name}:{settings.path}"
        if settings.path == "bad":
            raise ConfigurationError([Problem("", f"sinks.{name}", "cannot be opened")])
        if settings.path == "never":
            await anyio.sleep_forever()
        self.happened.append(f"open {place}")

        async def behave(_events):
            self.happened.append(f"send {place}")
            await anyio.sleep(self.latency)
            if self.trouble:
                raise self.trouble
            self.happened.append(f"sent {place}")

        # A cancel scope, as a plug-in may have, must be left by the task that entered it.
        with anyio.CancelScope():
            yield self.sinks.setdefault(place, ScriptedSink(behave))
        self.happened.append(f"close {place}")

    async def apply(self, **sinks):
        async with self.telling.changing(sinks) as place:
            place()

    async def change(self, *states, of="a"):
        for state in states:
            seen = observation(state, of=job(of), asked=self.clock.monotonic())
            await self.recorder.observe(seen, following())

    def states(self, place):
        return [event["data"]["current"]["state"] for event in self.sinks[place].taken]

    async def pending(self, name):
        return sum(each.pending for each in await self.store.backlog() if each.sink == name)

    def samples(self, sink):
        found = (sample for metric in self.registry.collect() for sample in metric.samples)
        return {sample.name for sample in found if sample.labels.get("sink") == sink}


@asynccontextmanager
async def benched(tmp_path):
    clock = VirtualClock()
    async with ledger(tmp_path, clock) as store:
        bench = Bench(store, clock)
        with anyio.fail_after(10 * 86400):
            async with bench.telling.running():
                yield bench


async def test_a_sink_that_did_not_change_is_left_alone_and_others_come_and_go(tmp_path):
    async with benched(tmp_path) as bench:
        await bench.apply(ops=wanted())
        await bench.apply(ops=wanted(), audit=wanted("b"))
        await bench.change("PENDING")
        await until(lambda: bench.states("ops:a") == bench.states("audit:b") == ["PENDING"])
        await bench.apply(ops=wanted())
        await until(lambda: "close audit:b" in bench.happened)
        await bench.change("RUNNING")
        await until(lambda: len(bench.states("ops:a")) == 2)
    opened = [line for line in bench.happened if line.startswith(("open", "close"))]
    assert opened == ["open ops:a", "open audit:b", "close audit:b", "close ops:a"]


@pytest.mark.parametrize("other", [wanted("b"), wanted("a", b"x"), wanted("a", concurrency=1)])
async def test_a_changed_sink_is_opened_before_the_old_one_stops_and_sends_after_it_closed(
    tmp_path, other
):
    async with benched(tmp_path) as bench:
        bench.latency = 5.0
        await bench.apply(ops=wanted())
        await bench.change("PENDING", "RUNNING", "FAILED")
        await until(lambda: "send ops:a" in bench.happened)
        await bench.apply(ops=other)
        await until(lambda: len([line for line in bench.happened if line.startswith("sent")]) == 3)
    new = f"ops:{other.settings.path}"
    first = ["open ops:a", "send ops:a", f"open {new}", "sent ops:a", "close ops:a"]
    assert bench.happened == [*first, *[f"send {new}", f"sent {new}"] * 2, f"close {new}"]


async def test_of_many_changes_in_a_row_the_last_one_sends_and_never_two_at_once(tmp_path):
    async with benched(tmp_path) as bench:
        bench.latency = 5.0
        await bench.apply(ops=wanted("0"))
        await bench.change("PENDING", "RUNNING")
        await until(lambda: "send ops:0" in bench.happened)
        await bench.apply(ops=wanted("1"))
        await bench.apply()
        await bench.apply(ops=wanted("2"))
        await bench.apply(ops=wanted("3"))
        await until(
            lambda: (
                bench.states("ops:3") == ["RUNNING"] if "sent ops:3" in bench.happened else False
            )
        )
    sends = [line for line in bench.happened if line.startswith("sen")]
    assert sends == ["send ops:0", "sent ops:0", "send ops:3", "sent ops:3"]
    assert {line for line in bench.happened if line.startswith("close")} == {
        f"close ops:{number}" for number in range(4)
    }


@pytest.mark.parametrize("path", ["bad", "never"])
async def test_one_that_cannot_be_opened_refuses_the_change_and_nothing_is_touched(tmp_path, path):
    async with benched(tmp_path) as bench:
        await bench.apply(ops=wanted())
        with pytest.raises(ConfigurationError, match=r"sinks\.audit"):
            await bench.apply(ops=wanted("b"), audit=wanted(path))
        await until(lambda: "close ops:b" in bench.happened)
        await bench.change("PENDING")
        await until(lambda: bench.states("ops:a") == ["PENDING"])
        assert bench.states("ops:b") == []
        assert bench.samples("audit") == set()


async def test_what_a_removed_sink_leaves_is_told_counted_and_sent_when_it_comes_back(tmp_path):
    async with benched(tmp_path) as bench:
        await bench.apply(ops=wanted())
        bench.trouble = SendError(SendReason.CONNECTION, "refused")
        await bench.change("PENDING", "RUNNING")
        await until(lambda: "send ops:a" in bench.happened)
        with capture_logs() as lines:
            await bench.apply()
            await until(lambda: [line for line in lines if line["event"] == logs.SINK_REMOVED])
        (line,) = [line for line in lines if line["event"] == logs.SINK_REMOVED]
        assert (line["sink"], line["pending"], line["dead"]) == ("ops", 2, 0)
        await bench.change("FAILED")
        bench.metrics.set_backlogs(await bench.store.backlog())
        assert bench.samples("ops") == {
            "job_monitor_outbox_pending",
            "job_monitor_outbox_oldest_timestamp_seconds",
            "job_monitor_dead_letters",
        }
        bench.trouble = None
        await bench.apply(ops=wanted("b"))
        await until(lambda: len(bench.states("ops:b")) == 3)
        assert bench.states("ops:b") == ["PENDING", "RUNNING", "FAILED"]
        assert await bench.pending("ops") == 0


async def test_a_removed_sink_that_left_nothing_leaves_no_series_behind(tmp_path):
    async with benched(tmp_path) as bench:
        await bench.apply(audit=wanted())
        bench.metrics.set_backlogs(await bench.store.backlog())
        assert "job_monitor_deliveries_total" in bench.samples("audit")
        await bench.apply()
        await until(lambda: "close audit:a" in bench.happened)
        await anyio.sleep(1)
        bench.metrics.set_backlogs(await bench.store.backlog())
        assert bench.samples("audit") == set()


async def test_a_sink_that_fails_to_close_is_logged_and_disturbs_nobody(tmp_path):
    async with benched(tmp_path) as bench:

        @asynccontextmanager
        async def clumsy(_name, _settings):
            yield ScriptedSink()
            raise RuntimeError("while closing")

        bench.telling._open_sink = clumsy
        await bench.apply(ops=wanted())
        bench.telling._open_sink = bench._open
        with capture_logs() as lines:
            await bench.apply(ops=wanted("b"))
            await bench.change("PENDING")
            await until(lambda: "sent ops:b" in bench.happened)
        assert logs.SINK_BROKEN in [line["event"] for line in lines]
