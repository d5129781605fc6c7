"""The sink ``sns``: messages to a topic."""

from __future__ import annotations

from typing import TYPE_CHECKING

from monitor.config import SnsSink
from monitor.sinks.aws import messages, target
from monitor.sinks.aws.batch import BatchForm, aws_kind

if TYPE_CHECKING:
    from monitor.sinks.aws.target import AwsTarget


def form(topic: AwsTarget) -> BatchForm:
    """Return the form of requests to the topic."""
    return BatchForm(
        "PublishBatch",
        lambda event: {"Message": messages.text(event), **messages.beside(event, topic)},
        lambda entries: {
            "TopicArn": topic.address,
            "PublishBatchRequestEntries": messages.numbered(entries),
        },
        messages.outcomes,
    )


KIND = aws_kind(SnsSink, target.topic, form, "sns:Publish")
