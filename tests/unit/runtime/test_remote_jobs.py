"""Jobs that other replicas poll, shown from a real ledger."""

from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import anyio
import pytest

from monitor.model import Archived, ArchiveMark, Entry, Kind, Phase, StateAndPhase, Transition
from monitor.runtime import remote_jobs
from monitor.runtime.remote_jobs import RemoteJobs
from tests.builders import TYPE, VIRTUAL, VirtualClock, at, following, job, ledger, snapshot

pytestmark = VIRTUAL

PLACE = (TYPE.name, "prod", "us-east-1")


class Polls:
    """What a replica knows of the watches whose jobs it does not poll."""

    def __init__(self, named=(), interval=30.0):
        watch = SimpleNamespace(jobs=list(named), blind_after_intervals=4)
        following_ = following(labels={"team": "vision"})
        self.target = SimpleNamespace(
            place=PLACE, watch=watch, interval=interval, following=following_
        )
        self.elsewhere = True
        self.own: dict[str, Any] = {}
        self.recorded: dict[Any, int] = {}

    async def catch_up(self, recorded):
        self.recorded |= recorded

    def targets_elsewhere(self):
        return [self.target] if self.elsewhere else []

    def target_elsewhere(self, one, _parent=None):
        wanted = self.elsewhere and (one.type, one.account, one.region) == PLACE
        return self.target if wanted and one.key not in self.own else None

    def status_of(self, key):
        return self.own.get(key)


async def record(store, number, sequence=1, state="PENDING"):
    known = snapshot(state, job=job(f"j-{number}"), sequence=sequence, looked_at=at(0))
    change = Transition(
        subject=known.job,
        service="panorama",
        sequence=sequence,
        kind=Kind.STATE_CHANGED if sequence > 1 else Kind.DISCOVERED,
        previous=StateAndPhase("PENDING", "waiting") if sequence > 1 else None,
        current=StateAndPhase(known.state, known.phase.value),
        changes=(),
        after=None,
        before=at(0),
        severity=known.severity,
        reason=None,
        occurred_at=None,
        fields={},
        labels={},
    )
    assert await store.record(Entry(known, sequence - 1, (change,), ((),)))


@asynccontextmanager
async def replica(tmp_path, polls: Any, *numbers):
    """Yield a ledger with jobs of these numbers, and what a replica has read of it."""
    clock = VirtualClock()
    async with ledger(tmp_path, clock) as store:
        for number in numbers:
            await record(store, number)
        mirror = RemoteJobs(store, polls, clock)
        await mirror.refresh()
        yield store, mirror


def states(mirror):
    return {one.job.id: one.snapshot and one.snapshot.state for one in mirror.jobs()}


async def test_jobs_of_others_are_read_once_and_then_what_the_ledger_says(tmp_path):
    polls = Polls()
    async with replica(tmp_path, polls, 0, 1, 2) as (store, mirror):
        assert states(mirror) == {"j-0": "PENDING", "j-1": "PENDING", "j-2": "PENDING"}
        assert await mirror.follow() == []
        await record(store, 1, 2, "RUNNING")
        await record(store, 3)
        assert list(await mirror.follow()) == [job("j-1").key, job("j-3").key]
        assert states(mirror) == {
            "j-0": "PENDING",
            "j-1": "RUNNING",
            "j-2": "PENDING",
            "j-3": "PENDING",
        }
        shown = mirror.job(job("j-1").key)
        assert shown
        assert (shown.labels, shown.watch, shown.interval) == ({"team": "vision"}, "w", 30.0)


async def test_what_this_replica_polls_by_now_is_not_shown_as_anothers(tmp_path):
    polls = Polls()
    async with replica(tmp_path, polls, 1, 2) as (store, mirror):
        polls.own[job("j-1").key] = object()
        await mirror.refresh()
        assert list(states(mirror)) == ["j-2"]
        # It is news all the same, for streams and waiters.
        await record(store, 1, 2, "RUNNING")
        assert list(await mirror.follow()) == [job("j-1").key]
        assert list(states(mirror)) == ["j-2"]
        # If another has recorded it, the recorder does not know it yet.
        assert polls.recorded == {job("j-1"): 2}
        polls.elsewhere = False
        await mirror.refresh()
        assert states(mirror) == {}


async def test_an_archived_job_is_counted_and_kept_no_longer(tmp_path):
    polls = Polls()
    async with replica(tmp_path, polls, 1, 2) as (store, mirror):
        await record(store, 1, 2, "SUCCEEDED")
        await mirror.follow()
        assert states(mirror)["j-1"] == "SUCCEEDED"
        mark = ArchiveMark(job("j-1").key, 2, Archived.ENDED, at(0))
        await store.archive.mark([mark])
        await mirror.refresh()
        assert list(states(mirror)) == ["j-2"]
        assert mirror.archived() == {(PLACE, Phase.SUCCEEDED): 1}


async def test_a_job_that_a_watch_names_is_shown_before_its_first_poll(tmp_path):
    polls = Polls(named=["j-1", "j-9"])
    async with replica(tmp_path, polls, 1) as (_store, mirror):
        assert states(mirror) == {"j-1": "PENDING", "j-9": None}
        unseen = mirror.job(job("j-9").key)
        assert unseen
        assert (unseen.snapshot, unseen.next_in) == (None, 30.0)
        assert mirror.job(job("j-8").key) is None


async def test_the_time_of_a_poll_may_be_old_and_a_job_is_stale_only_beyond_that(tmp_path):
    polls = Polls(interval=30.0)
    async with replica(tmp_path, polls, 1) as (store, mirror):
        key = job("j-1").key

        def stale():
            shown = mirror.job(key)
            assert shown
            return shown.blind

        await anyio.sleep(4 * 30 + remote_jobs.LATE - 1)
        assert not stale()
        await anyio.sleep(2)
        assert stale()
        await store.touch({key: VirtualClock().now()})
        assert stale()
        await mirror.refresh()
        assert not stale()


async def test_owners_of_many_jobs_may_store_their_polls_more_rarely(tmp_path, monkeypatch):
    """They store at most so many a second, so the times of many jobs are older."""
    monkeypatch.setattr(remote_jobs, "POLLS_A_SECOND", 0.01)
    polls = Polls(interval=30.0)
    async with replica(tmp_path, polls, 0, 1, 2) as (_store, mirror):
        await anyio.sleep(4 * 30 + remote_jobs.LATE + 250)
        assert not any(one.blind for one in mirror.jobs())
        await anyio.sleep(100)
        assert all(one.blind for one in mirror.jobs())


async def test_a_job_that_comes_while_all_are_read_stays(tmp_path, monkeypatch):
    polls = Polls()
    async with replica(tmp_path, polls, 1) as (store, mirror):
        heads = store.archive.heads

        async def slow(place, after=""):
            found = await heads(place, after)
            if not found:
                await record(store, 0)
                await mirror.follow()
            return found

        monkeypatch.setattr(store.archive, "heads", slow)
        await mirror.refresh()
        assert set(states(mirror)) == {"j-0", "j-1"}


async def test_to_learn_of_a_job_copies_no_others(tmp_path):
    """Else a million of them would never be read: each would copy all before it."""
    polls = Polls()
    async with replica(tmp_path, polls, 1) as (store, mirror):
        known = mirror._known
        await record(store, 2)
        await mirror.follow()
        await record(store, 3)
        await mirror.refresh()
        assert mirror._known is known
        assert len(known) == 3


async def test_a_job_that_comes_or_goes_while_a_reader_goes_through_all_is_shown_once(tmp_path):
    polls = Polls(named=["j-1", "j-2"])
    async with replica(tmp_path, polls, 1) as (store, mirror):
        reader = mirror.jobs()
        shown = [next(reader)]
        await record(store, 2)
        await mirror.follow()
        assert sorted(one.job.id for one in [*shown, *reader]) == ["j-1", "j-2"]
        reader = mirror.jobs()
        shown = [next(reader)]
        await store.archive.mark([ArchiveMark(job("j-1").key, 1, Archived.ENDED, at(0))])
        await mirror.refresh()
        assert sorted(one.job.id for one in [*shown, *reader]) == ["j-1", "j-2"]


async def test_what_is_read_late_does_not_replace_what_is_newer(tmp_path, monkeypatch):
    clock, polls = VirtualClock(), Polls()
    async with ledger(tmp_path, clock) as store:
        await record(store, 1)
        known: Any = polls
        mirror = RemoteJobs(store, known, clock)
        find = store.archive.find
        once: list[Any] = []

        async def slow(keys):
            found = await find(keys)
            if not once:
                once.append(keys)
                await record(store, 1, 2, "RUNNING")
                await mirror._read(keys)
            return found

        monkeypatch.setattr(store.archive, "find", slow)
        await mirror.refresh()
        assert states(mirror) == {"j-1": "RUNNING"}


async def test_the_options_of_a_watch_that_was_reloaded_are_shown(tmp_path):
    polls = Polls(interval=30.0)
    async with replica(tmp_path, polls, 1) as (_store, mirror):
        polls.target = SimpleNamespace(**vars(polls.target) | {"interval": 7.0})
        await mirror.refresh()
        shown = mirror.job(job("j-1").key)
        assert shown
        assert shown.interval == 7.0


@pytest.mark.parametrize("many", [remote_jobs.AT_ONCE + 10])
async def test_many_changes_are_read_in_turns(tmp_path, many):
    polls = Polls()
    async with replica(tmp_path, polls) as (store, mirror):
        async with anyio.create_task_group() as tasks:
            for number in range(many):
                tasks.start_soon(record, store, number)
        assert len(await mirror.follow()) == many
        assert len(states(mirror)) == many
