"""Looks per second through the whole daemon path, against a naive loop and the bare wire.

All three ask the same simulator, in a process of its own, for the same jobs on one core:

- bare wire: GET by aiohttp, answers not even parsed: what loopback and HTTP alone permit;
- naive loop: `describe_package_import_job` on one SDK client, answers thrown away;
- the monitor: poller, SDK, checks, allow-list, diff, recorder, SQLite store.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random

import aiohttp
import anyio
import yaml
from prometheus_client import CollectorRegistry

from monitor import config, pacing
from monitor.aws.clients import Clients, Exchange
from monitor.clock import SystemClock
from monitor.metrics import Metrics
from monitor.model import Job, SourceKey
from monitor.poller import Poller
from monitor.recorder import Recorder
from monitor.routes import Router
from monitor.sources import catalogue
from monitor.sources.aws import AwsSource
from monitor.stores.sql import open_store
from monitor.watching import WatchedRegion

JOBS, ROUNDS, TOGETHER = 200, 5, 16
LOOKS = JOBS * ROUNDS
KEY = SourceKey("panorama", "bench", "us-east-1")
IDS = [f"job-{number}" for number in range(JOBS)]


def main() -> None:
    os.environ.update(AWS_ACCESS_KEY_ID="AKIAIOSFODNN7EXAMPLE", AWS_SECRET_ACCESS_KEY="bench")
    with tempfile.TemporaryDirectory() as directory, simulated(Path(directory)) as url:
        figures = anyio.run(measure, url, Path(directory))
    wire = figures["bare wire (no signature, no parsing)"]
    naive = figures["naive SDK loop"]
    lines = ["| path | looks/s | of the wire | against the naive loop |", "|---|---:|---:|---:|"]
    for name, rate in figures.items():
        lines.append(f"| {name} | {rate:,.0f} | {rate / wire:.2f} | {rate / naive:.2f} |")
    sys.stdout.write("\n".join(lines) + "\n")


class simulated:  # noqa: N801 -- reads as the statement it is used in
    """A simulator with many jobs that never change, in its own process."""

    def __init__(self, directory: Path) -> None:
        self.scenario = directory / "scenario.yaml"
        jobs = [{"id": name, "service": "panorama"} for name in IDS]
        self.scenario.write_text(yaml.safe_dump({"keep": 10, "jobs": jobs}))

    def __enter__(self) -> str:
        command = [sys.executable, "-m", "monitor", "simulate", "--scenario", str(self.scenario)]
        self.process = subprocess.Popen(
            [*command, "--listen", "127.0.0.1:4599", "--receiver", "127.0.0.1:0"],
            stdout=subprocess.DEVNULL,
        )
        url = "http://127.0.0.1:4599"
        for _ in range(200):
            try:
                urllib.request.urlopen(f"{url}/_simulator/health", timeout=1).close()
            except OSError:
                time.sleep(0.05)
            else:
                return url
        raise SystemExit("the simulator did not start")

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.wait()


async def measure(url: str, directory: Path) -> dict[str, float]:
    """Return looks per second by path; each path asks LOOKS times, TOGETHER at once."""
    return {
        "bare wire (no signature, no parsing)": await bare(url),
        "naive SDK loop": await naive(url),
        "the monitor": await monitored(url, directory),
    }


async def bare(url: str) -> float:
    async with aiohttp.ClientSession() as session:

        async def ask(name: str) -> None:
            async with session.get(f"{url}/packages/import-jobs/{name}") as answer:
                await answer.read()

        return await rate_of(ask)


async def naive(url: str) -> float:
    async with Clients({"bench": account(url)}) as clients:

        async def ask(name: str) -> None:
            operation, params = "DescribePackageImportJob", {"JobId": name}
            await clients.ask(KEY, operation, params, Exchange())

        await ask(IDS[0])
        return await rate_of(ask)


async def rate_of(ask) -> float:
    names = iter(IDS * ROUNDS)

    async def worker() -> None:
        for name in names:
            await ask(name)

    started = time.perf_counter()
    async with anyio.create_task_group() as tasks:
        for _ in range(TOGETHER):
            tasks.start_soon(worker)
    return LOOKS / (time.perf_counter() - started)


async def monitored(url: str, directory: Path) -> float:
    """Let a poller with a quota that never holds it back look until it has looked often enough."""
    clock, metrics = SystemClock(), Metrics(CollectorRegistry(), "bench")
    async with opened(url, directory, clock) as (store, clients):
        recorder = Recorder(store, Router((), ()), lambda _entry, _before: None)
        quota = pacing.Quota(1e6, 1000, clock.monotonic())
        poller = Poller(KEY, quota, recorder, metrics, clock, Random(1), concurrency=TOGETHER)
        job_type = catalogue.load_job_types(None)["panorama.package-import"]
        source = AwsSource(job_type, "bench", "us-east-1", clients, clock)
        watch = config.Watch.model_validate(
            {"name": "bench", "type": job_type.name, "account": "bench", "jobs": IDS}
        )
        await source.look(Job(job_type.name, "bench", "us-east-1", IDS[0]))
        WatchedRegion(watch, "us-east-1", 0.02, source, poller).begin()
        started = time.perf_counter()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(poller.run)
            while looked(metrics) < LOOKS:  # noqa: ASYNC110 -- a counter has no event
                await anyio.sleep(0.01)
            elapsed, done = time.perf_counter() - started, looked(metrics)
            poller.stop()
        return done / elapsed


def looked(metrics: Metrics) -> float:
    labels = ("panorama", "DescribePackageImportJob", "bench", "us-east-1", "ok")
    return float(metrics.aws_requests.labels(*labels)._value.get())


@asynccontextmanager
async def opened(url: str, directory: Path, clock: SystemClock):
    async with (
        open_store(f"sqlite://{directory}/bench.db", clock) as store,
        Clients({"bench": account(url)}) as clients,
    ):
        yield store, clients


def account(url: str) -> config.Account:
    return config.Account(endpoint_urls={"panorama": url})


if __name__ == "__main__":
    main()
