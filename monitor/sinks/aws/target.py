"""Which topic, queue or event bus a sink tells: its settings, checked and taken apart."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, assert_never

from monitor import config
from monitor.errors import ConfigurationError, Problem

if TYPE_CHECKING:
    AwsSinkSettings = config.SnsSink | config.SqsSink | config.EventBridgeSink

_REGION = r"(?P<region>[a-z]{2,4}(?:-[a-z]+){1,3}-[0-9]{1,2})"
_OWNER = r"(?P<owner>[0-9]{12})"
_QUEUE = r"(?P<name>(?=.{1,80}$)[A-Za-z0-9_-]+(?:\.fifo)?)"
_TOPIC = re.compile(
    rf"arn:aws(?:-[a-z]+)*:sns:{_REGION}:{_OWNER}:(?P<name>(?=.{{1,256}}$)[\w-]+(?:\.fifo)?)",
    re.ASCII,
)
_QUEUE_ARN = re.compile(rf"arn:aws(?:-[a-z]+)*:sqs:{_REGION}:{_OWNER}:{_QUEUE}")
_QUEUE_URL = re.compile(
    rf"https://(?:sqs\.{_REGION}|(?P<legacy>[a-z0-9-]+)\.queue)\.amazonaws\.com(?:\.cn)?"
    rf"/{_OWNER}/{_QUEUE}"
)
_BUS = re.compile(
    rf"arn:aws(?:-[a-z]+)*:events:{_REGION}:{_OWNER}:event-bus/(?P<name>[\w./-]{{1,256}})",
    re.ASCII,
)
_TOPIC_REMEDY = "write it as arn:aws:sns:us-east-1:123456789012:NAME"
_QUEUE_REMEDY = "write queue_arn as arn:aws:sqs:us-east-1:123456789012:NAME"
_BUS_REMEDY = "write it as arn:aws:events:us-east-1:123456789012:event-bus/NAME"


@dataclass(frozen=True, slots=True)
class Target:
    """A place in AWS that takes events.

    ``service`` is the SDK's name of it, ``address`` what its requests call the place.
    """

    service: str
    account: str
    region: str
    address: str
    timeout: float
    """Seconds for one attempt."""

    @property
    def ordered(self) -> bool:
        """Whether it keeps the order within a message group."""
        return self.address.endswith(".fifo")


def load(name: str, settings: AwsSinkSettings) -> Target:
    """Take the settings of a sink apart.

    Raises:
        ConfigurationError: the ARN or URL is none.
    """
    match settings:
        case config.SnsSink():
            found = _matched(name, "topic_arn", _TOPIC, settings.topic_arn, _TOPIC_REMEDY)
            return _target("sns", settings, found["region"], settings.topic_arn)
        case config.SqsSink():
            return _queue(name, settings)
        case config.EventBridgeSink():
            found = _matched(name, "event_bus_arn", _BUS, settings.event_bus_arn, _BUS_REMEDY)
            return _target("events", settings, found["region"], settings.event_bus_arn)
    assert_never(settings)


def problems(name: str, settings: AwsSinkSettings) -> list[Problem]:
    """Return what is wrong with ``settings``."""
    try:
        load(name, settings)
    except ConfigurationError as error:
        return list(error.problems)
    return []


def _queue(name: str, settings: config.SqsSink) -> Target:
    """Name a queue by its URL, which requests want and SQS reads no more than the path of."""
    arn, url = settings.queue_arn, settings.queue_url
    if arn is not None and url is not None:
        raise _problem(name, "queue_url", "stands beside queue_arn", "leave one of them out")
    if url is not None:
        found = _matched(name, "queue_url", _QUEUE_URL, url, f"{_QUEUE_REMEDY} instead")
        return _target("sqs", settings, found["region"] or found["legacy"], url)
    found = _matched(name, "queue_arn", _QUEUE_ARN, arn or "", _QUEUE_REMEDY)
    host = f"sqs.{found['region']}.amazonaws.com" + (".cn" if ":aws-cn:" in (arn or "") else "")
    address = f"https://{host}/{found['owner']}/{found['name']}"
    return _target("sqs", settings, found["region"], address)


def _target(service: str, settings: AwsSinkSettings, region: str, address: str) -> Target:
    return Target(service, settings.account, region, address, settings.timeout)


def _matched(
    name: str, key: str, pattern: re.Pattern[str], text: str, remedy: str
) -> re.Match[str]:
    found = pattern.fullmatch(text)
    if found is None:
        what = "is missing" if not text else "is no such URL" if "url" in key else "is no such ARN"
        raise _problem(name, key, what, remedy)
    return found


def _problem(name: str, key: str, message: str, remedy: str) -> ConfigurationError:
    return ConfigurationError([Problem("", f"sinks.{name}.{key}", message, remedy)])
