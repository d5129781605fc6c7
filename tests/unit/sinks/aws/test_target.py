import pytest

from monitor import config, validation
from monitor.sinks import problems
from monitor.sinks.aws import target as aws_target
from monitor.sources.loader import load_job_types

OWNER = "123456789012"


def sns(arn, **more):
    return config.SnsSink(type="sns", topic_arn=arn, **more)


def sqs(**more):
    return config.SqsSink(type="sqs", **more)


def bus(arn):
    return config.EventBridgeSink(type="eventbridge", event_bus_arn=arn)


@pytest.mark.parametrize(
    ("settings", "service", "region", "address"),
    [
        (sns(f"arn:aws:sns:eu-west-1:{OWNER}:jobs"), "sns", "eu-west-1", None),
        (sns(f"arn:aws-cn:sns:cn-north-1:{OWNER}:a-b_c.fifo"), "sns", "cn-north-1", None),
        (sns(f"arn:aws-us-gov:sns:us-gov-west-1:{OWNER}:j"), "sns", "us-gov-west-1", None),
        (bus(f"arn:aws:events:us-east-1:{OWNER}:event-bus/a/b.c"), "events", "us-east-1", None),
        (
            sqs(queue_arn=f"arn:aws:sqs:us-east-1:{OWNER}:jobs"),
            "sqs",
            "us-east-1",
            f"https://sqs.us-east-1.amazonaws.com/{OWNER}/jobs",
        ),
        (
            sqs(queue_arn=f"arn:aws-cn:sqs:cn-north-1:{OWNER}:jobs.fifo"),
            "sqs",
            "cn-north-1",
            f"https://sqs.cn-north-1.amazonaws.com.cn/{OWNER}/jobs.fifo",
        ),
        (
            sqs(queue_url=f"https://sqs.eu-west-1.amazonaws.com/{OWNER}/jobs"),
            "sqs",
            "eu-west-1",
            f"https://sqs.eu-west-1.amazonaws.com/{OWNER}/jobs",
        ),
        (
            sqs(queue_url=f"https://eu-west-1.queue.amazonaws.com/{OWNER}/jobs"),
            "sqs",
            "eu-west-1",
            f"https://eu-west-1.queue.amazonaws.com/{OWNER}/jobs",
        ),
    ],
)
def test_a_place_is_read_from_its_arn_or_url(settings, service, region, address):
    target = aws_target.load("x", settings)

    assert (target.service, target.region) == (service, region)
    if address:
        assert target.address == address
    assert problems("x", settings) == []


def test_a_name_that_ends_in_fifo_keeps_order():
    arns = [f"arn:aws:sns:us-east-1:{OWNER}:jobs{end}" for end in ("", ".fifo", "fifo")]

    assert [aws_target.load("x", sns(arn)).ordered for arn in arns] == [False, True, False]


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        (sns(""), "sinks.x.topic_arn: is missing"),
        (sns(f"arn:aws:sqs:us-east-1:{OWNER}:jobs"), "sinks.x.topic_arn: is no such ARN"),
        (sns("arn:aws:sns:us-east-1:12:jobs"), "sinks.x.topic_arn: is no such ARN"),
        (sns(f"arn:aws:sns::{OWNER}:jobs"), "sinks.x.topic_arn: is no such ARN"),
        (sns(f"arn:aws:sns:us-east-1:{OWNER}:jobs:6a1f"), "sinks.x.topic_arn: is no such ARN"),
        (sns(f"arn:aws:sns:us-east-1:{OWNER}:{'x' * 257}"), "sinks.x.topic_arn: is no such ARN"),
        (sns(f"arn:aws:sns:us-east-1:{OWNER}:jobs\n"), "sinks.x.topic_arn: is no such ARN"),
        (bus(f"arn:aws:events:us-east-1:{OWNER}:rule/x"), "sinks.x.event_bus_arn: is no such ARN"),
        (bus("default"), "sinks.x.event_bus_arn: is no such ARN"),
        (sqs(), "sinks.x.queue_arn: is missing"),
        (sqs(queue_arn=f"arn:aws:sqs:us-east-1:{OWNER}:{'x' * 81}"), "is no such ARN"),
        (sqs(queue_url="http://127.0.0.1:4566/000000000000/q"), "is no such URL"),
        (
            sqs(
                queue_arn=f"arn:aws:sqs:us-east-1:{OWNER}:q",
                queue_url=f"https://sqs.us-east-1.amazonaws.com/{OWNER}/q",
            ),
            "sinks.x.queue_url: stands beside queue_arn",
        ),
    ],
)
def test_what_is_no_place_is_told(settings, told):
    (problem,) = problems("x", settings)

    assert told in str(problem)
    assert problem.remedy


def test_an_account_that_is_not_configured_is_told():
    arn = f"arn:aws:sns:us-east-1:{OWNER}:jobs"
    settings = config.Settings(
        accounts={"central": config.Account()}, sinks={"topic": sns(arn, account="centrall")}
    )

    (problem,) = (
        each
        for each in validation.problems(settings, load_job_types(None))
        if each.path == "sinks.topic.account"
    )

    assert 'unknown account "centrall" (did you mean "central"?)' in str(problem)


def test_the_endpoints_of_these_services_can_be_named():
    urls = dict.fromkeys(("sns", "sqs", "events", "sts"), "http://127.0.0.1:4566")
    settings = config.Settings(accounts={"a": config.Account(endpoint_urls=urls)})

    found = validation.problems(settings, load_job_types(None))

    assert not [each for each in found if each.path.startswith("accounts")]
