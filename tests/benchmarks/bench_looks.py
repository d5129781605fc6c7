"""Looks per second through the whole daemon path, against a naive loop and the bare wire.

All three ask the same simulator, in a process of its own, for the same jobs on one core:

- bare wire: GET by aiohttp, answers not even parsed: what loopback and HTTP alone permit;
- naive loop: `describe_package_import_job` on one SDK client, answers thrown away;
- the monitor: poller, SDK, checks, allow-list, diff, recorder, SQLite store.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import aiohttp
import anyio

from monitor.aws.clients import Clients, ResponseMeta
from monitor.clock import SystemClock
from monitor.stores.store import open_store
from tests.benchmarks.parts import IDS, KEY, TOGETHER, Polling, account, simulated

ROUNDS = 5
LOOKS = len(IDS) * ROUNDS


def main() -> None:
    with tempfile.TemporaryDirectory() as directory, simulated(Path(directory)) as url:
        figures = anyio.run(measure, url, Path(directory))
    wire = figures["bare wire (no signature, no parsing)"]
    naive = figures["naive SDK loop"]
    lines = ["| path | looks/s | of the wire | against the naive loop |", "|---|---:|---:|---:|"]
    for name, rate in figures.items():
        lines.append(f"| {name} | {rate:,.0f} | {rate / wire:.2f} | {rate / naive:.2f} |")
    sys.stdout.write("\n".join(lines) + "\n")


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
    async with Clients({KEY.account: account(url)}) as clients:

        async def ask(name: str) -> None:
            operation, params = "DescribePackageImportJob", {"JobId": name}
            await clients.ask(KEY, operation, params, ResponseMeta())

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
    """Let a poller look until it has looked often enough."""
    clock = SystemClock()
    async with (
        open_store(f"sqlite://{directory}/bench.db", clock) as store,
        Clients({KEY.account: account(url)}) as clients,
    ):
        polling = Polling(store, clients, clock)
        await polling.begin()
        started = time.perf_counter()
        async with polling.running():
            while polling.looks < LOOKS:  # noqa: ASYNC110 -- a counter has no event
                await anyio.sleep(0.01)
            return polling.looks / (time.perf_counter() - started)


if __name__ == "__main__":
    main()
