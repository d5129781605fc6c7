"""The sinks in AWS against a real moto server: what arrives, where and in which order."""

import json
from collections import defaultdict
from contextlib import asynccontextmanager
from random import Random

import anyio
import pytest
from prometheus_client import CollectorRegistry

from monitor import config, sinks
from monitor.aws.clients import Clients
from monitor.clock import SystemClock
from monitor.delivery.dispatcher import Dispatcher
from monitor.errors import PartialSendError, SendError, SendReason
from monitor.metrics import Metrics
from monitor.model import Ending, Entry, Kind, Phase, Severity, Snapshot
from monitor.stores.store import open_store
from tests.contracts.sink_kit import check, event, transition
from tests.integration.sources_server import MODELS, clean_environment
from tests.moto_faults import failing_at_first
from tests.moto_kit import Aws

SERVICES = ("sns", "sqs", "events", "sts")
ROLE = "arn:aws:iam::111122223333:role/job-monitor"


@pytest.fixture
def aws(moto, monkeypatch, tmp_path):
    clean_environment(monkeypatch, tmp_path)
    made = Aws(moto)
    yield made
    made.close()


@asynccontextmanager
async def opened(settings, moto, **account):
    section = config.Account(endpoint_urls=dict.fromkeys(SERVICES, moto), **account)
    async with (
        Clients({settings.account: section}, models=MODELS) as clients,
        sinks.open_sink("sink", settings, clients=clients) as sink,
    ):
        yield sink


def sns(topic, **more):
    return config.SnsSink(type="sns", topic_arn=topic, **more)


def sqs(**more):
    return config.SqsSink(type="sqs", **more)


def bodies(messages):
    return [json.loads(message["Body"]) for message in messages]


async def test_a_message_of_a_topic_carries_what_can_be_filtered_by(aws):
    topic = aws.topic()
    queue = aws.subscribed(topic)

    async with opened(sns(topic), aws.url) as sink:
        await sink.send([event()])

    (message,) = aws.received(queue)
    told = {name: value["StringValue"] for name, value in message["MessageAttributes"].items()}
    assert told == {
        "kind": "job.state_changed",
        "severity": "info",
        "job_type": "panorama.package-import",
        "account": "prod",
        "region": "us-east-1",
        "phase": "succeeded",
        "state": "SUCCEEDED",
    }
    assert {value["DataType"] for value in message["MessageAttributes"].values()} == {"String"}
    assert bodies([message]) == [event()]


async def test_an_event_of_a_source_has_neither_type_nor_phase(aws):
    topic = aws.topic()
    queue = aws.subscribed(topic)

    async with opened(sns(topic), aws.url) as sink:
        await sink.send([event(Kind.SOURCE_UNAVAILABLE)])

    (message,) = aws.received(queue)
    told = {name: value["StringValue"] for name, value in message["MessageAttributes"].items()}
    assert told == {
        "kind": "source.unavailable",
        "severity": "warning",
        "account": "prod",
        "region": "us-east-1",
        "state": "unavailable",
    }


async def test_a_filter_policy_on_the_phase_takes_only_what_it_names(aws):
    topic = aws.topic()
    failed, ended = (
        aws.subscribed(topic, phase=["failed"]),
        aws.subscribed(topic, phase=["failed", "succeeded"]),
    )
    other = event(job_id="job-2")
    other["data"]["current"] = {"state": "FAILED", "phase": "failed"}

    async with opened(sns(topic), aws.url) as sink:
        await sink.send([event(), other])

    assert bodies(aws.received(failed)) == [other]
    assert bodies(aws.received(ended)) == [event(), other]


async def test_an_event_bus_routes_by_detail_type_and_phase(aws):
    pattern = {
        "source": ["io.job-monitor"],
        "detail-type": ["job.state_changed"],
        "detail": {"data": {"current": {"phase": ["succeeded"]}}},
    }
    bus, queue = aws.bus(**pattern)
    settings = config.EventBridgeSink(type="eventbridge", event_bus_arn=bus)

    async with opened(settings, aws.url) as sink:
        await sink.send([event(), event(Kind.STUCK, 3), event(Kind.SOURCE_RECOVERED)])

    (arrived,) = bodies(aws.received(queue))
    assert arrived["detail"] == event()
    assert arrived["detail-type"] == "job.state_changed"
    assert arrived["resources"] == [event()["data"]["job"]["key"]]
    assert arrived["time"].startswith("2026-11-22T12:00:00")


@pytest.mark.parametrize("by", ["queue_arn", "queue_url"])
async def test_a_queue_is_found_by_its_arn_and_by_its_url(aws, by):
    url, arn = aws.queue()
    name = arn.rpartition(":")[2]
    places = {
        "queue_arn": arn,
        "queue_url": f"https://sqs.us-east-1.amazonaws.com/123456789012/{name}",
    }

    async with opened(sqs(**{by: places[by]}), aws.url) as sink:
        await sink.send([event()])

    (message,) = aws.received(url)
    assert bodies([message]) == [event()]
    assert message["MessageAttributes"]["phase"]["StringValue"] == "succeeded"


@pytest.mark.parametrize("kind", ["sns", "sqs"])
async def test_a_fifo_receiver_gets_a_group_for_each_job_and_drops_repeats(aws, kind):
    queue, arn = aws.queue(fifo=True)
    topic = aws.topic(fifo=True)
    if kind == "sns":
        queue = aws.subscribed(topic)
    settings = sns(topic) if kind == "sns" else sqs(queue_arn=arn)
    sent = [event(), event(job_id="x" * 200), event(Kind.SOURCE_RECOVERED)]

    async with opened(settings, aws.url) as sink:
        await sink.send(sent)
        await sink.send(sent)

    arrived = aws.received(queue)
    assert bodies(arrived) == sent
    told = [message["Attributes"] for message in arrived]
    assert [each["MessageDeduplicationId"] for each in told] == [each["id"] for each in sent]
    keys = [each["MessageGroupId"] for each in told]
    assert keys[0] == sent[0]["data"]["job"]["key"]
    assert len(keys[1]) == 64
    assert keys[2] == "source:panorama/prod/us-east-1"


@pytest.mark.parametrize("kind", ["sns", "sqs"])
async def test_through_the_outbox_every_event_arrives_in_the_order_of_its_job(aws, kind, tmp_path):
    queue, arn = aws.queue(fifo=True)
    topic = aws.topic(fifo=True)
    if kind == "sns":
        queue = aws.subscribed(topic)
    settings = sns(topic) if kind == "sns" else sqs(queue_arn=arn)
    jobs, changes = 12, 6

    async with (
        open_store(f"sqlite://{tmp_path}/state.db", SystemClock()) as store,
        opened(settings, aws.url) as sink,
    ):
        await fill(store, jobs, changes)
        await drain(store, sink)

    arrived = defaultdict(list)
    for message in aws.received(queue):
        body = json.loads(message["Body"])
        check(body)
        arrived[message["Attributes"]["MessageGroupId"]].append(body["data"]["sequence"])
    assert len(arrived) == jobs
    assert all(order == list(range(1, changes + 1)) for order in arrived.values())


@pytest.mark.timeout(600)
async def test_throttled_and_partly_failing_batches_arrive_whole_and_in_order(aws, tmp_path):
    topic = aws.topic(fifo=True)
    queue = aws.subscribed(topic)
    jobs, changes = 12, 4

    async with (
        failing_at_first(aws.url, 12) as (url, done),
        open_store(f"sqlite://{tmp_path}/state.db", SystemClock()) as store,
        opened(sns(topic), url) as sink,
    ):
        await fill(store, jobs, changes)
        await drain(store, sink)
        attempts = [each.attempts for each in await store.deliveries(limit=1000)]

    assert done["throttled"] >= 2
    assert done["torn"] >= 2
    assert len(attempts) == jobs * changes
    assert max(attempts) > 1
    arrived = defaultdict(list)
    for message in aws.received(queue):
        body = json.loads(message["Body"])
        arrived[body["subject"]].append(body["data"]["sequence"])
    assert len(arrived) == jobs
    assert all(order == list(range(1, changes + 1)) for order in arrived.values())


async def fill(store, jobs, changes):
    """Record ``changes`` transitions of each of ``jobs``, all for the sink."""
    for number in range(jobs):
        for sequence in range(1, changes + 1):
            made = transition(sequence=sequence, job_id=f"job-{number}")
            entry = Entry(snapshot(made), sequence - 1, (made,), (("sink",),))
            assert await store.record(entry)


def snapshot(made):
    seen = made.before
    return Snapshot(
        job=made.subject,
        parts={"Status": made.current.state},
        state=made.current.state,
        phase=Phase.RUNNING,
        severity=Severity.INFO,
        ending=Ending.OPEN,
        fields={},
        reason=None,
        updated_at=None,
        sequence=made.sequence,
        first_seen_at=seen,
        changed_at=seen,
        looked_at=seen,
    )


async def drain(store, sink):
    """Run a dispatcher until nothing is pending."""
    dispatcher = Dispatcher(
        "sink",
        sink,
        store,
        Metrics(CollectorRegistry(), "0"),
        SystemClock(),
        Random(1),
        timeout=15,
        max_age=3600,
        concurrency=4,
    )
    with anyio.fail_after(180):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(dispatcher.run)
            while any(each.pending for each in await store.backlog()):  # noqa: ASYNC110
                await anyio.sleep(0.05)
            dispatcher.stop()
    assert not any(each.dead for each in await store.backlog())


async def test_a_topic_of_another_account_is_reached_through_a_role(aws, tmp_path):
    (tmp_path / "external-id").write_text("ext-1")
    assumed = aws.ask("sts", "assume_role", RoleArn=ROLE, RoleSessionName="test")["Credentials"]
    other = Aws(
        aws.url,
        {
            "aws_access_key_id": assumed["AccessKeyId"],
            "aws_secret_access_key": assumed["SecretAccessKey"],
            "aws_session_token": assumed["SessionToken"],
        },
    )
    topic = other.topic()
    queue = other.subscribed(topic)
    assert ":111122223333:" in topic
    account = {"role_arn": ROLE, "external_id_file": str(tmp_path / "external-id")}

    async with opened(sns(topic, account="central"), aws.url, **account) as sink:
        await sink.send([event()])

    assert bodies(other.received(queue)) == [event()]
    other.close()


@pytest.mark.parametrize("kind", ["sns", "sqs", "eventbridge"])
async def test_a_place_that_does_not_exist_parks_the_sink(aws, kind):
    owner = "us-east-1:123456789012"
    settings = {
        "sns": sns(f"arn:aws:sns:{owner}:nowhere"),
        "sqs": sqs(queue_arn=f"arn:aws:sqs:{owner}:nowhere"),
        "eventbridge": config.EventBridgeSink(
            type="eventbridge", event_bus_arn=f"arn:aws:events:{owner}:event-bus/nowhere"
        ),
    }[kind]

    async with opened(settings, aws.url) as sink:
        failure = await failure_of(sink, event())

    assert failure.reason is SendReason.GONE
    assert "nowhere" in failure.message


async def failure_of(sink, *batch):
    with anyio.fail_after(90), pytest.raises(SendError) as caught:
        await sink.send(list(batch))
    return caught.value


@pytest.mark.parametrize("kind", ["sns", "sqs", "eventbridge"])
async def test_an_event_that_is_too_large_is_cut_and_says_so(aws, kind):
    settings, queue = place(aws, kind)
    large = event(reason="Zu groß: " + "ß" * 300_000)

    async with opened(settings, aws.url) as sink:
        await sink.send([large])

    (arrived,) = [body.get("detail", body) for body in bodies(aws.received(queue))]
    check(arrived)
    assert arrived.pop("truncated") is True
    reason = arrived["data"]["reason"]
    assert reason.startswith("Zu groß: ß")
    assert reason.endswith("ß…")
    assert len(reason) == 65_536
    assert {**arrived, "data": {**arrived["data"], "reason": large["data"]["reason"]}} == large


def place(aws, kind):
    if kind == "sns":
        topic = aws.topic()
        return sns(topic), aws.subscribed(topic)
    if kind == "sqs":
        url, arn = aws.queue()
        return sqs(queue_arn=arn), url
    bus, url = aws.bus()
    return config.EventBridgeSink(type="eventbridge", event_bus_arn=bus), url


@pytest.mark.parametrize("kind", ["sns", "sqs", "eventbridge"])
async def test_a_batch_that_is_too_large_for_one_request_arrives_whole(aws, kind):
    settings, queue = place(aws, kind)
    batch = [event(job_id=f"job-{n}", reason="x" * 60_000) for n in range(10)]

    async with opened(settings, aws.url) as sink:
        await sink.send(batch)

    arrived = [body.get("detail", body) for body in bodies(aws.received(queue))]
    assert arrived == batch


async def test_an_event_that_cannot_be_cut_to_size_dies_alone(aws):
    settings, queue = place(aws, "sqs")
    monstrous = event(job_id="job-2")
    monstrous["data"]["fields"] = {f"field-{n}": n for n in range(20_000)}

    async with opened(settings, aws.url) as sink:
        with pytest.raises(PartialSendError) as caught:
            await sink.send([monstrous, event()])

    assert list(caught.value.failures) == [monstrous["id"]]
    assert caught.value.failures[monstrous["id"]].reason is SendReason.REJECTED
    assert bodies(aws.received(queue)) == [event()]


async def test_text_that_no_message_may_hold_arrives_all_the_same(aws):
    settings, queue = place(aws, "sns")
    odd = event(reason="a\x00b\x0bc\ufffe\uffff\U0001f600")
    odd["data"]["current"]["state"] = "ODD\x01\uffff"

    async with opened(settings, aws.url) as sink:
        await sink.send([odd])

    (message,) = aws.received(queue)
    assert bodies([message]) == [odd]
    assert message["MessageAttributes"]["state"]["StringValue"] == "ODD"
