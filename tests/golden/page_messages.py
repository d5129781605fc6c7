"""Messages of the page, the HTTP API, the clock, the end of the daemon, and the shipped alerts."""

import os
import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml
from prometheus_client import CollectorRegistry

from monitor.cli import signals
from monitor.metrics import Metrics
from monitor.model import Backlog, DeliveryStatus, Kind, Parking, Phase, StoredDelivery
from monitor.runtime.clock_jumps import ClockJumps
from monitor.sinks.format import title
from monitor.sources import loader
from monitor.web import server as web_server
from monitor.web.api import params
from monitor.web.auth import Guard
from monitor.web.page import rows, summary
from monitor.web.page import view as page_view
from monitor.web.page.filters import JobFilter, choose
from monitor.web.page.render import Templates
from tests.builders import VirtualClock, ledger
from tests.contracts.sink_kit import event
from tests.golden.kit import command, in_virtual_time, logged, plain, texts
from tests.golden.registry import message
from tests.page_kit import NOW, Live, entry, followed, sink, source
from tests.unit.web.page.test_page_words import BROKEN
from tests.web_kit import open_site, raw

ROOT = Path(__file__).parents[2]
MINUTES = timedelta(minutes=12)


def seen(jobs=(), backlogs=(), parkings=(), **live):
    return page_view.gather(Live(jobs, **live), backlogs, parkings, NOW)


def index(made):
    chosen = choose(made.jobs, JobFilter(), NOW - summary.RECENT)
    shown = [rows.job_row(each, [], NOW) for each in chosen.jobs]
    return Templates().index(made, JobFilter(), chosen, shown)


def row(page, key):
    """Return the cells of a row of the page, as one line."""
    (cells,) = re.findall(rf'data-key="{re.escape(key)}".*?</tr>', page, re.DOTALL)
    return " | ".join(plain(cell) for cell in re.findall(r"<t[dh].*?</t[dh]>", cells, re.DOTALL))


def headline(page):
    return texts(page, r'<h1 class="summary".*?</h1>')


# 1, 3, 10, 14


@message("1 check: what is sent of jobs at first sight (and 3: how often ended jobs are polled)")
def first_sight(directory):
    file = directory / "monitor.yaml"
    file.write_text(
        "watches: [{name: w, type: importexport.job, discover: true, interval: 5m}]\n"
        f"sinks: {{audit: {{type: log}}}}\nstore: sqlite://{directory}/state.db\n"
        "routes: [{match: {kind: [job.state_changed]}, sinks: [audit]}]\n"
    )
    return command("check", "-c", file)


@message("1 the title of a job that had ended when it was first seen")
def first_seen(_directory):
    made = event(Kind.DISCOVERED)
    return title(made)


@message("3 plan: ended_interval_seconds is how often jobs are polled that have ended")
def plan(directory):
    file = directory / "monitor.yaml"
    file.write_text(
        "watches: [{name: w, type: importexport.job, discover: true, ended_interval: 30m}]\n"
    )
    return command("plan", "-c", file)


@message("14 a listing that leaves jobs out (types lint, check)")
def leaves_out(directory):
    document = (ROOT / "docs/job-types.md").read_text()
    (example,) = re.findall(
        r"^```yaml\n(name: batch\.job\n.*?)^```$", document, re.MULTILINE | re.DOTALL
    )
    tree = yaml.safe_load(example)
    (directory / "batch.yaml").write_text(
        yaml.safe_dump({
            **tree, "list": {**tree["list"], "params": {"jobQueue": "{queue}"}}
        })
    )  # fmt: skip
    return [f"warning: {one}" for one in loader.load_job_type(directory / "batch.yaml").warnings]


@message("5 types lint: what is wrong in a job type file (and 4: what cannot be read)")
def lint(directory):
    files = {
        "a.yaml": "name: a.b\nservice: panoramma\ndescribe: {operation: Get, params: {A: '{id}'}}\n"
        "state: '1'\nphases: {running: [x]}\n",
        "b.yaml": "name: a.b\nservice: panorama\nstate: Status\nphases: {running: [PENDING]}\n"
        "describe: {operation: DescribePackageImportJob, params: {JobId: '{id}'}}\n"
        "missing: [{code: X, where: 'contains(Message)'}]\n",
        "c.yaml": "description: !!bool x\n",
    }
    for name, text in files.items():
        (directory / name).write_text(text)
    return command("types", "lint", *(directory / name for name in files))


FORMS = {"": "2", " | humanizeDuration": "2m 0s", " | humanizePercentage": "2%"}


@message("10 the shipped alerts (with 2 for the value)")
def alerts(_directory):
    rules = yaml.safe_load((ROOT / "deploy/prometheus/rules/job-monitor.alerts.yml").read_text())
    said = []
    for rule in (rule for group in rules["groups"] for rule in group["rules"]):
        text = f"{rule['alert']}: {' '.join(rule['annotations']['description'].split())}"
        text = re.sub(r"\{\{ \$labels\.(\w+) \}\}", r"<\1>", text)
        for form, shown in FORMS.items():
            text = text.replace(f"{{{{ $value{form} }}}}", shown)
        said.append(text)
    return said


# 2, 26, 6, 7, 8


@message("26 page: a listing that is not read to its end")
def page_listing(_directory):
    page = index(seen(sources=[source(listings=[BROKEN])]))
    return [*headline(page), row(page, "source:panorama/prod/us-east-1")]


@message("17 page: AWS is unreachable")
def page_lost(_directory):
    trouble = {
        "available": False,
        "up": False,
        "last_failure": "transient",
        "last_failure_code": "ECONNREFUSED",
    }
    page = index(seen([followed(1, blind=True)], sources=[source(**trouble)]))
    return [*headline(page), *texts(page, r'<div class="banner is-bad" role="alert">.*?</p>')]


@message("7 page: a sink that fails")
def page_failing(_directory):
    failing = sink(failing_since=NOW - MINUTES, last_error_at=NOW, last_error="status 503")
    backlog = Backlog("ops", 3, NOW - MINUTES, 0)
    page = index(seen(sinks=[failing], backlogs=[backlog]))
    return [*headline(page), row(page, "sink:ops")]


@message("6 page: a sink that is parked")
def page_parked(_directory):
    page = index(seen(parkings=[Parking("ops", NOW - MINUTES, "status 410")]))
    return [*headline(page), row(page, "sink:ops")]


DELIVERIES: dict[str, dict[str, Any]] = {
    "taken at the first try": {"status": DeliveryStatus.DELIVERED, "attempts": 1},
    "taken at the third": {"status": DeliveryStatus.DELIVERED, "attempts": 3},
    "tried again": {
        "attempts": 1,
        "due_at": NOW + timedelta(seconds=40),
        "last_error": "status 503",
    },
    "due": {"due_at": NOW},
    "behind another": {},
    "of a parked sink": {"due_at": NOW, "sink": "parked"},
    "dead": {"status": DeliveryStatus.DEAD, "attempts": 2, "last_error": "status 400"},
}


def delivery(number, **changes):
    values = {"status": DeliveryStatus.PENDING, "attempts": 0, "sink": "ops", **changes}
    due, error = values.get("due_at"), values.get("last_error")
    settled = NOW if values["status"] is not DeliveryStatus.PENDING else None
    return StoredDelivery(
        *(number, 1, values["sink"], "key", "id", "job.updated", values["status"]),
        *(values["attempts"], NOW, due, settled, error, False),
    )


@message("6 job page: deliveries (8: times are UTC, with how long ago)")
def page_deliveries(directory):
    return in_virtual_time(_page_deliveries, directory)


async def _page_deliveries(directory):
    job = followed(1, Phase.FAILED)
    made = [delivery(number, **one) for number, one in enumerate(DELIVERIES.values())]
    async with ledger(directory, VirtualClock()) as store:
        await store.record(entry(job))
        ((position, told),) = await store.transitions()
    line = rows.transition_row(position, told["data"], made)
    view = seen([job], parkings=[Parking("parked", NOW, "410")], sinks=[sink(), sink("parked")])
    page = Templates().job(view, rows.job_row(job, [told], NOW), [line])
    return [
        *texts(page, r'<p class="when">.*?</p>'),
        *texts(page, r'<li><span class="chip.*?</li>'),
    ]


@message("3 job page: how often a job is polled since it ended")
def page_ended(_directory):
    job = followed(1, Phase.SUCCEEDED, finished=False, interval=3600.0)
    page = Templates().job(seen([job]), rows.job_row(job, [], NOW), [])
    return [one for one in texts(page, r"<dt>.*?</dd>") if one.startswith("Next")]


@message("6 page: the dialogs, before and after")
def dialogs(_directory):
    script = (ROOT / "monitor/web/page/static/acts.js").read_text()
    acts = script.partition("const ACTS")[2]
    outcomes = script.partition("RESUMED = {")[2].partition("}")[0]
    pieces = [one[1:-1].strip() for one in re.findall(r"`[^`]*`|\"[^\"]*\"", acts + outcomes)]
    said = [re.sub(r"\$\{(\w+).*?\}", r"<\1>", one) for one in pieces]
    return [one for one in said if " " in one]


# 16, 19, 25


@message("16 the wall clock was set")
def jumped(_directory):
    async def jump():
        clock = VirtualClock()
        jumps = ClockJumps(clock, Metrics(CollectorRegistry(), "0"))
        jumps.between_runs(3600.0)
        clock.jump = 86400.0
        jumps.compare()

    with logged() as said:
        in_virtual_time(jump)
    return said("clock.jumped")


TOKEN = "0123456789abcdef-of-a-test"


@message("19 requests that are refused")
async def refusals(directory):
    (directory / "token").write_text(TOKEN)
    head = (
        f"POST /api/v1/replay HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\n"
        "Content-Type: application/json\r\n"
    )
    requests = {
        "Content-Length: 100\r\n\r\n": "a body that never comes",
        "Content-Length: 2\r\n\r\n[}": "a body that is not JSON",
        "Content-Length: 2\r\n\r\n[]": "a body of another kind",
    }
    said = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(params, "BODY_WITHIN", 1.0)
        patch.setattr(web_server, "LINGER", 0.1)
        guard = Guard(token_files=[directory / "token"])
        async with open_site(directory, guard=guard, hosts=["monitor.example.com"]) as site:
            for rest, name in requests.items():
                answer = await raw(site.url, (head + "Connection: close\r\n" + rest).encode())
                detail = re.search(rb'"detail":"([^"]*)"', answer)
                assert detail
                said.append(f"{name}: {answer[9:12].decode()} {detail[1].decode()}")
            evil = {"Host": "evil@127.0.0.1"}
            async with aiohttp.request("GET", f"{site.url}/", headers=evil) as refused:
                text = await refused.text()
                said.append(f"Host of another name: {refused.status} {text.strip()}")
            async with aiohttp.request("POST", f"{site.url}/api/v1/replay") as refused:
                said.append(f"no token: {refused.status} {(await refused.json())['detail']}")
    return said


@message("25 the daemon ends without waiting any longer (exit code 74)")
def ended(_directory):
    said: list[object] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(signals, "_write_last", said.append)
        patch.setattr(os, "_exit", said.append)
        receiver = signals.SignalReceiver()
        patch.setattr(
            receiver, "_culprit", lambda: "/etc/job-monitor/monitor.yaml, which does not answer"
        )
        receiver._end_now()
    assert said[1:] == [74]
    return said[0]
