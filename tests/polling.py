"""A poller over a scripted source and a real store, in virtual time."""

from __future__ import annotations

from contextlib import asynccontextmanager
from random import Random
from typing import TYPE_CHECKING, Any, TypeVar

import anyio
from prometheus_client import CollectorRegistry

from monitor.config import Discover, Route
from monitor.metrics import Metrics
from monitor.polling.poller import Poller
from monitor.polling.quota import Quota
from monitor.polling.schedule import ListingSweep
from monitor.polling.scheduled_job import PollOptions, ScheduledJob
from monitor.recording.recorder import Recorder
from monitor.recording.router import Router
from tests.builders import (
    SOURCE,
    TYPE,
    FakeType,
    ScriptedSource,
    VirtualClock,
    following,
    job,
    ledger,
    running,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from monitor.clock import Lease
    from monitor.model import Job
    from monitor.stores.store import SqlStore

T = TypeVar("T")
ROUTES = [Route.model_validate({"sinks": ["ops"], "match": {"kind": ["*", "job.discovered"]}})]
PLACE = {"service": SOURCE.service, "account": SOURCE.account, "region": SOURCE.region}


class Polling:
    """One poller and its parts; ``rate`` and ``burst`` are its quota."""

    def __init__(
        self,
        store: SqlStore,
        clock: VirtualClock,
        recorder: Recorder,
        *,
        job_type: FakeType = TYPE,
        rate: float = 100.0,
        burst: int = 100,
        **limits: Any,
    ) -> None:
        self.clock = clock
        self.store = store
        self.recorder = recorder
        self.registry = CollectorRegistry()
        metrics = Metrics(self.registry, "0")
        metrics.expect_source(SOURCE)
        metrics.expect_jobs(TYPE.name, SOURCE.account, SOURCE.region)
        self.source = ScriptedSource(clock, job_type)
        self.quota = Quota(rate, burst, clock.monotonic())
        chance = Random(7)
        self.poller = Poller(SOURCE, self.quota, recorder, metrics, clock, chance, **limits)

    def track(self, wanted: Job, **more: Any) -> ScheduledJob:
        values: dict[str, Any] = {"interval": 30.0, "missing_after": 3600.0}
        follow = more.pop("follow", following(self.source.job_type))
        return ScheduledJob(wanted, PollOptions(self.source, follow, **values | more))

    def follow(self, *ids: str, **more: Any) -> None:
        for job_id in ids:
            self.poller.follow(self.track(job(job_id), **more))

    def discover(self, interval: float = 30.0, **discover: Any) -> ListingSweep:
        rules = Discover.model_validate(discover)
        listing = ListingSweep(
            self.source, rules, interval, lambda row: self.track(row.job, interval=interval)
        )
        self.poller.discover(listing)
        return listing

    async def told(self) -> list[tuple[str, str, str]]:
        """Return subject, kind and state of every event of the ledger."""
        rows = await self.store.transitions(limit=10_000)
        return [
            (event["subject"], event["data"]["kind"], event["data"]["current"]["state"])
            for _, event in rows
        ]

    async def kinds(self) -> list[str]:
        return [kind for _, kind, _ in await self.told()]

    def measured(self, name: str, **labels: str) -> float:
        return self.registry.get_sample_value(f"job_monitor_{name}", labels) or 0.0


@asynccontextmanager
async def polling(directory: Path, **settings: Any) -> AsyncIterator[Polling]:
    """Open the store in ``directory`` and go on with what it knows; the poller does not run yet."""
    clock = VirtualClock()
    async with ledger(directory, clock) as store:
        recorder = Recorder(store, Router(ROUTES, ["ops"]), lambda _entry, _before: None)
        recorder.adopt_sources(await store.sources())
        recorder.baselines.adopt(await store.baselines())
        for snapshot in await store.snapshots():
            recorder.adopt(snapshot)
        yield Polling(store, clock, recorder, **settings)


async def run_for(bench: Polling, seconds: float) -> None:
    """Run the poller for so long, and stop it."""
    with anyio.fail_after(seconds + 3600):
        async with running(bench.poller):
            await anyio.sleep(seconds)


def lapsing(lease: Lease, clock: VirtualClock, call: Callable[..., Awaitable[T]]) -> Any:
    """Return a function that does what ``call`` does, while the lease lapses."""

    async def called(*about: Any, **more: Any) -> T:
        lease.until = clock.monotonic()
        return await call(*about, **more)

    return called
