"""No request is larger than AWS takes, whatever a batch holds; moto would take it all the same."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from monitor.sinks.aws import sqs
from monitor.sinks.aws.batch import AwsSink
from monitor.sinks.aws.target import Target
from tests.contracts.sink_kit import event

LIMIT = 262_144
QUEUE = Target("sqs", "prod", "us-east-1", "https://sqs.us-east-1.amazonaws.com/1/q", 5.0)


class Taking:
    """Clients that take everything; ``requests`` are the entries of each."""

    def __init__(self):
        self.requests = []

    async def ask(self, _key, _operation, params, _exchange):
        self.requests.append(params["Entries"])
        return {"Successful": [{"Id": entry["Id"]} for entry in params["Entries"]]}


def size(entry):
    """Count what AWS counts: the body, and names, types and values of the attributes."""
    texts = [entry["MessageBody"]]
    for name, value in entry["MessageAttributes"].items():
        texts += [name, value["DataType"], value["StringValue"]]
    return sum(len(text.encode()) for text in texts)


async def sent(*events):
    clients: Any = Taking()
    await AwsSink(QUEUE, sqs.form(QUEUE), clients, lambda: datetime.now(UTC)).send(events)
    return list(clients.requests)


@pytest.mark.parametrize("length", [10, 26_000, 60_000, 200_000])
async def test_a_batch_goes_out_in_order_in_requests_that_aws_takes(length):
    batch = [event(job_id=f"job-{number}", reason="x" * length) for number in range(10)]

    requests = await sent(*batch)

    assert all(sum(map(size, request)) <= LIMIT for request in requests)
    bodies = [json.loads(entry["MessageBody"]) for request in requests for entry in request]
    assert bodies == batch
    assert len(requests) <= 2 * len(batch) * (length + 1_500) // LIMIT + 1


@pytest.mark.parametrize("spare", [-50, 0, 50, 2_000])
async def test_an_event_near_the_limit_is_cut_only_where_it_must_be(spare):
    plain = size((await sent(event(reason="x")))[0][0])
    large = event(reason="x" * (LIMIT - plain - spare))

    ((entry,),) = await sent(large)

    assert size(entry) <= LIMIT
    assert json.loads(entry["MessageBody"]).get("truncated", False) == (spare < 500)
