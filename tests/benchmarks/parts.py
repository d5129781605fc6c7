"""What the benchmarks share: a simulator in a process of its own, and the whole path of a look."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

import anyio
import orjson
import yaml
from prometheus_client import CollectorRegistry

from monitor import config
from monitor.metrics import Metrics
from monitor.model import Job, SourceKey
from monitor.polling.poller import Poller
from monitor.polling.quota import Quota
from monitor.polling.watch import WatchTarget
from monitor.recording.recorder import Recorder
from monitor.recording.router import Router
from monitor.sources import loader
from monitor.sources.aws_source import AwsSource

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping, Sequence

    from monitor.aws.clients import Clients
    from monitor.clock import SystemClock
    from monitor.stores.store import SqlStore

TOGETHER = 16
KEY = SourceKey("panorama", "bench", "us-east-1")
IDS = [f"job-{number}" for number in range(200)]


@contextmanager
def simulated(directory: Path, regions: Sequence[str] = ("us-east-1",)) -> Iterator[str]:
    """Run a simulator of jobs that never change; yield its URL. Credentials are set for it."""
    os.environ.update(AWS_ACCESS_KEY_ID="AKIAIOSFODNN7EXAMPLE", AWS_SECRET_ACCESS_KEY="bench")
    scenario = directory / "scenario.yaml"
    jobs = [
        {"id": name, "service": "panorama", "region": region} for region in regions for name in IDS
    ]
    scenario.write_text(yaml.safe_dump({"keep": 10, "jobs": jobs}))
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    command = [sys.executable, "-m", "monitor", "simulate", "--scenario", str(scenario)]
    process = subprocess.Popen(
        [*command, "--listen", address, "--receiver", "127.0.0.1:0"], stdout=subprocess.DEVNULL
    )
    try:
        _await_health(f"http://{address}")
        yield f"http://{address}"
    finally:
        process.terminate()
        process.wait()


def _await_health(url: str) -> None:
    for _ in range(600):
        try:
            urllib.request.urlopen(f"{url}/_simulator/health", timeout=1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise SystemExit("the simulator did not start")


class Daemon:
    """A daemon in a process of its own, with its files in a directory."""

    def __init__(self, directory: Path, settings: Mapping[str, Any]) -> None:
        """Start it, and wait until it is ready."""
        with socket.create_server(("127.0.0.1", 0)) as free:
            address = f"127.0.0.1:{free.getsockname()[1]}"
        self.url, self.config = f"http://{address}", directory / "config.yaml"
        self.settings = {
            "store": f"sqlite://{directory / 'state.db'}",
            "log": {"level": "warning"},
            **settings,
            "server": {"listen": address},
        }
        self.write()
        command = [sys.executable, "-m", "monitor", "run", "-c", str(self.config)]
        started = time.perf_counter()
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        while True:
            with suppress(OSError):
                urllib.request.urlopen(self.url + "/-/ready", timeout=600).close()
                break
            if self.process.poll() is not None:
                raise SystemExit("the daemon has ended")
            time.sleep(0.01)
        self.ready_after, self.ready_cpu = time.perf_counter() - started, self.cpu

    def write(self) -> None:
        """Write its configuration."""
        self.config.write_bytes(orjson.dumps(self.settings))

    def get(self, path: str) -> bytes:
        """Return the body of a page."""
        with urllib.request.urlopen(self.url + path, timeout=600) as response:
            body: bytes = response.read()
            return body

    @property
    def cpu(self) -> float:
        """Seconds of CPU, of all threads, those that have ended included."""
        # The clock that ``clock_getcpuclockid`` returns, which Python does not offer.
        return time.clock_gettime((~self.process.pid << 3) | 2)

    @property
    def memory(self) -> float:
        """Resident MiB."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.findall(r"VmRSS:\s+(\d+)", status)[0]) / 1024

    def buckets(self, metric: str) -> dict[float, float]:
        """Return a histogram: how many values were at most so large."""
        name = rf'job_monitor_{metric}_bucket\{{le="([^"]+)"\}} (\S+)'.encode()
        return {float(le): float(n) for le, n in re.findall(name, self.get("/metrics"))}


@contextmanager
def daemon(directory: Path, settings: Mapping[str, Any]) -> Iterator[Daemon]:
    """Run a daemon; end it."""
    made = Daemon(directory, settings)
    try:
        yield made
    finally:
        made.process.terminate()
        made.process.wait()


def account(url: str) -> config.Account:
    """The settings of an account that is the simulator's."""
    return config.Account(endpoint_urls={"panorama": url})


class Polling:
    """A poller with a quota that never holds it back, over the SDK and a real store."""

    def __init__(self, store: SqlStore, clients: Clients, clock: SystemClock) -> None:
        self.metrics = Metrics(CollectorRegistry(), "bench")
        recorder = Recorder(store, Router((), ()), lambda _entry, _before: None)
        quota = Quota(1e6, 1000, clock.monotonic())
        self.poller = Poller(
            KEY, quota, recorder, self.metrics, clock, Random(1), concurrency=TOGETHER
        )
        self.job_type = loader.load_job_types(None)["panorama.package-import"]
        self.source = AwsSource(self.job_type, KEY.account, KEY.region, clients, clock)

    async def begin(self) -> None:
        """Do once what is slow once, and follow all jobs."""
        await self.source.describe(Job(self.job_type.name, KEY.account, KEY.region, IDS[0]))
        watch = config.Watch.model_validate(
            {"name": "bench", "type": self.job_type.name, "account": KEY.account, "jobs": IDS}
        )
        WatchTarget(
            watch, KEY.region, 0.02, self.source, self.poller, lambda _job, _parent: None
        ).begin()

    @property
    def looks(self) -> float:
        """How many looks were answered."""
        labels = (KEY.service, "DescribePackageImportJob", KEY.account, KEY.region, "ok")
        return float(self.metrics.aws_requests.labels(*labels)._value.get())

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Poll beside the body."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self.poller.run)
            yield
            self.poller.stop()

    async def rate(self, seconds: float) -> float:
        """Return looks per second over so many seconds; it must be running."""
        before, started = self.looks, time.perf_counter()
        await anyio.sleep(seconds)
        return (self.looks - before) / (time.perf_counter() - started)
