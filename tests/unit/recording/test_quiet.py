"""What holds transitions back, and for how long; acknowledgements."""

from dataclasses import replace
from datetime import timedelta

import pytest

from monitor import config, model
from monitor.model import Kind, SourceKey
from monitor.recording.quiet import Quiet
from tests.builders import followed_job, following, snapshot
from tests.contracts.store_examples import T0, transition

HOUR = timedelta(hours=1)


class Now:
    def __init__(self):
        self.time = T0

    def __call__(self):
        return self.time


@pytest.fixture
def now():
    return Now()


@pytest.fixture
def quiet(now):
    return Quiet(now)


def silence(silence_id="s", ends_at=T0 + HOUR, starts_at=T0, **match):
    match = match or {"type": ["panorama.*"]}
    return model.Silence(silence_id, (match,), starts_at, ends_at, "ann", "")


def test_a_silence_holds_from_its_beginning_until_it_is_let_go(quiet, now):
    quiet.keep(silence(starts_at=T0 + HOUR, ends_at=T0 + 2 * HOUR))
    assert quiet.hold_of(transition(), "w") is None
    now.time += HOUR
    assert quiet.hold_of(transition(), "w") == "s"
    assert quiet.over() == set()
    now.time += HOUR
    # Its time is over, but what it holds is not released yet: what comes now must not overtake it.
    assert quiet.hold_of(transition(), "w") == "s"
    assert quiet.over() == {"s"}
    holds = quiet.let_go(quiet.over())
    assert (holds.silences, holds.watches) == ((), frozenset())
    assert quiet.hold_of(transition(), "w") is None


@pytest.mark.parametrize(
    ("match", "held"),
    [
        ({"job": ["job-1"]}, True),
        ({"job": ["panorama.package-import/prod/us-east-1/job-*"]}, True),
        ({"job": ["job-2"]}, False),
        ({"kind": ["job.state_changed"], "labels": {"team": ["vision"]}}, True),
        ({"labels": {"team": ["storage"]}}, False),
        ({"state": ["PENDING"], "severity": ["info"], "account": ["prod"]}, True),
        ({"phase": ["failed"]}, False),
    ],
)
def test_a_silence_matches_as_a_route_does_and_by_job(quiet, match, held):
    quiet.keep(silence(**match))
    assert (quiet.hold_of(transition(), "w") == "s") is held


def test_any_match_of_a_silence_is_enough(quiet):
    both = ({"phase": ["failed"]}, {"account": ["prod"]})
    quiet.keep(replace(silence(), match=both))
    assert quiet.hold_of(transition(), "w") == "s"


def test_what_is_left_after_the_end_of_one_silence_holds_events_too(quiet):
    quiet.keep(silence("a"))
    quiet.keep(silence("b", type=["importexport.*"]))
    quiet.active()
    holds = quiet.let_go({"a"})
    # The one whose time is not over is active again at once.
    quiet.keep(silence("a", ends_at=T0))
    holds = quiet.let_go({"a"})
    event = {
        "data": {
            "kind": "job.state_changed",
            "severity": "info",
            "current": {"state": "AtAWS/Pending", "phase": "waiting"},
            "job": {
                "type": "importexport.job",
                "account": "a",
                "region": "us-east-1",
                "id": "EX1",
                "key": "importexport.job/a/us-east-1/EX1",
                "labels": {},
            },
        }
    }
    assert holds.hold(event, "w") == "b"


def maintained(**window):
    watch = {"name": "w", "type": "panorama.package-import", "jobs": ["j"]}
    window = {"from": "11:00", "to": "13:00"} | window
    return config.Watch.model_validate(watch | {"maintenance": [window]})


def test_a_maintenance_window_holds_the_jobs_of_its_watch(quiet, now):
    quiet.use([maintained()])
    assert quiet.hold_of(transition(), "w") == "maintenance:w"
    assert quiet.hold_of(transition(), "other") is None
    source = SourceKey("panorama", "prod", "us-east-1")
    assert quiet.hold_of(transition(source), "w") is None, "a source belongs to no watch"
    now.time += HOUR
    assert quiet.over() == {"maintenance:w"}
    assert quiet.hold_of(transition(), "w") == "maintenance:w"
    quiet.let_go(quiet.over())
    assert quiet.hold_of(transition(), "w") is None


def test_a_window_that_a_reload_takes_away_is_over(quiet):
    quiet.use([maintained()])
    assert quiet.hold_of(transition(), "w")
    quiet.use([])
    assert quiet.over() == {"maintenance:w"}


def test_the_status_of_a_job_names_what_silences_it(quiet, now):
    quiet.keep(silence("a", kind=["job.stuck"], type=["*"]))
    quiet.keep(silence("b", type=["nothing"]))
    quiet.keep(silence("c", starts_at=T0 + HOUR, ends_at=T0 + 2 * HOUR))
    quiet.use([maintained()])
    assert quiet.silenced(followed_job()) == ("a", "maintenance:w")
    now.time += 3 * HOUR
    assert quiet.silenced(followed_job()) == ()


def test_an_acknowledgement_ends_with_a_change_but_for_updates_and_reminders(quiet):
    key = transition().subject.key
    made = model.Acknowledgement(key, 1, "ann", "", T0)
    quiet.acknowledge(made)
    quiet.note(
        [replace(transition(), kind=Kind.UPDATED), replace(transition(), kind=Kind.REMINDER)]
    )
    assert quiet.acknowledgement(key) == made
    quiet.note([transition()])
    assert quiet.acknowledgement(key) is None
    assert quiet.take_ended() == [key]
    assert quiet.take_ended() == []


def test_a_reminder_is_left_out_while_the_job_is_acknowledged_or_silenced(quiet):
    stuck = snapshot("RUNNING", stuck=True)
    options = replace(following(), remind_every=60.0)
    assert quiet.reminds(stuck, options)
    quiet.acknowledge(model.Acknowledgement(stuck.job.key, 1, "ann", "", T0))
    assert not quiet.reminds(stuck, options)
    quiet.withdraw(stuck.job.key)
    quiet.keep(silence(kind=["job.reminder"]))
    assert not quiet.reminds(stuck, options)
