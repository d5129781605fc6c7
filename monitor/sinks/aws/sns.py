"""The sink ``sns``: messages to a topic."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from monitor.sinks.aws import messages
from monitor.sinks.aws.batch import Form

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from monitor.sinks.aws.target import Target


def form(target: Target) -> Form:
    """Say how the topic takes events."""

    def entry(event: Mapping[str, Any]) -> dict[str, Any]:
        return {"Message": messages.text(event), **messages.beside(event, target)}

    def params(entries: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        numbered = messages.numbered(entries)
        return {"TopicArn": target.address, "PublishBatchRequestEntries": numbered}

    return Form("PublishBatch", entry, params, messages.outcomes)
