"""What a sink that was down for a day costs, and how fast it gets what waited.

Run it as ``python -m tests.benchmarks.bench_outbox [TRANSITIONS]``; it needs loopback and two
cores. Three parts on one store: a day of outage on virtual time, recording beside a sink that
is down, and the drain through a real webhook to a receiver in a process of its own.
"""

import asyncio
import json
import multiprocessing
import resource
import statistics
import sys
import tempfile
import time
from contextlib import asynccontextmanager
from multiprocessing.connection import Listener
from pathlib import Path
from random import Random
from typing import Any

import anyio
import looptime
from prometheus_client import CollectorRegistry

from monitor import sinks
from monitor.clock import SystemClock
from monitor.config import WebhookSink
from monitor.dispatcher import Dispatcher
from monitor.errors import SendError, SendReason
from monitor.metrics import Metrics
from monitor.stores.sql import open_store
from tests.builders import ScriptedSink, VirtualClock, ledger
from tests.contracts.store_examples import entry

JOBS = 2_000
DAY = 86_400.0
ROUNDS = 5
WINDOW = 3.0
"""Seconds for which each recording rate is measured."""
WRITERS = 50

_ANSWER = b"HTTP/1.1 204 No Content\r\n\r\n"
_MICROSECONDS = 1_000_000


# --- the receiver


def receive(pipe):
    """Take whatever comes; say the port, and at the end what came."""
    asyncio.run(_receive(pipe))


async def _receive(pipe):
    came: list[tuple[str, int]] = []

    async def serve(reader, writer):
        while head := await _head(reader):
            length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
            event = json.loads(await reader.readexactly(length))
            came.append((event["subject"], event["data"]["sequence"]))
            writer.write(_ANSWER)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    pipe.send(server.sockets[0].getsockname()[1])
    while await asyncio.to_thread(pipe.recv) == "count":
        pipe.send(len(came))
    pipe.send(came)


async def _head(reader):
    try:
        return await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return b""


# --- the store


async def fill(store, many, created):
    """Put ``many`` transitions of ``JOBS`` jobs into the outbox of the sink ``ops``."""
    async with store._database.writer.begin():
        driver = await store._database.writer.get_raw_connection()
        await driver.driver_connection.executemany(
            "INSERT INTO transitions VALUES (?, ?, ?, ?, 'job.updated', 0, ?)",
            [_transition(number) for number in range(many)],
        )
        await driver.driver_connection.executemany(
            "INSERT INTO deliveries (position, sink, key, status, attempts, created_at, due_at)"
            " VALUES (?, 'ops', ?, 'pending', 0, ?, ?)",
            [_delivery(number, int(created * _MICROSECONDS)) for number in range(many)],
        )
        await store._database.writer.exec_driver_sql(f"UPDATE ledger SET position = {many}")


def _transition(number):
    key, sequence = f"many-{number % JOBS}", number // JOBS + 1
    event = {
        "specversion": "1.0",
        "id": f"{key}#{sequence}",
        "source": "/aws/prod/us-east-1/panorama",
        "subject": key,
        "type": "io.job-monitor.job.updated",
        "data": {"sequence": sequence, "fields": {"text": "x" * 600}, "replayed": False},
    }
    return number + 1, key, sequence, event["id"], json.dumps(event)


def _delivery(number, created):
    return number + 1, f"many-{number % JOBS}", created, created if number < JOBS else None


def _dispatcher(sink, store, clock):
    metrics = Metrics(CollectorRegistry(), "0")
    limits: dict[str, Any] = {"timeout": 15.0, "max_age": 3 * DAY, "concurrency": 4}
    return Dispatcher("ops", sink, store, metrics, clock, Random(1), **limits)


@asynccontextmanager
async def dispatching(dispatcher):
    """Run a dispatcher beside the body."""
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(dispatcher.run)
        yield
        dispatcher.stop()
        tasks.cancel_scope.cancel()


@asynccontextmanager
async def webhook(port):
    """A real webhook to a port of loopback."""
    settings = WebhookSink.model_validate(
        {
            "type": "webhook",
            "url": f"http://127.0.0.1:{port}/",
            "allow_http": True,
            "allow_networks": ["127.0.0.0/8"],
        }
    )
    async with sinks.open_sink("ops", settings) as sink:
        yield sink


def resident():
    """Megabytes of memory in use."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


# --- the three parts


async def outage(directory, many):
    """Live through a day without the sink, in virtual time; return attempts, growth, CPU."""
    clock = VirtualClock()

    async def refuse(_events):
        raise SendError(SendReason.CONNECTION, "connection refused")

    sink = ScriptedSink(refuse, checks=False)
    async with ledger(directory, clock) as store:
        await fill(store, many, clock.now().timestamp())
        before, used, most = resident(), time.process_time(), 0.0
        async with dispatching(_dispatcher(sink, store, clock)):
            for _ in range(24):
                await anyio.sleep(DAY / 24)
                most = max(most, resident())
        (backlog,) = await store.backlog()
        assert backlog.pending == many
        return len(sink.attempts), most - before, time.process_time() - used


async def recording_rate(store, first):
    """Transitions recorded a second, for another sink."""
    done = 0

    async def write(number):
        nonlocal done
        sequence = 0
        while True:
            sequence += 1
            await store.record(entry(number, sequence, sinks=("other",)))
            done += 1

    started = time.perf_counter()
    async with anyio.create_task_group() as tasks:
        for number in range(WRITERS):
            tasks.start_soon(write, first + number)
        await anyio.sleep(WINDOW)
        tasks.cancel_scope.cancel()
    return done / (time.perf_counter() - started)


async def beside(directory, many):
    """Return the recording rate beside a sink that is down, against that without it."""
    clock = SystemClock()
    ratios = []
    async with open_store(f"sqlite://{directory}/beside.db", clock) as store:
        await fill(store, many, time.time())
        before = await recording_rate(store, 0)
        for round_ in range(1, ROUNDS + 1):
            first = 2 * round_ * WRITERS
            async with (
                webhook(_closed_port()) as sink,
                dispatching(_dispatcher(sink, store, clock)),
            ):
                down = await recording_rate(store, first)
            after = await recording_rate(store, first + WRITERS)
            ratios.append(2 * down / (before + after))
            before = after
    return statistics.median(ratios)


def _closed_port():
    with Listener(("127.0.0.1", 0)) as listener:
        return listener.address[1]


async def drain(directory, many, pipe):
    """Deliver all that waits; return seconds, the seconds of CPU, and how memory grew."""
    clock = SystemClock()
    async with open_store(f"sqlite://{directory}/drain.db", clock) as store:
        await fill(store, many, time.time())
        before, used, started = resident(), time.process_time(), time.perf_counter()
        async with webhook(pipe.recv()) as sink, dispatching(_dispatcher(sink, store, clock)):
            while await store.backlog():  # noqa: ASYNC110 -- the dispatcher brings it about
                await anyio.sleep(0.2)
        took = time.perf_counter() - started
        return took, time.process_time() - used, resident() - before


def check_order(came, many):
    """Everything came, once, and in order for each job."""
    last: dict[str, int] = {}
    for job, sequence in came:
        assert sequence == last.get(job, 0) + 1, (job, sequence)
        last[job] = sequence
    assert len(came) == many


def main(many):
    """Measure, and print a table."""
    ours, theirs = multiprocessing.Pipe()
    receiver = multiprocessing.get_context("spawn").Process(target=receive, args=(theirs,))
    receiver.start()
    with tempfile.TemporaryDirectory() as made:
        attempts, outgrown, burnt = _virtually(outage, Path(made), many)
        took, cpu, grown = anyio.run(drain, Path(made), many, ours)
        ours.send("end")
        check_order(ours.recv(), many)
        receiver.join()
        ratio = anyio.run(beside, Path(made), many)
    rows = {
        "a day of outage: attempts made": f"{attempts:,}",
        "a day of outage: memory grown, MB": f"{outgrown:.1f}",
        "a day of outage: seconds of CPU": f"{burnt:.1f}",
        "recording beside a sink that is down, against alone": f"{ratio:.2f}",
        "drained, events a second": f"{many / took:,.0f}",
        "drained, CPU milliseconds an event": f"{cpu / many * 1000:.2f}",
        "drained, memory grown, MB": f"{grown:.1f}",
    }
    lines = [f"| {many:,} transitions of {JOBS:,} jobs | |", "|---|---:|"]
    lines += [f"| {name} | {value} |" for name, value in rows.items()]
    sys.stdout.write("\n".join(lines) + "\n")


def _virtually(work, *args):
    """Run on virtual time."""
    loop = looptime.new_event_loop(noop_cycles=1)
    try:
        return loop.run_until_complete(work(*args))
    finally:
        loop.close()


if __name__ == "__main__":
    main(int(sys.argv[1]) if sys.argv[1:] else 100_000)
