"""The real program reads EventBridge events from a queue: they make polls due, and nothing else."""

import json
import time
from collections import Counter
from signal import SIGHUP, SIGTERM
from typing import Any

import anyio
import orjson
import pytest

from monitor import simulator
from monitor.sources import loader
from tests.acceptance import on_moto, scrape
from tests.acceptance.program import PATIENCE, configure, packages, running, until
from tests.acceptance.test_daemon_stop import IN_TIME
from tests.contracts.sink_kit import check
from tests.moto_kit import REGION, Aws

pytestmark = pytest.mark.timeout(600)

KIND = "panorama.package-import"
SOON = 2.0
"""Seconds within which a hinted change arrives; a busy machine may be late, but not each time."""
LATEST = 30.0
"""Seconds within which each must arrive; the interval is ten minutes."""


class Bench:
    """A queue on moto, a simulated job service, and the daemon's configuration between them."""

    def __init__(self, moto, sim, directory):
        self.aws, self.sim = Aws(moto), sim
        self.url, _ = self.aws.queue()
        self.hide(60)
        types = directory / "types"
        types.mkdir()
        text = (loader.BUILT_IN / f"{KIND}.yaml").read_text()
        rule = '{source: aws.panorama, detail_type: "Import State Change", id: detail.jobId}'
        (types / "own.yaml").write_text(f"{text}\nevents: {rule}\n")
        self.file = configure(
            directory,
            sim,
            job_types_dir=str(types),
            accounts={
                "sim": {"endpoint_urls": {"panorama": sim.url}},
                "moto": {"endpoint_urls": {"sqs": moto}},
            },
            watches=[
                packages(name="named", jobs=["named"], discover=False, interval="10m"),
                packages(interval="10m"),
            ],
            routes=on_moto.DISCOVERED,
            hints=[{"queue_url": self.url, "account": "moto", "region": REGION}],
            quotas={"panorama": {"rate": 200, "burst": 200}},
        )

    def hide(self, seconds):
        """Let a message that is read come back after so long, unless it is deleted."""
        self.aws.ask(
            "sqs",
            "set_queue_attributes",
            QueueUrl=self.url,
            Attributes={"VisibilityTimeout": str(seconds)},
        )

    def event(self, job_id, **changes):
        return {
            "version": "0",
            "source": "aws.panorama",
            "detail-type": "Import State Change",
            "account": "123456789012",
            "region": "us-east-1",
            "detail": {"jobId": job_id, "status": "FAILED"},
            **changes,
        }

    def send(self, *events):
        for event in events:
            body = event if isinstance(event, str) else json.dumps(event)
            self.aws.ask("sqs", "send_message", QueueUrl=self.url, MessageBody=body)

    def told(self, job_id):
        """Return kind and state of every event of a job, each once, in order."""
        found = {}
        for received in self.sim.truth.received:
            event = orjson.loads(received.body)
            check(event)
            if event["subject"] == job_id:
                data = event["data"]
                found[data["sequence"]] = (data["kind"], data["current"]["state"])
        return [found[sequence] for sequence in sorted(found)]

    def polls(self):
        """Return how often each job was described."""
        asked = (one for one in self.sim.truth.requests if one.operation.startswith("Describe"))
        return Counter(one.job for one in asked)

    def left(self):
        """Return how many messages there are, those that somebody has taken included."""
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        answer = self.aws.ask(
            "sqs", "get_queue_attributes", QueueUrl=self.url, AttributeNames=names
        )
        return sum(int(answer["Attributes"][name]) for name in names)


async def ready(program):
    """Wait for the first complete sweep; return the URL."""
    url = await program.started()
    with anyio.fail_after(PATIENCE):
        while not await scrape.table(url, "listing_complete"):  # noqa: ASYNC110 -- another process
            await anyio.sleep(0.1)
    # Creation dates may be told in whole seconds: what comes now is newer than the baseline.
    await anyio.sleep(1.1)
    return url


async def arrives(bench, job_id, ends):
    """Wait until an end is reported; return the seconds that it took."""
    began = time.monotonic()
    await until(lambda: ends in [state for _, state in bench.told(job_id)])
    return time.monotonic() - began


async def drained(bench):
    """Wait until the queue is empty: what was in it is durable, or concerned nobody."""
    with anyio.fail_after(PATIENCE):
        while await anyio.to_thread.run_sync(bench.left):  # noqa: ASYNC110 -- another process
            await anyio.sleep(0.2)


async def test_a_hinted_change_arrives_at_once_at_an_interval_of_ten_minutes(moto, tmp_path):
    scenario = {"jobs": [{"id": name, "service": "panorama"} for name in ("named", "old")]}
    async with simulator.running(simulator.Scenario.model_validate(scenario)) as sim:
        bench = Bench(moto, sim, tmp_path)
        async with running("run", "--config", bench.file, directory=tmp_path) as program:
            url = await ready(program)
            took = {}
            for job_id in ("named", "old", "new"):
                if job_id == "new":
                    sim.add_job(id=job_id, service="panorama")
                    bench.send(bench.event(job_id))
                    took["new found"] = await arrives(bench, job_id, "PENDING")
                    await anyio.sleep(1.0)  # a job is polled for hints once a second
                sim.change(job_id, Status="SUCCEEDED")
                bench.send(bench.event(job_id))
                took[job_id] = await arrives(bench, job_id, "SUCCEEDED")
            sim.add_job(id="short", service="panorama")
            sim.change("short", Status="FAILED")
            bench.send(bench.event("short"))
            took["short"] = await arrives(bench, "short", "FAILED")
            await drained(bench)
            hints = await scrape.table(url, "hints_total", "outcome")
            found = await scrape.table(url, "changes_found_total", "by")
            up = await scrape.table(url, "hint_queue_up", "queue")
            code, seconds = await program.stop(SIGTERM)
    bench.aws.close()
    assert min(took.values()) < SOON, took
    assert max(took.values()) < LATEST, took
    changed = ("job.state_changed", "SUCCEEDED")
    assert bench.told("named") == [("job.discovered", "PENDING"), changed]
    assert bench.told("old") == [changed]  # its discovery is of the baseline
    assert bench.told("new") == [("job.discovered", "PENDING"), changed]
    assert bench.told("short") == [("job.discovered", "FAILED")]
    assert hints == {("used",): 5}
    assert found[("hint",)] == 5
    assert list(up.values()) == [1]
    assert (code, seconds < IN_TIME) == (0, True)


async def test_no_message_causes_more_than_a_poll(moto, tmp_path):
    names = ["named", *(f"job-{number}" for number in range(6))]
    jobs: list[dict[str, Any]] = [{"id": name, "service": "panorama"} for name in names]
    jobs.append({"id": "history", "service": "panorama", "members": {"Status": "FAILED"}})
    async with simulator.running(simulator.Scenario.model_validate({"jobs": jobs})) as sim:
        bench = Bench(moto, sim, tmp_path)
        bench.send(bench.event("history"), bench.event("named"))  # left there by an earlier life
        async with running("run", "--config", bench.file, directory=tmp_path) as program:
            url = await ready(program)
            await drained(bench)
            before, began = bench.polls(), await scrape.table(url, "hints_total", "outcome")
            for name in names[:4]:  # the hints of the others are lost
                sim.change(name, Status="SUCCEEDED")
            forged = [
                *("", "null", "[1]", "{", "not json", '{"source": 1}', "[" * 5000),
                json.dumps({"source": "aws.panorama", "detail": "x" * 200_000}),
                bench.event("no-such-job"),
                bench.event("../../etc/passwd"),
                bench.event("x" * 5000),
                bench.event({"a": "map"}),
                bench.event("named", region="eu-west-1"),
                bench.event("named", source="aws.batch"),
                bench.event("named", detail=None),
                bench.event("history"),
                dict.fromkeys(("source", "detail-type", "account", "region"), "x"),
            ]
            bench.send(*(each for each in forged if each))
            for _ in range(3):
                bench.send(*(bench.event(name) for name in reversed(names[:5])))
            for name in names[:4]:
                await until(
                    lambda name=name: ("job.state_changed", "SUCCEEDED") in bench.told(name)
                )
            await drained(bench)
            polled = bench.polls() - before
            hints = await scrape.table(url, "hints_total", "outcome")
            assert program.alive
            assert not program.logged("hint.broken")
            assert (await program.stop(SIGTERM))[0] == 0
    bench.aws.close()
    for name in names:
        found = [state for _, state in bench.told(name)]
        wanted = ["PENDING"] if name == "named" else []
        assert found == wanted + ["SUCCEEDED"] * (name in names[:4]), name
    assert bench.told("history") == bench.told("no-such-job") == []
    # A final job is polled no more; the open one at most as often as it was hinted.
    assert all(polled[name] == 1 for name in names[:4]), polled
    assert 1 <= polled[names[4]] <= 3
    assert polled["no-such-job"] == 1
    assert polled["history"] == 0
    assert set(polled) <= {*names[:5], "no-such-job"}
    assert hints[("unreadable",)] - began.get(("unreadable",), 0) == 7


async def test_a_kill_between_the_hint_and_its_record_loses_nothing(moto, tmp_path):
    scenario = {"jobs": [{"id": "named", "service": "panorama"}]}
    async with simulator.running(simulator.Scenario.model_validate(scenario)) as sim:
        bench = Bench(moto, sim, tmp_path)
        bench.hide(3)  # of what the first life has read
        async with running("run", "--config", bench.file, directory=tmp_path) as program:
            await ready(program)
            slow = sim.faults.add(
                {"kind": "hang", "name": "hang", "match": {"operation": "Describe*"}}
            )
            sim.change("named", Status="SUCCEEDED")
            bench.send(bench.event("named"))
            await until(lambda: sim.faults.fired("hang"))
            assert await program.kill()
        bench.hide(60)
        assert bench.left() == 1
        assert ("job.state_changed", "SUCCEEDED") not in bench.told("named")
        sim.faults.remove(slow)
        async with running("run", "--config", bench.file, directory=tmp_path) as program:
            url = await program.started()
            await until(lambda: ("job.state_changed", "SUCCEEDED") in bench.told("named"))
            await drained(bench)
            hints = await scrape.table(url, "hints_total", "outcome")
            assert (await program.stop(SIGTERM))[0] == 0
    bench.aws.close()
    assert sum(hints.values()) == 1, "the message came back, and was deleted then"
    assert [state for _, state in bench.told("named")] == ["PENDING", "SUCCEEDED"]


async def test_a_reload_begins_and_ends_the_reading_of_a_queue(moto, tmp_path):
    scenario = {"jobs": [{"id": "named", "service": "panorama"}]}
    async with simulator.running(simulator.Scenario.model_validate(scenario)) as sim:
        bench = Bench(moto, sim, tmp_path)
        settings = json.loads(bench.file.read_text())
        without = json.dumps({key: value for key, value in settings.items() if key != "hints"})
        bench.file.write_text(without)
        async with running("run", "--config", bench.file, directory=tmp_path) as program:
            url = await ready(program)
            sim.change("named", Status="SUCCEEDED")
            bench.send(bench.event("named"))
            assert not await scrape.samples(url, "job_monitor_hints_total")
            bench.file.write_text(json.dumps(settings))
            program.process.send_signal(SIGHUP)
            await arrives(bench, "named", "SUCCEEDED")
            await drained(bench)
            bench.file.write_text(without)
            program.process.send_signal(SIGHUP)
            with anyio.fail_after(PATIENCE):
                while await scrape.samples(url, "job_monitor_hints_total"):  # noqa: ASYNC110 -- another process
                    await anyio.sleep(0.1)
            bench.send(bench.event("named"))
            await anyio.sleep(1)
            assert bench.left() == 1
            assert (await program.stop(SIGTERM))[0] == 0
    bench.aws.close()
