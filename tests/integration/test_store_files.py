import os
import shutil
import sqlite3
import stat
import tempfile
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import anyio
import pytest
import sqlalchemy as sa

from monitor.errors import ConfigurationError, StoreError
from monitor.stores import sqlite_check
from monitor.stores.store import open_store
from tests.contracts.store_examples import SettableClock, entry, executed, job


def _opened(path):
    return open_store(f"sqlite://{path}", SettableClock())


@pytest.fixture
def path(tmp_path):
    return tmp_path / "state.db"


async def _refusal(url):
    """What opening says, which must be one line."""
    with anyio.fail_after(60), pytest.raises((StoreError, ConfigurationError)) as caught:
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
    def settings(connection):
        return [
            connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        ]

    async with _opened(path) as store:
        assert await store._database.transact(settings) == ["wal", 2, 1, 30000]
        # A reader deletes nothing, so that no reference can go with it.
        assert await store._database.read(settings) == ["wal", 2, 0, 30000]


async def test_a_missing_directory_is_told(tmp_path):
    text = await _refusal(f"sqlite://{tmp_path}/absent/state.db")
    assert text == (
        f"store {tmp_path}/absent/state.db: its directory does not exist"
        f" (make it: mkdir -p {tmp_path}/absent; or name another path)"
    )


async def test_a_directory_in_place_of_the_file_is_told(tmp_path):
    (tmp_path / "state.db").mkdir()
    assert "it is a directory" in await _refusal(f"sqlite://{tmp_path}/state.db")


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
    async with _opened(path) as store:
        await executed(store._database, "DROP TABLE alembic_version")
    assert "it belongs to another program" in await _refusal(f"sqlite://{path}")


def _foreign(path, *statements):
    connection = sqlite3.connect(path)
    for statement in statements:
        connection.execute(statement)
    connection.commit()
    connection.close()


async def test_a_database_of_another_program_is_named_and_not_touched(path):
    _foreign(path, "CREATE TABLE jobs (id)", "CREATE TABLE users (id)")
    before = path.read_bytes()
    assert await _refusal(f"sqlite://{path}") == (
        f"store {path}: it belongs to another program: it has the tables jobs, users"
        " (name another file or database, which job-monitor fills itself)"
    )
    assert path.read_bytes() == before
    assert [one.name for one in path.parent.iterdir()] == ["state.db"]


async def test_another_program_that_uses_alembic_is_not_taken_for_a_newer_version(path):
    version = "CREATE TABLE alembic_version (version_num)"
    _foreign(path, version, "INSERT INTO alembic_version VALUES ('abc')", "CREATE TABLE songs (id)")
    assert "it belongs to another program" in await _refusal(f"sqlite://{path}")


async def test_a_store_of_a_newer_version_is_refused_with_the_remedy(path):
    async with _opened(path):
        pass
    _foreign(path, "UPDATE alembic_version SET version_num = '9999'")
    text = await _refusal(f"sqlite://{path}")
    assert "written by a newer version of job-monitor, revision '9999'" in text
    assert "install that version again" in text


@pytest.mark.parametrize("create", [True, False])
@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda path: path.symlink_to("absent"), "it is a link to a file that does not exist"),
        (lambda path: path.symlink_to(path.name), "too many levels of symbolic links (remove the"),
        (os.mkfifo, "it is not a regular file"),
        (Path.mkdir, "it is a directory (name a file in it"),
        (lambda path: path.write_text("watches: []\n" * 9), "file is not a database of SQLite"),
        (lambda path: path.write_bytes(b"x"), "file is not a database of SQLite"),
        (lambda path: path.symlink_to("/dev/zero"), "it is not a regular file"),
    ],
)  # fmt: skip
async def test_what_is_no_store_is_refused_at_once_with_a_remedy(path, make, words, create):
    make(path)
    with anyio.fail_after(60), pytest.raises(StoreError) as caught:
        async with open_store(
            f"sqlite://{path}", SettableClock(), exclusive=create, migrate=create
        ):
            pass
    text = str(caught.value)
    assert text.startswith(f"store {path}: {words}")
    assert text.endswith(")")


async def test_a_link_to_a_store_is_that_store(path):
    async with _opened(path) as store:
        await store.record(entry())
        link = path.with_name("link.db")
        link.symlink_to(path.name)
        assert "another process uses it" in await _refusal(f"sqlite://{link}")
    async with _opened(link) as store:
        assert len(await store.snapshots()) == 1


@pytest.fixture
async def crashed(path):
    """A store with thirty commits in its write-ahead log, as after a crash."""
    saved = {}
    async with _opened(path) as store:
        for number in range(30):
            assert await store.record(entry(number))
        saved = {name: path.with_name(f"state.db{name}").read_bytes() for name in ("", "-wal")}
    for name, data in saved.items():
        path.with_name(f"state.db{name}").write_bytes(data)
    assert len(saved["-wal"]) > 100_000
    return path.with_name("state.db-wal")


@pytest.mark.parametrize(
    "spoil",
    [
        lambda data: os.urandom(len(data)),
        lambda data: b"garbage!" * 4 + data[32:],
        lambda data: data[:24] + b"garbage!" + data[32:],
        lambda data: data[:50_000] + os.urandom(5000) + data[55_000:],
    ],
    ids=["all", "its beginning", "its checksum", "its middle"],
)
async def test_garbage_in_the_write_ahead_log_is_noticed_at_every_start(path, crashed, spoil):
    spoilt = spoil(crashed.read_bytes())
    crashed.write_bytes(spoilt)
    for _ in range(2):
        text = await _refusal(f"sqlite://{path}")
        assert "its write-ahead log state.db-wal is damaged (restore a backup" in text
        assert crashed.read_bytes() == spoilt


@pytest.mark.parametrize(
    ("cut", "left"), [(0, 30), (1, 29), (4200, 29)], ids=["none", "a byte", "a page"]
)
async def test_a_log_that_a_power_cut_tore_is_taken_as_far_as_it_goes(path, crashed, cut, left):
    data = crashed.read_bytes()
    crashed.write_bytes(data[: len(data) - cut])
    async with _opened(path) as store:
        assert len(await store.snapshots()) == left


async def test_a_damaged_page_is_noticed_at_the_start(path):
    async with _opened(path) as store:
        for number in range(30):
            await store.record(entry(number))
    data = bytearray(path.read_bytes())
    data[8192:12288] = b"\xa5" * 4096
    path.write_bytes(data)
    text = await _refusal(f"sqlite://{path}")
    for words in ("it is damaged", "restore a backup", "sqlite3 STORE .recover", "start again"):
        assert words in text


async def test_the_check_of_a_large_store_ends_in_time_within_a_table(path, monkeypatch):
    async with _opened(path) as store:
        await store.record(entry())
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE transitions SET event = zeroblob(60000000)")
    data = bytearray(path.read_bytes())
    data[-4096:] = b"\xa5" * 4096
    path.write_bytes(data)
    with pytest.raises(StoreError, match="it is damaged"):
        sqlite_check.require_intact(path)
    monkeypatch.setattr("monitor.stores.sqlite_check.LONGEST", 0.002)
    for _ in range(20):
        # On a busy machine, the thread that ends the check may come after all of it.
        with suppress(StoreError):
            sqlite_check.require_intact(path)
            return
    pytest.fail("the check was never ended in time")


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

    def limit(writer):
        used = writer.exec_driver_sql("PRAGMA page_count").scalar()
        writer.exec_driver_sql(f"PRAGMA max_page_count = {used + pages}")

    await store._database.transact(limit)


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
