"""Sending again, parked sinks, and what commands read: over every kind of store."""

import asyncio
import sys
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory

from monitor.delivery import replay
from monitor.errors import StoreError
from monitor.model import DeliveryStatus, Entry, Parking
from monitor.stores import connect, schema, upgrade
from monitor.stores.store import open_store
from tests.contracts.store_examples import (
    SECOND,
    T0,
    SettableClock,
    dead,
    delivered,
    entry,
    executed,
    failed,
    job,
    snapshot,
    source_entry,
    transition,
)

PENDING, DELIVERED, DEAD, *_ = DeliveryStatus
PARKING = Parking("ops", T0, "410")


@pytest.fixture
def opened(store_url):
    return lambda **options: open_store(store_url, SettableClock(), **options)


@pytest.fixture
def opened_new(new_store_url):
    """Open a store that is made by the first who opens it."""
    return lambda **options: open_store(new_store_url, SettableClock(), **options)


async def _only(store, sink="ops"):
    (first,) = await store.due(sink, T0, 10)
    return first


async def _drain(store, sink="ops"):
    """Deliver all that is due, in order; return (job, sequence, replayed)."""
    told = []
    while found := await store.due(sink, T0, 1):
        data = found[0].event["data"]
        told.append((found[0].event["subject"], data["sequence"], data["replayed"]))
        await store.settle(delivered(found[0]))
    return told


async def _replayed(store, **selected):
    pages = [page async for page in replay.replay(store, replay.Selection("ops", **selected))]
    return sum(map(len, pages))


async def test_a_dead_delivery_is_sent_again_behind_what_waits(opened):
    async with opened() as store:
        for sequence in (1, 2, 3):
            await store.record(entry(1, sequence))
        original = await _only(store)
        await store.settle(dead(original))
        assert await _replayed(store) == 1
        again = (await store.due("ops", T0, 10))[0]
        assert again.event["data"]["sequence"] == 2
        assert await _drain(store) == [
            ("job-1", 2, False),
            ("job-1", 3, False),
            ("job-1", 1, True),
        ]
        (latest, *_) = await store.deliveries(limit=1)
        assert (latest.event_id, latest.replayed) == (original.event["id"], True)
        assert latest.id != original.id


async def test_a_replayed_job_comes_in_the_order_of_the_ledger_and_new_changes_follow(opened):
    async with opened() as store:
        for sequence in (1, 2, 3):
            await store.record(entry(1, sequence))
            await store.settle(dead(await _only(store)))
        (first, *_) = await store.settled("ops", (DEAD,), None)
        await store.replay([first[0]])
        await store.settle(dead(await _only(store)))
        assert await _replayed(store) == 3
        await store.record(entry(1, 4))
        assert [number for _, number, _ in await _drain(store)] == [1, 2, 3, 4]


async def test_what_was_delivered_is_sent_again_on_request_alone(opened):
    async with opened() as store:
        await store.record(entry(1, 1))
        await store.record(entry(2, 1))
        await _drain(store)
        assert await _replayed(store) == 0
        assert await _replayed(store, statuses=(DEAD, DELIVERED)) == 2
        assert await _drain(store) == [("job-1", 1, True), ("job-2", 1, True)]


async def test_what_is_pending_and_other_sinks_are_left_alone(opened):
    async with opened() as store:
        await store.record(entry(1, 1, sinks=("ops", "audit")))
        pending = await _only(store)
        await store.settle(dead(await _only(store, "audit")))
        assert await store.replay([pending.id]) == 0
        assert await _replayed(store, statuses=(DEAD, DELIVERED)) == 0
        assert [one.status for one in await store.deliveries("audit")] == [DEAD]


async def test_a_late_settlement_does_not_meet_the_replayed_delivery(opened):
    async with opened() as store:
        await store.record(entry(1, 1))
        original = await _only(store)
        await store.settle(dead(original))
        await _replayed(store)
        await store.settle(delivered(original))
        assert (await _only(store)).event["data"]["replayed"] is True


async def test_matches_and_times_choose_what_is_sent_again(opened):
    async with opened() as store:
        await store.record(entry(1, 1))
        await store.record(entry(2, 1))
        await store.record(source_entry(1))
        for one in await store.due("ops", T0, 10):
            await store.settle(dead(one))
        never = {"match": (("job", ("job-9",)),)}
        assert await _replayed(store, **never) == 0
        assert await _replayed(store, since=T0 + SECOND) == 0
        assert await _replayed(store, match=(("kind", ("source.*",)),)) == 1
        chosen = (("job", ("job-2", job(3).key)), ("labels.team", ("vis*",)), ("phase", ("run*",)))
        assert await _replayed(store, since=T0, match=chosen) == 1
        told = [event for event, _, _ in await _drain(store)]
        assert told == ["panorama", "job-2"]


async def test_a_dry_run_changes_nothing(opened):
    async with opened() as store:
        await store.record(entry(1, 1))
        await store.settle(dead(await _only(store)))
        selection = replay.Selection("ops")
        pages = [page async for page in replay.replay(store, selection, dry_run=True)]
        assert [event["subject"] for page in pages for event in page] == ["job-1"]
        assert await store.due("ops", T0, 10) == []


async def test_more_than_a_page_is_sent_again_in_order(opened):
    async with opened() as store:
        numbers = range(1, 604)
        made = tuple(transition(job(), number) for number in numbers)
        await store.record(Entry(snapshot(sequence=603), 0, made, (("ops",),) * 603))
        all_dead = sa.update(schema.deliveries).values(status="dead", due_at=None, settled_at=T0)
        await store._database.transact(lambda writer: writer.execute(all_dead).rowcount)
        assert await _replayed(store) == 603
        first = await _only(store)
        assert first.event["data"]["sequence"] == 1
        rows = await store.deliveries(limit=1000)
        assert [row.position for row in reversed(rows)] == [*numbers]


# --- parked sinks


async def test_a_parked_sink_stays_parked_over_a_restart_until_it_is_resumed(opened):
    async with opened() as store:
        await store.park(PARKING)
        await store.park(Parking("audit", T0, "text\nof two lines"))
    async with opened() as store:
        parked = await store.parkings()
        assert parked == [Parking("audit", T0, "text of two lines"), PARKING]
        assert await store.resume("ops") is True
        assert await store.resume("ops") is False
        assert [one.sink for one in await store.parkings()] == ["audit"]


async def test_the_last_word_on_a_parked_sink_stands(opened):
    async with opened() as store:
        await store.park(PARKING)
        await store.park(Parking("ops", T0 + SECOND, "403"))
        assert await store.parkings() == [Parking("ops", T0 + SECOND, "403")]


async def test_parking_takes_back_deaths_and_keeps_the_order(opened):
    async with opened() as store:
        for sequence in (1, 2, 3):
            await store.record(entry(1, sequence))
        lost = []
        for _ in range(2):
            lost.append(await _only(store))
            await store.settle(dead(lost[-1]))
        await store.settle(failed(await _only(store), T0 + 60 * SECOND))
        await store.park(PARKING, lost)
        assert [one.dead for one in await store.backlog()] == [0]
        assert await _drain(store) == [("job-1", number, False) for number in (1, 2, 3)]


async def test_the_dead_can_be_taken_back_without_parking(opened):
    async with opened() as store:
        for sequence in (1, 2):
            await store.record(entry(1, sequence))
        lost = await _only(store)
        await store.settle(dead(lost))
        await store.settle(failed(await _only(store), T0))
        await store.revive([lost])
        assert await store.parkings() == []
        assert await _drain(store) == [("job-1", number, False) for number in (1, 2)]
        await store.revive([lost])
        assert await _drain(store) == []


async def test_parking_does_not_take_back_what_was_delivered(opened):
    async with opened() as store:
        await store.record(entry(1, 1))
        one = await _only(store)
        await store.settle(delivered(one))
        await store.park(PARKING, [one])
        assert [row.status for row in await store.deliveries()] == [DELIVERED]


@pytest.mark.parametrize("how", ["resume", "hasten"])
async def test_what_waits_for_a_retry_need_not_wait_any_more(opened, how):
    async with opened() as store:
        await store.record(entry(1, 1))
        await store.record(entry(1, 2))
        await store.record(entry(2, 1, sinks=("audit",)))
        for sink in ("ops", "audit"):
            await store.settle(failed(await _only(store, sink), T0 + 60 * SECOND))
        await getattr(store, how)("ops")
        assert [one.attempts for one in await store.due("ops", T0, 10)] == [1]
        assert await store.due("audit", T0, 10) == []


# --- what commands read


async def test_the_ledger_is_read_from_its_end(opened):
    async with opened() as store:
        for number in (1, 11):
            for sequence in (1, 2):
                await store.record(entry(number, sequence))
        await store.record(source_entry(1))

        async def positions(**chosen):
            return [position for position, _ in await store.history(**chosen)]

        assert await positions(limit=2) == [4, 5]
        assert await positions(job="job-1") == [1, 2]
        assert await positions(job=job(11).key, limit=1) == [4]
        assert await positions(job="JOB-1") == []
        assert await positions(kinds=["source.unavailable"]) == [5]
        assert await positions(since=T0) == [1, 2, 3, 4, 5]
        assert await positions(since=T0 + SECOND) == []


async def test_deliveries_are_listed_by_job_and_shown_with_their_event(opened):
    async with opened() as store:
        await store.record(entry(1, 1))
        await store.record(entry(11, 1))
        (row,) = await store.deliveries(job="job-1")
        assert row.key == job(1).key
        assert await store.deliveries(job="b-1") == []
        standing, event = await store.delivery(row.id)
        assert standing == row
        assert event["id"] == row.event_id
        assert await store.delivery(99) is None


# --- beside a daemon, and over versions


async def test_a_command_works_beside_the_owner(opened):
    async with opened() as owner:
        await owner.record(entry(1, 1))
        await owner.settle(dead(await _only(owner)))
        async with opened(exclusive=False, migrate=False) as beside:
            assert await _replayed(beside) == 1
        assert (await _only(owner)).event["data"]["replayed"] is True


async def test_a_command_makes_no_store(opened_new, new_store_url, tmp_path):
    for _ in range(2):
        with pytest.raises(StoreError, match="there is n") as caught:
            async with opened_new(exclusive=False, migrate=False):
                pass
        assert "\n" not in str(caught.value)
    if new_store_url.startswith("sqlite"):
        assert list(tmp_path.iterdir()) == []


@asynccontextmanager
async def _stepped(store_url, monkeypatch, to):
    """Open a database with the tables of an older version."""

    def step(connection, _name, **_more):
        config = Config(attributes={"connection": connection})
        config.set_main_option("script_location", str(upgrade.MIGRATIONS))
        command.upgrade(config, to)

    with monkeypatch.context() as patched:
        patched.setattr(upgrade, "migrate", step)
        async with connect.open_database(store_url) as found:
            yield found


_OLD = """
    INSERT INTO transitions (position, key, sequence, event_id, kind, observed_at, event)
    VALUES ({n}, 'k', {n}, 'e{n}', 'job.updated', 0,
            '{{"id": "e{n}", "data": {{"sequence": {n}}}}}')
"""
_OLD_DELIVERY = """
    INSERT INTO deliveries (position, sink, key, status, attempts, created_at, due_at, settled_at)
    VALUES ({n}, 'ops', 'k', '{status}', 0, 0, {due}, {settled})
"""


async def test_a_store_of_the_first_version_keeps_what_it_holds(
    new_store_url, monkeypatch, opened_new
):
    rows = [("dead", "NULL", 1), ("pending", 0, "NULL"), ("pending", "NULL", "NULL")]
    async with _stepped(new_store_url, monkeypatch, "0001") as found:
        for n, (status, due, settled) in enumerate(rows, 1):
            old = {"n": n, "status": status, "due": due, "settled": settled}
            await executed(found, _OLD.format(**old))
            await executed(found, _OLD_DELIVERY.format(**old))
    with pytest.raises(StoreError, match="older version"):
        async with opened_new(exclusive=False, migrate=False):
            pass
    async with opened_new() as store:
        assert await _replayed(store) == 1
        told = []
        while found := await store.due("ops", T0, 10):
            told.append(found[0].event)
            await store.settle(delivered(found[0]))
        assert [event["data"]["sequence"] for event in told] == [2, 3, 1]
        assert await store.parkings() == []


_OF_0003 = """
    INSERT INTO deliveries (position, sink, key, status, attempts, created_at, due_at, settled_at,
                            last_error, replayed)
    VALUES ({n}, 'ops', '{key}', '{status}', {tries}, {at}, {due}, {settled}, {error}, {again})
"""


async def test_a_store_of_the_last_release_goes_on_with_all_that_waits(
    new_store_url, monkeypatch, opened_new
):
    """Pending, waiting for a day that a wrong clock made of a minute, dead, parked and replayed."""
    at = int((T0 - timedelta(days=2)).timestamp() * 1e6)
    day = int((T0 + timedelta(days=1)).timestamp() * 1e6)
    rows = [
        ("k", "dead", 3, "NULL", at, "'no'", "false"),
        ("k", "pending", 2, day, "NULL", "'down'", "false"),
        ("k", "pending", 0, "NULL", "NULL", "NULL", "false"),
        ("l", "pending", 0, at, "NULL", "NULL", "true"),
        ("m", "delivered", 0, "NULL", at, "NULL", "false"),
    ]
    async with _stepped(new_store_url, monkeypatch, "0003") as found:
        for n, (key, status, tries, due, settled, error, again) in enumerate(rows, 1):
            await executed(found, _OLD.format(n=n))
            row = {"n": n, "key": key, "status": status, "tries": tries, "at": at, "due": due}
            row |= {"settled": settled, "error": error, "again": again}
            await executed(found, _OF_0003.format(**row))
        await executed(found, f"INSERT INTO sink_state VALUES ('ops', {at}, 'gone')")
    async with opened_new() as store:
        (backlog,) = await store.backlog()
        assert (backlog.pending, backlog.dead, backlog.last_error) == (3, 1, "down")
        assert backlog.oldest_at == backlog.failing_since == T0  # as far as anybody tried
        assert [each.sink for each in await store.parkings()] == ["ops"]
        assert await store.prune(store.store_time()) == 0
        (dead_one,) = await store.deliveries(status=DeliveryStatus.DEAD)
        assert dead_one.due_at is None
        assert await store.resume("ops")
        assert await _replayed(store) == 1
        told: list[tuple[str, int]] = []
        while found := await store.due("ops", store.store_time(), 10):
            assert {each.created_at for each in found} == {store.store_time()}
            told += [(each.key, each.event["data"]["sequence"]) for each in found]
            for each in found:
                await store.settle(delivered(each))
        assert [number for key, number in told if key == "k"] == [2, 3, 1]
        assert ("l", 4) in told
        assert await store.backlog() == []


def _tables(connection):
    """All that a database tells of its tables, but for those of Alembic and SQLite themselves."""
    inspected = sa.inspect(connection)
    names = set(inspected.get_table_names()) - {"alembic_version", "sqlite_sequence"}
    return {name: _table(inspected, name) for name in names}


def _table(inspected, name):
    comments = inspected.dialect.supports_comments
    return {
        "columns": _plain(inspected.get_columns(name)),
        "key": inspected.get_pk_constraint(name),
        "foreign keys": _plain(inspected.get_foreign_keys(name)),
        "unique": _plain(inspected.get_unique_constraints(name)),
        "indexes": _plain(inspected.get_indexes(name)),
        "options": inspected.get_table_options(name),
        "comment": inspected.get_table_comment(name) if comments else None,
    }


def _plain(found):
    """Types and conditions as text, in the order of the names."""
    return sorted(({key: _text(value) for key, value in one.items()} for one in found), key=str)


def _text(value):
    if isinstance(value, dict):
        return {key: str(each) for key, each in value.items()}
    return str(value)


async def _read(opened):
    def all_of(connection):
        tables = _tables(connection)
        if connection.dialect.name == "sqlite":
            text = "SELECT sql FROM sqlite_master WHERE name = 'deliveries'"
            tables["numbered"] = "AUTOINCREMENT" in connection.scalar(sa.text(text))
        return tables

    async with opened() as store:
        return await store._database.read(all_of)


async def _drop_all(opened):
    async with opened() as store:
        await store._database.transact(schema.metadata.drop_all)
        await executed(store._database, "DROP TABLE alembic_version")


async def test_a_new_store_has_the_tables_that_the_migrations_make(
    new_store_url, monkeypatch, opened_new
):
    new = await _read(opened_new)
    await _drop_all(opened_new)
    async with _stepped(new_store_url, monkeypatch, "0001"):
        pass
    stepped = await _read(opened_new)
    assert set(schema.metadata.tables) <= set(new)
    assert len(new["deliveries"]["indexes"]) >= 3
    assert new.get("numbered", True)
    assert new == stepped


def test_the_revision_of_the_tables_is_that_of_the_last_migration():
    assert ScriptDirectory(str(upgrade.MIGRATIONS)).get_heads() == [schema.REVISION]


async def test_the_steps_are_imported_only_where_there_are_some_to_take(new_store_url):
    """Alembic would take a tenth of the daemon's memory for as long as it runs."""
    code = (
        "import asyncio, sys\n"
        "from monitor.clock import SystemClock\n"
        "from monitor.stores.store import open_store\n"
        "async def main():\n"
        "    for migrate in (True, True, False):\n"
        "        async with open_store(sys.argv[1], SystemClock(), migrate=migrate) as store:\n"
        "            print(store.ledger_id)\n"
        "asyncio.run(main())\n"
        "print(any(name.startswith(('alembic', 'mako')) for name in sys.modules))\n"
    )
    done = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, new_store_url, stdout=asyncio.subprocess.PIPE
    )
    *ledgers, imported = (await done.communicate())[0].decode().split()
    assert len(ledgers) == 3
    assert len(set(ledgers)) == 1
    assert imported == "False"


async def test_pruning_spares_what_is_sent_again(opened):
    async with opened() as store:
        await store.record(entry(1, 1))
        await store.settle(dead(await _only(store)))
        await _replayed(store)
        assert await store.prune(T0 + timedelta(days=60)) == 0
        await _drain(store)
        assert await store.prune(T0 + timedelta(days=60)) == 1
