import sys

import anyio
import asyncpg  # type: ignore[import-untyped]
import pytest

from monitor.errors import ConfigurationError, StoreError
from monitor.stores.store import open_store
from tests.contracts.store_examples import T0, SettableClock, entry


def _opened(url):
    return open_store(url, SettableClock())


async def _end_sessions(url, condition):
    connection = await asyncpg.connect(url)
    await connection.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        f" WHERE application_name = 'job-monitor' AND {condition}"
    )
    await connection.close()


async def test_losing_the_session_that_holds_the_lock_is_fatal(postgresql_url):
    async with _opened(postgresql_url) as store:
        await store.record(entry())
        holders = "pid IN (SELECT pid FROM pg_locks WHERE locktype = 'advisory')"
        await _end_sessions(postgresql_url, holders)
        for call in (store.ping, lambda: store.record(entry(2)), store.snapshots):
            with anyio.fail_after(5), pytest.raises(StoreError):
                await call()
        async with _opened(postgresql_url) as next_owner:
            assert len(await next_owner.snapshots()) == 1


async def test_the_loss_is_noticed_before_anything_is_asked_for(postgresql_url):
    async with _opened(postgresql_url) as store:
        await _end_sessions(postgresql_url, "true")
        await anyio.sleep(0.1)
        with pytest.raises(StoreError, match="closed"):
            store._database.check()


async def test_a_session_that_reads_is_opened_again(postgresql_url):
    async with _opened(postgresql_url) as store:
        await store.record(entry())
        readers = "pid NOT IN (SELECT pid FROM pg_locks WHERE locktype = 'advisory')"
        await _end_sessions(postgresql_url, readers)
        await anyio.sleep(0.1)
        assert len(await store.due("ops", T0, 10)) == 1


async def test_commits_are_durable_even_where_the_server_is_told_otherwise(postgresql_url):
    connection = await asyncpg.connect(postgresql_url)
    name = await connection.fetchval("SELECT current_database()")
    await connection.execute(f"ALTER DATABASE {name} SET synchronous_commit = off")
    await connection.close()
    async with _opened(postgresql_url) as store:
        writer = store._database.writer
        found = (await writer.exec_driver_sql("SHOW synchronous_commit")).scalar()
        await writer.rollback()
        assert found == "on"


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://ops:hunter2@127.0.0.1:1/db",
        "postgresql://ops:hunter2@nowhere.invalid/db",
        "postgresql://ops:hunter2@/db?host=/nonexistent",
        "postgresql://ops:hunter2@127.0.0.1:1/db?sslmode=nonsense",
    ],
)
async def test_a_server_that_cannot_be_reached_is_told_in_one_line(url):
    with anyio.fail_after(30), pytest.raises(StoreError) as caught:
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
