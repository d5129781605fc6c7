"""The sink ``sqs``: messages to a queue."""

from __future__ import annotations

from typing import TYPE_CHECKING

from monitor.config import SqsSink
from monitor.sinks.aws import messages, target
from monitor.sinks.aws.batch import BatchForm, aws_kind

if TYPE_CHECKING:
    from monitor.sinks.aws.target import AwsTarget


def form(queue: AwsTarget) -> BatchForm:
    """Return the form of requests to the queue."""
    return BatchForm(
        "SendMessageBatch",
        lambda event: {"MessageBody": messages.text(event), **messages.beside(event, queue)},
        lambda entries: {"QueueUrl": queue.address, "Entries": messages.numbered(entries)},
        messages.outcomes,
    )


KIND = aws_kind(SqsSink, target.queue, form, "sqs:SendMessage")
