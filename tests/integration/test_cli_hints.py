"""``hints rule`` prints what to create, and ``doctor`` asks the queue."""

import json

import pytest
import yaml

from tests.acceptance.program import run
from tests.moto_kit import REGION, Aws

pytestmark = pytest.mark.timeout(600)
WATCH = {
    "name": "batch",
    "type": "batch.job",
    "regions": [REGION],
    "jobs": ["0a-1b"],
    "account": "moto",
}


def configured(directory, url, *queues):
    settings = {
        "accounts": {"moto": {"endpoint_urls": {"sqs": url, "batch": url}}},
        "watches": [WATCH],
        "sinks": {"audit": {"type": "log"}},
        "hints": [{"queue_url": one, "region": REGION, "account": "moto"} for one in queues],
    }
    file = directory / "a.yaml"
    file.write_text(yaml.safe_dump(settings))
    return file


async def test_the_printed_template_makes_a_queue_that_the_rules_fill(moto, tmp_path):
    aws = Aws(moto)
    url = f"{moto}/123456789012/hints-of-a-stack"
    file = configured(tmp_path, moto, url)

    code, out, err = await run("hints", "rule", "--config", file, directory=tmp_path)

    assert (code, err) == (0, "")
    aws.ask("cloudformation", "create_stack", StackName="hints", TemplateBody=out)
    [rule] = [
        one
        for one in aws.ask("events", "list_rules")["Rules"]
        if json.loads(one["EventPattern"])["source"] == ["aws.batch"]
    ]
    [target] = aws.ask("events", "list_targets_by_rule", Rule=rule["Name"])["Targets"]
    assert target["Arn"].endswith(":hints-of-a-stack")
    code, out, _ = await run("doctor", "-o", "json", "--config", file, directory=tmp_path)
    found = {one["operation"]: (one["outcome"], one["said"]) for one in json.loads(out)}
    assert found["GetQueueAttributes"] == ("ok", "queue hints-of-a-stack has about 0 hints")
    aws.close()


async def test_a_queue_that_does_not_exist_fails_with_a_remedy(moto, tmp_path):
    file = configured(tmp_path, moto, f"{moto}/123456789012/nowhere")
    code, out, err = await run("doctor", "--config", file, directory=tmp_path)
    assert code == 1
    assert "there is no queue nowhere" in out
    assert "to make the queue: job-monitor hints rule prints a CloudFormation template" in err


async def test_several_queues_are_told_apart_by_their_url(moto, tmp_path):
    one, two = (f"{moto}/123456789012/{name}" for name in ("one", "two"))
    file = configured(tmp_path, moto, one, two)
    rule = ("hints", "rule", "--config", file)

    code, _, err = await run(*rule, directory=tmp_path)
    assert (code, "choose one with --queue" in err) == (2, True)
    code, out, _ = await run(*rule, "--queue", two, directory=tmp_path)
    assert json.loads(out)["Resources"]["Hints"]["Properties"]["QueueName"] == "two"
    code, _, err = await run(*rule, "--queue", "three", directory=tmp_path)
    assert (code, "three" in err) == (2, True)


async def test_without_a_queue_it_says_what_to_add(moto, tmp_path):
    file = configured(tmp_path, moto)
    code, _, err = await run("hints", "rule", "--config", file, directory=tmp_path)
    assert (code, "no queue is configured (add hints: [{queue_url: URL}])" in err) == (2, True)
