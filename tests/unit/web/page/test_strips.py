"""The strip of a job: its states over a span of time."""

from dataclasses import replace
from datetime import timedelta
from itertools import pairwise
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from monitor.events import cloud_event
from monitor.model import Kind, Phase, StateAndPhase
from monitor.web.page import strips
from tests.page_kit import NOW, entry, followed

HOUR = timedelta(hours=1)


def events(*changes, kind=Kind.STATE_CHANGED, first=1):
    """CloudEvents of a job: (minutes ago, phase), the oldest first."""
    (made,) = entry(followed(1)).transitions
    found, before = [], StateAndPhase("PENDING", "waiting")
    for number, (ago, phase) in enumerate(changes, first):
        current = StateAndPhase(phase.upper(), phase)
        made = replace(
            made,
            sequence=number,
            kind=Kind.DISCOVERED if number == 1 else kind,
            previous=None if number == 1 else before,
            current=current,
            before=NOW - timedelta(minutes=ago),
        )
        found.append(cloud_event(made, str(UUID(int=1))))
        before = current
    return found


def drawn(*changes, **more):
    return strips.draw(events(*changes, **more), NOW - HOUR, NOW)


def test_states_are_as_wide_as_they_lasted():
    shown = drawn((90, "waiting"), (45, "running"), (15, "failed"))
    assert [(each.x, each.width, each.style) for each in shown] == [
        (0.0, 250.0, "waiting"),
        (250.0, 500.0, "running"),
        (750.0, 250.0, "failed"),
    ]
    assert shown[1].text == "RUNNING (running) from 2026-03-01 11:15:00 UTC, for 30m 0s"


def test_before_it_was_seen_a_job_has_no_state():
    assert [(each.x, each.style) for each in drawn((30, "running"))] == [(500.0, "running")]


def test_the_state_before_the_oldest_kept_change_is_known_by_it():
    assert [each.style for each in drawn((30, "running"), first=4)] == ["waiting", "running"]


def test_short_states_are_drawn_together_as_the_worst_and_swallow_no_long_one():
    shown = drawn((60, "running"), (30, "failed"), (29.98, "running"), (29.96, "running"))
    assert [(each.style, each.width) for each in shown] == [
        *(("running", 500.0), ("failed", strips.LEAST), ("running", 499.3)),
    ]
    assert "2 states within" in shown[1].text


def test_a_reminder_leaves_a_job_stuck():
    stuck = events((50, "running"), (20, "running"), kind=Kind.STUCK)
    again = events((10, "running"), kind=Kind.REMINDER, first=3)
    shown = strips.draw([*stuck, *again], NOW - HOUR, NOW)
    assert [each.style for each in shown] == ["running", "stuck"]


PHASES = st.sampled_from([each.value for each in Phase])


@given(st.lists(st.tuples(st.floats(0.001, 500), PHASES), max_size=70), st.integers(1, 3))
def test_a_strip_never_overflows_and_never_has_more_parts_than_can_be_seen(changes, first):
    changes.sort(key=lambda each: -each[0])
    shown = drawn(*changes, first=first)
    assert len(shown) <= min(len(changes) + 1, 2 * strips.WIDTH / strips.LEAST)
    for each in shown:
        assert each.x >= 0
        assert each.x + each.width <= strips.WIDTH + 0.2
        assert each.width >= strips.LEAST
    assert all(before.x <= after.x for before, after in pairwise(shown))
