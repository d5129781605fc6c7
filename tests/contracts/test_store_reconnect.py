"""The server of the store is lost, and comes back: nothing is lost, nothing is repeated."""

import tempfile
import time
from datetime import UTC, datetime

import anyio
import asyncpg  # type: ignore[import-untyped]
import pytest

from monitor import model
from monitor.clock import SystemClock
from monitor.errors import StoreError, StoreLockedError
from monitor.stores import connect
from monitor.stores.store import open_store
from tests.contracts import postgresql_kit, postgresql_proxy
from tests.contracts.store_examples import delivered, entry, job


@pytest.fixture
def outages():
    """What was reported of outages: their reasons, and ``None`` at an end."""
    return []


@pytest.fixture
def opened(outages):
    def report(outage):
        outages.append(outage and outage.reason)

    return lambda url: open_store(url, SystemClock(), on_outage=report)


async def until(condition):
    with anyio.fail_after(60):
        while not condition():  # noqa: ASYNC110 -- of what the store reports, there is no event
            await anyio.sleep(0.02)


@pytest.fixture
async def proxy(postgresql_server):
    with tempfile.TemporaryDirectory(prefix="pg-proxy-") as directory:
        async with postgresql_proxy.running(postgresql_server, directory) as made:
            yield made


def through(url, proxy):
    name = url.partition("@/")[2].partition("?")[0]
    return f"postgresql://postgres@/{name}?host={proxy.directory}"


async def test_a_lost_session_is_replaced_and_the_store_goes_on(postgresql_url, opened, outages):
    async with opened(postgresql_url) as store:
        assert await store.record(entry())
        await postgresql_kit.end_sessions(postgresql_url)
        with anyio.fail_after(60):
            assert await store.record(entry(2))
            assert len(await store.snapshots()) == 2
        assert store.outage is None
        assert len(outages) == 2
        words = ("terminating connection", "connection to the server was lost", "was closed")
        assert any(each in outages[0] for each in words), outages
        assert outages[1] is None
        with pytest.raises(StoreLockedError):
            async with connect.open_database(postgresql_url):
                pass


async def test_a_server_that_is_killed_and_started_again_loses_and_repeats_nothing(
    tmp_path, opened, outages, postgresql_cluster
):
    with postgresql_kit.server(cluster=postgresql_cluster) as server:
        url = server.create("jobs")
        taken: list[tuple[int, int]] = []

        async def write(number):
            for sequence in range(1, 41):
                # Refused only if it had been written before: in vain, for each is written once.
                assert await store.record(entry(number, sequence)), (number, sequence)
                taken.append((number, sequence))
                assert (await store.snapshot(job(number).key)).sequence == sequence

        async def disturb():
            for many in (20, 80):
                await until(lambda many=many: len(taken) >= many)
                await anyio.to_thread.run_sync(server.kill)
                await until(lambda: store.outage is not None)
                await anyio.to_thread.run_sync(server.start)
                await until(lambda: store.outage is None)

        async with opened(url) as store:
            with anyio.fail_after(180):
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(disturb)
                    for number in range(1, 5):
                        tasks.start_soon(write, number)
            events = [event["data"] for _, event in await store.transitions(limit=1000)]
        found = sorted((int(it["job"]["id"].removeprefix("job-")), it["sequence"]) for it in events)
        assert found == sorted(taken)
        assert len(found) == 160
        assert outages.count(None) == 2


@pytest.mark.parametrize("half_open", [False, True])
@pytest.mark.parametrize("before", [False, True])
async def test_a_commit_whose_answer_was_lost_is_neither_lost_nor_made_again(
    postgresql_url, opened, proxy, before, half_open
):
    watch = model.RuntimeWatch("a", {}, datetime(2026, 1, 1, tzinfo=UTC))
    async with opened(through(postgresql_url, proxy)) as store:
        assert await store.record(entry())
        proxy.before, proxy.half_open = before, half_open
        # Adding it twice would say that it is there already.
        for number, write in enumerate(
            (
                lambda: store.add_watch(watch),
                lambda: store.record(entry(1, 2)),
                lambda: store.record(entry(2)),
            )
        ):
            proxy.cut_at = b"COMMIT"
            with anyio.fail_after(60):
                assert await write()
            assert proxy.cuts == number + 1
        assert [one.name for one in await store.watches()] == ["a"]
        assert [event["data"]["sequence"] for _, event in await store.transitions()] == [1, 2, 1]
        assert len(await store.deliveries()) == 3


async def test_a_settlement_whose_answer_was_lost_is_kept(postgresql_url, opened, proxy):
    async with opened(through(postgresql_url, proxy)) as store:
        await store.record(entry())
        (one,) = await store.due("ops", datetime.max.replace(tzinfo=UTC), 1)
        proxy.cut_at = b"COMMIT"
        with anyio.fail_after(60):
            await store.settle(delivered(one, store.store_time()))
        assert [row.status for row in await store.deliveries()] == [model.DeliveryStatus.DELIVERED]


async def test_reads_wait_for_the_server(postgresql_url, opened, proxy):
    async with opened(through(postgresql_url, proxy)) as store:
        await store.record(entry())
        proxy.closed = True
        proxy.cut_all()
        found = []

        async def read():
            found.append(len(await store.snapshots()))

        async with anyio.create_task_group() as tasks:
            for _ in range(10):
                tasks.start_soon(read)
            await until(lambda: store.outage is not None)
            await anyio.sleep(1)
            assert found == []
            proxy.closed = False
            await until(lambda: len(found) == 10)
        assert set(found) == {1}


async def test_a_process_that_takes_the_database_for_itself_ends_this_one(
    postgresql_url, opened, proxy
):
    async with opened(through(postgresql_url, proxy)) as store:
        await store.record(entry())
        proxy.closed = True
        proxy.cut_all()
        await postgresql_kit.until_unlocked(postgresql_url)
        async with connect.open_database(postgresql_url):
            proxy.closed = False
            with anyio.fail_after(60), pytest.raises(StoreError, match="needs it alone"):
                await store.record(entry(2))


async def test_a_store_that_another_replica_has_written_to_goes_on(postgresql_url, opened, proxy):
    async with opened(through(postgresql_url, proxy)) as store:
        await store.record(entry())
        proxy.closed = True
        proxy.cut_all()
        await postgresql_kit.until_unlocked(postgresql_url)
        async with opened(postgresql_url) as other:
            assert await other.record(entry(2))
        proxy.closed = False
        with anyio.fail_after(60):
            assert await store.record(entry(3))
            assert not await store.record(entry(2)), "the other one was first"
            assert len(await store.snapshots()) == 3


@pytest.mark.parametrize("change", ["DELETE FROM replicas", "UPDATE replicas SET mark = mark - 1"])
async def test_a_store_that_has_gone_back_ends_this_replica(postgresql_url, opened, proxy, change):
    """What this process remembers of the jobs is no longer true, as after a failover."""
    async with opened(through(postgresql_url, proxy)) as store:
        await store.record(entry())
        await store.record(entry(2))
        proxy.closed = True
        proxy.cut_all()
        await postgresql_kit.until_unlocked(postgresql_url)
        connection = await asyncpg.connect(postgresql_url)
        await connection.execute(change)
        await connection.close()
        proxy.closed = False
        with anyio.fail_after(60), pytest.raises(StoreError, match="standby took over"):
            await store.record(entry(3))
        with pytest.raises(StoreError):
            await store.snapshots()


async def test_a_session_that_the_server_still_runs_gives_its_lock_up(
    postgresql_url, opened, proxy, outages
):
    """As when the network fails: the server does not know that its client is gone."""
    async with opened(through(postgresql_url, proxy)) as store:
        await store.record(entry())
        proxy.half_open = True
        proxy.cut_all()
        with anyio.fail_after(60):
            assert await store.record(entry(2))
        assert outages[-1] is None


async def test_a_store_can_be_closed_during_an_outage(postgresql_url, opened, proxy):
    async with opened(through(postgresql_url, proxy)) as store:
        await store.record(entry())
        proxy.closed = True
        proxy.cut_all()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(store.record, entry(2))
            tasks.start_soon(store.snapshots)
            await until(lambda: store.outage is not None)
            began = time.monotonic()
            tasks.cancel_scope.cancel()
    assert time.monotonic() - began < 30  # the outage has no end
    proxy.closed = False
    async with opened(postgresql_url) as store:
        assert [one.job.id for one in await store.snapshots()] == ["job-1"]


async def test_a_store_that_was_closed_can_be_opened_at_once(postgresql_url, opened, proxy):
    """As when a daemon is restarted, and the server is busy: it hears late of the end."""
    async with opened(through(postgresql_url, proxy)) as store:
        assert await store.record(entry())
        proxy.delay = 0.3
    async with opened(postgresql_url) as store:
        assert await store.record(entry(2))


async def test_a_statement_that_waits_too_long_for_a_lock_is_tried_again(postgresql_url, opened):
    url = f"{postgresql_url}&options=-c%20lock_timeout%3D200ms"
    async with opened(url) as store:
        await store.record(entry())
        admin = await asyncpg.connect(postgresql_url)
        transaction = admin.transaction()
        await transaction.start()
        await admin.execute("LOCK TABLE jobs IN ACCESS EXCLUSIVE MODE")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(store.record, entry(2))
            await until(lambda: store.outage and "lock timeout" in store.outage.reason)
            await transaction.rollback()
        await admin.close()
        assert len(await store.snapshots()) == 2
