"""Several replicas over one store: who lives, who owns what, and what each learns of the others."""

from contextlib import asynccontextmanager

import anyio
import orjson
import pytest

from monitor.clock import SystemClock
from monitor.errors import StoreLockedError
from monitor.stores import connect
from monitor.stores.store import open_store
from tests.contracts import postgresql_kit
from tests.contracts.store_examples import entry, source_entry
from tests.contracts.test_store_reconnect import proxy, through, until

__all__ = ["proxy"]

SOURCE, SINK = "source:panorama/a/us-east-1", "sink:ops"


@asynccontextmanager
async def replica(url, name="one", **more):
    async with open_store(url, SystemClock(), name=name, version="1.0", **more) as store:
        assert store.replicas
        yield store


async def beat(store, ended=(), **states):
    """Return the replicas by name."""
    seen = await store.replicas.beat({"generation": "g1", "wants": [SOURCE]}, states, ended)
    return {each.name: each for each in seen}


async def test_replicas_see_each_other_and_what_each_owns(postgresql_url):
    async with replica(postgresql_url) as one, replica(postgresql_url, "two") as two:
        assert await one.replicas.own([SOURCE, SINK]) != {}
        assert await two.replicas.own([SOURCE, SINK]) == {}
        await beat(one)
        seen = await beat(two)
        assert {name: each.owned for name, each in seen.items()} == {
            "one": (SINK, SOURCE),
            "two": (),
        }
        assert (seen["one"].generation, seen["one"].wants) == ("g1", (SOURCE,))
        assert all(each.connected for each in seen.values())
        assert (await beat(two))["two"].beat == seen["two"].beat + 1


async def test_what_is_given_up_comes_with_what_its_owner_told(postgresql_url):
    async with replica(postgresql_url) as one, replica(postgresql_url, "two") as two:
        await one.replicas.own([SOURCE])
        await one.replicas.give_up({SOURCE: "told"})
        assert (await beat(one))["one"].owned == ()
        taken = await two.replicas.own([SOURCE, SINK])
        assert (taken[SOURCE].replica, taken[SOURCE].state) == ("", "told")
        assert (taken[SINK].replica, taken[SINK].alive_at) == ("", None)


async def test_a_lock_that_was_taken_twice_is_given_back_whole(postgresql_url):
    async with replica(postgresql_url) as one, replica(postgresql_url, "two") as two:
        for _ in range(3):
            await one.replicas.own([SOURCE])
        await one.replicas.give_up({SOURCE: ""})
        assert SOURCE in await two.replicas.own([SOURCE])


async def test_a_replica_whose_session_ends_owns_nothing(postgresql_url):
    async with replica(postgresql_url) as one, replica(postgresql_url, "two") as two:
        await one.replicas.own([SOURCE])
        await beat(one, **{SOURCE: "told"})
        seen = await beat(two)
        # The one that shows no sign of life is put out of the way by another.
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(beat, two, [seen["one"]])
        with anyio.fail_after(60):
            while not (taken := await two.replicas.own([SOURCE])):  # noqa: ASYNC110 -- the server
                await anyio.sleep(0.02)
        assert (taken[SOURCE].replica, taken[SOURCE].state) == (one.replicas.id, "told")
        assert taken[SOURCE].alive_at is not None
        # It goes on with another session, in which it owns nothing.
        assert await one.record(entry())
        assert (await beat(one))["one"].owned == ()
        assert await one.replicas.own([SOURCE]) == {}


async def test_what_only_an_owner_may_write_is_not_written_once_another_owns(postgresql_url, proxy):
    async with replica(through(postgresql_url, proxy)) as one:
        await one.replicas.own([SOURCE])
        await one.archive.keep_discovers({("t", "a", "r"): "first"})
        proxy.closed = True
        proxy.cut_all()
        await postgresql_kit.until_unlocked(postgresql_url)
        async with replica(postgresql_url, "two") as two:
            await two.replicas.own([SOURCE])
            async with anyio.create_task_group() as tasks:
                # On its way when the session was lost. What a poll has shown is true all the same.
                tasks.start_soon(one.archive.keep_discovers, {("t", "a", "r"): "second"})
                tasks.start_soon(one.record, entry())
                tasks.start_soon(one.record, source_entry())
                await until(lambda: one.outage is not None)
                proxy.closed = False
            assert await two.archive.discovers() == {("t", "a", "r"): "first"}
            assert len(await two.snapshots()) == 1
            # Whether its source is available, the owner knows.
            assert await two.sources() == []
            assert await two.record(source_entry())


async def test_a_commit_tells_the_other_replicas_what_has_changed(postgresql_url):
    heard: list[str | None] = []
    async with (
        replica(postgresql_url) as one,
        replica(postgresql_url, "two") as two,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(two.listen, heard.append)
        await until(lambda: heard == [None])
        await one.record(entry())
        await until(lambda: len(heard) == 2)
        assert orjson.loads(heard[1] or "") == {"from": one.replicas.id, "topics": ["ledger"]}
        await one.replicas.send({"hello": 1})
        await until(lambda: len(heard) == 3)
        assert orjson.loads(heard[2] or "") == {"from": one.replicas.id, "hello": 1}
        # Whatever was said while nobody could listen: all is read again.
        await postgresql_kit.end_sessions(postgresql_url)
        await until(lambda: None in heard[3:])
        tasks.cancel_scope.cancel()


async def test_the_store_time_of_all_replicas_is_that_of_the_one_ahead(postgresql_url):
    async with replica(postgresql_url) as one:
        await anyio.sleep(2)
        async with replica(postgresql_url, "two") as two:
            # The last commit of the other one was some time ago.
            assert (one.store_time() - two.store_time()).total_seconds() > 1.5
            await one.ping()
            await two.ping()
            # As far apart as a commit takes.
            behind = (one.store_time() - two.store_time()).total_seconds()
            assert abs(behind) < 1


async def test_a_process_that_needs_the_database_alone_and_replicas_exclude_each_other(
    postgresql_url,
):
    async with replica(postgresql_url):
        with pytest.raises(StoreLockedError, match=r"another process.*\(stop"):
            async with connect.open_database(postgresql_url):
                pass
    async with connect.open_database(postgresql_url):
        with pytest.raises(StoreLockedError, match="needs it alone"):
            async with replica(postgresql_url):
                pass
    async with replica(postgresql_url):
        pass


async def test_a_replica_that_leaves_is_gone_at_once(postgresql_url):
    async with replica(postgresql_url) as one:
        async with replica(postgresql_url, "two") as two:
            assert set(await beat(two)) == {"one", "two"}
            await two.replicas.leave()
        assert set(await beat(one)) == {"one"}
