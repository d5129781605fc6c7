"""Watches that are added at run time, and what the HTTP API reads: over every kind of store."""

from dataclasses import replace

import pytest

from monitor.model import Baseline, DeliveryStatus, RuntimeWatch
from monitor.stores.store import open_store
from tests.contracts.store_examples import (
    SECOND,
    T0,
    SettableClock,
    entry,
    job,
    snapshot,
    source_entry,
)


@pytest.fixture
def opened(store_url):
    return lambda **options: open_store(store_url, SettableClock(), **options)


def watch(name, seconds=0, **settings):
    return RuntimeWatch(name, {"name": name, **settings}, T0 + seconds * SECOND)


async def test_added_watches_are_kept_in_their_order_over_a_restart(opened):
    first, second = watch("b", 1, jobs=["\x00ä"]), watch("a", 2, labels={"team": "vision"})
    async with opened() as store:
        assert await store.watches() == []
        assert await store.add_watch(second)
        assert await store.add_watch(first)
    async with opened() as store:
        assert [one.name for one in await store.watches()] == ["b", "a"]
        assert (await store.watches())[1] == second


async def test_a_name_is_taken_until_its_watch_is_removed(opened):
    async with opened() as store:
        assert await store.add_watch(watch("a", jobs=["1"]))
        assert not await store.add_watch(watch("a", jobs=["2"]))
        assert (await store.watches())[0].settings["jobs"] == ["1"]
        assert await store.remove_watch("a")
        assert not await store.remove_watch("a")
        assert await store.add_watch(watch("a", jobs=["2"]))


async def test_transitions_are_chosen_by_kind_time_and_position(opened):
    async with opened() as store:
        assert await store.position() == 0
        for number in (1, 2, 3):
            await store.record(entry(number))
        await store.record(source_entry())

        async def positions(**chosen):
            return [position for position, _ in await store.transitions(**chosen)]

        assert await store.position() == 4
        assert await positions(kinds=["source.unavailable"]) == [4]
        assert await positions(kinds=[]) == []
        assert await positions(since=T0) == [1, 2, 3, 4]
        assert await positions(since=T0 + SECOND) == []
        assert await positions(after=1, until=3) == [2, 3]
        assert await positions(key=job(2).key, kinds=["job.state_changed"]) == [2]


async def test_the_last_change_of_state_is_found(opened):
    async with opened() as store:
        assert await store.last_change(job().key) is None
        await store.record(entry(1, 1))
        await store.record(entry(1, 2))
        found = await store.last_change(job().key)
        assert found is not None
        assert found["data"]["sequence"] == snapshot(sequence=2).sequence


async def test_deliveries_are_read_on_from_the_last_of_a_page(opened):
    async with opened() as store:
        for number in (1, 2, 3):
            await store.record(entry(number))
        newest, *_ = page = await store.deliveries("ops", limit=2)
        (rest,) = await store.deliveries("ops", DeliveryStatus.PENDING, before=page[-1].id)
        assert newest.id > page[-1].id > rest.id


def baseline(discover="{}", **more):
    return Baseline("panorama.package-import", "prod", "us-east-1", discover, T0, **more)


async def test_baselines_are_kept_replaced_and_forgotten(opened):
    # Globs may be longer than a key of PostgreSQL's index.
    long = '{"include":["' + "x" * 9000 + '\\u0000ä"]}'
    begun, other = baseline(long), baseline("{}", completed_at=T0)
    async with opened() as store:
        assert await store.baselines() == []
        await store.keep_baselines([begun, other], [])
    done = replace(begun, completed_at=T0 + SECOND, awaited={"a/b": True, "c": False})
    async with opened() as store:
        assert sorted(await store.baselines(), key=lambda each: each.discover) == [begun, other]
        await store.keep_baselines([done], [other])
        assert await store.baselines() == [done]
        await store.keep_baselines([], [done, other])
        assert await store.baselines() == []


async def test_what_a_snapshot_says_of_its_first_sight_and_ends_is_kept(opened):
    known = entry(1)
    marked = known.snapshot.replace(baseline=True, earlier_ends={"failed": 2})
    async with opened() as store:
        await store.record(replace(known, snapshot=marked))
        assert await store.snapshot(job().key) == marked
