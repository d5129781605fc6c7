"""Memory and CPU of a daemon that polls 504 sources: 84 accounts in six regions.

``bench_sources.py [ACCOUNTS]``. Ends with 1 where memory, the time until it is ready, or the CPU
of a scrape is more than it may be.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from tests.benchmarks.parts import IDS, Daemon, daemon, simulated

if TYPE_CHECKING:
    from collections.abc import Callable

REGIONS = ("us-east-1", "us-east-2", "us-west-2", "eu-west-1", "eu-central-1", "ap-southeast-2")
MOST_MEMORY = 250.0
"""MiB of resident memory after the first polls."""
MOST_READY = 5.0
"""Seconds of CPU until it is ready."""
MOST_SCRAPE = 0.100
"""Seconds of CPU of a scrape."""
FIRST_POLLS = 120.0
"""Seconds within which each source has had its first poll, on a busy machine."""
ROUNDS, REST = 9, 5.0


def settings(url: str, accounts: int) -> dict[str, Any]:
    """Return a configuration of so many accounts, with one job in each region."""
    names = [f"account-{number}" for number in range(accounts)]
    return {
        "accounts": {name: {"endpoint_urls": {"panorama": url}} for name in names},
        "log": {"level": "error"},
        "watches": [
            {
                "name": name,
                "type": "panorama.package-import",
                "account": name,
                "regions": list(REGIONS),
                "jobs": [IDS[number]],
                "interval": "30s",
            }
            for number, name in enumerate(names)
        ],
    }


def polled(one: Daemon) -> int:
    """Return how many jobs have had their first poll."""
    jobs = orjson.loads(one.get("/api/v1/jobs?limit=1&phase=running&phase=waiting"))
    return int(jobs["total"])


def main() -> None:
    accounts = int(sys.argv[1]) if len(sys.argv) > 1 else 84
    sources = accounts * len(REGIONS)
    with (
        tempfile.TemporaryDirectory() as made,
        simulated(Path(made), REGIONS) as url,
        daemon(Path(made), settings(url, accounts)) as one,
    ):
        ready, end = one.memory, time.monotonic() + FIRST_POLLS
        while polled(one) < sources and time.monotonic() < end:
            time.sleep(1)
        rest = _spent(one, partial(time.sleep, REST), 0.0) / REST
        scrape = statistics.median(
            _spent(one, partial(one.get, "/metrics"), rest) for _ in range(ROUNDS)
        )
        memory = one.memory
        lines = [
            f"| {sources} sources, {polled(one)} polled | |",
            "|---|---:|",
            f"| memory when ready | {ready:.0f} MiB |",
            f"| memory after the first polls | {memory:.0f} MiB |",
            f"| CPU until ready | {one.ready_cpu:.1f} s |",
            f"| CPU of a scrape | {scrape * 1e3:.0f} ms |",
        ]
        sys.stdout.write("\n".join(lines) + "\n")
        fits = memory <= MOST_MEMORY and scrape <= MOST_SCRAPE
    sys.exit(not (fits and one.ready_cpu <= MOST_READY))


def _spent(one: Daemon, call: Callable[[], object], rest: float) -> float:
    """Return the CPU that a call takes, without the ``rest``: what polls take a second."""
    before, began = one.cpu, time.monotonic()
    call()
    return one.cpu - before - rest * (time.monotonic() - began)


if __name__ == "__main__":
    main()
