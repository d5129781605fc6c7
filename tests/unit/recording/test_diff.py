"""What a look changes in what is known of a job."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.model import Change, Kind, Phase, Severity, Snapshot, StateAndPhase
from monitor.recording import diff
from tests.builders import START, TYPE, at, job, observation, snapshot


@dataclass(frozen=True)
class AnyOrder:
    """A type whose jobs may come to every state from every other."""

    fields_without_news: frozenset[str]
    service: str = "panorama"

    def judge(self, parts, _before):
        return TYPE.judge(parts, None)

    def unwatched(self):
        return self.fields_without_news


def looked(before, seen, *, stuck_after=None, unwatched=frozenset()):
    """Compare one poll: (snapshot after it, its transitions)."""
    options = diff.TrackingOptions(cast("Any", AnyOrder(unwatched)), {"team": "a"}, stuck_after)
    compared = diff.compare(before, seen, options, at(0), insists=True)
    assert compared is not None
    return compared


def kinds(made):
    return [transition.kind for transition in made]


def test_the_first_sight_of_a_job_is_a_discovery():
    after, (made,) = looked(None, observation("PENDING", asked=10))
    assert made.kind is Kind.DISCOVERED
    assert made.previous is None
    assert made.current == StateAndPhase("PENDING", "waiting")
    assert (made.after, made.before) == (None, at(10.1))
    assert (made.sequence, after.sequence) == (1, 1)
    assert (made.subject, made.labels, made.service) == (job(), {"team": "a"}, "panorama")
    assert (after.first_seen_at, after.changed_at, after.looked_at) == (at(10.1), at(10.1), at(10))


def test_an_unchanged_job_makes_no_transition_and_narrows_the_next_window():
    after, made = looked(snapshot("PENDING"), observation("PENDING", asked=30))
    assert made == ()
    assert after.looked_at == at(30)
    assert after.changed_at == START
    _, (change,) = looked(after, observation("RUNNING", asked=60))
    assert (change.after, change.before) == (at(30), at(60.1))


def test_another_state_is_told_with_what_it_was_and_what_it_is():
    after, (made,) = looked(snapshot("PENDING"), observation("FAILED", asked=30, reason="disk"))
    assert made.kind is Kind.STATE_CHANGED
    assert made.previous == StateAndPhase("PENDING", "waiting")
    assert made.current == StateAndPhase("FAILED", "failed")
    assert made.changes == (Change("Status", "PENDING", "FAILED"),)
    assert (made.severity, made.reason) == (Severity.ERROR, "disk")
    assert (after.changed_at, after.ended_at, after.sequence) == (at(30.1), at(30.1), 2)


def test_another_phase_of_the_same_state_is_a_change():
    before = snapshot("FAILED").replace(phase=Phase.UNKNOWN)
    _, made = looked(before, observation("FAILED", asked=30))
    assert kinds(made) == [Kind.STATE_CHANGED]


def test_an_end_is_dated_once():
    after, _ = looked(snapshot("RETURNING", ended_at=at(5)), observation("SUCCEEDED", asked=30))
    assert after.ended_at == at(5)


def test_a_job_that_goes_on_after_its_end_has_not_ended():
    after, _ = looked(snapshot("FAILED", ended_at=at(5)), observation("RUNNING", asked=30))
    assert after.ended_at is None


def test_only_another_field_is_an_update():
    before = snapshot("RUNNING", fields={"Size": 1, "Same": "x"})
    after, (made,) = looked(before, observation("RUNNING", asked=30, fields={"Size": 2}))
    assert made.kind is Kind.UPDATED
    assert made.changes == (Change("Size", 1, 2),)
    assert made.severity is Severity.INFO
    assert after.fields == {"Size": 2, "Same": "x"}
    assert made.fields == after.fields


def test_an_update_of_a_failed_job_is_no_error():
    _, (made,) = looked(snapshot("FAILED"), observation("FAILED", fields={"Size": 2}))
    assert (made.kind, made.severity) == (Kind.UPDATED, Severity.INFO)


def test_a_field_that_is_told_to_be_empty_has_changed():
    before = snapshot("RUNNING", fields={"Size": 1})
    _, (made,) = looked(before, observation("RUNNING", fields={"Size": None}))
    assert made.changes == (Change("Size", 1, None),)


def test_a_field_that_is_not_told_has_not_changed():
    _, made = looked(snapshot("RUNNING", fields={"Size": 1}), observation("RUNNING"))
    assert made == ()


def test_a_field_that_is_not_watched_is_kept_and_not_told():
    seen = observation("RUNNING", fields={"Seen": 7})
    after, made = looked(snapshot("RUNNING"), seen, unwatched=frozenset({"Seen"}))
    assert made == ()
    assert after.fields == {"Seen": 7}


def test_a_field_of_the_name_of_a_part_is_told_once():
    before = snapshot("PENDING", fields={"Status": "PENDING"})
    _, (made,) = looked(before, observation("RUNNING", fields={"Status": "RUNNING"}))
    assert made.changes == (Change("Status", "PENDING", "RUNNING"),)


def test_a_part_that_becomes_known_is_an_update_and_no_new_state():
    before = snapshot("RUNNING", parts={"Status": "RUNNING", "Location": None})
    seen = observation(parts={"Status": "RUNNING", "Location": "AtAWS"}, asked=30)
    after, (made,) = looked(before, seen)
    assert made.kind is Kind.UPDATED
    assert made.changes == (Change("Location", None, "AtAWS"),)
    assert (after.changed_at, after.state) == (START, "RUNNING/AtAWS")


def test_a_part_that_a_look_does_not_tell_keeps_its_value():
    before = snapshot("RUNNING", parts={"Location": "AtAWS", "Status": "RUNNING"})
    seen = observation(parts={"Location": None, "Status": "CANCELED"})
    after, (made,) = looked(before, seen)
    assert after.parts == {"Location": "AtAWS", "Status": "CANCELED"}
    assert after.state == "AtAWS/CANCELED"
    assert made.changes == (Change("Status", "RUNNING", "CANCELED"),)


def test_the_parts_stand_in_the_declared_order():
    before = snapshot("RUNNING", parts={"Status": "RUNNING", "Location": "AtAWS"})
    after, _ = looked(before, observation(parts={"Location": None, "Status": "RUNNING"}))
    assert list(after.parts) == ["Location", "Status"]


@pytest.mark.parametrize(
    ("known", "told", "stale"),
    [(10, 9, True), (10, 10, False), (10, 11, False), (None, 9, False), (10, None, False)],
)
def test_an_answer_is_stale_if_the_service_itself_dates_it_earlier(known, told, stale):
    before = snapshot(updated_at=None if known is None else at(known))
    assert (diff.age_order(before, observation(updated=told)) < 0) is stale


def test_nothing_is_stale_at_first_sight():
    assert diff.age_order(None, observation(updated=1)) == 0


def test_a_change_carries_the_services_own_time():
    before = snapshot("PENDING", updated_at=at(1))
    _, (made,) = looked(before, observation("RUNNING", asked=30, updated=25))
    assert made.occurred_at == at(25)


@pytest.mark.parametrize("updated", [None, 1])
def test_the_time_of_an_older_change_is_not_given_to_a_new_one(updated):
    before = snapshot("PENDING", updated_at=at(1))
    after, (made,) = looked(before, observation("RUNNING", asked=30, updated=updated))
    assert made.occurred_at is None
    assert after.updated_at == at(1)


def test_the_reason_of_a_state_goes_with_it():
    failed = snapshot("FAILED", reason="disk")
    assert looked(failed, observation("FAILED"))[0].reason == "disk"
    assert looked(failed, observation("FAILED", reason="tape"))[0].reason == "tape"
    assert looked(failed, observation("RUNNING"))[0].reason is None


def test_a_missing_job_that_is_seen_again_reappears():
    before = snapshot("RUNNING", missing=True, looked_at=at(5))
    after, (made,) = looked(before, observation("RUNNING", asked=30))
    assert made.kind is Kind.REAPPEARED
    assert made.severity is Severity.INFO
    assert not after.missing
    assert (made.after, made.before) == (at(5), at(30.1))


def test_a_missing_job_that_comes_back_otherwise_reappears_and_then_changes():
    after, made = looked(snapshot("RUNNING", missing=True), observation("FAILED", asked=30))
    assert kinds(made) == [Kind.REAPPEARED, Kind.STATE_CHANGED]
    assert [transition.sequence for transition in made] == [2, 3]
    assert [bool(transition.changes) for transition in made] == [False, True]
    assert after.sequence == 3


@pytest.mark.parametrize(("asked", "stuck"), [(99, False), (100, True), (101, True)])
def test_a_job_is_stuck_once_its_state_is_old_enough(asked, stuck):
    after, made = looked(snapshot("RUNNING"), observation("RUNNING", asked=asked), stuck_after=100)
    assert kinds(made) == ([Kind.STUCK] if stuck else [])
    assert after.stuck is stuck


def test_a_stuck_job_is_told_once():
    before = snapshot("RUNNING", stuck=True)
    after, made = looked(before, observation("RUNNING", asked=500), stuck_after=100)
    assert made == ()
    assert after.stuck


def test_being_stuck_is_a_warning_whatever_the_state():
    _, (made,) = looked(snapshot("RUNNING"), observation("RUNNING", asked=500), stuck_after=100)
    assert made.severity is Severity.WARNING


def test_a_stuck_job_that_moves_is_unstuck():
    before = snapshot("RUNNING", stuck=True)
    after, made = looked(before, observation("SUCCEEDED", asked=500), stuck_after=100)
    assert kinds(made) == [Kind.STATE_CHANGED, Kind.UNSTUCK]
    assert not after.stuck


def test_an_update_does_not_unstick_a_job():
    before = snapshot("RUNNING", stuck=True)
    after, made = looked(before, observation("RUNNING", fields={"Size": 1}), stuck_after=100)
    assert kinds(made) == [Kind.UPDATED]
    assert after.stuck


def test_a_job_that_has_ended_is_never_stuck():
    _, made = looked(snapshot("RETURNING"), observation("RETURNING", asked=500), stuck_after=100)
    assert made == ()


def test_nothing_is_stuck_where_nobody_asked():
    _, made = looked(snapshot("RUNNING"), observation("RUNNING", asked=1e7))
    assert made == ()


def test_a_clock_that_was_set_back_turns_no_window_around():
    before = snapshot("PENDING", looked_at=at(3600))
    _, (made,) = looked(before, observation("RUNNING", asked=10))
    assert made.after <= made.before


LOOKS = st.lists(
    st.tuples(
        st.sampled_from(["PENDING", "RUNNING", "RETURNING", "FAILED", "NEW-WORD"]),
        st.integers(0, 2),
        st.floats(-50, 300),
    ),
    max_size=20,
)


@given(LOOKS)
def test_any_history_is_gapless_and_its_windows_are_never_turned_around(looks):
    known: Snapshot | None = None
    clock, number = 0.0, 0
    for state, size, passed in looks:
        clock += passed
        before = known
        seen = observation(state, asked=clock, fields={"Size": size})
        known, made = looked(before, seen, stuck_after=100)
        for transition in made:
            number += 1
            assert transition.sequence == number
            assert transition.after is None or transition.after <= transition.before
            assert (transition.after is None) is (transition.kind is Kind.DISCOVERED)
        assert known.sequence == number
        assert known.state == state
        if before:
            moved = Kind.STATE_CHANGED in kinds(made)
            assert moved is (before.state != state)
            assert known.changed_at == (seen.seen_at if moved else before.changed_at)
    assert known is None or known.looked_at == START + timedelta(seconds=clock)


def test_each_state_is_stuck_after_its_own_time():
    limits = {"PENDING": 10.0, "running": 100.0, "default": None}
    pending, running = (observation(state, asked=50) for state in ("PENDING", "RUNNING"))
    assert kinds(looked(snapshot("PENDING"), pending, stuck_after=limits)[1]) == [Kind.STUCK]
    assert kinds(looked(snapshot("RUNNING"), running, stuck_after=limits)[1]) == []
    later = observation("RUNNING", asked=100)
    assert kinds(looked(snapshot("RUNNING"), later, stuck_after=limits)[1]) == [Kind.STUCK]
    odd = observation("ODD", asked=1e6)
    assert kinds(looked(snapshot("ODD"), odd, stuck_after=limits)[1]) == []


def test_a_stuck_job_that_moves_into_a_state_without_a_limit_is_unstuck_for_good():
    limits = {"PENDING": 10.0, "RUNNING": None}
    after, made = looked(
        snapshot("PENDING", stuck=True), observation("RUNNING", asked=20), stuck_after=limits
    )
    assert kinds(made) == [Kind.STATE_CHANGED, Kind.UNSTUCK]
    after, made = looked(after, observation("RUNNING", asked=1e6), stuck_after=limits)
    assert kinds(made) == []
    assert not after.stuck
