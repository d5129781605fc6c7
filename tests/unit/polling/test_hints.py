"""Events name jobs to poll: which ones, how often, and what becomes of their messages."""

import json
from datetime import timedelta
from random import Random
from types import SimpleNamespace
from typing import Any

import anyio
import pytest
from prometheus_client import CollectorRegistry

from monitor.config import Settings
from monitor.errors import PollError, PollReason
from monitor.metrics import Metrics
from monitor.polling import hints
from monitor.polling.scheduled_job import HintOutcome
from monitor.sources import loader
from tests.builders import VIRTUAL, Answer, job, until
from tests.unit.polling.test_manager import benched, watch

OWN = "111122223333"
ROLE = f"arn:aws:iam::{OWN}:role/monitor"
TYPES = loader.load_job_types(None)
ARN = "arn:aws:ecs:us-east-1:111122223333:task/blue/0123456789abcdef0123456789abcdef"


def event(source, detail_type, **changes):
    return {
        "source": source,
        "detail-type": detail_type,
        "account": OWN,
        "region": "us-east-1",
        "detail": {},
        **changes,
    }


def found(told, *watches, accounts=None):
    settings = Settings.model_validate({"watches": watches, "accounts": accounts or {}})
    matched = hints.HintMatcher(settings, TYPES).jobs(told)
    return [(one.job.account, one.job.region, one.job.id, one.parent) for one in matched]


def watched(kind, account="default", regions=("us-east-1",), **more):
    return {"name": f"{kind}-{account}", "type": kind, "account": account, **more} | {
        "regions": list(regions),
        "discover": True,
    }


BATCH = event("aws.batch", "Batch Job State Change", detail={"jobId": "0a-1b"})


@pytest.mark.parametrize(
    ("kind", "told", "job_id", "parent"),
    [
        ("batch.job", BATCH, "0a-1b", None),
        (
            "glue.job-run",
            event(
                *("aws.glue", "Glue Job State Change"),
                detail={"jobName": "nightly", "jobRunId": "jr_12"},
            ),
            "nightly/jr_12",
            "nightly",
        ),
        (
            "emr.step",
            event(
                *("aws.emr", "EMR Step Status Change"),
                detail={"clusterId": "j-1ABC", "stepId": "s-2DEF"},
            ),
            "j-1ABC/s-2DEF",
            "j-1ABC",
        ),
    ],
)
def test_the_parts_of_an_event_make_the_id_and_the_parent(kind, told, job_id, parent):
    assert found(told, watched(kind)) == [("default", "us-east-1", job_id, parent)]


@pytest.mark.parametrize(
    "changes",
    [
        {"source": "aws.glue"},
        {"detail-type": "Batch Job Queue Blocked"},
        {"region": "eu-west-1"},
        {"detail": {}},
        {"detail": None},
        {"detail": {"jobId": ""}},
        {"detail": {"jobId": ["0a"]}},
        {"detail": {"jobId": "a b"}},
        {"detail": {"jobId": "x" * 10_000}},
    ],
)
def test_an_event_of_another_place_or_without_an_id_names_no_job(changes):
    assert found(BATCH | changes, watched("batch.job")) == []


def test_the_account_counts_only_where_it_is_known():
    accounts = {
        "prod": {"role_arn": ROLE},
        "test": {"role_arn": ROLE.replace(OWN, "444455556666")},
        "lab": {"profile": "lab"},
    }
    watches = [watched("batch.job", name) for name in accounts]

    matched = [account for account, *_ in found(BATCH, *watches, accounts=accounts)]

    assert matched == ["prod", "lab"]


@pytest.mark.parametrize(
    "body",
    [
        *("", "null", "[]", '"x"', "{", "{}", "\x00", "[" * 100_000, '{"source": "aws.batch"}'),
        json.dumps(BATCH | {"region": None}),
        json.dumps(BATCH | {"source": ["aws.batch"]}),
        json.dumps(BATCH | {"detail": "x" * 300_000}),
    ],
)
def test_what_is_no_event_is_unreadable(body):
    assert hints.parse_event(body) is None


def test_an_event_is_read_as_it_is():
    assert hints.parse_event(json.dumps(BATCH)) == BATCH


class Listed:
    """A queue that hands out what it is given, and notes what is done with it."""

    def __init__(self):
        self.messages, self.deleted, self.released = [], [], []
        self.trouble = None

    async def receive(self):
        if self.trouble:
            raise self.trouble
        if not self.messages:
            await anyio.sleep(15)
        taken, self.messages = self.messages[:10], self.messages[10:]
        return taken

    async def delete(self, message):
        self.deleted.append(message.body)

    async def release(self, message, seconds):
        self.released.append((message.body, seconds))


class Note:
    def __init__(self, body, receives=1):
        self.body, self.receives = body, receives


class OneMatcher(hints.HintMatcher):
    """Takes the id of a job from ``source``."""

    def __init__(self):
        pass

    def jobs(self, event):
        return [hints.HintedJob(job(event["source"]), None)]


def note(job_id, **more):
    return Note(json.dumps(event(job_id, "any")), **more)


def reader(bench, queue, registry):
    metrics = Metrics(registry, "0")
    clock = bench.polling._clock
    return hints.HintReader(
        "us-east-1/hints", queue, bench.polling, OneMatcher, metrics, clock, Random(7)
    )


@pytest.fixture
def outcomes():
    """Return how many messages had each outcome."""
    registry = CollectorRegistry()

    def count():
        told = {
            name: registry.get_sample_value(
                "job_monitor_hints_total", {"queue": "us-east-1/hints", "outcome": name}
            )
            for name in HintOutcome
        }
        return {str(name): value for name, value in told.items() if value}

    return SimpleNamespace(count=count, registry=registry)


@VIRTUAL
class TestPolls:
    async def test_a_known_job_is_polled_once_a_second_however_many_hints_come(self, tmp_path):
        async with benched(tmp_path) as bench:
            bench.source.answers["A"] = "RUNNING"
            await bench.apply(watch(jobs=["A"], interval="10m"))
            await anyio.sleep(5)
            assert len(bench.source.looks) == 1
            tickets = []
            for _ in range(100):
                tickets += [bench.polling.hint(job("A")) for _ in range(2)]
                await anyio.sleep(0.05)
            bench.source.answers["A"] = "SUCCEEDED"
            with anyio.fail_after(2):
                assert {await one.settled() for one in tickets} == {HintOutcome.USED}

            assert 5 <= len(bench.source.looks) - 1 <= 6
            assert bench.polling.hint(job("A")) is None, "a final job needs no poll"
            assert bench.series("changes_found_total", type=job("A").type, by="hint") == 1

    async def test_a_hint_during_a_poll_asks_for_another(self, tmp_path):
        async with benched(tmp_path) as bench:
            bench.source.answers["A"] = "RUNNING"
            bench.source.latency = 3.0
            await bench.apply(watch(jobs=["A"], interval="10m"))
            await anyio.sleep(1)
            assert await bench.polling.hint(job("A")).settled() is HintOutcome.USED

            (first, _), (second, _) = bench.source.looks
            assert 3.0 <= second - first <= 3.2

    @pytest.mark.parametrize("end", ["final", "dropped"])
    async def test_a_hint_during_the_last_poll_of_a_job_is_settled_with_it(self, tmp_path, end):
        async with benched(tmp_path) as bench:
            bench.source.answers["A"] = "SUCCEEDED"
            bench.source.latency = 3.0
            await bench.apply(watch(jobs=["A"], interval="10m"))
            await anyio.sleep(1)
            ticket = bench.polling.hint(job("A"))
            if end == "dropped":
                await bench.apply(watch(jobs=["B"], interval="10m"))
            with anyio.fail_after(3):
                outcome = await ticket.settled()
            assert outcome is (HintOutcome.USED if end == "final" else HintOutcome.FAILED)

    async def test_a_hint_does_not_shorten_a_backoff(self, tmp_path):
        async with benched(tmp_path) as bench:
            bench.source.answers["A"] = PollError(PollReason.AUTH, "Denied")
            await bench.apply(watch(jobs=["A"], interval="10m"))
            await anyio.sleep(1)
            before = len(bench.source.looks)
            for _ in range(10):
                bench.polling.hint(job("A"))
                await anyio.sleep(0.5)
            assert len(bench.source.looks) == before

    async def test_hints_do_not_hasten_the_verdict_that_a_job_is_missing(self, tmp_path):
        async with benched(tmp_path) as bench:
            bench.source.answers["A"] = "RUNNING"
            await bench.apply(watch(jobs=["A"], interval="30s"))
            await anyio.sleep(5)
            del bench.source.answers["A"]
            for _ in range(120):
                bench.polling.hint(job("A"))
                await anyio.sleep(10)
            assert "job.missing" not in await bench.kinds()

    async def test_a_named_job_that_did_not_exist_is_found_at_once(self, tmp_path):
        async with benched(tmp_path) as bench:
            await bench.apply(watch(jobs=["A"], interval="30s"))
            await anyio.sleep(1000)
            bench.source.answers["A"] = "RUNNING"
            ticket = bench.polling.hint(job("A"))
            with anyio.fail_after(1):
                assert await ticket.settled() is HintOutcome.USED
            assert await bench.kinds() == ["job.discovered"]

    async def test_an_unknown_job_counts_only_if_it_is_new(self, tmp_path):
        async with benched(tmp_path) as bench:
            bench.source.answers["listed"] = "RUNNING"
            await bench.apply(watch(interval="10m"))
            await anyio.sleep(5)
            now = bench.polling._clock.now()
            new, old = now + timedelta(seconds=1), now - timedelta(days=20)
            bench.source.answers |= {
                "new": Answer("FAILED", created_at=new),
                "history": Answer("FAILED", created_at=old),
                "undated-end": "FAILED",
                "undated": "RUNNING",
            }
            asked = ("new", "history", "undated-end", "undated", "forged")
            outcomes = {one: await bench.polling.hint(job(one)).settled() for one in asked}
            bench.source.answers = {}

            used = {one for one, outcome in outcomes.items() if outcome is HintOutcome.USED}
            assert used == {"new", "undated"}
            told = {data["job"]["id"]: data["current"]["state"] for data in await bench.events()}
            assert told == {"listed": "RUNNING", "new": "FAILED", "undated": "RUNNING"}
            assert {one.job.id for one in bench.polling.watched()} == {"listed", "new", "undated"}

    async def test_an_unknown_job_waits_for_the_baseline_of_its_watch(self, tmp_path):
        async with benched(tmp_path) as bench:
            bench.source.answers["A"] = "RUNNING"
            await bench.apply(watch(interval="10m"))
            for each in bench.sources:
                each.page_latency = 30.0
            outcome = await bench.polling.hint(job("A")).settled()
            assert outcome is HintOutcome.USELESS
            await until(lambda: bench.recorder.snapshot(job("A")))
            [data] = await bench.events()
            assert data["baseline"]

    async def test_a_job_that_no_watch_wants_is_not_polled(self, tmp_path):
        async with benched(tmp_path) as bench:
            await bench.apply(watch(discover={"include": ["a-*"]}))
            await anyio.sleep(5)
            assert bench.polling.hint(job("b-1")) is None
            assert bench.source.looks == []


@VIRTUAL
class TestPace:
    async def test_polls_are_slower_while_hints_come_and_no_longer(self, tmp_path):
        async with benched(tmp_path) as bench:
            bench.source.answers["A"] = "RUNNING"
            await bench.apply(watch(interval="30s", interval_with_hints="10m"))
            await anyio.sleep(300)
            usual = len(bench.source.pages)
            assert usual >= 10
            bench.polling.rely_on_hints(frozenset({("prod", "us-east-1")}))
            await anyio.sleep(3600)
            slow = len(bench.source.pages) - usual
            looks = len(bench.source.looks)
            assert 5 <= slow <= 8
            assert looks <= 9
            # A reload changes nothing about it.
            await bench.apply(watch(interval="30s", interval_with_hints="10m", labels={"a": "b"}))
            await anyio.sleep(1800)
            assert len(bench.source.pages) - usual - slow <= 5
            before = len(bench.source.pages)
            bench.polling.rely_on_hints(frozenset())
            await anyio.sleep(1)
            assert len(bench.source.pages) == before + 1, "the next sweep is due at once"
            await anyio.sleep(300)
            assert len(bench.source.pages) - before >= 10

    async def test_without_the_key_nothing_changes(self, tmp_path):
        async with benched(tmp_path) as bench:
            await bench.apply(watch(interval="30s"))
            bench.polling.rely_on_hints(frozenset({("prod", "us-east-1")}))
            await anyio.sleep(300)
            assert len(bench.source.pages) >= 10

    async def test_a_queue_is_relied_on_while_it_can_be_read(self, tmp_path):
        async with benched(tmp_path) as bench:
            relied: list[Any] = []
            queue = Listed()
            bench.polling.rely_on_hints = relied.append
            metrics, clock = Metrics(CollectorRegistry(), "0"), bench.polling._clock
            manager = hints.HintManager(
                bench.polling, metrics, clock, Random(7), lambda _: ("r/q", "r", queue)
            )
            settings = Settings.model_validate({"hints": [{"queue_url": "q", "account": "a"}]})
            async with manager.running():
                manager.apply(settings, {})
                await anyio.sleep(30)
                assert relied == [{("a", "r")}]
                queue.trouble = PollError(PollReason.TRANSIENT, "Timeout")
                await anyio.sleep(30)
                assert len(relied) == 1, "one failure is not the end of it"
                await anyio.sleep(200)
                queue.trouble = None
                await anyio.sleep(100)
                manager.apply(Settings(), {})
                await anyio.sleep(1)
            assert relied == [{("a", "r")}, frozenset(), {("a", "r")}, frozenset()]


@VIRTUAL
class TestMessages:
    async def test_each_message_is_deleted_once_its_poll_is_recorded(self, tmp_path, outcomes):
        async with benched(tmp_path) as bench, anyio.create_task_group() as tasks:
            bench.source.answers |= {"A": "RUNNING", "B": PollError(PollReason.AUTH, "Denied")}
            await bench.apply(watch(jobs=["A", "B"], interval="10m"))
            await anyio.sleep(2)
            queue = Listed()
            failing = [note("B", receives=number) for number in (1, 3, 50)]
            queue.messages = [note("A"), note("A"), *failing, Note("junk"), note("C")]
            a, b = note("A").body, note("B").body
            reading = reader(bench, queue, outcomes.registry)
            tasks.start_soon(reading.run)
            await anyio.sleep(10)
            assert queue.deleted.count(a) == 2
            assert "junk" in queue.deleted
            assert not queue.released
            await until(lambda: len(queue.released) == 3)
            reading.stop()

        assert b not in queue.deleted
        later = [(b, 15), (b, 60), (b, 900)]
        assert sorted(queue.released) == later, "it comes back later each time"
        assert outcomes.count() == {"used": 2, "useless": 1, "unreadable": 1, "failed": 3}

    async def test_a_message_stays_until_the_answer_is_durable(self, tmp_path, outcomes):
        async with benched(tmp_path) as bench, anyio.create_task_group() as tasks:
            bench.source.answers["A"] = "RUNNING"
            await bench.apply(watch(jobs=["A"], interval="10m"))
            await anyio.sleep(2)
            record, durable = bench.recorder.observe, anyio.Event()

            async def slowly(*args, **how):
                await durable.wait()
                return await record(*args, **how)

            bench.recorder.observe = slowly
            queue = Listed()
            queue.messages = [note("A")]
            reading = reader(bench, queue, outcomes.registry)
            tasks.start_soon(reading.run)
            await anyio.sleep(30)
            assert len(bench.source.looks) == 2
            assert not queue.deleted
            durable.set()
            await until(lambda: queue.deleted, 1)
            reading.stop()
        assert outcomes.count() == {"used": 1}

    async def test_made_up_ids_neither_pile_up_nor_keep_a_queue_from_the_others(
        self, tmp_path, outcomes
    ):
        async with benched(tmp_path) as bench, anyio.create_task_group() as tasks:
            quota = {"panorama": {"rate": 1, "burst": 1}}
            await bench.apply(watch(interval="10m"), quotas=quota)
            await anyio.sleep(5)
            queue = Listed()
            queue.messages = [note(f"made-up-{number}") for number in range(1500)]
            reading = reader(bench, queue, outcomes.registry)
            tasks.start_soon(reading.run)
            most = 0
            for _ in range(150):
                await anyio.sleep(1)
                most = max(most, len(list(bench.polling.watched())))
            reading.stop()
            assert most <= hints.MOST_WAITING
            assert 125 <= len(bench.source.looks) <= 160
            assert await bench.events() == []
        assert outcomes.count().keys() == {"useless", "failed"}
        assert sum(outcomes.count().values()) >= 1000, "most of them have made room for others"

    @pytest.mark.parametrize(
        "trouble", [PollError(PollReason.AUTH, "AccessDenied"), KeyError("Messages")]
    )
    async def test_a_queue_that_fails_is_tried_again_and_disturbs_nothing(
        self, tmp_path, outcomes, trouble
    ):
        async with benched(tmp_path) as bench, anyio.create_task_group() as tasks:
            bench.source.answers["A"] = "RUNNING"
            await bench.apply(watch(jobs=["A"], interval="30s"))
            queue = Listed()
            queue.trouble = trouble
            reading = reader(bench, queue, outcomes.registry)
            up = {"queue": "us-east-1/hints"}
            tasks.start_soon(reading.run)
            await anyio.sleep(300)
            assert outcomes.registry.get_sample_value("job_monitor_hint_queue_up", up) == 0
            assert len(bench.source.looks) >= 10
            queue.trouble, queue.messages = None, [note("A")]
            await until(lambda: queue.deleted)
            assert outcomes.registry.get_sample_value("job_monitor_hint_queue_up", up) == 1
            reading.stop()

    async def test_a_fault_of_ours_costs_the_message_and_nothing_else(
        self, tmp_path, outcomes, monkeypatch
    ):
        def broken(*_):
            raise RecursionError("too deep")

        monkeypatch.setattr(OneMatcher, "jobs", broken)
        async with benched(tmp_path) as bench, anyio.create_task_group() as tasks:
            queue = Listed()
            queue.messages = [note("A")]
            reading = reader(bench, queue, outcomes.registry)
            tasks.start_soon(reading.run)
            await until(lambda: queue.deleted)
            reading.stop()
        assert outcomes.count() == {"unreadable": 1}
