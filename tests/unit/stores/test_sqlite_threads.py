import asyncio
import gc
import sqlite3
import threading
import time

import anyio
import pytest
import sqlalchemy as sa

from monitor.stores import sqlite_threads

LONG = "WITH RECURSIVE n(x) AS (SELECT start() UNION ALL SELECT 1 FROM n) SELECT count(*) FROM n"
"""A statement without an end."""


@pytest.fixture
def engine(tmp_path):
    return sa.create_engine(f"sqlite:///{tmp_path}/any.db", poolclass=sa.pool.NullPool)


@pytest.fixture
async def connection(engine):
    opened = await sqlite_threads.connect(engine)
    yield opened
    await opened.close()


def threads():
    return [each for each in threading.enumerate() if each.name == "store.sqlite"]


async def all_ended():
    with anyio.fail_after(60):
        while threads():  # noqa: ASYNC110 -- of the machine
            await anyio.sleep(0.01)


async def test_work_is_done_in_the_thread_of_its_connection(connection):
    assert await connection.run(lambda _: threading.current_thread()) in threads()
    assert threads()[0].daemon


async def test_a_transaction_is_whole(connection):
    def make(writer):
        writer.exec_driver_sql("CREATE TABLE found (x)")

    def insert(writer, error=None):
        writer.exec_driver_sql("INSERT INTO found VALUES (1)")
        if error:
            raise error

    def count(reader):
        return reader.exec_driver_sql("SELECT count(*) FROM found").scalar()

    await connection.transact(make)
    await connection.transact(insert)
    with pytest.raises(KeyError):
        await connection.transact(lambda writer: insert(writer, KeyError("any")))
    assert await connection.transact(count) == 1


@pytest.mark.parametrize("begun", [True, False])
async def test_the_statement_of_a_cancelled_caller_ends_and_the_next_one_works(connection, begun):
    start, wait = threading.Event(), threading.Event()
    told = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: told.append(context))

    def work(reader):
        reader.connection.driver_connection.create_function("start", 0, start.set)
        if not begun:
            wait.wait(60)
        reader.exec_driver_sql(LONG).all()

    reading = asyncio.ensure_future(connection.transact(work))
    await (asyncio.to_thread(start.wait, 60) if begun else asyncio.sleep(0.01))
    reading.cancel()
    await asyncio.sleep(0.05)
    wait.set()
    with anyio.fail_after(60), pytest.raises(asyncio.CancelledError):
        await reading
    one = sa.text("SELECT 1")
    assert await connection.transact(lambda reader: reader.scalar(one)) == 1
    # Nor does the log get its error, as one that nobody has asked for.
    del reading
    gc.collect()
    assert told == []


async def test_a_scope_that_cancels_again_and_again_waits_for_the_end_too(connection):
    ended, start = False, threading.Event()

    def work(reader):
        nonlocal ended
        reader.connection.driver_connection.create_function("start", 0, start.set)
        try:
            reader.exec_driver_sql(LONG).all()
        finally:
            ended = True

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(connection.transact, work)
        await asyncio.to_thread(start.wait, 60)
        tasks.cancel_scope.cancel()
    assert ended


async def test_a_thread_that_does_not_answer_is_given_up(engine, monkeypatch):
    monkeypatch.setattr(sqlite_threads, "_LONGEST_INTERRUPTION", 0.1)
    connection, wait = await sqlite_threads.connect(engine), threading.Event()
    with anyio.fail_after(60):
        with anyio.move_on_after(0.05):
            await connection.run(lambda _: wait.wait(30))
        await connection.close()
    wait.set()
    await all_ended()


async def test_what_cannot_be_opened_leaves_no_thread(tmp_path):
    engine = sa.create_engine(f"sqlite:///{tmp_path}/absent/any.db")
    with pytest.raises(sa.exc.OperationalError):
        await sqlite_threads.connect(engine)
    readers = sqlite_threads.Readers(engine, 1)
    for _ in range(2):
        with anyio.fail_after(60), pytest.raises(sa.exc.OperationalError):
            await readers.read(lambda _: None)
    await readers.close()
    await all_ended()


async def test_a_connection_that_is_opened_for_nobody_is_closed(engine, monkeypatch):
    monkeypatch.setattr(sqlite_threads, "_LONGEST_INTERRUPTION", 0.05)
    closed, begun, wait = [], threading.Event(), threading.Event()
    sa.event.listen(engine, "connect", lambda *_: begun.set())
    sa.event.listen(engine, "connect", lambda *_: wait.wait(60))
    sa.event.listen(engine, "close", lambda *_: closed.append(threading.current_thread()))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(sqlite_threads.connect, engine)
        await asyncio.to_thread(begun.wait, 60)
        tasks.cancel_scope.cancel()
    wait.set()
    await all_ended()
    assert [each.name for each in closed] == ["store.sqlite"]


async def test_readers_are_opened_as_they_are_needed_and_no_more_than_that(engine):
    readers, used = sqlite_threads.Readers(engine, 2), set()

    def work(_):
        used.add(threading.current_thread())
        time.sleep(0.02)

    await readers.read(work)
    assert len(threads()) == 1
    async with anyio.create_task_group() as tasks:
        for _ in range(6):
            tasks.start_soon(readers.read, work)
    assert len(used) == len(threads()) == 2
    await readers.close()
    await all_ended()


def test_work_that_ends_after_the_loop_harms_nobody(engine, monkeypatch):
    monkeypatch.setattr(sqlite_threads, "_LONGEST_INTERRUPTION", 0.05)
    wait = threading.Event()

    async def leave():
        connection = await sqlite_threads.connect(engine)
        with anyio.move_on_after(0.01):
            await connection.run(lambda _: wait.wait(30))
        await connection.close()

    asyncio.run(leave())
    wait.set()
    anyio.run(all_ended)


async def test_an_interruption_is_the_drivers(connection):
    with pytest.raises(sqlite3.OperationalError, match="interrupted"):
        await connection.run(_interrupted)


def _interrupted(connection):
    driver = connection.connection.driver_connection
    driver.create_function("start", 0, driver.interrupt)
    driver.execute(LONG).fetchall()
