"""The topic, queue or event bus of a sink: its settings, validated and parsed."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from monitor.aws.queues import IN_AWS, NAME, OWNER, REGION
from monitor.errors import ConfigurationError, Problem

if TYPE_CHECKING:
    from monitor.config import EventBridgeSink, SnsSink, SqsSink

_TOPIC = re.compile(
    rf"arn:aws(?:-[a-z]+)*:sns:{REGION}:{OWNER}:(?P<name>(?=.{{1,256}}$)[\w-]+(?:\.fifo)?)",
    re.ASCII,
)
_QUEUE_ARN = re.compile(rf"arn:aws(?:-[a-z]+)*:sqs:{REGION}:{OWNER}:{NAME}")
_BUS = re.compile(
    rf"arn:aws(?:-[a-z]+)*:events:{REGION}:{OWNER}:event-bus/(?P<name>[\w./-]{{1,256}})",
    re.ASCII,
)
_TOPIC_REMEDY = "write it as arn:aws:sns:us-east-1:123456789012:NAME"
_QUEUE_REMEDY = "write queue_arn as arn:aws:sqs:us-east-1:123456789012:NAME"
_BUS_REMEDY = "write it as arn:aws:events:us-east-1:123456789012:event-bus/NAME"


@dataclass(frozen=True, slots=True)
class AwsTarget:
    """A place in AWS that takes events.

    ``service`` is the SDK's name of it, ``address`` what its requests call the place, and
    ``arn`` what policies call it.
    """

    service: str
    account: str
    region: str
    address: str
    arn: str
    timeout: float
    """Seconds for one attempt."""

    @property
    def ordered(self) -> bool:
        """True if it keeps the order within a message group."""
        return self.address.endswith(".fifo")


def topic(name: str, settings: SnsSink, _before: AwsTarget | None = None) -> AwsTarget:
    """Read the ARN of a topic.

    Raises:
        ConfigurationError: it is not one.
    """
    arn = settings.topic_arn
    found = _matched(name, "topic_arn", _TOPIC, arn, _TOPIC_REMEDY)
    return AwsTarget("sns", settings.account, found["region"], arn, arn, settings.timeout)


def event_bus(name: str, settings: EventBridgeSink, _before: AwsTarget | None = None) -> AwsTarget:
    """Read the ARN of an event bus.

    Raises:
        ConfigurationError: it is not one.
    """
    arn = settings.event_bus_arn
    found = _matched(name, "event_bus_arn", _BUS, arn, _BUS_REMEDY)
    return AwsTarget("events", settings.account, found["region"], arn, arn, settings.timeout)


def queue(name: str, settings: SqsSink, _before: AwsTarget | None = None) -> AwsTarget:
    """Read the ARN or the URL of a queue.

    Requests want the URL, and SQS reads no more than the path of it.

    Raises:
        ConfigurationError: it is neither, or both are given.
    """
    arn, url = settings.queue_arn or "", settings.queue_url
    if settings.queue_arn is not None and url is not None:
        raise _problem(name, "queue_url", "stands beside queue_arn", "leave one of them out")
    if url is not None:
        found = _matched(name, "queue_url", IN_AWS, url, f"{_QUEUE_REMEDY} instead")
        region = found["region"] or found["legacy"]
        partition = "aws-cn" if region.startswith("cn-") else "aws"
        arn = f"arn:{partition}:sqs:{region}:{found['owner']}:{found['name']}"
    else:
        found = _matched(name, "queue_arn", _QUEUE_ARN, arn, _QUEUE_REMEDY)
        region = found["region"]
        host = f"sqs.{region}.amazonaws.com" + (".cn" if ":aws-cn:" in arn else "")
        url = f"https://{host}/{found['owner']}/{found['name']}"
    return AwsTarget("sqs", settings.account, region, url, arn, settings.timeout)


def _matched(
    name: str, key: str, pattern: re.Pattern[str], text: str, remedy: str
) -> re.Match[str]:
    found = pattern.fullmatch(text)
    if found is None:
        what = (
            "is missing"
            if not text
            else "is not such a URL"
            if "url" in key
            else "is not such an ARN"
        )
        raise _problem(name, key, what, remedy)
    return found


def _problem(name: str, key: str, message: str, remedy: str) -> ConfigurationError:
    return ConfigurationError([Problem("", f"sinks.{name}.{key}", message, remedy)])
