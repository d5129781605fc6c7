"""CPU of one GET of /metrics with 10,000 followed jobs, and of each series of a job.

Asked over a socket, with the asking counted in: the cost is that of the whole process. The jobs
stand in real pollers; the baseline is what prometheus_client takes for a gauge of its own.
Ends with 1 where the default takes longer than it may.
"""

from __future__ import annotations

import statistics
import sys
import time
from datetime import UTC, datetime, timedelta
from random import Random
from types import SimpleNamespace
from typing import Any

import aiohttp
import anyio
from prometheus_client import CollectorRegistry, Gauge

from monitor import config
from monitor.clock import SystemClock
from monitor.metrics import JOBS as PLACE
from monitor.metrics import Metrics
from monitor.model import Ending, Job, Phase, Severity, Snapshot, SourceKey
from monitor.polling.job_collector import JobCollector
from monitor.polling.poller import Poller
from monitor.polling.quota import Quota
from monitor.polling.scheduled_job import PollOptions, ScheduledJob
from monitor.recording.diff import TrackingOptions
from monitor.recording.recorder import Recorder
from monitor.recording.router import Router
from monitor.sources import loader
from monitor.web.app import create_app
from monitor.web.server import serving

JOBS, ROUNDS = 10_000, 9
LIMIT = 0.100
"""Seconds of CPU that the default may take."""
REGIONS = ("us-east-1", "us-west-2", "eu-west-1")
TYPE = loader.load_job_types(None)["panorama.package-import"]
UNUSED: Any = None
"""Stands for what no scrape asks for anything."""
STATES = (("PENDING", Phase.RUNNING), ("SUCCEEDED", Phase.SUCCEEDED), ("FAILED", Phase.FAILED))


def main() -> None:
    figures = anyio.run(measure)
    default, bare, single, gauge = figures.values()
    lines = ["| GET /metrics, 10,000 jobs | CPU, ms | series | µs each |", "|---|---:|---:|---:|"]
    for name, (seconds, series) in figures.items():
        each = seconds / series * 1e6
        lines.append(f"| {name} | {seconds * 1e3:,.0f} | {series:,} | {each:.1f} |")
    ours = (single[0] - default[0]) / (single[1] - default[1])
    theirs = (gauge[0] - bare[0]) / (gauge[1] - bare[1])
    lines.append(f"\nOne more series of a job costs {ours / theirs:.2f} of one of a gauge.")
    verdict = "within" if default[0] < LIMIT else "BEYOND"
    lines.append(f"The default is {verdict} its {LIMIT * 1e3:.0f} ms of CPU.")
    sys.stdout.write("\n".join(lines) + "\n")
    sys.exit(default[0] >= LIMIT)


async def measure() -> dict[str, tuple[float, int]]:
    """Return seconds of CPU and series by case."""
    clock, pollers = SystemClock(), followed()
    gauges = totals()
    gauge = Gauge("bench", "One series for each job.", (*PLACE, "id"), registry=gauges)
    for job in jobs():
        gauge.labels(job.type, job.account, job.region, job.id).set(1)
    return {
        "by default": await asked(shown(pollers, config.MetricsSettings(), clock)),
        "no job at all": await asked(totals()),
        "each job by itself": await asked(
            shown(pollers, config.MetricsSettings(per_job=True, max_jobs=JOBS), clock)
        ),
        "no job, a gauge with 10,000 series": await asked(gauges),
    }


def totals() -> CollectorRegistry:
    """Everything but the jobs, as of a daemon with one watch in three regions and two sinks."""
    registry = CollectorRegistry()
    metrics = Metrics(registry, "bench")
    for region in REGIONS:
        metrics.expect_jobs(TYPE.name, "prod", region)
        operations = ["DescribePackageImportJob", "ListPackageImportJobs"]
        metrics.expect_source(SourceKey("panorama", "prod", region), operations)
    for sink in ("ops", "audit"):
        metrics.expect_sink(sink)
    return registry


def shown(
    pollers: list[Poller], settings: config.MetricsSettings, clock: SystemClock
) -> CollectorRegistry:
    registry = totals()
    places = {(TYPE.name, "prod", region) for region in REGIONS}
    everyone = lambda: (job for poller in pollers for job in poller.watched())  # noqa: E731
    registry.register(JobCollector(places, everyone, settings, clock, clock.now))
    return registry


def jobs() -> list[Job]:
    return [Job(TYPE.name, "prod", REGIONS[n % 3], f"PackageImportJob-{n}") for n in range(JOBS)]


def followed() -> list[Poller]:
    """Pollers that follow the jobs, which have all been seen; they do not run."""
    clock, metrics = SystemClock(), Metrics(CollectorRegistry(), "bench")
    store: Any = SimpleNamespace(archive=UNUSED, last_commit=None, store_time=clock.now)
    recorder = Recorder(store, Router((), ()), lambda _entry, _before: None)
    pollers = {}
    for region in REGIONS:
        key = SourceKey("panorama", "prod", region)
        quota = Quota(2, 5, clock.monotonic())
        pollers[region] = Poller(key, quota, recorder, metrics, clock, Random(1))
    follow = TrackingOptions(TYPE, {"team": "bench"}, None, "bench")
    for number, job in enumerate(jobs()):
        recorder.adopt(snapshot(job, *STATES[number % 3]))
        pollers[job.region].follow(ScheduledJob(job, PollOptions(UNUSED, follow, 30.0, 3600.0)))
    return list(pollers.values())


def snapshot(job: Job, state: str, phase: Phase) -> Snapshot:
    now = datetime.now(UTC)
    ended = phase.terminal
    return Snapshot(
        job=job,
        parts={"Status": state},
        state=state,
        phase=phase,
        severity=Severity.INFO,
        ending=Ending.FINAL if ended else Ending.OPEN,
        fields={},
        reason=None,
        updated_at=now,
        sequence=1,
        first_seen_at=now - timedelta(hours=1),
        changed_at=now,
        looked_at=now,
        ended_at=now if ended else None,
    )


async def asked(registry: CollectorRegistry) -> tuple[float, int]:
    """Return the median of the CPU of some scrapes, and how many series there are."""
    store: Any = SimpleNamespace(outage=None)
    app = create_app(
        registry=registry, health=UNUSED, store=store, configured=lambda: True, version="bench"
    )
    spent, text = [], ""
    async with serving(app, "127.0.0.1", 0) as url, aiohttp.ClientSession() as session:
        for _ in range(ROUNDS):
            started = time.process_time()
            async with session.get(f"{url}/metrics") as response:
                body = await response.read()
            spent.append(time.process_time() - started)
            text = body.decode()
    series = sum(not line.startswith("#") for line in text.splitlines())
    return statistics.median(spent), series


if __name__ == "__main__":
    main()
