"""The printed template has a rule for each source, and lets nobody else send."""

from typing import Any

import pytest

from monitor.aws import queues
from monitor.config import Settings
from monitor.sources import loader
from monitor.tools import hint_rules, iam_policy

TYPES = loader.load_job_types(None)
QUEUE = "https://sqs.us-east-1.amazonaws.com/123456789012/job-hints"
OTHER = "https://sqs.eu-west-1.amazonaws.com/123456789012/job-hints"


def settings(*hints):
    watches: list[dict[str, Any]] = [
        {"name": "etl", "type": "glue.job-run", "discover": {"of": "all"}},
        {"name": "batch", "type": "batch.job", "jobs": ["0a-1b"]},
        {"name": "step", "type": "emr.step", "jobs": ["j-1/s-2"]},
        {"name": "cluster", "type": "emr.cluster", "jobs": ["j-1"]},
        {"name": "silent", "type": "panorama.package-import", "discover": True},
        {"name": "elsewhere", "type": "athena.query", "jobs": ["a"], "account": "other"},
    ]
    tree = {
        "accounts": {"prod": {"role_arn": "arn:aws:iam::123456789012:role/m"}, "other": {}},
        "watches": [{"account": "prod", "regions": ["us-east-1"], **each} for each in watches],
        "hints": [{"queue_url": url, "account": "prod"} for url in hints],
    }
    return Settings.model_validate(tree)


def test_each_source_has_a_rule_that_may_send_to_the_queue():
    resources = hint_rules.templates(settings(QUEUE), TYPES)[QUEUE]["Resources"]

    patterns = {
        name: each["Properties"]["EventPattern"]
        for name, each in resources.items()
        if each["Type"] == "AWS::Events::Rule"
    }
    assert patterns == {
        "AwsBatchRule": {
            "source": ["aws.batch"],
            "detail-type": ["Batch Job State Change"],
        },
        "AwsEmrRule": {
            "source": ["aws.emr"],
            "detail-type": ["EMR Cluster State Change", "EMR Step Status Change"],
        },
        "AwsGlueRule": {"source": ["aws.glue"], "detail-type": ["Glue Job State Change"]},
    }
    assert resources["Hints"]["Properties"]["QueueName"] == "job-hints"
    [statement] = resources["HintsPolicy"]["Properties"]["PolicyDocument"]["Statement"]
    assert statement["Principal"] == {"Service": "events.amazonaws.com"}
    allowed = statement["Condition"]["ArnEquals"]["aws:SourceArn"]
    assert [each["Fn::GetAtt"][0] for each in allowed] == list(patterns)


def test_a_queue_of_another_region_gets_no_rule_and_no_policy():
    found = hint_rules.templates(settings(QUEUE, OTHER), TYPES)
    assert list(found[OTHER]["Resources"]) == ["Hints"]


def test_the_policy_permits_to_read_the_queue_and_nothing_else():
    policy = iam_policy.policies(settings(QUEUE), TYPES)["arn:aws:iam::123456789012:role/m"]
    [statement] = [each for each in policy["Statement"] if each["Sid"] == "SqsHints"]
    assert statement["Resource"] == ["arn:aws:sqs:us-east-1:123456789012:job-hints"]
    assert statement["Action"] == [
        "sqs:ChangeMessageVisibility",
        "sqs:DeleteMessage",
        "sqs:GetQueueAttributes",
        "sqs:ReceiveMessage",
    ]


@pytest.mark.parametrize(
    ("url", "region", "arn"),
    [
        (QUEUE, None, "arn:aws:sqs:us-east-1:123456789012:job-hints"),
        (QUEUE, "us-east-1", "arn:aws:sqs:us-east-1:123456789012:job-hints"),
        (QUEUE, "eu-west-1", None),
        (
            "https://sqs.cn-north-1.amazonaws.com.cn/123456789012/q",
            None,
            "arn:aws-cn:sqs:cn-north-1:123456789012:q",
        ),
        (
            "https://sqs.us-gov-west-1.amazonaws.com/123456789012/q",
            None,
            "arn:aws-us-gov:sqs:us-gov-west-1:123456789012:q",
        ),
        ("http://localhost:4566/123456789012/q", None, None),
        (
            "http://localhost:4566/123456789012/q",
            "us-east-1",
            "arn:aws:sqs:us-east-1:123456789012:q",
        ),
        ("http://localhost:4566/123456789012/q?x=1", "us-east-1", None),
        ("https://user:word@host/123456789012/q", "us-east-1", None),
        ("ftp://host/123456789012/q", "us-east-1", None),
        ("", "us-east-1", None),
    ],
)
def test_a_url_names_the_queue_and_mostly_its_region(url, region, arn):
    found = queues.address(url, region)
    assert (found and found.arn) == arn
