"""The memory of a watched job: what a daemon with many jobs has more than one with few.

Both have polled each job three times, so all that is kept of a job is there: its turn, its prepared
request, and what is known of it. With so many jobs, the caches of the store are full in both. The
jobs differ in their ids alone: what they have in common is kept once. Ends with 1 where the limit
is missed.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path

from tests.benchmarks.bench_daemon import PATIENCE, polls, settings
from tests.benchmarks.bench_polls import server
from tests.benchmarks.parts import daemon

FEW, MANY = 10_000, 30_000
INTERVAL = "20s"
POLLS = 3
MOST = 1_000
"""Bytes for each job."""


def memory(url: str, jobs: int) -> float:
    """Return the MiB of a daemon that has polled so many jobs."""
    with (
        tempfile.TemporaryDirectory() as directory,
        daemon(Path(directory), settings(url, "describe", jobs, INTERVAL)) as one,
    ):
        until = time.monotonic() + 4 * PATIENCE
        while polls(one, "describe") < POLLS * jobs:
            if time.monotonic() > until:
                raise SystemExit("the daemon is too slow to be measured")
            time.sleep(1)
        return one.memory


def main() -> None:
    os.environ.update(AWS_ACCESS_KEY_ID="AKIAIOSFODNN7EXAMPLE", AWS_SECRET_ACCESS_KEY="bench")
    with (
        tempfile.TemporaryDirectory() as directory,
        server(Path(directory), tls=False, pages=1) as url,
    ):
        few, many = memory(url, FEW), memory(url, MANY)
    each = (many - few) * 1024**2 / (MANY - FEW)
    sys.stdout.write(
        f"{FEW:,} jobs: {few:.0f} MiB. {MANY:,} jobs: {many:.0f} MiB.\n"
        f"A watched job: {each:,.0f} bytes (limit {MOST:,}).\n"
    )
    if each > MOST:
        sys.exit("missed: the memory of a watched job")


if __name__ == "__main__":
    main()
