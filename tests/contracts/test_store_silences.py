"""Silences, their release, acknowledgements and discarded deliveries: over every kind of store."""

from dataclasses import replace

import anyio
import pytest
from prometheus_client import CollectorRegistry

from monitor import model
from monitor.delivery import replay
from monitor.metrics import Metrics
from monitor.model import DeliveryStatus, Kind, Phase, StateAndPhase
from monitor.recording.quiet import Quiet
from monitor.runtime.quiet_keeper import QuietKeeper
from monitor.stores.store import open_store
from tests.contracts.store_examples import (
    SECOND,
    T0,
    SettableClock,
    dead,
    delivered,
    entry,
    job,
    snapshot,
    source_entry,
    transition,
)

HELD = "7c5f6d04"
PHASES = {
    "RUNNING": Phase.RUNNING,
    "FAILED": Phase.FAILED,
    "SUCCEEDED": Phase.SUCCEEDED,
    "PENDING": Phase.WAITING,
}


@pytest.fixture
def opened(store_url):
    return lambda **options: open_store(store_url, SettableClock(), **options)


class Ledger:
    """Records changes of jobs, one after the other."""

    def __init__(self, store):
        self.store = store
        self.sequences = {}

    async def moves(self, state, *, held=None, number=1, kind=Kind.STATE_CHANGED, sinks=("ops",)):
        sequence = self.sequences[number] = self.sequences.get(number, 0) + 1
        phase = PHASES[state]
        made = replace(
            transition(job(number), sequence),
            kind=kind,
            current=StateAndPhase(state, phase.value),
        )
        after = snapshot(number, sequence, state, phase=phase)
        entry = model.Entry(after, sequence - 1, (made,), (tuple(sinks),), (held,))
        assert await self.store.record(entry)

    async def sent(self, sink="ops"):
        """Deliver all that is due; return (kind, state, sequence) of it."""
        found = []
        while some := await self.store.due(sink, self.store.store_time(), 1):
            data = some[0].event["data"]
            found.append((data["kind"].partition(".")[2], data["current"]["state"]))
            await self.store.settle(delivered(some[0]))
        return found


def nothing(_key, _parent, _event):
    return False


CASES = {
    "a failure that lasts": ([], ["FAILED"], ["FAILED"]),
    "only the last state": ([], ["RUNNING", "FAILED"], ["FAILED"]),
    "a job that has gone on": (["FAILED"], ["RUNNING"], ["RUNNING"]),
    "a second failure": (["FAILED"], ["RUNNING", "FAILED"], ["FAILED"]),
    "back where it was": (["RUNNING"], ["PENDING", "RUNNING"], []),
    "a failure that is over": (["RUNNING"], ["FAILED", "RUNNING"], []),
    "nothing held": (["FAILED"], [], []),
}


@pytest.mark.parametrize(("before", "during", "after"), CASES.values(), ids=CASES)
async def test_the_end_of_a_silence_sends_the_state_that_is_still_true(
    opened, before, during, after
):
    async with opened() as store:
        ledger = Ledger(store)
        for state in before:
            await ledger.moves(state)
        assert [state for _, state in await ledger.sent()] == before
        for state in during:
            await ledger.moves(state, held=HELD)
        assert await ledger.sent() == []
        held = await store.deliveries(status=DeliveryStatus.SILENCED)
        assert [(one.silenced_by, one.settled_at) for one in held] == [(HELD, None)] * len(during)
        assert await store.silences.release(nothing) == len(after)
        assert [state for _, state in await ledger.sent()] == after
        assert await store.silences.release(nothing) == 0, "once"
        left = await store.deliveries(status=DeliveryStatus.SILENCED)
        assert len(left) == len(during) - len(after)
        assert all(one.settled_at for one in left)
        assert await ledger.sent() == []


TROUBLES = {
    "still stuck": ([], [Kind.STUCK], ["stuck"]),
    "stuck no longer": ([], [Kind.STUCK, Kind.UNSTUCK], []),
    "stuck was sent": ([Kind.STUCK], [Kind.UNSTUCK], ["unstuck"]),
    "stuck was sent, and is": ([Kind.STUCK], [Kind.UNSTUCK, Kind.STUCK], []),
    "still missing": ([], [Kind.MISSING], ["missing"]),
    "missing no longer": ([], [Kind.MISSING, Kind.REAPPEARED], []),
    "missing was sent": ([Kind.MISSING], [Kind.REAPPEARED], ["reappeared"]),
    "an update": ([], [Kind.UPDATED], []),
    "a reminder": ([Kind.STUCK], [Kind.REMINDER], []),
}


@pytest.mark.parametrize(("before", "during", "after"), TROUBLES.values(), ids=TROUBLES)
async def test_the_end_of_a_silence_sends_the_trouble_that_is_still_true(
    opened, before, during, after
):
    async with opened() as store:
        ledger = Ledger(store)
        await ledger.moves("RUNNING")
        for kind in before:
            await ledger.moves("RUNNING", kind=kind)
        await ledger.sent()
        for kind in during:
            await ledger.moves("RUNNING", kind=kind, held=HELD)
        await store.silences.release(nothing)
        assert [kind for kind, _ in await ledger.sent()] == after


async def test_a_source_that_is_still_lost_is_sent_at_the_end(opened):
    async with opened() as store:
        assert await store.record(replace(source_entry(1), held=(HELD,)))
        assert await store.silences.release(nothing) == 1
        (sent,) = await store.due("ops", store.store_time(), 10)
        assert sent.event["data"]["kind"] == "source.unavailable"
        assert await store.record(replace(source_entry(2, available=True), held=(HELD,)))
        assert await store.silences.release(nothing) == 1, "the receiver has it as lost"


async def test_a_failed_job_that_is_missing_too_is_sent_as_both_in_order(opened):
    async with opened() as store:
        ledger = Ledger(store)
        await ledger.moves("FAILED", held=HELD)
        await ledger.moves("FAILED", kind=Kind.MISSING, held=HELD)
        await store.silences.release(nothing)
        assert await ledger.sent() == [("state_changed", "FAILED"), ("missing", "FAILED")]


async def test_what_waits_from_before_comes_first(opened):
    async with opened() as store:
        ledger = Ledger(store)
        await ledger.moves("RUNNING")
        await ledger.moves("FAILED", held=HELD)
        await store.silences.release(nothing)
        assert [state for _, state in await ledger.sent()] == ["RUNNING", "FAILED"]


async def test_what_another_silence_holds_is_held_on(opened):
    async with opened() as store:
        ledger = Ledger(store)
        await ledger.moves("FAILED", held=HELD)
        await ledger.moves("FAILED", held=HELD, number=2)

        def second(key, _parent, event):
            assert event["data"]["job"]["key"] == key
            return key == job(2).key

        assert await store.silences.release(second) == 1
        (sent,) = await store.due("ops", store.store_time(), 10)
        assert sent.key == job(1).key
        assert await store.silences.release(nothing) == 1


async def test_each_sink_gets_what_it_has_not_got(opened):
    async with opened() as store:
        ledger = Ledger(store)
        await ledger.moves("RUNNING", sinks=("ops",))
        await ledger.moves("FAILED", held=HELD, sinks=("ops", "audit"))
        await ledger.moves("RUNNING", held=HELD, sinks=("ops", "audit"))
        await store.silences.release(nothing)
        assert [state for _, state in await ledger.sent("ops")] == ["RUNNING"], "from before"
        assert [state for _, state in await ledger.sent("audit")] == ["RUNNING"]


async def test_a_release_separates_what_is_recorded_before_and_after_it(opened):
    """All are in one commit: the first is released, the last is not held by what has ended."""
    async with opened() as store:
        ledger = Ledger(store)
        found = []
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(lambda: ledger.moves("FAILED", held=HELD))
            await anyio.lowlevel.checkpoint()

            async def release():
                found.append(await store.silences.release(nothing))

            tasks.start_soon(release)
            await anyio.lowlevel.checkpoint()
            tasks.start_soon(lambda: ledger.moves("RUNNING"))
        assert found == [1]
        assert [state for _, state in await ledger.sent()] == ["FAILED", "RUNNING"]


async def test_a_release_of_many_is_written_in_bites_between_which_others_write(
    opened, monkeypatch
):
    monkeypatch.setattr("monitor.stores.silenced.AT_ONCE", 2)
    async with opened() as store:
        ledger = Ledger(store)
        for number in range(1, 8):
            await ledger.moves("FAILED", held=HELD, number=number)
        await ledger.moves("RUNNING", held=HELD, number=1)
        asked, left = [], []

        def free(key, _parent, _event):
            asked.append(key)
            return False

        async def release():
            left.append(await store.silences.release(free))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(release)
            while not asked:
                await anyio.lowlevel.checkpoint()
            # One that is held meanwhile is held by a silence that this release knows nothing of.
            await ledger.moves("FAILED", held="another", number=9)
            assert left == [], "the release waits for all that was held at its beginning"
        assert left == [7]
        assert len(asked) == 8
        found = await store.due("ops", store.store_time(), 100)
        assert [each.key for each in found] == [job(number).key for number in (2, 3, 4, 5, 6, 7, 1)]
        (held,) = [
            one
            for one in await store.deliveries(status=DeliveryStatus.SILENCED)
            if one.settled_at is None
        ]
        assert held.silenced_by == "another"


async def test_a_release_knows_the_parent_of_each_job(opened):
    async with opened() as store:
        made = replace(entry(1), held=(HELD,))
        await store.record(replace(made, snapshot=made.snapshot.replace(parent="parent-1")))
        await store.record(replace(source_entry(1), held=(HELD,)))
        asked = {}

        def held(key, parent, _event):
            asked[key] = parent
            return True

        assert await store.silences.release(held) == 0
        assert asked == {job(1).key: "parent-1", source_entry(1).snapshot.source.key: None}


async def test_what_is_released_outlives_its_age_in_the_silence(store_url):
    clock = SettableClock()
    async with open_store(store_url, clock) as store:
        ledger = Ledger(store)
        await ledger.moves("FAILED", held=HELD)
        clock.time += 40 * 86400 * SECOND
        assert await store.prune(store.store_time() - 30 * 86400 * SECOND) == 0, "it is held"
        await store.silences.release(nothing)
        (sent,) = await store.due("ops", store.store_time(), 10)
        assert sent.created_at == store.store_time(), "its max_age begins now"


async def test_what_stays_silenced_is_pruned_with_all_else(store_url):
    clock = SettableClock()
    async with open_store(store_url, clock) as store:
        ledger = Ledger(store)
        await ledger.moves("RUNNING", held=HELD)
        await ledger.moves("FAILED", held=HELD)
        await store.silences.release(nothing)
        await ledger.sent()
        clock.time += 40 * 86400 * SECOND
        await ledger.moves("RUNNING", number=2)
        assert await store.prune(store.store_time() - 30 * 86400 * SECOND) == 2


async def test_what_is_silenced_can_be_replayed(opened):
    async with opened() as store:
        ledger = Ledger(store)
        await ledger.moves("RUNNING", held=HELD)
        selection = replay.Selection("ops", (DeliveryStatus.SILENCED,))
        pages = [page async for page in replay.replay(store, selection)]
        assert sum(map(len, pages)) == 1
        assert await ledger.sent() == [("state_changed", "RUNNING")]


async def test_silences_are_kept_over_a_restart_and_replaced_by_their_id(opened):
    first = model.Silence(
        "a", ({"phase": ["failed"], "labels": {"team": ["*"]}},), T0, T0 + SECOND, "ann", "ä\x00"
    )
    async with opened() as store:
        await store.silences.keep(first)
        await store.silences.keep(replace(first, id="b"))
        await store.silences.keep(replace(first, id="b", ends_at=T0))
    async with opened() as store:
        found = sorted(await store.silences.all(), key=lambda one: one.id)
        assert [(one.id, one.ends_at) for one in found] == [("a", T0 + SECOND), ("b", T0)]
        assert found[0] == replace(first, comment="ä\N{REPLACEMENT CHARACTER}")
        await store.silences.forget(["a", "c"])
        assert [one.id for one in await store.silences.all()] == ["b"]


async def test_an_acknowledgement_lasts_until_the_state_changes(opened):
    made = model.Acknowledgement(job().key, 1, "ann", "on it", T0)
    async with opened() as store:
        ledger = Ledger(store)
        await ledger.moves("FAILED")
        assert not await store.silences.acknowledge(replace(made, sequence=2)), "of another state"
        assert await store.silences.acknowledge(made)
        await ledger.moves("FAILED", kind=Kind.UPDATED)
        assert await store.silences.acknowledgements() == [made]
    async with opened() as store:
        ledger.store = store
        assert await store.silences.acknowledgements() == [made]
        await ledger.moves("RUNNING")
        assert await store.silences.acknowledgements() == []
        assert await store.silences.withdraw([job().key])
        assert not await store.silences.withdraw([job().key])


async def test_a_silence_that_ends_while_the_daemon_starts_is_released_at_once(store_url):
    clock = SettableClock()
    silence = model.Silence(HELD, ({"phase": ["failed"]},), T0, T0 + 6 * SECOND, "ann", "")
    async with open_store(store_url, clock) as store:
        ledger = Ledger(store)
        await ledger.moves("FAILED", held=HELD)
        await store.silences.keep(silence)
        calls = (lambda *_: None, lambda: None, lambda: 86400.0)
        metrics = Metrics(CollectorRegistry(), "0")
        keeper = QuietKeeper(store, Quiet(clock.now), metrics, clock, *calls)
        await keeper.load()
        clock.time += 10 * SECOND
        await keeper.begin()
        assert [state for _, state in await ledger.sent()] == ["FAILED"]


async def test_an_ended_acknowledgement_does_not_come_back_once_history_is_pruned(store_url):
    """A kill may come between the change of a job and the end of its acknowledgement."""
    clock = SettableClock()
    made = model.Acknowledgement(job().key, 1, "ann", "on it", T0)
    async with open_store(store_url, clock) as store:
        ledger = Ledger(store)
        await ledger.moves("FAILED")
        assert await store.silences.acknowledge(made)
        await ledger.moves("RUNNING")
        await ledger.sent()
        calls = (lambda *_: None, lambda: None, lambda: 86400.0)
        metrics = Metrics(CollectorRegistry(), "0")
        await QuietKeeper(store, Quiet(clock.now), metrics, clock, *calls).load()
        clock.time += 40 * 86400 * SECOND
        await ledger.moves("RUNNING", number=2)
        assert await store.prune(store.store_time() - 30 * 86400 * SECOND) == 2
        assert await store.silences.acknowledgements() == []


async def test_an_acknowledgement_of_a_job_that_has_ended_for_good_ends_with_its_history(store_url):
    clock = SettableClock()
    async with open_store(store_url, clock) as store:
        ledger = Ledger(store)
        for number in (1, 2):
            await ledger.moves("FAILED", number=number)
        metrics = Metrics(CollectorRegistry(), "0")
        calls = (lambda *_: None, lambda: None, lambda: 86400.0)
        quiet = Quiet(clock.now)
        keeper = QuietKeeper(store, quiet, metrics, clock, *calls)
        for number in (1, 2):
            assert await keeper.acknowledge(job(number).key, "ann", "on it")
        mark = model.ArchiveMark(job(1).key, 1, model.Archived.ENDED, T0)
        await store.archive.mark([mark])
        clock.time += 80000 * SECOND
        await keeper.pass_once()
        assert len(quiet.acknowledgements()) == 2
        clock.time += 80000 * SECOND
        await keeper.pass_once()
        assert [made.key for made in quiet.acknowledgements()] == [job(2).key], "it is polled still"
        assert [made.key for made in await store.silences.acknowledgements()] == [job(2).key]


async def test_dead_deliveries_are_discarded_and_can_be_replayed(opened):
    async with opened() as store:
        for number in (1, 2, 3):
            await store.record(entry(number))
        for found in await store.due("ops", T0, 10):
            await store.settle(dead(found) if found.key != job(3).key else delivered(found))
        assert await replay.discard(store, "ops", set(), job(1).id) == 1
        assert await replay.discard(store, "ops", set(), job(1).key) == 0, "it is not dead any more"
        (backlog,) = await store.backlog()
        assert backlog.dead == 1
        assert await replay.discard(store, "ops", set(), None) == 1
        assert await store.backlog() == []
        found = await store.deliveries(status=DeliveryStatus.DISCARDED)
        assert [(one.key, one.last_error) for one in found] == [
            (job(2).key, "rejected"),
            (job(1).key, "rejected"),
        ]
        selection = replay.Selection("ops", (DeliveryStatus.DISCARDED,))
        pages = [page async for page in replay.replay(store, selection)]
        assert sum(map(len, pages)) == 2
        assert len(await store.due("ops", T0, 10)) == 2


async def test_only_the_named_deliveries_are_discarded(opened):
    async with opened() as store:
        for number in (1, 2):
            await store.record(entry(number))
        first, second = await store.due("ops", T0, 10)
        await store.settle(dead(first), dead(second))
        assert await replay.discard(store, "ops", {second.id, 99}, None) == 1
        (left,) = await store.deliveries(status=DeliveryStatus.DEAD)
        assert left.id == first.id
