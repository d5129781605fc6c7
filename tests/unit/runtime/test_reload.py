"""When the configuration is read again; on the real file system, with real notifications."""

import errno
import os
from contextlib import asynccontextmanager, contextmanager
from types import SimpleNamespace

import anyio
import pytest
import watchfiles.main
from watchfiles._rust_notify import RustNotify, WatchfilesRustInternalError

from monitor.errors import ConfigurationError, Problem, StoppingError
from monitor.runtime import reload
from monitor.runtime.reload import Reloader, WatchedFiles

PATIENCE = 60.0


class Taking:
    """What a reload does, once it is ``let``: it takes what was ``wanted`` at its begin."""

    def __init__(self):
        self.wanted = 0
        self.taken = []
        self.let = anyio.Event()
        self.let.set()
        self.problem = None

    async def take(self):
        wanted = self.wanted
        await self.let.wait()
        await anyio.lowlevel.checkpoint()
        if self.problem:
            raise ConfigurationError([self.problem])
        self.taken.append(wanted)


async def test_many_requests_share_reloads_and_each_gets_what_was_there_when_it_asked():
    taking = Taking()
    reloader = Reloader()
    told = []

    async def ask(number):
        taking.wanted = number
        await reloader.reload()
        told.append((number, taking.taken[-1]))

    with anyio.fail_after(PATIENCE):
        async with reloader.running(taking.take):
            taking.let = anyio.Event()
            async with anyio.create_task_group() as tasks:
                for number in range(1, 11):
                    tasks.start_soon(ask, number)
                    await anyio.wait_all_tasks_blocked()
                taking.let.set()
    assert len(told) == 10
    assert all(taken >= number for number, taken in told)
    assert taking.taken == [1, 10]


async def test_what_was_wrong_is_told_to_all_who_asked_and_kept_until_it_is_mended():
    taking = Taking()
    reloader = Reloader()
    taking.problem = Problem("F:1", "store", "is wrong")
    with anyio.fail_after(PATIENCE):
        async with reloader.running(taking.take):
            for _ in range(2):
                with pytest.raises(ConfigurationError, match="is wrong"):
                    await reloader.reload()
            assert list(reloader.problems) == [taking.problem]
            taking.problem = None
            await reloader.reload()
            assert list(reloader.problems) == []


async def test_a_request_before_the_start_waits_for_it_and_one_at_the_end_is_refused():
    taking = Taking()
    reloader = Reloader()
    refused = []

    async def ask():
        try:
            await reloader.reload()
        except StoppingError as error:
            refused.append(error)

    with anyio.fail_after(PATIENCE):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ask)
            await anyio.wait_all_tasks_blocked()
            assert taking.taken == []
            async with reloader.running(taking.take):
                while not taking.taken:  # noqa: ASYNC110 -- another task brings it about
                    await anyio.sleep(0.01)
                taking.let = anyio.Event()
                tasks.start_soon(ask)
                await anyio.wait_all_tasks_blocked()
                tasks.start_soon(ask)
                await anyio.wait_all_tasks_blocked()
        await ask()
    assert len(taking.taken) == 1
    assert len(refused) == 3


class Watching:
    """Files that are watched; ``found`` is the content at each change."""

    def __init__(self, *paths):
        self.paths = paths
        self.files = WatchedFiles(all=self._present)
        self.found = []

    def _present(self):
        for path in self.paths:
            yield path
            if path.is_dir():
                yield from path.glob("*.yaml")

    async def changed(self):
        self.files.note("all")
        self.found.append([path.read_text() for path in self._present() if path.is_file()])

    async def until(self, *content):
        with anyio.fail_after(PATIENCE):
            while not self.found or sorted(self.found[-1]) != list(content):  # noqa: ASYNC110
                await anyio.sleep(0.02)


@asynccontextmanager
async def watching(*paths):
    bench = Watching(*paths)
    bench.files.note("all")
    stop = anyio.Event()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(bench.files.watch, bench.changed, stop)
        yield bench
        stop.set()


@pytest.fixture(params=["inotify", "polling"])
def notification(request, monkeypatch):
    if request.param == "polling":
        monkeypatch.setenv("WATCHFILES_FORCE_POLLING", "true")


@pytest.mark.usefixtures("notification")
async def test_a_file_that_is_written_or_replaced_is_noticed(tmp_path):
    file = tmp_path / "a.yaml"
    file.write_text("1")
    async with watching(file) as bench:
        file.write_text("2")
        await bench.until("2")
        (tmp_path / "new").write_text("3")
        (tmp_path / "new").rename(file)
        await bench.until("3")


@pytest.mark.usefixtures("notification")
@pytest.mark.parametrize("named", ["directory", "file", "inner file"])
async def test_a_config_map_that_kubernetes_swaps_is_noticed(tmp_path, named):
    swap(tmp_path, "2026_01", "1")
    (tmp_path / "a.yaml").symlink_to("..data/a.yaml")
    paths = {
        "directory": tmp_path,
        "file": tmp_path / "a.yaml",
        "inner file": tmp_path / "..data" / "a.yaml",
    }
    async with watching(paths[named]) as bench:
        for number in (2, 3):
            swap(tmp_path, f"2026_0{number}", str(number))
            await bench.until(str(number))


def swap(mount, version, content):
    """As the kubelet does: a new directory, a link to it, renamed over the old link."""
    old = mount / "..data"
    before = old.resolve() if old.is_symlink() else None
    (mount / f"..{version}").mkdir()
    (mount / f"..{version}" / "a.yaml").write_text(content)
    (mount / "..data_tmp").symlink_to(f"..{version}")
    os.replace(mount / "..data_tmp", old)  # noqa: PTH105 -- the call that is meant
    if before is not None:
        (before / "a.yaml").unlink()
        before.rmdir()


async def test_files_that_are_added_removed_or_changed_before_the_watch_began_are_noticed(tmp_path):
    (tmp_path / "a.yaml").write_text("1")
    bench = Watching(tmp_path)
    bench.files.note("all")
    (tmp_path / "a.yaml").write_text("2")
    stop = anyio.Event()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(bench.files.watch, bench.changed, stop)
        await bench.until("2")
        (tmp_path / "b.yaml").write_text("3")
        await bench.until("2", "3")
        (tmp_path / "a.yaml").unlink()
        await bench.until("3")
        stop.set()


@pytest.mark.parametrize(
    "error",
    [
        WatchfilesRustInternalError("too many levels of symbolic links"),
        OSError(errno.EIO, "the disk is gone"),
    ],
    ids=["internal", "disk"],
)
async def test_a_watcher_that_breaks_while_it_waits_ends_nothing(tmp_path, monkeypatch, error):
    file = tmp_path / "a.yaml"
    broken: list[tuple[object, ...]] = []
    file.write_text("1")

    @contextmanager
    def breaking(*values):
        with RustNotify(*values) as watcher:

            def watch(*values):
                if len(broken) < 2:
                    broken.append(values)
                    raise error
                return watcher.watch(*values)

            yield SimpleNamespace(watch=watch)

    monkeypatch.setattr(watchfiles.main, "RustNotify", breaking)
    async with watching(file) as bench:
        with anyio.fail_after(PATIENCE):
            while len(broken) < 2:  # noqa: ASYNC110 -- a thread brings it about
                await anyio.sleep(0.02)
        file.write_text("2")
        await bench.until("2")


async def test_a_change_that_nothing_tells_of_is_noticed_beside_a_busy_store(tmp_path, monkeypatch):
    """As on a network file system: here through another name of the file, elsewhere."""
    monkeypatch.setattr(reload, "ROUND", 600)
    monkeypatch.setattr(reload, "STEP", 20)
    watched, other = tmp_path / "etc", tmp_path / "other"
    watched.mkdir()
    other.write_text("1")
    (watched / "a.yaml").hardlink_to(other)
    async with watching(watched / "a.yaml") as bench:
        await anyio.sleep(0.3)
        other.write_text("2")
        with anyio.fail_after(PATIENCE):
            while not bench.found:
                # More often than a round, and with pauses for which a burst waits.
                (watched / "state.db-wal").write_text("x")
                await anyio.sleep(0.1)
    assert bench.found == [["2"]]


async def test_what_changes_nothing_is_not_told_and_new_places_are_watched(tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    one.mkdir()
    (one / "a.yaml").write_text("1")
    async with watching(one / "a.yaml") as bench:
        os.utime(one / "a.yaml")
        (one / "other").write_text("x")
        two.mkdir()
        (two / "b.yaml").write_text("2")
        bench.paths = (two / "b.yaml",)
        await bench.until("2")
        (two / "b.yaml").write_text("3")
        await bench.until("3")
    assert bench.found == [["2"], ["3"]]
