import asyncio
import threading
from dataclasses import replace
from datetime import timedelta
from functools import partial
from uuid import UUID

import anyio
import pytest

from monitor import model
from monitor.errors import StoreError
from monitor.stores import schema, writes
from monitor.stores.store import open_store
from tests.contracts import store_examples as examples
from tests.contracts.store_examples import SECOND, T0, dead, delivered, entry, executed, failed, job

PENDING, DELIVERED, DEAD, *_ = model.DeliveryStatus


@pytest.fixture
def clock():
    return examples.SettableClock()


@pytest.fixture
def opened(store_url, clock):
    """Open the store under test; each test enters it itself, as often as it likes."""
    return partial(open_store, store_url, clock)


@pytest.fixture
def opened_new(new_store_url, clock):
    """Open a store that is made by the first who opens it."""
    return partial(open_store, new_store_url, clock)


async def _together(*calls):
    """Run calls concurrently; return their results in order."""
    results = [None] * len(calls)

    async def one(number, call):
        results[number] = await call

    with anyio.fail_after(60):
        async with anyio.create_task_group() as tasks:
            for number, call in enumerate(calls):
                tasks.start_soon(one, number, call)
    return results


async def _only(store, sink="ops", now=T0):
    (delivery,) = await store.due(sink, now, 10)
    return delivery


async def _numbers(store, sink="ops", now=T0, limit=10):
    return [
        (one.event["subject"], one.event["data"]["sequence"])
        for one in await store.due(sink, now, limit)
    ]


# --- snapshots and transitions


async def test_what_was_recorded_is_there_after_a_restart(opened_new):
    async with opened_new() as store:
        assert await store.record(entry()) is True
    async with opened_new() as store:
        assert await store.snapshot(job().key) == examples.snapshot()
        assert await store.snapshots() == [examples.snapshot()]
        ((position, event),) = await store.transitions()
        assert (position, event["subject"], event["data"]["sequence"]) == (1, "job-1", 1)
        assert (await _only(store)).event == event


async def test_an_unknown_job_has_no_snapshot(opened):
    async with opened() as store:
        assert await store.snapshot("none") is None
        assert await store.snapshots() == []
        assert await store.sources() == []


async def test_a_source_is_remembered_apart_from_the_jobs(opened):
    async with opened() as store:
        assert await store.record(examples.source_entry(1))
        assert await store.record(examples.source_entry(2, available=True))
        assert await store.sources() == [examples.source(2, available=True)]
        assert await store.snapshots() == []
        assert (await _only(store)).key == examples.source().source.key


async def test_a_ledger_keeps_the_identity_it_was_made_with(opened_new):
    async with opened_new() as store:
        first = store.ledger_id
    async with opened_new() as store:
        assert store.ledger_id == first
        assert str(UUID(first)) == first


async def test_a_record_behind_another_one_is_refused_and_leaves_nothing(opened):
    async with opened() as store:
        assert await store.record(entry(state="PENDING"))
        assert await store.record(entry(state="OTHER")) is False
        assert await store.record(entry(sequence=3)) is False
        assert (await store.snapshot(job().key)).state == "PENDING"
        assert len(await store.transitions()) == 1
        assert len(await store.deliveries()) == 1


async def test_one_of_many_concurrent_writers_of_a_job_wins(opened):
    async with opened() as store:
        for sequence in range(1, 4):
            calls = [store.record(entry(sequence=sequence, state=f"S{i}")) for i in range(20)]
            results = await _together(*calls)
            assert results.count(True) == 1
            known = await store.snapshot(job().key)
            assert known.state == f"S{results.index(True)}"


async def test_two_stores_on_one_database_never_both_win(opened):
    async with opened(exclusive=False) as one, opened(exclusive=False) as other:
        for sequence in range(1, 21):
            calls = [
                store.record(entry(number, sequence, state=name))
                for number in range(5)
                for store, name in ((one, "ONE"), (other, "OTHER"))
            ]
            results = await _together(*calls)
            assert [sum(results[i : i + 2]) for i in range(0, 10, 2)] == [1] * 5
        events = await one.transitions(limit=1000)
        assert [position for position, _ in events] == list(range(1, 101))
        for number in range(5):
            told = [event for _, event in events if event["subject"] == f"job-{number}"]
            assert [event["data"]["sequence"] for event in told] == list(range(1, 21))
        assert [first for _, first in await _numbers(one)] == [1] * 5


async def test_a_conflict_leaves_the_others_of_its_group_alone(opened):
    commits: list[float] = []
    async with opened(commits.append) as store:
        await store.record(entry(0))
        commits.clear()
        calls = [store.record(entry(number % 10)) for number in range(20)]
        results = await _together(*calls)
        assert results == [False] + [True] * 9 + [False] * 10
        assert len(commits) < 5
        assert len(await store.transitions()) == 10
        assert len(await store.deliveries()) == 10


async def test_two_steps_of_one_job_fit_into_one_group(opened):
    async with opened() as store:
        results = await _together(*(store.record(entry(sequence=n)) for n in range(1, 6)))
        assert results == [True] * 5
        assert (await store.snapshot(job().key)).sequence == 5
        assert await _numbers(store) == [("job-1", 1)]


async def test_an_entry_may_hold_several_transitions_each_with_its_own_sinks(opened):
    made = tuple(examples.transition(job(), number) for number in (1, 2, 3))
    several = model.Entry(examples.snapshot(sequence=3), 0, made, (("a", "b"), (), ("b",)))
    async with opened() as store:
        assert await store.record(several)
        rows = [(row.sink, row.position) for row in await store.deliveries()]
        assert sorted(rows) == [("a", 1), ("b", 1), ("b", 3)]


async def test_a_snapshot_may_be_kept_without_a_transition(opened):
    async with opened() as store:
        quiet = model.Entry(examples.snapshot(sequence=0), 0, (), ())
        assert await store.record(quiet)
        assert await store.record(quiet)
        assert await store.record(entry())


async def test_an_entry_with_a_gap_is_refused_before_anything_is_written(opened):
    async with opened() as store:
        with pytest.raises(ValueError, match="sequences"):
            await store.record(replace(entry(sequence=3), expected=1))
        assert await store.transitions() == []


async def test_a_value_that_json_cannot_hold_harms_only_its_own_caller(opened):
    async with opened() as store:
        with pytest.raises(TypeError):
            await store.record(entry(fields={"x": object()}))
        assert await store.record(entry())


async def test_the_outcomes_of_several_attempts_are_stored_together(opened):
    async with opened() as store:
        for number in (1, 2, 3):
            await store.record(entry(number))
            await store.record(entry(number, 2))
        first, second, third = await store.due("ops", T0, 10)
        await store.settle(delivered(first), dead(second), failed(third, T0 + SECOND))
        due = await store.due("ops", T0, 10)
        assert [(one.key, one.event["data"]["sequence"]) for one in due] == [
            (first.key, 2),
            (second.key, 2),
        ]
        (retried,) = (
            one
            for one in await store.deliveries(status=model.DeliveryStatus.PENDING)
            if one.id == third.id
        )
        assert (retried.attempts, retried.last_error) == (1, "timeout")


async def test_what_is_under_way_is_not_handed_out_again(opened):
    async with opened() as store:
        for number in range(5):
            await store.record(entry(number))
        first, second = await store.due("ops", T0, 2)
        others = await store.due("ops", T0, 2, {first.id, second.id})
        assert [one.key for one in others] == [job(2).key, job(3).key]
        assert len(await store.due("ops", T0, 10, {first.id, second.id})) == 3


async def test_concurrent_records_share_few_commits(opened):
    commits: list[float] = []
    async with opened(commits.append) as store:
        results = await _together(*(store.record(entry(number)) for number in range(200)))
        assert results == [True] * 200
        assert 1 <= len(commits) <= 10
        assert all(seconds >= 0 for seconds in commits)
        assert len(await store.snapshots()) == 200


async def test_a_caller_that_is_cancelled_takes_nobody_with_it(opened):
    async with opened() as store:
        for round_number in range(10):
            results: list[bool] = []

            async def one(number, results=results):
                results.append(await store.record(entry(number)))

            async with anyio.create_task_group() as others, anyio.create_task_group() as doomed:
                for number in range(20):
                    start = (others if number % 2 else doomed).start_soon
                    start(one, round_number * 100 + number)
                await anyio.sleep(0.001 * (round_number % 3))
                doomed.cancel_scope.cancel()
            assert results.count(True) >= 10
        await _assert_whole(store)
        assert await store.record(entry(9999))


async def test_a_reader_that_is_cancelled_leaves_the_store_usable(opened):
    async with opened() as store:
        await store.record(entry())
        for delay in range(20):
            with anyio.move_on_after(delay / 5000):
                while True:
                    await store.due("ops", T0, 10)
        assert len(await store.due("ops", T0, 10)) == 1


async def _assert_whole(store):
    """Every job has as many transitions as its sequence, each with its delivery."""
    events = await store.transitions(limit=100_000)
    for snapshot in await store.snapshots():
        told = [e for _, e in events if e["subject"] == snapshot.job.id]
        assert [e["data"]["sequence"] for e in told] == list(range(1, snapshot.sequence + 1))
    assert len(await store.deliveries(limit=100_000)) == len(events)


async def test_a_look_is_stored_only_if_it_is_later(opened):
    source_key = examples.source().source.key
    async with opened() as store:
        await store.record(entry())
        await store.record(examples.source_entry())
        looks = {job().key: T0 + SECOND, source_key: T0 + SECOND, "unknown": T0}
        await store.touch(looks)
        await store.touch({job().key: T0 - SECOND, source_key: T0})
        assert (await store.snapshot(job().key)).looked_at == T0 + SECOND
        assert (await store.sources())[0].looked_at == T0 + SECOND
        await store.touch({})


async def test_a_look_is_stored_only_for_what_it_has_shown(opened):
    """Another replica may have recorded a change that this one has not seen yet."""
    source_key = examples.source().source.key
    async with opened() as store:
        await store.record(entry())
        await store.record(entry(sequence=2))
        await store.record(examples.source_entry())
        looks = {job().key: T0 + SECOND, source_key: T0 + SECOND}
        before = (await store.snapshot(job().key)).looked_at
        await store.touch(looks, {job().key: 1, source_key: 2})
        assert (await store.snapshot(job().key)).looked_at == before
        assert (await store.sources())[0].looked_at < T0 + SECOND
        await store.touch(looks, {job().key: 2, source_key: 1})
        assert (await store.snapshot(job().key)).looked_at == T0 + SECOND
        assert (await store.sources())[0].looked_at == T0 + SECOND


async def test_many_looks_can_be_stored_at_once(opened):
    async with opened() as store:
        await _together(*(store.record(entry(number)) for number in range(10)))
        await store.touch({job(number).key: T0 + SECOND for number in range(2500)})
        assert {one.looked_at for one in await store.snapshots()} == {T0 + SECOND}


async def test_transitions_are_read_in_order_from_a_position_on(opened):
    async with opened() as store:
        for sequence in (1, 2, 3):
            for number in (1, 2):
                await store.record(entry(number, sequence))
        everything = await store.transitions()
        assert [position for position, _ in everything] == [1, 2, 3, 4, 5, 6]
        assert await store.transitions(after=4) == everything[4:]
        assert await store.transitions(after=1, limit=2) == everything[1:3]
        of_one = await store.transitions(key=job(2).key, after=2)
        assert [position for position, _ in of_one] == [4, 6]


# --- deliveries


async def test_only_the_first_of_each_job_is_due(opened):
    async with opened() as store:
        for sequence in (1, 2):
            for number in (1, 2):
                await store.record(entry(number, sequence))
        assert await _numbers(store) == [("job-1", 1), ("job-2", 1)]


async def test_the_next_of_a_job_follows_once_the_first_is_settled(opened):
    async with opened() as store:
        for sequence in (1, 2, 3):
            await store.record(entry(sequence=sequence))
        await store.settle(delivered(await _only(store)))
        assert await _numbers(store) == [("job-1", 2)]
        await store.settle(dead(await _only(store)))
        assert await _numbers(store) == [("job-1", 3)]
        await store.settle(delivered(await _only(store)))
        assert await _numbers(store) == []
        await store.record(entry(sequence=4))
        assert await _numbers(store) == [("job-1", 4)]


async def test_a_job_that_is_held_back_holds_back_no_other_job_and_no_other_sink(opened):
    async with opened() as store:
        for sequence in (1, 2):
            await store.record(entry(1, sequence, sinks=("a", "b")))
        await store.record(entry(2, sinks=("a",)))
        first, second = await store.due("a", T0, 10)
        await store.settle(failed(first, T0 + SECOND))
        assert await _numbers(store, "a") == [("job-2", 1)]
        assert await _numbers(store, "b") == [("job-1", 1)]
        assert await store.next_due("a", T0) == T0 + SECOND
        assert await store.next_due("a", T0 - SECOND) == second.due_at


async def test_a_failed_delivery_falls_due_again_at_its_time(opened):
    async with opened() as store:
        await store.record(entry())
        await store.settle(failed(await _only(store), T0 + SECOND))
        assert await store.next_due("ops", T0) == T0 + SECOND
        assert await store.due("ops", T0 + SECOND - timedelta(microseconds=1), 10) == []
        again = await _only(store, now=T0 + SECOND)
        assert (again.attempts, again.due_at, again.created_at) == (1, T0 + SECOND, T0)


async def test_every_attempt_counts_whatever_came_of_it(opened):
    async with opened() as store:
        for sequence in (1, 2):
            await store.record(entry(1, sequence))
        await store.settle(failed(await _only(store), T0))
        assert (await _only(store)).attempts == 1
        await store.settle(delivered(await _only(store)))
        await store.settle(delivered(await _only(store)))
        assert [row.attempts for row in await store.deliveries()] == [1, 2]


async def test_a_death_without_an_attempt_counts_none(opened):
    async with opened() as store:
        await store.record(entry())
        old = dead(await _only(store), error="no\x00 \n" + "x" * 1000)
        await store.settle(replace(old, attempted=False))
        (row,) = await store.deliveries()
        assert (row.status, row.attempts, row.settled_at, row.due_at) == (DEAD, 0, T0, None)
        assert len(row.last_error) == 200
        assert row.last_error.startswith("no\N{REPLACEMENT CHARACTER} x")


async def test_what_is_settled_stays_settled(opened):
    async with opened() as store:
        await store.record(entry())
        delivery = await _only(store)
        await store.settle(delivered(delivery, T0))
        await store.settle(failed(delivery, T0))
        await store.settle(dead(delivery, T0 + SECOND))
        (row,) = await store.deliveries()
        assert (row.status, row.settled_at, row.attempts) == (DELIVERED, T0, 1)
        assert await store.due("ops", T0, 10) == []


async def test_the_oldest_come_first_and_no_more_than_asked_for(opened, clock):
    async with opened() as store:
        for number in (3, 1, 2):
            await store.record(entry(number))
            clock.time += SECOND
        assert await _numbers(store, now=clock.time) == [("job-3", 1), ("job-1", 1), ("job-2", 1)]
        assert await _numbers(store, now=clock.time, limit=2) == [("job-3", 1), ("job-1", 1)]
        assert await _numbers(store, now=T0) == [("job-3", 1)]
        assert await store.next_due("ops", T0) == T0 + SECOND
        assert await store.next_due("ops", T0 - SECOND) == T0


async def test_a_record_and_a_settlement_in_one_group_keep_the_line(opened):
    async with opened() as store:
        await store.record(entry())
        for sequence in range(2, 30):
            first = await _only(store)
            await _together(store.settle(delivered(first)), store.record(entry(1, sequence)))
            assert await _numbers(store) == [("job-1", sequence)]


async def test_nothing_is_due_where_nothing_is(opened):
    async with opened() as store:
        assert await store.due("ops", T0, 10) == []
        assert await store.next_due("ops", T0) is None
        assert await store.backlog() == []


async def test_the_backlog_counts_what_each_sink_still_has_to_tell(opened, clock):
    async with opened() as store:
        for number in (1, 2, 3):
            await store.record(entry(number, sinks=("a", "b") if number < 3 else ("a",)))
            clock.time += SECOND
        first, second, _ = await store.due("a", clock.time, 10)
        await store.settle(delivered(first))
        await store.settle(dead(second))
        for one in await store.due("b", clock.time, 10):
            await store.settle(dead(one))
        assert sorted(await store.backlog(), key=lambda one: one.sink) == [
            model.Backlog("a", 1, T0 + 2 * SECOND, 1),
            model.Backlog("b", 0, None, 2),
        ]


async def test_deliveries_are_listed_newest_first_by_sink_and_status(opened):
    async with opened() as store:
        for number in (1, 2):
            await store.record(entry(number, sinks=("a", "b")))
        first, _ = await store.due("a", T0, 10)
        await store.settle(dead(first))
        rows = await store.deliveries()
        assert [row.id for row in rows] == sorted((row.id for row in rows), reverse=True)
        assert [row.key for row in await store.deliveries("a", DEAD)] == [job(1).key]
        assert [row.key for row in await store.deliveries("a", PENDING)] == [job(2).key]
        assert len(await store.deliveries(limit=3)) == 3
        assert rows[0].kind == "job.state_changed"


# --- store time


async def test_store_time_goes_on_from_run_to_run_and_no_wall_clock_moves_it(opened, clock):
    async with opened() as store:
        began = store.store_time()
        clock.time += 60 * SECOND
        assert store.store_time() == began + 60 * SECOND
        clock.step = timedelta(days=400)
        assert store.store_time() == began + 60 * SECOND
        await store.ping()
    for step in (timedelta(days=-400), timedelta(), timedelta(hours=1)):
        clock.step = step
        async with opened() as store:
            assert store.store_time() == began + 60 * SECOND
            assert store.set_back > 0 or step > timedelta()


async def test_a_pause_between_two_runs_shortens_what_waits_and_nothing_else(opened, clock):
    async with opened() as store:
        for number, wait in ((1, 30), (2, 3600)):
            await store.record(entry(number))
            (one,) = await store.due("ops", T0, 1)
            await store.settle(failed(one, T0 + wait * SECOND))
        await store.record(entry(3))
    clock.step = 1800 * SECOND
    async with opened() as store:
        assert store.store_time() == T0
        assert await _numbers(store) == [("job-1", 1), ("job-3", 1)]
        assert await store.next_due("ops", T0) == T0 + 1800 * SECOND
        assert {one.created_at for one in await store.due("ops", T0 + 3600 * SECOND, 9)} == {T0}
        shown = {row.key: row.due_at for row in await store.deliveries()}
        assert shown[job(2).key] == clock.now() + 1800 * SECOND


async def test_a_command_beside_the_daemon_takes_its_time_and_leaves_it_alone(opened, clock):
    async with opened() as store:
        await store.record(entry())
        await store.settle(dead(await _only(store)))
        clock.time += 60 * SECOND
        await store.ping()
        clock.step = timedelta(days=1)
        async with opened(exclusive=False, migrate=False) as beside:
            clock.time += 60 * SECOND
            assert beside.store_time() == T0 + 60 * SECOND
            assert await beside.replay([1]) == 1
        clock.step = timedelta()
        assert (await _only(store, now=store.store_time())).created_at == T0 + 60 * SECOND
        assert store.store_time() == T0 + 120 * SECOND


# --- retention


async def test_settled_history_is_forgotten_and_nothing_else(opened, clock):
    async with opened() as store:
        for sequence in range(1, 6):
            await store.record(entry(1, sequence, sinks=("a", "b")))
        for sequence, at in ((1, T0), (2, T0), (3, T0 + 9 * SECOND)):
            clock.time = at
            await store.settle(delivered(await _only(store, "a"), at))
            if sequence != 2:
                await store.settle(dead(await _only(store, "b"), at))
        assert await store.prune(T0 + 5 * SECOND) == 1
        assert [position for position, _ in await store.transitions()] == [2, 3, 4, 5]
        assert {row.position for row in await store.deliveries()} == {2, 3, 4, 5}
        assert await _numbers(store, "b") == [("job-1", 3)]


async def test_history_that_no_sink_wanted_is_forgotten_by_its_age(opened):
    async with opened() as store:
        await store.record(entry(sinks=()))
        assert await store.prune(T0) == 0
        assert await store.prune(T0 + SECOND) == 1


async def test_a_job_goes_on_counting_after_its_history_is_forgotten(opened):
    async with opened() as store:
        await store.record(entry(sinks=()))
        await store.prune(T0 + SECOND)
        assert await store.record(entry(sequence=2))
        ((position, event),) = await store.transitions()
        assert (position, event["data"]["sequence"]) == (2, 2)


async def test_much_is_forgotten_in_several_commits(opened):
    commits: list[float] = []
    async with opened(commits.append) as store:
        await _together(*(store.record(entry(number, sinks=())) for number in range(5000)))
        commits.clear()
        assert await store.prune(T0 + SECOND) == 5000
        # As many as the machine does in a moment each, within bounds.
        assert 3 <= len(commits) <= 50
        assert await store.transitions() == []
        assert len(await store.snapshots()) == 5000


# --- trouble


async def test_a_ping_commits_and_changes_nothing(opened):
    commits: list[float] = []
    async with opened(commits.append) as store:
        await store.ping()
        assert len(commits) == 1
        assert await store.record(entry())


async def test_what_goes_wrong_in_the_body_comes_out_as_it_is(opened):
    with pytest.raises(KeyError):
        async with opened():
            raise KeyError


async def test_a_closed_store_answers_with_an_error(opened):
    async with opened() as store:
        pass
    with pytest.raises(StoreError, match="closed"):
        await store.record(entry())
    with pytest.raises(StoreError, match="closed"):
        await store.snapshots()


async def test_an_error_while_committing_is_told_to_everybody_and_for_ever(opened):
    async with opened() as store:
        await store.record(entry())
        await executed(store._database, "DROP TABLE deliveries")

        async def refused(number):
            with pytest.raises(StoreError):
                await store.record(entry(number))

        await _together(*(refused(number) for number in range(2, 6)))
        for call in (store.ping, store.snapshots, store.backlog):
            with pytest.raises(StoreError, match="deliveries"):
                await call()


async def test_the_schema_is_the_one_that_the_statements_expect(opened):
    def difference(connection):
        from alembic.autogenerate import compare_metadata  # noqa: PLC0415
        from alembic.migration import MigrationContext  # noqa: PLC0415

        context = MigrationContext.configure(connection, opts={"include_name": is_of_the_schema})
        return compare_metadata(context, schema.metadata)

    def is_of_the_schema(name, kind, _parents):
        return kind != "table" or name not in {"job_texts", "job_texts_progress"}

    async with opened() as store:
        found = await store._database.transact(difference)
    assert found == []


async def test_two_that_share_a_new_database_do_not_both_make_its_tables(opened_new):
    found: list[str] = []

    async def one():
        async with opened_new(exclusive=False) as store:
            found.append(store.ledger_id)

    await _together(one(), one(), one())
    assert len(found) == 3
    assert len(set(found)) == 1


async def test_forgetting_never_takes_what_became_pending_meanwhile(opened):
    async with opened() as store:
        await store.record(entry())
        assert await store._commits.submit(writes.Prune(0, 1, T0 + SECOND)) == 0
        assert len(await store.transitions()) == 1


async def test_a_store_of_a_newer_version_is_refused(opened):
    async with opened() as store:
        await executed(store._database, "UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(StoreError, match="newer version"):
        async with opened():
            pass


async def test_the_last_transitions_of_several_jobs_are_read_at_once(opened):
    async with opened() as store:
        for number, sequence in ((1, 1), (2, 1), (1, 2), (3, 1), (1, 3)):
            await store.record(entry(number, sequence))
        found = await store.later({job(1).key: 1, job(2).key: 0, "unknown": 0})
        told = [(at, event["subject"], event["data"]["sequence"]) for at, event in found]
        assert told == [(2, "job-2", 1), (3, "job-1", 2), (5, "job-1", 3)]
        assert await store.later({}) == []


async def test_the_deliveries_of_some_transitions_are_read_at_once(opened):
    async with opened() as store:
        for number in (1, 2, 3):
            await store.record(entry(number, sinks=("ops", "audit")))
        found = await store.deliveries_of([1, 3])
        assert [(one.sink, one.position) for one in found] == [
            ("audit", 1),
            ("audit", 3),
            ("ops", 1),
            ("ops", 3),
        ]
        assert await store.deliveries_of([]) == []


# --- cancelled


async def test_a_read_whose_caller_gives_up_costs_no_connection(opened):
    """Broken off in the middle, it would leave its connection's thread and task behind."""
    given_up = 0
    async with opened() as store, anyio.create_task_group() as others:
        others.start_soon(anyio.sleep_forever)
        await _together(*(store.backlog() for _ in range(8)))
        tasks, threads = len(asyncio.all_tasks()), threading.active_count()
        for number in range(40):
            with anyio.move_on_after(number / 10_000) as caller:
                await _together(*(store.backlog() for _ in range(8)))
            given_up += caller.cancelled_caught
        assert given_up >= 5
        assert len(asyncio.all_tasks()) == tasks
        assert threading.active_count() == threads
        others.cancel_scope.cancel()


async def test_a_store_tells_whether_anybody_has_written(opened):
    async with opened() as store, opened(exclusive=False, migrate=False) as beside:
        for writer in (store, beside):
            before = store.written()
            await writer.park(model.Parking("ops", T0, "401"))
            assert store.written() != before
