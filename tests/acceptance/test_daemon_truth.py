"""What a daemon counts is what really was: the simulator's own log, to the last one."""

from collections import Counter
from signal import SIGTERM
from typing import Any

import anyio
import pytest

from monitor import simulator
from tests.acceptance import ledger, scrape
from tests.acceptance.evidence import event_of
from tests.acceptance.program import (
    PATIENCE,
    SECRET,
    configure,
    disks,
    packages,
    running,
    until,
    webhook,
)

pytestmark = pytest.mark.timeout(600)

PACKAGES, DISKS = "panorama.package-import", "importexport.job"
TYPES = {"panorama": PACKAGES, "importexport": DISKS}
PHASES = {
    "PENDING": "running",
    "SUCCEEDED": "succeeded",
    "FAILED": "failed",
    "Pending": "waiting",
    "InProgress": "running",
    "Complete": "succeeded",
    "DeviceError": "failed",
    "Canceled": "canceled",
    "Expired": "expired",
}
"""Written down anew: what is not here is unknown."""
ENDS = {"canceled": "Canceled", "expired": "Expired"}
BACK = {"set": {"LocationCode": "Returned"}}
LIVES: dict[str, list[dict[str, Any]]] = {
    "p-good": [{"set": {"Status": "SUCCEEDED"}}],
    "p-bad": [{"set": {"Status": "FAILED"}}],
    "p-odd": [{"set": {"Status": "THAWING"}}, {"set": {"Status": "SUCCEEDED"}}],
    "p-gone": [{"vanish": True}, {"reappear": True}, {"set": {"Status": "FAILED"}}],
    "p-stalled": [{}, {}, {}, {"set": {"Status": "SUCCEEDED"}}],
    "EX-good": [
        {"set": {"LocationCode": "AtAWS"}},
        {"set": {"ProgressCode": "InProgress"}},
        {"set": {"ProgressCode": "Complete"}},
        BACK,
    ],
    "EX-bad": [
        {"set": {"LocationCode": "AtAWS", "ProgressCode": "InProgress"}},
        {"set": {"ProgressCode": "DeviceError"}},
        BACK,
    ],
    "EX-canceled": [{"error": "canceled"}],
    "EX-expired": [{"error": "expired"}],
}
"""What happens to each job, one change after the other."""
NAMED = {
    service: [job for job in LIVES if job.startswith(prefix)]
    for service, prefix in (("panorama", "p-"), ("importexport", "EX-"))
}
OUTCOMES = {"busy": "throttle", "refused": "throttle", "broken": "transient", "torn": "malformed"}
"""What a fault of this name makes of a request."""
SCENARIO = {
    "jobs": [
        {"id": "p-old", "service": "panorama", "members": {"Status": "SUCCEEDED"}},
        *({"id": job, "service": service} for service, jobs in NAMED.items() for job in jobs),
    ],
    "faults": [
        # The quota is not used up where the daemon is slow.
        {
            "name": "refused",
            "kind": "error",
            "status": 429,
            "code": "ThrottlingException",
            "times": 2,
        },
        {"name": "busy", "kind": "throttle", "rate": 10, "burst": 5},
        {
            "name": "broken",
            "kind": "error",
            "status": 500,
            "code": "InternalServerException",
            "every": 9,
        },
        # Only where the answer is no error already: a torn error is still that error.
        {"name": "torn", "kind": "malformed", "every": 5, "match": {"job": "*-good"}},
    ],
    "receivers": {
        "hook": {"secrets": [SECRET], "faults": [{"kind": "status", "every": 4}]},
        "picky": {"status": 400},
    },
}


def configured(directory, sim):
    """Named jobs end, and with them the looks; each listing is swept once."""
    rare = {"discover": True, "interval": "1h"}
    usual = [job for job in NAMED["panorama"] if job != "p-stalled"]
    return configure(
        directory,
        sim,
        watches=[
            packages(discover=False, jobs=usual, missing_after="600ms"),
            packages(name="stalled", discover=False, jobs=["p-stalled"], stuck_after="1s"),
            disks(discover=False, jobs=NAMED["importexport"], ended_interval="400ms"),
            packages(name="all-packages", **rare),
            disks(name="all-disks", **rare),
        ],
        sinks={
            "hook": webhook(sim, secret_files=[str(directory / "hook-secret")]),
            "picky": webhook(sim, "picky"),
        },
        routes=[
            {"match": {"phase": "failed", "kind": "job.state_changed"}, "sinks": ["picky"]},
            {"match": {"kind": ["job.*", "job.discovered"]}, "sinks": ["hook"]},
        ],
        metrics={"per_job": True},
    )


def state_of(record):
    """The state as the daemon should name it: an end that shows as an error is one."""
    if record.error is None:
        return record.state
    return f"{record.state.partition('/')[0]}/{ENDS[record.error]}"


def phase_of(record):
    return PHASES.get(state_of(record).rpartition("/")[2], "unknown")


def true_transitions(sim, stalled):
    """(type, kind, phase) → how many there are to be told."""
    told = Counter(stalled)
    for job in {record.job for record in sim.truth.states}:
        first, *later = sim.truth.of(job)
        told[TYPES[first.service], "job.discovered", phase_of(first)] += 1
        for before, after in zip([first, *later], later, strict=False):
            for kind in _kinds(before, after):
                told[TYPES[after.service], kind, phase_of(after)] += 1
    return dict(told)


def _kinds(before, after):
    if before.missing != after.missing:
        yield "job.missing" if after.missing else "job.reappeared"
    if state_of(before) != state_of(after):
        yield "job.state_changed"


def true_requests(sim):
    """(operation, outcome) → how many requests were served."""
    return dict(Counter((each.operation, outcome_of(each)) for each in sim.truth.requests))


def outcome_of(request):
    if request.fault:
        return OUTCOMES[request.fault[-1]]
    if request.status == 404:
        return "missing"
    # An end that shows as an error is a state: the answer is a good one.
    assert request.status == 200 or request.operation == "GetStatus"
    return "ok"


def true_ends(sim):
    """The last record of every job."""
    return {record.job: record for record in sim.truth.states}


def true_deliveries(sim):
    """(sink, outcome) → how many attempts reached the receivers."""
    answers = {204: "delivered", 500: "retried", 400: "dead"}
    return dict(Counter((each.name, answers[each.answer]) for each in sim.truth.received))


async def agrees(url, truth, wanted, *labels):
    """Wait until a metric shows the truth, which changes no more; say how they differ if not."""
    shown = None
    with anyio.move_on_after(PATIENCE):
        while shown != truth:
            shown = await scrape.table(url, wanted, *labels)
            await anyio.sleep(0.05)
    assert shown == truth, wanted


async def live(sim, store, url):
    """Let everything happen, each change only when the last one has been seen."""
    for number in range(max(map(len, LIVES.values()))):
        for job, changes in LIVES.items():
            if number < len(changes) and changes[number]:
                sim.change(job, changes[number])
        await is_seen(sim, store)
        if number == 1:
            await agrees(url, {(PACKAGES,): 1.0}, "stuck_jobs", "type")
        gone = sum(record.missing for record in true_ends(sim).values())
        await agrees(url, {(PACKAGES,): float(gone)} if gone else {}, "missing_jobs", "type")


async def is_seen(sim, store):
    """Wait until the ledger leaves every job as it is."""
    with anyio.move_on_after(PATIENCE):
        while _seen(store) != _true(sim):  # noqa: ASYNC110 -- another process brings it about
            await anyio.sleep(0.05)
    assert _seen(store) == _true(sim)


def _seen(store):
    """Job → how the ledger leaves it."""
    seen: dict[str, tuple[str, bool]] = {}
    for row in ledger.transitions(store):
        data = row.data
        missing = seen.get(data["job"]["id"], ("", False))[1]
        missing = {"job.missing": True, "job.reappeared": False}.get(data["kind"], missing)
        seen[data["job"]["id"]] = (data["current"]["state"], missing)
    return seen


def _true(sim):
    return {job: (state_of(record), record.missing) for job, record in true_ends(sim).items()}


async def test_the_metrics_equal_the_ground_truth_exactly(tmp_path):
    store = tmp_path / "state.db"
    async with (
        simulator.running(SCENARIO) as sim,
        running("run", "-c", configured(tmp_path, sim), directory=tmp_path) as program,
    ):
        url = await program.started()
        await is_seen(sim, store)
        await live(sim, store, url)
        await until(lambda: set(ledger.statuses(store)) == {"delivered", "dead"})
        requests = await _last_requests(sim)
        await until(lambda: set(ledger.statuses(store)) == {"delivered", "dead"})
        received = true_deliveries(sim)
        _enough_happened(requests, received)
        await agrees(url, requests, "aws_requests_total", "operation", "outcome")
        await polls_agree(url, requests)
        await agrees(url, received, "deliveries_total", "sink", "outcome")
        await agrees(url, {("picky",): received["picky", "dead"]}, "dead_letters", "sink")
        await transitions_agree(url, sim, store)
        await jobs_agree(url, true_ends(sim).values())
        # All is final: nothing more was asked while the metrics were read.
        assert true_requests(sim) == requests
        assert (await program.stop(SIGTERM))[0] == 0


async def _last_requests(sim):
    """Wait until nothing is asked any more: a describe may still be owed that failed before."""
    before = None
    while before != (before := true_requests(sim)):  # noqa: ASYNC110 -- another process asks
        await anyio.sleep(5)
    return before


async def transitions_agree(url, sim, store):
    # A row of the listing may come before the first describe, which then adds what it lacks.
    completed = [row.data for row in ledger.transitions(store) if row.data["kind"] == "job.updated"]
    stalled = {
        (PACKAGES, "job.stuck", "running"): 1,
        (PACKAGES, "job.unstuck", "succeeded"): 1,
    }
    updates = ((each["job"]["type"], each["kind"], each["current"]["phase"]) for each in completed)
    told = true_transitions(sim, stalled | Counter(updates))
    changes: Counter[tuple[str]] = Counter()
    for (type_, kind, _), number in told.items():
        changes[(type_,)] += number * (kind == "job.state_changed")
    await agrees(url, told, "transitions_total", "type", "kind", "phase")
    await agrees(url, dict(changes), "detection_window_seconds_count", "type")
    await agrees(url, dict(changes), "time_in_state_seconds_count", "type")
    await agrees(url, {(PACKAGES,): 1}, "unclassified_states_total", "type")


async def jobs_agree(url, ends):
    jobs = Counter((TYPES[each.service], phase_of(each)) for each in ends)
    await agrees(url, dict(jobs), "jobs", "type", "phase")
    one_by_one = {(each.job, phase_of(each)): 1 for each in ends}
    await agrees(url, one_by_one, "job_state", "id", "job_monitor_job_state")
    await agrees(url, {(): 2}, "owned_quotas")
    await agrees(url, {(): 2}, "owned_sinks")
    for nothing in ("stuck_jobs", "missing_jobs", "blind_jobs", "outbox_pending"):
        await agrees(url, {}, nothing)


def _enough_happened(requests, received):
    outcomes: Counter[str] = Counter()
    for (_, outcome), number in requests.items():
        outcomes[outcome] += number
    assert set(outcomes) == {"ok", "missing", *OUTCOMES.values()}
    assert sum(outcomes.values()) > 40
    assert {operation for operation, _ in requests} == {
        "DescribePackageImportJob",
        "ListPackageImportJobs",
        "GetStatus",
        "ListJobs",
    }
    assert set(received) == {("hook", "delivered"), ("hook", "retried"), ("picky", "dead")}
    assert received["hook", "delivered"] > 15


async def polls_agree(url, requests):
    """Each look at one job is one request; what a good one brought is not the service's to say."""
    operations = {PACKAGES: "DescribePackageImportJob", DISKS: "GetStatus"}
    shown: Counter[tuple[str, str]] = Counter()
    polls = await scrape.table(url, "polls_total", "mode", "type", "outcome")
    for (mode, type_, outcome), number in polls.items():
        brought = {"changed": "ok", "unchanged": "ok", "stale": "ok"}.get(outcome, outcome)
        if mode == "describe":
            shown[operations[type_], brought] += number
    asked = {key: number for key, number in requests.items() if key[0] in operations.values()}
    assert dict(shown) == asked


async def test_an_exemplar_leads_to_the_event_in_the_store(tmp_path):
    store = tmp_path / "state.db"
    scenario = {
        "jobs": [{"id": "pkg", "service": "panorama"}],
        "receivers": {"hook": {"secrets": [SECRET]}},
    }
    async with simulator.running(scenario) as sim:
        config = configure(tmp_path, sim, watches=[packages()])
        async with running("run", "-c", config, directory=tmp_path) as program:
            url = await program.started()
            await until(lambda: len(ledger.transitions(store)) == 1)
            sim.change("pkg", Status="SUCCEEDED")
            await until(lambda: ledger.statuses(store) == ["delivered"])
            await agrees(url, {("hook",): 1.0}, "delivery_latency_seconds_count", "sink")
            found = await scrape.exemplars(url)
        changed = ledger.transitions(store)[1].event
    assert found.keys() == {
        "job_monitor_detection_window_seconds",
        "job_monitor_delivery_latency_seconds",
    }
    for (exemplar,) in found.values():
        assert exemplar.labels == {"transition_id": changed["id"]}
    (received,) = [event_of(record) for record in sim.truth.received]
    assert received["id"] == changed["id"]
