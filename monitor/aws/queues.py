"""Queues in SQS: their names in URLs and ARNs, and the requests of one that is read."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import anyio

from monitor.aws import arns, errors
from monitor.aws.clients import ResponseMeta
from monitor.model import SourceKey

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime

    from monitor.aws.clients import Clients

REGION = r"(?P<region>[a-z]{2,4}(?:-[a-z]+){1,3}-[0-9]{1,2})"
OWNER = r"(?P<owner>[0-9]{12})"
NAME = r"(?P<name>(?=.{1,80}$)[A-Za-z0-9_-]+(?:\.fifo)?)"
IN_AWS = re.compile(
    rf"https://(?:sqs\.{REGION}|(?P<legacy>[a-z0-9-]+)\.queue)\.amazonaws\.com(?:\.cn)?"
    rf"/{OWNER}/{NAME}"
)
"""The URL of a queue in AWS."""
_ANYWHERE = re.compile(rf"https?://[A-Za-z0-9.:\[\]-]+/{OWNER}/{NAME}")

LONG_POLL = 15
"""Seconds for which SQS holds a request until a message comes: less than the SDK's time limit."""
MOST_MESSAGES = 10
_TIMEOUT = 19.0


@dataclass(frozen=True, slots=True)
class QueueAddress:
    """A queue: ``url`` is what requests call it, ``arn`` what policies call it."""

    url: str
    arn: str
    region: str
    name: str


def address(url: str, region: str | None = None) -> QueueAddress | None:
    """Read the URL of a queue; ``None`` if it is not one, or names no region or another one.

    A private endpoint or an emulator has its own host, which does not name the region.
    """
    found = IN_AWS.fullmatch(url)
    named = found["region"] or found["legacy"] if found else region
    found = found or _ANYWHERE.fullmatch(url)
    if found is None or named is None or region not in {None, named}:
        return None
    arn = f"arn:{arns.partition_of(named)}:sqs:{named}:{found['owner']}:{found['name']}"
    return QueueAddress(url, arn, named, found["name"])


@dataclass(frozen=True, slots=True)
class Message:
    """A message that SQS shows to nobody else for a while; ``receives`` counts how often."""

    body: str
    handle: str
    receives: int


class AwsQueue:
    """Reads one queue; sends each request once, and raises PollError."""

    def __init__(
        self, account: str, at: QueueAddress, clients: Clients, now: Callable[[], datetime]
    ) -> None:
        """Take over no ownership of ``clients``; ``now`` tells the UTC time."""
        self._key = SourceKey("sqs", account, at.region)
        self._url = at.url
        self._clients = clients
        self._now = now

    async def receive(self) -> Sequence[Message]:
        """Wait for messages; return those that came, which may be none."""
        answer = await self._request(
            "ReceiveMessage",
            MaxNumberOfMessages=MOST_MESSAGES,
            WaitTimeSeconds=LONG_POLL,
            AttributeNames=["ApproximateReceiveCount"],
        )
        found: list[Message] = []
        for each in answer.get("Messages", []):
            count = str(each.get("Attributes", {}).get("ApproximateReceiveCount", ""))
            receives = int(count) if count.isdecimal() else 1
            found.append(Message(each.get("Body", ""), each.get("ReceiptHandle", ""), receives))
        return found

    async def delete(self, message: Message) -> None:
        """Delete a message for good."""
        await self._request("DeleteMessage", ReceiptHandle=message.handle)

    async def release(self, message: Message, seconds: int) -> None:
        """Let SQS hand out a message again after so many seconds."""
        await self._request(
            "ChangeMessageVisibility", ReceiptHandle=message.handle, VisibilityTimeout=seconds
        )

    async def waiting(self) -> int:
        """Return about how many messages wait."""
        name = "ApproximateNumberOfMessages"
        answer = await self._request("GetQueueAttributes", AttributeNames=[name])
        count = str(answer.get("Attributes", {}).get(name, ""))
        return int(count) if count.isdecimal() else 0

    async def _request(self, operation: str, **params: Any) -> Mapping[str, Any]:
        exchange = ResponseMeta()
        try:
            await self._clients.ready(self._key)
            with anyio.fail_after(_TIMEOUT):
                request = {"QueueUrl": self._url, **params}
                return await self._clients.ask(self._key, operation, request, exchange)
        except Exception as error:  # noqa: BLE001  # whatever the SDK raises must end here
            failure = errors.failure(
                error,
                exchange,
                operation,
                lambda code, _response: code.endswith(("nonexistentqueue", "queuedoesnotexist")),
                self._now(),
            )
        # Not in the ``except`` block: it would keep the SDK's error, which may hold the answer.
        raise failure
