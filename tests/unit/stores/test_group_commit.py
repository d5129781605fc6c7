from contextlib import asynccontextmanager

import anyio
import pytest

from monitor.errors import StoreError, StoreLostError
from monitor.stores import group_commit
from tests.contracts.store_examples import SettableClock


class Disk:
    """Takes groups of numbers, slowly if told so; ``None`` among them is an error."""

    def __init__(self):
        self.groups: list[list[int | None]] = []
        self.free = anyio.Event()
        self.free.set()

    async def write(self, units):
        self.groups.append([*units])
        await self.free.wait()
        if None in units:
            raise StoreError("the disk is full")
        return [unit * 10 for unit in units]


@pytest.fixture
def disk():
    return Disk()


@asynccontextmanager
async def _running(disk, on_commit=lambda _seconds: None):
    committer = group_commit.Committer(disk.write, SettableClock(), on_commit)
    with anyio.fail_after(60):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(committer.run)
            yield committer
            tasks.cancel_scope.cancel()


async def test_each_caller_is_told_what_its_own_unit_wrote(disk):
    async with _running(disk) as committer:
        assert await committer.submit(1) == 10
        assert await committer.submit(2) == 20
        assert disk.groups == [[1], [2]]


async def test_what_arrives_during_a_commit_shares_the_next_one(disk):
    disk.free = anyio.Event()
    async with _running(disk) as committer, anyio.create_task_group() as callers:
        callers.start_soon(committer.submit, 1)
        await anyio.wait_all_tasks_blocked()
        for unit in (2, 3, 4):
            callers.start_soon(committer.submit, unit)
        await anyio.wait_all_tasks_blocked()
        disk.free.set()
    assert disk.groups == [[1], [2, 3, 4]]


async def test_a_group_has_a_largest_size(disk):
    async with _running(disk) as committer, anyio.create_task_group() as callers:
        for unit in range(4500):
            callers.start_soon(committer.submit, unit)
    assert [len(group) for group in disk.groups] == [2000, 2000, 500]


async def test_no_caller_is_answered_before_its_commit_is_over(disk):
    disk.free = anyio.Event()
    async with _running(disk) as committer:
        with anyio.move_on_after(0.05) as scope:
            await committer.submit(1)
        assert scope.cancelled_caught
        disk.free.set()


async def test_a_commit_under_way_is_finished_when_the_store_is_left(disk):
    disk.free = anyio.Event()
    finished: list[float] = []
    async with anyio.create_task_group() as outside, _running(disk, finished.append) as committer:
        outside.start_soon(_expect, committer, 1, 10)
        await anyio.wait_all_tasks_blocked()
        outside.start_soon(_free_later, disk)
    assert len(finished) == 1


async def _free_later(disk):
    await anyio.sleep(0.05)
    disk.free.set()


async def _expect(committer, unit, result):
    assert await committer.submit(unit) == result


async def test_an_error_reaches_everybody_who_waits_and_whoever_comes_later(disk):
    disk.free = anyio.Event()
    told: list[int] = []

    async def refused(unit):
        with pytest.raises(StoreError, match="the disk is full"):
            await committer.submit(unit)
        told.append(unit)

    async with _running(disk) as committer:
        async with anyio.create_task_group() as callers:
            callers.start_soon(refused, None)
            await anyio.wait_all_tasks_blocked()
            for unit in (2, 3):
                callers.start_soon(refused, unit)
            await anyio.wait_all_tasks_blocked()
            disk.free.set()
        await refused(4)
        with pytest.raises(StoreError, match="the disk is full"):
            committer.check()
    assert sorted(map(str, told)) == ["2", "3", "4", "None"]
    assert disk.groups == [[None]]


async def test_after_the_end_nobody_waits_for_ever(disk):
    async with _running(disk) as committer:
        pass
    with pytest.raises(StoreError, match="closed"):
        await committer.submit(1)


async def test_a_mistake_in_the_program_ends_it_and_nobody_waits_for_ever(disk):
    async def refused():
        async with _running(disk) as committer:
            with pytest.raises(StoreError):
                await committer.submit(object())

    with pytest.raises(ExceptionGroup) as caught:
        await refused()
    assert caught.group_contains(TypeError)


async def test_a_disk_that_does_not_answer_counts_as_lost(disk, monkeypatch):
    monkeypatch.setattr(group_commit, "_LONGEST_COMMIT", 0.05)
    disk.free = anyio.Event()
    async with _running(disk) as committer:
        with pytest.raises(StoreError, match="did not answer"):
            await committer.submit(1)


async def test_while_the_database_is_lost_all_wait_and_then_are_written():
    lost, found = anyio.Event(), anyio.Event()
    groups: list[list[int]] = []

    async def write(units):
        groups.append([*units])
        if not found.is_set():
            raise StoreLostError("gone")
        return [unit * 10 for unit in units]

    async def recover(error):
        assert str(error) == "gone"
        lost.set()
        await found.wait()

    committer = group_commit.Committer(write, SettableClock(), lambda _seconds: None, recover)
    results = []

    async def submit(unit):
        results.append(await committer.submit(unit))

    with anyio.fail_after(60):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(committer.run)
            tasks.start_soon(submit, 1)
            await lost.wait()
            tasks.start_soon(submit, 2)
            await anyio.wait_all_tasks_blocked()
            committer.check()
            assert results == []
            found.set()
            await anyio.wait_all_tasks_blocked()
            tasks.cancel_scope.cancel()
    assert sorted(results) == [10, 20]
    assert groups == [[1], [1], [2]]


async def test_a_group_that_was_committed_after_all_is_not_written_again():
    groups: list[list[int]] = []

    async def write(units):
        groups.append([*units])
        raise StoreLostError("gone")

    async def recover(_error):
        return [7]

    committer = group_commit.Committer(write, SettableClock(), lambda _seconds: None, recover)
    with anyio.fail_after(60):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(committer.run)
            assert await committer.submit(1) == 7
            tasks.cancel_scope.cancel()
    assert groups == [[1]]


async def test_each_commit_is_timed(disk):
    seconds: list[float] = []
    async with _running(disk, seconds.append) as committer:
        await committer.submit(1)
    assert len(seconds) == 1
    assert 0 <= seconds[0] < 60
