"""How fast the store records and answers, against what the disk can do at best.

Run it as ``python -m tests.benchmarks.bench_store [DIRECTORY]`` on the disk in question.
"""

import os
import sqlite3
import sys
import tempfile
import time
from pathlib import Path

import anyio

from monitor.stores.store import open_store
from tests.contracts.store_examples import T0, SettableClock, entry

RECORDS = 10_000
NAIVE = 500
SYNCS = 300
CALLERS = 200
PENDING = 100_000


def fsync_rate(directory):
    """How many times a second the disk can make one page durable."""
    page = b"x" * 4096
    with (directory / "fsync").open("wb", buffering=0) as file:
        started = time.perf_counter()
        for _ in range(SYNCS):
            file.write(page)
            os.fdatasync(file.fileno())
    return SYNCS / (time.perf_counter() - started)


def naive_rate(directory):
    """One bare sqlite3 transaction for each transition: a snapshot, an event, a delivery."""
    connection = sqlite3.connect(directory / "naive.db", isolation_level=None)
    connection.executescript(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;"
        "CREATE TABLE jobs (key PRIMARY KEY, snapshot);"
        "CREATE TABLE transitions (position INTEGER PRIMARY KEY, key, event);"
        "CREATE TABLE deliveries (id INTEGER PRIMARY KEY, position, sink, status)"
    )
    started = time.perf_counter()
    for number in range(NAIVE):
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("INSERT INTO jobs VALUES (?, ?)", (str(number), "x" * 500))
        connection.execute("INSERT INTO transitions VALUES (?, ?, ?)", (number, "k", "x" * 900))
        connection.execute("INSERT INTO deliveries VALUES (?, ?, 'a', 'p')", (number, number))
        connection.execute("COMMIT")
    rate = NAIVE / (time.perf_counter() - started)
    connection.close()
    return rate


async def record_rate(store, first, many, callers):
    """Transitions a second, from so many callers at once, each waiting for its commit."""

    async def call(numbers):
        for number in numbers:
            await store.record(entry(number))

    started = time.perf_counter()
    async with anyio.create_task_group() as tasks:
        for caller in range(callers):
            tasks.start_soon(call, range(first + caller, first + many, callers))
    return many / (time.perf_counter() - started)


async def answer(call, rounds=50):
    """Median seconds of one answer."""
    times = []
    for _ in range(rounds):
        started = time.perf_counter()
        await call()
        times.append(time.perf_counter() - started)
    return sorted(times)[rounds // 2]


async def main(directory):
    """Measure, and print two tables."""
    syncs, naive = fsync_rate(directory), naive_rate(directory)
    commits: list[float] = []
    async with open_store(
        f"sqlite://{directory}/store.db", SettableClock(), commits.append
    ) as store:
        alone = await record_rate(store, 0, NAIVE, 1)
        commits.clear()
        grouped = await record_rate(store, NAIVE, RECORDS, CALLERS)
        groups = len(commits)
        await record_rate(store, NAIVE + RECORDS, PENDING - RECORDS - NAIVE, 500)
        answers = {
            "due, 20 of them": await answer(lambda: store.due("ops", T0, 20)),
            "due, none of them": await answer(lambda: store.due("ops", T0.replace(year=2000), 20)),
            "next_due": await answer(lambda: store.next_due("ops", T0)),
            "backlog": await answer(store.backlog, 10),
        }
    rates = {
        "fdatasync of 4 KiB, the limit of one commit each": syncs,
        "bare sqlite3, one transaction each": naive,
        "record(), one caller": alone,
        f"record(), {CALLERS} callers ({RECORDS} in {groups} commits)": grouped,
    }
    lines = ["| writing | per second | against the limit | against bare sqlite3 |"]
    lines += ["|---|---:|---:|---:|"]
    lines += [
        f"| {name} | {rate:,.0f} | {rate / syncs:.2f} | {rate / naive:.2f} |"
        for name, rate in rates.items()
    ]
    lines += ["", f"| answering over {PENDING:,} pending | ms |", "|---|---:|"]
    lines += [f"| {name} | {seconds * 1000:.2f} |" for name, seconds in answers.items()]
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(dir=sys.argv[1] if sys.argv[1:] else None) as made:
        anyio.run(main, Path(made))
