"""What a sink that was down for a day costs, and how fast it gets what waited; with limits.

Run it as ``python -m tests.benchmarks.bench_outbox [TRANSITIONS]``; it needs loopback and two
cores. On one store: a day of outage on virtual time, and the drain through a real webhook to a
receiver in a process of its own, against the same webhook without a store. On others: the drain
into a log file, against a bare loop that writes the same lines; polling a simulator in a process
of its own, and recording, beside a sink that is down and what waits for it, against the same
without. It fails where a limit is missed.
"""

import asyncio
import gc
import os
import statistics
import sys
import tempfile
import time
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path

import anyio
import looptime
import orjson

from monitor import logs
from monitor.aws.clients import Clients
from monitor.clock import SystemClock
from monitor.stores.store import open_store
from tests import outbox_kit, ports
from tests.benchmarks.parts import KEY, Polling, account, simulated
from tests.contracts import sink_kit
from tests.contracts.store_examples import entry

JOBS = 2_000
ROUNDS = 5
WINDOW = 3.0
"""Seconds for which each rate is measured."""
WRITERS = 50

MOST_GROWTH = 50.0
"""Megabytes."""
LEAST_RATIO = 0.9
LEAST_RATE = 500.0
"""Webhooks a second."""
LEAST_POSTED = 0.2
"""Webhooks for a second of CPU, against those of the webhook without a store."""
LEAST_LOGGED = 0.15
"""Lines for a second of CPU, against those of a bare loop."""
BATCH = 500
"""Lines that a log writes with one fsync."""


@asynccontextmanager
async def sink_down(store, clock):
    """Have a dispatcher try a receiver that is not there."""
    async with (
        outbox_kit.webhook(ports.free_port()) as sink,
        outbox_kit.dispatching(outbox_kit.dispatcher(sink, store, clock)),
    ):
        yield


async def ratio_of(rate, burdened, bare):
    """Median of ``rate(burdened)`` against the mean of ``rate(bare)`` before and after it."""
    ratios, before = [], await rate(bare)
    for _ in range(ROUNDS):
        under, after = await rate(burdened), await rate(bare)
        ratios.append(2 * under / (before + after))
        before = after
    return statistics.median(ratios)


async def sending(port, many):
    """Seconds of CPU for each of ``many`` posts by the webhook alone, four at a time."""
    event = sink_kit.event()
    async with outbox_kit.webhook(port) as sink:

        async def post(some):
            for _ in range(some):
                await sink.send([event])

        await post(10)
        used = time.process_time()
        async with anyio.create_task_group() as tasks:
            for _ in range(4):
                tasks.start_soon(post, many // 4)
        return (time.process_time() - used) / many


def writing(path, lines):
    """Seconds of CPU for each line of a loop that writes and syncs them as the log does."""
    used = time.process_time()
    with path.open("ab", buffering=0) as file:
        for start in range(0, len(lines), BATCH):
            events = [orjson.loads(line) for line in lines[start : start + BATCH]]
            file.write(b"".join(orjson.dumps(event) + b"\n" for event in events))
            os.fdatasync(file.fileno())
    return (time.process_time() - used) / len(lines)


async def fill_log(directory, many):
    """Let a log file take all that waits in a new store."""
    async with open_store(f"sqlite://{directory}/state.db", SystemClock()) as store:
        await outbox_kit.fill(store, many, JOBS, time.time())
    return await outbox_kit.drain(directory, outbox_kit.log_file(directory / "events.log"))


async def polling_ratio(url, directory, many):
    """Looks a second beside the dead sink and its backlog, against those beside neither."""
    clock = SystemClock()
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        clients = await enter(Clients({KEY.account: account(url)}))
        burdened = await enter(open_store(f"sqlite://{directory}/burdened.db", clock))
        bare = await enter(open_store(f"sqlite://{directory}/bare.db", clock))
        await outbox_kit.fill(burdened, many, JOBS, time.time())

        async def rate(store):
            polling = Polling(store, clients, clock)
            await polling.begin()
            async with AsyncExitStack() as inner:
                if store is burdened:
                    await inner.enter_async_context(sink_down(store, clock))
                await inner.enter_async_context(polling.running())
                return await polling.rate(WINDOW)

        return await ratio_of(rate, burdened, bare)


async def recording_ratio(directory, many):
    """Transitions recorded a second beside the dead sink, against those without it."""
    clock, sequences = SystemClock(), dict.fromkeys(range(WRITERS), 0)
    async with open_store(f"sqlite://{directory}/recording.db", clock) as store:
        await outbox_kit.fill(store, many, JOBS, time.time())

        async def rate(down):
            async with AsyncExitStack() as stack:
                if down:
                    await stack.enter_async_context(sink_down(store, clock))
                return await recording_rate(store, sequences)

        return await ratio_of(rate, True, False)  # noqa: FBT003 -- burdened, and not


async def recording_rate(store, sequences):
    """Transitions recorded a second, for another sink."""
    until = time.perf_counter() + WINDOW
    before = sum(sequences.values())

    async def write(number):
        while time.perf_counter() < until:
            sequences[number] += 1
            await store.record(entry(number, sequences[number], sinks=("other",)))

    started = time.perf_counter()
    async with anyio.create_task_group() as tasks:
        for number in sequences:
            tasks.start_soon(write, number)
    return (sum(sequences.values()) - before) / (time.perf_counter() - started)


def missed(out, drained, ratios, came, many):
    """Say which limits were missed; ``ratios`` are of polls, webhooks and lines."""
    polling, posted, logged = ratios
    limits = {
        f"memory grew by {MOST_GROWTH:.0f} MB or more in the outage": out.grown < MOST_GROWTH,
        f"memory grew by {MOST_GROWTH:.0f} MB or more in the drain": drained.grown < MOST_GROWTH,
        f"polling fell below {LEAST_RATIO} of its rate": polling >= LEAST_RATIO,
        f"fewer than {LEAST_RATE:.0f} webhooks/s": many / drained.seconds >= LEAST_RATE,
        f"webhooks fell below {LEAST_POSTED} of those without a store": posted >= LEAST_POSTED,
        f"lines fell below {LEAST_LOGGED} of a bare loop's": logged >= LEAST_LOGGED,
    }
    wrong = outbox_kit.shortcomings(came, many)
    return [name for name, held in limits.items() if not held] + wrong[:5]


def main(many):
    """Measure, print a table, and return what was missed."""
    logs.configure("json", "error")
    gc.collect()
    gc.freeze()  # as the daemon does after its start
    with tempfile.TemporaryDirectory() as made, outbox_kit.receiver() as pipe:
        directory = Path(made)
        out = _virtually(outbox_kit.outage(directory, many, JOBS))
        port = pipe.recv()
        drained = anyio.run(outbox_kit.drain, directory, outbox_kit.webhook(port))
        came = outbox_kit.came_to(pipe)
        (directory / "log").mkdir()
        written = anyio.run(fill_log, directory / "log", many)
        events = (directory / "log" / "events.log").read_bytes().splitlines()
        logged = writing(directory / "log" / "bare.log", events) * many / written.cpu
        with simulated(directory) as url:
            polling = anyio.run(polling_ratio, url, directory, many)
        recording = anyio.run(recording_ratio, directory, many)
    with outbox_kit.receiver() as pipe:
        posted = anyio.run(sending, pipe.recv(), 10_000) * many / drained.cpu
    rows = {
        "a day of outage: attempts made": f"{out.attempts:,}",
        "a day of outage: memory grown, MB": f"{out.grown:.1f}",
        "a day of outage: seconds of CPU": f"{out.cpu:.1f}",
        "polling beside a sink that is down, against alone": f"{polling:.2f}",
        "recording beside a sink that is down, against alone": f"{recording:.2f}",
        "drained, events a second": f"{many / drained.seconds:,.0f}",
        "drained, CPU milliseconds an event": f"{drained.cpu / many * 1000:.2f}",
        "drained, webhooks for each second of CPU": f"{many / drained.cpu:,.0f}",
        "drained, against the webhook alone, by CPU": f"{posted:.2f}",
        "drained, memory grown, MB": f"{drained.grown:.1f}",
        "log, lines a second": f"{many / written.seconds:,.0f}",
        "log, lines for each second of CPU": f"{many / written.cpu:,.0f}",
        "log, against a bare loop that writes them, by CPU": f"{logged:.2f}",
    }
    lines = [f"| {many:,} transitions of {JOBS:,} jobs | |", "|---|---:|"]
    lines += [f"| {name} | {value} |" for name, value in rows.items()]
    sys.stdout.write("\n".join(lines) + "\n")
    return missed(out, drained, (polling, posted, logged), came, many)


def _virtually(work):
    """Run on virtual time."""
    with asyncio.Runner(loop_factory=partial(looptime.new_event_loop, noop_cycles=1)) as runner:
        return runner.run(work)


if __name__ == "__main__":
    if failures := main(int(sys.argv[1]) if sys.argv[1:] else 100_000):
        sys.exit("Missed: " + "; ".join(failures))
