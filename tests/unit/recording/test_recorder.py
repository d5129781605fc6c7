"""Observations become transitions, on a real SQLite store."""

from contextlib import asynccontextmanager
from dataclasses import replace

import anyio
import pytest

from monitor.config import Route
from monitor.errors import StoreError
from monitor.model import Entry, Kind, Phase
from monitor.recording.poll_times import SharedPollTime
from monitor.recording.recorder import Recorder, RecordResult, RowComparison
from monitor.recording.router import Router
from tests.builders import (
    SOURCE,
    VIRTUAL,
    FakeType,
    VirtualClock,
    at,
    following,
    job,
    ledger,
    observation,
)

pytestmark = VIRTUAL
STEPS = [sign * step for step in (3600, 86400, 366 * 86400) for sign in (1, -1)]
"""Seconds by which somebody sets the wall clock."""

ROUTES = [Route.model_validate({"sinks": ["ops"], "match": {"kind": ["job.*", "job.discovered"]}})]


class Bench:
    """A recorder over a store, and what it announced."""

    def __init__(self, store):
        self.store = store
        self.announced = []
        self.recorder = self.another()

    def another(self):
        """Return one more recorder over the same store, as another process would have."""
        return Recorder(self.store, Router(ROUTES, ["ops"]), self.announce)

    def announce(self, entry, before):
        self.announced.append((entry, before))

    async def see(self, state="PENDING", recorder=None, **more):
        follow = more.pop("follow", None) or following()
        return await (recorder or self.recorder).observe(observation(state, **more), follow)

    async def told(self):
        """Return kind, sequence and current state of every event of the ledger."""
        rows = await self.store.transitions(limit=1000)
        data = [event["data"] for _, event in rows]
        return [(each["kind"], each["sequence"], each["current"]["state"]) for each in data]

    async def windows(self):
        rows = await self.store.transitions(limit=1000)
        return [tuple(event["data"]["window"].values()) for _, event in rows]


@asynccontextmanager
async def bench(directory):
    async with ledger(directory, VirtualClock()) as store:
        with anyio.fail_after(86400):
            yield Bench(store)


@asynccontextmanager
async def restarted(directory):
    """Begin as the program does: with what the store knows."""
    async with bench(directory) as again:
        for snapshot in await again.store.snapshots():
            again.recorder.adopt(snapshot)
        again.recorder.adopt_sources(await again.store.sources())
        yield again


def text(seconds):
    return at(seconds).isoformat(timespec="milliseconds").replace("+00:00", "Z")


async def test_the_first_sight_of_a_job_is_recorded(tmp_path):
    async with bench(tmp_path) as b:
        assert await b.see("PENDING") is RecordResult.CHANGED
        assert await b.told() == [("job.discovered", 1, "PENDING")]
        assert b.recorder.snapshot(job()) == await b.store.snapshot(job().key)


async def test_a_change_is_durable_and_addressed_before_it_is_announced(tmp_path):
    async with bench(tmp_path) as b:
        await b.see("PENDING")
        await b.see("RUNNING", asked=30)
        entry, before = b.announced[-1]
        assert isinstance(entry, Entry)
        assert before.state == "PENDING"
        assert entry.sinks == (("ops",),)
        assert await b.told() == [
            ("job.discovered", 1, "PENDING"),
            ("job.state_changed", 2, "RUNNING"),
        ]
        (waiting,) = await b.store.backlog()
        assert (waiting.sink, waiting.pending) == ("ops", 2)


async def test_an_unchanged_job_writes_nothing(tmp_path):
    async with bench(tmp_path) as b:
        await b.see("PENDING")
        stored = await b.store.snapshot(job().key)
        assert await b.see("PENDING", asked=30) is RecordResult.UNCHANGED
        assert await b.store.snapshot(job().key) == stored
        assert b.recorder.latest(job()).looked_at == at(30)
        assert len(b.announced) == 1


async def test_what_changes_without_a_transition_is_known_all_the_same(tmp_path):
    """Such as a part that nobody watches, or that a describe is no longer owed."""
    quiet = following(FakeType(quiet=frozenset({"Heat"})))
    async with bench(tmp_path) as b:
        await b.see(fields={"Heat": 1}, follow=quiet)
        assert await b.see(fields={"Heat": 2}, follow=quiet, asked=30) is RecordResult.UNCHANGED
        known = b.recorder.snapshot(job())
        assert known is not None
        assert known.fields == {"Heat": 2}
        assert len(b.announced) == 1
        await b.see(fields={"Heat": 2}, follow=quiet, asked=60)
        assert b.recorder.snapshot(job()) is known


async def test_an_owed_describe_stays_owed_until_one_comes(tmp_path):
    async with bench(tmp_path) as b:
        owed = []
        for asked, state, owing in [
            (0, "PENDING", False),
            (30, "RUNNING", True),
            (60, "RUNNING", True),
            (90, "RUNNING", False),
        ]:
            await b.recorder.observe(observation(state, asked=asked), following(), owing=owing)
            snapshot = b.recorder.snapshot(job())
            assert snapshot is not None
            owed.append(snapshot.describe_owed)
        assert owed == [False, True, True, False]


async def test_a_stale_answer_changes_nothing(tmp_path):
    async with bench(tmp_path) as b:
        await b.see("RUNNING", updated=20)
        assert await b.see("PENDING", asked=30, updated=10) is RecordResult.STALE
        assert b.recorder.snapshot(job()).state == "RUNNING"
        assert len(await b.told()) == 1


async def test_a_state_to_which_no_way_leads_is_ignored(tmp_path):
    ended_for_good = following(FakeType(irrevocable=frozenset({Phase.SUCCEEDED})))
    async with bench(tmp_path) as b:
        await b.see("SUCCEEDED", follow=ended_for_good)
        assert await b.see("CANCELED", asked=30, follow=ended_for_good) is RecordResult.STALE
        assert len(await b.told()) == 1


async def test_of_two_writers_the_second_goes_on_from_what_the_first_wrote(tmp_path):
    async with bench(tmp_path) as b:
        other = b.another()
        await b.see("PENDING")
        assert await b.see("PENDING", recorder=other, asked=10) is RecordResult.UNCHANGED
        await b.see("RUNNING", asked=20)
        assert await b.see("FAILED", recorder=other, asked=30) is RecordResult.CHANGED
        assert await b.told() == [
            ("job.discovered", 1, "PENDING"),
            ("job.state_changed", 2, "RUNNING"),
            ("job.state_changed", 3, "FAILED"),
        ]
        assert b.announced[-1][1].state == "RUNNING"


async def test_what_another_writer_has_told_is_not_told_again(tmp_path):
    async with bench(tmp_path) as b:
        other = b.another()
        await b.see("PENDING")
        await b.see("PENDING", recorder=other, asked=5)
        await b.see("RUNNING", asked=10)
        assert await b.see("RUNNING", recorder=other, asked=20) is RecordResult.UNCHANGED
        assert len(await b.told()) == 2


async def test_what_another_writer_saw_later_is_not_undone(tmp_path):
    async with bench(tmp_path) as b:
        other = b.another()
        await b.see("PENDING")
        await b.see("PENDING", recorder=other, asked=5)
        await b.see("SUCCEEDED", asked=30)
        assert await b.see("RUNNING", recorder=other, asked=20) is RecordResult.STALE
        assert other.snapshot(job()).state == "SUCCEEDED"
        assert len(await b.told()) == 2


async def test_what_a_writer_that_was_cut_off_tells_late_counts_from_when_it_was_seen(tmp_path):
    """The job left that state again before the next owner polled it for the first time."""
    async with bench(tmp_path) as b:
        owner = b.another()
        await b.see("PENDING")
        await b.see("PENDING", recorder=owner, asked=50)
        await b.see("RUNNING", asked=30)
        # Its polls show nothing of what it does not know of.
        await owner.rest()
        assert (await b.store.snapshot(job().key)).looked_at == at(30)
        await owner.catch_up({job(): 1, job("unknown"): 7})
        assert owner.snapshot(job()).state == "PENDING"
        await owner.catch_up({job(): 2})
        assert owner.snapshot(job()).state == "RUNNING"
        assert await b.see("PENDING", recorder=owner, asked=60) is RecordResult.CHANGED
        assert await b.told() == [
            ("job.discovered", 1, "PENDING"),
            ("job.state_changed", 2, "RUNNING"),
            ("job.state_changed", 3, "PENDING"),
        ]
        assert (await b.windows())[-1][0] == text(30)
        # It has been loaded once, and is not undone by news that come late.
        await owner.catch_up({job(): 2})
        assert owner.snapshot(job()).sequence == 3


async def test_two_writers_at_once_tell_everything_once(tmp_path):
    states = ["PENDING", "RUNNING", "RETURNING", "FAILED"]
    async with bench(tmp_path) as b:
        writers = [b.recorder, b.another(), b.another()]
        for turn, state in enumerate(states):
            async with anyio.create_task_group() as tasks:
                for number, writer in enumerate(writers):
                    seen = observation(state, asked=10 * turn + number)
                    tasks.start_soon(writer.observe, seen, following())
        assert [row[1:] for row in await b.told()] == list(enumerate(states, start=1))


async def test_a_store_that_lost_a_job_is_no_store(tmp_path):
    async with bench(tmp_path) as b, bench_elsewhere(tmp_path) as elsewhere:
        await elsewhere.see("PENDING")
        b.recorder.adopt(elsewhere.recorder.snapshot(job()))
        with pytest.raises(StoreError, match="lost the job"):
            await b.see("RUNNING", asked=10)


@asynccontextmanager
async def bench_elsewhere(directory):
    (directory / "other").mkdir()
    async with bench(directory / "other") as other:
        yield other


async def test_a_restart_repeats_nothing(tmp_path):
    async with bench(tmp_path) as b:
        await b.see("PENDING")
        await b.see("RUNNING", asked=10, fields={"Size": [1, {"a": None}], "Text": "ü"})
        before = await b.told()
    async with restarted(tmp_path) as b:
        again = await b.see("RUNNING", asked=20, fields={"Size": [1, {"a": None}], "Text": "ü"})
        assert again is RecordResult.UNCHANGED
        assert await b.told() == before
        await b.see("FAILED", asked=30)
        assert await b.told() == [*before, ("job.state_changed", 3, "FAILED")]


async def test_a_rest_keeps_windows_narrow_over_a_restart(tmp_path):
    async with bench(tmp_path) as b:
        await b.see("PENDING")
        await b.see("PENDING", asked=100)
        await b.recorder.rest()
    async with restarted(tmp_path) as b:
        await b.see("RUNNING", asked=200, seen=201)
        assert (await b.windows())[-1] == (text(100), text(201))


async def test_without_a_rest_a_window_gets_wider_and_never_narrower(tmp_path):
    async with bench(tmp_path) as b:
        await b.see("PENDING", asked=10)
        await b.see("PENDING", asked=100)
    async with restarted(tmp_path) as b:
        await b.see("RUNNING", asked=200, seen=201)
        assert (await b.windows())[-1] == (text(10), text(201))


async def test_a_rest_forgets_jobs_that_nobody_wants_any_more(tmp_path):
    async with bench(tmp_path) as b:
        await b.see("PENDING")
        await b.see("PENDING", asked=100)
        b.recorder.keep_only(lambda _job: False)
        await b.recorder.rest()
        assert (await b.store.snapshot(job().key)).looked_at == at(100)
        assert not b.recorder._poll_times
        assert not b.recorder._left


async def test_a_job_that_another_goes_on_with_leaves_no_time_for_what_it_did_not_show(tmp_path):
    async with bench(tmp_path) as b:
        owner = b.another()
        await b.see("PENDING")
        await b.see("PENDING", recorder=owner, asked=50)
        owner.keep_only(lambda _job: False)
        await b.see("RUNNING", asked=30)
        await owner.rest(at(0))
        assert (await b.store.snapshot(job().key)).looked_at == at(30)
        assert not owner._left
        # A poll that was under way, too, shows what it has shown.
        assert await b.see("RUNNING", recorder=owner, asked=60) is RecordResult.UNCHANGED
        await owner.rest(at(0))
        assert (await b.store.snapshot(job().key)).looked_at == at(60)


async def test_what_waits_with_a_page_leaves_the_time_of_its_last_one(tmp_path):
    async with bench(tmp_path) as b:
        await b.see("PENDING")
        b.recorder.share_poll(job(), SharedPollTime(at(70)))
        b.recorder.keep_only(lambda _job: False)
        b.recorder.share_poll(job("gone"), SharedPollTime(at(70)))
        await b.recorder.rest()
        assert (await b.store.snapshot(job().key)).looked_at == at(70)
        assert not b.recorder._poll_times
        assert not b.recorder._left


async def test_a_rest_never_narrows_the_window_of_a_later_state(tmp_path):
    async with bench(tmp_path) as b:
        await b.see("PENDING", asked=0)
        await b.see("PENDING", asked=3600)
        await b.see("RUNNING", asked=100)  # somebody has set the clock back
        await b.recorder.rest()
        assert (await b.store.snapshot(job().key)).looked_at == at(100)


async def test_a_job_that_is_denied_is_told_once(tmp_path):
    async with bench(tmp_path) as b:
        await b.see("RUNNING", asked=10)
        assert await b.recorder.deny(job(), at(100), following())
        assert not await b.recorder.deny(job(), at(200), following())
        assert await b.told() == [
            ("job.discovered", 1, "RUNNING"),
            ("job.missing", 2, "RUNNING"),
        ]
        assert (await b.windows())[-1] == (text(10), text(100))


async def test_nobody_can_miss_what_was_never_seen(tmp_path):
    async with bench(tmp_path) as b:
        assert not await b.recorder.deny(job(), at(100), following())
        assert await b.told() == []


async def test_a_denial_goes_on_from_what_another_writer_wrote(tmp_path):
    async with bench(tmp_path) as b:
        other = b.another()
        await b.see("PENDING")
        await b.see("PENDING", recorder=other, asked=5)
        await b.see("RUNNING", asked=10)
        assert await other.deny(job(), at(100), following())
        assert (await b.told())[-1] == ("job.missing", 3, "RUNNING")
        assert not await b.recorder.deny(job(), at(110), following())
        assert len(await b.told()) == 3


async def test_a_missing_job_that_is_seen_reappears_after_a_restart_too(tmp_path):
    async with bench(tmp_path) as b:
        await b.see("RUNNING")
        await b.recorder.deny(job(), at(100), following())
    async with restarted(tmp_path) as b:
        assert b.recorder.snapshot(job()).missing
        await b.see("RUNNING", asked=200)
        assert (await b.told())[-1] == ("job.reappeared", 3, "RUNNING")


async def turn(b, *, available, after=None, when=0):
    return await b.recorder.record_availability(
        SOURCE,
        available=available,
        after=None if after is None else at(after),
        at=at(when),
        reason=None if available else "unavailable: NoSuchHost",
    )


async def test_a_source_is_told_lost_once_and_found_once(tmp_path):
    async with bench(tmp_path) as b:
        assert not await turn(b, available=True)
        assert await turn(b, available=False, after=10, when=20)
        assert not await turn(b, available=False, when=30)
        assert b.recorder.is_lost(SOURCE)
    async with restarted(tmp_path) as b:
        assert b.recorder.is_lost(SOURCE)
        assert await turn(b, available=True, after=40, when=50)
        assert not b.recorder.is_lost(SOURCE)
        assert await b.told() == [
            ("source.unavailable", 1, "unavailable"),
            ("source.recovered", 2, "available"),
        ]
        assert await b.windows() == [(text(10), text(20)), (text(40), text(50))]


def row(state="PENDING", asked=30, **more):
    return observation(state, asked=asked, **more)


async def test_rows_are_compared_with_what_is_known(tmp_path):
    async with bench(tmp_path) as b:
        assert b.recorder.compare(row()) is RowComparison.FIRST
        await b.see("RUNNING", updated=10)
        assert b.recorder.compare(row("RUNNING", updated=10)) is RowComparison.SAME
        assert b.recorder.compare(row("RUNNING")) is RowComparison.SAME
        assert b.recorder.compare(row(None)) is RowComparison.SAME
        assert b.recorder.compare(row("FAILED")) is RowComparison.DIFFERENT
        assert b.recorder.compare(row("RUNNING", updated=11)) is RowComparison.DIFFERENT
        assert b.recorder.compare(row("FAILED", updated=9)) is RowComparison.OLDER
        await b.recorder.deny(job(), at(20), following())
        assert b.recorder.compare(row("RUNNING", updated=10)) is RowComparison.DIFFERENT


async def test_a_row_that_agrees_counts_as_a_look(tmp_path):
    async with bench(tmp_path) as b:
        await b.see("RUNNING")
        await b.recorder.confirm(row("RUNNING", asked=30), following())
        assert len(await b.told()) == 1
        await b.see("FAILED", asked=60)
        assert (await b.windows())[-1][0] == text(30)


async def test_a_job_seen_in_rows_alone_can_be_stuck(tmp_path):
    async with bench(tmp_path) as b:
        follow = following(stuck_after=100)
        await b.see("RUNNING", follow=follow)
        for asked in (50, 150, 200):
            await anyio.sleep_until(asked)
            await b.recorder.confirm(row("RUNNING", asked=asked), follow)
        assert [kind for kind, _, _ in await b.told()] == [Kind.DISCOVERED, Kind.STUCK]


async def test_a_row_that_meets_another_writer_tells_nothing_twice(tmp_path):
    async with bench(tmp_path) as b:
        other, follow = b.another(), following(stuck_after=100)
        await b.see("RUNNING", follow=follow)
        await b.see("RUNNING", recorder=other, asked=5, follow=follow)
        await anyio.sleep_until(150)
        for recorder in (b.recorder, other):
            await recorder.confirm(row("RUNNING", asked=150), follow)
        assert len(await b.told()) == 2
        assert other.snapshot(job()).stuck


@pytest.mark.parametrize("step", STEPS)
async def test_a_wall_clock_that_is_set_makes_no_job_stuck(tmp_path, step):
    """Nor does it keep one from being stuck that is."""
    async with bench(tmp_path) as b:
        follow = following(stuck_after=100)
        await b.see("RUNNING", follow=follow)
        await anyio.sleep_until(50)
        await b.see("RUNNING", asked=50 + step, follow=follow)
        assert len(await b.told()) == 1
        await anyio.sleep_until(101)
        await b.see("RUNNING", asked=101 + step, follow=follow)
        assert [kind for kind, _, _ in await b.told()] == [Kind.DISCOVERED, Kind.STUCK]


@pytest.mark.parametrize("step", STEPS)
async def test_a_window_is_neither_turned_around_nor_narrowed_by_a_clock_that_is_set(
    tmp_path, step
):
    """The clock is wrong at the last look before a restart, which the store remembers."""
    async with bench(tmp_path) as b:
        await b.see("RUNNING")
        await b.see("RUNNING", asked=50 + step)
        await b.recorder.rest()
    async with restarted(tmp_path) as b:
        await b.see("FAILED", asked=60)
        after, before = (await b.windows())[-1]
        assert after <= (text(1) if step > 0 else text(51))
        assert text(60) <= before <= text(61)


async def test_every_job_that_was_seen_is_known(tmp_path):
    async with bench(tmp_path) as b:
        await b.see("RUNNING")
        await b.see("FAILED", of=replace(job("j-2"), region="eu-west-1"))
        assert len(b.recorder.snapshots()) == 2


async def test_a_late_look_at_a_job_that_nobody_wants_any_more_is_recorded_and_not_kept(tmp_path):
    async with bench(tmp_path) as b:
        await b.recorder.observe(observation("PENDING", asked=0), following())
        b.recorder.keep_only(lambda _job: False)
        assert len(b.recorder.snapshots()) == 0
        late = observation("RUNNING", asked=10)
        with anyio.fail_after(60):
            assert await b.recorder.observe(late, following()) is RecordResult.CHANGED
            again = observation("RUNNING", asked=20)
            assert await b.recorder.observe(again, following()) is RecordResult.UNCHANGED
            old = observation("PENDING", asked=5)
            assert await b.recorder.observe(old, following()) is RecordResult.STALE
        assert len(b.recorder.snapshots()) == 0
        rows = await b.store.transitions(limit=10)
        assert sorted(event["data"]["sequence"] for _, event in rows) == [1, 2]


async def test_a_first_look_that_comes_late_is_no_news(tmp_path):
    """Whoever polls the job now knows whether it is of a baseline."""
    async with bench(tmp_path) as b:
        b.recorder.keep_only(lambda _job: False)
        b.recorder.is_elsewhere = lambda _job: True
        assert await b.recorder.observe(observation("PENDING"), following()) is RecordResult.STALE
        assert await b.store.snapshots() == []


async def test_a_source_that_another_replica_has_recorded_is_read_again(tmp_path):
    async with bench(tmp_path) as b:
        other = b.another()
        about = {"after": None, "at": at(0), "reason": None}
        assert await other.record_availability(SOURCE, available=False, **about)
        # This one believes that it is available still, and its number is an old one.
        assert not await b.recorder.record_availability(SOURCE, available=False, **about)
        assert b.recorder.is_lost(SOURCE)
        assert await b.recorder.record_availability(SOURCE, available=True, **about)
        assert not await other.record_availability(SOURCE, available=True, **about)
        assert not other.is_lost(SOURCE)


async def test_a_state_that_was_not_confirmed_before_a_job_changed_hands_counts_no_more(tmp_path):
    async with bench(tmp_path) as b:
        careful = replace(following(), confirm=2)
        await b.recorder.observe(observation("PENDING", asked=0), careful)
        flap = observation("RUNNING", asked=10)
        assert await b.recorder.observe(flap, careful) is RecordResult.UNCONFIRMED
        known = b.recorder.snapshot(flap.job)
        b.recorder.keep_only(lambda _job: False)
        b.recorder.keep_only(lambda _job: True)
        b.recorder.adopt(known)
        again = observation("RUNNING", asked=9000)
        assert await b.recorder.observe(again, careful) is RecordResult.UNCONFIRMED
