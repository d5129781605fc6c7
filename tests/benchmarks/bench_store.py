"""How fast the store records and answers, against what SQLite and the disk can do at best.

Run it as ``python -m tests.benchmarks.bench_store [DIRECTORY]`` on the disk in question. The
limit of recording is a bare loop of ``sqlite3``: the same tables, indexes and rows, as many in a
transaction, ``executemany`` for each table and one fsync. It fails where a limit is missed.
"""

import asyncio
import gc
import os
import sqlite3
import statistics
import sys
import tempfile
import time
from pathlib import Path

import anyio

from monitor.clock import SystemClock
from monitor.stores import sqlite
from monitor.stores.store import open_store
from tests.contracts.store_examples import T0, SettableClock, entry

JOBS = 2_000
SEQUENCES = 8
ROUNDS = 3
GROUP = 2_000
"""Entries of one commit: as many as wait, where each job waits for its own."""
LEAST_RATIO = 0.2
"""Of the bare loop's transitions a second of CPU."""
LONGEST_LAG = 0.05
"""Seconds of work that the loop may have before a timer, in 99 of 100 cases."""
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


def bare(source, directory):
    """Write the rows of the store ``source`` again; return seconds, and seconds of CPU, of it."""
    path = directory / "bare.db"
    path.unlink(missing_ok=True)
    with sqlite3.connect(source) as store:
        made = [sql for (sql,) in store.execute("SELECT sql FROM sqlite_master WHERE sql NOTNULL")]
        rows = {
            table: store.execute(f"SELECT * FROM {table} ORDER BY 1").fetchall()
            for table in ("jobs", "transitions", "deliveries")
        }
    store.close()
    connection = sqlite3.connect(path, isolation_level=None)
    pragmas = ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON", *sqlite.WRITER)
    for pragma in pragmas:
        connection.execute(f"PRAGMA {pragma}")
    for statement in made:
        if "sqlite_sequence" not in statement:
            connection.execute(statement)
    many = {table: f"VALUES ({','.join('?' * len(some[0]))})" for table, some in rows.items()}
    started, used = time.perf_counter(), time.process_time()
    for start in range(0, JOBS * SEQUENCES, GROUP):
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany(f"INSERT OR REPLACE INTO jobs {many['jobs']}", rows["jobs"])
        for table in ("transitions", "deliveries"):
            some = rows[table][start : start + GROUP]
            connection.executemany(f"INSERT INTO {table} {many[table]}", some)
        connection.execute("COMMIT")
    spent = time.perf_counter() - started, time.process_time() - used
    connection.close()
    return spent


async def recorded(directory):
    """Record changes of all jobs, each as fast as it is durable; return seconds, CPU and lags."""
    path = directory / "recorded.db"
    lags: list[tuple[float, float]] = []
    commits: list[float] = []
    for old in directory.glob("recorded.db*"):
        old.unlink()

    async def follow(store, entries):
        for one in entries:
            await store.record(one)

    async def watch_lag():
        while True:
            began, busy = time.perf_counter(), time.thread_time()
            await asyncio.sleep(0.005)
            late = time.perf_counter() - began - 0.005
            # On a busy machine a loop is late without any work of its own.
            lags.append((late, min(late, time.thread_time() - busy)))

    text = {"JobType": "NODE_PACKAGE_VERSION", "StatusMessage": "x" * 100}
    made = [
        [entry(job, sequence, fields=text) for sequence in range(1, SEQUENCES + 1)]
        for job in range(JOBS)
    ]
    gc.collect()
    gc.freeze()
    async with open_store(f"sqlite://{path}", SystemClock(), commits.append) as store:
        watching = asyncio.create_task(watch_lag())
        started, used = time.perf_counter(), time.process_time()
        async with anyio.create_task_group() as tasks:
            for entries in made:
                tasks.start_soon(follow, store, entries)
        spent = time.perf_counter() - started, time.process_time() - used
        watching.cancel()
    gc.unfreeze()
    return (*spent, lags, len(commits))


async def against_bare(directory):
    """Print recording against the bare loop; return what was missed."""
    walls, costs, rates, lags = [], [], [], []
    for _ in range(ROUNDS):
        wall, cpu, some, commits = await recorded(directory)
        bare_wall, bare_cpu = bare(directory / "recorded.db", directory)
        walls.append(bare_wall / wall)
        costs.append(bare_cpu / cpu)
        rates.append((JOBS * SEQUENCES / wall, JOBS * SEQUENCES / cpu))
        lags.append([sorted(each)[len(some) * 99 // 100] for each in zip(*some, strict=True)])
    wall_rate, cpu_rate = (statistics.median(each) for each in zip(*rates, strict=True))
    late, lag = (statistics.median(each) for each in zip(*lags, strict=True))
    cost = statistics.median(costs)
    rows = {
        f"durable transitions a second ({commits} commits)": f"{wall_rate:,.0f}",
        "the same, for each second of CPU": f"{cpu_rate:,.0f}",
        "against a bare executemany loop, by the clock": f"{statistics.median(walls):.2f}",
        "against a bare executemany loop, by CPU": f"{cost:.2f}",
        "lag of the event loop meanwhile, p99, ms": f"{late * 1000:.1f}",
        "work of the loop in that, p99, ms": f"{lag * 1000:.1f}",
    }
    lines = [f"| {JOBS:,} jobs, {JOBS * SEQUENCES:,} transitions | |", "|---|---:|"]
    lines += [f"| {name} | {value} |" for name, value in rows.items()]
    sys.stdout.write("\n".join(lines) + "\n\n")
    limits = {
        f"fewer than {LEAST_RATIO} of the bare loop's transitions": cost >= LEAST_RATIO,
        f"the loop had more work at once than {LONGEST_LAG * 1000:.0f} ms": lag <= LONGEST_LAG,
    }
    return [name for name, held in limits.items() if not held]


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
    """Measure, print three tables, and return what was missed."""
    missed = await against_bare(directory)
    syncs, naive = fsync_rate(directory), naive_rate(directory)
    commits: list[float] = []
    async with open_store(
        f"sqlite://{directory}/store.db", SettableClock(), commits.append
    ) as store:
        alone = await record_rate(store, 0, NAIVE, 1)
        commits.clear()
        grouped = await record_rate(store, NAIVE, PENDING - NAIVE, CALLERS)
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
        f"record(), {CALLERS} callers ({PENDING - NAIVE:,} in {len(commits)} commits)": grouped,
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
    return missed


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(dir=sys.argv[1] if sys.argv[1:] else None) as made:
        failures = anyio.run(main, Path(made))
    if failures:
        sys.exit("Missed: " + "; ".join(failures))
