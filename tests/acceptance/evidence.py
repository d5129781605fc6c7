"""What a run of the daemon must have left with a receiver, whatever happened on the way."""

import json
from bisect import bisect
from collections import defaultdict
from datetime import datetime
from itertools import groupby, pairwise
from typing import Any

from tests.contracts.sink_kit import check

SLACK = 0.05
"""Seconds by which two clocks of one machine may be read apart."""


def event_of(record):
    return json.loads(record.body)


def assert_are_events(records):
    for record in records:
        check(event_of(record))


def assert_signed(records):
    assert {record.signature for record in records} == {"valid"}


def assert_same_event_behind_each_id(records):
    bodies = defaultdict(set)
    for record in records:
        event = event_of(record)
        event["data"].pop("replayed")
        bodies[event["id"]].add(json.dumps(event, sort_keys=True))
        assert record.headers["webhook-id"] == event["id"]
    assert {event_id: len(found) for event_id, found in bodies.items() if len(found) > 1} == {}


def baseline(rows):
    """The discoveries of the ledger that are never sent, by the key of the job."""
    return {row.key: row.event for row in rows if row.data.get("baseline")}


def with_baseline(told, rows):
    """Events by job, with the discovery that was recorded and not sent before all others."""
    unsent = baseline(rows)
    return {
        key: [unsent[key], *events] if key in unsent else events for key, events in told.items()
    }


def assert_in_order(records, rows):
    """Nothing of a job is even tried before all that came earlier was taken."""
    taken: dict[str, set[int]] = defaultdict(set, {key: {1} for key in baseline(rows)})
    for record in records:
        data = event_of(record)["data"]
        earlier = set(range(1, data["sequence"]))
        assert earlier <= taken[data["job"]["key"]], f"{data['job']['key']} #{data['sequence']}"
        if record.accepted:
            taken[data["job"]["key"]].add(data["sequence"])


def repeats(records):
    """Pairs of takings of the same event, one after the other."""
    taken: dict[str, list[Any]] = defaultdict(list)
    for record in records:
        if record.accepted:
            taken[event_of(record)["id"]].append(record)
    return [pair for found in taken.values() for pair in pairwise(found)]


def assert_repeats_are_excused(records, kills):
    """An event comes again only where the sender cannot know that it was taken."""
    for first, second in repeats(records):
        killed = any(first.time - SLACK <= kill <= second.time for kill in kills)
        assert first.fault == "reset" or killed, event_of(second)


def delivered(records):
    """Events by job, each once, in the order in which they were first taken."""
    found: dict[str, dict[str, Any]] = defaultdict(dict)
    for record in records:
        if record.accepted:
            event = event_of(record)
            found[event["data"]["job"]["key"]].setdefault(event["id"], event)
    return {key: list(events.values()) for key, events in found.items()}


def assert_all_of_the_ledger_was_delivered(records, rows):
    told = {
        (key, event["data"]["sequence"]): event
        for key, events in delivered(records).items()
        for event in events
    }
    sent = [row for row in rows if not row.data.get("baseline")]
    assert told.keys() == {(row.key, row.sequence) for row in sent}
    assert all(told[row.key, row.sequence] == row.event for row in sent)


def assert_unbroken(events):
    """Sequences have no gap, and each event goes on where the one before it ended."""
    data = [event["data"] for event in events]
    assert [each["sequence"] for each in data] == list(range(1, len(data) + 1))
    assert data[0]["kind"] == "job.discovered"
    assert data[0]["previous"] is None
    for before, after in pairwise(data):
        assert after["previous"] == before["current"]


class Life:
    """The true life of one job: each state that it had, with its begin and end."""

    def __init__(self, states):
        runs = [list(run) for _, run in groupby(states, key=lambda state: state.state)]
        self.names = [run[0].state for run in runs]
        assert len(set(self.names)) == len(self.names), "a state that comes back proves nothing"
        begins = [run[0].time for run in runs]
        ends = [*begins[1:], float("inf")]
        self.span = dict(zip(self.names, zip(begins, ends, strict=True), strict=True))

    def assert_told_truly(self, events):
        """The states told are true, in order, end with the last, each within its window."""
        told = [event["data"]["current"]["state"] for event in events]
        remaining = iter(self.names)
        assert all(state in remaining for state, _ in groupby(told)), (told, self.names)
        assert told[-1] == self.names[-1]
        for event in events:
            self._assert_window(event["data"])

    def _assert_window(self, data):
        begin, _ = self.span[data["current"]["state"]]
        assert begin <= seconds(data["window"]["before"]) + SLACK
        if data["kind"] == "job.state_changed":
            _, end = self.span[data["previous"]["state"]]
            assert end >= seconds(data["window"]["after"]) - SLACK


def seconds(text):
    return datetime.fromisoformat(text).timestamp()


def surely_observed(requests, ends=()):
    """(job, state number) pairs that a daemon had done with before it asked for the job again.

    Each life of the daemon has an access key of its own. What a look saw is durable before the
    next look at the same job; only the last look of a life may have been lost with it. A life of
    a replica also comes to one of its ``ends``: times at which it may lose what it owns.
    """
    looks = defaultdict(list)
    for request in requests:
        if request.status == 200 and request.state is not None:
            life = request.access_key, bisect(ends, request.time)
            looks[life, request.job].append(request.state)
    return {(job, number) for (_, job), seen in looks.items() for number in seen[:-1]}


def assert_true(truth, delivered, ends=()):
    """What was told of each job is true, unbroken, and all that was surely observed."""
    observed = surely_observed(truth.requests, ends)
    told = {events[0]["data"]["job"]["id"]: events for events in delivered.values()}
    for job, events in told.items():
        states = truth.of(job)
        assert_unbroken(events)
        Life(states).assert_told_truly(events)
        seen = {state.state for state in states if (job, state.number) in observed}
        assert seen <= {event["data"]["current"]["state"] for event in events}
