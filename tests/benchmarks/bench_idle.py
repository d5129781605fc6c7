"""Memory of a daemon that watches a thousand jobs at rest, and how long it takes to be ready.

The real process beside a simulator: once on an empty store, once with all jobs known. Ends with 1
where memory or the time is more than it may be.
"""

from __future__ import annotations

import re
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from signal import SIGTERM
from typing import Any

import anyio

from monitor import simulator
from tests.acceptance import ledger
from tests.acceptance.program import configure, fetch, packages, running, until

JOBS = 1000
MOST_MEMORY = 120e6 / 2**20
"""MiB (120 MB) of resident memory at its highest, the mapped files that could go counted in."""
MOST_SECONDS = 3.0
"""From the start of the process until ``/-/ready`` says yes."""
REST = 10.0
"""Seconds for which it is left alone before its memory is read."""


@dataclass(frozen=True, slots=True)
class Life:
    """What one life of the daemon took; memory in MiB."""

    ready: float
    own: float
    resident: float
    highest: float


async def live(config: Path, directory: Path) -> Life:
    """Run the daemon until all jobs are known, and for a while longer."""
    started = time.perf_counter()
    # As in the container and the systemd unit, and with the authorities that tests leave out.
    usual = {"MALLOC_ARENA_MAX": "1", "SSL_CERT_FILE": None}
    async with running("run", "-c", config, directory=directory, anew=True, **usual) as program:
        url = await program.started()
        while (await fetch(f"{url}/-/ready"))[0] != 200:  # noqa: ASYNC110 -- another process brings it about
            await anyio.sleep(0.02)
        ready = time.perf_counter() - started
        await until(lambda: len(ledger.transitions(directory / "state.db")) == JOBS)
        await anyio.sleep(REST)
        memory = _memory(program.process.pid)
        code, _ = await program.stop(SIGTERM)
        if code:
            raise SystemExit(program.err)
    return Life(ready, memory["RssAnon"], memory["VmRSS"], memory["VmHWM"])


def _memory(pid: int) -> dict[str, float]:
    status = Path(f"/proc/{pid}/status").read_text()
    return {name: int(kib) / 1024 for name, kib in re.findall(r"(\w+):\s+(\d+) kB", status)}


async def main(directory: Path) -> bool:
    """Measure, and print a table; return whether both limits were kept."""
    jobs = [{"id": f"job-{number}", "service": "panorama"} for number in range(JOBS)]
    scenario: dict[str, Any] = {"jobs": jobs}
    async with simulator.running(scenario) as sim:
        config = configure(directory, sim, watches=[packages(interval="30s")], sinks={})
        lives = {
            "first start, empty store": await live(config, directory),
            "restart, all jobs known": await live(config, directory),
        }
    lines = [
        "| start | ready (s) | own memory (MiB) | resident (MiB) | highest (MiB) |",
        "|---|---:|---:|---:|---:|",
    ]
    for name, one in lives.items():
        sizes = f"{one.own:.0f} | {one.resident:.0f} | {one.highest:.0f}"
        lines.append(f"| {name} | {one.ready:.1f} | {sizes} |")
    lines += [
        "",
        f"{JOBS:,} jobs; at most {MOST_SECONDS:.0f} s and {MOST_MEMORY:.1f} MiB resident.",
    ]
    sys.stdout.write("\n".join(lines) + "\n")
    return all(one.ready <= MOST_SECONDS and one.highest <= MOST_MEMORY for one in lives.values())


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as made:
        sys.exit(0 if anyio.run(main, Path(made)) else 1)
