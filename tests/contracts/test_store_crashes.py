"""A server or a process is killed in the midst of a commit or a migration: nothing is half."""

import asyncio
import random
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import anyio
import asyncpg  # type: ignore[import-untyped]
import pytest
import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from sqlalchemy.ext.asyncio import create_async_engine

from monitor.stores import schema, upgrade
from tests import rounds
from tests.contracts import postgresql_kit, store_child
from tests.contracts.test_store_processes import (
    _check,
    _child,
    _once_free,
    _until_the_end,
    processes,
)

__all__ = ["processes"]
KILLS = 6
MANY = 20_000
"""Transitions of the old store: their migration takes long enough to be hit."""


async def test_what_was_acknowledged_survives_the_death_of_the_server(
    processes, postgresql_cluster
):
    chance = random.Random(5)
    recorded: dict[str, int] = {}
    settled: set[int] = set()
    with postgresql_kit.server(cluster=postgresql_cluster) as server:
        url = server.create("ledger")

        def enough():
            return sum(recorded.values()) > KILLS and settled

        for _ in rounds.until_enough(KILLS, enough):
            with _child(processes, store_child.write, url) as (process, said):
                assert said.recv() == "open"
                # Not by time alone: on a busy machine little would be written before the kill.
                done = [said.recv() for _ in range(chance.randrange(8))]
                await anyio.sleep(chance.uniform(0.05, 0.3))
                server.kill()
                server.start()
                soon = time.monotonic() + 0.2
                while time.monotonic() < soon and said.poll():
                    done.append(said.recv())
                # It goes on with the server that is there again.
                assert said.poll(60)
                process.kill()
                done += _until_the_end(said)
            settled |= {number for word, number in done if word == "settled"}
            recorded.update(each for each in done if each[0] != "settled")
            with anyio.fail_after(90):
                async with await _once_free(url) as store:
                    await _check(store, recorded, settled)
    assert sum(recorded.values()) > KILLS
    assert settled


ADD_MANY = (
    "INSERT INTO transitions (position, key, sequence, event_id, kind, observed_at, event,"
    " own_recorded) SELECT 1000 + n, 'panorama.package-import/prod/us-east-1/many-' || n, 1,"
    " 'id-' || n, 'job.updated', 1772366400000000, '{\"subject\": \"many\"}', 1772366400000000 FROM"
)


@pytest.fixture
def old_sqlite(tmp_path):
    """Return a function that makes a store of revision 0005 with many transitions."""

    def make(number):
        path = tmp_path / f"old-{number}.db"
        with closing(sqlite3.connect(path)) as connection:
            connection.executescript(Path(__file__).with_name("store_0005.sql").read_text())
            numbers = "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n <"
            connection.execute(f"{numbers} {MANY}) {ADD_MANY} c")
            connection.execute(f"UPDATE ledger SET position = {1000 + MANY}")
            connection.commit()
        return f"sqlite://{path}"

    return make


@pytest.fixture
def old_postgresql(postgresql_server, postgresql_names):
    """Return a function that copies a database of revision 0005 with many transitions."""
    template = next(postgresql_names)
    url = postgresql_server.create(template)
    asyncio.run(_make_0005(url))
    made = [template]

    def copy(number):
        made.append(f"{template}_{number}")
        return postgresql_server.create(made[-1], template)

    yield copy
    for name in made:
        postgresql_server.drop(name)


async def _make_0005(url):
    async def connect():
        return await asyncpg.connect(url)

    engine = create_async_engine("postgresql+asyncpg://", async_creator=connect)
    async with engine.begin() as connection:
        await connection.run_sync(_at_0005)
    await engine.dispose()


def _at_0005(connection):
    schema.prepare("postgresql")
    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", str(upgrade.MIGRATIONS))
    command.upgrade(config, "0005")
    connection.execute(schema.ledger.update().values(position=1000 + MANY))
    connection.execute(sa.text(f"{ADD_MANY} generate_series(1, {MANY}) n".replace(":", "\\:")))


@pytest.fixture(params=["sqlite", "postgresql"])
def make_old(request):
    return request.getfixturevalue(f"old_{request.param}")


async def test_a_kill_in_the_midst_of_a_migration_leaves_the_old_store_or_the_new_one(
    processes, make_old
):
    """The times are those of the fastest migration so far: the machine may be busy at any."""
    chance, hits = random.Random(3), [0]
    took = _migration_time(processes, make_old("whole"))
    for number in rounds.until_enough(KILLS, lambda: sum(hits) > KILLS / 2):
        url = make_old(number)
        with _child(processes, store_child.migrate, url) as (process, said):
            assert said.recv() == "begin"
            began = time.monotonic()
            if said.poll(chance.uniform(0.1, 1.0) * took):
                took = min(took, time.monotonic() - began)
            process.kill()
            hits.append("open" not in _until_the_end(said))
        with anyio.fail_after(90):
            async with await _once_free(url) as store:
                assert await store.position() == 1000 + MANY
                events = await store.transitions(after=1000, limit=2 * MANY)
                assert [position for position, _ in events] == [*range(1001, 1001 + MANY)]
                assert await store._database.read(_tables) == _TABLES
    assert sum(hits) > KILLS / 2


_TABLES = {
    name: {index.name for index in table.indexes} for name, table in schema.metadata.tables.items()
}


def _tables(connection):
    """Return the indexes of each table, without those of constraints."""
    found = sa.inspect(connection)
    return {
        name: {
            each["name"] for each in found.get_indexes(name) if "duplicates_constraint" not in each
        }
        for name in found.get_table_names()
        if name not in {"alembic_version", "job_texts", "job_texts_progress"}
    }


def _migration_time(processes, url):
    with _child(processes, store_child.migrate, url) as (_, said):
        assert said.recv() == "begin"
        began = time.monotonic()
        assert said.recv() == "open"
        return time.monotonic() - began
