"""``job-monitor replicas``: from the store of several daemons, and from one that runs."""

import json
from contextlib import AsyncExitStack, asynccontextmanager

import asyncpg  # type: ignore[import-untyped]
import pytest
import yaml

from monitor import simulator
from monitor.clock import SystemClock
from monitor.stores.store import open_store
from tests.acceptance.program import configure, fetch, packages, run, running, until
from tests.contracts import postgresql_kit

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def server(postgresql_cluster):
    with postgresql_kit.server("-c fsync=off", cluster=postgresql_cluster) as made:
        yield made


def written(directory, url):
    """Write a configuration with this store; return its file."""
    file = directory / "monitor.yaml"
    file.write_text(yaml.safe_dump({"store": url, "sinks": {"audit": {"type": "log"}}}))
    return file


async def printed(config, *options, directory):
    code, out, err = await run("replicas", "-c", config, *options, directory=directory)
    assert code == 0, err
    return [line.split() for line in out.splitlines()], err


@asynccontextmanager
async def member(url, name, owned=(), generation="a1b2c3d4e5f6"):
    """Take part in a store as a daemon does that owns something."""
    async with open_store(url, SystemClock(), name=name, version="1.2.3") as store:
        assert store.replicas
        await store.replicas.own(owned)
        await store.replicas.beat({"generation": generation, "wants": list(owned)}, {}, ())
        yield store


async def shift(url, name, seconds):
    """Move the last sign of life of a replica."""
    connection = await asyncpg.connect(url)
    moved = "UPDATE replicas SET seen_at = seen_at + $1 WHERE name = $2"
    await connection.execute(moved, seconds * 10**6, name)
    await connection.close()


OF_A = ("sink:hook", "source:panorama/prod/us-east-1", "source:batch/prod/us-east-1", "upkeep")


async def test_the_store_says_who_lives_and_owns_what(tmp_path, server):
    url = server.create("owners")
    config = written(tmp_path, url)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(member(url, "pod-a", OF_A))
        await stack.enter_async_context(member(url, "pod-b", ("sink:audit", *OF_A)))
        async with member(url, "pod-c", ("sink:other",)):
            for name in ("pod-a", "pod-b", "pod-c"):
                await shift(url, name, 600)  # however long the commands take
            (head, *rows), err = await printed(config, directory=tmp_path)
            assert head == [
                "NAME",
                "STATE",
                "AGE",
                "VERSION",
                "CONFIG",
                "SOURCES",
                "SINKS",
                "UPKEEP",
            ]
            assert [(row[0], row[1], *row[4:]) for row in rows] == [
                ("pod-a", "alive", "a1b2c3d4e5f6", "2", "1", "yes"),
                ("pod-b", "alive", "a1b2c3d4e5f6", "0", "1", "-"),
                ("pod-c", "alive", "a1b2c3d4e5f6", "0", "1", "-"),
            ]
            assert err == ""
        # One ends without a word, and one says nothing for a minute.
        await shift(url, "pod-b", -660)
        (_, *rows), _ = await printed(config, directory=tmp_path)
        assert [row[:2] for row in rows] == [
            ["pod-a", "alive"], ["pod-b", "stale"], ["pod-c", "gone"],
        ]  # fmt: skip
        assert rows[2][5:] == ["0", "0", "-"]
        (names, _), (wide, _) = [
            await printed(config, "-o", form, directory=tmp_path) for form in ("name", "wide")
        ]
        assert names == [["pod-a"], ["pod-b"], ["pod-c"]]
        assert wide[1][-3:] == ["hook", "batch/prod/us-east-1,", "panorama/prod/us-east-1"]
        _, out, _ = await run("replicas", "-c", config, "-o", "json", directory=tmp_path)
        first = json.loads(out)[0]
        assert first["owned_sources"] == ["batch/prod/us-east-1", "panorama/prod/us-east-1"]
        assert (first["owned_sinks"], first["upkeep"], first["alive"]) == (["hook"], True, True)


async def test_replicas_with_different_configurations_are_named(tmp_path, server):
    url = server.create("generations")
    config = written(tmp_path, url)
    async with member(url, "pod-a"), member(url, "pod-b", generation="0f0f0f0f0f0f"):
        await shift(url, "pod-a", 600)
        await shift(url, "pod-b", 600)
        rows, err = await printed(config, directory=tmp_path)
    assert [row[4] for row in rows[1:]] == ["a1b2c3d4e5f6", "0f0f0f0f0f0f"]
    assert err == (
        "The replicas have different configurations: a1b2c3d4e5f6 (1), 0f0f0f0f0f0f (1)\n"
    )


async def test_a_store_that_cannot_be_shared_says_so_on_one_line(tmp_path):
    config = written(tmp_path, f"sqlite://{tmp_path}/state.db")
    async with open_store(f"sqlite://{tmp_path}/state.db", SystemClock()):
        pass
    code, out, err = await run("replicas", "-c", config, directory=tmp_path)
    assert (code, err) == (0, "")
    assert out == "The store cannot be shared, so there are no replicas: that needs PostgreSQL.\n"
    assert await run("replicas", "-c", config, "-o", "json", directory=tmp_path) == (0, "[]\n", "")


async def test_a_store_that_no_daemon_uses_has_no_replicas(tmp_path, server):
    url = server.create("empty")
    async with open_store(url, SystemClock()) as store:
        assert store.replicas
        await store.replicas.leave()
    code, out, _ = await run("replicas", "-c", written(tmp_path, url), directory=tmp_path)
    assert (code, out.count("\n")) == (0, 1)
    assert out.startswith("There are no replicas")


async def test_a_daemon_lists_itself_and_names_itself_as_owner(tmp_path, server):
    scenario = {"jobs": [{"id": "pkg-1", "service": "panorama"}]}
    async with simulator.running(scenario) as sim:
        config = configure(tmp_path, sim, store=server.create("daemon"), watches=[packages()])
        async with running("run", "-c", config, directory=tmp_path) as program:
            url = await program.started()
            await until(lambda: program.logged("job.transitioned"))

            async def listed(command, *options):
                given = (command, "--server", url, *options)
                code, out, err = await run(*given, directory=tmp_path)
                assert (code, err) == (0, ""), err
                return out

            (told,) = json.loads(await listed("replicas", "-o", "json"))
            assert told["own"]
            assert told["owned_sources"] == ["panorama/sim/us-east-1"]
            assert (told["owned_sinks"], told["upkeep"]) == (["hook"], True)
            code, out, _ = await run("replicas", "-c", config, "-o", "json", directory=tmp_path)
            (stored,) = json.loads(out)
            passing = {"own", "seen_at", "alive"}  # it may be slow on a busy machine
            assert (code, stored.keys()) == (0, told.keys())
            assert {stored[name] == told[name] for name in told.keys() - passing} == {True}
            for command in ("sources", "sinks"):
                (head, row) = (await listed(command, "-o", "wide")).splitlines()
                assert row[head.index("REPLICA") :].split()[0] == told["name"]
                assert "REPLICA" not in await listed(command)
            _, _, text = await fetch(f"{url}/api/v1/status")
            status = json.loads(text)
            assert (status["replica"], status["generation"]) == (told["name"], told["generation"])
