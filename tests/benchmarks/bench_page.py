"""How long the page's first load takes the server, with ten thousand jobs.

Run it as ``python -m tests.benchmarks.bench_page``. It ends with 1 where the limit is missed.
"""

import sys
import tempfile
import time
from pathlib import Path
from random import Random

import aiohttp
import anyio
from prometheus_client import CollectorRegistry

from monitor.metrics import Metrics
from monitor.model import Phase
from monitor.polling.poller import Poller
from monitor.polling.quota import Quota
from monitor.polling.scheduled_job import PollOptions, ScheduledJob
from monitor.recording.recorder import Recorder
from monitor.recording.router import Router
from monitor.stores.store import open_store
from tests.builders import SOURCE, ScriptedSource, VirtualClock, following
from tests.page_kit import FixedClock, Live, entry, followed, showing

JOBS = 10_000
LIMIT = 1.0
"""Seconds that the first load may take."""
ROUNDS = 10
CALLERS = 200
_PHASES = (*[Phase.SUCCEEDED] * 6, Phase.RUNNING, Phase.RUNNING, Phase.WAITING, Phase.FAILED)
PLACES = {
    "/, the first load": "/",
    "/, a page in the middle": "/?page=100",
    "/, filtered by text": "/?q=job-77",
    "/, filtered by phase and label": "/?phase=running&label=team%3Dvision",
    "one job": "/job?key=panorama.package-import/prod/us-east-1/job-77",
}


def jobs():
    """Return jobs of all phases, a third of which have had four transitions."""
    teams = [{"team": name, "env": "prod"} for name in ("vision", "storage", "video")]
    return [
        followed(
            number,
            _PHASES[number % len(_PHASES)],
            changed=float(number),
            sequence=4 if number % 3 == 0 else 1,
            labels=teams[number % len(teams)],
            stuck=number % 500 == 1,
        )
        for number in range(JOBS)
    ]


class Watched(Live):
    """Jobs that a real poller follows, though it does not run."""

    def __init__(self, known, ledger):
        super().__init__(known)
        clock, registry = FixedClock(), CollectorRegistry()
        recorder = Recorder(ledger, Router([], ["ops"]), lambda _entry, _before: None)
        quota = Quota(2.0, 5, clock.monotonic())
        metrics = Metrics(registry, "0")
        self.poller = Poller(SOURCE, quota, recorder, metrics, clock, Random(7))
        kind = ScriptedSource(VirtualClock())
        for one in known:
            recorder.adopt(one.snapshot)
            told = following(labels=one.labels)
            self.poller.follow(ScheduledJob(one.job, PollOptions(kind, told, 30.0, 3600.0)))

    def jobs(self):
        return self.poller.watched()


async def record_all(ledger, known):
    """Write the history of every job into the ledger."""

    async def record(some):
        for one in some:
            await ledger.record(entry(one))

    async with anyio.create_task_group() as tasks:
        for caller in range(CALLERS):
            tasks.start_soon(record, known[caller::CALLERS])


async def load(session, path):
    """Load a page; return the seconds until it was there, and its bytes."""
    started = time.perf_counter()
    async with session.get(path) as response:
        response.raise_for_status()
        size = len(await response.read())
    return time.perf_counter() - started, size


async def main(directory):
    """Measure, and print a table; return whether the limit was kept."""
    known = jobs()
    lines = ["| page | first (ms) | median (ms) | HTML (KiB) |", "|---|---:|---:|---:|"]
    async with open_store(f"sqlite://{directory}/state.db", FixedClock()) as ledger:
        await record_all(ledger, known)
        async with (
            showing(Watched(known, ledger), ledger) as url,
            aiohttp.ClientSession(url) as session,
        ):
            first = {}
            for name, path in PLACES.items():
                first[name], size = await load(session, path)
                times = sorted([(await load(session, path))[0] for _ in range(ROUNDS)])
                median = times[ROUNDS // 2]
                lines.append(
                    f"| {name} | {first[name] * 1000:.0f} | {median * 1000:.0f} "
                    f"| {size / 1024:.0f} |"
                )
    slowest = max(first.values())
    lines += ["", f"{JOBS:,} jobs; the limit of a first load is {LIMIT:.0f} s."]
    sys.stdout.write("\n".join(lines) + "\n")
    return slowest <= LIMIT


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as made:
        sys.exit(0 if anyio.run(main, Path(made)) else 1)
