"""A store that an older build wrote, at this or an earlier schema revision, opens and goes on."""

import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from monitor import model
from monitor.stores.store import open_store
from tests.contracts import store_examples as examples
from tests.contracts.store_examples import SECOND, T0, delivered, entry, job

MINUTE = 60 * SECOND
PENDING, DELIVERED, DEAD, *_ = model.DeliveryStatus
DISCOVER = '{"match":{"JobType":"NODE_PACKAGE_VERSION"}}'


@pytest.fixture
def clock():
    clock = examples.SettableClock()
    clock.time += MINUTE
    return clock


@pytest.fixture(params=["store_0005.sql", "store_0006.sql"])
def old_store(tmp_path, request):
    """Load the dump of a store of commit 76fd24d, or of the last one of the next revision."""
    path = tmp_path / "old.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(Path(__file__).with_name(request.param).read_text())
    return f"sqlite://{path}"


async def test_everything_an_older_build_stored_is_read_as_it_was(old_store, clock):
    async with open_store(old_store, clock) as store:
        first, second, third = sorted(await store.snapshots(), key=lambda one: one.job.id)
        sources, parkings = await store.sources(), await store.parkings()
        baselines, watches = await store.baselines(), await store.watches()
        deliveries, events = await store.deliveries(), await store.history()
    assert first == examples.snapshot(1, 2, "RUNNING", looked_at=T0 + MINUTE)
    assert second == examples.snapshot(2)
    assert third == examples.snapshot(
        3,
        state="SUCCEEDED",
        phase=model.Phase.SUCCEEDED,
        ending=model.Ending.GRACE,
        updated_at=T0,
        ended_at=T0,
        own_changed=T0,
        own_ended=T0,
        earlier_ended={"failed": (T0, T0 - SECOND)},
    )
    assert sources == [examples.source()]
    assert parkings == [model.Parking("audit", T0 + MINUTE, "401 Unauthorized")]
    begun = model.Baseline(
        "panorama.package-import", "prod", "eu-west-1", DISCOVER, T0, None, {"job-9": True}
    )
    swept = replace(begun, region="us-east-1", completed_at=T0 + MINUTE, awaited={})
    assert sorted(baselines, key=lambda one: one.region) == [begun, swept]
    settings = {"type": "panorama.package-import", "account": "prod", "regions": ["us-east-1"]}
    assert watches == [model.RuntimeWatch("night", settings, T0)]
    assert [position for position, _ in events] == [1, 2, 3, 4, 5]
    assert [(one.id, one.sink, one.status, one.attempts, one.last_error) for one in deliveries] == [
        (7, "ops", PENDING, 0, None),
        (6, "audit", PENDING, 0, None),
        (5, "ops", PENDING, 0, None),
        (4, "ops", PENDING, 1, "timeout"),
        (3, "ops", PENDING, 0, None),
        (2, "audit", DEAD, 1, "rejected"),
        (1, "ops", DELIVERED, 1, None),
    ]


async def test_a_store_of_an_older_build_goes_on(old_store, clock):
    async with open_store(old_store, clock) as store:
        assert store.store_time() == T0 + MINUTE
        assert await store.record(entry(1, 3, ("ops",), state="SUCCEEDED"))
        assert not await store.record(entry(2, 1)), "that sequence is in the old store"
        found = await store.due("ops", store.store_time(), 10)
        await store.settle(delivered(found[0], clock.now()))
    async with open_store(old_store, clock) as store:
        assert await store.position() == 6
        assert "SUCCEEDED" in [one.state for one in await store.snapshots() if one.job == job(1)]
        assert [one.id for one in found] == [3, 5, 7], "4 waits for its retry"
        # The settled delivery made way for the new one of the same job.
        assert [one.id for one in await store.due("ops", store.store_time(), 10)] == [5, 7, 8]
        clock.time += 5 * MINUTE
        assert 4 in [one.id for one in await store.due("ops", store.store_time(), 10)]
