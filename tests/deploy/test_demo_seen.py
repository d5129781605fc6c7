"""What Prometheus, Alertmanager and the dashboards see of the demo that really runs."""

import math
import re
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass

import anyio
import pytest

from tests.acceptance.program import PATIENCE, configure, disks, packages, running, until
from tests.contracts import postgresql_kit
from tests.deploy import shipped
from tests.deploy.prometheus_kit import alertmanager, needed, prometheus, receiving

pytestmark = pytest.mark.timeout(600)

RIGHTLY_EMPTY = {
    "annotation Stuck and missing": "one job of the demo is stuck, but only after a while",
    "annotation AWS unreachable and recovered": "the demo's outage is over before it counts as one",
    "rule JobMonitorJobStuck": "a job is stuck for some seconds only",
    "rule JobMonitorJobsMissing": "no job is missing",
    "rule JobMonitorUnclassifiedState": "every state of the demo is classified",
    "rule JobMonitorSourceUnavailable": "the demo's AWS answers, but for some seconds",
    "rule JobMonitorJobsStale": "every job is seen",
    "rule JobMonitorListingIncomplete": "every sweep comes to its end",
    "rule JobMonitorThrottled": "the demo throttles for some seconds only",
    "rule JobMonitorDeliveriesDead": "every event is taken in the end",
    "rule JobMonitorSinkParked": "the sink is not parked",
    "rule JobMonitorSinkFailing": "the sink takes what it is sent within minutes",
    "rule JobMonitorOutboxOld": "every event is taken soon",
    "rule JobMonitorOutboxGrowing": "the sink keeps up",
    "rule JobMonitorAbsent": "the monitor is there",
    "rule JobMonitorNotPolling": "the scheduler goes round",
    "rule JobMonitorConfigurationRefused": "the configuration was taken",
    "rule JobMonitorStoreLost": "the store is always there",
    "rule JobMonitorReplicasDiffer": "there is one replica, with one configuration",
    "rule JobMonitorQuotaUnowned": "the one replica owns every quota",
    "rule JobMonitorUpkeepMissing": "the one replica does the upkeep",
    "rule JobMonitorStoreSlow": "commits are quick, unless the machine is busy",
    "rule JobMonitorEventLoopLag": "the loop wakes in time, unless the machine is busy",
}
"""Places of questions, without the name of the dashboard, that need not be answered, and why."""

NOT_A_NUMBER = {
    "overview: Sinks age": "the outbox may be empty at every moment that is looked at",
    "overview: The oldest waits for A": "the outbox may be empty at every moment that is looked at",
    "rule sink:job_monitor_outbox_age_seconds:max": "as above",
    "overview: Sinks failing": "no sink may fail at any moment that is looked at",
    "rule sink:job_monitor_sink_failing_seconds:max": "as above",
}
"""Questions that may be answered by NaN alone, and why."""


@dataclass(frozen=True, slots=True)
class Demo:
    """Where a running demo is: its metrics as host and port, its AWS and its receiver as URLs."""

    metrics: str
    url: str
    receiver_url: str


@asynccontextmanager
async def demo(directory):
    """Run the demo; yield where it is."""
    async with running("demo", "--listen", "127.0.0.1:0", directory=directory) as program:
        await program.said("Ctrl-C")
        metrics = re.search(r"http://(\S+)/metrics", program.out)
        aws = re.search(r"AWS stand-in (http://\S+)", program.out)
        receiver = re.search(r"(http://\S+)/hook/demo", program.out)
        assert metrics, program.out
        assert aws, program.out
        assert receiver, program.out
        yield Demo(metrics[1], aws[1], receiver[1])


@asynccontextmanager
async def beside(directory, shown):
    """Run a daemon on the demo's AWS that shows each job by itself; yield host and port.

    Its store is in PostgreSQL: then it is a replica.
    """
    watches = [packages(interval="2s"), disks(interval="2s")]
    more = shipped.everything(shown.url)
    with postgresql_kit.server() as server:
        store = server.create("jobs")
        file = configure(directory, shown, watches=watches, store=store, **more)
        async with running("run", "-c", file, directory=directory) as program:
            yield (await program.started()).removeprefix("http://")


def _excused(question):
    """Why a question need not be answered; None if it must be."""
    return next((why for place, why in RIGHTLY_EMPTY.items() if place in question.place), None)


async def _answered(asker, question, began):
    """Whether there is an answer; where NaN is one, that too."""
    expr = shipped.substituted(question.expr, __rate_interval="15s", __range="5m")
    if question.over_time:
        values = await asker.graph(expr, began, time.time())
    else:
        values = [value for _, value in await asker.now(expr)]
    lenient = any(place in question.place for place in NOT_A_NUMBER)
    return any(lenient or not math.isnan(value) for value in values)


async def _until_answered(asker, questions):
    began, left = time.time(), list(questions)
    with anyio.move_on_after(4 * PATIENCE):
        while left:
            left = [each for each in left if not await _answered(asker, each, began)]
            await anyio.sleep(1)
    return [f"{each.place}: {each.expr}" for each in left]


async def test_every_panel_and_rule_has_an_answer_in_a_real_prometheus(tmp_path):
    needed("prometheus")
    asked = shipped.questions()
    must = [question for question in asked if _excused(question) is None]
    assert len(must) > 90
    async with (
        demo(tmp_path) as shown,
        beside(tmp_path, shown) as second,
        prometheus(tmp_path, [shown.metrics, second]) as asker,
    ):
        unanswered = await _until_answered(asker, must)
        targets = await asker.targets()
        assert [target["health"] for target in targets] == ["up", "up"], targets
        # What is rightly empty is so for its comparison, not for want of what it compares.
        selectors = {
            selector.prettify()
            for question in asked
            if question not in must
            for selector in question.selectors
            if selector.name != "ALERTS"
        }
        without = [each for each in sorted(selectors) if not await asker.now(each)]
    assert unanswered == []
    assert len(selectors) > 10
    assert without == []


def test_nothing_is_excused_that_is_not_asked():
    places = [question.place for question in shipped.questions()]
    for place in (*RIGHTLY_EMPTY, *NOT_A_NUMBER):
        assert any(place in each for each in places), place


async def test_a_failed_job_is_told_by_alertmanager(tmp_path):
    needed("prometheus")
    needed("prometheus-alertmanager")
    async with (
        receiving() as (url, received),
        alertmanager(tmp_path, url) as notifier,
        demo(tmp_path) as shown,
        prometheus(tmp_path, [shown.metrics], alertmanager=notifier) as asker,
    ):
        # Should the machine be so busy that the first failure is over: the next is a minute away.
        await until(lambda: _told(received, "JobMonitorJobFailed"), 2 * PATIENCE)
        firing = await asker.until_seen('ALERTS{alertname="JobMonitorJobFailed"}')
    assert firing[0][0]["alertstate"] == "firing"
    receiver, alert = _told(received, "JobMonitorJobFailed")[0]
    assert receiver == "team"
    assert alert["status"] == "firing"
    job_type = alert["labels"]["type"]
    assert job_type in {"panorama.package-import", "importexport.job"}
    assert (alert["labels"]["account"], alert["labels"]["region"]) == ("demo", "us-east-1")
    assert re.match(rf"\d+ job\(s\) of type {job_type} ", alert["annotations"]["description"])
    assert alert["annotations"]["runbook_url"] == "docs/runbook.md#jobmonitorjobfailed"
    assert not _told(received, "JobMonitorAbsent")


def _told(received, name):
    return [
        (receiver, alert)
        for receiver, body in received
        for alert in body["alerts"]
        if alert["labels"]["alertname"] == name
    ]
