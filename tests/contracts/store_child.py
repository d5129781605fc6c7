"""Processes of their own that use a store, to be killed; what they say goes into a pipe."""

import anyio
import anyio.lowlevel
import sqlalchemy as sa

from monitor.errors import StoreLockedError
from monitor.stores import copying
from monitor.stores.store import open_store
from tests.contracts.store_examples import SettableClock, delivered, entry

JOBS = 8
LONG_READS = {
    "sqlite": "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < 1000000000)"
    " SELECT count(*) FROM n",
    "postgresql": "SELECT pg_sleep(300)",
}


def hold(url, pipe):
    """Say ``open`` or ``locked``; keep the store."""
    anyio.run(_hold, url, pipe.send)


def write(url, pipe):
    """Say ``open``; then write for ever, and acknowledge each thing after it returned."""
    anyio.run(_write, url, pipe.send)


def migrate(url, pipe):
    """Say ``begin``; bring the store up to date, and say ``open``."""
    anyio.run(_migrate, url, pipe.send)


def copy(urls, pipe):
    """Copy the first of two URLs into the second; say ``rows`` whenever there are more."""
    copying.ROWS_AT_ONCE = 7
    source, target = urls.split()
    anyio.run(copying.copy, source, target, lambda *_: pipe.send("rows"))


def cancel_a_read(url, pipe):
    """Say ``cancelled`` once a read that takes minutes was cancelled, and ``ended`` at the end."""
    anyio.run(_cancel_a_read, url, pipe.send)
    pipe.send("ended")


async def _cancel_a_read(url, say):
    statement = sa.text(LONG_READS[url.partition(":")[0]])
    async with open_store(url, SettableClock()) as store:
        with anyio.move_on_after(0.2) as read:
            await store._database.read(lambda reader: reader.execute(statement).all())
        say("cancelled" if read.cancelled_caught else "too short")


async def _migrate(url, say):
    say("begin")
    async with open_store(url, SettableClock()):
        say("open")


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
