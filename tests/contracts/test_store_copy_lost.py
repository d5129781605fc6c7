"""A copy or a check loses its server, its connection or its room: it ends soon, and can go on."""

import os
import re
import subprocess
import tempfile
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path

import anyio
import pytest

from monitor.errors import StoreError, StoreLockedError
from monitor.stores import checking, connect, copying, postgresql_login, sqlite
from tests import big_ledger
from tests.contracts import postgresql_kit, postgresql_proxy
from tests.contracts.store_examples import executed
from tests.contracts.test_store_copy import contents, fill, nothing

GO_ON = r"; [1-9][\d,]* rows are copied: repeat the command to go on$"
SOON = 20.0
"""Seconds, on a busy machine, in which all of it must end once the time limit has passed."""


@pytest.fixture
def small(monkeypatch):
    """Let each commit have few rows, and a server that does not answer be given up soon."""
    monkeypatch.setattr(copying, "ROWS_AT_ONCE", 7)
    monkeypatch.setattr(postgresql_login, "_COMMAND_TIMEOUT", 1.0)


@pytest.fixture
def own_server(postgresql_cluster):
    """A server for this test alone, to be frozen."""
    with postgresql_kit.server("-c fsync=off", cluster=postgresql_cluster) as made:
        yield made


def in_the_midst(act):
    """Return what acts once some transitions are copied, and shall see that it did."""
    done: list[int] = []

    def on_rows(what, many, total):
        if what == "transitions" and many > 20 and not done:
            assert many < total
            done.append(many)
            act()

    return on_rows, done


async def ends_soon(work, words):
    """Require that a copy or check raises one line of these words, and in time."""
    began = time.monotonic()
    with pytest.raises(StoreError) as caught:
        await work
    assert time.monotonic() - began < SOON
    assert re.search(words, str(caught.value)), str(caught.value)
    assert "\n" not in str(caught.value)


async def goes_on(source, target):
    """Copy the rest, and compare all; a server may not know yet that the last copy has ended."""
    with anyio.fail_after(60):
        while True:
            try:
                await copying.copy(source, target, nothing)
                break
            except StoreLockedError:
                await anyio.sleep(0.05)
    assert await contents(source) == await contents(target)


@pytest.mark.parametrize("way", ["into", "out of"])
async def test_a_copy_ends_when_the_server_freezes(own_server, sqlite_url, small, way):
    postgresql = own_server.create("copied")
    ways = {"into": (sqlite_url, postgresql), "out of": (postgresql, sqlite_url)}
    source, target = ways[way]
    await fill(source)
    with ExitStack() as stack:
        on_rows, done = in_the_midst(lambda: stack.enter_context(own_server.frozen()))
        copy = copying.copy(source, target, on_rows)
        await ends_soon(copy, "the server did not answer in time" + GO_ON)
    assert done
    await goes_on(source, target)


async def test_a_check_ends_when_the_server_freezes(own_server, small):
    url = own_server.create("checked")
    await fill(url)
    with ExitStack() as stack:
        seen: list[str] = []

        def on_table(table):
            seen.append(table)
            if table == "transitions":
                stack.enter_context(own_server.frozen())

        await ends_soon(checking.check(url, on_table), "the server did not answer in time$")
        assert seen[-1] == "transitions"
        # Nor can it be opened now.
        own = f"{url}&connect_timeout=1"
        await ends_soon(checking.check(own, nothing), "the server did not answer within 1 s")


@pytest.mark.parametrize("half_open", [False, True])
async def test_a_copy_ends_when_the_connection_is_cut(
    postgresql_server, postgresql_url, sqlite_url, small, half_open
):
    await fill(sqlite_url)
    with tempfile.TemporaryDirectory(prefix="pg-proxy-") as directory:
        async with postgresql_proxy.running(postgresql_server, directory) as proxy:
            proxy.half_open = half_open
            name = postgresql_url.partition("@/")[2].partition("?")[0]
            through = f"postgresql://postgres@/{name}?host={directory}"
            on_rows, done = in_the_midst(proxy.cut_all)
            copy = copying.copy(sqlite_url, through, on_rows)
            await ends_soon(copy, "the connection to the server was lost" + GO_ON)
    assert done
    await goes_on(sqlite_url, postgresql_url)


async def test_a_copy_ends_when_a_statement_takes_too_long(postgresql_url, sqlite_url, small):
    await fill(sqlite_url)
    async with connect.open_database(postgresql_url) as opened:
        await executed(
            opened,
            "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS"
            " 'BEGIN PERFORM pg_sleep(60); RETURN NEW; END'",
            "CREATE TRIGGER slow BEFORE INSERT ON transitions FOR EACH ROW"
            " WHEN (NEW.position = 30) EXECUTE FUNCTION slow()",
        )
    hurried = f"{postgresql_url}&options=-c%20statement_timeout%3D300"
    words = "canceling statement due to statement timeout" + GO_ON
    await ends_soon(copying.copy(sqlite_url, hurried, nothing), words)
    async with connect.open_database(postgresql_url, copying=True) as opened:
        await executed(opened, "DROP TRIGGER slow ON transitions")
    await goes_on(sqlite_url, postgresql_url)


@contextmanager
def small_disk(server, megabytes):
    """Mount a small disk for a server; yield its directory."""
    if os.geteuid():
        if os.environ.get("CI"):
            pytest.fail("a disk can be mounted by root alone; CI must test on a full one")
        pytest.skip("a disk can be mounted by root alone")
    with tempfile.TemporaryDirectory(prefix="small-disk-") as directory:
        Path(directory).chmod(0o755)
        owner = Path(server.home).stat()
        options = f"size={megabytes}m,uid={owner.st_uid},mode=700"
        subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", directory], check=True)
        try:
            yield directory
        finally:
            subprocess.run(["umount", "--lazy", directory], check=True)


async def test_a_copy_ends_when_the_disk_of_the_server_is_full(
    own_server, tmp_path, sqlite_url, monkeypatch
):
    monkeypatch.setattr(copying, "ROWS_AT_ONCE", 500)
    await big_ledger.make(tmp_path / "state.db", 6000)
    with small_disk(own_server, 11) as directory:
        own_server.sql(f"CREATE TABLESPACE small LOCATION '{directory}'")
        own_server.sql("CREATE DATABASE full_one TEMPLATE template1 TABLESPACE small")
        target = own_server.url("full_one")
        words = r"No space left on device \(make room on its disk\)" + GO_ON
        await ends_soon(copying.copy(sqlite_url, target, nothing), words)
        await anyio.run_process(["mount", "-o", "remount,size=100m", directory])
        await goes_on(sqlite_url, target)
        own_server.stop()  # it uses the disk
        own_server.start()


async def test_a_copy_ends_when_the_disk_of_a_file_is_full(
    postgresql_url, sqlite_url, small, monkeypatch
):
    await fill(postgresql_url)
    with monkeypatch.context() as patched:
        patched.setattr(sqlite, "WRITER", (*sqlite.WRITER, "max_page_count = 80"))
        words = r"disk is full \(make room on its disk\)" + GO_ON
        await ends_soon(copying.copy(postgresql_url, sqlite_url, nothing), words)
    await goes_on(postgresql_url, sqlite_url)
