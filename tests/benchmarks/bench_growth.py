"""The cost of history: a daemon on a store with many finished jobs, against one on an empty store.

``bench_growth.py [--jobs 20000] [--transitions 50000] [--directory DIRECTORY] [--no-prune]``. It
prints a table of the CPU of start, scrape, page, lists and commands, and then prunes all
transitions and prints the CPU and the lateness of polls meanwhile. Both daemons run at once, and
each is asked in turn, so that a busy machine slows both down. Ends with 1 where the large
store takes more than twice as much, or where pruning breaks its limits. ``--directory`` keeps the
large store and uses it again.
"""

from __future__ import annotations

import argparse
import itertools
import resource
import signal
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, closing
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio

from monitor import events
from monitor.clock import SystemClock
from monitor.model import Ending, Job, Kind, Phase, Severity, Snapshot, StateAndPhase, Transition
from monitor.stores import rows
from monitor.stores.store import open_store
from tests.benchmarks.parts import IDS, Daemon, daemon, simulated

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

ROUNDS = 25
"""Requests of each kind, to each daemon; commands are run a fifth as often."""
TYPE = "panorama.package-import"
WITHIN = 2.0
"""How much more CPU than with an empty store anything may take."""
LEAST = 0.001
"""Seconds of CPU below which a ratio says nothing."""
PRUNE_CPU = 30e-6
"""Seconds of CPU for each transition that is pruned."""
PRUNE_LATENESS = 0.050
"""Seconds by which pruning may move the 99th percentile of the lateness of polls."""
OLD = timedelta(days=40)
AT_ONCE = 10_000

REQUESTS = {
    "GET /metrics": "/metrics",
    "GET /": "/",
    "GET /, text that no job has": "/?q=nothing-has-this",
    "GET /, phase that no job has": "/?phase=expired",
    "GET /, watch that there is not": "/?watch=nothing",
    "GET /, label that no watch has": "/?label=no%3Dthing",
    "GET jobs": "/api/v1/jobs?limit=100",
    "GET jobs, phase that no job has": "/api/v1/jobs?phase=expired",
    "GET jobs, text that no job has": "/api/v1/jobs?q=nothing-has-this",
    "GET jobs, text of other letters that no job has": "/api/v1/jobs?q=%C3%BCberlauf",
    "GET jobs, state that no job has": "/api/v1/jobs?state=nothing*",
    "GET jobs, watch that there is not": "/api/v1/jobs?watch=nothing",
    "GET jobs, label that no watch has": "/api/v1/jobs?label=no=thing",
    "GET jobs, reason that no job has": "/api/v1/jobs?reason=nothing-has-this",
    "GET jobs, changed a year ago": "/api/v1/jobs?changed_before=365d",
    "GET jobs, newest first": "/api/v1/jobs?sort=-changed_at",
    "GET transitions": "/api/v1/transitions?limit=100",
    "GET transitions, kind that none has": "/api/v1/transitions?kind=job.stuck",
    "GET transitions, of the last hour": "/api/v1/transitions?since=1h",
    "GET transitions, of an unknown job": "/api/v1/transitions?job=nothing",
    "GET deliveries": "/api/v1/deliveries?limit=100",
    "GET deliveries, dead": "/api/v1/deliveries?status=dead",
    "GET deliveries, pending": "/api/v1/deliveries?status=pending",
    "GET deliveries, of an unknown sink": "/api/v1/deliveries?sink=nothing",
    "GET deliveries, of an unknown job": "/api/v1/deliveries?job=nothing",
    "GET sinks": "/api/v1/sinks",
    "GET deliveries, delivered": "/api/v1/deliveries?status=delivered",
    "GET sources": "/api/v1/sources",
}
COMMANDS = (
    "jobs",
    "jobs --phase expired",
    "jobs -q nothing-has-this",
    "transitions list",
    "transitions list --kind job.stuck",
    "transitions list --job nothing",
    "deliveries list",
    "deliveries list --status dead",
    "deliveries list --sink audit --status pending",
    "sinks list",
)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--jobs", type=int, default=20_000)
    parser.add_argument("--transitions", type=int, default=50_000)
    parser.add_argument("--directory", type=Path)
    parser.add_argument("--no-prune", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as made, simulated(Path(made)) as url:
        empty = Path(made) / "empty"
        full = given.directory or Path(made) / "full"
        for directory in (empty, full):
            directory.mkdir(exist_ok=True)
        anyio.run(create, empty)
        if not (full / "state.db").exists():
            anyio.run(create, full)
            fill(full / "state.db", given.jobs, given.transitions)
            archive(full, url)
        before, after = measured((empty, full), url)
        lines = [
            f"| CPU s, {given.jobs:,} jobs, {given.transitions:,} changes | empty | full | ratio |",
            "|---|---:|---:|---:|",
        ]
        lines += [
            f"| {name} | {small:,.3f} | {after[name]:,.3f} | {after[name] / small:.2f} |"
            for name, small in before.items()
        ]
        slow = [name for name, small in before.items() if after[name] > max(LEAST, small) * WITHIN]
        sys.stdout.write("\n".join(lines) + "\n")
        sys.stdout.write(f"\nMore than {WITHIN:.0f} times as much: {', '.join(slow) or 'none'}.\n")
        sys.stdout.flush()
        missed = not given.no_prune and prune(full, url)
    sys.exit(bool(slow) or missed)


async def create(directory: Path) -> None:
    """Make an empty store whose own time began long ago."""
    path = directory / "state.db"
    async with open_store(f"sqlite://{path}", SystemClock()):
        pass
    with closing(sqlite3.connect(path)) as connection, connection:
        began = microseconds(datetime.now(UTC) - 2 * OLD)
        connection.execute("UPDATE ledger SET own_began = ?", (began,))


def microseconds(moment: datetime) -> int:
    return int(moment.timestamp() * 1e6)


def fill(path: Path, jobs: int, transitions: int) -> None:
    """Add finished jobs, and for each of them the same number of old, delivered transitions."""
    each, started = max(1, transitions // jobs), time.perf_counter()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA synchronous = OFF")
        (ledger_id,) = connection.execute("SELECT ledger_id FROM ledger").fetchone()
        at = datetime.now(UTC) - OLD
        names = [f"done-{number:07}" for number in range(jobs)]
        model = finished(Job(TYPE, "bench", "us-east-1", "done-IDENTITY"), at, each)
        row = rows.job_row(model) | {"looked_at": at, "first_seen_at": at, "changed_at": at}
        columns = {
            name: microseconds(value) if isinstance(value, datetime) else value
            for name, value in row.items()
        }
        marks = ", ".join("?" * len(columns))
        texts = [name for name, value in columns.items() if isinstance(value, str)]
        insert(
            connection,
            f"INSERT INTO jobs ({', '.join(columns)}) VALUES ({marks})",
            (
                tuple(
                    str(value).replace("done-IDENTITY", name) if key in texts else value
                    for key, value in columns.items()
                )
                for name in names
            ),
        )
        event = rows.encode(events.cloud_event(change(model), ledger_id))
        own_id, key, when = events.event_id(ledger_id, model.job.key, 1), model.job.key, at
        start, step = microseconds(when), int(3600e6 / max(1, each * jobs))
        numbered = enumerate(itertools.product(range(1, each + 1), names), 1)
        insert(
            connection,
            "INSERT INTO transitions (position, key, sequence, event_id, kind, observed_at, event,"
            " own_recorded) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (
                (
                    position,
                    key.replace("done-IDENTITY", name),
                    sequence,
                    new := f"{position * 2654435761 % 2**32:08x}{own_id[8:-12]}{position:012x}",
                    Kind.STATE_CHANGED.value,
                    start + position * step,
                    event.replace(own_id, new).replace("done-IDENTITY", name),
                    start + position * step,
                )
                for position, (sequence, name) in numbered
            ),
        )
        connection.execute(
            "INSERT INTO deliveries (position, sink, key, status, attempts, created_at,"
            " settled_at, own_created, own_settled) SELECT position, 'audit', key, 'delivered', 1,"
            " observed_at, observed_at, own_recorded, own_recorded FROM transitions"
            " ORDER BY position"
        )
        connection.execute("UPDATE ledger SET position = ?", (each * jobs,))
        connection.commit()
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    size, took = path.stat().st_size / 2**20, time.perf_counter() - started
    sys.stdout.write(f"Filled {size:,.0f} MiB in {took:.0f} s.\n\n")


def archive(directory: Path, url: str) -> None:
    """Start once, as after an upgrade from a version that kept all jobs in memory."""
    with daemon(directory, settings(directory, url, "1h")) as one:
        sys.stdout.write(
            f"The first start took {one.ready_after:.1f} s, {one.ready_cpu:.1f} s of CPU and"
            f" {one.memory:.0f} MiB.\n\n"
        )


def insert(
    connection: sqlite3.Connection, statement: str, made: Iterator[tuple[object, ...]]
) -> None:
    while some := list(itertools.islice(made, AT_ONCE)):
        connection.executemany(statement, some)
        connection.commit()


def finished(job: Job, at: datetime, sequence: int) -> Snapshot:
    return Snapshot(
        job=job,
        parts={"Status": "SUCCEEDED"},
        state="SUCCEEDED",
        phase=Phase.SUCCEEDED,
        severity=Severity.INFO,
        ending=Ending.FINAL,
        fields={"JobType": "NODE_PACKAGE_VERSION", "CreatedTime": "2026-01-01T00:00:00.000Z"},
        reason=None,
        updated_at=at,
        sequence=sequence,
        first_seen_at=at,
        changed_at=at,
        looked_at=at,
        ended_at=at,
        own_changed=at,
        own_ended=at,
    )


def change(after: Snapshot) -> Transition:
    return Transition(
        subject=after.job,
        service="panorama",
        sequence=1,
        kind=Kind.STATE_CHANGED,
        previous=StateAndPhase("PENDING", "running"),
        current=StateAndPhase(after.state, after.phase),
        changes=(),
        after=after.looked_at,
        before=after.looked_at,
        severity=after.severity,
        reason=None,
        occurred_at=after.updated_at,
        fields=after.fields,
        labels={"team": "bench"},
    )


def settings(directory: Path, url: str, interval: str) -> dict[str, Any]:
    """Return a configuration on the store in ``directory``."""
    watch = {"type": TYPE, "account": "bench", "regions": ["us-east-1"]}
    return {
        "accounts": {"bench": {"endpoint_urls": {"panorama": url}}},
        "quotas": {"panorama": {"rate": 100_000, "burst": 100_000}},
        "watches": [
            watch | {"name": "live", "jobs": IDS, "interval": interval},
            watch | {"name": "done", "discover": {"include": ["done-*"]}, "interval": "1h"},
        ],
        "sinks": {"audit": {"type": "log", "path": str(directory / "events.log")}},
        "retention": "365d",
    }


def measured(directories: Sequence[Path], url: str) -> Sequence[dict[str, float]]:
    """Return seconds of CPU, or MiB, by what was done, for each store."""
    with ExitStack() as stack:
        both = [
            stack.enter_context(daemon(each, settings(each, url, "1h"))) for each in directories
        ]
        found = [{"start to ready": one.ready_cpu, "MiB of memory": one.memory} for one in both]
        for one, values in zip(both, found, strict=True):
            values["start to ready, s by the clock"] = one.ready_after
        time.sleep(5)
        calls: list[tuple[Callable[[], float], Callable[[], object]]]
        for name, path in REQUESTS.items():
            calls = [(partial(cpu_of, one), partial(one.get, path)) for one in both]
            for values, seconds in zip(found, spent(calls, ROUNDS), strict=True):
                values[name] = seconds
        for one, values in zip(both, found, strict=True):
            values["MiB of memory after that"] = one.memory
        for words in COMMANDS:
            command = [sys.executable, "-m", "monitor", *words.split(), "-c"]
            calls = [(children, partial(run, [*command, str(one.config)])) for one in both]
            for values, seconds in zip(found, spent(calls, ROUNDS // 5), strict=True):
                values[f"job-monitor {words}"] = seconds
    return found


def cpu_of(one: Daemon) -> float:
    return one.cpu


def run(command: Sequence[str]) -> None:
    subprocess.run(command, capture_output=True, check=True)


def children() -> float:
    return sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2])


def spent(
    calls: Sequence[tuple[Callable[[], float], Callable[[], object]]], rounds: int
) -> Sequence[float]:
    """Return the median of the CPU of each call; they take turns, and begin with a warm-up."""
    found: list[list[float]] = [[] for _ in calls]
    for _ in range(rounds + 1):
        for (cpu, call), taken in zip(calls, found, strict=True):
            before = cpu()
            call()
            taken.append(cpu() - before)
    return [statistics.median(taken[1:]) for taken in found]


def _rest() -> bool:
    time.sleep(20)
    return True


def prune(directory: Path, url: str) -> bool:
    """Prune all transitions; print what it cost, and return whether that was too much."""
    path = directory / "state.db"
    with daemon(directory, settings(directory, url, "2s")) as one:
        time.sleep(5)
        usual, quiet = usage(one, _rest)
        with closing(sqlite3.connect(path)) as connection:
            left = "SELECT count(*) FROM (SELECT 1 FROM transitions WHERE own_recorded < ? LIMIT 1)"
            many = "SELECT count(*) FROM transitions WHERE own_recorded < ?"
            until = (microseconds(datetime.now(UTC) - OLD / 2),)
            one.settings["retention"] = "30d"
            one.write()
            one.process.send_signal(signal.SIGHUP)
            # To read a configuration again has its own price, which is not that of pruning.
            time.sleep(5)
            (before,) = connection.execute(many, until).fetchone()

            def ended() -> bool:
                time.sleep(0.5)
                return not connection.execute(left, until).fetchone()[0]

            busy, late = usage(one, ended)
            quiet = max(quiet, usage(one, _rest)[1])
        memory = one.memory
    own = busy["cpu"] - usual["cpu"] / usual["wall"] * busy["wall"]
    moved = late - quiet
    sys.stdout.write(
        f"\nPruning {before:,} transitions took {busy['wall']:.0f} s, and {own:.1f} s of CPU "
        f"({own / before * 1e6:.1f} s for a million). Lateness p99 of polls went from "
        f"{quiet * 1e3:.0f} to {late * 1e3:.0f} ms. {memory:.0f} MiB of memory.\n"
    )
    return own > before * PRUNE_CPU or moved > PRUNE_LATENESS


def usage(one: Daemon, ended: Callable[[], bool]) -> tuple[Mapping[str, float], float]:
    """Return seconds of CPU and of time until something has ended, and the lateness p99."""
    started, cpu, before = time.perf_counter(), one.cpu, one.buckets("poll_lateness_seconds")
    while not ended():
        pass
    spent = {"cpu": one.cpu - cpu, "wall": time.perf_counter() - started}
    counts = {le: many - before[le] for le, many in one.buckets("poll_lateness_seconds").items()}
    total, low, below = counts[max(counts)], 0.0, 0.0
    for le, many in sorted(counts.items()):
        if many >= 0.99 * total:
            top = low if le == float("inf") else le
            return spent, low + (top - low) * (0.99 * total - below) / max(many - below, 1e-9)
        low, below = le, many
    return spent, low


if __name__ == "__main__":
    main()
