"""Which transitions go to which sinks."""

from dataclasses import replace

import pytest

from monitor.config import Route, RouteMatch
from monitor.model import Kind, Severity, SourceKey, StateAndPhase, Transition
from monitor.recording.router import Router, fits
from tests.builders import at, job

FAILED = Transition(
    subject=job(),
    service="panorama",
    sequence=2,
    kind=Kind.STATE_CHANGED,
    previous=StateAndPhase("RUNNING", "running"),
    current=StateAndPhase("AtAWS/FAILED", "failed"),
    changes=(),
    after=at(0),
    before=at(1),
    severity=Severity.ERROR,
    reason=None,
    occurred_at=None,
    fields={},
    labels={"team": "vision"},
)
ENDED = replace(FAILED, kind=Kind.DISCOVERED, previous=None)
FIRST = replace(ENDED, current=StateAndPhase("RUNNING", "running"))
OLD = replace(ENDED, baseline=True)
LOST = replace(
    FAILED,
    kind=Kind.SOURCE_UNAVAILABLE,
    subject=SourceKey("panorama", "prod", "us-east-1"),
    current=StateAndPhase("unavailable", ""),
    severity=Severity.WARNING,
    labels={},
)


def route(*sinks, on=False, **match):
    return Route.model_validate({"match": match, "sinks": list(sinks), "continue": on})


def routed(transition, *routes, sinks=("a", "b", "c")):
    return Router(routes, sinks).sinks_for(transition)


def test_without_routes_everything_goes_to_every_sink():
    assert routed(FAILED) == routed(LOST) == ("a", "b", "c")


def test_without_routes_a_first_sight_is_not_told():
    assert routed(FIRST) == ()


def test_the_first_route_that_matches_wins():
    assert routed(FAILED, route("a", phase="succeeded"), route("b"), route("c")) == ("b",)


def test_a_route_may_go_on():
    assert routed(FAILED, route("a", on=True), route("b"), route("c")) == ("a", "b")


def test_a_route_that_goes_on_without_a_match_changes_nothing():
    assert routed(FAILED, route("a", phase="succeeded", on=True), route("b")) == ("b",)


def test_a_sink_is_told_once_and_in_the_order_of_the_routes():
    assert routed(FAILED, route("b", "a", on=True), route("a", "c")) == ("b", "a", "c")


def test_a_route_to_no_sink_drops_what_it_matches():
    assert routed(FAILED, route(severity="error"), route("a")) == ()


def test_what_no_route_matches_goes_nowhere():
    assert routed(FAILED, route("a", phase="succeeded")) == ()


@pytest.mark.parametrize(
    "match",
    [
        {"kind": "job.state_changed"},
        {"kind": "job.*"},
        {"phase": ["expired", "failed"]},
        {"state": "AtAWS/*"},
        {"severity": "error"},
        {"type": "panorama.*"},
        {"account": "prod"},
        {"region": "us-*"},
        {"labels": {"team": "vis*"}},
        {"labels": {"other": ""}},
        {"phase": "failed", "region": "us-east-1"},
    ],
    ids=str,
)
def test_a_match_takes_what_fits_every_key(match):
    assert routed(FAILED, route("a", **match)) == ("a",)


@pytest.mark.parametrize(
    "match",
    [
        {"kind": "job.updated"},
        {"phase": "succeeded"},
        {"state": "Returned/*"},
        {"severity": "warning"},
        {"type": "importexport.*"},
        {"account": "pro"},
        {"region": "eu-*"},
        {"labels": {"team": "other"}},
        {"labels": {"other": "?*"}},
        {"labels": {"team": "vision", "other": "x"}},
        {"phase": "failed", "region": "eu-west-1"},
        {"account": "PROD"},
    ],
    ids=str,
)
def test_one_key_that_does_not_fit_is_enough(match):
    assert routed(FAILED, route("a", **match)) == ()


@pytest.mark.parametrize("kind", ["job.discovered", ["job.missing", "job.discovered"]])
def test_a_first_sight_is_told_where_it_is_named(kind):
    assert routed(FIRST, route("a", kind=kind)) == ("a",)


@pytest.mark.parametrize(
    "match", [{}, {"kind": "job.*"}, {"kind": "*"}, {"phase": "running"}], ids=str
)
def test_a_first_sight_is_told_nowhere_else(match):
    assert routed(FIRST, route("a", **match)) == ()


def test_a_first_sight_passes_on_to_the_route_that_names_it():
    assert routed(FIRST, route("a"), route("b", kind="job.discovered")) == ("b",)


def test_a_job_that_is_first_seen_at_its_end_goes_the_way_of_any_change():
    assert routed(ENDED) == ("a", "b", "c")
    assert routed(ENDED, route("a", phase="succeeded"), route("b", phase="failed")) == ("b",)
    assert routed(ENDED, route("a", severity="error", labels={"team": "vision"})) == ("a",)


@pytest.mark.parametrize("kind", ["job.*", "*", "job.discovered", ["job.stuck", "job.discovered"]])
def test_a_job_that_is_first_seen_at_its_end_fits_kinds_that_hold_its_discovery(kind):
    assert routed(ENDED, route("a", kind=kind)) == ("a",)


@pytest.mark.parametrize("kind", ["job.state_changed", ["job.state_changed", "job.stuck"]])
def test_a_job_that_is_first_seen_at_its_end_fits_no_other_kinds(kind):
    assert routed(ENDED, route("a", kind=kind), route("b")) == ("b",)


def test_what_a_baseline_found_is_never_sent():
    assert routed(OLD) == ()
    assert routed(OLD, route("a", kind="job.discovered"), route("b", kind="*"), route("c")) == ()


def test_a_source_has_no_type_and_no_phase():
    assert routed(LOST, route("a", type="panorama.*"), route("b", phase="?*"), route("c")) == ("c",)
    assert routed(LOST, route("a", severity="warning", account="prod")) == ("a",)


def test_no_globs_match_everything():
    assert fits([], "x")
    assert not fits(["y"], "x")
    assert RouteMatch().kind == []
