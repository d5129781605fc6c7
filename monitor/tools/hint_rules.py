"""Write what EventBridge and SQS need, so that a queue gets the hints of a configuration.

It is a CloudFormation template for each queue: the queue, the rules that send to it, and the policy
that lets these rules do so, and nobody else.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from monitor.aws import queues

if TYPE_CHECKING:
    from collections.abc import Mapping

    from monitor import config
    from monitor.sources.job_type import JobType

VISIBILITY = 60
"""Seconds until a message comes back that was taken by a daemon which then ended."""
KEPT = 86_400
"""Seconds after which an event is not worth a poll any more: a sweep has been there long since."""


def templates(settings: config.Settings, types: Mapping[str, JobType]) -> dict[str, dict[str, Any]]:
    """Return the template of each queue, by its URL; one without a watch has no rules."""
    found: dict[str, dict[str, Any]] = {}
    for hint in settings.hints:
        at = queues.address(hint.queue_url, hint.region)
        if at is None:
            continue  # validation has reported it
        details: dict[str, set[str]] = {}
        for watch in settings.watches:
            kind = types[watch.type]
            regions = [kind.region] if kind.region else watch.regions
            if kind.events and watch.account == hint.account and at.region in regions:
                details.setdefault(kind.events.source, set()).add(kind.events.detail_type)
        found[hint.queue_url] = _template(at, details)
    return found


def _template(at: queues.QueueAddress, details: Mapping[str, set[str]]) -> dict[str, Any]:
    queue = {"Fn::GetAtt": ["Hints", "Arn"]}
    rules = {
        # CloudFormation takes letters and digits alone.
        "".join(map(str.capitalize, re.split(r"[\W_]+", source))) + "Rule": {
            "Type": "AWS::Events::Rule",
            "Properties": {
                "Description": f"Hints for job-monitor: changes of {source} jobs",
                "EventPattern": {"source": [source], "detail-type": sorted(details[source])},
                "Targets": [{"Id": "hints", "Arn": queue}],
            },
        }
        for source in sorted(details)
    }
    statement = {
        "Effect": "Allow",
        "Principal": {"Service": "events.amazonaws.com"},
        "Action": "sqs:SendMessage",
        "Resource": queue,
        "Condition": {"ArnEquals": {"aws:SourceArn": [{"Fn::GetAtt": [r, "Arn"]} for r in rules]}},
    }
    policy = {
        "Type": "AWS::SQS::QueuePolicy",
        "Properties": {
            "Queues": [{"Ref": "Hints"}],
            "PolicyDocument": {"Version": "2012-10-17", "Statement": [statement]},
        },
    }
    return {
        "AWSTemplateFormatVersion": "2010-09-09",
        "Description": f"Hints for job-monitor in {at.region}",
        "Resources": {
            "Hints": {
                "Type": "AWS::SQS::Queue",
                "Properties": {
                    "QueueName": at.name,
                    "VisibilityTimeout": VISIBILITY,
                    "MessageRetentionPeriod": KEPT,
                    "SqsManagedSseEnabled": True,
                },
            },
            # A policy that permits nobody anything is not a valid one.
            **({"HintsPolicy": policy} if rules else {}),
            **rules,
        },
        "Outputs": {"QueueUrl": {"Value": {"Ref": "Hints"}}},
    }
