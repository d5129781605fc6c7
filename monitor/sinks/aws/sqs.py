"""The sink ``sqs``: messages to a queue."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from monitor.config import SqsSink
from monitor.sinks.aws import messages, target
from monitor.sinks.aws.batch import BatchForm, aws_kind

if TYPE_CHECKING:
    from collections.abc import Mapping

    from monitor.sinks.aws.target import AwsTarget


def form(queue: AwsTarget) -> BatchForm:
    """Return the form of requests to the queue."""

    def entry(event: Mapping[str, Any]) -> dict[str, Any]:
        return {"MessageBody": messages.text(event), **messages.beside(event, queue)}

    return BatchForm(
        "SendMessageBatch",
        entry,
        lambda entries: {"QueueUrl": queue.address, "Entries": messages.numbered(entries)},
        messages.outcomes,
    )


KIND = aws_kind(SqsSink, target.queue, form, "sqs:SendMessage")
