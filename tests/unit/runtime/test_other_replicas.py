"""What is asked of other replicas, and what is shown of their sources and sinks."""

from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import anyio
import orjson
import pytest

from monitor.errors import StoreError
from monitor.polling.scheduled_job import HintOutcome, HintTicket
from monitor.runtime.other_replicas import ANSWER_WITHIN, REFRESH, OtherReplicas
from monitor.runtime.sharing import SINK, SOURCE
from tests.builders import VIRTUAL, VirtualClock, job, ledger
from tests.page_kit import source

pytestmark = VIRTUAL

KEY = f"{SOURCE}panorama/prod/us-east-1"


class Wire:
    """Carries messages among replicas, as the database does; it may lose some."""

    def __init__(self):
        self.ends = {}
        self.sent = []
        self.lost = False
        self.states: dict[str, tuple[str, str]] = {}

    def end(self, name):
        wire = self

        class End:
            id = name

            async def send(self, message):
                whole = {"from": name, **message}
                wire.sent.append(whole)
                if wire.lost:
                    raise StoreError("the server is gone")
                for receive in list(wire.ends.values()):
                    receive(orjson.loads(orjson.dumps(whole)))

            async def states(self):
                return wire.states

        return End()


class Polls:
    """What one replica polls: a hint of a job is settled as ``outcome`` says."""

    def __init__(self, own=(), outcome=HintOutcome.USED):
        self.own = {each.key for each in own}
        self.outcome = outcome
        self.hinted = []
        self.withdrawn = []
        self.waited = []
        self.elsewhere = self.hint_elsewhere = None

    def target_elsewhere(self, one, _parent=None):
        return None if one.key in self.own else object()

    def targets_elsewhere(self):
        return []

    def sources(self):
        return [KEY, f"{SOURCE}batch/prod/us-east-1"]

    async def recall(self, one):
        """Find it in memory."""

    def hint(self, one, _parent=None):
        self.hinted.append(one.id)
        ticket = HintTicket()
        if self.outcome:
            ticket.settle(self.outcome)
        return ticket

    def withdraw(self, one):
        self.withdrawn.append(one.id)

    def awaited(self, key, seconds):
        self.waited.append((key, seconds))


def others(wire, name, polls, store, members=()):
    state: Any = SimpleNamespace(owned=SimpleNamespace(sources={}))
    end: Any = wire.end(name)
    made = OtherReplicas(store, end, polls, state, VirtualClock(), name)
    made.know(lambda: members)
    wire.ends[name] = made.receive
    return made


@asynccontextmanager
async def three(tmp_path, outcome: Any = HintOutcome.USED, members=()):
    """Yield a replica that asks, the owner of the job, another one, and what is between."""
    wire = Wire()
    polls = [Polls(), Polls([job()], outcome), Polls()]
    async with ledger(tmp_path, VirtualClock()) as store, anyio.create_task_group() as tasks:
        made = [
            others(wire, name, each, store, members)
            for name, each in zip("abc", polls, strict=True)
        ]
        for each in made:
            tasks.start_soon(each.run)
        await anyio.sleep(0.1)
        yield made[0], polls, wire
        tasks.cancel_scope.cancel()


@pytest.mark.parametrize("outcome", [HintOutcome.USED, HintOutcome.USELESS, HintOutcome.FAILED])
async def test_a_hint_is_followed_by_the_owner_of_the_job_alone(tmp_path, outcome):
    async with three(tmp_path, outcome) as (asker, polls, _):
        ticket = asker.hint(job())
        with anyio.fail_after(5):
            assert await ticket.settled() is outcome
        assert [each.hinted for each in polls] == [[], ["j-1"], []]


async def test_a_question_without_an_answer_fails_in_time(tmp_path):
    async with three(tmp_path) as (asker, _, wire):
        wire.lost = True
        ticket = asker.hint(job())
        began = anyio.current_time()
        with anyio.fail_after(2 * ANSWER_WITHIN):
            assert await ticket.settled() is HintOutcome.FAILED
        assert anyio.current_time() - began == pytest.approx(ANSWER_WITHIN, abs=1)


async def test_an_owner_that_cannot_poll_in_time_says_so_and_polls_no_longer(tmp_path):
    async with three(tmp_path, outcome=None) as (asker, polls, _):
        ticket = asker.hint(job())
        began = anyio.current_time()
        with anyio.fail_after(2 * ANSWER_WITHIN):
            assert await ticket.settled() is HintOutcome.FAILED
        assert anyio.current_time() - began <= ANSWER_WITHIN
        assert polls[1].withdrawn == ["j-1"]


async def test_an_answer_that_means_nothing_is_passed_over(tmp_path):
    async with three(tmp_path, outcome=None) as (asker, _, _wire):
        ticket = asker.hint(job())
        await anyio.sleep(1)
        asker.receive({"from": "x", "answer": 1, "to": "a", "outcome": "nonsense"})
        asker.receive({"from": "x", "answer": 1, "to": "a", "outcome": "used"})
        with anyio.fail_after(1):
            assert await ticket.settled() is HintOutcome.USED


async def test_all_others_learn_that_somebody_waits_for_a_job(tmp_path):
    async with three(tmp_path) as (asker, polls, _):
        asker.awaited(job().key, 60.0)
        await anyio.sleep(1)
        assert [each.waited for each in polls] == [[], [(job().key, 60.0)], [(job().key, 60.0)]]


@pytest.mark.parametrize(
    "message",
    [
        {"from": "x"},
        {"from": "x", "answer": "1", "to": "a"},
        {"from": "x", "answer": 99, "to": "a", "outcome": "used"},
        {"from": "x", "hint": "j-1", "ask": 1},
        {"from": "x", "hint": ["j-1"], "parent": None, "ask": 1},
        {"from": "x", "hint": [1, 2, 3, 4], "parent": None, "ask": 1},
        {"from": "x", "await": 5, "seconds": "long"},
    ],
)
async def test_what_makes_no_sense_is_passed_over(tmp_path, message):
    async with three(tmp_path) as (asker, polls, _):
        asker.receive(message)
        await anyio.sleep(1)
        assert not any(each.hinted or each.waited for each in polls)


MEMBERS = [SimpleNamespace(id="id-b", name="pod-b", owned=())]


async def test_sources_and_sinks_of_others_are_shown_as_their_owners_say(tmp_path):
    async with three(tmp_path, members=MEMBERS) as (asker, _, wire):
        view = source(jobs=42, request_rate=1.5).model_dump(mode="json")
        failing = {"last_error": "HTTP 500", "failing_since": "2026-03-01T12:00:00Z"}
        wire.states = {
            KEY: ("id-b", orjson.dumps({"view": view, "level": None}).decode()),
            f"{SINK}ops": ("id-b", orjson.dumps({"view": failing}).decode()),
        }
        await anyio.sleep(REFRESH + 1)
        first, second = asker.sources()
        assert (first.jobs, first.request_rate, first.replica) == (42, 1.5, "pod-b")
        # Nobody has said anything of this one yet.
        assert (second.service, second.up, second.jobs, second.replica) == ("batch", None, 0, None)
        sink = asker.sink("ops", "webhook")
        assert (sink.replica, sink.last_error, sink.type) == ("pod-b", "HTTP 500", "webhook")
        assert sink.failing_since
        assert asker.sink("audit", "log").replica is None


async def test_what_another_version_says_of_a_source_is_not_understood_and_no_error(tmp_path):
    async with three(tmp_path, members=MEMBERS) as (asker, _, wire):
        wire.states = {KEY: ("id-b", orjson.dumps({"view": {"other": "form"}}).decode())}
        await anyio.sleep(REFRESH + 1)
        first, _ = asker.sources()
        assert (first.name, first.up, first.replica) == ("panorama/prod/us-east-1", None, "pod-b")
