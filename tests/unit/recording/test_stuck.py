"""Which limit counts for a state."""

import pytest

from monitor.recording.diff import stuck_limit

LIMITS = {
    "default": 1.0,
    "running": 2.0,
    "AtAWS/*": 3.0,
    "*/InProgress": 4.0,
    "AtAWS/InProgress": 5.0,
    "waiting": None,
}


@pytest.mark.parametrize(
    ("state", "phase", "limit"),
    [
        ("AtAWS/InProgress", "running", 5.0),
        ("AtAWS/Pending", "waiting", 3.0),
        ("Returned/InProgress", "running", 4.0),
        ("Lost/Thawing", "running", 2.0),
        ("Lost/Pending", "waiting", None),
        ("Lost/Weird", "unknown", 1.0),
        ("ataws/inprogress", "unknown", 1.0),
    ],
)
def test_the_state_goes_before_globs_in_order_before_the_phase_before_the_default(
    state, phase, limit
):
    assert stuck_limit(LIMITS, state, phase) == limit


def test_the_first_glob_that_matches_counts_even_if_it_switches_the_limit_off():
    limits = {"P*": None, "*G": 2.0, "waiting": 3.0, "default": 4.0}
    assert stuck_limit(limits, "PENDING", "waiting") is None
    assert stuck_limit(limits, "RUNNING", "waiting") == 2.0


def test_a_state_switched_off_has_no_limit_whatever_the_default():
    assert stuck_limit({"PENDING": None, "default": 2.0}, "PENDING", "waiting") is None


def test_what_no_key_takes_has_no_limit():
    assert stuck_limit({"PENDING": 1.0}, "RUNNING", "running") is None
    assert stuck_limit({}, "RUNNING", "running") is None


def test_one_limit_is_for_every_state():
    assert stuck_limit(7.0, "PENDING", "waiting") == 7.0
    assert stuck_limit(None, "PENDING", "waiting") is None


def test_a_state_with_the_signs_of_a_glob_is_found_by_its_own_name():
    assert stuck_limit({"[x]": 1.0, "x": 2.0}, "[x]", "running") == 1.0
    assert stuck_limit({"[x]": 1.0}, "x", "running") == 1.0
