import sys
from functools import partial

import anyio
import asyncpg  # type: ignore[import-untyped]
import pytest
import sqlalchemy as sa

from monitor.errors import ConfigurationError, StoreError, StoreLockedError
from monitor.stores import connect
from monitor.stores.store import open_store
from tests.contracts import postgresql_kit
from tests.contracts.store_examples import T0, SettableClock, entry


def _opened(url):
    return open_store(url, SettableClock())


async def test_without_the_lock_a_lost_session_is_fatal(postgresql_url):
    """A command that shares the store cannot know what was committed."""
    async with _opened(postgresql_url) as owner:
        await owner.record(entry())
    async with open_store(postgresql_url, SettableClock(), exclusive=False) as store:
        await postgresql_kit.end_sessions(postgresql_url)
        for call in (store.ping, lambda: store.record(entry(2))):
            with anyio.fail_after(60), pytest.raises(StoreError):
                await call()


async def test_the_loss_is_noticed_before_anything_is_asked_for(postgresql_url):
    async with _opened(postgresql_url) as store:
        await postgresql_kit.end_sessions(postgresql_url)
        with anyio.fail_after(60):
            with pytest.raises(StoreError, match="closed"):
                await _checked_on_and_on(store)


async def _checked_on_and_on(store):
    while True:  # the loop may have yet to read that the connection was closed
        store._database.check()
        await anyio.sleep(0.01)


async def test_a_session_that_reads_is_opened_again(postgresql_url):
    async with _opened(postgresql_url) as store:
        await store.record(entry())
        readers = "pid NOT IN (SELECT pid FROM pg_locks WHERE locktype = 'advisory')"
        await postgresql_kit.end_sessions(postgresql_url, readers)
        await anyio.sleep(0.1)
        assert len(await store.due("ops", T0, 10)) == 1


async def test_commits_are_durable_even_where_the_server_is_told_otherwise(postgresql_url):
    connection = await asyncpg.connect(postgresql_url)
    name = await connection.fetchval("SELECT current_database()")
    await connection.execute(f"ALTER DATABASE {name} SET synchronous_commit = off")
    await connection.close()
    async with _opened(postgresql_url) as store:
        query = sa.text("SHOW synchronous_commit")
        assert await store._database.transact(lambda writer: writer.scalar(query)) == "on"


def _scalar(connection, query):
    return connection.scalar(query)


def _through(server, url, port):
    name = url.partition("@/")[2].partition("?")[0]
    return f"postgresql://postgres@/{name}?host={server.home}&port={port}"


@pytest.mark.parametrize("size", [20, 1])
async def test_a_pooler_in_transaction_mode_is_refused(postgresql_server, postgresql_url, size):
    with (
        postgresql_kit.pooler(postgresql_server, "transaction", size) as port,
        anyio.fail_after(60),
    ):
        with pytest.raises(StoreError, match="pooler in transaction mode") as caught:
            async with _opened(_through(postgresql_server, postgresql_url, port)):
                pass
        assert "pool_mode = session" in str(caught.value)
        # It has left nothing behind that would keep the real owner out.
        async with _opened(postgresql_url) as store:
            await store.record(entry())


async def test_a_pooler_in_transaction_mode_is_refused_while_others_use_it(
    postgresql_server, postgresql_url
):
    """Sessions that come and go in the pool must not hide which one is ours."""
    with postgresql_kit.pooler(postgresql_server, "transaction") as port:
        url = _through(postgresql_server, postgresql_url, port)

        async def use():
            connection = await asyncpg.connect(url)
            while True:
                await connection.execute("SELECT pg_sleep(0.005)")

        async with anyio.create_task_group() as tasks:
            for _ in range(3):
                tasks.start_soon(use)
            await anyio.sleep(0.2)
            with anyio.fail_after(60), pytest.raises(StoreError, match="transaction mode"):
                async with _opened(url):
                    pass
            tasks.cancel_scope.cancel()


async def test_a_pooler_in_session_mode_is_taken(postgresql_server, postgresql_url):
    with postgresql_kit.pooler(postgresql_server, "session") as port:
        async with _opened(_through(postgresql_server, postgresql_url, port)) as store:
            await store.record(entry())
            assert len(await store.snapshots()) == 1
            with pytest.raises(StoreLockedError):
                async with connect.open_database(postgresql_url):
                    pass


async def test_sessions_have_time_limits_unless_the_role_has_its_own(postgresql_url):
    connection = await asyncpg.connect(postgresql_url)
    name = await connection.fetchval("SELECT current_database()")
    await connection.execute(f"ALTER DATABASE {name} SET lock_timeout = '3s'")
    await connection.close()
    url = f"{postgresql_url}&options=-c%20idle_in_transaction_session_timeout%3D7s"
    async with _opened(url) as store:
        found = {}
        for setting in ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout"):
            show = sa.text(f"SHOW {setting}")
            found[setting] = await store._database.transact(partial(_scalar, query=show))
    assert found == {
        "statement_timeout": "1min",
        "lock_timeout": "3s",
        "idle_in_transaction_session_timeout": "7s",
    }


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://ops:hunter2@127.0.0.1:1/db",
        "postgresql://ops:hunter2@nowhere.invalid/db",
        "postgresql://ops:hunter2@/db?host=/nonexistent",
        "postgresql://ops:hunter2@127.0.0.1:1,localhost:1/db",
    ],
)
async def test_a_server_that_cannot_be_reached_is_told_in_one_line(url):
    with anyio.fail_after(60), pytest.raises(StoreError) as caught:
        async with _opened(url):
            pass
    text = str(caught.value)
    assert "\n" not in text
    assert "hunter2" not in text
    assert "check the URL" in text


async def test_a_database_that_does_not_exist_is_told(postgresql_url):
    name = postgresql_url.partition("@/")[2].partition("?")[0]
    with pytest.raises(StoreError, match='database "absent" does not exist'):
        async with _opened(postgresql_url.replace(f"@/{name}?", "@/absent?")):
            pass


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://ops:hunter2/x@host/db",
        "postgresql://ops:12/hunter2@host/db",
        "postgresql://ops:hunter2@host:port/db",
        "postgresql://ops:[hunter2@host/db",
        "postgresql://ops:hun?ter2=x&hunter2@host/db",
        "postgresql://ops:1?hunter2=x@host/db",
        "postgresql://ops:1#hunter2@host/db",
        "postgresql://ops:x@hunter2@host/db",
    ],
)
async def test_a_url_that_cannot_be_read_is_refused_without_repeating_it(url):
    with pytest.raises(ConfigurationError, match="percent-encode") as caught:
        async with _opened(url):
            pass
    assert "hunter2" not in str(caught.value)


async def test_without_the_driver_the_remedy_is_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "asyncpg", None)
    with pytest.raises(ConfigurationError, match=r"aws-job-monitor\[postgresql\]"):
        async with _opened("postgresql://ops@127.0.0.1:1/db"):
            pass
