"""A whole store is copied from one database into another, by hand or killed in the midst."""

import asyncio
import random
import re
import sqlite3
from contextlib import closing

import anyio
import pytest
import sqlalchemy as sa

from monitor import model
from monitor.errors import StoreError, StoreLockedError
from monitor.stores import checking, connect, copying, schema, sqlite
from monitor.stores.store import open_store
from tests.contracts import store_child
from tests.contracts.store_examples import (
    T0,
    SettableClock,
    dead,
    delivered,
    entry,
    executed,
    failed,
    job,
    source_entry,
)
from tests.contracts.test_store_processes import _child, processes

__all__ = ["processes"]
JOBS = 30
LEDGER = copying._plain(schema.ledger)


def nothing(*_):
    """No progress is shown."""


@pytest.fixture(params=["sqlite to postgresql", "postgresql to sqlite"])
def urls(request, sqlite_url, postgresql_url):
    """The URLs of a source and a target, each way."""
    both = [sqlite_url, postgresql_url]
    return both if request.param.startswith("sqlite") else both[::-1]


async def fill(url):
    """Make a store with something in each table, and deliveries of every kind."""
    async with open_store(url, SettableClock()) as store:
        for sequence in (1, 2, 3):
            entries = [entry(number, sequence, sinks=("ops", "pager")) for number in range(JOBS)]
            # They share a commit.
            assert all(await asyncio.gather(*map(store.record, entries)))
        await store.record(source_entry(sinks=("ops",)))
        first, *others = await store.due("ops", SettableClock().now(), 100)
        await store.settle(*map(delivered, others[:10]), dead(others[10]), failed(others[11], T0))
        await store.settle(delivered(first))
        await store.park(model.Parking("pager", T0, "410 Gone"))
        await store.add_watch(model.RuntimeWatch("tonight", {"type": "a"}, T0))
        await store.silences.keep(model.Silence("s1", ({"phase": "failed"},), T0, T0, "ann", ""))
        await store.silences.acknowledge(model.Acknowledgement(job(3).key, 3, "ann", "mine", T0))
        await store.archive.keep_discovers({("a", "b", "c"): "{}"})
        # The largest id is gone: it must not be used again.
        await store.discard([others[10].id])
        return store.ledger_id


async def contents(url):
    """Return all rows of all tables, as they are stored."""

    def all_of(connection):
        return {
            table.name: [
                tuple(row)
                for row in connection.execute(
                    sa.select(table).order_by(*copying._order(table, connection.dialect.name))
                )
            ]
            for table in [LEDGER, *copying.TABLES]
        }

    async with connect.open_database(url, migrate=False) as opened:
        return await opened.read(all_of)


async def test_all_of_it_is_copied_and_goes_on_without_a_gap(urls):
    source, target = urls
    ledger_id = await fill(source)
    shown = []
    copied = await copying.copy(source, target, lambda *row: shown.append(row))
    before = await contents(source)
    assert await contents(target) == before
    filled = {name for name, rows in before.items() if rows}
    assert {"jobs", "transitions", "deliveries", "sources", "watches", "sink_state"} <= filled
    assert {"silences", "acknowledgements", "archived_places"} <= filled
    assert copied == sum(map(len, before.values())) - 1
    assert ("jobs", JOBS, JOBS) in shown
    ids = {row[0] for row in before["deliveries"]}
    async with open_store(target, SettableClock()) as store:
        assert store.ledger_id == ledger_id
        assert [each.sink for each in await store.parkings()] == ["pager"]
        assert not await store.record(entry(1, 3))
        assert await store.record(entry(1, 4, sinks=("ops",)))
        [newest] = await store.deliveries("ops", None, 1, job(1).key)
        assert newest.id == max(ids) + 1
        assert await store.position() == len(before["transitions"]) + 1
    assert (await checking.check(target, nothing)).problems == []


async def test_an_id_of_a_delivery_that_is_gone_is_not_used_again(urls):
    source, target = urls
    await fill(source)
    query = sa.text("SELECT max(id) FROM deliveries")
    async with connect.open_database(source) as opened:
        last = await opened.read(lambda reader: reader.scalar(query))
        await executed(opened, f"DELETE FROM deliveries WHERE id = {last}")
    await copying.copy(source, target, nothing)
    async with open_store(target, SettableClock()) as store:
        assert await store.record(entry(1, 4, sinks=("ops",)))
        [newest] = await store.deliveries("ops", None, 1, job(1).key)
        assert newest.id == last + 1


async def test_a_copy_that_is_killed_goes_on(urls, processes, monkeypatch):
    source, target = urls
    await fill(source)
    monkeypatch.setattr(copying, "ROWS_AT_ONCE", 7)
    chance, kills = random.Random(3), 0
    for attempt in range(100):
        with _child(processes, store_child.copy, f"{source} {target}") as (process, said):
            try:
                # Not by time alone: on a slow machine it would never come far.
                for _ in range(chance.randrange(2, 8 + 4 * attempt)):
                    assert said.recv() == "rows"
                await anyio.sleep(chance.uniform(0, 0.002))
                process.kill()
                kills += 1
            except EOFError:
                process.join(30)
                assert process.exitcode == 0
                break
        with anyio.fail_after(90):
            assert await halfway_or_done(target)
    assert kills >= 5
    assert await contents(target) == await contents(source)


async def halfway_or_done(target):
    """Return whether a daemon refuses the target; if none does, the copy must be whole."""
    while True:
        try:
            async with open_store(target, SettableClock()):
                return True
        except StoreLockedError:
            await anyio.sleep(0.02)  # the server has not noticed yet that the process is gone
        except StoreError as error:
            assert "a copy into it has not ended (repeat" in str(error)  # noqa: PT017
            return True


async def test_a_target_that_has_something_in_it_is_left_alone(urls):
    source, target = urls
    await fill(source)
    async with open_store(target, SettableClock()) as store:
        await store.add_watch(model.RuntimeWatch("own", {"type": "a"}, T0))
    before = await contents(target)
    with pytest.raises(StoreError, match=r"it is not empty: it has rows in watches \(name a new"):
        await copying.copy(source, target, nothing)
    assert await contents(target) == before


async def test_the_copy_of_a_store_that_has_ended_says_so(urls):
    source, target = urls
    await fill(source)
    await copying.copy(source, target, nothing)
    with pytest.raises(
        StoreError, match=r"not empty: .*\(the copy of this ledger has ended: start"
    ):
        await copying.copy(source, target, nothing)


async def test_a_store_that_is_used_while_it_is_copied_is_not_followed(sqlite_url, postgresql_url):
    await fill(sqlite_url)

    def use(what, done, _total):
        if (what, done) == ("comparing jobs", 0):
            file = sqlite.path_of(sqlite_url)
            with closing(sqlite3.connect(file)) as connection, connection:
                connection.execute("UPDATE ledger SET own_time = own_time + 1")

    with pytest.raises(StoreError, match=r"state.db: it was used while it was copied \(recreate"):
        await copying.copy(sqlite_url, postgresql_url, use)
    with pytest.raises(StoreError, match="a copy into it has not ended"):
        await checking.check(postgresql_url, nothing)


CHANGED = {
    "UPDATE transitions SET kind = 'other' WHERE position = 7": (
        r"transitions differs from its source at \(7,\) \(recreate the database"
    ),
    "DELETE FROM transitions WHERE position = 8": (
        r"\d+ rows of transitions were copied, of 91 \(recreate the database"
    ),
    "UPDATE jobs SET sequence = 9 WHERE id = 'job-4'": (
        r"jobs differs from its source at \('panorama.*job-4',\) \(recreate"
    ),
}


@pytest.mark.parametrize("statement", CHANGED)
async def test_a_copy_that_was_changed_meanwhile_is_found(urls, monkeypatch, statement):
    source, target = urls
    await fill(source)
    await interrupted(source, target, monkeypatch)
    open_target = connect.open_database(target, copying=True)
    async with open_target as opened:
        await executed(opened, statement)
    with pytest.raises(StoreError, match=CHANGED[statement]):
        await copying.copy(source, target, nothing)
    with pytest.raises(StoreError, match="a copy into it has not ended"):
        await checking.check(target, nothing)


async def test_text_that_postgresql_does_not_take_is_cleaned(sqlite_url, postgresql_url):
    await fill(sqlite_url)
    async with connect.open_database(sqlite_url) as opened:
        await executed(opened, "UPDATE deliveries SET last_error = 'a' || char(0) WHERE id = 2")
    await copying.copy(sqlite_url, postgresql_url, nothing)
    before, after = await contents(sqlite_url), await contents(postgresql_url)
    changed = [
        (row, other)
        for row, other in zip(before["deliveries"], after["deliveries"], strict=True)
        if row != other
    ]
    [(row, other)] = changed
    assert [it for it in other if it not in row] == ["a\N{REPLACEMENT CHARACTER}"]


async def test_a_database_that_sorts_otherwise_goes_on_at_the_right_row(
    sqlite_url, postgresql_server, postgresql_names, monkeypatch
):
    await fill(sqlite_url)
    async with open_store(sqlite_url, SettableClock()) as store:
        for name in (f"{letter}{number}" for letter in "aBcDäZ_-" for number in range(4)):
            await store.add_watch(model.RuntimeWatch(name, {"type": "a"}, T0))
    name = next(postgresql_names)
    postgresql_server.sql(
        f"CREATE DATABASE {name} TEMPLATE template0 ENCODING 'UTF8'"
        " LOCALE_PROVIDER icu ICU_LOCALE 'en-US' LC_COLLATE 'C' LC_CTYPE 'C'"
    )
    target = postgresql_server.url(name)
    monkeypatch.setattr(copying, "ROWS_AT_ONCE", 7)
    stops = 0
    for _ in range(10):
        come: list[int] = []

        def stop(what, done, _total, come=come):
            if what == "watches" and done:
                come.append(done)
                if len(come) == 2:
                    raise InterruptedError

        try:
            await copying.copy(sqlite_url, target, stop)
            break
        except InterruptedError:
            stops += 1
    assert stops >= 3
    assert await contents(target) == await contents(sqlite_url)


def test_each_table_is_copied_or_left_out_for_a_reason():
    copied = {table.name for table in copying.TABLES}
    assert copied.isdisjoint(copying.NOT_COPIED)
    assert all(copying.NOT_COPIED.values())
    assert copied | {*copying.NOT_COPIED, "ledger"} == {*schema.metadata.tables}


async def test_a_store_that_was_used_meanwhile_is_not_copied_on(urls, monkeypatch):
    source, target = urls
    await fill(source)
    await interrupted(source, target, monkeypatch)
    async with open_store(source, SettableClock()) as store:
        assert await store.record(entry(1, 4))
    with pytest.raises(StoreError, match=r"before it was used again, has not ended .recreate the"):
        await copying.copy(source, target, nothing)


async def interrupted(source, target, monkeypatch):
    """Copy a part."""
    monkeypatch.setattr(copying, "ROWS_AT_ONCE", 7)

    def stop(table, done, _total):
        if table == "transitions" and done > 20:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        await copying.copy(source, target, stop)


async def test_a_store_in_use_is_neither_copied_nor_checked(urls):
    source, target = urls
    await fill(source)
    async with open_store(source, SettableClock()):
        for work in (copying.copy(source, target, nothing), checking.check(source, nothing)):
            with pytest.raises(StoreLockedError):
                await work


async def test_without_a_source_nothing_is_made(urls):
    source, target = urls
    with pytest.raises(StoreError, match="there is n"):
        await copying.copy(source, target, nothing)
    with pytest.raises(StoreError, match="there is n"):
        await checking.check(target, nothing)


BROKEN = {
    "UPDATE ledger SET position = 80": r"11 transitions lie after the position of the ledger: 81, ",
    "DELETE FROM ledger": "the table ledger has 0 rows instead of one",
    "UPDATE jobs SET sequence = 2 WHERE id = 'job-4'": (
        r"1 transitions are newer than the snapshot of their job: \d+$"
    ),
    "UPDATE sources SET sequence = 0": (
        r"1 transitions are newer than what is known of their source: 91$"
    ),
    "UPDATE deliveries SET key = 'other' WHERE id = 70": (
        "1 deliveries are of another job than their transition: 70$"
    ),
    "UPDATE deliveries SET due_at = 1 WHERE id = (SELECT max(id) FROM deliveries"
    " WHERE status = 'pending' AND sink = 'pager')": (
        r"1 pending deliveries are not the first of their job, and fall due: \d+$"
    ),
    "UPDATE deliveries SET due_at = NULL WHERE id = (SELECT min(id) FROM deliveries"
    " WHERE status = 'pending' AND sink = 'ops')": (
        r"1 pending deliveries are the first of their job, and never fall due: \d+$"
    ),
    "UPDATE deliveries SET due_at = 1 WHERE status = 'delivered'": (
        r"11 deliveries that are not pending fall due: \d+, \d+, \d+, \d+, \d+, …$"
    ),
    "UPDATE transitions SET event = '{' WHERE position = 5": (
        "1 transitions have an event that is not theirs: 5$"
    ),
    "UPDATE transitions SET event_id = 'x' WHERE position = 6": (
        "1 transitions have an event that is not theirs: 6$"
    ),
    "UPDATE jobs SET snapshot = '{}' WHERE id = 'job-4'": (
        "1 jobs have a snapshot that is not theirs: panorama.*job-4$"
    ),
}


@pytest.mark.parametrize("statement", BROKEN)
async def test_what_is_wrong_in_a_store_is_named(store_url, statement):
    await fill(store_url)
    report = await checking.check(store_url, nothing)
    assert report.problems == []
    assert (report.rows["jobs"], report.rows["transitions"]) == (JOBS, 3 * JOBS + 1)
    async with connect.open_database(store_url) as opened:
        await executed(opened, statement)
    problems = (await checking.check(store_url, nothing)).problems
    assert any(re.match(BROKEN[statement], problem) for problem in problems), problems


async def test_deliveries_without_a_transition_are_named(sqlite_url, monkeypatch):
    await fill(sqlite_url)
    # SQLite alone lets itself be written to without its references.
    with monkeypatch.context() as patched:
        patched.setattr(sqlite, "_enforce_references", lambda _: None)
        async with connect.open_database(sqlite_url) as opened:
            await executed(opened, "DELETE FROM transitions WHERE position = 3")
    problems = (await checking.check(sqlite_url, nothing)).problems
    assert any("2 deliveries have no transition: " in each for each in problems)
    assert any("2 lines of PRAGMA foreign_key_check: deliveries" in each for each in problems)
