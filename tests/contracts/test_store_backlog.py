"""How fast the questions of the dispatchers are answered over a large backlog."""

import time
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa

from monitor import model
from monitor.stores import outbox, queries, schema
from monitor.stores.store import open_store
from tests.contracts.store_examples import (
    SECOND,
    T0,
    SettableClock,
    delivered,
    entry,
    executed,
    failed,
)

MANY = 100_000
LIMIT = 0.05
"""Seconds for one answer at its best, unless the machine is slow: see ``_limit``."""

_NUMBERS = f"""
    WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < {MANY})
"""
_TRANSITIONS = """
    INSERT INTO transitions (position, key, sequence, event_id, kind, observed_at, event)
    {numbers}
    SELECT n, 'k', n, 'e' || n, 'job.updated', 0, '{{"id": "e"}}' FROM numbers
"""
_DELIVERIES = """
    INSERT INTO deliveries (position, sink, key, status, attempts, created_at, due_at)
    {numbers}
    SELECT n, '{sink}', {key}, 'pending', 0, {time} + n, {due} FROM numbers
"""


_DAY = 86400 * 10**6
_YESTERDAY = (T0 - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1) - _DAY
_SINKS = {
    "wide": ("'k' || n", f"{_YESTERDAY} + n"),
    "deep": ("'k'", f"CASE n WHEN 1 THEN {_YESTERDAY} END"),
    "waiting": ("'k' || n", f"{_YESTERDAY + 10 * _DAY} + n"),
}
"""Many jobs with one delivery each, one job with many, and many jobs that all wait."""


async def _fill(store, sinks):
    statements = [
        _TRANSITIONS.format(numbers=_NUMBERS),
        f"UPDATE ledger SET position = {MANY}",
        *(
            _DELIVERIES.format(numbers=_NUMBERS, sink=sink, key=key, due=due, time=_YESTERDAY)
            for sink, (key, due) in _SINKS.items()
            if sink in sinks
        ),
    ]
    await executed(store._database, *statements)


async def _best(call, rounds=5):
    times = []
    for _ in range(rounds):
        started = time.perf_counter()
        await call()
        times.append(time.perf_counter() - started)
    return min(times)


async def _limit(store):
    """Return how many seconds an answer may take here: a scan of the table takes several times."""
    scan = sa.text("SELECT count(*) FROM deliveries WHERE attempts < 0 AND last_error = 'x'")
    took = await _best(lambda: store._database.read(lambda reader: reader.scalar(scan)))
    return max(LIMIT, took / 3)


async def test_a_backlog_of_a_hundred_thousand_slows_nobody_down(store_url):
    async with open_store(store_url, SettableClock()) as store:
        await _fill(store, _SINKS)
        times, limit = {}, await _limit(store)
        for sink, found in (("wide", 20), ("deep", 1), ("waiting", 0)):
            assert len(await store.due(sink, T0, 20)) == found
            times["due", sink] = await _best(lambda sink=sink: store.due(sink, T0, 20))
            times["next_due", sink] = await _best(lambda sink=sink: store.next_due(sink, T0))
            times["advance", sink] = await _best(lambda sink=sink: _step(store, sink))
        assert {name: took for name, took in times.items() if took > limit} == {}
        assert {(one.sink, one.pending) for one in await store.backlog()} == {
            ("wide", MANY - 5),
            ("deep", MANY - 5),
            ("waiting", MANY - 5),
        }
        assert await _best(store.backlog) < 20 * limit


async def _step(store, sink):
    """Settle one and let the next of its line follow."""
    first, *_ = await store.due(sink, T0 + timedelta(days=30), 1)
    await store.settle(delivered(first))


async def test_the_line_of_one_job_stays_in_order_to_its_end(store_url):
    async with open_store(store_url, SettableClock()) as store:
        for sequence in range(1, 51):
            assert await store.record(entry(1, sequence))
        told = []
        while found := await store.due("ops", T0 + SECOND, 10):
            (one,) = found
            if one.attempts == 0:
                await store.settle(failed(one, T0 + SECOND))
            else:
                told.append(one.event["data"]["sequence"])
                await store.settle(delivered(one))
        assert told == list(range(1, 51))


def _plans():
    status = model.DeliveryStatus
    return {
        "due": (queries.due("wide", T0, 20), "deliveries_first (sink=? AND due_at<?)"),
        "next_due": (queries.next_due("wide", T0), "COVERING INDEX deliveries_first"),
        "pending": (queries.PENDING, "COVERING INDEX deliveries_line"),
        "tried": (queries.TRIED, "COVERING INDEX deliveries_tried"),
        "dead": (queries.DEAD, "INDEX deliveries_settled (status=?)"),
        "events": (queries.events(5, 10, None), "INTEGER PRIMARY KEY (rowid>?)"),
        "events of a kind": (queries.events(5, 10, None, ["k"]), "transitions_kind (kind=? AND"),
        "events since": (
            queries.events(5, 10, None, None, T0),
            "COVERING INDEX transitions_observed_at (observed_at>?)",
        ),
        "events since, as the API asks": (
            queries.events(5, 10, None, None, T0, 9),
            "COVERING INDEX transitions_observed_at (observed_at>?)",
        ),
        "events since of a kind": (
            queries.events(5, 10, None, ["k"], T0, 9),
            "COVERING INDEX transitions_observed_at (observed_at>?)",
        ),
        "history of a kind": (queries.history(None, None, ["k"], 10), "transitions_kind (kind=?)"),
        "keys of an id": (queries.keys_of("one"), "INDEX jobs_id (id=?)"),
        "listing of the pending": (
            queries.listing([("wide", status.PENDING)], 5),
            "COVERING INDEX deliveries_line (sink=?)",
        ),
        "sinks": (queries.sinks_with(status.DEAD), "deliveries_settled (status=? AND sink>?)"),
        "counts": (queries.COUNTS, "COVERING INDEX jobs_place"),
        "jobs of a place": (
            queries.jobs_of(("t", "a", "r"), ["p"], "", 10),
            "jobs_place (type=? AND account=? AND region=? AND phase=? AND id>?)",
        ),
        "events of a job": (queries.events(5, 10, "k"), "sqlite_autoindex_transitions_1 (key=?)"),
        "oldest": (queries.oldest(5, 10), "INTEGER PRIMARY KEY (rowid>?)"),
        "listing": (queries.listing(None, 5), "SCAN deliveries\n"),
        "listing of the dead": (
            queries.listing([("wide", status.DEAD)], 5),
            "deliveries_settled (status=? AND sink=?)",
        ),
        "snapshot": (
            queries.SNAPSHOTS.where(schema.jobs.c.key == "k"),
            "sqlite_autoindex_jobs_1 (key=?)",
        ),
    }


@pytest.mark.parametrize("name", _plans())
async def test_every_question_is_answered_from_an_index(sqlite_url, name):
    statement, expected = _plans()[name]
    async with open_store(sqlite_url, SettableClock()) as store:
        plan = await _plan(store, statement)
    assert expected in plan
    # Few rows, or ids alone, may be sorted.
    sorts = name in {"listing of the pending", "keys of an id", "jobs of a place"}
    sorts |= name.startswith("events since")
    assert sorts or "TEMP B-TREE" not in plan


async def test_letting_the_next_of_a_line_follow_takes_two_steps_in_indexes(sqlite_url):
    async with open_store(sqlite_url, SettableClock()) as store:
        plan = await _plan(store, outbox.ADVANCE)
    assert "COVERING INDEX deliveries_line (sink=? AND key=?)" in plan
    assert "deliveries USING INTEGER PRIMARY KEY (rowid=?)" in plan
    assert "SCAN" not in plan


async def _plan(store, statement):
    def explained(connection):
        compiled = statement.compile(
            dialect=connection.dialect, compile_kwargs={"render_postcompile": True}
        )
        values = tuple(1 for _ in compiled.positiontup or ())
        found = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {compiled}", values)
        return "".join(f"{row.detail}\n" for row in found)

    return await store._database.read(explained)


async def _plan_of_postgresql(store, statement, *settings):
    def explained(connection):
        text = statement.compile(dialect=connection.dialect, compile_kwargs={"literal_binds": True})
        for setting in settings:
            connection.execute(sa.text(setting))
        return "\n".join(connection.execute(sa.text(f"EXPLAIN {text}")).scalars())

    return await store._database.read(explained)


async def test_postgresql_too_answers_from_the_indexes(postgresql_url):
    async with open_store(postgresql_url, SettableClock()) as store:
        await _fill(store, ["wide"])
        for statement in (queries.due("wide", T0, 20), queries.next_due("wide", T0)):
            plan = await _plan_of_postgresql(store, statement)
            assert "deliveries_first" in plan
            assert "Sort" not in plan


async def test_postgresql_finds_the_history_of_a_job_by_its_index(postgresql_url):
    """Keys of jobs sort by their bytes, those of transitions as the database does."""
    async with open_store(postgresql_url, SettableClock()) as store:
        statement = queries.history("one", None, None, 10)
        plan = await _plan_of_postgresql(store, statement, "SET enable_seqscan = off")
    assert "transitions_key_sequence" in plan
    assert "Seq Scan on transitions" not in plan
