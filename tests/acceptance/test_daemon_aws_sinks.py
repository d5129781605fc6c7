"""The real program tells a topic, a queue and an event bus."""

import json
from collections import defaultdict
from signal import SIGTERM
from typing import Any

import pytest

from monitor import simulator
from tests.acceptance.program import configure, disks, packages, run, running, until
from tests.contracts.sink_kit import check
from tests.moto_kit import Aws

pytestmark = pytest.mark.timeout(600)

JOBS = 6
SCENARIO = {
    "jobs": [{"id": f"pkg-{n}", "service": "panorama"} for n in range(JOBS)]
    + [{"id": f"EX{n}", "service": "importexport"} for n in range(JOBS)]
}


async def test_every_change_arrives_in_order_across_a_kill(moto, tmp_path):
    aws = Aws(moto)
    topic = aws.topic(fifo=True)
    bus, bus_queue = aws.bus()
    queue, queue_arn = aws.queue()
    queues = {"topic": aws.subscribed(topic), "bus": bus_queue, "queue": queue}
    sinks = {
        "topic": {"type": "sns", "topic_arn": topic, "account": "moto"},
        "queue": {"type": "sqs", "queue_arn": queue_arn, "account": "moto"},
        "bus": {"type": "eventbridge", "event_bus_arn": bus, "account": "moto"},
    }
    routes = [{"match": {"kind": ["*", "job.discovered"]}, "sinks": list(sinks)}]
    seen: dict[str, dict[str, list[Any]]] = {name: defaultdict(list) for name in sinks}
    dropped_by: dict[Any, set[str]] = defaultdict(set)

    def look():
        for name, url in queues.items():
            for message in aws.received(url):
                body = json.loads(message["Body"])
                event = body.get("detail", body)
                check(event)
                seen[name][event["subject"]].append(event["data"])
                if name == "topic":
                    key = message["Attributes"]["MessageDeduplicationId"]
                    dropped_by[event["subject"], event["data"]["sequence"]].add(key)

    def ended():
        look()
        return all(len(over(jobs)) == 2 * JOBS for jobs in seen.values())

    async with simulator.running(simulator.Scenario.model_validate(SCENARIO)) as sim:
        accounts = {
            "sim": {"endpoint_urls": dict.fromkeys(("panorama", "importexport"), sim.url)},
            "moto": {"endpoint_urls": dict.fromkeys(("sns", "sqs", "events"), moto)},
        }
        # Named jobs are no baseline, so that their discovery is sent.
        named = [[f"{prefix}{number}" for number in range(JOBS)] for prefix in ("pkg-", "EX")]
        watches = [packages(jobs=named[0]), disks(jobs=named[1])]
        file = configure(
            tmp_path, sim, sinks=sinks, routes=routes, accounts=accounts, watches=watches
        )
        async with running("run", "--config", file, directory=tmp_path) as program:
            await program.started()
            await until(lambda: look() or any(seen["topic"].values()))
            assert await program.kill()
        finish(sim)
        async with running("run", "--config", file, directory=tmp_path) as program:
            await program.started()
            await until(ended)
            code, _ = await program.stop(SIGTERM)
    look()
    aws.close()
    assert code == 0
    assert not program.logged("delivery.failing")
    for jobs in seen.values():
        for told in jobs.values():
            first = list(dict.fromkeys(each["sequence"] for each in told))
            assert first == list(range(1, len(first) + 1))
    # Moto forgets a message that was taken, and so lets a repeat of it pass; AWS does not.
    assert all(len(keys) == 1 for keys in dropped_by.values()), "a FIFO topic drops repeats"
    assert len(set().union(*dropped_by.values())) == len(dropped_by)


def finish(sim):
    for number in range(JOBS):
        sim.change(f"pkg-{number}", {"set": {"Status": "SUCCEEDED"}}, service="panorama")
        done = {"set": {"LocationCode": "Returned", "ProgressCode": "Complete"}}
        sim.change(f"EX{number}", done, service="importexport")


def over(jobs):
    return [job for job, told in jobs.items() if told[-1]["current"]["phase"] == "succeeded"]


async def test_what_is_no_topic_is_told_with_its_line(tmp_path):
    file = tmp_path / "a.yaml"
    file.write_text(
        "watches: [{name: w, type: importexport.job, jobs: [A]}]\n"
        "sinks:\n  topic:\n    type: sns\n    topic_arn: arn:aws:sqs:us-east-1:1:x\n"
        "    account: nobody\n"
    )

    code, _, told = await run("check", "--config", file, directory=tmp_path)

    assert code == 2
    assert f"{file}:5: sinks.topic.topic_arn: is not such an ARN" in told
    assert f'{file}:6: sinks.topic.account: unknown account "nobody"' in told
