"""A large store is copied into PostgreSQL, killed again and again, and a daemon goes on there.

CI runs the quick form, ``make soak`` the long one: a million transitions, of which the rows in both
databases are compared one by one, by means of their own.
"""

import json
import os
import random
import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path
from signal import SIGTERM

import anyio
import asyncpg  # type: ignore[import-untyped]
import pytest

from monitor import simulator
from monitor.stores import copying
from tests import big_ledger
from tests.acceptance.program import SECRET, configure, packages, run, running, until
from tests.contracts import postgresql_kit

FORMS = [
    pytest.param(20_000, ["transitions"], id="quick", marks=pytest.mark.timeout(600)),
    pytest.param(
        *(1_000_000, ["transitions", "transitions", "deliveries", "deliveries"]),
        id="long",
        marks=[pytest.mark.soak, pytest.mark.timeout(3600)],
    ),
]
MOST_MEMORY = 300 * 1024
"""Kilobytes that the process may take, however large the store is."""
LAST = {"transitions": "position", "deliveries": "id"}
LONGEST = 1800.0
"""Seconds that a copy of a million transitions may take on a busy machine."""


class Target:
    """The target, seen by a session of its own."""

    def __init__(self, session):
        self._session = session

    async def last(self, table):
        """Return the key of the last row of a table; 0 before there is one."""
        try:
            return await self._session.fetchval(f"SELECT max({LAST[table]}) FROM {table}") or 0
        except asyncpg.UndefinedTableError:
            return 0

    async def rows(self, query):
        return [tuple(row) for row in await self._session.fetch(query)]

    async def reaches(self, table, key, program):
        """Wait until a table has a key; the program must not end before."""
        with anyio.fail_after(LONGEST):
            while await self.last(table) < key:
                assert program.alive, program.err
                await anyio.sleep(0.005)

    async def differences(self, file):
        """Compare every row of every table of a file with those here.

        Return how many rows of each are the same, or in words that some are not.
        """
        found: dict[str, int | str] = {}
        with closing(sqlite3.connect(file)) as source:
            tables = source.execute(
                "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
            )
            for (table,) in tables.fetchall():
                columns = source.execute(f"PRAGMA table_info({table})").fetchall()
                names = [f'"{each[1]}"' for each in columns]
                keys = [
                    (f'"{each[1]}"', ' COLLATE "C"' if each[2] in {"TEXT", "VARCHAR(32)"} else "")
                    for each in sorted(columns, key=lambda each: each[5])
                    if each[5]
                ]
                query = f"SELECT {', '.join(names)} FROM {table} ORDER BY "
                wanted = source.execute(query + ", ".join(name for name, _ in keys))
                async with self._session.transaction():
                    cursor = await self._session.cursor(query + ", ".join(map("".join, keys)))
                    compared = 0
                    while rows := wanted.fetchmany(2000):
                        copied = [tuple(row) for row in await cursor.fetch(len(rows))]
                        if copied != rows:
                            found[table] = "differs"
                        compared += len(rows)
                    if await cursor.fetch(1):
                        found[table] = "has more rows"
                found.setdefault(table, compared)
        return found


def most_memory(program):
    """Return the most kilobytes that a process took so far."""
    status = Path(f"/proc/{program.process.pid}/status").read_text("ascii")
    return int(status.partition("VmHWM:")[2].split()[0])


async def killed_in_the_midst(target, copy, tables, directory, whole):
    """Kill a copy once in each of these tables, at random, and each time in the midst."""
    chance = random.Random(int(os.environ.get("TEST_SEED", "1")))
    for table in tables:
        begun = await target.last(table)
        key = begun + 1 + chance.randrange((whole[table] - begun) // 2)
        async with running(*copy, directory=directory) as program:
            await target.reaches(table, key, program)
            assert await program.kill()
        await postgresql_kit.until_unlocked(copy[-1])
        assert begun < await target.last(table) < whole[table]
        code, _, err = await run("store", "check", copy[-1], directory=directory)
        assert (code, "a copy into it has not ended" in err) == (74, True)


async def copied(copy, directory):
    """Copy the rest; return what it said, and the most memory that it took."""
    most = 0
    async with running(*copy, directory=directory) as program:
        with anyio.fail_after(LONGEST):
            while program.alive:
                try:
                    most = max(most, most_memory(program))
                except (OSError, IndexError):
                    break  # it ends
                await anyio.sleep(0.05)
            assert (await program.ended(), program.err) == (0, "")
        return program.out, most


@pytest.mark.parametrize(("transitions", "kills"), FORMS)
async def test_a_copy_that_is_killed_goes_on_and_a_daemon_after_it(tmp_path, transitions, kills):
    file = tmp_path / "state.db"
    made = await big_ledger.make(file, transitions)
    with postgresql_kit.server("-c fsync=off", place=lambda: None) as server:  # it may be large
        url = server.create("jobs")
        session = await asyncpg.connect(url)
        try:
            target = Target(session)
            with closing(sqlite3.connect(file)) as source:
                whole = {
                    table: source.execute(f"SELECT max({key}) FROM {table}").fetchone()[0]
                    for table, key in LAST.items()
                }
            assert whole["transitions"] == made.transitions > transitions
            copy = ("store", "copy", f"sqlite://{file}", url)
            await killed_in_the_midst(target, copy, kills, tmp_path, whole)
            said, most = await copied(copy, tmp_path)
            assert "The target is the store now" in said
            assert 0 < most < MOST_MEMORY

            compared = await target.differences(file)
            assert {each for each in compared.values() if isinstance(each, str)} == set()
            assert compared["transitions"] == made.transitions
            assert compared["deliveries"] > transitions
            empty = {table for table, rows in compared.items() if not rows}
            assert empty == {*copying.NOT_COPIED}
            await a_daemon_goes_on(tmp_path, url, target, made, whole)
        finally:
            await session.close()


async def a_daemon_goes_on(directory, url, target, made, whole):
    """Start a daemon with the target: all that waits is sent once, and nothing has a gap."""
    live = made.jobs[: big_ledger.LIVE]
    names = [key.rpartition("/")[2] for key in live]
    scenario = {
        "jobs": [{"id": name, "service": "panorama"} for name in names],
        "receivers": {"hook": {"secrets": [SECRET]}},
    }
    async with simulator.running(scenario) as sim:
        watch = packages(discover=False, jobs=names)
        config = configure(directory, sim, watches=[watch], store=url)
        async with running("run", "-c", config, directory=directory) as program:
            await program.started()
            await until(lambda: sim.truth.received.count >= len(made.waiting()))
            for name in names:
                sim.change(name, Status="SUCCEEDED")
            await until(lambda: ended(sim) == set(names))
            code, _ = await program.stop(SIGTERM)
            assert code == 0, program.err
        sent = Counter(map(subject, sim.truth.received))
    new = await target.rows(
        "SELECT position, key, sequence FROM transitions"
        f" WHERE position > {whole['transitions']} ORDER BY position"
    )
    assert len(new) >= len(live)
    assert [row[0] for row in new] == [whole["transitions"] + n for n in range(1, len(new) + 1)]
    for key in live:
        mine = [sequence for _, of, sequence in new if of == key]
        assert mine == [big_ledger.SEQUENCES + n for n in range(1, len(mine) + 1)]
    expected = Counter({*made.waiting(), *((key, sequence) for _, key, sequence in new)})
    assert sent == expected
    first = f"SELECT min(id) FROM deliveries WHERE position > {whole['transitions']}"
    assert await target.rows(first) == [(whole["deliveries"] + 1,)]
    assert await target.rows("SELECT sink FROM sink_state") == [("parked",)]


def ended(sim):
    return {
        event["subject"]
        for event in map(event_of, sim.truth.received)
        if event["data"]["current"]["state"] == "SUCCEEDED"
    }


def event_of(record):
    return json.loads(record.body)


def subject(record):
    data = event_of(record)["data"]
    return data["job"]["key"], data["sequence"]
