"""Processes of their own that use a store, to be killed; what they say goes into a pipe."""

import anyio
import anyio.lowlevel

from monitor.errors import StoreLockedError
from monitor.stores.store import open_store
from tests.contracts.store_examples import SettableClock, delivered, entry

JOBS = 8


def hold(url, pipe):
    """Say ``open`` or ``locked``; keep the store."""
    anyio.run(_hold, url, pipe.send)


def write(url, pipe):
    """Say ``open``; then write for ever, and acknowledge each thing after it returned."""
    anyio.run(_write, url, pipe.send)


async def _hold(url, say):
    try:
        async with open_store(url, SettableClock()):
            say("open")
            await anyio.sleep_forever()
    except StoreLockedError:
        say("locked")


async def _write(url, say):
    async with open_store(url, SettableClock()) as store:
        say("open")
        known = {snapshot.job.id: snapshot.sequence for snapshot in await store.snapshots()}
        async with anyio.create_task_group() as tasks:
            for number in range(JOBS):
                tasks.start_soon(_record, store, say, number, known.get(f"job-{number}", 0))
            tasks.start_soon(_deliver, store, say)


async def _record(store, say, number, sequence):
    while True:
        sequence += 1
        assert await store.record(entry(number, sequence, sinks=("a", "b")))
        say((f"job-{number}", sequence))


async def _deliver(store, say):
    while True:
        for delivery in await store.due("a", SettableClock().now(), 100):
            await store.settle(delivered(delivery))
            say(("settled", delivery.id))
        await anyio.lowlevel.checkpoint()
