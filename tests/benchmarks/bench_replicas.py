"""Replicas over one PostgreSQL: polls with one, two and four, and the ledger against SQLite.

    python -m tests.benchmarks.bench_replicas

prints two tables, and fails where a limit is missed. It needs PostgreSQL's programs. All processes
share the cores of this machine: what counts is the polls for each second of CPU, which must not
fall with more replicas, and the requests, which must not grow.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import sys
import tempfile
import time
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio

from monitor.clock import SystemClock
from monitor.model import DeliveryStatus, Settlement
from monitor.stores.store import open_store
from tests.benchmarks.bench_daemon import naive_polls, polls, settings
from tests.benchmarks.bench_polls import server
from tests.benchmarks.parts import daemon
from tests.contracts import postgresql_kit
from tests.contracts.store_examples import entry

if TYPE_CHECKING:
    from collections.abc import Sequence

    from monitor.stores.store import SqlStore
    from tests.benchmarks.parts import Daemon

SOURCES, JOBS, BUSY = 8, 4_000, 4
"""Sources, jobs at least, and jobs for each poll that the naive loop makes in a second of CPU. On a
fast core, 4,000 jobs would leave each of four replicas idle nearly always, and its caches cold."""
WINDOW, PATIENCE = 15.0, 180.0
COUNTS = (1, 2, 4)
LEAST_PART = 0.7
"""Polls for each second of CPU with the most replicas, against those of one."""
WRITES, CALLERS, ROUNDS = 20_000, 400, 3
LEAST_RECORDED = 0.1
"""Transitions a second on PostgreSQL, against SQLite."""


def shared_settings(url: str, store: str, jobs: int) -> dict[str, Any]:
    """Return a configuration of many sources that together poll all jobs once a second."""
    made = settings(url, "describe", jobs // SOURCES, "1s")
    names = [f"bench{number}" for number in range(SOURCES)]
    made["accounts"] = dict.fromkeys(names, made["accounts"]["bench"])
    made["watches"] = [{**made["watches"][0], "name": name, "account": name} for name in names]
    return {**made, "store": store}


def measure_polls(url: str, store: str, many: int, jobs: int) -> tuple[float, float]:
    """Return polls a second of so many jobs, by CPU and by the clock, of so many replicas."""
    with ExitStack() as stack:
        replicas: list[Daemon] = []
        for _ in range(many):
            directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            replicas.append(
                stack.enter_context(daemon(directory, shared_settings(url, store, jobs)))
            )
        until = time.monotonic() + PATIENCE
        enough = [jobs] * many
        # All share by now, and what each owns is prepared.
        while any(b"job_monitor_owned_quotas 0.0" in one.get("/metrics") for one in replicas):
            if time.monotonic() > until:
                raise SystemExit("the replicas do not share")
            time.sleep(0.5)
        while any(count(one) < most for one, most in zip(replicas, enough, strict=True)):
            if time.monotonic() > until:
                raise SystemExit("the replicas are too slow to be measured")
            time.sleep(0.5)
        before, cpu = sum(map(count, replicas)), sum(one.cpu for one in replicas)
        began = time.perf_counter()
        time.sleep(WINDOW)
        took, used = time.perf_counter() - began, sum(one.cpu for one in replicas) - cpu
        made = sum(map(count, replicas)) - before
        return made / used, made / took


count = partial(polls, operation="describe")


async def recorded(store: SqlStore, first: int) -> float:
    """Return the transitions a second that many callers record, each waiting for its commit."""

    async def call(numbers: Sequence[int]) -> None:
        for number in numbers:
            await store.record(entry(number))

    started = time.perf_counter()
    async with anyio.create_task_group() as tasks:
        for caller in range(CALLERS):
            tasks.start_soon(call, range(first + caller, first + WRITES, CALLERS))
    return WRITES / (time.perf_counter() - started)


async def delivered(store: SqlStore) -> float:
    """Return the deliveries a second that are read as due and settled, some together."""
    started, done = time.perf_counter(), 0
    while due := await store.due("ops", store.store_time(), 500):
        now = SystemClock().now()
        await store.settle(*(Settlement(one, DeliveryStatus.DELIVERED, now) for one in due))
        done += len(due)
    return done / (time.perf_counter() - started)


async def measure_store(url: str) -> tuple[float, float]:
    """Return the medians of transitions and deliveries a second."""
    async with open_store(url, SystemClock()) as store:
        rates = [
            (await recorded(store, number * WRITES), await delivered(store))
            for number in range(ROUNDS)
        ]
    written, settled = zip(*rates, strict=True)
    return statistics.median(written), statistics.median(settled)


def main(directory: Path) -> list[str]:
    """Measure, print, and return what was missed."""
    os.environ.update(AWS_ACCESS_KEY_ID="AKIAIOSFODNN7EXAMPLE", AWS_SECRET_ACCESS_KEY="bench")
    missed = []
    with postgresql_kit.server(place=lambda: None) as database:  # on a real disk
        sqlite = anyio.run(measure_store, f"sqlite://{directory}/state.db")
        postgresql = anyio.run(measure_store, database.create("ledger"))
        lines = ["| store | transitions/s | deliveries/s |", "|---|---:|---:|"]
        for name, rates in (("SQLite", sqlite), ("PostgreSQL", postgresql)):
            lines.append(f"| {name} | {rates[0]:,.0f} | {rates[1]:,.0f} |")
        part = [ours / theirs for ours, theirs in zip(postgresql, sqlite, strict=True)]
        lines.append(f"| ratio | {part[0]:.2f} | {part[1]:.2f} |")
        if part[0] < LEAST_RECORDED:
            missed.append(f"fewer than {LEAST_RECORDED} of SQLite's transitions")
        lines += [
            "",
            "| replicas | polls /CPU-s | against one | polls/s |",
            "|---:|---:|---:|---:|",
        ]
        with server(directory, tls=False, pages=1) as url:
            jobs = max(JOBS, round(BUSY * asyncio.run(naive_polls(url, "describe"))))
            found = {
                many: measure_polls(url, database.create(f"n{many}"), many, jobs) for many in COUNTS
            }
    alone, _ = found[1]
    for many, (by_cpu, wall) in found.items():
        lines.append(f"| {many} | {by_cpu:,.0f} | {by_cpu / alone:.2f} | {wall:,.0f} |")
        # Each of them gives signs of life, and follows the others.
        if by_cpu < LEAST_PART * alone:
            missed.append(f"{many} replicas: fewer than {LEAST_PART} of the polls of one by CPU")
        if wall > 1.05 * jobs:
            missed.append(f"{many} replicas: more requests than one sends")
    sys.stdout.write("\n".join(lines) + "\n")
    return missed


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as made:
        failures = main(Path(made))
    if failures:
        sys.exit("Missed: " + "; ".join(failures))
