"""Transitions as CloudEvents."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from jsonschema import Draft202012Validator

import monitor
from monitor import events
from monitor.model import Change, Kind, Severity, SourceKey, StateAndPhase, Transition
from tests.builders import at, job

LEDGER = "6b8f3f0e-7b3f-4a3e-9d49-27f0d0f6f0a1"
SCHEMA = json.loads((Path(monitor.__file__).parent / "event.schema.json").read_text())
CHANGED = Transition(
    subject=job("x/y"),
    service="panorama",
    sequence=3,
    kind=Kind.STATE_CHANGED,
    previous=StateAndPhase("PENDING", "waiting"),
    current=StateAndPhase("FAILED", "failed"),
    changes=(Change("Status", "PENDING", "FAILED"),),
    after=at(0),
    before=at(30.1234567),
    severity=Severity.ERROR,
    reason="disk",
    occurred_at=at(20),
    fields={"Size": 1},
    labels={"team": "vision"},
)
FOUND = replace(
    CHANGED,
    subject=SourceKey("panorama", "prod", "us-east-1"),
    kind=Kind.SOURCE_RECOVERED,
    previous=StateAndPhase("unavailable", ""),
    current=StateAndPhase("available", ""),
    changes=(),
    severity=Severity.INFO,
    reason=None,
    occurred_at=None,
    fields={},
    labels={},
)
FIRST = replace(
    CHANGED, kind=Kind.DISCOVERED, previous=None, changes=(), after=None, occurred_at=None
)

OLD = replace(FIRST, baseline=True)


def test_a_change_reads_as_documented():
    assert events.cloud_event(CHANGED, LEDGER) == {
        "specversion": "1.0",
        "id": events.event_id(LEDGER, "panorama.package-import/prod/us-east-1/x/y", 3),
        "source": "/aws/prod/us-east-1/panorama",
        "subject": "x/y",
        "type": "io.job-monitor.job.state_changed",
        "time": "2026-03-01T12:00:30.123Z",
        "datacontenttype": "application/json",
        "data": {
            "kind": "job.state_changed",
            "job": {
                "type": "panorama.package-import",
                "account": "prod",
                "region": "us-east-1",
                "id": "x/y",
                "key": "panorama.package-import/prod/us-east-1/x/y",
                "labels": {"team": "vision"},
            },
            "sequence": 3,
            "previous": {"state": "PENDING", "phase": "waiting"},
            "current": {"state": "FAILED", "phase": "failed"},
            "changes": [{"field": "Status", "from": "PENDING", "to": "FAILED"}],
            "window": {
                "after": "2026-03-01T12:00:00.000Z",
                "before": "2026-03-01T12:00:30.123Z",
            },
            "severity": "error",
            "reason": "disk",
            "baseline": False,
            "occurred_at": "2026-03-01T12:00:20.000Z",
            "fields": {"Size": 1},
            "replayed": False,
        },
    }


def test_an_event_of_a_source_names_the_source_and_no_phase():
    event = events.cloud_event(FOUND, LEDGER)
    assert event["subject"] == "panorama"
    assert "job" not in event["data"]
    assert event["data"]["source"]["key"] == "source:panorama/prod/us-east-1"
    assert event["data"]["current"] == {"state": "available"}


@pytest.mark.parametrize("transition", [CHANGED, FOUND, FIRST, OLD])
def test_the_data_fits_its_schema(transition):
    data = json.loads(json.dumps(events.cloud_event(transition, LEDGER)))["data"]
    Draft202012Validator(SCHEMA).validate(data)


def test_the_schema_refuses_something():
    data = events.cloud_event(CHANGED, LEDGER)["data"]
    assert not Draft202012Validator(SCHEMA).is_valid(data | {"kind": "job.exploded"})
    assert not Draft202012Validator(SCHEMA).is_valid(data | {"more": 1})


def test_an_id_never_changes():
    assert events.event_id(LEDGER, "a/b/c/d", 1) == "417e6ec0-4e50-5743-b5fd-def78cf80dfe"


def test_an_id_differs_by_ledger_job_and_sequence():
    ids = {
        events.event_id(ledger, key, sequence)
        for ledger in (LEDGER, str(uuid4()))
        for key in ("a/b/c/d", "a/b/c/e")
        for sequence in (1, 2, 11)
    }
    assert len(ids) == 12
    assert all(UUID(one).version == 5 for one in ids)


@pytest.mark.parametrize(
    ("moment", "text"),
    [
        (datetime(2026, 3, 1, 12, tzinfo=UTC), "2026-03-01T12:00:00.000Z"),
        (datetime(2026, 3, 1, 12, 0, 0, 999999, tzinfo=UTC), "2026-03-01T12:00:00.999Z"),
        (datetime(2026, 3, 1, 1, tzinfo=timezone(timedelta(hours=2))), "2026-02-28T23:00:00.000Z"),
        (datetime(2026, 3, 1, 1, tzinfo=timezone(timedelta())), "2026-03-01T01:00:00.000Z"),
    ],
)
def test_times_have_milliseconds_and_a_z(moment, text):
    assert events.timestamp(moment) == text


def test_a_time_without_an_offset_is_refused():
    with pytest.raises(ValueError, match="no offset"):
        events.timestamp(datetime(2026, 3, 1))  # noqa: DTZ001 -- that is the point


def test_a_source_attribute_is_a_valid_uri_reference():
    odd = replace(CHANGED, subject=replace(job(), account="two words/ü"))
    assert (
        events.cloud_event(odd, LEDGER)["source"] == "/aws/two%20words%2F%C3%BC/us-east-1/panorama"
    )
