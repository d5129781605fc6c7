import os
import shutil
import stat
import tempfile
from contextlib import contextmanager
from pathlib import Path

import anyio
import pytest
import sqlalchemy as sa

from monitor.errors import ConfigurationError, StoreError
from monitor.stores.sql import open_store
from tests.contracts.store_examples import SettableClock, entry, job


def _opened(path):
    return open_store(f"sqlite://{path}", SettableClock())


@pytest.fixture
def path(tmp_path):
    return tmp_path / "state.db"


async def _refusal(url):
    """What opening says, which must be one line."""
    with anyio.fail_after(10), pytest.raises((StoreError, ConfigurationError)) as caught:
        async with open_store(url, SettableClock()):
            pass
    assert "\n" not in str(caught.value)
    return str(caught.value)


async def test_a_url_with_three_slashes_is_an_absolute_path(path):
    async with open_store(f"sqlite://{path}", SettableClock()):
        assert path.is_file()


async def test_a_url_with_four_slashes_is_absolute_too(path):
    async with open_store(f"sqlite:///{path}", SettableClock()):
        assert path.is_file()


async def test_a_url_without_slashes_is_relative(path, monkeypatch):
    monkeypatch.chdir(path.parent)
    async with open_store("sqlite:state.db", SettableClock()):
        assert path.is_file()


async def test_a_path_may_hold_any_character(tmp_path):
    folder = tmp_path / "a b%c'd"
    folder.mkdir()
    async with open_store(f"sqlite://{tmp_path}/a%20b%25c'd/x.db", SettableClock()) as store:
        assert await store.record(entry())
        assert (folder / "x.db").is_file()


@pytest.mark.parametrize(
    "url",
    [
        "sqlite://host/path.db",
        "sqlite:",
        "sqlite:///",
        "sqlite://",
        "sqlite::memory:",
        "sqlite:///:memory:",
        "sqlite:///var/x.db?mode=memory",
        "sqlite:x#y",
        "sqlite+aiosqlite:///x.db",
        "postgres://ops:hunter2@host/db",
        "postgresql+asyncpg://ops:hunter2@host/db",
        "mysql://ops:hunter2@host/db",
        "/var/lib/state.db",
        "",
    ],
)
async def test_other_urls_are_refused_with_the_forms_that_are_known(url):
    text = await _refusal(url)
    assert text.startswith("store: ")
    assert "write sqlite:///absolute/path.db" in text
    assert "hunter2" not in text


async def test_the_files_are_for_their_owner_alone(path):
    before = os.umask(0)
    try:
        async with _opened(path) as store:
            await store.record(entry())
            found = {one.name: stat.S_IMODE(one.stat().st_mode) for one in path.parent.iterdir()}
    finally:
        os.umask(before)
    names = {"state.db", "state.db-wal", "state.db-shm", "state.db.lock"}
    assert found == dict.fromkeys(names, 0o600)


async def test_every_connection_is_as_durable_as_it_must_be(path):
    async with _opened(path) as store, store._database.readers.connect() as reader:
        for connection in (store._database.writer, reader):
            found = [
                (await connection.exec_driver_sql(f"PRAGMA {name}")).scalar()
                for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
            ]
            assert found == ["wal", 2, 1, 30000]
        await store._database.writer.rollback()


async def test_a_missing_directory_is_told(tmp_path):
    text = await _refusal(f"sqlite://{tmp_path}/absent/state.db")
    assert text == f"store {tmp_path}/absent/state.db: its directory does not exist (make it first)"


async def test_a_directory_in_place_of_the_file_is_told(tmp_path):
    (tmp_path / "state.db").mkdir()
    assert "Is a directory" in await _refusal(f"sqlite://{tmp_path}/state.db")


@contextmanager
def _unprivileged():
    """Root may write everywhere: be somebody else for a moment."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def open_folder():
    """A folder that an unprivileged user can reach, as pytest's own ones may not be."""
    folder = Path(tempfile.mkdtemp(prefix="store-"))
    folder.chmod(0o755)
    yield folder
    folder.chmod(0o755)
    shutil.rmtree(folder)


async def test_a_directory_that_may_not_be_written_is_told(open_folder):
    open_folder.chmod(0o555)
    with _unprivileged():
        text = await _refusal(f"sqlite://{open_folder}/state.db")
    assert "Permission denied" in text
    assert "may write to" in text


async def test_a_file_that_may_not_be_written_is_told(open_folder):
    path = open_folder / "state.db"
    async with _opened(path):
        pass
    open_folder.chmod(0o777)
    path.chmod(0o444)
    (open_folder / "state.db.lock").chmod(0o666)
    with _unprivileged():
        assert "Permission denied" in await _refusal(f"sqlite://{path}")


async def test_a_file_that_is_no_database_is_told_and_left_alone(path):
    path.write_bytes(b"garbage" * 1000)
    assert "file is not a database" in await _refusal(f"sqlite://{path}")
    assert path.read_bytes() == b"garbage" * 1000


async def test_an_empty_file_becomes_a_database(path):
    path.touch()
    async with _opened(path) as store:
        assert await store.record(entry())


async def test_the_database_of_another_program_is_refused(path):
    async with _opened(path) as store, store._database.writer.begin():
        await store._database.writer.exec_driver_sql("DROP TABLE alembic_version")
    assert "already exists" in await _refusal(f"sqlite://{path}")


@pytest.mark.parametrize("suffix", ["", "-wal", "-shm", ".lock"])
@pytest.mark.parametrize("replaced", [False, True])
async def test_a_file_that_goes_away_under_the_store_is_fatal(path, suffix, replaced):
    lost = path.with_name(path.name + suffix)
    async with _opened(path) as store:
        assert await store.record(entry())
        copy = lost.read_bytes()
        lost.unlink()
        if replaced:
            lost.write_bytes(copy)
        with pytest.raises(StoreError, match="removed or replaced"):
            await store.record(entry(2))
        for call in (store.ping, store.snapshots):
            with pytest.raises(StoreError, match="removed or replaced"):
                await call()


async def _leave_room(store, pages):
    """Let the database grow by so many pages and no more, as on a disk that fills up."""
    writer = store._database.writer
    used = (await writer.exec_driver_sql("PRAGMA page_count")).scalar()
    await writer.exec_driver_sql(f"PRAGMA max_page_count = {used + pages}")
    await writer.rollback()


async def _fill(store, recorded):
    for number in range(1000):
        await store.record(entry(number, reason="x" * 2000))
        recorded.append(number)


async def test_a_full_disk_is_fatal_and_leaves_nothing_half_written(path):
    recorded: list[int] = []
    async with _opened(path) as store:
        await _leave_room(store, pages=20)
        with pytest.raises(StoreError, match="full"):
            await _fill(store, recorded)
        with pytest.raises(StoreError, match="full"):
            await store.ping()
    async with _opened(path) as store:
        assert {one.job for one in await store.snapshots()} == {job(n) for n in recorded}
        assert len(await store.transitions(limit=1000)) == len(recorded)
        assert await store.record(entry(99_999))


async def test_a_writer_from_outside_is_waited_for(path):
    async with _opened(path) as store:
        outside = sa.create_engine(f"sqlite:///{path}", connect_args={"isolation_level": None})
        with outside.connect() as connection:
            connection.exec_driver_sql("BEGIN IMMEDIATE")
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(store.record, entry())
                await anyio.sleep(0.1)
                assert await store.snapshots() == []
                connection.exec_driver_sql("COMMIT")
        assert len(await store.snapshots()) == 1
        outside.dispose()
