"""The whole daemon on unchanged answers, against a naive loop of the SDK, and at rest.

The daemon is a process of its own on one core, with its store, metrics and page; the server stands
on another. Polls are counted by the daemon, and its CPU by the kernel. The naive loop runs before
and after it on the same core. Ends with 1 where a limit is missed.
"""

from __future__ import annotations

import asyncio
import os
import re
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from monitor.config import Account
from tests.benchmarks.bench_polls import REGION, naive, naive_rate, server
from tests.benchmarks.parts import Daemon, daemon
from tests.benchmarks.steady_server import ROWS

if TYPE_CHECKING:
    from collections.abc import Mapping

JOBS, WINDOWS, WINDOW = 4_000, 5, 4.0
"""Jobs that are polled each second, at least, how often that is measured, and for how many seconds.
The median counts: on a virtual machine, others take the core now and then."""
BUSY = 6
"""Jobs for each poll that the naive loop makes in a second of CPU: on a fast machine, few jobs
would leave the core idle most of the time, and its caches cold. So they take a quarter or more."""
WARM = 3
"""Polls of each job after which all are prepared, and none is overdue from the start."""
PATIENCE = 180.0
RESTING, REST = 10_000, 60.0
"""Jobs that are polled each minute, and the seconds for which that is measured."""
MOST_AT_REST = 0.03
"""Part of a core."""
LEAST = {
    ("describe", "http"): 18.0,
    ("describe", "https"): 11.0,
    ("GetStatus", "http"): 14.0,
    ("list page", "http"): 25.0,
}
"""Ratio of polls for each second of CPU to the naive loop's."""
MOST_LATE, MOST_LAG = 0.1, 0.05
"""Seconds, at the 99th percentile, for the lateness of polls and the lag of the event loop."""
KINDS = {
    "describe": "panorama.package-import",
    "GetStatus": "importexport.job",
    "list page": "panorama.package-import",
}
PAGES, BUSY_PAGES = 400, 0.7
"""Pages of the listing, at least, and for each that the naive loop gets in a second of CPU. Each is
polled once a second."""
REQUESTS = {
    "describe": "DescribePackageImportJob",
    "GetStatus": "GetStatus",
    "list page": "ListPackageImportJobs",
}


def settings(url: str, operation: str, jobs: int, interval: str) -> dict[str, Any]:
    """Return a configuration that watches so many jobs."""
    kind = KINDS[operation]
    service = kind.partition(".")[0]
    return {
        "accounts": {"bench": {"endpoint_urls": {service: url}}},
        "quotas": {service: {"rate": 100_000, "burst": 100_000}},
        "watches": [
            {
                "name": "bench",
                "type": kind,
                "account": "bench",
                "regions": [REGION],
                "interval": interval,
                **(
                    {"discover": True}
                    if operation == "list page"
                    else {"jobs": [f"job-{number}" for number in range(jobs)]}
                ),
            }
        ],
        "sinks": {"audit": {"type": "log"}},
    }


def polls(one: Daemon, operation: str) -> float:
    """Return how many requests were answered."""
    name = REQUESTS[operation].encode()
    line = rb'job_monitor_aws_requests_total\{.*operation="%b".*outcome="ok".*\} (\S+)' % name
    found = re.findall(line, one.get("/metrics"))
    return sum(map(float, found))


def flat_out(one: Daemon, operation: str, jobs: int) -> tuple[float, float, float, float]:
    """Return polls for each second of CPU and of the clock, lateness and lag."""
    until, enough = time.monotonic() + PATIENCE, float(WARM * jobs)
    if operation == "list page":
        # Until then each of its jobs is described once.
        while polls(one, "describe") < jobs and time.monotonic() < until:
            time.sleep(0.5)
        enough = polls(one, operation) + WARM * jobs // ROWS
    while polls(one, operation) < enough:
        if time.monotonic() > until:
            raise SystemExit("the daemon is too slow to be measured")
        time.sleep(0.5)
    names = ("poll_lateness_seconds", "event_loop_lag_seconds")
    before, rates = [one.buckets(name) for name in names], []
    for _ in range(WINDOWS):
        count, cpu, began = polls(one, operation), one.cpu, time.perf_counter()
        time.sleep(WINDOW)
        cpu, took = one.cpu - cpu, time.perf_counter() - began
        count = polls(one, operation) - count
        rates.append((count / cpu, count / took))
    late, lag = (
        percentile(old, one.buckets(name)) for old, name in zip(before, names, strict=True)
    )
    by_cpu, by_clock = map(statistics.median, zip(*rates, strict=True))
    return by_cpu, by_clock, late, lag


def percentile(before: Mapping[float, float], after: Mapping[float, float]) -> float:
    """Return the least bound below which 99 of 100 new values are."""
    new = {bound: after[bound] - before[bound] for bound in after}
    return min(bound for bound, count in new.items() if count >= 0.99 * max(new.values()))


async def naive_polls(url: str, operation: str) -> float:
    """Return the polls for each second of CPU of a loop around one client of the SDK."""
    account = Account(endpoint_urls={"panorama": url, "importexport": url})
    async with naive(account, operation) as poll:
        await naive_rate(poll)  # what is slow once
        return statistics.median([await naive_rate(poll) for _ in range(3)])


def pages(url: str) -> int:
    """Return the pages of a listing that take about as much of any core."""
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})
    rate = asyncio.run(naive_polls(url, "list page"))
    os.sched_setaffinity(0, cores)
    return max(PAGES, round(BUSY_PAGES * rate))


def measure(url: str, operation: str, listed: int, lines: list[str], missed: list[str]) -> None:
    """Measure one operation, of so many ``listed`` jobs; add a line, and what was missed."""
    first, *_, last = cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {first})
    base = [asyncio.run(naive_polls(url, operation))]
    jobs = listed if operation == "list page" else max(JOBS, round(BUSY * base[0]))
    with (
        tempfile.TemporaryDirectory() as directory,
        daemon(Path(directory), settings(url, operation, jobs, "1s")) as one,
    ):
        os.sched_setaffinity(0, {last})
        rate, wall, late, lag = flat_out(one, operation, jobs)
    os.sched_setaffinity(0, {first})
    base.append(asyncio.run(naive_polls(url, operation)))
    os.sched_setaffinity(0, cores)
    ratio, scheme = rate / statistics.mean(base), url.partition(":")[0]
    lines.append(
        f"| {operation} | {scheme} | {statistics.mean(base):,.0f} | {rate:,.0f} | {ratio:.1f} |"
        f" {wall:,.0f} | {late * 1000:.0f} | {lag * 1000:.0f} |"
    )
    least = LEAST.get((operation, scheme), 0.0)
    if ratio < least:
        missed.append(f"{operation} over {scheme}: ratio below {least:.0f}")
    # A page is due as soon as the one before has come, so it is always late.
    if (late > MOST_LATE and operation != "list page") or lag > MOST_LAG:
        missed.append(f"{operation} over {scheme}: late by {late:.3f} s, lag {lag:.3f} s")


def at_rest(url: str) -> float:
    """Return the part of a core that many jobs with a long interval take."""
    with (
        tempfile.TemporaryDirectory() as directory,
        daemon(Path(directory), settings(url, "describe", RESTING, f"{REST:.0f}s")) as one,
    ):
        until = time.monotonic() + 3 * PATIENCE
        while polls(one, "describe") < WARM * RESTING and time.monotonic() < until:
            time.sleep(1)
        cpu, began = one.cpu, time.perf_counter()
        time.sleep(REST)
        return (one.cpu - cpu) / (time.perf_counter() - began)


def main() -> None:
    os.environ.update(AWS_ACCESS_KEY_ID="AKIAIOSFODNN7EXAMPLE", AWS_SECRET_ACCESS_KEY="bench")
    missed: list[str] = []
    head = (
        "poll",
        "over",
        "naive /CPU-s",
        "daemon /CPU-s",
        "ratio",
        "polls/s",
        "late, ms",
        "lag, ms",
    )
    lines = [f"| {' | '.join(head)} |", "|---|---|---:|---:|---:|---:|---:|---:|"]
    rest = 0.0
    with tempfile.TemporaryDirectory() as directory, server(Path(directory), tls=False) as url:
        listing = pages(url)
    for scheme in ("http", "https"):
        with (
            tempfile.TemporaryDirectory() as directory,
            server(Path(directory), tls=scheme == "https", pages=listing) as url,
        ):
            os.environ["AWS_CA_BUNDLE"] = f"{directory}/server.pem"
            for operation in KINDS:
                measure(url, operation, listing * ROWS, lines, missed)
            if scheme == "http":
                rest = at_rest(url)
    lines += ["", f"{RESTING:,} jobs, each polled once a minute: {rest:.1%} of a core."]
    sys.stdout.write("\n".join(lines) + "\n")
    if rest > MOST_AT_REST:
        missed.append("the daemon at rest")
    if missed:
        sys.exit(f"missed: {'; '.join(missed)}")


if __name__ == "__main__":
    main()
