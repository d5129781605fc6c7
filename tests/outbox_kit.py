"""A sink that is down for a day while much waits for it, and a receiver that then takes it all."""

import asyncio
import gc
import json
import multiprocessing
import resource
import time
from collections import Counter
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Any

import anyio
from prometheus_client import CollectorRegistry

from monitor import config, events, sinks
from monitor.clock import SystemClock
from monitor.delivery.dispatcher import Dispatcher
from monitor.errors import SendError, SendReason
from monitor.metrics import Metrics
from monitor.model import Kind
from monitor.stores.store import open_store
from tests.builders import VirtualClock, ledger
from tests.contracts import sink_kit

HOUR, DAY = 3_600.0, 86_400.0
_ANSWER = b"HTTP/1.1 204 No Content\r\n\r\n"
_MICROSECONDS = 1_000_000


# --- the receiver


@contextmanager
def receiver():
    """Run a receiver in a process of its own; yield what asks it for its port, then what came."""
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=_receive, args=(theirs,))
    process.start()
    try:
        yield ours
    finally:
        process.kill()
        process.join(30)


def came_to(pipe):
    """End a receiver; return (subject, sequence) of all that it got, in order."""
    pipe.send("end")
    return pipe.recv()


def _receive(pipe):
    asyncio.run(_serve(pipe))


async def _serve(pipe):
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
    await asyncio.to_thread(pipe.recv)
    pipe.send(came)
    server.close()


async def _head(reader):
    try:
        return await reader.readuntil(b"\r\n\r\n")
    except (asyncio.IncompleteReadError, ConnectionError):
        return b""


def shortcomings(came, many):
    """Say how what came is not everything, once, and in order for each job."""
    found, last = [], Counter[str]()
    for subject, sequence in came:
        if sequence != last[subject] + 1:
            found.append(f"{subject} #{sequence} came after #{last[subject]}")
        last[subject] = sequence
    if len(came) != many:
        found.append(f"{len(came)} of {many} events came")
    return found


# --- the store and its dispatcher


async def fill(store, many, jobs, created):
    """Put ``many`` transitions into the outbox of the sink ``ops``; faster than recording them."""

    def insert(writer):
        driver = writer.connection.driver_connection
        driver.executemany(
            "INSERT INTO transitions (position, key, sequence, event_id, kind, observed_at, event)"
            " VALUES (?, ?, ?, ?, 'job.updated', 0, ?)",
            (_transition(store, number, jobs) for number in range(many)),
        )
        driver.executemany(
            "INSERT INTO deliveries (position, sink, key, status, attempts, created_at, due_at)"
            " VALUES (?, 'ops', ?, 'pending', 0, ?, ?)",
            (_delivery(number, jobs, int(created * _MICROSECONDS)) for number in range(many)),
        )
        writer.exec_driver_sql(f"UPDATE ledger SET position = {many}")

    await store._database.transact(insert)


def _told(number, jobs):
    """One transition; each job has its turn."""
    plain = sink_kit.transition(Kind.UPDATED, number // jobs + 1, f"many-{number % jobs}")
    return replace(plain, fields={"text": "x" * 600})


def _transition(store, number, jobs):
    told = _told(number, jobs)
    event = events.cloud_event(told, store.ledger_id)
    text = json.dumps(event, default=dict)
    return number + 1, told.subject.key, told.sequence, event["id"], text


def _delivery(number, jobs, created):
    key = _told(number, jobs).subject.key
    return number + 1, key, created, created if number < jobs else None


def dispatcher(sink, store, clock):
    """Return the dispatcher of the sink ``ops``."""
    metrics = Metrics(CollectorRegistry(), "0")
    limits: dict[str, Any] = {"timeout": 15.0, "max_age": 3 * DAY, "concurrency": 4}
    return Dispatcher("ops", sink, store, metrics, clock, Random(1), **limits)


@asynccontextmanager
async def dispatching(one):
    """Run a dispatcher beside the body."""
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(one.run)
        yield
        one.stop()
        tasks.cancel_scope.cancel()


@asynccontextmanager
async def webhook(port):
    """Open a real webhook to a port of loopback."""
    settings = sink_kit.webhook(f"http://127.0.0.1:{port}/", timeout="15s")
    async with sinks.open_sink("ops", settings) as sink:
        yield sink


@asynccontextmanager
async def log_file(path):
    """Open a real log."""
    async with sinks.open_sink("ops", config.LogSink(type="log", path=str(path))) as sink:
        yield sink


def resident():
    """Megabytes of memory in use."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


# --- a day of outage, and the end of it


class Down:
    """A sink that takes nothing, and keeps nothing of what it refused."""

    batch_size = 1

    def __init__(self):
        self.attempts = 0

    async def send(self, _events):
        self.attempts += 1
        raise SendError(SendReason.CONNECTION, "connection refused")


@dataclass
class Cost:
    """What a part took: seconds of wall and processor time, and how memory grew at most."""

    attempts: int = 0
    seconds: float = 0.0
    cpu: float = 0.0
    grown: float = 0.0


@contextmanager
def costing(memory):
    """Yield the cost, which is complete afterwards, and what is to be called to weigh memory."""
    # What an earlier part has left behind is not what this one adds to.
    gc.collect()
    cost, before = Cost(), memory()
    started, used = time.perf_counter(), time.process_time()
    yield cost, lambda: setattr(cost, "grown", max(cost.grown, memory() - before))
    cost.seconds, cost.cpu = time.perf_counter() - started, time.process_time() - used


async def outage(directory, many, jobs, memory=resident, hours=24):
    """Live without the sink for hours of virtual time; ``memory`` says what is in use."""
    clock, sink = VirtualClock(), Down()
    async with ledger(directory, clock) as store:
        await fill(store, many, jobs, clock.now().timestamp())
        with costing(memory) as (cost, weigh):
            async with dispatching(dispatcher(sink, store, clock)):
                for _ in range(hours):
                    await anyio.sleep(HOUR)
                    weigh()
        (backlog,) = await store.backlog()
        assert (backlog.pending, backlog.dead) == (many, 0)
        cost.attempts = sink.attempts
        return cost


async def drain(directory, opening, memory=resident):
    """Deliver all that waits in the same store to the sink of ``opening``, in real time."""
    clock = SystemClock()
    async with open_store(f"sqlite://{directory}/state.db", clock) as store:
        with costing(memory) as (cost, weigh):
            async with opening as sink, dispatching(dispatcher(sink, store, clock)):
                # The backlog is counted at the end alone, as counting takes longer than sending.
                while await store.due("ops", store.store_time(), 1) or await store.backlog():
                    await anyio.sleep(0.1)
                    weigh()
        assert await store.backlog() == []
        return cost
