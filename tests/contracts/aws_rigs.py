"""Sinks in AWS before a real moto server, with a gate between that can stall and refuse."""

import asyncio
import json
from contextlib import asynccontextmanager
from typing import Any

from monitor import config, sinks
from monitor.aws.clients import Clients, ResponseMeta
from monitor.model import SourceKey
from tests.contracts.sink_kit import Outcome, Rig, event, receiving, replying, stalling, warm_up
from tests.integration.sources_server import MODELS
from tests.moto_kit import REGION, Aws

DEADLINE = 2.5
_READY = {"sns": "ListTopics", "sqs": "ListQueues", "events": "ListEventBuses"}


def sns(aws):
    topic = aws.topic()
    return config.SnsSink, {"topic_arn": topic}, aws.subscribed(topic)


def sqs(aws):
    url, arn = aws.queue()
    return config.SqsSink, {"queue_arn": arn}, url


def eventbridge(aws):
    bus, url = aws.bus()
    return config.EventBridgeSink, {"event_bus_arn": bus}, url


def remove_topic(aws, place):
    aws.ask("sns", "delete_topic", TopicArn=place["topic_arn"])


def remove_queue(aws, place):
    name = place["queue_arn"].rpartition(":")[2]
    aws.ask(
        "sqs", "delete_queue", QueueUrl=aws.ask("sqs", "get_queue_url", QueueName=name)["QueueUrl"]
    )


def remove_bus(aws, place):
    aws.ask("events", "delete_event_bus", Name=place["event_bus_arn"].rpartition("/")[2])


REMOVALS = {"sns": remove_topic, "sqs": remove_queue, "eventbridge": remove_bus}


def oversized():
    """Return an event whose labels, which are never cut, do not fit into a message."""
    made = event()
    made["data"]["job"]["labels"] = {"team": "x" * 300_000}
    return made


KINDS = {"sns": sns, "sqs": sqs, "eventbridge": eventbridge}


@asynccontextmanager
async def aws_rig(kind, moto):
    """Yield a sink and the other side of it, as the rigs of test_sinks.py do."""
    aws = Aws(moto)
    section, place, queue = await asyncio.to_thread(KINDS[kind], aws)
    settings = section(type=kind, timeout=f"{DEADLINE}s", **place)

    async def forward(writer, request):
        reader, moto_writer = await asyncio.open_connection("127.0.0.1", int(moto.split(":")[2]))
        head = [request.line, *(f"{name}: {value}" for name, value in request.headers.items())]
        moto_writer.write("\r\n".join([*head, "connection: close", "", ""]).encode() + request.body)
        writer.write(await reader.read(-1))
        writer.transport.close()
        moto_writer.close()

    async def echo(writer, request):
        await replying(503, f"{request.line}\n{request.headers}".encode())(writer, request)

    taken: list[Any] = []

    def arrived():
        bodies = [json.loads(message["Body"]) for message in aws.received(queue)]
        taken.extend(body.get("detail", body) for body in bodies)
        return taken

    async with receiving(forward) as gate:
        url = f"http://127.0.0.1:{gate.port}"
        account = config.Account(endpoint_urls=dict.fromkeys(_READY, url))
        async with Clients({"default": account}, models=MODELS) as clients:
            service = {"eventbridge": "events"}.get(kind, kind)
            await clients.ask(
                SourceKey(service, "default", REGION), _READY[service], {}, ResponseMeta()
            )
            async with sinks.open_sink("rig", settings, clients=clients) as sink:
                await warm_up(sink, arrived)
                yield Rig(
                    sink=sink,
                    deadline=DEADLINE,
                    taken=arrived,
                    stall=lambda: setattr(gate, "answer", stalling),
                    resume=lambda: setattr(gate, "answer", forward),
                    refuse=lambda: setattr(gate, "answer", echo),
                    refusals={
                        "an error of the service": (
                            lambda: setattr(gate, "answer", echo),
                            Outcome.RETRY,
                        ),
                        "an event too large even when shortened": (oversized, Outcome.DEAD),
                        "no such place": (lambda: REMOVALS[kind](aws, place), Outcome.PARK),
                    },
                )
    aws.close()
