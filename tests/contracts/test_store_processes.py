import multiprocessing
import random
import time
from contextlib import contextmanager

import anyio
import pytest

from monitor import model
from monitor.errors import StoreLockedError
from monitor.stores.store import open_store
from tests import rounds
from tests.contracts import store_child
from tests.contracts.store_examples import SettableClock, entry

ROUNDS = 20


@pytest.fixture(scope="module")
def processes():
    """Start processes from one that has imported everything already, as that takes long."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([store_child.__name__])
    return context


@contextmanager
def _child(processes, target, url):
    """Run a process on the store; yield it and what it says; killed at the end, if not before."""
    said, pipe = processes.Pipe(duplex=False)
    process = processes.Process(target=target, args=(url, pipe))
    process.start()
    pipe.close()
    try:
        yield process, said
    finally:
        process.kill()
        process.join(30)
        process.close()
        said.close()


def _opened(url):
    return open_store(url, SettableClock())


def _acknowledged(processes, url, chance):
    """Let a process write for a moment, kill it, and return what it had acknowledged.

    The moment begins after some acknowledgements, which take long on a busy machine.
    """
    with _child(processes, store_child.write, url) as (process, said):
        assert said.recv() == "open"
        some = [said.recv() for _ in range(chance.randrange(8))]
        time.sleep(chance.uniform(0.0, 0.15))
        process.kill()
        return [*some, *_until_the_end(said)]


def _until_the_end(said):
    try:
        while True:
            yield said.recv()
    except EOFError:
        return


async def test_what_was_acknowledged_survives_a_kill_and_nothing_is_half_there(
    store_url, processes
):
    chance = random.Random(7)
    recorded: dict[str, int] = {}
    settled: set[int] = set()

    def enough():
        return sum(recorded.values()) > 2 * ROUNDS and settled

    for _ in rounds.until_enough(ROUNDS, enough):
        for word, number in _acknowledged(processes, store_url, chance):
            if word == "settled":
                settled.add(number)
            else:
                recorded[word] = number
        with anyio.fail_after(90):
            async with await _once_free(store_url) as store:
                await _check(store, recorded, settled)
    assert sum(recorded.values()) > 2 * ROUNDS  # a slow disk commits little before each kill
    assert settled


async def _once_free(url):
    """Open the store; a server takes a moment to notice that the process died."""
    while True:
        try:
            async with _opened(url):
                pass
        except StoreLockedError:
            await anyio.sleep(0.02)
        else:
            return _opened(url)


async def _check(store, recorded, settled):
    known = {snapshot.job.id: snapshot.sequence for snapshot in await store.snapshots()}
    assert {name: known[name] >= count for name, count in recorded.items()} == dict.fromkeys(
        recorded, True
    )
    events = await store.transitions(limit=1_000_000)
    for name, sequence in known.items():
        told = [event for _, event in events if event["subject"] == name]
        assert [event["data"]["sequence"] for event in told] == list(range(1, sequence + 1))
    rows = await store.deliveries(limit=1_000_000)
    places = sorted((row.position, row.sink) for row in rows)
    assert places == [(position, sink) for position, _ in events for sink in "ab"]
    assert settled <= {row.id for row in rows if row.status is model.DeliveryStatus.DELIVERED}
    _check_lines(rows)


def _check_lines(rows):
    """Of each line, the first pending delivery and no other one has a time."""
    lines: dict[tuple[str, str], list[object]] = {}
    for row in sorted(rows, key=lambda row: row.position):
        if row.status is model.DeliveryStatus.PENDING:
            lines.setdefault((row.sink, row.key), []).append(row.due_at)
    for times in lines.values():
        assert times[0] is not None
        assert set(times[1:]) <= {None}


def test_a_read_that_was_cancelled_keeps_no_process_from_ending(store_url, processes):
    with _child(processes, store_child.cancel_a_read, store_url) as (_, said):
        assert said.poll(90)
        assert said.recv() == "cancelled"
        assert said.poll(40)  # the read itself takes longer
        assert said.recv() == "ended"


async def test_a_second_process_is_refused_at_once_until_the_first_is_killed(sqlite_url, processes):
    with _child(processes, store_child.hold, sqlite_url) as (holder, said):
        assert said.recv() == "open"
        with (
            anyio.fail_after(20),
            pytest.raises(StoreLockedError, match=r"another process.*\(stop"),
        ):
            async with _opened(sqlite_url):
                pass
        with _child(processes, store_child.hold, sqlite_url) as (_, other_said):
            assert other_said.recv() == "locked"
        holder.kill()
        with anyio.fail_after(90):
            async with await _once_free(sqlite_url) as store:
                assert await store.record(entry())


async def test_a_second_store_in_the_same_process_is_refused_too(sqlite_url):
    async with _opened(sqlite_url):
        with pytest.raises(StoreLockedError):
            async with _opened(sqlite_url):
                pass
    async with _opened(sqlite_url):
        pass
