"""A real moto server, and topics, queues and event buses on it."""

import json
import os
import sys
import time
import urllib.request
import uuid
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import botocore.loaders
import botocore.session
import pytest

from tests import ports

REGION = "us-east-1"
KEY = {"aws_access_key_id": "AKIAIOSFODNN7EXAMPLE", "aws_secret_access_key": "moto-planted-key"}


@contextmanager
def serving(log):
    """Run a server on a free port; yield its URL."""
    port = ports.free_port()
    url = f"http://127.0.0.1:{port}"
    command = (Path(sys.executable).with_name("moto_server"), "-H", "127.0.0.1", "-p", str(port))
    pid = os.posix_spawn(
        command[0],
        [str(part) for part in command],
        os.environ,
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 1, str(log), os.O_CREAT | os.O_WRONLY, 0o600),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ],
    )
    try:
        _until_ready(url)
        yield url
    finally:
        os.kill(pid, 15)
        os.waitpid(pid, 0)


def _until_ready(url):
    for _ in range(600):
        try:
            urllib.request.urlopen(f"{url}/moto-api/data.json", timeout=60).close()
        except OSError:
            time.sleep(0.1)
        else:
            return
    pytest.fail("moto did not start")


@cache
def _models():
    """Return the reader of the SDK's models, which reads each once."""
    return botocore.loaders.create_loader()


def client(url, service, **credentials):
    """Return a blocking client of moto."""
    session = botocore.session.get_session()
    session.register_component("data_loader", _models())
    return session.create_client(
        service, region_name=REGION, endpoint_url=url, **(credentials or KEY)
    )


@dataclass
class Aws:
    """One account on moto, by its own clients; everything made has a fresh name."""

    url: str
    credentials: dict[str, str] = field(default_factory=dict)
    clients: dict[str, Any] = field(default_factory=dict)

    def ask(self, service, operation, **params):
        if service not in self.clients:
            self.clients[service] = client(self.url, service, **self.credentials)
        return getattr(self.clients[service], operation)(**params)

    def close(self):
        for each in self.clients.values():
            each.close()

    def queue(self, *, fifo=False):
        """Return the URL and ARN of a new queue."""
        name = f"q-{uuid.uuid4()}" + (".fifo" if fifo else "")
        attributes = {"FifoQueue": "true"} if fifo else {}
        url = self.ask("sqs", "create_queue", QueueName=name, Attributes=attributes)["QueueUrl"]
        told = self.ask("sqs", "get_queue_attributes", QueueUrl=url, AttributeNames=["QueueArn"])
        return url, told["Attributes"]["QueueArn"]

    def topic(self, *, fifo=False):
        """Return the ARN of a new topic."""
        name = f"t-{uuid.uuid4()}" + (".fifo" if fifo else "")
        attributes = {"FifoTopic": "true"} if fifo else {}
        return self.ask("sns", "create_topic", Name=name, Attributes=attributes)["TopicArn"]

    def subscribed(self, topic, **policy):
        """Subscribe a new queue to a topic; return its URL."""
        url, arn = self.queue(fifo=topic.endswith(".fifo"))
        attributes = {"RawMessageDelivery": "true"}
        if policy:
            attributes["FilterPolicy"] = json.dumps(policy)
        self.ask(
            "sns", "subscribe", TopicArn=topic, Protocol="sqs", Endpoint=arn, Attributes=attributes
        )
        return url

    def bus(self, **pattern):
        """Return the ARN of a new event bus and the URL of a queue that gets what it takes."""
        url, arn = self.queue()
        name = f"b-{uuid.uuid4()}"
        made = self.ask("events", "create_event_bus", Name=name)
        taken = json.dumps(pattern or {"source": ["io.job-monitor"]})
        self.ask("events", "put_rule", Name=name, EventBusName=name, EventPattern=taken)
        self.ask(
            "events", "put_targets", Rule=name, EventBusName=name, Targets=[{"Id": "q", "Arn": arn}]
        )
        return made["EventBusArn"], url

    def received(self, url):
        """Take everything out of a queue."""
        found: list[dict[str, Any]] = []
        while True:
            answer = self.ask(
                "sqs",
                "receive_message",
                QueueUrl=url,
                MaxNumberOfMessages=10,
                MessageAttributeNames=["All"],
                AttributeNames=["All"],
            )
            messages = answer.get("Messages", [])
            if not messages:
                return found
            found += messages
            entries = [
                {"Id": str(number), "ReceiptHandle": message["ReceiptHandle"]}
                for number, message in enumerate(messages)
            ]
            self.ask("sqs", "delete_message_batch", QueueUrl=url, Entries=entries)
